//! Simulations of the whole cluster, one seed after another on all processors. Prints the seeds that fail and what was wrong,
//! and ends with an error if there was one. `--seed SEED` runs one again, with `--verbose` line by line.
//! `--replays` runs only the seeds in which minutes are counted again, `--kafka` seeds with topics of Kafka, which are others.

use anyhow::{Result, bail};
use clap::Parser;
use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};
use weir_chaos_tests::{
    ending::exit_code,
    simulation::{Plan, crash_points, many::for_each, run, run::kafka_points},
};

/// Simulates the whole cluster, one seed after another on all processors, and compares what it has counted with a recount
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// Seeds
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first one
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Run only those in which minutes are counted again
    #[arg(long)]
    replays: bool,
    /// Run only those with topics of Kafka: another seed is behind the same number then
    #[arg(long)]
    kafka: bool,
    /// Run this one alone, and say what happened in it
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from", "replays"])]
    seed: Option<u64>,
    /// With --seed: say it line by line, with the logs of all processes (RUST_LOG filters them)
    #[arg(long, requires = "seed")]
    verbose: bool,
}

fn main() -> ExitCode {
    exit_code(simulate(&Arguments::parse()))
}

fn simulate(arguments: &Arguments) -> Result<()> {
    let mut points = crash_points()?;
    if arguments.kafka {
        points.kafka = kafka_points()?;
    }
    let random = if arguments.kafka { Plan::random_with_kafka } else { Plan::random };
    if let Some(seed) = arguments.seed {
        if arguments.verbose {
            let filter = tracing_subscriber::EnvFilter::try_from_default_env();
            let filter = filter.unwrap_or_else(|_| "info,turmoil=warn".into());
            tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).init();
        }
        let plan = random(seed, &points);
        print!("{plan}");
        let outcome = run(&plan);
        let lines = if arguments.verbose { &outcome.details } else { &outcome.story };
        println!("{}", lines.join("\n"));
        return outcome.verdict;
    }
    let seeds = (arguments.from..).zip(0..arguments.seeds);
    let plans = seeds.map(|(seed, _)| random(seed, &points));
    let plans = plans.filter(|plan| !arguments.replays || !plan.replays.is_empty());
    let plans: Vec<Plan> = plans.filter(|plan| !arguments.kafka || plan.job.to_kafka).collect();
    let (done, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = |plan: &Plan| {
        let outcome = run(plan);
        ended.fetch_add(outcome.ended as u64, Ordering::Relaxed);
        outcome.verdict.err().map(|error| format!("{error:#}"))
    };
    let failures = for_each(&plans, work, |plan, wrong| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        match wrong {
            Some(wrong) => println!("seed {} fails: {wrong}\n", plan.seed),
            None if done.is_multiple_of(100) => println!("{done} seeds done"),
            None => {}
        }
    });
    let failing: Vec<u64> =
        plans.iter().zip(failures).filter(|(_, wrong)| wrong.is_some()).map(|(plan, _)| plan.seed).collect();
    println!(
        "{} seeds, {} processes ended before their time, {} failures",
        plans.len(),
        ended.into_inner(),
        failing.len()
    );
    if failing.is_empty() {
        Ok(())
    } else {
        bail!("failing seeds: {failing:?}; run one again with --seed SEED --verbose")
    }
}
