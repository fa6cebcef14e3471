//! Jobs drawn at random, run with crashes, and compared with DuckDB's answer, one seed after another. Prints the seeds that
//! differ and what differs, keeps each such job with its input in a folder, and ends with an error if there was one.
//!
//! ```text
//! cargo run --release -p weir-chaos-tests --bin grammar -- --jobs 1000 --seed 1
//! cargo run --release -p weir-chaos-tests --bin grammar -- --replay 4711
//! ```

use anyhow::{Context, Result, bail};
use std::{io::IsTerminal, path::PathBuf, sync::Arc};
use weir_chaos_tests::{
    crash::crash_points,
    grammar::{
        judge::Judge,
        sequence::{Counts, Sequence},
    },
};
use weir_operators::Registry;

struct Settings {
    jobs: u64,
    seed: u64,
    keep: PathBuf,
    replay: bool,
}

fn settings() -> Result<Settings> {
    let mut settings = Settings { jobs: 100, seed: 1, keep: "target/grammar".into(), replay: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().with_context(|| format!("{name} {value}: not a number"));
        match name.as_str() {
            "--jobs" => settings.jobs = number()?,
            "--seed" => settings.seed = number()?,
            "--keep" => settings.keep = value.into(),
            "--replay" => settings = Settings { jobs: 1, seed: number()?, replay: true, ..settings },
            _ => bail!("there is no {name}; use --jobs N, --seed N, --keep FOLDER or --replay SEED"),
        }
    }
    Ok(settings)
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = settings()?;
    let judge = Judge::start()?.context("there is no Python with DuckDB here")?;
    let points: Vec<&str> = crash_points(Arc::new(Registry)).await?.into_keys().collect();
    let mut sequence = Sequence { judge, points, keep: Some(settings.keep.clone()), counts: Counts::default() };
    let is_terminal = std::io::stderr().is_terminal();
    for seed in settings.seed..settings.seed + settings.jobs {
        if let Some(failure) = sequence.next(seed).await? {
            println!("seed {seed} fails: {failure}\n");
        }
        let done = seed + 1 - settings.seed;
        if is_terminal {
            eprint!("\r{done} of {} jobs, {} failures ", settings.jobs, sequence.counts.failures.len());
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
    if settings.replay {
        bail!("seed {} fails; its job and its input are in {}", settings.seed, settings.keep.display());
    }
    bail!(
        "failing seeds: {failing:?}; run one again with --replay SEED. Their jobs and inputs, made smaller, are in {}",
        settings.keep.display()
    )
}
