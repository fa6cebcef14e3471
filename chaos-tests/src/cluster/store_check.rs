//! Compares a store with the recount: every count and every list in its tables, the history of its commits, and what the
//! query service answers.

use super::{
    reader::Question,
    serving::{Serving, ask},
    waiting::wait_for,
};
use crate::{
    check::compare_maps,
    oracle::{CountKey, Expected, RankKey},
};
use anyhow::{Context, Result, ensure};
use sqlx::{AnyPool, Row, any::AnyPoolOptions};
use std::collections::BTreeMap;
use weir_engine::checkpoint::Manifest;

/// The sinks of the store, and their tables.
const SINKS: [(&str, &str); 2] = [("sink.store", "ad_counts"), ("sink.store_top", "top_ads")];

/// The checkpoints whose commits a sink's history keeps, counted back from the newest.
const KEPT_COMMITS: i64 = 1_000;

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreCompared {
    /// Rows of counts.
    pub counts: usize,
    /// Places of top lists.
    pub places: usize,
    /// Commits of all sinks.
    pub commits: usize,
    /// Answers of the query service.
    pub answers: usize,
}

/// A commit in the history of a sink.
#[derive(Clone, Copy, Debug)]
struct Commit {
    checkpoint: i64,
    attempt: i64,
    staged_at_ms: i64,
    committed_at_ms: i64,
    rows: i64,
}

/// Compares all of it, after the end of the job. `top` is how many ads and how many minutes a top list has.
///
/// # Errors
/// With every difference.
pub fn check(serving: &Serving, expected: &Expected, last: &Manifest, top: (usize, i64)) -> Result<StoreCompared> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut compared, mut differences) = (StoreCompared::default(), Vec::new());
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new().max_connections(1).connect(&serving.url).await.context("no store")?;
        compared.counts = check_counts(&pool, expected, &mut differences).await?;
        compared.places = check_lists(&pool, expected, &mut differences).await?;
        for (sink, table) in SINKS {
            compared.commits += check_commits(&pool, sink, table, last, &mut differences).await?;
        }
        pool.close().await;
        anyhow::Ok(())
    })?;
    compared.answers = check_answers(&serving.address, expected, top, &mut differences)?;
    ensure!(differences.is_empty(), "the store is wrong:\n{}", differences.join("\n"));
    Ok(compared)
}

async fn check_counts(pool: &AnyPool, expected: &Expected, differences: &mut Vec<String>) -> Result<usize> {
    let rows = sqlx::query("SELECT ad_id, click_minute, filter_id, count, revision FROM ad_counts").fetch_all(pool);
    let mut found: BTreeMap<CountKey, i64> = BTreeMap::new();
    for row in rows.await? {
        let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if row.try_get::<i64, _>(4)? < 0 {
            differences.push(format!("{key:?} is a running count, and the job has ended"));
        }
        found.insert(key, row.try_get(3)?);
    }
    compare_maps("counts in the store", &expected.counts, &found, differences);
    Ok(found.len())
}

async fn check_lists(pool: &AnyPool, expected: &Expected, differences: &mut Vec<String>) -> Result<usize> {
    let rows = sqlx::query("SELECT window_end, filter_id, rank, ad_id, count FROM top_ads").fetch_all(pool);
    let mut found: BTreeMap<RankKey, (String, i64)> = BTreeMap::new();
    for row in rows.await? {
        let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        found.insert(key, (row.try_get(3)?, row.try_get(4)?));
    }
    compare_maps("top ads in the store", &expected.top_ads, &found, differences);
    Ok(found.len())
}

/// Checkpoints in which a sink had nothing to write, and those that were given up, have no commit. So what must be without
/// gaps and repeats is what was written: as many rows as came to the sink by the last checkpoint.
async fn check_commits(
    pool: &AnyPool,
    sink: &str,
    table: &str,
    last: &Manifest,
    differences: &mut Vec<String>,
) -> Result<usize> {
    let newest = "SELECT checkpoint, committed_at_ms FROM weir_sinks WHERE sink = $1 AND table_name = $2";
    let marker = sqlx::query(newest).bind(sink).bind(table).fetch_one(pool).await.context("no commit marker")?;
    let history = "SELECT checkpoint, attempt, staged_at_ms, committed_at_ms, rows FROM weir_commits WHERE sink = $1 \
                   ORDER BY checkpoint";
    let rows = sqlx::query(history).bind(sink).fetch_all(pool).await?;
    let commit = |row: &sqlx::any::AnyRow| -> sqlx::Result<Commit> {
        let [checkpoint, attempt, staged_at_ms, committed_at_ms, rows] = [0, 1, 2, 3, 4].map(|n| row.try_get(n));
        Ok(Commit {
            checkpoint: checkpoint?,
            attempt: attempt?,
            staged_at_ms: staged_at_ms?,
            committed_at_ms: committed_at_ms?,
            rows: rows?,
        })
    };
    let commits = rows.iter().map(commit).collect::<sqlx::Result<Vec<_>>>()?;
    differences.extend(disorder(&commits).into_iter().map(|wrong| format!("commits of {sink}: {wrong}")));
    let newest = commits.last().with_context(|| format!("{sink} has never committed"))?;
    let marked: (i64, i64) = (marker.try_get(0)?, marker.try_get(1)?);
    if marked != (newest.checkpoint, newest.committed_at_ms) {
        differences.push(format!("the marker of {sink} says {marked:?}, its history ends with {newest:?}"));
    }
    let written: i64 = commits.iter().map(|commit| commit.rows).sum();
    let came = rows_that_came(last, sink);
    if written > came || (is_whole(newest) && written < came) {
        differences.push(format!("{came} rows came to {sink}, and its commits are of {written}"));
    }
    Ok(commits.len())
}

/// Where of two commits the later one is not later.
fn disorder(commits: &[Commit]) -> Vec<String> {
    let pairs = commits.iter().zip(commits.iter().skip(1));
    let wrong = pairs.filter(|(one, next)| {
        next.checkpoint <= one.checkpoint
            || next.attempt < one.attempt
            || next.staged_at_ms < one.staged_at_ms
            || next.committed_at_ms < one.committed_at_ms
    });
    let unstaged = commits.iter().filter(|commit| commit.committed_at_ms < commit.staged_at_ms);
    wrong
        .map(|(one, next)| format!("{next:?} comes after {one:?}"))
        .chain(unstaged.map(|commit| format!("{commit:?} was committed before it was staged")))
        .collect()
}

/// Whether a history still begins with the first commit: old ones are forgotten by the numbers of their checkpoints, of which some had
/// nothing to write.
fn is_whole(newest: &Commit) -> bool {
    newest.checkpoint <= KEPT_COMMITS
}

fn rows_that_came(last: &Manifest, sink: &str) -> i64 {
    let sinks = last.operators.iter().filter(|operator| operator.operator == sink);
    let subtasks = sinks.flat_map(|operator| &operator.subtasks);
    subtasks.filter_map(|subtask| subtask.counters.get("rows_in")).sum::<u64>() as i64
}

fn check_answers(
    address: &str,
    expected: &Expected,
    (n, minutes): (usize, i64),
    differences: &mut Vec<String>,
) -> Result<usize> {
    let mut answers = 0;
    for question in Question::some() {
        let count = wait_for("the query service to answer", || question.ask(address))?;
        let recounted = question.recounted(&expected.counts);
        if count != recounted {
            differences.push(format!("{question:?}: the query service says {count}, the recount {recounted}"));
        }
        answers += 1;
    }
    let mut lists: BTreeMap<(i64, &str), Vec<(&str, i64)>> = BTreeMap::new();
    for ((end, filter, _), (ad, clicks)) in &expected.top_ads {
        lists.entry((*end, filter)).or_default().push((ad, *clicks));
    }
    for ((end, filter), list) in lists {
        let path = format!("/v1/ads/popular_ads?count={n}&window={minutes}&to={}&filter={filter}", end / 1000);
        let answer = wait_for("the query service to answer", || ask(address, &path))?;
        let (ads, clicks): (Vec<&str>, Vec<i64>) = list.into_iter().unzip();
        if answer["ad_ids"] != serde_json::json!(ads) || answer["counts"] != serde_json::json!(clicks) {
            differences.push(format!("{path}: {answer} instead of {ads:?} with {clicks:?}"));
        }
        answers += 1;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(checkpoint: i64, attempt: i64, at_ms: i64) -> Commit {
        Commit { checkpoint, attempt, staged_at_ms: at_ms, committed_at_ms: at_ms + 1, rows: 1 }
    }

    #[test]
    fn a_history_of_more_checkpoints_than_are_kept_has_lost_its_beginning_however_few_wrote_something() {
        assert!(is_whole(&commit(1_000, 1, 10)));
        assert!(!is_whole(&commit(1_001, 1, 10)));
    }

    #[test]
    fn disorder_in_a_history_is_seen() {
        let orderly = [commit(1, 1, 10), commit(2, 1, 20), commit(5, 2, 30)];
        assert_eq!(disorder(&orderly), Vec::<String>::new());
        for wrong in [commit(5, 2, 40), commit(6, 1, 40), commit(6, 2, 20)] {
            assert_eq!(disorder(&[orderly[2], wrong]).len(), 1, "{wrong:?}");
        }
        assert_eq!(disorder(&[Commit { committed_at_ms: 9, ..orderly[0] }]).len(), 1);
    }
}
