//! The end of a simulation: what is committed must be what a recount of the input says.

use super::{
    job::{Files, now},
    plan::{Ending, Plan},
};
use crate::{check, job::JOB, oracle};
use anyhow::{Context, Result, ensure};
use weir_engine::checkpoint::{CheckpointStore, Manifest};

/// Compares results and counters with the recount.
///
/// # Errors
/// With every difference.
pub fn check(plan: &Plan, files: &Files) -> Result<()> {
    let store = CheckpointStore::over(files.objects.clone(), JOB);
    let manifest =
        now(store.newest())?.map_err(|error| anyhow::anyhow!("{error}"))?.context("no checkpoint is left")?;
    ensure!(manifest.last, "the job is finished, and checkpoint {} is not its last", manifest.checkpoint);
    if matches!(plan.ending, Ending::Drain(_)) {
        files.cut_input(&positions(&manifest))?;
    }
    let expected = oracle::recount(&files.input(), &plan.job.rules())?;
    let mut differences = match files.results() {
        Ok(results) => check::differences(&expected, &results),
        Err(error) => vec![format!("{error:#}")],
    };
    differences.extend(check::counter_differences(&expected, &manifest));
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn positions(manifest: &Manifest) -> Vec<weir_engine::operator::SplitState> {
    let subtasks = manifest.operators.iter().flat_map(|operator| &operator.subtasks);
    subtasks.flat_map(|subtask| subtask.splits.clone()).collect()
}
