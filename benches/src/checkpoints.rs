//! What a checkpoint costs while a dedup is full: bytes of the manifest, and processor time of the coordinator and the workers; and
//! how long a worker is missed that is killed then.
//!
//! The job is the shipped one, on a cluster of this machine with a worker more than it needs, and follows two logs. Event time goes
//! faster than the clock, so that a ttl of an hour is full within minutes: there are as many buckets of ids as in an hour, with
//! fewer ids in each.

use crate::{
    child,
    common::Common,
    input,
    job::newest_manifest,
    latencies::Latencies,
    processes::{Cluster, wait_for},
    recovery::{PARALLELISM, Recovery, Servers, one_kill, submit, wait_until_it_runs},
    running,
};
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// The ttl of the shipped job, and a bucket that is about to go, in seconds of event time.
const TTL_AND_A_BUCKET: u64 = 3_600 + 64;
/// How often the manifests are looked at: each of them, at the intervals that there are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Arguments of `weir-bench checkpoints`.
#[derive(Debug, Args)]
pub struct CheckpointsArguments {
    /// Clicks a second, in all logs
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How many times as fast as the clock event time goes: an hour takes so many times less
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..))]
    speed: u64,
    /// From one checkpoint to the next; several are measured one after the other
    #[arg(long, value_name = "MS,…", value_delimiter = ',', default_value = "500,5000")]
    interval_ms: Vec<u64>,
    /// How long each is measured, when the dedup is full
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How long clicks are read before that [default: until an hour of event time has passed]
    #[arg(long, value_name = "N")]
    fill_seconds: Option<u64>,
    /// Workers to kill behind it, with the first interval
    #[arg(long, value_name = "N", default_value_t = 3)]
    kills: u64,
    #[command(flatten)]
    common: Common,
}

/// What was measured at one interval.
#[derive(Debug)]
struct Measured {
    interval_ms: u64,
    seconds: f64,
    /// Clicks a second that were read, in truth.
    read: f64,
    checkpoints: u64,
    /// From trigger to completion, on average.
    duration_ms: f64,
    /// Bytes of each manifest, as often as it was seen first.
    manifests: Latencies,
    /// Bytes of state that a checkpoint wrote, on average.
    state_bytes: f64,
    /// Processor seconds.
    coordinator: f64,
    workers: f64,
    /// Of all workers.
    resident_bytes: u64,
    kills: Vec<Recovery>,
}

/// Processor seconds, checkpoints and clicks so far.
struct Look {
    coordinator: f64,
    workers: f64,
    totals: Value,
    read: u64,
}

impl Look {
    fn at(cluster: &Cluster, job: &str) -> Result<Self> {
        let status = cluster.job(job)?;
        let operators = status["graph"]["operators"].as_array().into_iter().flatten();
        let sources = operators.filter(|operator| operator["role"] == "source");
        Ok(Look {
            coordinator: running::cpu_seconds(cluster.coordinator())?,
            workers: cluster.workers().map(running::cpu_seconds).sum::<Result<f64>>()?,
            read: sources.filter_map(|source| source["records_in"].as_u64()).sum(),
            totals: status["checkpoint_totals"].clone(),
        })
    }

    fn since(&self, before: &Look, total: &str) -> u64 {
        let of = |look: &Look| look.totals[total].as_u64().unwrap_or(0);
        of(self).saturating_sub(of(before))
    }
}

/// Measures, and prints what came of it.
pub fn checkpoints(arguments: &CheckpointsArguments) -> Result<()> {
    let work = arguments.common.work()?;
    let binary = arguments.common.binary()?;
    let mut all: Vec<Measured> = Vec::new();
    for interval_ms in &arguments.interval_ms {
        input::empty_folder(&work)?;
        let kills = if all.is_empty() { arguments.kills } else { 0 };
        all.push(measure(arguments, *interval_ms, kills, &binary, &work)?);
    }
    input::empty_folder(&work)?;
    report(arguments, &all);
    Ok(())
}

fn measure(
    arguments: &CheckpointsArguments,
    interval_ms: u64,
    kills: u64,
    binary: &Path,
    work: &Path,
) -> Result<Measured> {
    let servers = Servers::begin(&work.join("clicks"), arguments.rate, arguments.speed)?;
    let mut cluster = Cluster::start(binary, &work.join("cluster"), PARALLELISM + 1)?;
    let job = submit(&cluster, work, &[format!("job.checkpoint.interval={interval_ms}ms")])?;
    wait_until_it_runs(&cluster, &job)?;
    child::pause(Duration::from_secs(arguments.fill_seconds.unwrap_or(TTL_AND_A_BUCKET.div_ceil(arguments.speed))));
    let (before, begun) = (Look::at(&cluster, &job)?, child::now());
    let (mut manifests, mut seen) = (Latencies::default(), None);
    while child::now() - begun < Duration::from_secs(arguments.seconds) {
        if let Some((path, bytes)) = newest_manifest(&cluster.storage(), &job)?
            && seen.as_ref() != Some(&path)
        {
            manifests.add(bytes as f64);
            seen = Some(path);
        }
        child::pause(LOOK_EVERY);
    }
    let (after, seconds) = (Look::at(&cluster, &job)?, (child::now() - begun).as_secs_f64());
    let checkpoints = after.since(&before, "completed");
    ensure!(checkpoints > 0, "no checkpoint was completed: {}", cluster.job(&job)?["cause"]);
    let each = |total: &str| after.since(&before, total) as f64 / checkpoints as f64;
    let mut measured = Measured {
        interval_ms,
        seconds,
        read: after.read.saturating_sub(before.read) as f64 / seconds,
        checkpoints,
        duration_ms: each("duration_ms"),
        manifests,
        state_bytes: each("bytes"),
        coordinator: after.coordinator - before.coordinator,
        workers: after.workers - before.workers,
        resident_bytes: cluster.workers().map(running::resident_bytes).sum::<Result<u64>>()?,
        kills: Vec::new(),
    };
    for _ in 0..kills {
        wait_until_it_runs(&cluster, &job)?;
        let storage = cluster.storage().join("jobs").join(&job);
        measured.kills.push(one_kill(&mut cluster, &job, &storage, &work.join("out/raw"))?);
        cluster.add_worker()?;
        cluster.wait_for_workers(PARALLELISM + 1)?;
    }
    servers.end()?;
    let canceled = child::measure(&mut cluster.weir(&["cancel", &job]))?.1;
    ensure!(canceled.trim() == "CANCELED", "the job is {canceled}");
    wait_for("the job's end", || Ok((cluster.job(&job)?["state"] == "CANCELED").then_some(())))?;
    cluster.end()?;
    Ok(measured)
}

impl Measured {
    /// Milliseconds of a processor that the coordinator used for a checkpoint, with all that it does besides.
    fn coordinator_ms(&self) -> f64 {
        self.coordinator * 1e3 / self.checkpoints as f64
    }

    /// Milliseconds of a processor that a checkpoint more costs coordinator and workers: what both used more than with fewer
    /// checkpoints.
    fn marginal_ms(&self, rarer: &Measured) -> f64 {
        let used = |one: &Measured| (one.coordinator + one.workers) / one.seconds;
        let rate = |one: &Measured| one.checkpoints as f64 / one.seconds;
        (used(self) - used(rarer)) * 1e3 / (rate(self) - rate(rarer))
    }

    fn as_json(&self) -> Value {
        let kill =
            |one: &Recovery| json!({ "noticed_ms": one.noticed, "running_ms": one.running, "visible_ms": one.visible });
        json!({
            "interval_ms": self.interval_ms, "seconds": self.seconds, "read_per_second": self.read,
            "checkpoints": self.checkpoints, "duration_ms": self.duration_ms,
            "manifest_bytes": { "p50": self.manifests.percentile(50), "longest": self.manifests.percentile(100) },
            "state_bytes": self.state_bytes, "coordinator_cpu_seconds": self.coordinator,
            "workers_cpu_seconds": self.workers, "workers_resident_bytes": self.resident_bytes,
            "kills": self.kills.iter().map(kill).collect::<Vec<_>>(),
        })
    }
}

fn report(arguments: &CheckpointsArguments, all: &[Measured]) {
    if arguments.common.json {
        let measured: Vec<Value> = all.iter().map(Measured::as_json).collect();
        println!("{}", json!({ "rate": arguments.rate, "speed": arguments.speed, "measured": measured }));
        return;
    }
    println!(
        "{} clicks/s, event time {} times as fast as the clock, measured for {} s\n\n\
         | interval, ms | read/s | checkpoints | ms each | manifest p50, kB | longest, kB | state a checkpoint, MB | coordinator, CPU ms a checkpoint | workers, processors | workers, MB |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        arguments.rate, arguments.speed, arguments.seconds
    );
    for one in all {
        println!(
            "| {} | {:.0} | {} | {:.0} | {:.1} | {:.1} | {:.2} | {:.1} | {:.2} | {:.0} |",
            one.interval_ms,
            one.read,
            one.checkpoints,
            one.duration_ms,
            one.manifests.percentile(50) / 1e3,
            one.manifests.percentile(100) / 1e3,
            one.state_bytes / 1e6,
            one.coordinator_ms(),
            one.workers / one.seconds,
            one.resident_bytes as f64 / 1e6
        );
    }
    if let [often, .., rarer] = all {
        println!(
            "\na checkpoint more costs {:.1} ms of a processor, coordinator and workers together",
            often.marginal_ms(rarer)
        );
    }
    for one in all.iter().flat_map(|measured| &measured.kills) {
        let Recovery { noticed, running, visible } = one;
        println!(
            "a worker was killed: noticed after {noticed:.0} ms, running after {running:.0} ms, new results after {visible:.0} ms"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(interval_ms: u64, checkpoints: u64, coordinator: f64, workers: f64) -> Measured {
        Measured {
            interval_ms,
            seconds: 10.0,
            read: 0.0,
            checkpoints,
            duration_ms: 0.0,
            manifests: Latencies::default(),
            state_bytes: 0.0,
            coordinator,
            workers,
            resident_bytes: 0,
            kills: Vec::new(),
        }
    }

    #[test]
    fn a_checkpoint_costs_what_more_of_them_use_more() {
        let (often, rarer) = (measured(500, 20, 0.4, 5.0), measured(5_000, 2, 0.2, 4.3));
        assert!((often.coordinator_ms() - 20.0).abs() < 1e-9);
        // 0.09 processors more for 1.8 checkpoints a second more.
        assert!((often.marginal_ms(&rarer) - 50.0).abs() < 1e-9, "{}", often.marginal_ms(&rarer));
    }
}
