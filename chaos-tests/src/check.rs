//! Compares what was committed with what must have been. Every difference is named with a few examples.

use crate::{
    oracle::{CountKey, Expected},
    results::Results,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};
use weir_engine::checkpoint::Manifest;

/// Differences between results and recount; empty: they agree.
pub fn differences(expected: &Expected, results: &Results) -> Vec<String> {
    let mut found = Vec::new();
    compare_maps("counts", &expected.counts, &results.counts, &mut found);
    compare_maps("minutes of everybody", &expected.everybody, &results.everybody, &mut found);
    compare_maps("top ads", &expected.top_ads, &results.top_ads, &mut found);
    compare_maps("shares behind maps", &expected.shares, &results.shares, &mut found);
    compare_maps("top ads behind a map", &expected.top_kept, &results.top_kept, &mut found);
    compare_maps("blocks behind a map", &expected.blocks, &results.blocks, &mut found);
    compare_rows("orders and clicks in pairs", &expected.pairs, &results.pairs, &mut found);
    for (side, (expected, late)) in expected.pairs_late.iter().zip(&results.pairs_late).enumerate() {
        let what = ["orders that were late", "clicks that were late for orders"][side];
        compare_rows(what, expected, late, &mut found);
    }
    compare_maps("counts in other windows", &expected.others, &results.others, &mut found);
    compare_rows("rows that were late for other windows", &expected.others_late, &results.others_late, &mut found);
    compare_maps("counts beside clicks from abroad", &expected.window_join, &results.window_join, &mut found);
    let (late, found_late) = (&expected.window_join_late, &results.window_join_late);
    compare_rows("rows from abroad that were late", late, found_late, &mut found);
    compare_live(expected, results, &mut found);
    if let Some(table) = &results.table {
        compare_maps("rows of the table", &results.live, table, &mut found);
    }
    compare_rows("rows that were not late", &expected.on_time, &results.on_time, &mut found);
    compare_rows("late rows", &expected.late, &results.late, &mut found);
    compare_rows("dead letters", &expected.dead_letters, &results.dead_letters, &mut found);
    compare_rows("clicks that an expression failed on", &expected.refused, &results.refused, &mut found);
    compare_rows("rows of the raw archive", &expected.valid, &results.raw, &mut found);
    found
}

/// Nodes that count none of the clicks that minutes count: they read results, or clicks for something else.
const BESIDE: [&str; 11] = [
    "kept",
    "shares",
    "blocks",
    "other_windows",
    "orders",
    "before_orders",
    "pairs",
    "abroad",
    "abroad_minutes",
    "abroad_odd",
    "window_join",
];

/// Differences between the counters in the last manifest and the recount: every line in one class, and as many of each.
pub fn counter_differences(expected: &Expected, manifest: &Manifest) -> Vec<String> {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for operator in &manifest.operators {
        let kind = operator.operator.split('.').next().unwrap_or_default();
        // What an aggregate does before the exchange is counted again behind it.
        let is_local = operator.operator.ends_with(".local");
        let is_beside = operator.operator.split('.').any(|part| BESIDE.contains(&part));
        if is_local || is_beside {
            continue;
        }
        for counters in operator.subtasks.iter().map(|subtask| &subtask.counters) {
            counters.iter().for_each(|(name, value)| *sums.entry((kind, name)).or_default() += value);
        }
    }
    let of = |kind: &str, name: &str| sums.get(&(kind, name)).copied().unwrap_or(0);
    let matches: i64 = expected.counts.values().sum();
    let lines = (expected.valid.len() + expected.dead_letters.len()) as u64;
    let classes = [
        ("lines read", lines, of("source", "events_in")),
        ("dead letters", expected.dead_letters.len() as u64, of("source", "dead_letters")),
        (
            "failed in expressions",
            expected.refused.len() as u64,
            of("map", "dead_letters") + of("filters", "dead_letters"),
        ),
        (
            "refused by where",
            expected.refused_by_where,
            of("map", "rows_in") - of("map", "rows_out") - of("map", "dead_letters"),
        ),
        ("late", expected.late.len() as u64, of("late_gate", "late") + of("dedup", "late")),
        ("duplicates", expected.duplicates, of("dedup", "duplicates")),
        ("matched by no filter", expected.matched_by_no_filter, of("filters", "filtered_out")),
        (
            "counted",
            expected.counted,
            of("filters", "rows_in") - of("filters", "filtered_out") - of("filters", "dead_letters"),
        ),
        (
            "counted per filter, and once for everybody",
            matches as u64 + expected.on_time.len() as u64 - expected.duplicates,
            of("aggregate", "events_counted"),
        ),
    ];
    let minutes: BTreeSet<i64> = expected.counts.keys().map(|(_, minute, _)| *minute).collect();
    let windows = (minutes.len() + expected.everybody.len()) as u64;
    // Before the end some are open.
    let windows = manifest.last.then(|| ("windows", windows, of("windows", "windows")));
    let wrong = classes.into_iter().chain(windows).filter(|(_, expected, found)| expected != found);
    wrong
        .map(|(class, expected, found)| format!("{class}: the recount says {expected}, the counters {found}"))
        .collect()
}

/// A closed minute has its result in a sink with running counts too, and an open one what has been read so far. Of a minute
/// that is closed, a correction may be still to come.
fn compare_live(expected: &Expected, results: &Results, found: &mut Vec<String>) {
    let closed = results.counts.keys().map(|(_, minute, _)| *minute).max();
    let is_wrong = |key: &&CountKey| match (results.counts.get(*key), results.live.get(*key)) {
        (Some(count), live) => live != Some(count),
        (None, Some(live)) => expected.counts.get(*key) != Some(live),
        (None, None) => closed.is_none_or(|closed| closed < key.1),
    };
    let keys: BTreeSet<&CountKey> =
        expected.counts.keys().chain(results.live.keys()).chain(results.counts.keys()).collect();
    let wrong: Vec<&CountKey> = keys.into_iter().filter(is_wrong).collect();
    if let Some(first) = wrong.first() {
        let (live, count) = (results.live.get(*first), results.counts.get(*first));
        let expected = expected.counts.get(*first);
        found.push(format!(
            "{} live values are not what they should be: {first:?} is {live:?}, its result {count:?}, the recount says {expected:?}",
            wrong.len()
        ));
    }
}

const EXAMPLES: usize = 4;

/// Adds a difference for maps of which one is not what the other says.
pub fn compare_maps<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
    differences: &mut Vec<String>,
) {
    let missing = expected.iter().filter(|(key, value)| found.get(key) != Some(value));
    let examples = missing.map(|(key, value)| format!("{key:?} is {:?} instead of {value:?}", found.get(key)));
    let surplus = found.iter().filter(|(key, _)| !expected.contains_key(key));
    let surplus = surplus.map(|(key, value)| format!("{key:?} is {value:?}, which nobody clicked"));
    let all: Vec<String> = examples.chain(surplus).collect();
    if !all.is_empty() {
        differences.push(format!("{} {what} are wrong: {}", all.len(), all[..all.len().min(EXAMPLES)].join("; ")));
    }
}

/// Both sorted.
pub(crate) fn compare_rows<T: Ord + Debug>(what: &str, expected: &[T], found: &[T], differences: &mut Vec<String>) {
    if expected == found {
        return;
    }
    let mut balance: BTreeMap<&T, i64> = BTreeMap::new();
    expected.iter().for_each(|row| *balance.entry(row).or_default() -= 1);
    found.iter().for_each(|row| *balance.entry(row).or_default() += 1);
    let wrong: Vec<String> =
        balance.into_iter().filter(|(_, n)| *n != 0).map(|(row, n)| format!("{n:+} of {row:?}")).collect();
    let examples = wrong[..wrong.len().min(EXAMPLES)].join("; ");
    differences.push(format!("{} {what} instead of {}: {examples}", found.len(), expected.len()));
}
