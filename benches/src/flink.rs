//! Flink as a contestant on JSON lines, through PyFlink: its Python package brings no reader of Parquet.

use crate::{
    case::{self, Case},
    child::{self, Usage},
    input,
};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// A Python with the `apache-flink` package, and a Java.
#[derive(Clone, Debug)]
pub struct Flink {
    python: PathBuf,
    /// Its version.
    pub version: String,
    parallelism: usize,
}

/// What the script says of its run.
#[derive(Clone, Debug, Deserialize)]
struct Account {
    seconds: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
}

impl Flink {
    /// None when this Python has no PyFlink, or there is no Java.
    pub fn find(python: &Path, parallelism: usize) -> Option<Self> {
        let script = "import pyflink.table; from pyflink.version import __version__; print(__version__)";
        let output = Command::new(python).args(["-c", script]).stderr(Stdio::null()).output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?.trim().to_string();
        let java = Command::new("java").arg("-version").stderr(Stdio::null()).status().ok()?;
        let python = python.to_path_buf();
        (output.status.success() && java.success()).then_some(Flink { python, version, parallelism })
    }

    /// Whether there is a job of ours for a case.
    pub fn knows(&self, case: Case) -> bool {
        case == Case::Json
    }

    /// Runs the job of [`Case::Json`]; results are in `work/out`. The seconds of the job alone, and what its JVM used.
    pub fn run(&self, input: &Path, work: &Path) -> Result<(Usage, f64)> {
        self.run_script(include_str!("../peers/flink_query.py"), input, work)
    }

    /// Joins each order with all clicks of its user that were a minute before it, likewise.
    pub fn join(&self, input: &Path, work: &Path) -> Result<(Usage, f64)> {
        self.run_script(include_str!("../peers/flink_join.py"), input, work)
    }

    fn run_script(&self, script: &str, input: &Path, work: &Path) -> Result<(Usage, f64)> {
        input::empty_folder(work)?;
        let request = serde_json::json!({ "input": input, "work": work, "parallelism": self.parallelism });
        let mut command = Command::new(&self.python);
        command.arg("-c").arg(script).arg(request.to_string());
        let (usage, output) = child::measure(&mut command)?;
        let account: Account = output
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .with_context(|| format!("Flink's script wrote something else than JSON: {output}"))?;
        let cpu = Duration::from_secs_f64(account.cpu_seconds);
        Ok((Usage { wall: usage.wall, cpu, peak_bytes: account.peak_bytes }, account.seconds))
    }

    /// SQL for what it has written, with the columns of [`Case::counts_in_sql`].
    pub fn results_in_sql(&self, output: &Path) -> String {
        let files = case::quoted(&format!("{}/part-*", output.join("counts").display()));
        format!(
            "select ad_id, epoch_ms(click_minute) // 60000 as minute, '' as filter_id, \"count\" as n \
             from read_json({files}, format = 'newline_delimited', columns = \
             {{ad_id: 'VARCHAR', click_minute: 'TIMESTAMP', \"count\": 'BIGINT'}})"
        )
    }
}
