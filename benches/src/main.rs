//! `weir-bench`: measurements that anyone can run again, peers included. What is measured and how to read it: README.md.
//!
//! Reading order: [`case`] (what is counted), [`replay`] (who counts it, in which order, and who must agree), [`weir`],
//! [`duckdb`] and [`flink`] (the contestants), [`child`] (how a process is measured), [`report`] (what becomes of it). Beside
//! it: [`cluster`] (one process against several), [`recovery`] (how long a killed worker is missed) and [`checkpoints`] (what a
//! checkpoint costs when a dedup is full), over [`processes`]; [`freshness`] (how old a count is when it can be seen);
//! [`attribution`] (how old an attributed order is when it can be seen); [`joined`] (the same join from files, beside Flink); [`followed`] (what idle logs cost) and [`small_files`] (what a file costs that is read once), over [`job`] and [`running`];
//! [`upserts`] (how many rows a second a table takes) and [`queries`] (how long questions take), which write by [`counts_table`]; [`pages`]
//! (what plain Parquet pages save); [`kafka`] (from topic to topic).
//!
//! Invariant: a run whose results differ from DuckDB's makes the whole measurement fail, however fast it was.

mod attribution;
mod case;
mod checkpoints;
mod child;
mod cluster;
mod common;
mod counts_table;
mod duckdb;
mod flink;
mod followed;
mod freshness;
mod http;
mod input;
mod job;
mod joined;
mod kafka;
mod latencies;
mod pages;
mod processes;
mod queries;
mod recovery;
mod replay;
mod report;
mod running;
mod small_files;
mod upserts;
mod weir;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures Weir beside its peers, as whole processes.
#[derive(Debug, Parser)]
#[command(name = "weir-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay generated clicks from files: count, dedup and count, the ad-click job, JSON lines
    Replay(replay::ReplayArguments),
    /// The same replay in one process and on a cluster of this machine
    Cluster(cluster::ClusterArguments),
    /// Kill workers of a running job, and measure how long it takes until there are new results
    Recovery(recovery::RecoveryArguments),
    /// Run the shipped job on a cluster until its dedup is full, and measure what a checkpoint costs
    Checkpoints(checkpoints::CheckpointsArguments),
    /// Follow many logs that nobody writes to, and measure what that costs
    Followed(followed::FollowedArguments),
    /// Count clicks in many small files and in few large ones
    SmallFiles(small_files::SmallFilesArguments),
    /// Commit running counts into a table, and measure how many upserts a second it takes
    Upserts(upserts::UpsertsArguments),
    /// Append clicks to logs, and measure how long it takes until their counts are to be had over HTTP
    Freshness(freshness::FreshnessArguments),
    /// Append clicks and orders to logs, and measure how long it takes until each order's answer is committed
    Attribution(attribution::AttributionArguments),
    /// Join orders with clicks from files, beside Flink
    Join(joined::JoinArguments),
    /// Fill a store, and measure how long questions take over HTTP while it is written
    Queries(queries::QueriesArguments),
    /// Write rows as Parquet by plain pages and by ArrowWriter, and compare rows a second and bytes
    Pages(pages::PagesArguments),
    /// From a Kafka topic to another: how old running counts are, and how many clicks a second are counted
    Kafka(kafka::KafkaArguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Replay(arguments) => run(&arguments),
        Command::Cluster(arguments) => cluster::cluster(&arguments),
        Command::Recovery(arguments) => recovery::recovery(&arguments).map(|()| true),
        Command::Checkpoints(arguments) => checkpoints::checkpoints(&arguments).map(|()| true),
        Command::Followed(arguments) => followed::followed(&arguments).map(|()| true),
        Command::SmallFiles(arguments) => small_files::small_files(&arguments).map(|()| true),
        Command::Upserts(arguments) => upserts::upserts(&arguments).map(|()| true),
        Command::Freshness(arguments) => freshness::freshness(&arguments).map(|()| true),
        Command::Attribution(arguments) => attribution::attribution(&arguments).map(|()| true),
        Command::Join(arguments) => joined::join(&arguments).map(|()| true),
        Command::Queries(arguments) => queries::queries(&arguments).map(|()| true),
        Command::Kafka(arguments) => kafka::kafka(&arguments).map(|()| true),
        Command::Pages(arguments) => pages::pages(&arguments).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("weir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True: all results agree.
fn run(arguments: &replay::ReplayArguments) -> Result<bool> {
    let report = replay::replay(arguments)?;
    if arguments.common.json {
        println!("{}", report.as_json());
    } else {
        println!("{}", report.as_text());
    }
    Ok(report.disagreements.is_empty())
}
