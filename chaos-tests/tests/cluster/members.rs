//! Coordinators that are replaced, and what they have decided as a backup.

use crate::{in_cluster, in_cluster_of};
use anyhow::{Result, ensure};
use std::time::Duration;
use weir_chaos_tests::{
    cluster::{
        clicks::{Appending, ClickLogs},
        job::ClusterJob,
        processes::{ClusterProcesses, ClusterSettings, Member},
        waiting::wait_for,
    },
    job::JOB,
};

fn leader_other_than(cluster: &ClusterProcesses, gone: &[Member]) -> Result<Member> {
    wait_for("a leader", || Ok(cluster.leader().unwrap_or_default().filter(|leader| !gone.contains(leader))))
}

/// Waits until exactly these vote.
fn wait_for_voters(cluster: &ClusterProcesses, voters: &[u64]) -> Result<()> {
    wait_for(&format!("{voters:?} to vote"), || {
        let there = cluster.all_coordinators().into_iter().find_map(|one| cluster.rest_of(one, "/api/v1/cluster").ok());
        let members = there.map(|shown| shown["coordinators"].clone()).unwrap_or_default();
        let members = members.as_array().cloned().unwrap_or_default();
        let vote: Vec<u64> =
            members.iter().filter(|one| one["role"] != "learner").filter_map(|one| one["node"].as_u64()).collect();
        Ok((vote == voters && members.len() == voters.len()).then_some(()))
    })
}

/// Workers were told of the first three alone, of which in the end there is none.
#[test]
fn all_coordinators_are_replaced_one_after_the_other_and_jobs_go_on() {
    let heartbeat_timeout = Duration::from_secs(4);
    let settings =
        ClusterSettings { coordinators: 3, heartbeat_timeout, ..ClusterSettings::new().expect("a weir to run") };
    in_cluster_of(settings, 2, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 41)?);
        job.submit(cluster)?;
        let before = cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(0))?;
        let mut gone = Vec::new();
        for voters in [[2, 3, 4], [3, 4, 5], [4, 5, 6]] {
            let dead = cluster.all_coordinators()[gone.len()];
            cluster.kill(dead)?;
            gone.push(dead);
            cluster.replace_coordinator(dead)?;
            wait_for_voters(cluster, &voters)?;
            // They are told who the coordinators are by the one that leads, and would know none of the last three.
            let leader = leader_other_than(cluster, &gone)?;
            wait_for("workers to be back", || {
                let shown = cluster.rest_of(leader, "/api/v1/cluster").unwrap_or_default();
                Ok(shown["workers"].as_array().is_some_and(|workers| workers.len() == 2).then_some(()))
            })?;
        }
        let leader = leader_other_than(cluster, &gone)?;
        let address = cluster.address_of(leader)?.to_owned();
        let ports = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let other = ["coordinator", "--join", &address, "--data-dir", "other", "--storage", "elsewhere"];
        let refused = cluster.say(cluster.weir(&[&other[..], &ports].concat()))?;
        ensure!(refused.complaint.contains("give all of them the same --storage"), "{refused:?}");
        wait_for_voters(cluster, &[4, 5, 6])?;
        let newest = cluster.rest_of(leader, &format!("/api/v1/jobs/{JOB}"))?["committed"].as_u64();
        let after = wait_for("commits under the new ones", || {
            let job = cluster.rest_of(leader, &format!("/api/v1/jobs/{JOB}")).unwrap_or_default();
            Ok((job["state"] == "RUNNING" && job["committed"].as_u64() > newest).then_some(job))
        })?;
        ensure!(after["attempt"] == before["attempt"], "the job was restarted: {}", after["restarts"]);
        ensure!(cluster.done(&["list"])?.contains(" voter "), "{}", cluster.done(&["list"])?);

        // Back with its disk, one of the first is told that it does not belong.
        cluster.start_member(gone[1])?;
        ensure!(!cluster.wait_for_end(gone[1])?.success());
        ensure!(
            cluster.log(gone[1])?.contains("coordinator 2 is not a member: it was removed"),
            "{}",
            cluster.log(gone[1])?
        );

        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        let left = cluster.done(&["coordinators", "remove", "6"])?;
        ensure!(left.contains("4 ") && left.contains("5 ") && !left.contains("6 "), "{left}");
        Ok(())
    });
}

#[test]
fn a_job_goes_on_from_its_newest_checkpoint_under_coordinators_from_an_older_backup() {
    in_cluster(2, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 42)?);
        job.submit(cluster)?;
        let then = cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(0))?;
        cluster.done(&["coordinators", "backup", "backup"])?;

        // After it, another attempt, and checkpoints.
        let placed = then["subtasks"][0]["worker"].as_str().unwrap_or_default().to_owned();
        let pids = [0, 1].map(|number| cluster.pid(Member::Worker(number)).unwrap_or(0));
        let number = pids.iter().position(|pid| placed.starts_with(&format!("w-{pid}-"))).unwrap_or(0);
        cluster.kill(Member::Worker(number))?;
        cluster.start_member(Member::Worker(number))?;
        let newer = cluster.wait_for_job(JOB, "a new attempt that commits", |job| {
            job["attempt"].as_u64() > then["attempt"].as_u64()
                && job["committed"].as_u64() > then["last_checkpoint"].as_u64().map(|before| before + 2)
        })?;

        cluster.kill(Member::Coordinator)?;
        std::fs::remove_dir_all(cluster.path("coordinator"))?;
        let told = cluster.done(&["coordinators", "restore", "backup", "--data-dir", "coordinator"])?;
        ensure!(told.starts_with("coordinator 2, 1 job, as of "), "{told}");
        let again = cluster.say(cluster.weir(&["coordinators", "restore", "backup", "--data-dir", "coordinator"]))?;
        ensure!(again.code == Some(2) && again.complaint.contains("is a coordinator's already"), "{again:?}");
        // One that was interrupted is not taken for an empty cluster.
        std::fs::create_dir(cluster.path("interrupted"))?;
        std::fs::write(cluster.path("interrupted/coordinator.restoring"), "")?;
        let ports = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let interrupted = cluster.weir(&[&["coordinator", "--data-dir", "interrupted"], &ports[..]].concat());
        let interrupted = cluster.say(interrupted)?;
        ensure!(interrupted.code == Some(2) && interrupted.complaint.contains("was not finished"), "{interrupted:?}");
        cluster.start_member(Member::Coordinator)?;
        let back = cluster.wait_for_job(JOB, "to go on", |job| {
            job["state"] == "RUNNING" && job["committed"].as_u64() > newer["last_checkpoint"].as_u64()
        })?;
        ensure!(back["attempt"].as_u64() > newer["attempt"].as_u64(), "{back}");

        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}
