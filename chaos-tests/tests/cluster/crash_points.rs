//! Coordinators and workers that end at named points of what they do, one after the other, while input arrives. A sample: the
//! simulation walks through all points.

use crate::{in_cluster, in_cluster_of};
use anyhow::{Context, ensure};
use weir_chaos_tests::{
    cluster::{
        clicks::{Appending, ClickLogs},
        job::ClusterJob,
        processes::{ClusterProcesses, ClusterSettings, Member},
        waiting::pause,
    },
    job::{JOB, JobConfig},
};

/// Points that a coordinator passes, with the visit at which it ends.
const OF_COORDINATORS: [&str; 6] = [
    "recovery.taken_over",
    "attempt.deployed",
    "manifest.before:3",
    "manifest.created:2",
    "manifest.recorded:1",
    "commit.executed:1",
];

/// Of these, the points that a coordinator passes only on the way to another attempt.
const OF_NEW_ATTEMPTS: [&str; 2] = ["recovery.taken_over", "attempt.deployed"];

/// Points that a worker passes.
const OF_WORKERS: [&str; 8] = [
    "restore.part:1",
    "subtask.captured:3",
    "upload.state_file:2",
    "files_sink.staged:2",
    "files_sink.published:1",
    "sql_sink.marked:1",
    "sql_sink.committed:1",
    "commit.one_done:1",
];

/// One job that follows its files, over everything that happens in between.
fn over(
    cluster: &mut ClusterProcesses,
    seed: u64,
    happens: impl FnOnce(&mut ClusterProcesses) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let job = ClusterJob::new(cluster, ClusterJob::followed())?;
    let appending = Appending::begin(ClickLogs::create(job.input(), seed)?);
    job.submit(cluster)?;
    cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(0))?;
    happens(cluster)?;
    appending.finish()?;
    job.wait_until_all_is_read()?;
    cluster.done(&["stop", JOB, "--drain", "--no-wait"])?;
    cluster.wait_for_state(JOB, "FINISHED")?;
    job.check()?;
    Ok(())
}

#[test]
fn a_coordinator_that_ends_at_any_point_loses_nothing() {
    // So that what runs ends with the lease.
    let worker_arguments = ["--leaderless-timeout-ms", "0"].map(str::to_owned).to_vec();
    let settings = ClusterSettings { worker_arguments, ..ClusterSettings::new().expect("a weir to run") };
    in_cluster_of(settings, 2, |cluster| {
        over(cluster, 11, |cluster| {
            for point in OF_COORDINATORS {
                cluster.kill(Member::Coordinator)?;
                if OF_NEW_ATTEMPTS.contains(&point) {
                    // Else what runs is taken over.
                    pause(cluster.settings.lease() * 2);
                }
                cluster.start_member_to_crash(Member::Coordinator, Some(point))?;
                let status = cluster.wait_for_end(Member::Coordinator).context(point)?;
                ensure!(status.code().is_none(), "{point}: it must die, not end: {status}");
                cluster.start_member(Member::Coordinator)?;
            }
            Ok(())
        })
    });
}

#[test]
fn a_worker_that_ends_at_any_point_loses_nothing() {
    // Every slot is needed, so that the worker that is to crash is given something to do.
    let settings = ClusterSettings { slots: 1, ..ClusterSettings::new().expect("a weir to run") };
    in_cluster_of(settings, 2, |cluster| {
        over(cluster, 12, |cluster| {
            let crashing = Member::Worker(1);
            for point in OF_WORKERS {
                cluster.kill(crashing)?;
                cluster.start_member_to_crash(crashing, Some(point))?;
                let status = cluster.wait_for_end(crashing).context(point)?;
                ensure!(status.code().is_none(), "{point}: it must die, not end: {status}");
                cluster.start_member(crashing)?;
            }
            Ok(())
        })
    });
}

/// The last checkpoint of a job that is drained: decided, but the coordinator says nobody so.
#[test]
fn a_job_that_is_drained_ends_whatever_happens_to_its_coordinator() {
    for (number, point) in
        ["manifest.created", "manifest.recorded", "commit.executed", "run.committed"].into_iter().enumerate()
    {
        in_cluster(2, |cluster| {
            // No checkpoint comes by itself: the first is that of the drain.
            let config = JobConfig { checkpoint_interval_ms: 3_600_000, ..ClusterJob::followed() };
            let job = ClusterJob::new(cluster, config)?;
            let mut logs = ClickLogs::create(job.input(), number as u64)?;
            (0..40).try_for_each(|_| logs.append())?;
            logs.finish()?;
            cluster.kill(Member::Coordinator)?;
            cluster.start_member_to_crash(Member::Coordinator, Some(point))?;
            cluster.wait_for_workers(2)?;
            job.submit(cluster)?;
            let lines = job.lines()?;
            cluster.wait_for_job(JOB, "all lines to be read", |job| {
                let sources = job["graph"]["operators"].as_array().into_iter().flatten();
                let read = sources.filter(|operator| operator["role"] == "source");
                read.map(|source| source["counters"]["events_in"].as_u64().unwrap_or(0)).sum::<u64>() >= lines
            })?;
            cluster.done(&["stop", JOB, "--drain", "--no-wait"])?;
            let status = cluster.wait_for_end(Member::Coordinator).context(point)?;
            ensure!(status.code().is_none(), "{point}: it must die, not end: {status}");
            cluster.start_member(Member::Coordinator)?;
            cluster.wait_for_state(JOB, "FINISHED")?;
            job.check()?;
            Ok(())
        });
    }
}

#[test]
fn a_coordinator_that_is_started_again_knows_its_jobs() {
    in_cluster(1, |cluster| {
        over(cluster, 13, |cluster| {
            for wait in [0, 30, 100, 300, 700, 1500] {
                let before = cluster.job(JOB)?;
                cluster.kill(Member::Coordinator)?;
                cluster.start_member(Member::Coordinator)?;
                let after = cluster.wait_for_job(JOB, "to be known", |job| job["id"].is_string())?;
                for number in ["attempt", "last_checkpoint", "committed", "restart_count"] {
                    ensure!(after[number].as_u64() >= before[number].as_u64(), "{number} was lost: {before} {after}");
                }
                ensure!(after["definition"] == before["definition"], "the definition was lost");
                pause(std::time::Duration::from_millis(wait));
            }
            Ok(())
        })
    });
}
