//! Random scenarios, one after the other: another input, job, parallelisms and crashes at every seed. Prints the seeds that
//! fail and what was wrong, and ends with an error if there was one. `--replay SEED` runs one again.

use anyhow::{Result, bail};
use clap::Parser;
use std::{process::ExitCode, sync::Arc, time::Duration};
use weir_chaos_tests::{
    crash::{Scenario, crash_points},
    ending::exit_code,
};
use weir_engine::env::Env;
use weir_operators::Registry;

/// Runs random scenarios in one process, with crashes, and compares what they have counted with a recount
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Arguments {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    seconds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Run the scenario of this seed alone
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seconds", "seed"])]
    replay: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()).await)
}

async fn run(arguments: &Arguments) -> Result<()> {
    let points: Vec<&str> = crash_points(Arc::new(Registry)).await?.into_keys().collect();
    if let Some(seed) = arguments.replay {
        let scenario = Scenario::random(seed, &points);
        println!("{scenario}");
        let crashes = scenario.run(Arc::new(Registry)).await?;
        println!("right, after {crashes} crashes");
        return Ok(());
    }
    let env = Env::default();
    let end = env.now() + Duration::from_secs(arguments.seconds);
    let (mut seed, mut crashes, mut failed) = (arguments.seed, 0, Vec::new());
    while env.now() < end {
        match Scenario::random(seed, &points).run(Arc::new(Registry)).await {
            Ok(happened) => crashes += happened,
            Err(error) => {
                println!("seed {seed} fails: {error:#}\n");
                failed.push(seed);
            }
        }
        seed += 1;
    }
    println!("{} scenarios, {crashes} crashes, {} failures", seed - arguments.seed, failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("failing seeds: {failed:?}") }
}
