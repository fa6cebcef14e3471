//! The end of a simulation: what is committed must be what a recount of the input says.

use super::{
    campaigns::Table,
    job::{Files, now},
    kafka::Kafka,
    logs::LogAct,
    plan::{Ending, Plan},
    replays::{Replays, shown},
    webhook::Webhook,
};
use crate::{
    check,
    job::{
        JOB,
        kafka::{COUNTS, TOP_ADS},
    },
    oracle::{self, Expected, replayed},
    topics,
};
use anyhow::{Context, Result, anyhow, ensure};
use std::sync::Arc;
use weir_engine::{
    checkpoint::{CheckpointStore, Manifest, split_files},
    env::Env,
    operator::SplitState,
};
use weir_operators::source::packs::unpack;

/// What outlives all processes, beside files and tables.
pub struct Beside<'a> {
    /// The topics.
    pub kafka: &'a Kafka,
    /// What was posted.
    pub webhook: &'a Webhook,
    /// What lookups ask, if there are any.
    pub campaigns: Option<&'a Table>,
}

/// Compares results and counters with the recount.
///
/// # Errors
/// With every difference.
pub fn check(plan: &Plan, files: &Files, replays: Option<&Replays>, beside: &Beside<'_>) -> Result<()> {
    let Beside { kafka, webhook, campaigns } = beside;
    let store = CheckpointStore::over(files.objects.clone(), JOB);
    let manifest = now(store.newest())?.map_err(|error| anyhow!("{error}"))?.context("no checkpoint is left")?;
    ensure!(manifest.last, "the job is finished, and checkpoint {} is not its last", manifest.checkpoint);
    if matches!(plan.ending, Ending::Drain(_)) && plan.logs.is_none() {
        files.cut_input(&positions(&store, &manifest)?)?;
    }
    let mut expected = oracle::recount(&files.input(), &plan.job.rules())?;
    without_names(plan, &mut expected.dead_letters);
    let mut differences = match files.results() {
        Ok(mut results) => {
            without_names(plan, &mut results.dead_letters);
            without_names(plan, &mut results.gone);
            allow_gone(plan, &results.gone, &mut expected.dead_letters)?;
            ensure!(results.table.is_some() == plan.with_store, "there is a database, or there should be one");
            if replays.is_some() {
                results.table = None;
            }
            check::differences(&expected, &results)
        }
        Err(error) => vec![format!("{error:#}")],
    };
    if let Some(replays) = replays {
        differences.extend(tables_counted_again(plan, files, replays)?);
    } else if plan.with_store {
        check::compare_maps("top ads in the table", &expected.top_ads, &files.top_ads_in_store()?, &mut differences);
    }
    differences.extend(check::counter_differences(&expected, &manifest));
    if plan.job.to_kafka
        && let Err(error) = topics_are_right(kafka, &expected, &mut differences)
    {
        differences.push(format!("{error:#}"));
    }
    if plan.job.to_webhook
        && let Err(error) = webhook.check(&expected.blocks, &mut differences)
    {
        differences.push(format!("{error:#}"));
    }
    if let (Some(table), Some(of_plan)) = (campaigns, &plan.job.campaigns) {
        table.check(of_plan, &files.output(), &expected.let_through, &mut differences)?;
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// Whether the topics hold what the recount says, each revision once.
fn topics_are_right(kafka: &Kafka, expected: &Expected, differences: &mut Vec<String>) -> Result<()> {
    let counts = topics::read_counts(&kafka.committed(COUNTS)?)?;
    check::compare_maps("counts in their topic", &expected.counts, &counts, differences);
    let top_ads = topics::read_top_ads(&kafka.committed(TOP_ADS)?)?;
    check::compare_maps("top ads in their topic", &expected.top_ads, &top_ads, differences);
    Ok(())
}

/// Whether the tables are right once all was counted again, and whether doing it once more changes nothing.
fn tables_counted_again(plan: &Plan, files: &Files, replays: &Replays) -> Result<Vec<String>> {
    let right = oracle::recount(&files.input(), replays.rules())?;
    let seen = replays.seen();
    let mut differences = Vec::new();
    let is_undamaged = !plan.job.wrong_filter && plan.replays.iter().all(|replay| replay.damage.is_none());
    if is_undamaged {
        let right = replayed::Shown::right(&right);
        let before = shown(&seen.before);
        check::compare_maps("counts in the table when the job ended", &right.counts, &before.counts, &mut differences);
        let wrong = replayed::wrong_lists(&before, &right, &seen.spans, replays.rules(), |_| true);
        differences.extend(wrong.iter().take(3).map(|wrong| format!("when the job ended: {wrong}")));
    }
    let [first, second] = seen.after.as_slice() else {
        return Ok(vec![format!("all was counted again {} times", seen.after.len())]);
    };
    let now = shown(first);
    check::compare_maps("counts in the table, counted again", &right.counts, &now.counts, &mut differences);
    check::compare_maps("top ads in the table, counted again", &right.top_ads, &now.lists, &mut differences);
    check::compare_maps("counts, counted again twice", &first.counts, &second.counts, &mut differences);
    check::compare_maps("top ads, counted again twice", &first.lists, &second.lists, &mut differences);
    let left: Vec<&String> = second.tables.iter().filter(|table| table.contains("replay_")).collect();
    if !left.is_empty() {
        differences.push(format!("replays have left {left:?} behind"));
    }
    Ok(differences)
}

/// A log that is rotated is read under whatever name it has then.
fn without_names(plan: &Plan, dead_letters: &mut [(String, i64)]) {
    if plan.logs.is_some() {
        dead_letters.iter_mut().for_each(|(file, _)| file.clear());
        dead_letters.sort();
    }
}

/// Of a log that was removed while nobody looked it cannot be known that all of it had been read, although it had: that may be
/// said, once for each. No click may be missing.
fn allow_gone(plan: &Plan, gone: &[(String, i64)], expected: &mut Vec<(String, i64)>) -> Result<()> {
    let steps = plan.logs.iter().flat_map(|logs| &logs.steps);
    let removed = steps.filter(|step| step.act == LogAct::RemoveOldest).count();
    ensure!(gone.len() <= removed, "{} files are said to be gone, of {removed} that were removed", gone.len());
    expected.extend_from_slice(gone);
    expected.sort();
    Ok(())
}

/// How far each split was read, wherever the checkpoint keeps that: large states lie in files of their own, and many in one.
fn positions(store: &CheckpointStore, manifest: &Manifest) -> Result<Vec<SplitState>> {
    let env = Env::simulated(1, Arc::new(|| 0));
    let mut all = Vec::new();
    for subtask in manifest.operators.iter().flat_map(|operator| &operator.subtasks) {
        all.extend(now(split_files::read(store, &env, subtask))?.map_err(|error| anyhow!("{error}"))?);
    }
    unpack(all).map_err(|error| anyhow!("{error}"))
}
