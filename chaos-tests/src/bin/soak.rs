//! Random scenarios, one after the other: another input, job, parallelisms and crashes at every seed. Prints the seeds that
//! fail and what was wrong, and ends with an error if there was one. `--replay SEED` runs one again.

use anyhow::{Context, Result, bail};
use std::{sync::Arc, time::Duration};
use weir_chaos_tests::crash::{Scenario, crash_points};
use weir_engine::env::Env;
use weir_operators::Registry;

struct Settings {
    seconds: u64,
    seed: u64,
    replay: Option<u64>,
}

fn settings() -> Result<Settings> {
    let mut settings = Settings { seconds: 60, seed: 1, replay: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a number"))?;
        let number = value.parse().with_context(|| format!("{name} {value}: not a number"))?;
        match name.as_str() {
            "--seconds" => settings.seconds = number,
            "--seed" => settings.seed = number,
            "--replay" => settings.replay = Some(number),
            _ => bail!("there is no {name}; use --seconds N, --seed N or --replay SEED"),
        }
    }
    Ok(settings)
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = settings()?;
    let points: Vec<&str> = crash_points(Arc::new(Registry)).await?.into_keys().collect();
    if let Some(seed) = settings.replay {
        let scenario = Scenario::random(seed, &points);
        println!("{scenario}");
        let crashes = scenario.run(Arc::new(Registry)).await?;
        println!("right, after {crashes} crashes");
        return Ok(());
    }
    let env = Env::default();
    let end = env.now() + Duration::from_secs(settings.seconds);
    let (mut seed, mut crashes, mut failed) = (settings.seed, 0, Vec::new());
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
    println!("{} scenarios, {crashes} crashes, {} failures", seed - settings.seed, failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("failing seeds: {failed:?}") }
}
