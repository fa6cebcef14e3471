//! How old a running count is when a consumer of committed records has it.
//!
//! Clicks are produced at an even rate. A count of an ad that is read covers all clicks on it up to that number: each of them is as
//! old as the time since it was handed to the producer. Every click produced while it is measured is waited for.

use super::{
    KafkaArguments,
    topics::{Clicks, Kafka, key_of, record},
};
use crate::{child, job::RunningJob, latencies::Latencies, running};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long the last counts may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often clicks are produced.
const TICK: Duration = Duration::from_millis(5);

/// What was measured at a rate.
pub struct Measured {
    rate: u64,
    produced_a_second: f64,
    latencies: Latencies,
    processors: f64,
}

impl Measured {
    pub fn as_json(&self) -> Value {
        json!({
            "rate": self.rate, "produced_a_second": self.produced_a_second, "latency": self.latencies.as_json(),
            "processors": self.processors,
        })
    }
}

/// When the clicks of each ad were handed over: those that no count covers so far, and how many are covered.
#[derive(Default)]
struct Ledger {
    ads: HashMap<u32, Ad>,
    /// Clicks that are measured and not covered.
    open: u64,
    done: bool,
}

#[derive(Default)]
struct Ad {
    covered: u64,
    handed_over: std::collections::VecDeque<Option<Instant>>,
}

pub fn measure(arguments: &KafkaArguments, rate: u64, kafka: &Kafka, weir: &Path, work: &Path) -> Result<Measured> {
    let (clicks, counts) = (kafka.topic("clicks")?, kafka.topic("running")?);
    let definition = work.join("running.toml");
    fs::write(&definition, job(&kafka.brokers, &clicks, &counts, arguments.interval_ms))?;
    let mut job = RunningJob::start(weir, &definition, work, 2, &arguments.run.set)?;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let warm_up = Duration::from_secs(arguments.warm_up_seconds);
    let measured = Duration::from_secs(arguments.seconds);
    let (latencies, produced) = std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(arguments, rate, kafka, &clicks, &ledger));
        let latencies = consume(kafka, &counts, &ledger, warm_up + measured + PATIENCE);
        let produced = producing.join().map_err(|_| anyhow::anyhow!("the producer panicked"))?;
        anyhow::Ok((latencies?, produced?))
    })?;
    job.check()?;
    let processors = running::cpu_seconds(job.pid())? / (warm_up + measured).as_secs_f64();
    job.end()?;
    Ok(Measured { rate, produced_a_second: produced, latencies, processors })
}

/// Produces at the rate; says how many a second it were while it was measured.
fn produce(arguments: &KafkaArguments, rate: u64, kafka: &Kafka, topic: &str, ledger: &Mutex<Ledger>) -> Result<f64> {
    let mut producer = kafka.cluster.producer()?;
    let mut clicks = Clicks::new(arguments.ads)?;
    let (warm_up, measured) = (Duration::from_secs(arguments.warm_up_seconds), Duration::from_secs(arguments.seconds));
    let begun = child::now();
    let (mut produced, mut counted) = (0, 0_u64);
    while child::now() - begun < warm_up + measured {
        let due = ((child::now() - begun).as_secs_f64() * rate as f64) as u64;
        while produced < due {
            let counts = child::now() - begun >= warm_up;
            let (ad, click) = clicks.next(child::wall_clock_ms());
            {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                ledger.ads.entry(ad).or_default().handed_over.push_back(counts.then(child::now));
                ledger.open += u64::from(counts);
            }
            let key = key_of(ad);
            kafka.runtime.block_on(producer.send(record(topic, &key, &click, kafka.partitions)))?;
            (produced, counted) = (produced + 1, counted + u64::from(counts));
        }
        child::pause(TICK);
    }
    kafka.runtime.block_on(producer.flush())?;
    ledger.lock().unwrap_or_else(PoisonError::into_inner).done = true;
    Ok(counted as f64 / measured.as_secs_f64())
}

fn consume(kafka: &Kafka, topic: &str, ledger: &Mutex<Ledger>, patience: Duration) -> Result<Latencies> {
    let (begun, mut latencies) = (child::now(), Latencies::default());
    kafka.read(topic, |record| {
        let value: Value = serde_json::from_slice(record.value.unwrap_or_default())?;
        let (ad, count) = (value["ad_id"].as_str(), value["count"].as_u64());
        let ad = ad.and_then(|ad| ad.strip_prefix("ad")?.parse().ok()).context("a count without an ad")?;
        let count = count.context("a count without a number")?;
        let now = child::now();
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ledger.ads.get_mut(&ad).with_context(|| format!("nobody clicked ad {ad}"))?;
        let mut measured = 0;
        while found.covered < count {
            let handed_over = found.handed_over.pop_front().with_context(|| format!("ad {ad} has {count} clicks"))?;
            found.covered += 1;
            if let Some(handed_over) = handed_over {
                measured += 1;
                latencies.add((now - handed_over).as_secs_f64() * 1e3);
            }
        }
        ledger.open -= measured;
        ensure!(now - begun < patience, "{} clicks are not counted within {patience:?}", ledger.open);
        Ok(!(ledger.done && ledger.open == 0))
    })?;
    Ok(latencies)
}

/// Running counts of an ad over a day, so that no minute ends while it is measured.
fn job(brokers: &str, clicks: &str, counts: &str, interval_ms: u64) -> String {
    format!(
        r#"
[job]
name = "{counts}"
checkpoint = {{ interval = "{interval_ms}ms" }}

[source.clicks]
connector = "kafka"
brokers = "{brokers}"
topics = ["{clicks}"]
format = "json"
schema = {{ ad_id = "string", click_timestamp = "timestamp" }}
event_time = "click_timestamp"
watermark = {{ delay = "15s" }}

[aggregate.clicks_per_ad]
input = "clicks"
key = ["ad_id"]
window = {{ tumbling = "10000d" }}
select = {{ count = "count(*)" }}
emit = {{ every = "{interval_ms}ms" }}

[sink.running]
connector = "kafka"
input = "clicks_per_ad"
brokers = "{brokers}"
topic = "{counts}"
key = ["ad_id"]
running = true
"#
    )
}

pub fn print(arguments: &KafkaArguments, all: &[Measured]) {
    println!(
        "from produce to a committed running count, {} ads, a checkpoint each {} ms, {} s each\n\n\
         | clicks/s | produced/s | clicks measured | p50, ms | p99, ms | longest, ms | processors of weir |\n\
         |--:|--:|--:|--:|--:|--:|--:|",
        arguments.ads, arguments.interval_ms, arguments.seconds
    );
    for one in all {
        println!(
            "| {} | {:.0} | {} | {:.0} | {:.0} | {:.0} | {:.2} |",
            one.rate,
            one.produced_a_second,
            one.latencies.count(),
            one.latencies.percentile(50),
            one.latencies.percentile(99),
            one.latencies.percentile(100),
            one.processors
        );
    }
}
