//! Who loses whom, and what he does then.

use crate::{in_cluster, in_cluster_of};
use anyhow::ensure;
use weir_chaos_tests::{
    cluster::{
        clicks::{Appending, ClickLogs},
        job::ClusterJob,
        processes::{ClusterSettings, Member},
        waiting::{now, pause, wait_for},
    },
    job::JOB,
};

const STOPPED: &str = "stopped all subtasks";

#[test]
fn a_worker_without_its_coordinator_goes_on_for_its_time_and_then_stops() {
    // No longer than the lease.
    let worker_arguments = ["--leaderless-timeout-ms", "0"].map(str::to_owned).to_vec();
    let settings = ClusterSettings { worker_arguments, ..ClusterSettings::new().expect("a weir to run") };
    in_cluster_of(settings, 2, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 5)?);
        job.submit(cluster)?;
        cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(0))?;
        let restarts = cluster.job(JOB)?["restart_count"].clone();

        // A short silence is nothing.
        cluster.freeze(Member::Coordinator)?;
        pause(cluster.settings.lease() / 3);
        cluster.thaw(Member::Coordinator)?;
        pause(cluster.settings.lease());
        ensure!(cluster.job(JOB)?["restart_count"] == restarts, "it was restarted for a short silence");

        let frozen = now();
        cluster.freeze(Member::Coordinator)?;
        let workers = [Member::Worker(0), Member::Worker(1)];
        wait_for("the workers to stop their subtasks", || {
            let stopped = workers.map(|worker| cluster.log(worker).is_ok_and(|log| log.contains(STOPPED)));
            Ok(stopped.into_iter().any(|stopped| stopped).then_some(()))
        })?;
        let waited = now() - frozen;
        ensure!(waited > cluster.settings.lease() / 2, "stopped after {waited:?} of silence");
        cluster.thaw(Member::Coordinator)?;
        cluster.wait_for_job(JOB, "a new attempt", |job| job["restart_count"].as_u64() > restarts.as_u64())?;
        cluster.wait_for_state(JOB, "RUNNING")?;

        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}

#[test]
fn a_worker_that_thaws_after_it_was_replaced_joins_again_and_harms_nothing() {
    in_cluster(3, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 6)?);
        job.submit(cluster)?;
        let running = cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(0))?;
        let placed = running["subtasks"][0]["worker"].as_str().unwrap_or_default().to_string();
        let pids = [0, 1, 2].map(|number| cluster.pid(Member::Worker(number)).unwrap_or(0));
        let number = pids.iter().position(|pid| placed.starts_with(&format!("w-{pid}-")));
        let zombie = Member::Worker(number.expect("the worker of a subtask is one of ours"));

        cluster.freeze(zombie)?;
        let replaced = cluster.wait_for_job(JOB, "a new attempt that commits", |job| {
            job["attempt"].as_u64() > running["attempt"].as_u64()
                && job["committed"].as_u64() > running["last_checkpoint"].as_u64().map(|before| before + 2)
        })?;
        let cause = replaced["restarts"][0]["cause"].as_str().unwrap_or_default().to_string();
        ensure!(cause.contains(&placed) && cause.contains("no heartbeat for"), "{cause}");
        cluster.thaw(zombie)?;
        cluster.wait_for_workers(3)?;
        pause(cluster.settings.heartbeat_timeout);
        ensure!(cluster.job(JOB)?["attempt"] == replaced["attempt"], "the zombie disturbed the job");

        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}
