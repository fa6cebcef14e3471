//! The job that the simulated cluster runs: the ad-click job with the real operators, over files in the simulated storage.
//!
//! Computing takes no virtual time, so sources are slowed down: otherwise all would be over before anything could go wrong.

use super::{
    campaigns::Table,
    logs::Logs,
    plan::{FollowedLogs, Plan},
    replays::Replays,
};
use crate::{
    job::{JOB, JobConfig, campaigns::Campaigns},
    results, table,
    workload::Workload,
};
use anyhow::{Context, Result, anyhow, ensure};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path as ObjectPath};
use rand::{RngExt, rngs::StdRng};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use weir_engine::{
    checkpoint::CheckpointStore,
    env::{Env, Moment},
    graph::{JobGraph, Node},
    operator::{
        Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source, SourceEvent, SplitState,
    },
};
use weir_operators::memory_stores::{Provided, provide};

/// The host of the URLs of input and output: the same in every run, on whatever thread.
const STORE: &str = "simulation";

/// Input and output of one simulation.
pub struct Files {
    /// Everything that lasts: input, output, checkpoints.
    pub objects: Arc<InMemory>,
    /// The input, for the recount.
    folder: tempfile::TempDir,
    _provided: Provided,
}

impl Files {
    /// With the input of a workload; the processes reach all of it through `store`, made over the real one.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn new(plan: &Plan, over: impl FnOnce(Arc<InMemory>) -> Arc<dyn ObjectStore>) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
        let objects = Arc::new(InMemory::new());
        if plan.logs.is_none() {
            let input = Workload::generate(&plan.workload).write(&folder.path().join("input"), plan.job.format)?;
            for path in input {
                let file = path.file_name().context("an input file has a name")?.to_string_lossy().into_owned();
                let target = ObjectPath::from(format!("input/{file}"));
                now(objects.put(&target, std::fs::read(&path)?.into()))??;
            }
        }
        let _provided = provide(STORE, over(objects.clone()), objects.clone());
        Ok(Files { objects, folder, _provided })
    }

    /// The graph of the job over these files.
    ///
    /// # Errors
    /// When the definition is refused.
    pub fn graph(&self, plan: &Plan) -> Result<JobGraph> {
        let (root, config) = (Files::root(), self.config(plan));
        let input = if plan.logs.is_some() { self.logs_folder() } else { root.join("input") };
        config.graph(&input, &root.join("output"))
    }

    /// The users who count again, if there are any.
    ///
    /// # Errors
    /// When the definition is refused, or the input cannot be read.
    pub fn replays(&self, plan: &Plan) -> Result<Option<Replays>> {
        if plan.replays.is_empty() {
            return Ok(None);
        }
        Replays::new(plan, &self.config(plan), &Files::root(), &self.input(), &self.output()).map(Some)
    }

    fn config(&self, plan: &Plan) -> JobConfig {
        let store = plan.with_store.then(|| format!("sqlite:{}", table::database(&self.output()).display()));
        let url = || format!("sqlite:{}", self.campaigns_database().display());
        let campaigns = plan.job.campaigns.as_ref().map(|campaigns| Campaigns { url: url(), ..campaigns.clone() });
        JobConfig { store, campaigns, ..plan.job.clone() }
    }

    /// The table that a lookup asks, if there is one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn campaigns(&self, plan: &Plan) -> Result<Option<Table>> {
        let of_plan = plan.job.campaigns.as_ref();
        of_plan.map(|_| Table::create(self.campaigns_database(), plan.workload.ads)).transpose()
    }

    fn campaigns_database(&self) -> PathBuf {
        self.folder.path().join("campaigns.sqlite")
    }

    fn root() -> PathBuf {
        PathBuf::from(format!("memory://{STORE}"))
    }

    /// The servers that write the input while the job runs, if they do.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn logs(&self, plan: &Plan) -> Result<Option<Logs>> {
        let Some(FollowedLogs { rotations, steps }) = &plan.logs else { return Ok(None) };
        let workload = Workload::generate(&plan.workload);
        Logs::new(workload, plan.job.format, steps, *rotations, &self.logs_folder(), &self.input()).map(Some)
    }

    fn logs_folder(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// Lines that are read, as the newest complete checkpoint has it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lines_read(&self) -> Result<u64> {
        let store = CheckpointStore::over(self.objects.clone(), JOB);
        let newest = now(store.newest())?.map_err(|error| anyhow!("{error}"))?;
        let operators = newest.iter().flat_map(|manifest| &manifest.operators);
        let sources = operators.filter(|operator| operator.operator.starts_with("source."));
        let counters = sources.flat_map(|operator| &operator.subtasks).map(|subtask| &subtask.counters);
        Ok(counters.filter_map(|counters| counters.get("events_in")).sum())
    }

    /// The folder of the database, where results are brought to be read.
    pub fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// The folder with the input.
    pub fn input(&self) -> PathBuf {
        self.folder.path().join("input")
    }

    /// What is committed: object paths below `output/` that a consumer would read.
    ///
    /// # Errors
    /// When the storage does not say.
    pub fn committed(&self) -> Result<Vec<String>> {
        let listed = now(self.objects.list(Some(&ObjectPath::from("output"))).collect::<Vec<_>>())?;
        let mut paths = Vec::new();
        for object in listed {
            let path = object?.location.to_string();
            if results::is_result(Path::new(&path)) && !path.contains("/_") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Reads the results as any consumer would.
    ///
    /// # Errors
    /// When they cannot be read, or break the rules that consumers rely on.
    pub fn results(&self) -> Result<results::Results> {
        for path in self.committed()? {
            let content = now(async { self.objects.get(&path.as_str().into()).await?.bytes().await })??;
            let target = self.folder.path().join(&path);
            std::fs::create_dir_all(target.parent().context("below the output")?)?;
            std::fs::write(target, content)?;
        }
        results::read_results(&self.output())
    }

    /// The lists of top ads in the database.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn top_ads_in_store(&self) -> Result<table::TopAds> {
        table::read_top_ads(&self.output())
    }

    /// Cuts the input off where a job that was stopped had read it to, so that the recount is of what it read.
    ///
    /// # Errors
    /// When the positions are not those of these files.
    pub fn cut_input(&self, positions: &[SplitState]) -> Result<()> {
        for split in positions {
            let name = split.id.rsplit('/').next().unwrap_or(&split.id);
            let path = self.input().join(name);
            let offset = split.state["position"]["offset"].as_u64();
            let offset = offset.with_context(|| format!("split {} has no offset: {}", split.id, split.state))?;
            let content = std::fs::read(&path).with_context(|| format!("split {}", split.id))?;
            let offset = usize::try_from(offset)?;
            ensure!(offset <= content.len(), "split {} was read to {offset} of {}", split.id, content.len());
            std::fs::write(&path, &content[..offset])?;
        }
        Ok(())
    }
}

/// The result of what need not wait, which storage in memory never does.
///
/// # Errors
/// When it would wait after all.
pub fn now<T>(work: impl Future<Output = T>) -> Result<T> {
    work.now_or_never().context("storage in memory waits for something")
}

/// Builds the parts of another factory, with sources that take their time.
pub struct SlowFactory {
    inner: Arc<dyn Factory>,
    slowest: Duration,
}

impl SlowFactory {
    /// The longest pause between two events of a source is `slowest`.
    pub fn new(inner: Arc<dyn Factory>, slowest: Duration) -> Arc<Self> {
        Arc::new(SlowFactory { inner, slowest })
    }
}

impl Factory for SlowFactory {
    fn source(&self, node: &Node, context: OperatorContext) -> weir_engine::Result<Box<dyn Source>> {
        let (env, dice) = (context.env.clone(), context.env.rng(&format!("pace of {} {}", node.id, context.subtask)));
        let inner = self.inner.source(node, context)?;
        Ok(Box::new(SlowSource { inner, env, dice, slowest: self.slowest, due: None }))
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> weir_engine::Result<Box<dyn Operator>> {
        self.inner.operator(node, context)
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> weir_engine::Result<Box<dyn Sink>> {
        self.inner.sink(node, context)
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> weir_engine::Result<Arc<dyn Committer>> {
        self.inner.committer(node, context)
    }
}

struct SlowSource {
    inner: Box<dyn Source>,
    env: Env,
    dice: StdRng,
    slowest: Duration,
    /// When the next event may come.
    due: Option<Moment>,
}

impl Source for SlowSource {
    fn restore(&mut self, splits: Vec<SplitState>) -> BoxFuture<'_, weir_engine::Result<()>> {
        self.inner.restore(splits)
    }

    fn next(&mut self) -> BoxFuture<'_, weir_engine::Result<SourceEvent>> {
        async move {
            if let Some(due) = self.due {
                self.env.sleep_until(due).await;
            }
            let event = self.inner.next().await?;
            let pause = self.dice.random_range(0..=self.slowest.as_micros() as u64);
            self.due = Some(self.env.now() + Duration::from_micros(pause));
            Ok(event)
        }
        .boxed()
    }

    fn drain(&mut self) -> weir_engine::Result<Option<SourceEvent>> {
        self.inner.drain()
    }

    fn snapshot(&mut self) -> weir_engine::Result<Vec<SplitState>> {
        self.inner.snapshot()
    }
}

/// The checkpoint that a committed file belongs to, as its name says.
pub fn checkpoint_of(path: &str) -> Option<u64> {
    let name = Path::new(path).file_stem()?.to_str()?;
    name.rsplit('-').nth(2)?.rsplit('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_file_names_its_checkpoint() {
        assert_eq!(checkpoint_of("output/counts/ad-click-counts-4.00000012-1-0.parquet"), Some(12));
        assert_eq!(checkpoint_of("output/late/ad-click-late-4.00000003-0-1.jsonl"), Some(3));
        assert_eq!(checkpoint_of("output/counts/x.parquet"), None);
    }
}
