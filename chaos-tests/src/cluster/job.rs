//! The ad-click job on a cluster: submitted, looked at, ended, and compared with the recount.

use super::{
    processes::ClusterProcesses,
    reader::Seen,
    serving::Serving,
    store_check::{self, StoreCompared},
    waiting::wait_for,
};
use crate::{
    check,
    job::{JOB, JobConfig},
    oracle::{self, Expected},
    results,
};
use anyhow::{Context, Result, anyhow, ensure};
use std::path::PathBuf;
use weir_engine::checkpoint::{CheckpointStore, Manifest};

/// The job over the click logs of one cluster's folder.
#[derive(Debug)]
pub struct ClusterJob {
    config: JobConfig,
    input: PathBuf,
    output: PathBuf,
    definition: PathBuf,
    storage: String,
}

/// What was compared.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Lines of all logs.
    pub lines: usize,
    /// Committed rows of counts, all revisions.
    pub count_rows: usize,
    /// Rows that were late, duplicates, dead letters and refused by expressions.
    pub not_counted: [u64; 4],
}

impl ClusterJob {
    /// Writes the definition.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(cluster: &ClusterProcesses, config: JobConfig) -> Result<Self> {
        let job = ClusterJob {
            input: cluster.path("input"),
            output: cluster.path("output"),
            definition: cluster.path("ad_click.toml"),
            storage: cluster.storage(),
            config,
        };
        std::fs::create_dir_all(&job.input)?;
        std::fs::write(&job.definition, job.config.definition(&job.input, &job.output))?;
        Ok(job)
    }

    /// As the tests run it: it follows its files.
    pub fn followed() -> JobConfig {
        JobConfig { follow: true, checkpoint_interval_ms: 200, with_table: true, ..JobConfig::default() }
    }

    /// The folder of its click logs.
    pub fn input(&self) -> &PathBuf {
        &self.input
    }

    /// The definition's file.
    pub fn definition(&self) -> String {
        self.definition.display().to_string()
    }

    /// The arguments that hand it in.
    pub fn submission(&self) -> [String; 4] {
        ["submit".into(), self.definition(), "--parallelism".into(), self.config.parallelism.to_string()]
    }

    /// Hands it in.
    ///
    /// # Errors
    /// When it is refused.
    pub fn submit(&self, cluster: &ClusterProcesses) -> Result<()> {
        let submission = self.submission();
        let printed = cluster.done(&submission.each_ref().map(String::as_str))?;
        ensure!(printed.trim() == JOB, "submit prints the job's id alone: {printed}");
        Ok(())
    }

    /// The newest manifest.
    ///
    /// # Errors
    /// When storage fails.
    pub fn newest(&self) -> Result<Option<Manifest>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = CheckpointStore::open(&self.storage, JOB).map_err(|error| anyhow!("{error}"))?;
        runtime.block_on(store.newest()).map_err(|error| anyhow!("{error}"))
    }

    /// Waits until every line that is written has come in.
    ///
    /// # Errors
    /// When it does not, in time.
    pub fn wait_until_all_is_read(&self) -> Result<()> {
        let lines = self.lines()?;
        let mut read = 0;
        let waited = wait_for("all lines in a checkpoint", || {
            read = self.newest()?.as_ref().map_or(0, lines_read);
            Ok((read >= lines).then_some(()))
        });
        waited.with_context(|| format!("{read} of {lines} lines are read"))
    }

    /// Lines that are written.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn lines(&self) -> Result<u64> {
        let expected = self.expected()?;
        Ok((expected.valid.len() + expected.dead_letters.len()) as u64)
    }

    /// Compares the store with the recount, after the end.
    ///
    /// # Errors
    /// With every difference.
    pub fn check_store(&self, serving: &Serving, seen: &Seen) -> Result<StoreCompared> {
        let (expected, rules) = (self.expected()?, self.config.rules());
        let manifest = self.newest()?.context("no checkpoint")?;
        let compared = store_check::check(serving, &expected, &manifest, (rules.top_n, rules.top_minutes))?;
        seen.check(&expected.counts)?;
        Ok(compared)
    }

    fn expected(&self) -> Result<Expected> {
        oracle::recount(&self.input, &self.config.rules())
    }

    /// Compares what is committed, and the counters of the last checkpoint, with the recount.
    ///
    /// # Errors
    /// With every difference.
    pub fn check(&self) -> Result<Compared> {
        let expected = self.expected()?;
        let manifest = self.newest()?.context("no checkpoint")?;
        ensure!(manifest.last, "checkpoint {} is the newest, and not the last", manifest.checkpoint);
        let results = results::read_results(&self.output)?;
        let mut differences = check::differences(&expected, &results);
        differences.extend(check::counter_differences(&expected, &manifest));
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        let number = |rows: usize| rows as u64;
        Ok(Compared {
            lines: expected.valid.len() + expected.dead_letters.len(),
            count_rows: results.count_rows,
            not_counted: [
                number(expected.late.len()),
                expected.duplicates,
                number(expected.dead_letters.len()),
                number(expected.refused.len()),
            ],
        })
    }
}

fn lines_read(manifest: &Manifest) -> u64 {
    let sources = manifest.operators.iter().filter(|operator| operator.operator.starts_with("source."));
    let subtasks = sources.flat_map(|operator| &operator.subtasks);
    subtasks.filter_map(|subtask| subtask.counters.get("events_in")).sum()
}
