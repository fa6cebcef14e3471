//! Processes that are told to end (SIGTERM), and started again, one after the other: nothing is read twice, and no failure is counted.

use crate::in_cluster_of;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use weir_chaos_tests::{
    cluster::{
        clicks::{Appending, ClickLogs},
        job::ClusterJob,
        processes::{ClusterProcesses, ClusterSettings, Member},
        waiting::{pause, wait_for},
    },
    job::JOB,
};

/// A job of two slots runs on two of three workers with one slot each: there is always one to move to.
const WORKERS: usize = 3;

/// What a move may take on a machine that is busy. How long it takes is printed.
const LONGEST_PAUSE_MS: i64 = 20_000;

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// Waits until a later checkpoint than that of `before` is committed.
fn wait_for_a_commit_after(cluster: &ClusterProcesses, before: &Value) -> Result<Value> {
    cluster.wait_for_job(JOB, "a commit", |job| {
        job["state"] == "RUNNING" && number(&job["committed"]) > number(&before["last_checkpoint"]) + 1
    })
}

/// Tells a process to end, and waits until it has, as it should.
fn end_well(cluster: &mut ClusterProcesses, member: Member) -> Result<()> {
    cluster.terminate(member)?;
    let ended = cluster.wait_for_end(member)?;
    ensure!(ended.success(), "{member}: {ended}");
    Ok(())
}

/// From the moment from which an attempt read nothing more, which is when its last checkpoint was triggered, until the next one ran:
/// milliseconds.
fn pause_ms(job: &Value) -> Result<i64> {
    let steps: Vec<&Value> = job["transitions"].as_array().into_iter().flatten().collect();
    let moved = steps.iter().rposition(|step| step["to"] == "RESTARTING").context("it has not moved")?;
    let runs = steps[moved..].iter().find(|step| step["to"] == "RUNNING").context("it does not run again")?;
    let attempt = number(&job["attempt"]);
    let checkpoints = job["checkpoints"].as_array().into_iter().flatten();
    let last = checkpoints.filter(|one| number(&one["attempt"]) < attempt).max_by_key(|one| number(&one["id"]));
    let last = last.context("no checkpoint of the attempt before is known any more")?;
    Ok(number(&runs["at_ms"]) - (number(&last["completed_at_ms"]) - number(&last["duration_ms"])))
}

/// A line of a log as it is read.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or(part, |(_, rest)| rest))
}

/// By attempt: how many events its sources had read when it was deployed, and when it ended, as its workers have logged.
fn read_by_attempt(cluster: &ClusterProcesses) -> Result<BTreeMap<u64, (u64, u64)>> {
    let mut read = BTreeMap::<u64, (u64, u64)>::new();
    let after = |line: &str, words: &str| -> Option<u64> {
        let (_, rest) = line.split_once(words)?;
        rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    };
    for worker in 0..WORKERS {
        for line in cluster.logs(Member::Worker(worker))?.iter().flat_map(|log| log.lines()).map(without_colours) {
            let line = line.as_str();
            let Some((attempt, events)) = after(line, "attempt=attempt ").zip(after(line, "events_in=")) else {
                continue;
            };
            let (begun, ended) = read.entry(attempt).or_default();
            match (line.contains(" deployed "), line.contains(" ended ")) {
                (true, false) => *begun += events,
                (false, true) => *ended += events,
                _ => {}
            }
        }
    }
    Ok(read)
}

/// The job has only ever moved, and each attempt began with exactly what the one before it had read.
fn check_that_nothing_was_read_twice(cluster: &ClusterProcesses, job: &Value) -> Result<()> {
    let causes: Vec<&str> =
        job["restarts"].as_array().into_iter().flatten().filter_map(|one| one["cause"].as_str()).collect();
    ensure!(causes.iter().all(|cause| cause.starts_with("moved off worker")), "it failed: {causes:?}");
    ensure!(number(&job["restart_count"]) == number(&job["attempt"]) - 1, "{job}");
    let read = read_by_attempt(cluster)?;
    ensure!(read.len() as i64 == number(&job["attempt"]), "attempts that workers have told of: {read:?}");
    let mut before = 0;
    for (attempt, (begun, ended)) in &read {
        ensure!(
            *begun == before,
            "attempt {attempt} begins with other events than the one before it had read: {read:?}"
        );
        before = *ended;
    }
    ensure!(before > 0, "{read:?}");
    Ok(())
}

/// Names the `weir` of an older release that speaks the same version of the protocol.
const OLD_BINARY: &str = "WEIR_OLD_BINARY";

fn settings() -> ClusterSettings {
    ClusterSettings {
        slots: 1,
        coordinators: 3,
        heartbeat_timeout: Duration::from_secs(4),
        ..ClusterSettings::new().expect("a weir to run")
    }
}

#[test]
fn every_process_is_restarted_in_turn_and_nothing_is_read_twice() {
    restart_all_in_turn(settings(), None);
}

/// Needs an older release, so it is run before a release alone.
#[test]
fn a_release_is_replaced_by_the_next_one_while_a_job_runs() {
    let Some(old) = std::env::var_os(OLD_BINARY) else {
        eprintln!("skipped: {OLD_BINARY} names no older weir");
        return;
    };
    let new = settings();
    let newer = new.weir.clone();
    restart_all_in_turn(ClusterSettings { weir: old.into(), ..new }, Some(newer));
}

/// Workers first, and then coordinators; with another `weir`, if it is given.
fn restart_all_in_turn(settings: ClusterSettings, newer: Option<PathBuf>) {
    in_cluster_of(settings, WORKERS, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 51)?);
        job.submit(cluster)?;
        let mut newest = cluster.wait_for_job(JOB, "a commit", |job| number(&job["committed"]) > 0)?;
        if let Some(newer) = newer {
            cluster.settings.weir = newer;
        }
        let mut pauses = Vec::new();
        for worker in (0..WORKERS).map(Member::Worker) {
            let attempt = newest["attempt"].clone();
            end_well(cluster, worker)?;
            newest = wait_for_a_commit_after(cluster, &cluster.job(JOB)?)?;
            if newest["attempt"] != attempt {
                pauses.push(pause_ms(&newest)?);
            }
            cluster.start_member(worker)?;
            cluster.wait_for_workers(WORKERS)?;
        }
        // Two of three ran something, and the third may have had a share of the job when its turn came.
        ensure!((2..=3).contains(&pauses.len()), "{pauses:?}");
        println!("pauses of moves: {pauses:?} ms");
        ensure!(pauses.iter().all(|pause| (0..LONGEST_PAUSE_MS).contains(pause)), "{pauses:?}");

        for coordinator in cluster.all_coordinators() {
            let attempt = newest["attempt"].clone();
            end_well(cluster, coordinator)?;
            newest = wait_for_a_commit_after(cluster, &newest)?;
            cluster.start_member(coordinator)?;
            wait_for("all workers", || {
                let shown = cluster.rest("/api/v1/cluster").unwrap_or_default();
                Ok(shown["workers"].as_array().is_some_and(|workers| workers.len() == WORKERS).then_some(()))
            })?;
            newest = wait_for_a_commit_after(cluster, &newest)?;
            ensure!(newest["attempt"] == attempt, "the job was restarted: {}", newest["restarts"]);
        }
        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        check_that_nothing_was_read_twice(cluster, &cluster.job(JOB)?)
    });
}

#[test]
fn a_worker_that_leaves_waits_for_room_elsewhere_but_not_for_ever() {
    in_cluster_of(ClusterSettings::new().expect("a weir to run"), 1, |cluster| {
        let (first, second) = (Member::Worker(0), Member::Worker(1));
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 52)?);
        job.submit(cluster)?;
        let before = cluster.wait_for_job(JOB, "a commit", |job| number(&job["committed"]) > 0)?;
        cluster.terminate(first)?;
        let waits = |job: &Value| {
            let what = job["waiting_for"].as_str().unwrap_or_default();
            what.starts_with("needs 2 slots, 0 free, to move off worker w-") && what.ends_with(", which is leaving")
        };
        cluster.wait_for_job(JOB, "to wait for room", waits)?;
        ensure!(cluster.done(&["list"])?.contains(" leaving "), "{}", cluster.done(&["list"])?);
        let after = wait_for_a_commit_after(cluster, &cluster.job(JOB)?)?;
        ensure!(after["attempt"] == before["attempt"] && waits(&after), "it goes on meanwhile: {after}");
        cluster.start_member(second)?;
        ensure!(cluster.wait_for_end(first)?.success());
        let moved = wait_for_a_commit_after(cluster, &after)?;
        ensure!(moved["waiting_for"].is_null(), "{moved}");
        let shown = cluster.done(&["status", JOB])?;
        ensure!(shown.contains(" moved off worker w-") && shown.contains(", which is leaving"), "{shown}");
        ensure!(
            cluster.rest("/api/v1/cluster")?["workers"].as_array().is_some_and(|workers| workers.len() == 1),
            "it left"
        );
        check_that_nothing_was_read_twice_until_now(cluster, &moved)?;

        // Told twice, it ends at once; and by itself when its time is over. Both are as if it had died.
        cluster.terminate(second)?;
        cluster.wait_for_job(JOB, "to wait for room", waits)?;
        pause(Duration::from_millis(300));
        cluster.terminate(second)?;
        ensure!(cluster.wait_for_end(second)?.code() == Some(130));
        cluster.settings.worker_arguments = vec!["--leave-timeout".into(), "1s".into()];
        cluster.start_member(first)?;
        let again = wait_for_a_commit_after(cluster, &moved)?;
        cluster.terminate(first)?;
        ensure!(cluster.wait_for_end(first)?.code() == Some(130));
        let told = cluster.log(first)?;
        ensure!(told.contains("not everything moved off this worker within 1s"), "{told}");
        cluster.start_member(second)?;
        wait_for_a_commit_after(cluster, &again)?;
        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}

/// The attempt before the one that runs ended with what that one began with.
fn check_that_nothing_was_read_twice_until_now(cluster: &ClusterProcesses, job: &Value) -> Result<()> {
    let read = read_by_attempt(cluster)?;
    let attempt = u64::try_from(number(&job["attempt"]))?;
    let (before, runs) = (read.get(&(attempt - 1)).copied(), read.get(&attempt).copied());
    let (before, runs) = before.zip(runs).with_context(|| format!("{read:?}"))?;
    ensure!(before.1 > 0 && before.1 == runs.0, "attempt {attempt} reads something again: {read:?}");
    Ok(())
}
