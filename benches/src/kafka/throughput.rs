//! Clicks of a topic, counted per ad and minute into another, beside a consumer that only drains the topic with the same client.

use super::{
    KafkaArguments,
    topics::{Clicks, Kafka, key_of, record},
};
use crate::child;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

/// Clicks that have the same time; then the next ones are a second later.
const CLICKS_A_SECOND: u64 = 10_000;
/// 2022-03-04 00:00:00 UTC.
const BEGIN_MS: i64 = 1_646_352_000_000;

/// What was measured.
pub struct Measured {
    events: u64,
    drained_a_second: f64,
    counted_a_second: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
}

impl Measured {
    pub fn as_json(&self) -> Value {
        json!({
            "events": self.events, "drained_a_second": self.drained_a_second, "counted_a_second": self.counted_a_second,
            "share": self.counted_a_second / self.drained_a_second, "cpu_seconds": self.cpu_seconds,
            "peak_bytes": self.peak_bytes,
        })
    }

    pub fn print(&self) {
        println!(
            "\ncount per ad and minute, from topic to topic: {} clicks, {:.0} a second; a bare consumer drains {:.0} a second: a \
             share of {:.2}. weir used {:.1} CPU s and {:.0} MB",
            self.events,
            self.counted_a_second,
            self.drained_a_second,
            self.counted_a_second / self.drained_a_second,
            self.cpu_seconds,
            self.peak_bytes as f64 / 1e6
        );
    }
}

pub fn measure(arguments: &KafkaArguments, events: u64, kafka: &Kafka, weir: &Path, work: &Path) -> Result<Measured> {
    let (clicks, counts) = (kafka.topic("clicks")?, kafka.topic("counts")?);
    fill(arguments, events, kafka, &clicks)?;
    // The first one reads what nobody has read before; the second finds it where the job will find it.
    drain(kafka, &clicks, events)?;
    let drained_a_second = drain(kafka, &clicks, events)?;
    let definition = work.join("counts.toml");
    fs::write(&definition, job(&kafka.brokers, &clicks, &counts))?;
    let mut run = Command::new(weir);
    run.arg("run").arg(&definition).args(["--json", "--quiet", "--parallelism", "2"]);
    run.arg("--data-dir").arg(work.join("data"));
    run.args(arguments.run.set.iter().flat_map(|setting| ["--set", setting]));
    let (usage, printed) = child::measure(&mut run)?;
    let summary: Value = serde_json::from_str(printed.trim()).with_context(|| format!("weir run says '{printed}'"))?;
    ensure!(summary["events_in"] == events, "{} of {events} clicks were read", summary["events_in"]);
    ensure!(counted(kafka, &counts, events)? == events, "not every click is in a count");
    Ok(Measured {
        events,
        drained_a_second,
        counted_a_second: events as f64 / usage.wall.as_secs_f64(),
        cpu_seconds: usage.cpu.as_secs_f64(),
        peak_bytes: usage.peak_bytes,
    })
}

fn fill(arguments: &KafkaArguments, events: u64, kafka: &Kafka, topic: &str) -> Result<()> {
    let mut producer = kafka.cluster.producer()?;
    let mut clicks = Clicks::new(arguments.ads)?;
    kafka.runtime.block_on(async {
        for number in 0..events {
            let (ad, click) = clicks.next(BEGIN_MS + (number / CLICKS_A_SECOND) as i64 * 1_000);
            producer.send(record(topic, &key_of(ad), &click, kafka.partitions)).await?;
        }
        producer.flush().await
    })?;
    Ok(())
}

fn drain(kafka: &Kafka, topic: &str, events: u64) -> Result<f64> {
    let (begun, mut left, mut bytes) = (child::now(), events, 0);
    kafka.read(topic, |record| {
        left -= 1;
        bytes += record.value.map_or(0, <[u8]>::len);
        Ok(left > 0)
    })?;
    ensure!(bytes > 0, "the records are empty");
    Ok(events as f64 / (child::now() - begun).as_secs_f64())
}

/// The sum of the newest revisions of all counts; ends when that is all.
fn counted(kafka: &Kafka, topic: &str, events: u64) -> Result<u64> {
    let (mut newest, mut sum) = (std::collections::HashMap::new(), 0);
    let begun = child::now();
    kafka.read(topic, |record| {
        let value: Value = serde_json::from_slice(record.value.unwrap_or_default())?;
        let id = value["record_id"].as_str().context("no record_id")?.to_owned();
        let (revision, count) = (value["revision"].as_u64(), value["count"].as_u64().context("no count")?);
        let before = newest.insert(id, (revision, count));
        ensure!(before.is_none_or(|(before, _)| before < revision), "a revision is there twice: {value}");
        sum = sum + count - before.map_or(0, |(_, count)| count);
        ensure!((child::now() - begun).as_secs() < 300, "{sum} of {events} clicks are in counts");
        Ok(sum < events)
    })?;
    Ok(sum)
}

fn job(brokers: &str, clicks: &str, counts: &str) -> String {
    format!(
        r#"
[job]
name = "{counts}"
checkpoint = {{ interval = "1s" }}

[source.clicks]
connector = "kafka"
brokers = "{brokers}"
topics = ["{clicks}"]
end = "latest"
format = "json"
schema = {{ ad_id = "string", click_timestamp = "timestamp" }}
event_time = "click_timestamp"
watermark = {{ delay = "15s" }}

[aggregate.clicks_per_minute]
input = "clicks"
key = ["ad_id"]
window = {{ tumbling = "1m", allowed_lateness = "10m" }}
select = {{ count = "count(*)" }}

[sink.counts]
connector = "kafka"
input = "clicks_per_minute"
brokers = "{brokers}"
topic = "{counts}"
key = ["ad_id"]
"#
    )
}
