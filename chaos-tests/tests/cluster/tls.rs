//! A cluster whose ports all speak TLS: nothing that it does is different, and who has no certificate of its CA is told so.

use crate::in_cluster_of;
use anyhow::{Context, Result, ensure};
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};
use weir_chaos_tests::{
    cluster::{
        clicks::{Appending, ClickLogs},
        job::ClusterJob,
        processes::{ClusterProcesses, ClusterSettings, Member},
        waiting::wait_for,
    },
    job::{JOB, JobConfig},
};
use weir_tls::{
    TlsFiles,
    issue::{Authority, OWN_HOSTS},
};

const WORKERS: [Member; 3] = [Member::Worker(0), Member::Worker(1), Member::Worker(2)];

/// Writes a new CA and a certificate of it over the files.
fn renew(files: &TlsFiles) -> Result<()> {
    let now = weir_engine::env::Env::default().wall_clock_ms() / 1000;
    let authority = Authority::new(now - 3600..now + 30 * 86_400)?;
    let issued = authority.issue(&OWN_HOSTS.map(String::from))?;
    for (path, text) in [(&files.key, &issued.key), (&files.cert, &issued.cert)] {
        std::fs::write(path, text)?;
    }
    Ok(std::fs::write(&files.ca, authority.cert())?)
}

fn files(folder: &Path) -> TlsFiles {
    let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| folder.join(name));
    TlsFiles { cert, key, ca }
}

/// Of a command that must fail, and tells why: at once, unless the connection was closed before it had read that.
fn refused(cluster: &ClusterProcesses, command: impl Fn() -> std::process::Command, why: &str) -> Result<()> {
    wait_for(&format!("'{why}' to be told"), || {
        let said = cluster.say(command())?;
        ensure!(said.code != Some(0), "{said:?}");
        Ok(said.complaint.contains(why).then_some(()))
    })
}

fn without_tls(mut command: std::process::Command) -> std::process::Command {
    ["WEIR_TLS_CERT", "WEIR_TLS_KEY", "WEIR_TLS_CA"].iter().for_each(|variable| {
        command.env_remove(variable);
    });
    command
}

#[test]
fn a_cluster_with_tls_outlives_a_freeze_a_kill_and_new_certificates() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = files(folder.path());
    renew(&own).expect("certificates");
    let usual = ClusterSettings::new().expect("a weir to run");
    // Long enough for an election within a worker's lease, on a machine that is busy.
    let heartbeat_timeout = Duration::from_secs(4);
    let settings = ClusterSettings { coordinators: 3, slots: 1, heartbeat_timeout, tls: Some(own.clone()), ..usual };
    in_cluster_of(settings, 3, |cluster| {
        cluster.probe()?;
        // Without a table: nobody can write to one in which a worker is frozen.
        let job = ClusterJob::new(cluster, JobConfig { with_table: false, ..ClusterJob::followed() })?;
        let appending = Appending::begin(ClickLogs::create(job.input(), 31)?);
        job.submit(cluster)?;
        let committed = |job: &serde_json::Value| job["committed"].as_u64().unwrap_or_default();
        let running = cluster.wait_for_job(JOB, "a commit", |job| committed(job) > 0)?;
        strangers_are_told(cluster)?;

        // New files, of another CA even: new connections use them, and the job does not notice.
        renew(&own)?;
        for member in cluster.all_coordinators().into_iter().chain(WORKERS) {
            wait_for("the new files to be used", || {
                Ok(cluster.log(member)?.contains("new TLS files are used").then_some(()))
            })?;
        }
        let before = committed(&cluster.wait_for_state(JOB, "RUNNING")?);
        let later = cluster.wait_for_job(JOB, "more commits", |job| committed(job) > before + 3)?;
        ensure!(later["attempt"] == running["attempt"], "the job was restarted: {later}");

        // A frozen worker is noticed as without TLS, and those that are left connect with the new files.
        let restarts = later["restart_count"].as_u64();
        let busy = busy_worker(cluster)?;
        cluster.freeze(busy)?;
        cluster.wait_for_job(JOB, "a restart", |job| job["restart_count"].as_u64() > restarts)?;
        let restarted = cluster.wait_for_state(JOB, "RUNNING")?;
        cluster.wait_for_job(JOB, "a commit", |job| committed(job) > committed(&restarted))?;
        cluster.thaw(busy)?;

        let leader = cluster.leader()?.context("nobody leads")?;
        cluster.kill(leader)?;
        let before = committed(&cluster.wait_for_job(JOB, "to be shown", |job| job["state"] == "RUNNING")?);
        cluster.wait_for_job(JOB, "a commit under another leader", |job| committed(job) > before + 3)?;

        appending.finish()?;
        job.wait_until_all_is_read()?;
        ensure!(cluster.done(&["stop", JOB, "--drain"])?.trim() == "FINISHED");
        job.check()?;
        Ok(())
    });
}

/// A worker that runs subtasks.
fn busy_worker(cluster: &mut ClusterProcesses) -> Result<Member> {
    let subtasks = cluster.job(JOB)?["subtasks"].to_string();
    let pids = WORKERS.map(|worker| Ok((worker, cluster.pid(worker)?)));
    let pids = pids.into_iter().collect::<Result<Vec<_>>>()?;
    let busy = pids.into_iter().find(|(_, pid)| subtasks.contains(&format!("w-{pid}-")));
    Ok(busy.context("no worker is busy")?.0)
}

fn strangers_are_told(cluster: &mut ClusterProcesses) -> Result<()> {
    let told = "this port speaks TLS: pass --tls-cert, --tls-key and --tls-ca";
    refused(cluster, || without_tls(cluster.weir(&["list"])), told)?;
    let elsewhere = tempfile::tempdir()?;
    let foreign = files(elsewhere.path());
    renew(&foreign)?;
    let with_foreign = || {
        let mut command = cluster.weir(&["list"]);
        command.envs([("WEIR_TLS_CERT", &foreign.cert), ("WEIR_TLS_KEY", &foreign.key), ("WEIR_TLS_CA", &foreign.ca)]);
        command
    };
    refused(cluster, with_foreign, "was not issued by the CA in --tls-ca")?;

    // The data port takes nothing from a caller without TLS.
    let workers = cluster.rest("/api/v1/workers")?;
    let address = workers["workers"][0]["data_address"].as_str().context("a data port")?.to_owned();
    let mut plain = TcpStream::connect(&address)?;
    plain.set_read_timeout(Some(Duration::from_secs(30)))?;
    plain.write_all(&[1; 64])?;
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer)?;
    ensure!(answer.is_empty(), "{answer:?}");
    wait_for("a worker to say so", || {
        let says =
            WORKERS.iter().any(|worker| cluster.log(*worker).is_ok_and(|log| log.contains("does not speak TLS")));
        Ok(says.then_some(()))
    })
}
