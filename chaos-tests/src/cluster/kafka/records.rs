//! Records of topics as a consumer of another make reads them, and what any consumer relies on.

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
};

/// Reads topics to their ends, read committed. A record is an object with `topic`, `partition`, `key`, `headers` and `value`.
///
/// # Errors
/// When a topic is not there or cannot be read to its end.
pub fn read(python: &Path, brokers: &str, topics: &[&str]) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut records: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in consume(python, &[&[brokers, "records"], topics].concat())?.lines() {
        let record: Value = serde_json::from_str(line).with_context(|| format!("the consumer printed {line:?}"))?;
        let topic = record["topic"].as_str().context("a record without a topic")?.to_owned();
        records.entry(topic).or_default().push(record);
    }
    Ok(records)
}

/// Reads a topic to its end, each partition into a file `PARTITION.log` with a record a line.
///
/// # Errors
/// As [`read`].
pub fn read_to_files(python: &Path, brokers: &str, topic: &str, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    consume(python, &[brokers, "files", &folder.display().to_string(), topic]).map(drop)
}

fn consume(python: &Path, arguments: &[&str]) -> Result<String> {
    let script = include_str!("consume.py");
    let output = Command::new(python).args(["-c", script]).args(arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "the consumer of {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).map_err(|error| anyhow!("the consumer printed no UTF-8: {error}"))
}

/// The value of the newest revision of each record. What consumers rely on is checked on the way: a revision of a record is there
/// once, its headers say what its value says, and a key is always in one partition.
///
/// # Errors
/// When a consumer could not trust what is there.
pub fn newest(records: &[Value]) -> Result<Vec<&Value>> {
    let mut seen = BTreeSet::new();
    let mut partitions = BTreeMap::new();
    let mut newest: BTreeMap<&str, (i64, &Value)> = BTreeMap::new();
    for record in records {
        let (value, headers) = (&record["value"], &record["headers"]);
        let id = value["record_id"].as_str().with_context(|| format!("no record_id: {record}"))?;
        let revision = value["revision"].as_i64().with_context(|| format!("no revision: {record}"))?;
        ensure!(seen.insert((id, revision)), "revision {revision} of record {id} is there twice: {record}");
        ensure!(headers["record_id"] == id, "{record}");
        ensure!(headers["revision"].as_str() == Some(&*revision.to_string()), "{record}");
        ensure!(headers["checkpoint"].is_string(), "{record}");
        let partition = partitions.entry(record["key"].to_string()).or_insert(&record["partition"]);
        ensure!(*partition == &record["partition"], "a key in two partitions: {record}");
        let known = newest.entry(id).or_insert((revision, value));
        if known.0 < revision {
            *known = (revision, value);
        }
    }
    Ok(newest.into_values().map(|(_, value)| value).collect())
}
