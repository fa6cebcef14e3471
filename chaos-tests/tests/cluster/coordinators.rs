//! Three coordinators: whichever is asked answers, and when the one that leads is killed, another one does.

use crate::in_cluster_of;
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use weir_chaos_tests::{
    cluster::{
        clicks::{Appending, ClickLogs},
        job::ClusterJob,
        processes::{ClusterProcesses, ClusterSettings, Member},
        waiting::{pause, wait_for},
    },
    job::JOB,
};

fn three() -> ClusterSettings {
    // Long enough for an election within a worker's lease, on a machine that is busy.
    let heartbeat_timeout = Duration::from_secs(4);
    ClusterSettings { coordinators: 3, heartbeat_timeout, ..ClusterSettings::new().expect("a weir to run") }
}

fn elected(cluster: &ClusterProcesses, other_than: Option<Member>) -> Result<Member> {
    wait_for("a leader", || Ok(cluster.leader().unwrap_or_default().filter(|leader| Some(*leader) != other_than)))
}

/// What `weir` prints when it is told of this coordinator alone.
fn told_by(cluster: &ClusterProcesses, coordinator: Member, arguments: &[&str]) -> Result<String> {
    let address = cluster.address_of(coordinator)?.to_owned();
    cluster.done(&[arguments, &["--coordinator", &address]].concat())
}

#[test]
fn any_coordinator_may_be_asked() {
    in_cluster_of(three(), 2, |cluster| {
        let leader = elected(cluster, None)?;
        let coordinators = cluster.all_coordinators();
        let followers: Vec<Member> = coordinators.iter().copied().filter(|one| *one != leader).collect();
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let mut logs = ClickLogs::create(job.input(), 31)?;
        (0..40).try_for_each(|_| logs.append())?;
        logs.finish()?;

        let submission = job.submission();
        let printed = told_by(cluster, followers[0], &submission.each_ref().map(String::as_str))?;
        ensure!(printed.trim() == JOB, "{printed}");
        job.wait_until_all_is_read()?;
        for coordinator in coordinators {
            let listed = told_by(cluster, coordinator, &["list"])?;
            ensure!(listed.contains(JOB) && listed.contains("RUNNING"), "{coordinator}: {listed}");
            // What only the leader hears of: where subtasks are, and how far.
            let rest = wait_for("followers to show what the leader shows", || {
                // It may not have heard of the job yet.
                let Ok(job) = cluster.rest_of(coordinator, &format!("/api/v1/jobs/{JOB}")) else { return Ok(None) };
                Ok((job["subtasks"][0]["worker"].is_string() && job["state"] == "RUNNING").then_some(()))
            });
            rest.with_context(|| coordinator.to_string())?;
            let shown = cluster.rest_of(coordinator, "/api/v1/cluster")?;
            let number = if let Member::Peer(number) = coordinator { number } else { 1 };
            ensure!(shown["coordinator"]["node"] == number, "{coordinator} says that it is another one: {shown}");
            ensure!(shown["workers"].as_array().is_some_and(|workers| workers.len() == 2), "{coordinator}: {shown}");
        }
        let refused = cluster.say(cluster.weir(&["status", "nothing"]))?;
        ensure!(refused.code == Some(2) && refused.complaint.contains("there is no job 'nothing'"), "{refused:?}");
        ensure!(told_by(cluster, followers[1], &["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}

#[test]
fn jobs_go_on_when_the_coordinator_that_leads_is_killed() {
    in_cluster_of(three(), 2, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 32)?);
        job.submit(cluster)?;
        cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(0))?;
        let mut killed = None;
        for _ in 0..2 {
            let leader = elected(cluster, killed)?;
            let before = cluster.job(JOB)?;
            let (attempt, checkpoint) = (before["attempt"].clone(), before["last_checkpoint"].as_u64());
            cluster.kill(leader)?;
            killed = Some(leader);
            elected(cluster, killed)?;
            let after = cluster.wait_for_job(JOB, "a commit under another leader", |job| {
                job["state"] == "RUNNING" && job["committed"].as_u64() > checkpoint.map(|before| before + 2)
            })?;
            ensure!(after["attempt"] == attempt, "the job was restarted: {}", after["restarts"]);
            // The commands are told of all three, and one of them is dead.
            ensure!(cluster.done(&["list"])?.contains("RUNNING"));
            cluster.start_member(leader)?;
        }
        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}

/// As a machine that stands still: its connections stay open, and nobody answers.
#[test]
fn a_frozen_leader_is_replaced_and_does_no_harm_when_it_thaws() {
    in_cluster_of(three(), 2, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 33)?);
        job.submit(cluster)?;
        let before = cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(0))?;
        let leader = elected(cluster, None)?;
        cluster.freeze(leader)?;
        wait_for("another leader that commits", || {
            let others = cluster.all_coordinators().into_iter().filter(|one| *one != leader);
            let shown = others.filter_map(|one| cluster.rest_of(one, &format!("/api/v1/jobs/{JOB}")).ok());
            let committed = |job: &serde_json::Value| {
                job["committed"].as_u64() > before["last_checkpoint"].as_u64().map(|before| before + 2)
            };
            Ok(shown.into_iter().any(|job| committed(&job)).then_some(()))
        })?;
        // Its machine still takes connections.
        let others = cluster.all_coordinators().into_iter().filter(|one| *one != leader);
        let addresses =
            [leader].into_iter().chain(others).map(|one| cluster.address_of(one)).collect::<Result<Vec<_>>>()?;
        let listed = cluster.say(cluster.weir(&["list", "--coordinator", &addresses.join(",")]))?;
        ensure!(listed.code == Some(0) && listed.output.contains(JOB), "another one is asked: {listed:?}");
        cluster.thaw(leader)?;
        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}

#[test]
fn without_most_of_its_coordinators_a_cluster_says_so() {
    in_cluster_of(three(), 0, |cluster| {
        let leader = elected(cluster, None)?;
        let others = cluster.all_coordinators().into_iter().filter(|one| *one != leader).collect::<Vec<_>>();
        for other in &others {
            cluster.kill(*other)?;
        }
        let mut said = Default::default();
        wait_for("the last coordinator to refuse", || {
            said = format!("{:?}", cluster.say(cluster.weir(&["list"]))?);
            Ok(said.contains("no coordinator leads").then_some(()))
        })
        .with_context(|| said.clone())?;
        cluster.start_member(others[0])?;
        elected(cluster, None)?;
        wait_for("an answer", || Ok((cluster.say(cluster.weir(&["list"]))?.code == Some(0)).then_some(())))?;
        Ok(())
    });
}

/// The data plane does not need those who decide, for a while.
#[test]
fn jobs_run_on_while_most_coordinators_are_away_and_nothing_is_restarted() {
    in_cluster_of(three(), 2, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 34)?);
        job.submit(cluster)?;
        let before = cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(0))?;
        let leader = elected(cluster, None)?;
        let other = cluster.all_coordinators().into_iter().find(|one| *one != leader).expect("there are three");
        cluster.kill(leader)?;
        cluster.kill(other)?;
        // Well beyond a lease, and until sources are held: 32 intervals of 200 ms.
        let held = "sources wait until one does";
        let workers = [Member::Worker(0), Member::Worker(1)];
        wait_for("sources to be held", || {
            let says = workers.map(|worker| cluster.log(worker).is_ok_and(|log| log.contains(held)));
            Ok(says.into_iter().all(|says| says).then_some(()))
        })?;
        let meanwhile = job.newest()?.map(|manifest| manifest.checkpoint);
        pause(cluster.settings.lease());
        ensure!(
            job.newest()?.map(|manifest| manifest.checkpoint) == meanwhile,
            "a minority has completed a checkpoint"
        );

        cluster.start_member(other)?;
        cluster.start_member(leader)?;
        let after = cluster.wait_for_job(JOB, "commits with a majority", |job| {
            let committed = job["committed"].as_u64();
            job["state"] == "RUNNING" && committed > meanwhile.map(|checkpoint| checkpoint.0 + 2)
        })?;
        ensure!(after["attempt"] == before["attempt"], "the job was restarted: {}", after["restarts"]);
        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}
