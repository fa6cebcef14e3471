//! `weir run` beside this process: started, looked at while it runs, asked to stop, and asked what it has done.

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A job that runs in a process of its own.
#[derive(Debug)]
pub struct RunningJob {
    process: Child,
    printed: PathBuf,
    log: PathBuf,
}

impl RunningJob {
    /// Starts a definition with its data dir below `work`, and these settings.
    pub fn start(weir: &Path, definition: &Path, work: &Path, parallelism: usize, settings: &[String]) -> Result<Self> {
        let (printed, log) = (work.join("weir.out"), work.join("weir.err"));
        let mut run = Command::new(weir);
        run.arg("run").arg(definition).args(["--json", "--quiet", "--parallelism", &parallelism.to_string()]);
        run.arg("--data-dir").arg(work.join("data"));
        run.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let process = run.stdin(Stdio::null()).stdout(File::create(&printed)?).stderr(File::create(&log)?).spawn();
        Ok(RunningJob { process: process.context("cannot start weir")?, printed, log })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.process.try_wait()? else { return Ok(()) };
        Err(anyhow!("weir run has ended, {status}: {}", fs::read_to_string(&self.log)?))
    }

    /// Ends it as Ctrl-C does, with a last checkpoint. Returns what `--json` says.
    pub fn end(mut self) -> Result<Value> {
        let asked = Command::new("kill").args(["-s", "INT", &self.process.id().to_string()]).status()?;
        ensure!(asked.success(), "weir run is gone");
        self.process.wait()?;
        let printed = fs::read_to_string(&self.printed)?;
        let summary = serde_json::from_str(printed.trim());
        let told = || format!("weir run says '{printed}': {}", fs::read_to_string(&self.log).unwrap_or_default());
        summary.with_context(told)
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        // One that was waited for is another's.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// What the shipped job is told so that all of its files go below a folder.
pub fn outputs(out: &Path) -> Vec<String> {
    let sinks = ["counts", "top_ads", "late", "dead_letters", "raw"];
    sinks.map(|sink| format!("sink.{sink}.path={}", out.join(sink).display())).into()
}

/// Bytes of the files that the newest checkpoint of a job refers to.
pub fn checkpointed_bytes(weir: &Path, data: &Path, job: &str) -> Result<u64> {
    let mut list = Command::new(weir);
    list.args(["checkpoint", "list", "--json", "--data-dir"]).arg(data);
    let listed = list.output().context("cannot start weir")?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let checkpoints: Value = serde_json::from_str(&listed).with_context(|| format!("the list says '{listed}'"))?;
    let newest = checkpoints[job].as_array().and_then(|all| all.last());
    newest.and_then(|newest| newest["bytes"].as_u64()).with_context(|| format!("no checkpoint of '{job}': {listed}"))
}

/// The newest manifest below the storage of a job, as bytes.
pub fn newest_manifest(storage: &Path, job: &str) -> Result<Option<(PathBuf, u64)>> {
    let mut newest = None;
    let Ok(lineages) = storage.join("jobs").join(job).join("checkpoints").read_dir() else { return Ok(None) };
    for lineage in lineages {
        let Ok(entries) = lineage?.path().read_dir() else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") && Some(&path) > newest.as_ref() {
                newest = Some(path);
            }
        }
    }
    // It may retire meanwhile.
    Ok(newest.and_then(|path| fs::metadata(&path).ok().map(|found| (path, found.len()))))
}
