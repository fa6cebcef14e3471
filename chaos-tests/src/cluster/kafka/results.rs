//! What a consumer of another make finds in the topics, and whether it is what a recount says.

use super::{
    definition::{CLICKS, COUNTS, DEAD_LETTERS, LATE, RAW, RUNNING},
    records,
};
use crate::{
    check::compare_maps,
    job::JobConfig,
    oracle::{self, CountKey, Expected},
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// Records of the input.
    pub clicks: usize,
    /// Records of counts, all revisions.
    pub counts: usize,
    /// Records of running counts, all revisions.
    pub running: usize,
    /// Records that were late, and that could not be read.
    pub not_counted: [usize; 2],
}

/// Reads these topics to their ends, recounts the clicks, and compares.
///
/// # Errors
/// With every difference.
pub fn check(python: &Path, brokers: &str, folder: &Path, config: &JobConfig, outputs: &[&str]) -> Result<Compared> {
    records::read_to_files(python, brokers, CLICKS, folder)?;
    let expected = oracle::recount(folder, &config.rules())?;
    compare(&expected, &records::read(python, brokers, outputs)?, outputs)
}

fn compare(expected: &Expected, topics: &BTreeMap<String, Vec<Value>>, outputs: &[&str]) -> Result<Compared> {
    let records = |topic: &str| topics.get(topic).map(Vec::as_slice).unwrap_or_default();
    let mut differences = Vec::new();
    for topic in [COUNTS, RUNNING].into_iter().filter(|topic| outputs.contains(topic)) {
        let found = counts(records(topic)).with_context(|| format!("topic {topic}"))?;
        compare_maps(topic, &expected.counts, &found, &mut differences);
    }
    let sizes = [(LATE, expected.late.len()), (DEAD_LETTERS, expected.dead_letters.len()), (RAW, expected.valid.len())];
    for (topic, size) in sizes.into_iter().filter(|(topic, _)| outputs.contains(topic)) {
        let found = records(topic).len();
        if found != size {
            differences.push(format!("{topic}: {found} records instead of {size}"));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(Compared {
        clicks: expected.valid.len() + expected.dead_letters.len(),
        counts: records(COUNTS).len(),
        running: records(RUNNING).len(),
        not_counted: [expected.late.len(), expected.dead_letters.len()],
    })
}

/// The newest revision of each count.
fn counts(records: &[Value]) -> Result<BTreeMap<CountKey, i64>> {
    let withdrawn = records.iter().find(|record| record["value"]["withdrawn"] != false);
    ensure!(withdrawn.is_none(), "no count is ever withdrawn here: {withdrawn:?}");
    let mut counts = BTreeMap::new();
    for value in records::newest(records)? {
        let text = |key: &str| value[key].as_str().with_context(|| format!("no {key}: {value}"));
        let key = (text("ad_id")?.to_owned(), time(text("window_start")?)?, text("filter_id")?.to_owned());
        let count = value["count"].as_i64().context("no count")?;
        ensure!(counts.insert(key, count).is_none(), "two records of one count: {value}");
    }
    Ok(counts)
}

fn time(text: &str) -> Result<i64> {
    oracle::parse_time(text).with_context(|| format!("{text:?} is no time"))
}
