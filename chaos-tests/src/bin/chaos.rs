//! Chaos on real processes in network namespaces, for as many faults as wanted. Needs root, and prints every fault, what was compared
//! with the recount, and how long each kind of fault was felt; ends with an error when a result is wrong or none comes any more.
//!
//! ```text
//! cargo run --release -p weir-chaos-tests --bin chaos -- --seed 7 --faults 100 --timeline chaos.html
//! cargo run --release -p weir-chaos-tests --bin chaos -- --seed 7 --faults 100 --schedule        # only says what would happen
//! cargo run --release -p weir-chaos-tests --bin chaos -- --faults 20 --only 'worker killed' --json
//! ```

use anyhow::{Context, Result, ensure};
use clap::{CommandFactory, Parser, builder::RangedU64ValueParser, error::ErrorKind};
use std::{path::PathBuf, process::ExitCode, time::Duration};
use weir_chaos_tests::{
    cluster::chaos::{ChaosRun, timeline},
    ending::exit_code,
};

/// Kills, freezes and cuts off the processes of a cluster in network namespaces, and compares what it has counted with a recount
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// Picks what happens to whom, and when
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Faults
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    faults: usize,
    /// The only kind of fault: how its name begins, as 'worker killed' or 'storage cut off for a minute' [default: all kinds]
    #[arg(long, value_name = "KIND")]
    only: Option<String>,
    /// Milliseconds of silence after which a worker is taken for dead
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    heartbeat_timeout_ms: u64,
    /// Milliseconds from one checkpoint of the job to the next
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    interval_ms: u64,
    /// Write a page with throughput, the age of checkpoints and the faults into this file
    #[arg(long, value_name = "FILE.html")]
    timeline: Option<PathBuf>,
    /// Print the report as JSON, too
    #[arg(long)]
    json: bool,
    /// Only say what would happen
    #[arg(long, conflicts_with_all = ["timeline", "json"])]
    schedule: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = ChaosRun {
        only: arguments.only.clone(),
        heartbeat_timeout: Duration::from_millis(arguments.heartbeat_timeout_ms),
        checkpoint_interval: Duration::from_millis(arguments.interval_ms),
        ..ChaosRun::long(arguments.seed, arguments.faults)
    };
    let schedule = run.schedule();
    if let Some(only) = run.only.as_deref().filter(|_| schedule.is_empty()) {
        let message = format!("--only {only}: no fault begins so; --schedule shows what there is");
        Arguments::command().error(ErrorKind::InvalidValue, message).exit();
    }
    if arguments.schedule {
        schedule.iter().for_each(|step| println!("{step}"));
        return ExitCode::SUCCESS;
    }
    exit_code(run_and_report(&run, &arguments))
}

fn run_and_report(run: &ChaosRun, arguments: &Arguments) -> Result<()> {
    println!("seed {}", run.seed);
    let report = run.run()?.context("it cannot run here")?;
    if let Some(page) = &arguments.timeline {
        std::fs::write(page, timeline::page(&report)).with_context(|| format!("cannot write {}", page.display()))?;
    }
    println!("{report}");
    if arguments.json {
        println!("{:#}", report.json());
    }
    ensure!(report.wrong.is_none(), "the results are wrong, as said above");
    Ok(())
}
