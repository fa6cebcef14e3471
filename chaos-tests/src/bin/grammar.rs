//! Jobs drawn at random, run with crashes, and compared with DuckDB's answer, one seed after another. Prints the seeds that
//! differ and what differs, keeps each such job with its input in a folder, and ends with an error if there was one.
//!
//! ```text
//! cargo run --release -p weir-chaos-tests --bin grammar -- --jobs 1000 --seed 1
//! cargo run --release -p weir-chaos-tests --bin grammar -- --replay 4711
//! ```

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::{io::IsTerminal, path::PathBuf, process::ExitCode, sync::Arc};
use weir_chaos_tests::{
    crash::crash_points,
    ending::exit_code,
    grammar::{
        judge::Judge,
        sequence::{Counts, Sequence},
    },
};
use weir_operators::Registry;

/// Runs jobs drawn at random, with crashes, and compares their results with DuckDB's
#[derive(Debug, Parser)]
#[command(name = "grammar")]
struct Arguments {
    /// Jobs, each of a seed of its own
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where jobs that differ are kept, with their input
    #[arg(long, value_name = "FOLDER", default_value = "target/grammar")]
    keep: PathBuf,
    /// Run the job of this seed alone
    #[arg(long, value_name = "SEED", conflicts_with_all = ["jobs", "seed"])]
    replay: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> Result<()> {
    let (first, jobs) = match arguments.replay {
        Some(seed) => (seed, 1),
        None => (arguments.seed, arguments.jobs),
    };
    let judge = Judge::start()?.context("there is no Python with DuckDB here")?;
    let points: Vec<&str> = crash_points(Arc::new(Registry)).await?.into_keys().collect();
    let mut sequence = Sequence { judge, points, keep: Some(arguments.keep.clone()), counts: Counts::default() };
    let is_terminal = std::io::stderr().is_terminal();
    for (done, seed) in (1..=jobs).zip(first..) {
        if let Some(failure) = sequence.next(seed).await? {
            println!("seed {seed} fails: {failure}\n");
        }
        if is_terminal {
            eprint!("\r{done} of {jobs} jobs, {} failures ", sequence.counts.failures.len());
        } else if done.is_multiple_of(100) {
            println!("{done} jobs done");
        }
    }
    if is_terminal {
        eprintln!();
    }
    println!("{}", sequence.counts);
    let failing = &sequence.counts.failures;
    if failing.is_empty() {
        return Ok(());
    }
    if let Some(seed) = arguments.replay {
        bail!("seed {seed} fails; its job and its input are in {}", arguments.keep.display());
    }
    bail!(
        "failing seeds: {failing:?}; run one again with --replay SEED. Their jobs and inputs, made smaller, are in {}",
        arguments.keep.display()
    )
}
