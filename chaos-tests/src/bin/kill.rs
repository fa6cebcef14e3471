//! The long kill test: a cluster of real processes that are killed and frozen while input arrives, for as long as wanted.
//! Prints every fault, and at the end what was compared with the recount; ends with an error when that differs.
//!
//! ```text
//! cargo run --release -p weir-chaos-tests --bin kill -- --minutes 30 --seed 7
//! cargo run --release -p weir-chaos-tests --bin kill -- --minutes 30 --store postgres
//! cargo run --release -p weir-chaos-tests --bin kill -- --kafka 200
//! cargo run --release -p weir-chaos-tests --bin kill -- --pipeline 100
//! ```

use anyhow::{Context, Result, bail};
use std::time::Duration;
use weir_chaos_tests::cluster::{kafka::KafkaRun, kill_run::KillRun, pipeline::PipelineRun, serving::Store};

fn main() -> Result<()> {
    let mut run = KillRun { verbose: true, ..KillRun::short(1)? };
    let mut store = None;
    let (mut kafka_faults, mut pipeline_faults) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a number"))?;
        if name == "--store" {
            store = Some(match value.as_str() {
                "sqlite" => Store::sqlite(),
                "postgres" => Store::postgres()?.context("PostgreSQL is not installed here")?,
                _ => bail!("--store {value}: use sqlite or postgres"),
            });
            continue;
        }
        let number: u64 = value.parse().with_context(|| format!("{name} {value}: not a number"))?;
        match name.as_str() {
            "--minutes" => run.at_least = Duration::from_secs(60 * number),
            "--kills" => run.kills = number as usize,
            "--seed" => run.seed = number,
            "--kafka" => kafka_faults = Some(number as usize),
            "--pipeline" => pipeline_faults = Some(number as usize),
            "--workers" => run.workers = number as usize,
            "--parallelism" => run.parallelism = number as usize,
            "--longest-pause-ms" => run.longest_pause = Duration::from_millis(number.max(1)),
            _ => bail!(
                "there is no {name}; use --minutes N, --kills N, --seed N, --workers N, --parallelism N, \
                 --longest-pause-ms N, --store sqlite|postgres, or --kafka FAULTS for a job from topics to topics, or \
                 --pipeline FAULTS for all jobs of an ad business"
            ),
        }
    }
    if let Some(faults) = kafka_faults {
        let kafka = KafkaRun { seed: run.seed, faults, verbose: true };
        println!("{}", kafka.run()?.context("Kafka or the consumer is not installed here")?);
        return Ok(());
    }
    if let Some(faults) = pipeline_faults {
        let pipeline = PipelineRun { seed: run.seed, faults, longest_pause: run.longest_pause, verbose: true };
        println!("{}", pipeline.run()?.context("Kafka or the consumer is not installed here")?);
        return Ok(());
    }
    let report = match store {
        Some(store) => run.run_serving(store)?,
        None => run.run()?,
    };
    println!("{report}");
    Ok(())
}
