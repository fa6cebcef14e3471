//! Simulations of the whole cluster, one seed after another on all processors. Prints the seeds that fail and what was wrong,
//! and ends with an error if there was one. `--seed SEED` runs one again, with `--verbose` line by line.
//! `--replays` runs only the seeds in which minutes are counted again, `--kafka` seeds with topics of Kafka, which are others.

use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicU64, Ordering};
use weir_chaos_tests::simulation::{Plan, crash_points, many::for_each, run, run::kafka_points};

struct Settings {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    verbose: bool,
    replays: bool,
    kafka: bool,
}

fn settings() -> Result<Settings> {
    let mut settings = Settings { seeds: 100, from: 1, seed: None, verbose: false, replays: false, kafka: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--verbose" {
            settings.verbose = true;
            continue;
        }
        if name == "--replays" {
            settings.replays = true;
            continue;
        }
        if name == "--kafka" {
            settings.kafka = true;
            continue;
        }
        let value = arguments.next().with_context(|| format!("{name} needs a number"))?;
        let number = value.parse().with_context(|| format!("{name} {value}: not a number"))?;
        match name.as_str() {
            "--seeds" => settings.seeds = number,
            "--from" => settings.from = number,
            "--seed" => settings.seed = Some(number),
            _ => {
                bail!("there is no {name}; use --seeds N, --from N, --seed SEED, --replays, --kafka or --verbose")
            }
        }
    }
    Ok(settings)
}

fn main() -> Result<()> {
    let settings = settings()?;
    let mut points = crash_points()?;
    if settings.kafka {
        points.kafka = kafka_points()?;
    }
    let random = if settings.kafka { Plan::random_with_kafka } else { Plan::random };
    if let Some(seed) = settings.seed {
        if settings.verbose {
            let filter = tracing_subscriber::EnvFilter::try_from_default_env();
            let filter = filter.unwrap_or_else(|_| "info,turmoil=warn".into());
            tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).init();
        }
        let plan = random(seed, &points);
        print!("{plan}");
        let outcome = run(&plan);
        let lines = if settings.verbose { &outcome.details } else { &outcome.story };
        println!("{}", lines.join("\n"));
        return outcome.verdict;
    }
    let seeds = settings.from..settings.from + settings.seeds;
    let plans = seeds.map(|seed| random(seed, &points));
    let plans = plans.filter(|plan| !settings.replays || !plan.replays.is_empty());
    let plans: Vec<Plan> = plans.filter(|plan| !settings.kafka || plan.job.to_kafka).collect();
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
