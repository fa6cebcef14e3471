//! Who does not belong to the cluster is told so.

use crate::in_cluster_of;
use anyhow::{Context, ensure};
use std::sync::Arc;
use weir_chaos_tests::cluster::processes::{ClusterProcesses, ClusterSettings};
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
            ..Register::default()
        };
        let secret = &cluster.settings.secret;
        let refusal = register(cluster, secret, stranger.clone())?.context("it was taken in")?;
        ensure!(refusal.code() == tonic::Code::FailedPrecondition, "{refusal:?}");
        let told = refusal.message();
        ensure!(told.contains("from-the-future speaks version") && told.contains("use the same release"), "{told}");
        let ours = Register { protocol_version: PROTOCOL_VERSION, ..stranger };
        ensure!(register(cluster, secret, ours.clone())?.is_none(), "the right version is taken in");
        let refusal = register(cluster, "open barley", ours)?.context("it was taken in")?;
        ensure!(refusal.code() == tonic::Code::PermissionDenied, "{refusal:?}");
        Ok(())
    });
}
