//! What a user does with jobs, and what he is told.

use crate::{in_cluster, in_cluster_of};
use anyhow::{Result, ensure};
use weir_chaos_tests::{
    cluster::{
        clicks::ClickLogs,
        job::ClusterJob,
        processes::{ClusterProcesses, ClusterSettings, Member},
    },
    job::{JOB, JobConfig},
};

fn some_clicks(job: &ClusterJob, logs: &mut ClickLogs) -> Result<()> {
    (0..40).try_for_each(|_| logs.append())?;
    logs.finish()?;
    ensure!(job.input().is_dir());
    Ok(())
}

fn refused(cluster: &ClusterProcesses, arguments: &[&str], code: i32) -> Result<String> {
    let said = cluster.say(cluster.weir(arguments))?;
    ensure!(said.code == Some(code), "weir {arguments:?}: {said:?}");
    ensure!(said.output.is_empty(), "a complaint is no result: {said:?}");
    Ok(said.complaint)
}

#[test]
fn a_job_waits_for_its_slots_and_says_so() {
    let settings = ClusterSettings { slots: 1, ..ClusterSettings::new().expect("a weir to run") };
    in_cluster_of(settings, 0, |cluster| {
        let job = ClusterJob::new(cluster, JobConfig { follow: false, ..ClusterJob::followed() })?;
        let mut logs = ClickLogs::create(job.input(), 21)?;
        some_clicks(&job, &mut logs)?;
        job.submit(cluster)?;
        cluster.wait_for_job(JOB, "to wait", |job| job["waiting_for"] == "needs 2 slots, 0 free")?;
        let shown = cluster.done(&["status", JOB])?;
        ensure!(shown.contains("waiting: needs 2 slots, 0 free"), "{shown}");
        cluster.start_member(Member::Worker(0))?;
        cluster.wait_for_job(JOB, "to wait", |job| job["waiting_for"] == "needs 2 slots, 1 free")?;
        let shown = cluster.done(&["list"])?;
        ensure!(shown.contains("needs 2 slots, 1 free"), "{shown}");
        cluster.start_member(Member::Worker(1))?;
        // Its input has an end, and so has the job.
        let finished = cluster.wait_for_state(JOB, "FINISHED")?;
        ensure!(finished["attempt"] == 1 && finished["restart_count"] == 0, "{finished}");
        let sinks = finished["graph"]["operators"].as_array().into_iter().flatten();
        let committed = sinks.filter(|sink| sink["commits"]["commits"].as_u64() > Some(0)).count();
        ensure!(committed > 0, "no sink has told of its commits: {finished}");
        let operators = finished["graph"]["operators"].as_array().into_iter().flatten();
        let (read, lines) =
            (operators.filter_map(|one| one["counters"]["events_in"].as_u64()).sum::<u64>(), job.lines()?);
        ensure!(read == lines, "{read} of {lines} lines are shown as read: {finished}");
        let shown = cluster.done(&["status", JOB])?;
        ensure!(shown.contains("\ncommits\n sink "), "{shown}");
        job.check()?;
        Ok(())
    });
}

#[test]
fn a_job_is_stopped_and_goes_on_and_is_started_over() {
    in_cluster(1, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let mut logs = ClickLogs::create(job.input(), 22)?;
        some_clicks(&job, &mut logs)?;
        job.submit(cluster)?;
        job.wait_until_all_is_read()?;
        let submission = job.submission();
        let submission = submission.each_ref().map(String::as_str);
        let told = refused(cluster, &submission, 2)?;
        ensure!(told.contains("is RUNNING") && told.contains("cancel or stop it first"), "{told}");

        ensure!(cluster.done(&["stop", JOB])?.trim() == "CANCELED");
        let stopped = cluster.wait_for_state(JOB, "CANCELED")?;
        let cause = stopped["cause"].as_str().unwrap_or_default();
        ensure!(cause.contains("submitted again it resumes from checkpoint"), "{cause}");
        ensure!(stopped["committed"] == stopped["last_checkpoint"], "a stop commits what it has: {stopped}");
        some_clicks(&job, &mut logs)?;
        job.submit(cluster)?;
        job.wait_until_all_is_read()?;

        // A cancel leaves what is committed, and the job can go on, too.
        ensure!(cluster.done(&["cancel", JOB])?.trim() == "CANCELED");
        let told = refused(cluster, &["cancel", JOB], 2)?;
        ensure!(told.contains("is CANCELED"), "{told}");
        some_clicks(&job, &mut logs)?;
        job.submit(cluster)?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        let first = job.check()?;

        let told = refused(cluster, &submission, 2)?;
        ensure!(told.contains("is FINISHED") && told.contains("--fresh"), "{told}");
        let fresh = [&submission[..], &["--fresh"]].concat();
        ensure!(cluster.done(&fresh)?.trim() == JOB);
        cluster.wait_for_state(JOB, "RUNNING")?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        let again = job.check()?;
        ensure!(first.lines == again.lines, "{first:?} {again:?}");
        Ok(())
    });
}

#[test]
fn mistakes_are_told_before_anything_is_handed_in() {
    in_cluster(0, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let file = job.definition();
        let right = std::fs::read_to_string(&file)?;
        std::fs::write(&file, right.replace("input = \"unique\"", "input = \"uniqe\""))?;
        let told = refused(cluster, &["submit", &file], 2)?;
        ensure!(told.contains("ad_click.toml:") && told.contains("did you mean `unique`"), "{told}");
        let shown = cluster.done(&["list"])?;
        ensure!(shown.contains("no jobs") && shown.contains("no workers"), "{shown}");
        let told = refused(cluster, &["status", "nothing"], 2)?;
        ensure!(told.contains("there is no job 'nothing'"), "{told}");
        cluster.kill(Member::Coordinator)?;
        let told = refused(cluster, &["list"], 1)?;
        ensure!(told.contains("is `weir coordinator` running there?"), "{told}");
        Ok(())
    });
}

#[test]
fn a_job_that_fails_each_time_ends_with_its_root_cause() {
    let mut settings = ClusterSettings::new().expect("a weir to run");
    settings.coordinator_arguments = ["--restart-attempts", "2"].map(String::from).into();
    in_cluster_of(settings, 1, |cluster| {
        let job = ClusterJob::new(cluster, ClusterJob::followed())?;
        let mut logs = ClickLogs::create(job.input(), 23)?;
        some_clicks(&job, &mut logs)?;
        // A file where the folder of a sink should be.
        std::fs::create_dir(cluster.path("output"))?;
        std::fs::write(cluster.path("output/raw"), "in the way")?;
        job.submit(cluster)?;
        let failed = cluster.wait_for_state(JOB, "FAILED")?;
        let cause = failed["cause"].as_str().unwrap_or_default();
        ensure!(cause.contains("3 failures in a row") && cause.contains("output/raw"), "{cause}");
        ensure!(failed["restart_count"] == 2, "{failed}");
        let shown = cluster.done(&["status", JOB])?;
        ensure!(shown.contains("FAILED") && shown.contains("output/raw"), "{shown}");

        // With the cause gone it goes on.
        std::fs::remove_file(cluster.path("output/raw"))?;
        job.submit(cluster)?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}
