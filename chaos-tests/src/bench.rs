//! One run of the job in one process: where its input, output and checkpoints lie, and whether what it put out is right.

use crate::{
    check,
    job::{JOB, JobConfig},
    oracle::{self, Expected},
    results,
};
use anyhow::{Result, anyhow, ensure};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use weir_engine::{
    checkpoint::CheckpointStore,
    env::Env,
    operator::Factory,
    task::{RunOutcome, StopSignal},
};
use weir_local::{Settings, Submission, run, run_apart};

/// A place for one job's input, output and checkpoints. Removed when dropped.
#[derive(Debug)]
pub struct Bench {
    folder: tempfile::TempDir,
    /// Where checkpoints lie.
    pub store: CheckpointStore,
}

impl Bench {
    /// An empty one with checkpoints in memory: on a disk they are synced one by one.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn new() -> Result<Self> {
        Bench::with_store(CheckpointStore::over(Arc::new(object_store::memory::InMemory::new()), JOB))
    }

    /// An empty one with checkpoints in files, which are written another way.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn with_files() -> Result<Self> {
        let mut bench = Bench::new()?;
        let url = format!("file://{}", bench.checkpoints().display());
        bench.store = CheckpointStore::open(&url, JOB).map_err(|error| anyhow!("{error}"))?;
        Ok(bench)
    }

    /// One with that store.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn with_store(store: CheckpointStore) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let bench = Bench { folder: folder?, store };
        std::fs::create_dir_all(bench.input())?;
        Ok(bench)
    }

    /// The folder of the input files.
    pub fn input(&self) -> PathBuf {
        self.folder.path().join("input")
    }

    /// The folder of checkpoints, where they are in files.
    pub fn checkpoints(&self) -> PathBuf {
        self.folder.path().join("checkpoints")
    }

    /// The folder of the sinks' folders.
    pub fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// Runs the job once as a process of its own, until it ends, fails or is stopped.
    ///
    /// # Errors
    /// Whatever ends it.
    pub async fn run(
        &self,
        config: &JobConfig,
        factory: Arc<dyn Factory>,
        env: Env,
        stop: StopSignal,
    ) -> weir_engine::Result<RunOutcome> {
        self.run_on(self.store.clone(), config, factory, env, stop).await
    }

    /// The same on another store, a faulty one over the same objects, say.
    ///
    /// # Errors
    /// Whatever ends it.
    pub async fn run_on(
        &self,
        store: CheckpointStore,
        config: &JobConfig,
        factory: Arc<dyn Factory>,
        env: Env,
        stop: StopSignal,
    ) -> weir_engine::Result<RunOutcome> {
        let settings = self.settings(store, config, factory, env)?;
        Ok(run_apart(2, settings, Submission::new("test"), stop).await?)
    }

    /// The same on the runtime that this is called on, afresh or not: what the run has begun stands still with the runtime.
    ///
    /// # Errors
    /// Whatever ends it.
    pub async fn run_here(
        &self,
        store: CheckpointStore,
        config: &JobConfig,
        env: Env,
        start_over: bool,
    ) -> weir_engine::Result<RunOutcome> {
        let settings = self.settings(store, config, Arc::new(weir_operators::Registry), env)?;
        let submission = Submission { start_over, ..Submission::new("test") };
        Ok(run(settings, submission, StopSignal::default()).await?)
    }

    /// The job of a configuration, with everything that it runs with.
    ///
    /// # Errors
    /// When the definition is refused.
    pub fn settings(
        &self,
        store: CheckpointStore,
        config: &JobConfig,
        factory: Arc<dyn Factory>,
        env: Env,
    ) -> weir_engine::Result<Settings> {
        let graph = config
            .graph(&self.input(), &self.output())
            .map_err(|error| weir_engine::EngineError::definition(format!("{error:#}")))?;
        let settings = Settings::new(graph, store, env, factory);
        Ok(Settings { workers: config.workers, channel_bytes: config.channel_bytes, ..settings })
    }

    /// Runs until all input is counted, without any fault.
    ///
    /// # Errors
    /// When the job fails, or ends before its input does.
    pub async fn run_to_end(&self, config: &JobConfig, factory: Arc<dyn Factory>, seed: u64) -> Result<RunOutcome> {
        let outcome = self.run(config, factory, Env::seeded(seed), StopSignal::default()).await;
        let outcome = outcome.map_err(|error| anyhow!("{:?}: {error}", error.kind))?;
        ensure!(outcome.manifest.last, "the run ended before its input");
        Ok(outcome)
    }

    /// What the recount says.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn expected(&self, config: &JobConfig) -> Result<Expected> {
        oracle::recount(&self.input(), &config.rules())
    }

    /// Compares what is committed, and the counters, with the recount.
    ///
    /// # Errors
    /// With every difference.
    pub fn check(&self, config: &JobConfig, outcome: &RunOutcome) -> Result<()> {
        let expected = self.expected(config)?;
        let mut differences = match results::read_results(&self.output()) {
            Ok(results) => check::differences(&expected, &results),
            Err(error) => vec![format!("{error:#}")],
        };
        differences.extend(check::counter_differences(&expected, &outcome.manifest));
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    }
}
