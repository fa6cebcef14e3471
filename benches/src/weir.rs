//! Weir as a contestant: `weir run` as a whole process, from its start to its last commit and its exit.

use crate::{
    case::Case,
    child::{self, Usage},
    input,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The `weir` binary: the one given, or the one beside this program, brought up to date first when cargo runs us.
pub fn binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_path_buf());
    }
    if let Ok(cargo) = std::env::var("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "--package", "weir"]);
        let status = build.current_dir(workspace()).status().context("cannot start cargo to build weir")?;
        ensure!(status.success(), "weir does not build");
    }
    let beside = std::env::current_exe().context("where am I?")?.with_file_name("weir");
    if !beside.exists() {
        bail!("there is no '{}': build it with `cargo build --release`, or name one with --weir", beside.display());
    }
    Ok(beside)
}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    benches.parent().unwrap_or(benches)
}

/// What `weir run --json` says about itself.
#[derive(Clone, Debug)]
pub struct Account {
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// The longest from trigger to completion, in milliseconds.
    pub longest_checkpoint_ms: f64,
    /// The longest that one step blocked its input, in milliseconds.
    pub longest_pause_ms: f64,
    /// Bytes of state written to checkpoints.
    pub state_bytes: u64,
}

/// Runs a case with an empty data dir and no results yet; both are below `work`, the results in `work/out`.
pub fn run(
    weir: &Path,
    case: Case,
    input: &Path,
    work: &Path,
    events: u64,
    parallelism: usize,
) -> Result<(Usage, Account)> {
    input::empty_folder(work)?;
    let mut command = Command::new(weir);
    command.arg("run").arg(case.definition()).args(["--json", "--quiet"]);
    command.arg("--parallelism").arg(parallelism.to_string());
    command.arg("--data-dir").arg(work.join("data"));
    for setting in case.settings(input, &work.join("out")) {
        command.arg("--set").arg(setting);
    }
    let (usage, output) = child::measure(&mut command)?;
    let summary: Value = serde_json::from_str(output.trim())
        .with_context(|| format!("`weir run --json` wrote something else than JSON: {output}"))?;
    Ok((usage, account(&summary, events).with_context(|| format!("the summary of '{}'", case.name()))?))
}

/// Reads the summary. A run that did not read everything, or found something late or broken in a stream that has none of
/// it, is no measurement.
fn account(summary: &Value, events: u64) -> Result<Account> {
    let integer = |at: &str| {
        summary.pointer(at).and_then(Value::as_u64).with_context(|| format!("no whole number at {at}: {summary}"))
    };
    let number =
        |at: &str| summary.pointer(at).and_then(Value::as_f64).with_context(|| format!("no number at {at}: {summary}"));
    let classes = [("/events_in", events), ("/late", 0), ("/dead_letters", 0), ("/filtered_out", 0)];
    for (class, expected) in classes {
        let found = integer(class)?;
        ensure!(found == expected, "{class} is {found}, and should be {expected}");
    }
    let (counted, duplicates) = (integer("/aggregates/0/counted")?, integer("/duplicates")?);
    ensure!(
        counted + duplicates == events,
        "{counted} counted and {duplicates} duplicates do not add up to {events} events"
    );
    Ok(Account {
        checkpoints: integer("/this_run/checkpoints")?,
        longest_checkpoint_ms: number("/this_run/longest_checkpoint_ms")?,
        longest_pause_ms: number("/this_run/longest_pause_ms")?,
        state_bytes: integer("/this_run/state_bytes")?,
    })
}
