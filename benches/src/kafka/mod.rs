//! From topic to topic, on one machine with the broker, the producer and the consumer: how old a running count is when a consumer
//! that reads committed records has it ([`latency`]), and how many clicks a second are counted beside a consumer that only drains
//! the topic ([`throughput`]).

mod latency;
mod throughput;
mod topics;

use crate::{
    common::{Common, RunSettings},
    input,
};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use topics::Kafka;
use weir_test_support::kafka_server::KafkaServer;

/// Arguments of `weir-bench kafka`.
#[derive(Debug, Args)]
pub struct KafkaArguments {
    /// Clicks a second; several numbers are measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10000,50000")]
    rate: Vec<u64>,
    /// How long each rate is measured
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How long each rate lasts before that
    #[arg(long, value_name = "N", default_value_t = 15)]
    warm_up_seconds: u64,
    /// Clicks that are counted for the throughput; 0: it is not measured
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    events: u64,
    /// Ads that are clicked, the first most often
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    ads: u32,
    /// Partitions of the topics
    #[arg(long, value_name = "N", default_value_t = 4)]
    partitions: i32,
    /// From one checkpoint to the next, and from one running count to the next, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 200)]
    interval_ms: u64,
    /// Brokers to use [default: one that is started for this, of Apache Kafka 4.1]
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    #[command(flatten)]
    run: RunSettings,
    #[command(flatten)]
    common: Common,
}

/// Measures, and prints what came of it.
pub fn kafka(arguments: &KafkaArguments) -> Result<()> {
    let (work, binary) = (arguments.common.work()?, arguments.common.binary()?);
    let mut own = None;
    let brokers = match &arguments.brokers {
        Some(brokers) => brokers.clone(),
        None => {
            let server = KafkaServer::start_to_measure()?.context("name brokers with --brokers")?;
            own.insert(server).brokers()
        }
    };
    let kafka = Kafka::new(brokers, arguments.partitions)?;
    let mut latencies = Vec::new();
    for rate in &arguments.rate {
        input::empty_folder(&work)?;
        latencies.push(latency::measure(arguments, *rate, &kafka, &binary, &work)?);
    }
    let throughput = match arguments.events {
        0 => None,
        events => {
            input::empty_folder(&work)?;
            Some(throughput::measure(arguments, events, &kafka, &binary, &work)?)
        }
    };
    input::empty_folder(&work)?;
    if arguments.common.json {
        let latencies: Vec<_> = latencies.iter().map(latency::Measured::as_json).collect();
        println!("{}", json!({ "latency": latencies, "throughput": throughput.map(|found| found.as_json()) }));
        return Ok(());
    }
    latency::print(arguments, &latencies);
    if let Some(throughput) = throughput {
        throughput.print();
    }
    Ok(())
}
