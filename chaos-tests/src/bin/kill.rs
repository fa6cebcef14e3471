//! The long kill test: a cluster of real processes that are killed and frozen while input arrives, for as long as wanted.
//! Prints every fault, and at the end what was compared with the recount; ends with an error when that differs.
//!
//! ```text
//! cargo run --release -p weir-chaos-tests --bin kill -- --minutes 30 --seed 7
//! cargo run --release -p weir-chaos-tests --bin kill -- --minutes 30 --store postgres
//! cargo run --release -p weir-chaos-tests --bin kill -- --kafka 200
//! cargo run --release -p weir-chaos-tests --bin kill -- --pipeline 100
//! ```

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum, builder::RangedU64ValueParser};
use std::{process::ExitCode, time::Duration};
use weir_chaos_tests::{
    cluster::{kafka::KafkaRun, kill_run::KillRun, pipeline::PipelineRun, serving::Store},
    ending::exit_code,
};

/// Kills and freezes the processes of a cluster while input arrives, and compares what it has counted with a recount
#[derive(Debug, Parser)]
#[command(name = "kill")]
struct Arguments {
    /// Picks whom, and when
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Kills, at least
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    kills: usize,
    /// Minutes to go on, at least
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    minutes: u64,
    /// Workers of the cluster
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000))]
    workers: usize,
    /// Slots that the job needs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000))]
    parallelism: usize,
    /// The longest wait between two faults, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..))]
    longest_pause_ms: u64,
    /// Have the job fill a store, which is served and read meanwhile
    #[arg(long, value_name = "STORE")]
    store: Option<StoreKind>,
    /// A job from topics to topics of Kafka instead, and so many faults
    #[arg(long, value_name = "FAULTS", conflicts_with_all = ["pipeline", "store", "kills", "minutes", "workers", "parallelism", "longest_pause_ms"], value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    kafka: Option<usize>,
    /// All jobs of an ad business instead, and so many faults
    #[arg(long, value_name = "FAULTS", conflicts_with_all = ["store", "kills", "minutes", "workers", "parallelism"], value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pipeline: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StoreKind {
    /// In a file
    Sqlite,
    /// In a server of its own, which is killed, too
    Postgres,
}

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let &Arguments { seed, kills, workers, parallelism, .. } = arguments;
    let longest_pause = Duration::from_millis(arguments.longest_pause_ms);
    if let Some(faults) = arguments.kafka {
        let kafka = KafkaRun { seed, faults, verbose: true };
        println!("{}", kafka.run()?.context("Kafka or the consumer is not installed here")?);
        return Ok(());
    }
    if let Some(faults) = arguments.pipeline {
        let pipeline = PipelineRun { seed, faults, longest_pause, verbose: true };
        println!("{}", pipeline.run()?.context("Kafka or the consumer is not installed here")?);
        return Ok(());
    }
    let at_least = Duration::from_secs(60 * arguments.minutes);
    let run = KillRun { kills, at_least, workers, parallelism, longest_pause, verbose: true, ..KillRun::short(seed)? };
    let report = match arguments.store {
        None => run.run()?,
        Some(StoreKind::Sqlite) => run.run_serving(Store::sqlite())?,
        Some(StoreKind::Postgres) => {
            run.run_serving(Store::postgres()?.context("PostgreSQL is not installed here")?)?
        }
    };
    println!("{report}");
    Ok(())
}
