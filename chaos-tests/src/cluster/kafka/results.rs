//! What a consumer of another make finds in the topics, and whether it is what a recount says.

use super::definition::{CLICKS, COUNTS, DEAD_LETTERS, LATE, OUTPUTS, RAW, RUNNING};
use crate::{
    check::compare_maps,
    job::JobConfig,
    oracle::{self, CountKey, Expected},
};
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
};

/// What was compared.
#[derive(Clone, Copy, Debug)]
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

/// Reads all topics to their ends, recounts the clicks, and compares.
///
/// # Errors
/// With every difference.
pub fn check(python: &Path, brokers: &str, folder: &Path, config: &JobConfig) -> Result<Compared> {
    std::fs::create_dir_all(folder)?;
    consume(python, &[brokers, "files", &folder.display().to_string(), CLICKS])?;
    let expected = oracle::recount(folder, &config.rules())?;
    let arguments: Vec<&str> = [brokers, "records"].into_iter().chain(OUTPUTS).collect();
    let mut topics: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in consume(python, &arguments)?.lines() {
        let record: Value = serde_json::from_str(line).with_context(|| format!("the consumer printed {line:?}"))?;
        let topic = record["topic"].as_str().context("a record without a topic")?.to_owned();
        topics.entry(topic).or_default().push(record);
    }
    compare(&expected, &topics)
}

fn consume(python: &Path, arguments: &[&str]) -> Result<String> {
    let script = include_str!("consume.py");
    let output = Command::new(python).args(["-c", script]).args(arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "the consumer of {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).map_err(|error| anyhow!("the consumer printed no UTF-8: {error}"))
}

fn compare(expected: &Expected, topics: &BTreeMap<String, Vec<Value>>) -> Result<Compared> {
    let records = |topic: &str| topics.get(topic).map(Vec::as_slice).unwrap_or_default();
    let mut differences = Vec::new();
    for topic in [COUNTS, RUNNING] {
        let found = newest(records(topic)).with_context(|| format!("topic {topic}"))?;
        compare_maps(topic, &expected.counts, &found, &mut differences);
    }
    let sizes = [(LATE, expected.late.len()), (DEAD_LETTERS, expected.dead_letters.len()), (RAW, expected.valid.len())];
    for (topic, size) in sizes {
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

/// The newest revision of each count. What consumers rely on is checked on the way: a revision of a record is there once, its
/// headers say what its value says, and a key is always in one partition.
fn newest(records: &[Value]) -> Result<BTreeMap<CountKey, i64>> {
    let mut seen = BTreeSet::new();
    let mut partitions = BTreeMap::new();
    let mut newest: BTreeMap<CountKey, (i64, i64)> = BTreeMap::new();
    for record in records {
        let (value, headers) = (&record["value"], &record["headers"]);
        let text = |key: &str| value[key].as_str().with_context(|| format!("no {key}: {record}"));
        let (id, revision) = (text("record_id")?, value["revision"].as_i64().context("no revision")?);
        ensure!(seen.insert((id, revision)), "revision {revision} of record {id} is there twice: {record}");
        ensure!(headers["record_id"] == id, "{record}");
        ensure!(headers["revision"].as_str() == Some(&*revision.to_string()), "{record}");
        ensure!(headers["checkpoint"].is_string(), "{record}");
        let partition = partitions.entry(record["key"].to_string()).or_insert(&record["partition"]);
        ensure!(*partition == &record["partition"], "a key in two partitions: {record}");
        ensure!(value["withdrawn"] == false, "no count is ever withdrawn here: {record}");
        let key = (text("ad_id")?.to_owned(), time(text("window_start")?)?, text("filter_id")?.to_owned());
        let count = value["count"].as_i64().context("no count")?;
        let known = newest.entry(key).or_insert((revision, count));
        *known = (*known).max((revision, count));
    }
    Ok(newest.into_iter().map(|(key, (_, count))| (key, count)).collect())
}

fn time(text: &str) -> Result<i64> {
    oracle::parse_time(text).with_context(|| format!("{text:?} is no time"))
}
