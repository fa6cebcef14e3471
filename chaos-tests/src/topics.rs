//! The job's topics of Kafka: filled with clicks before it runs, and read when it has ended.
//!
//! Invariant: what is read here is what any consumer reads of committed records: the value is JSON, record id and revision are
//! headers, and neither pair of them is there twice.

use crate::{
    job::kafka::{CLICKS, COUNTS, TOP_ADS},
    oracle::{CountKey, RankKey},
    results::{RecordVersion, Records},
};
use anyhow::{Context, Result, ensure};
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use std::collections::BTreeMap;
use weir_kafka::NewRecord;
use weir_kafka_model::{Model, Written};

/// Makes the topics that the job writes to.
pub fn create_outputs(model: &Model) {
    model.create(COUNTS, 3, &[]);
    model.create(TOP_ADS, 2, &[]);
}

/// Makes the topic of the clicks, each of these files a partition, each line a record.
pub fn fill_clicks(model: &Model, files: &[Vec<u8>]) {
    model.create(CLICKS, files.len() as i32, &[]);
    for (partition, content) in (0..).zip(files) {
        let lines = content.strip_suffix(b"\n").unwrap_or(content).split(|byte| *byte == b'\n');
        for line in lines {
            let (topic, value) = (CLICKS, Some(line));
            model.append(&NewRecord { topic, partition, key: None, value, headers: &[], timestamp_ms: None });
        }
    }
}

/// Counts by ad, minute and filter, as the newest revisions in their topic say.
///
/// # Errors
/// When a consumer could not trust what is there.
pub fn read_counts(written: &[Written]) -> Result<BTreeMap<CountKey, i64>> {
    let mut records = Records::default();
    for (place, version, value) in values(written, COUNTS) {
        let key = (text(&value, "ad_id")?, time_ms(&value, "click_minute")?, text(&value, "filter_id")?);
        records.add(&place, version?, key, integer(&value, "count")?)?;
    }
    records.newest()
}

/// Ads and counts by place, as the newest revisions in their topic say.
///
/// # Errors
/// When a consumer could not trust what is there.
pub fn read_top_ads(written: &[Written]) -> Result<BTreeMap<RankKey, (String, i64)>> {
    let mut records = Records::default();
    for (place, version, value) in values(written, TOP_ADS) {
        let key = (time_ms(&value, "window_end")?, text(&value, "filter_id")?, integer(&value, "rank")?);
        records.add(&place, version?, key, (text(&value, "ad_id")?, integer(&value, "count")?))?;
    }
    records.newest()
}

/// Each record's place, version and value.
fn values<'a>(
    written: &'a [Written],
    topic: &str,
) -> impl Iterator<Item = (String, Result<RecordVersion>, serde_json::Value)> + use<'a> {
    let topic = topic.to_owned();
    written.iter().map(move |written| {
        let value = written.record.value.as_deref().unwrap_or_default();
        let value = serde_json::from_slice(value).unwrap_or_default();
        let version = version(written, &value);
        (format!("{topic}-{} at {}", written.partition, written.offset), version, value)
    })
}

/// Record id and revision, from the headers.
fn version(written: &Written, value: &serde_json::Value) -> Result<RecordVersion> {
    let header = |name: &str| -> Result<&str> {
        let found = written.record.headers.iter().find(|(header, _)| header == name);
        let bytes = found.and_then(|(_, bytes)| bytes.as_deref()).with_context(|| format!("no header {name}"))?;
        Ok(std::str::from_utf8(bytes)?)
    };
    let revision: i64 = header("revision")?.parse()?;
    ensure!(integer(value, "revision")? == revision, "revision {revision} in the header, {value} in the value");
    ensure!(text(value, "record_id")? == header("record_id")?, "another record id in the header than in {value}");
    header("checkpoint")?.parse::<u64>().context("the header checkpoint")?;
    let digits = header("record_id")?.replace('-', "");
    ensure!(digits.len() == 32 && digits.is_ascii(), "{digits} is no UUID");
    let id = (0..16).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16));
    Ok((id.collect::<Result<Vec<u8>, _>>()?, revision))
}

fn text(value: &serde_json::Value, name: &str) -> Result<String> {
    value[name].as_str().map(str::to_owned).with_context(|| format!("no text {name} in {value}"))
}

fn integer(value: &serde_json::Value, name: &str) -> Result<i64> {
    value[name].as_i64().with_context(|| format!("no number {name} in {value}"))
}

fn time_ms(value: &serde_json::Value, name: &str) -> Result<i64> {
    Ok(string_to_timestamp_nanos(&text(value, name)?)? / 1_000_000)
}
