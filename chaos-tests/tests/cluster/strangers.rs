//! Who does not belong to the cluster is told so.

use crate::in_cluster_of;
use anyhow::{Context, ensure};
use std::sync::Arc;
use weir_chaos_tests::cluster::{
    processes::{ClusterProcesses, ClusterSettings, Member},
    rest,
};
use weir_proto::{
    PROTOCOL_VERSION,
    net::TcpNetwork,
    secret::ClusterSecret,
    transport,
    v1::{Register, WorkerMessage, worker_control_client::WorkerControlClient, worker_message::Kind},
};

fn with_secret() -> ClusterSettings {
    ClusterSettings { secret: "open sesame".into(), ..ClusterSettings::new().expect("a weir to run") }
}

#[test]
fn a_wrong_secret_is_refused() {
    in_cluster_of(with_secret(), 1, |cluster| {
        cluster.done(&["list"])?;
        let file = cluster.path("secret");
        std::fs::write(&file, "open barley\n")?;
        let file = file.display().to_string();
        // The worker had begun to listen.
        for (arguments, code) in [(["list", "--secret-file", &file], 2), (["worker", "--secret-file", &file], 1)] {
            let said = cluster.say(cluster.weir(&arguments))?;
            ensure!(said.code == Some(code), "{arguments:?}: {said:?}");
            ensure!(said.complaint.contains("the shared secret is wrong"), "{said:?}");
            ensure!(!said.complaint.contains("open"), "no secret is shown: {said:?}");
        }
        std::fs::write(&file, "open sesame\n")?;
        cluster.done(&["list", "--secret-file", &file])?;
        cluster.wait_for_workers(1)
    });
}

#[test]
fn the_token_shows_jobs_and_changes_none() {
    let mut settings = with_secret();
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token").display().to_string();
    std::fs::write(&token, "let me see\n").expect("a token");
    settings.coordinator_arguments = vec!["--read-token-file".into(), token.clone()];
    let file = token;
    in_cluster_of(settings, 0, |cluster| {
        let with_token = |arguments: &[&str]| {
            let mut command = cluster.weir(&[arguments, &["--read-token-file", &file]].concat());
            command.env_remove("WEIR_SECRET");
            cluster.say(command)
        };
        let listed = with_token(&["list"])?;
        ensure!(listed.code == Some(0) && listed.output.contains("no jobs"), "{listed:?}");
        let asked = with_token(&["status", "nothing"])?;
        ensure!(asked.complaint.contains("there is no job 'nothing'"), "{asked:?}");
        let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs/ad_click.toml");
        for action in [&["cancel", "nothing"][..], &["stop", "nothing"], &["submit", definition]] {
            let refused = with_token(action)?;
            ensure!(refused.code == Some(2), "{action:?}: {refused:?}");
            ensure!(refused.complaint.contains("the token is read-only"), "{action:?}: {refused:?}");
            ensure!(!refused.complaint.contains("let me"), "no token is shown: {refused:?}");
        }
        // A worker is no reader.
        let mut worker = cluster.weir(&["worker", "--secret-file", &file]);
        worker.env_remove("WEIR_SECRET");
        let refused = cluster.say(worker)?;
        ensure!(refused.complaint.contains("read-only") || refused.complaint.contains("is wrong"), "{refused:?}");
        // Over HTTP reading needs it, too.
        let port = cluster.http_port(Member::Coordinator)?;
        for (secret, status) in [("", 401), ("let me see", 200), (port.secret, 200)] {
            let answer = rest::get(&rest::Port { secret, ..port }, "/api/v1/cluster")?;
            ensure!(answer.status == status, "{answer:?}");
        }
        cluster.done(&["list"])?;
        std::fs::write(&file, "let me in\n")?;
        let refused = with_token(&["list"])?;
        ensure!(refused.code == Some(2) && refused.complaint.contains("is wrong"), "{refused:?}");
        Ok(())
    });
}

/// Asks to be taken in as a worker with a secret, and returns why not.
fn register(cluster: &ClusterProcesses, secret: &str, registration: Register) -> anyhow::Result<Option<tonic::Status>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let timeout = std::time::Duration::from_secs(5);
        let channel = transport::connect(Arc::new(TcpNetwork), cluster.address(), timeout).await?;
        let first = WorkerMessage { kind: Some(Kind::Register(registration)) };
        let messages = futures::stream::iter([first]);
        let secret = ClusterSecret::from(secret).shown();
        Ok(WorkerControlClient::with_interceptor(channel, secret).attach(messages).await.err())
    })
}

#[test]
fn another_protocol_is_refused() {
    in_cluster_of(with_secret(), 0, |cluster| {
        let stranger = Register {
            protocol_version: PROTOCOL_VERSION + 1,
            worker: "from-the-future".into(),
            slots: 1,
            data_address: "127.0.0.1:1".into(),
            weir_version: "9.0.0".into(),
            ..Register::default()
        };
        let secret = &cluster.settings.secret;
        let refusal = register(cluster, secret, stranger.clone())?.context("it was taken in")?;
        ensure!(refusal.code() == tonic::Code::FailedPrecondition, "{refusal:?}");
        let told = refusal.message();
        ensure!(
            told.contains("from-the-future (Weir 9.0.0) speaks version")
                && told.contains("replace all processes by the release of worker from-the-future"),
            "{told}"
        );
        let ours = Register { protocol_version: PROTOCOL_VERSION, ..stranger };
        ensure!(register(cluster, secret, ours.clone())?.is_none(), "the right version is taken in");
        let refusal = register(cluster, "open barley", ours)?.context("it was taken in")?;
        ensure!(refusal.code() == tonic::Code::PermissionDenied, "{refusal:?}");
        Ok(())
    });
}
