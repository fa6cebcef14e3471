//! How long a killed worker is missed: from its SIGKILL to the first result that did not exist before, of a checkpoint that a
//! later attempt took, and that a reader can see.
//!
//! The job is the shipped one. It follows two logs that grow all the time, and its raw store has something new with every
//! checkpoint. There is one worker more than the job needs. The one that was killed is started again when results are there.

use crate::{
    child,
    common::Common,
    input, job,
    processes::{Cluster, wait_for},
    weir,
};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use weir_engine::{
    checkpoint::layout::Layout,
    ids::{CheckpointId, Lineage},
};

/// Subtasks of each task, and logs.
pub const PARALLELISM: usize = 2;
/// How often a server appends.
const APPEND_EVERY: Duration = Duration::from_millis(20);

/// Arguments of `weir-bench recovery`.
#[derive(Debug, Args)]
pub struct RecoveryArguments {
    /// Workers to kill, one after the other
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// Clicks a second, in all logs
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    rate: u64,
    /// From one checkpoint to the next
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    interval_ms: u64,
    #[command(flatten)]
    common: Common,
}

/// One kill, in milliseconds after it.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    /// The job was seen to fail.
    pub noticed: f64,
    /// A new attempt ran.
    pub running: f64,
    /// Its first result could be seen.
    pub visible: f64,
}

type Phase = fn(&Recovery) -> f64;

/// Measures, and prints what came of it.
pub fn recovery(arguments: &RecoveryArguments) -> Result<()> {
    let work = arguments.common.work()?;
    input::empty_folder(&work)?;
    let binary = arguments.common.binary()?;
    let servers = Servers::begin(&work.join("clicks"), arguments.rate, 1)?;
    let mut cluster = Cluster::start(&binary, &work.join("cluster"), PARALLELISM + 1)?;
    let interval = format!("job.checkpoint.interval={}ms", arguments.interval_ms);
    // No row is held back for a file.
    let settings = [interval, "sink.raw.roll=checkpoint".into()];
    let job = submit(&cluster, &work, &settings)?;
    let storage = cluster.storage().join("jobs").join(&job);
    let raw = work.join("out/raw");
    let mut recoveries = Vec::new();
    for kill in 0..arguments.kills {
        wait_until_it_runs(&cluster, &job)?;
        // Every part of the time between two checkpoints has its turn.
        child::pause(Duration::from_millis(kill * 370 % arguments.interval_ms.max(1)));
        recoveries.push(one_kill(&mut cluster, &job, &storage, &raw)?);
        cluster.add_worker()?;
        cluster.wait_for_workers(PARALLELISM + 1)?;
    }
    servers.end()?;
    let stopped = child::measure(&mut cluster.weir(&["cancel", &job]))?.1;
    anyhow::ensure!(stopped.trim() == "CANCELED", "the job is {stopped}");
    cluster.end()?;
    input::empty_folder(&work)?;
    report(arguments, &recoveries);
    Ok(())
}

/// Until an attempt has completed two checkpoints.
pub fn wait_until_it_runs(cluster: &Cluster, job: &str) -> Result<()> {
    wait_for("two checkpoints of one attempt", || {
        let status = cluster.job(job)?;
        let newest = status["checkpoints"].as_array().and_then(|all| all.iter().rev().nth(1).cloned());
        let ready = status["state"] == "RUNNING" && newest.is_some_and(|one| one["attempt"] == status["attempt"]);
        Ok(ready.then_some(()))
    })
}

/// Submits the shipped job, which follows the logs in `work/clicks` and writes below `work/out`.
pub fn submit(cluster: &Cluster, work: &Path, more: &[String]) -> Result<String> {
    let mut submit = cluster.weir(&["submit"]);
    submit.arg(weir::workspace().join("jobs/ad_click.toml"));
    submit.arg("--parallelism").arg(PARALLELISM.to_string());
    let mut settings =
        vec![format!("source.clicks.path={}", work.join("clicks").display()), "source.clicks.follow=true".into()];
    settings.extend(job::outputs(&work.join("out")));
    settings.extend(more.iter().cloned());
    for setting in settings {
        submit.arg("--set").arg(setting);
    }
    cluster.submit(&mut submit)
}

/// Kills a worker of the job, and waits until there are new results. The worker is not started again.
pub fn one_kill(cluster: &mut Cluster, job: &str, storage: &Path, raw: &Path) -> Result<Recovery> {
    let before = cluster.job(job)?;
    let attempt = before["attempt"].as_u64().context("no attempt")?;
    let hosts: BTreeSet<u32> = before["subtasks"].as_array().into_iter().flatten().filter_map(host).collect();
    let victim = *hosts.first().context("the job has no subtasks")?;
    let mut seen: BTreeSet<PathBuf> = files(raw)?;
    let (killed, killed_ms) = (child::now(), child::wall_clock_ms());
    cluster.kill_worker(victim)?;
    wait_for("a new result", || {
        for file in files(raw)? {
            if seen.contains(&file) {
                continue;
            }
            if attempt_of(storage, &file)? > attempt {
                return Ok(Some(()));
            }
            // A checkpoint that was complete before the kill: its results had to become visible, but they are not new.
            seen.insert(file);
        }
        Ok(None)
    })?;
    let visible = (child::now() - killed).as_secs_f64() * 1e3;
    let after = wait_for("the transitions", || {
        let status = cluster.job(job)?;
        Ok(first(&status, "RUNNING", killed_ms).is_some().then_some(status))
    })?;
    let since = |state| first(&after, state, killed_ms).map_or(f64::NAN, |at_ms| (at_ms - killed_ms) as f64);
    Ok(Recovery { noticed: since("FAILING"), running: since("RUNNING"), visible })
}

/// When a job first came to a state after a moment.
fn first(status: &Value, state: &str, after_ms: i64) -> Option<i64> {
    let transitions = status["transitions"].as_array().into_iter().flatten();
    let to_state = transitions.filter(|transition| transition["to"] == state);
    to_state.filter_map(|transition| transition["at_ms"].as_i64()).find(|at_ms| *at_ms >= after_ms)
}

/// The process of a subtask's worker, which is part of the worker's name.
fn host(subtask: &Value) -> Option<u32> {
    subtask["worker"].as_str()?.strip_prefix("w-")?.split('-').next()?.parse().ok()
}

/// All visible files of a folder and its partitions.
fn files(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let Ok(entries) = folder.read_dir() else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['_', '.']));
        if path.is_dir() && !hidden {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.insert(path);
        }
    }
    Ok(found)
}

/// The attempt that took a file's checkpoint, which is part of the file's name: `job-sink-lineage.checkpoint-subtask-number`.
fn attempt_of(storage: &Path, file: &Path) -> Result<u64> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let numbers = name.rsplit('-').nth(2).and_then(|numbers| numbers.split_once('.'));
    let numbers = numbers.and_then(|(lineage, number)| Some((lineage.parse().ok()?, number.parse().ok()?)));
    let (lineage, checkpoint) = numbers.with_context(|| format!("'{name}' names no checkpoint"))?;
    let job = storage.file_name().unwrap_or_default().to_string_lossy();
    let layout = Layout::new(&job).in_lineage(Lineage(lineage));
    let root = storage.ancestors().nth(2).context("the storage of a job lies in a storage")?;
    let manifest = root.join(layout.manifest(CheckpointId(checkpoint)).as_ref());
    let text = std::fs::read(&manifest).with_context(|| format!("cannot read '{}'", manifest.display()))?;
    let manifest: Value = serde_json::from_slice(&text)?;
    manifest["attempt"].as_u64().context("a manifest without its attempt")
}

/// The value below which so many of a hundred are.
fn percentile(recoveries: &[Recovery], of: Phase, percent: usize) -> f64 {
    let mut values: Vec<f64> = recoveries.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

fn report(arguments: &RecoveryArguments, recoveries: &[Recovery]) {
    let phases: [(&str, Phase); 3] =
        [("noticed", |one| one.noticed), ("running", |one| one.running), ("visible", |one| one.visible)];
    if arguments.common.json {
        let list = |of: Phase| recoveries.iter().map(of).collect::<Vec<_>>();
        let all: serde_json::Map<String, Value> =
            phases.iter().map(|(name, of)| ((*name).into(), list(*of).into())).collect();
        println!("{}", json!({ "interval_ms": arguments.interval_ms, "rate": arguments.rate, "milliseconds": all }));
        return;
    }
    println!(
        "{} kills at {} clicks/s, a checkpoint each {} ms; milliseconds after the kill\n\n| | p50 | p95 | longest |\n|---|--:|--:|--:|",
        recoveries.len(),
        arguments.rate,
        arguments.interval_ms
    );
    for (name, of) in phases {
        let [half, most, all] = [50, 95, 100].map(|percent| percentile(recoveries, of, percent));
        println!("| {name} | {half:.0} | {most:.0} | {all:.0} |");
    }
}

/// Servers that append clicks to their logs.
pub struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Servers {
    /// So many clicks a second, in all logs; event time goes so many times as fast as the clock.
    pub fn begin(folder: &Path, rate: u64, speed: u64) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let logs: Vec<PathBuf> = (0..PARALLELISM).map(|log| folder.join(format!("server-{log}.log"))).collect();
        // A followed file is known by its first line.
        for log in &logs {
            std::fs::write(log, format!("# {}\n", log.display()))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (begun, mut written) = (child::now(), 0);
            while !stopped.load(Ordering::SeqCst) {
                let milliseconds = (child::now() - begun).as_millis() as u64;
                let due = rate * milliseconds / 1_000;
                for (number, log) in logs.iter().enumerate() {
                    let mine = (written..due).filter(|click| *click as usize % PARALLELISM == number);
                    let lines: String =
                        mine.map(|click| click_line(click, click * speed * 1_000 / rate.max(1))).collect();
                    OpenOptions::new().append(true).open(log)?.write_all(lines.as_bytes())?;
                }
                written = due;
                child::pause(APPEND_EVERY);
            }
            Ok(())
        });
        Ok(Servers { stop, thread: Some(thread) })
    }

    /// No more clicks.
    pub fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("ended before")?;
        thread.join().map_err(|_| anyhow!("the servers panicked"))?
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // What is measured has failed already.
            let _ = thread.join();
        }
    }
}

/// A click of some ad by some user, so many milliseconds into a day.
fn click_line(click: u64, milliseconds: u64) -> String {
    let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    // Spread, and the same in every run.
    let spread = click.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let (ad, user) = (spread % 5_000, spread / 5_000 % 100_000);
    format!(
        "[AdClickEvent] ad{ad}, 2022-03-04 {hour:02}:{minute:02}:{second:02}.{rest:03}, user {user}, 10.{}.{}.{}, USA\n",
        user % 200,
        ad % 200,
        click % 250
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_measured() {
        let all: Vec<Recovery> =
            (1..=20).map(|n| Recovery { noticed: 0.0, running: 0.0, visible: f64::from(n) }).collect();
        let of = |one: &Recovery| one.visible;
        assert_eq!([50, 95, 100].map(|percent| percentile(&all, of, percent)), [10.0, 19.0, 20.0]);
        assert_eq!(percentile(&all[..1], of, 50), 1.0);
    }

    #[test]
    fn clicks_are_lines_that_the_job_reads() {
        let line = click_line(7, 3_723_045);
        assert!(line.starts_with("[AdClickEvent] ad") && line.contains(" 2022-03-04 01:02:03.045, user "), "{line}");
        assert_eq!(line.split(',').count(), 5);
        assert!(line.ends_with('\n'));
    }
}
