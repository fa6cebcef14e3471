//! Clicks into a topic: each a record with its ad as the key, in the partition where Java's own producer would put it.
//!
//! Invariant: what is reported as written is with the brokers.

use super::{Format, GenerateArguments, clicks_in};
use crate::{failure::Failure, runtime, signals::EndSignals, text};
use indicatif::ProgressBar;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use weir_engine::{env::Env, secrets};
use weir_kafka::{Cluster, Connection, KafkaError, NewRecord, NewTopic, Producer, partition::partition_of};
use weir_operators::source::generator::{
    AllClicks, ClickRecords, ClickStream, ClickStreamConfig, GenerateReport, LineFormat,
};

/// How often clicks are written, at a pace.
const TICK: Duration = Duration::from_millis(20);
/// How many clicks are made at once.
const AT_ONCE: u64 = 4_096;
/// After how many clicks it is asked whether all are there.
const FLUSH_CLICKS: u64 = 500_000;

/// Writes a stream of clicks to a topic.
pub(super) fn generate(
    arguments: &GenerateArguments,
    config: &ClickStreamConfig,
    brokers: &str,
    topic: &str,
    env: &Env,
) -> Result<(), Failure> {
    let format = arguments.line_format()?;
    if config.events.is_none() && arguments.pace().is_none() {
        return Err(Failure::refused("--endless needs a --rate above 0"));
    }
    let connection = Connection { brokers: brokers.into(), properties: arguments.properties()? };
    let clicks = AllClicks::new(&ClickStream::new(config.clone()).map_err(Failure::from)?, format)?;
    let (bar, stop) = (arguments.bar(config), AtomicBool::new(false));
    let (report, partitions) = runtime()?.block_on(async {
        let cluster = weir_kafka::connect(&connection).map_err(failed)?;
        let partitions = partitions_of(cluster.as_ref(), topic, config.partitions).await.map_err(failed)?;
        let to = Topic { name: topic, partitions };
        let writing = Writing { clicks, producer: cluster.producer().map_err(failed)?, to, bar: &bar, stop: &stop };
        let mut signals = EndSignals::catch()?;
        let written = writing.run(arguments.pace(), env);
        tokio::pin!(written);
        let report = tokio::select! {
            report = &mut written => report,
            () = signals.next() => {
                stop.store(true, Ordering::Relaxed);
                written.await
            }
        };
        report.map(|report| (report, partitions)).map_err(failed)
    })?;
    bar.finish_and_clear();
    show(arguments, &report, topic, partitions)?;
    let all = config.events.is_none_or(|events| report.clicks >= events);
    match (all, arguments.pace()) {
        (true, _) | (false, Some(_)) => Ok(()),
        (false, None) => {
            let clicks = text::count_of(report.clicks, "click");
            Err(Failure::failed(format!("stopped after {clicks}: the topic lacks the rest")))
        }
    }
}

fn failed(error: KafkaError) -> Failure {
    Failure::failed(error.message)
}

/// How many partitions the topic has; it is made if there is none.
async fn partitions_of(cluster: &dyn Cluster, topic: &str, partitions: u32) -> Result<i32, KafkaError> {
    if let Some(known) = cluster.describe(topic).await? {
        return Ok(known.partitions);
    }
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    let new = NewTopic { name: topic.into(), partitions, replication: None, settings: Vec::new() };
    cluster.create(&new).await?;
    // Somebody may have been quicker.
    Ok(cluster.describe(topic).await?.map_or(partitions, |known| known.partitions))
}

struct Topic<'a> {
    name: &'a str,
    partitions: i32,
}

/// Clicks on their way into a topic.
struct Writing<'a> {
    clicks: AllClicks,
    producer: Box<dyn Producer>,
    to: Topic<'a>,
    bar: &'a ProgressBar,
    stop: &'a AtomicBool,
}

impl Writing<'_> {
    /// All clicks, or those until it is stopped: they are there when this returns.
    async fn run(mut self, pace: Option<u64>, env: &Env) -> Result<GenerateReport, KafkaError> {
        let (mut report, mut records, mut flushed) = (GenerateReport::default(), ClickRecords::default(), 0);
        let start = env.now();
        while !self.stop.load(Ordering::Relaxed) {
            let due = match pace {
                Some(pace) => {
                    env.sleep(TICK).await;
                    let due = (env.now() - start).as_millis() * u128::from(pace) / 1_000;
                    u64::try_from(due).unwrap_or(u64::MAX)
                }
                None => report.clicks + AT_ONCE,
            };
            if !self.write_until(due, &mut records, &mut report).await? {
                break;
            }
            if report.clicks - flushed >= FLUSH_CLICKS {
                self.producer.flush().await?;
                flushed = report.clicks;
            }
            // Signals are listened to, however fast the brokers are.
            tokio::task::yield_now().await;
        }
        self.producer.flush().await?;
        Ok(report)
    }

    /// Hands over what is due. Whether there is more.
    async fn write_until(
        &mut self,
        due: u64,
        records: &mut ClickRecords,
        report: &mut GenerateReport,
    ) -> Result<bool, KafkaError> {
        while report.clicks < due && !self.stop.load(Ordering::Relaxed) {
            let before = report.clicks;
            let wanted = usize::try_from((due - before).min(AT_ONCE)).unwrap_or(usize::MAX);
            self.clicks.next_into(wanted, records, report);
            if report.clicks == before {
                return Ok(false);
            }
            for record in records.iter() {
                report.bytes += (record.key.len() + record.value.len()) as u64;
                let record = NewRecord {
                    topic: self.to.name,
                    partition: partition_of(record.key, self.to.partitions),
                    key: Some(record.key),
                    value: Some(record.value),
                    headers: &[],
                    timestamp_ms: None,
                };
                self.producer.send(record).await?;
            }
            self.bar.set_position(report.clicks);
        }
        Ok(true)
    }
}

impl GenerateArguments {
    fn line_format(&self) -> Result<LineFormat, Failure> {
        match self.format {
            Format::Json if self.event_id => Err(Self::event_id_refused()),
            Format::Json => Ok(LineFormat::Json),
            Format::ClickLog => Ok(LineFormat::ClickLog { event_id: self.event_id }),
            Format::Parquet => Err(Failure::refused(
                "--format parquet is for files: a record of a topic is one click, as click_log or json",
            )),
        }
    }

    /// The properties, with what their secrets stand for.
    fn properties(&self) -> Result<BTreeMap<String, weir_engine::hidden::Hidden<String>>, Failure> {
        let mut properties = BTreeMap::new();
        for property in &self.property {
            let Some((name, value)) = property.split_once('=') else {
                return Err(Failure::refused("--property is NAME=VALUE, as in compression.type=lz4"));
            };
            let value =
                secrets::resolve(value).map_err(|mistake| Failure::refused(format!("--property {name}: {mistake}")))?;
            properties.insert(name.trim().into(), value);
        }
        Ok(properties)
    }
}

fn show(arguments: &GenerateArguments, report: &GenerateReport, topic: &str, partitions: i32) -> Result<(), Failure> {
    if arguments.json {
        let report = json!({
            "clicks": report.clicks,
            "duplicates": report.duplicates,
            "late": report.late,
            "broken_lines": report.broken_lines,
            "bytes": report.bytes,
            "topic": topic,
            "partitions": partitions,
        });
        return text::print(&format!("{report}\n"));
    }
    text::print(&clicks_in(report))?;
    let partitions = text::count_of(u64::try_from(partitions).unwrap_or(0), "partition");
    text::print(&format!("{} in {partitions} of topic {topic}\n", text::bytes(report.bytes)))
}
