//! The same with a store: what is in it, and what the query service answers meanwhile and at the end.

use crate::in_cluster;
use anyhow::{Result, ensure};
use serde_json::Value;
use sqlx::{AnyConnection, Connection, Row};
use tokio::runtime::{Builder, Runtime};
use weir_chaos_tests::{
    cluster::{
        clicks::{Appending, ClickLogs},
        job::ClusterJob,
        kill_run::{KillRun, Report},
        processes::Member,
        reader::Seen,
        serving::Store,
        waiting::{pause, wait_for},
    },
    job::{JOB, JobConfig},
};

#[test]
fn whoever_is_killed_a_sqlite_store_is_what_the_recount_says() {
    kills_with(7, || Some(Store::sqlite()));
}

#[test]
fn whoever_is_killed_a_postgresql_store_is_what_the_recount_says() {
    let has_database = || Store::postgres().unwrap_or_else(|error| panic!("{error:?}"));
    if let Some(report) = kills_with(8, has_database) {
        assert!(report.database_kills > 0, "{report}");
    }
}

/// `None`: there is no such store here.
fn kills_with(seed: u64, store: impl FnOnce() -> Option<Store>) -> Option<Report> {
    let _place = crate::a_place();
    let store = store()?;
    let run = KillRun::short_serving(seed).and_then(|run| run.run_serving(store));
    let report = run.unwrap_or_else(|error| panic!("{error:?}"));
    println!("{report}");
    assert!(report.worker_kills > 0 && report.coordinator_kills > 0 && report.query_kills > 0, "{report}");
    let (compared, seen) = report.served.as_ref().expect("there was a store");
    assert!(seen.rises > 10 && compared.commits > 20, "too little happened meanwhile: {report}");
    Some(report)
}

/// A session of the store's database beside those of the cluster.
struct Session {
    runtime: Runtime,
    connection: AnyConnection,
}

impl Session {
    fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(AnyConnection::connect(url))?;
        Ok(Session { runtime, connection })
    }

    fn execute(&mut self, sql: &'static str) -> Result<()> {
        self.runtime.block_on(sqlx::query(sql).execute(&mut self.connection))?;
        Ok(())
    }

    fn wait_for_some(&mut self, what: &str, count: &'static str) -> Result<()> {
        wait_for(what, || {
            let row = self.runtime.block_on(sqlx::query(count).fetch_one(&mut self.connection))?;
            Ok((row.try_get::<i64, _>(0)? > 0).then_some(()))
        })
    }
}

/// Stopped just there it keeps what it has locked, and does not even notice that its connection is closed.
#[test]
fn workers_that_are_stopped_in_a_transaction_are_replaced_and_harm_nothing() {
    let Some(store) = Store::postgres().unwrap_or_else(|error| panic!("{error:?}")) else { return };
    in_cluster(2, |cluster| {
        cluster.serve(store)?;
        let url = cluster.serving()?.url.clone();
        let job = ClusterJob::new(cluster, JobConfig { store: Some(url.clone()), ..ClusterJob::followed() })?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 9)?);
        job.submit(cluster)?;
        let running = cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(1))?;

        // Each commit's last step waits for this one, within its transaction.
        let (mut holder, mut looker) = (Session::open(&url)?, Session::open(&url)?);
        holder.execute("BEGIN")?;
        holder.execute("LOCK TABLE weir_commits IN SHARE MODE")?;
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%weir_commits%'";
        looker.wait_for_some("a commit at its last step", waits)?;
        let old = [Member::Worker(0), Member::Worker(1)];
        old.into_iter().try_for_each(|worker| cluster.freeze(worker))?;
        holder.execute("COMMIT")?;
        let stopped = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
        looker.wait_for_some("a transaction of a process that is stopped", stopped)?;

        [2, 3].into_iter().try_for_each(|number| cluster.start_member(Member::Worker(number)))?;
        let replaced = cluster.wait_for_job(JOB, "a new attempt that commits", |job| {
            job["attempt"].as_u64() > running["attempt"].as_u64()
                && job["committed"].as_u64() > running["last_checkpoint"].as_u64().map(|before| before + 3)
        })?;
        old.into_iter().try_for_each(|worker| cluster.thaw(worker))?;
        cluster.wait_for_workers(4)?;
        pause(cluster.settings.heartbeat_timeout);
        ensure!(cluster.job(JOB)?["attempt"] == replaced["attempt"], "those that thawed disturbed the job");

        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        job.check_store(cluster.serving()?, &Seen::default())?;
        Ok(())
    });
}

/// In the URL of the database; a server that trusts everybody does not look at it.
const PASSWORD: &str = "open-sesame-7";

#[test]
fn a_job_whose_database_is_down_says_so_and_catches_up_and_tells_nobody_the_password() {
    let Some(store) = Store::postgres().unwrap_or_else(|error| panic!("{error:?}")) else { return };
    in_cluster(1, |cluster| {
        cluster.serve(store)?;
        let with_password = |password: &str| Ok(cluster.serving()?.url.replace("//t@", &format!("//t:{password}@")));
        let written: Result<String> = with_password(PASSWORD);
        let job = ClusterJob::new(cluster, JobConfig { store: Some(written?), ..ClusterJob::followed() })?;
        let refused = cluster.say(cluster.weir(&job.submission().each_ref().map(String::as_str)))?;
        ensure!(refused.complaint.contains("would keep in clear: write ${env:NAME}"), "{refused:?}");
        let file = cluster.path("password");
        std::fs::write(&file, PASSWORD)?;
        let referred: Result<String> = with_password(&format!("${{file:{}}}", file.display()));
        let job = ClusterJob::new(cluster, JobConfig { store: Some(referred?), ..ClusterJob::followed() })?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 10)?);
        job.submit(cluster)?;
        cluster.wait_for_job(JOB, "a commit", |job| job["committed"].as_u64() > Some(1))?;

        cluster.kill(Member::Database)?;
        let waiting = cluster.wait_for_job(JOB, "to wait", |job| {
            let told = job["waiting_for"].as_str().unwrap_or_default();
            told.starts_with("'sink.store") && told.contains("waits for its target since") && told.contains("cannot")
        })?;
        ensure!(waiting["state"] == "RUNNING", "{waiting}");
        let checkpoint = |job: &Value| job["last_checkpoint"].as_u64();
        cluster.wait_for_job(JOB, "checkpoints that go on", |job| checkpoint(job) > checkpoint(&waiting))?;
        let (status, list) = (cluster.done(&["status", JOB])?, cluster.done(&["list"])?);
        ensure!(status.contains("waiting: 'sink.store") && list.contains("waits for its target"), "{status} {list}");

        let mut told = vec![status, list, cluster.done(&["status", JOB, "--json"])?];
        told.push(cluster.done(&["explain", &job.definition(), "--format", "json"])?);
        for path in ["cluster", "jobs", "workers", &format!("jobs/{JOB}"), &format!("jobs/{JOB}/checkpoints")] {
            told.push(cluster.rest(&format!("/api/v1/{path}"))?.to_string());
        }
        ensure!(told[4..].iter().any(|text| text.contains("//t:***@")), "the definition is shown: {told:?}");

        cluster.start_member(Member::Database)?;
        let back = cluster.wait_for_job(JOB, "to catch up", |job| {
            job["waiting_for"].is_null() && job["committed"].as_u64() > checkpoint(&waiting)
        })?;
        ensure!(back["attempt"] == waiting["attempt"], "waiting is no failure: {back}");
        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        job.check_store(cluster.serving()?, &Seen::default())?;
        for member in [Member::Coordinator, Member::Worker(0), Member::QueryService] {
            told.push(cluster.log(member)?);
        }
        let kept = String::from_utf8_lossy(&std::fs::read(cluster.path("coordinator/coordinator.redb"))?).into_owned();
        ensure!(kept.contains("${file:"), "the reference is kept");
        told.push(kept);
        for text in told {
            ensure!(!text.contains(PASSWORD), "the password is shown: {text}");
        }
        Ok(())
    });
}
