//! The gRPC service for workers: one stream each.

use crate::{
    config::CoordinatorSettings,
    metadata::{Leadership, Metadata},
    workers::Workers,
};
use futures::{Stream, StreamExt, stream::BoxStream};
use std::{sync::Arc, time::Duration};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_engine::env::Env;
use weir_proto::{
    LEADER_HEADER, protocol,
    v1::{self as pb, worker_control_server::WorkerControl, worker_message},
};

/// How long a caller may take to say who it is.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The service of the control stream, behind a door that demands the cluster's secret. Cheap to clone.
#[derive(Clone)]
pub struct WorkerService {
    /// Settings of this coordinator.
    pub settings: Arc<CoordinatorSettings>,
    /// Who leads.
    pub metadata: Arc<Metadata>,
    /// The workers that are there.
    pub workers: Workers,
}

#[tonic::async_trait]
impl WorkerControl for WorkerService {
    type AttachStream = BoxStream<'static, Result<pb::CoordinatorMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<pb::WorkerMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let leadership = self.metadata.leadership().borrow().clone();
        if !leadership.is_leader() {
            return Err(elsewhere(&leadership));
        }
        let orders = self.attend(request.into_inner()).await?;
        Ok(Response::new(orders.map(Ok).boxed()))
    }
}

impl WorkerService {
    /// Takes in a worker whose first message is its registration, and listens to it in the background. Returns the
    /// stream of commands to it, which ends when the worker is given up.
    ///
    /// # Errors
    /// When the registration is refused.
    pub async fn attend(
        &self,
        mut messages: impl Stream<Item = Result<pb::WorkerMessage, Status>> + Send + Unpin + 'static,
    ) -> Result<UnboundedReceiverStream<pb::CoordinatorMessage>, Status> {
        let first = first_message(&mut messages, self.workers.env(), FIRST_MESSAGE_TIMEOUT).await?;
        let Some(worker_message::Kind::Register(registration)) = first.kind else {
            return Err(Status::invalid_argument("the first message must be a registration"));
        };
        check(&registration)?;
        let (session, orders) = self.workers.register(registration, &self.settings);
        let workers = self.workers.clone();
        tokio::spawn(async move {
            let cause = loop {
                match messages.next().await {
                    Some(Ok(message)) => {
                        if let Err(error) = workers.on_message(&session, message) {
                            break error.message;
                        }
                    }
                    Some(Err(status)) => break format!("its connection broke ({})", status.message()),
                    None => break "it closed its connection".into(),
                }
            };
            workers.on_end(&session, &cause);
        });
        Ok(UnboundedReceiverStream::new(orders))
    }
}

/// Sends a worker to the leader, if it is known.
fn elsewhere(leadership: &Leadership) -> Status {
    let Leadership::Follower { leader: Some((node, address)) } = leadership else {
        return Status::unavailable("this coordinator does not lead; another one soon will");
    };
    let mut refused =
        Status::unavailable(format!("this coordinator does not lead, coordinator {node} at {address} does"));
    if let Ok(address) = address.parse() {
        refused.metadata_mut().insert(LEADER_HEADER, address);
    }
    refused
}

fn check(registration: &pb::Register) -> Result<(), Status> {
    let theirs = format!("worker {} (Weir {})", registration.worker, registration.weir_version);
    let mine = concat!("this coordinator (Weir ", env!("CARGO_PKG_VERSION"), ")");
    if let Some(why) = protocol::mismatch(&theirs, registration.protocol_version, mine) {
        return Err(Status::failed_precondition(why));
    }
    if registration.worker.is_empty() || registration.slots == 0 {
        return Err(Status::invalid_argument("a worker needs a name and at least one slot"));
    }
    Ok(())
}

/// What a caller says first. One that says nothing does not stay.
async fn first_message(
    messages: &mut (impl Stream<Item = Result<pb::WorkerMessage, Status>> + Unpin),
    env: &Env,
    limit: Duration,
) -> Result<pb::WorkerMessage, Status> {
    tokio::select! {
        biased;
        first = messages.next() => first.ok_or_else(|| Status::invalid_argument("the stream ended at once"))?,
        () = env.sleep(limit) => {
            Err(Status::deadline_exceeded(format!("no registration came within {limit:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::PROTOCOL_VERSION;

    fn registration(protocol_version: u32, weir_version: &str) -> pb::Register {
        let (worker, weir_version) = ("w".into(), weir_version.into());
        pb::Register { protocol_version, worker, slots: 1, weir_version, ..pb::Register::default() }
    }

    #[test]
    fn a_worker_of_another_release_comes_in_if_it_speaks_the_same_version() {
        check(&registration(PROTOCOL_VERSION, "99.0.0")).unwrap();
        for other in [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1] {
            let refused = check(&registration(other, "99.0.0")).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "the worker ends");
            let told = refused.message();
            assert!(
                told.contains("worker w (Weir 99.0.0) speaks version") && told.contains("this coordinator"),
                "{told}"
            );
        }
    }

    #[tokio::test]
    async fn a_caller_that_says_nothing_is_sent_away() {
        let (mut silent, limit) = (futures::stream::pending(), Duration::from_millis(10));
        let refused = first_message(&mut silent, &Env::default(), limit).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::DeadlineExceeded);
    }
}
