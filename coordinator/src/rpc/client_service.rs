//! The gRPC service for users: submit, list, status, cancel, stop, savepoint, and who the coordinators are. A coordinator that does
//! not lead passes calls on to the one that does.

use super::to_status;
use crate::{
    announce::check_storage,
    job::{JobContext, from_savepoint, savepoints::SavepointDesk},
    leader::{LeaderClient, LeaderRoute, Route},
    metadata::{Command, FromSavepoint, Joined, Joining, Metadata, SavepointMode},
    publish::Publisher,
};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use serde::Serialize;
use std::sync::Arc;
use tonic::{Code, Request, Response, Status};
use weir_engine::{
    env::Env,
    graph::{ExecutionGraph, JobGraph},
    hidden::redacted,
    wire,
};
use weir_proto::{
    transport,
    v1::{self as pb, client_server::Client},
};

/// How much of a backup is in a message. A smaller one is in a single message.
const PIECE_BYTES: usize = transport::MAX_MESSAGE_BYTES / 4;

/// The service of users' commands, behind a door that demands the cluster's secret. Cheap to clone.
#[derive(Clone)]
pub struct ClientService {
    /// Where decisions are taken down.
    pub metadata: Arc<Metadata>,
    /// Who leads.
    pub leader: LeaderRoute,
    /// Describes the current state.
    pub publisher: Publisher,
    /// What jobs are judged by.
    pub context: JobContext,
    /// Has savepoints made.
    pub savepoints: SavepointDesk,
    /// For the time that is shown to people.
    pub env: Env,
}

#[tonic::async_trait]
impl Client for ClientService {
    type BackupStream = BoxStream<'static, Result<pb::BackupReply, Status>>;

    async fn submit(&self, request: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitReply>, Status> {
        let request = match self.route(request).await? {
            Routed::Here(request) => request,
            Routed::There(mut leader, request) => return self.answered(leader.submit(request).await),
        };
        let graph: JobGraph = wire::from_json(&request.graph, "the job graph")
            .map_err(|error| Status::invalid_argument(error.message))?;
        ExecutionGraph::new(graph.clone()).map_err(|error| to_status(&error))?;
        self.context.settings.admit.judge(&graph).map_err(|error| to_status(&error))?;
        let from_savepoint = request.from_savepoint.as_ref().map(from_wire);
        let notices = match &from_savepoint {
            None => Vec::new(),
            Some(from) => {
                self.context.settings.admit.judge_place(&from.url).map_err(|error| to_status(&error))?;
                let judged = from_savepoint::judge(&self.context, &graph, &request.fingerprint, from).await;
                judged.map_err(|error| to_status(&error))?
            }
        };
        let json = serde_json::to_value(&graph).map_err(|error| Status::internal(error.to_string()))?;
        let submit = Command::Submit {
            job: graph.name.clone(),
            graph: json.into(),
            fingerprint: request.fingerprint,
            // For people, who are not shown passwords either.
            definition: redacted(&request.definition).into_owned().into(),
            fresh: request.fresh,
            from_savepoint,
            at_ms: self.env.wall_clock_ms(),
        };
        self.propose(submit).await?;
        Ok(Response::new(pb::SubmitReply { job: graph.name, notices }))
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Result<Response<pb::Description>, Status> {
        if let Routed::There(mut leader, request) = self.route(request).await? {
            return self.answered(leader.list(request).await);
        }
        describe(&self.publisher.snapshot().cluster)
    }

    async fn status(&self, request: Request<pb::JobRequest>) -> Result<Response<pb::Description>, Status> {
        let request = match self.route(request).await? {
            Routed::Here(request) => request,
            Routed::There(mut leader, request) => return self.answered(leader.status(request).await),
        };
        self.describe_job(&request.job)
    }

    async fn cancel(&self, request: Request<pb::JobRequest>) -> Result<Response<pb::Description>, Status> {
        let request = match self.route(request).await? {
            Routed::Here(request) => request,
            Routed::There(mut leader, request) => return self.answered(leader.cancel(request).await),
        };
        let (job, at_ms) = (request.job.clone(), self.env.wall_clock_ms());
        self.propose(Command::CancelRequested { job, at_ms }).await?;
        self.describe_job(&request.job)
    }

    async fn stop(&self, request: Request<pb::StopRequest>) -> Result<Response<pb::Description>, Status> {
        let request = match self.route(request).await? {
            Routed::Here(request) => request,
            Routed::There(mut leader, request) => return self.answered(leader.stop(request).await),
        };
        let (job, at_ms) = (request.job.clone(), self.env.wall_clock_ms());
        self.propose(Command::StopRequested { job, drain: request.drain, at_ms }).await?;
        self.describe_job(&request.job)
    }

    async fn savepoint(&self, request: Request<pb::SavepointRequest>) -> Result<Response<pb::SavepointReply>, Status> {
        let request = match self.route(request).await? {
            Routed::Here(request) => request,
            Routed::There(mut leader, request) => return self.answered(leader.savepoint(request).await),
        };
        if !request.to.is_empty() {
            self.context.settings.admit.judge_place(&request.to).map_err(|error| to_status(&error))?;
        }
        self.savepoints.serve(request).await.map(Response::new).map_err(|error| to_status(&error))
    }

    async fn delete_savepoint(
        &self,
        request: Request<pb::DeleteSavepointRequest>,
    ) -> Result<Response<pb::DeleteSavepointReply>, Status> {
        let request = match self.route(request).await? {
            Routed::Here(request) => request,
            Routed::There(mut leader, request) => return self.answered(leader.delete_savepoint(request).await),
        };
        let released = self.savepoints.release(&request.job, &request.savepoint).await;
        let checkpoint = released.map_err(|error| to_status(&error))?.0;
        Ok(Response::new(pb::DeleteSavepointReply { checkpoint }))
    }

    async fn board(&self, request: Request<pb::BoardRequest>) -> Result<Response<pb::Description>, Status> {
        match self.route(request).await? {
            Routed::Here(_) => describe(&self.publisher.snapshot()),
            Routed::There(mut leader, request) => self.answered(leader.board(request).await),
        }
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        let pb::JoinRequest { node, disk, address, replaces, storage } = match self.route(request).await? {
            Routed::Here(request) => request,
            Routed::There(mut leader, request) => return self.answered(leader.join(request).await),
        };
        // Who belongs to the group already finds out by the answer.
        if node == 0 && !storage.is_empty() {
            check_storage(&storage, &self.context.settings.storage).map_err(|error| to_status(&error))?;
        }
        let joining = Joining { node: some(node), disk, address, replaces: some(replaces) };
        let Joined { node, votes } = self.metadata.admit(&joining).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(pb::JoinReply { node, votes, storage: self.context.settings.storage.clone() }))
    }

    async fn remove_coordinator(
        &self,
        request: Request<pb::RemoveCoordinatorRequest>,
    ) -> Result<Response<pb::Description>, Status> {
        let request = match self.route(request).await? {
            Routed::Here(request) => request,
            Routed::There(mut leader, request) => return self.answered(leader.remove_coordinator(request).await),
        };
        self.metadata.remove(request.node).await.map_err(|error| to_status(&error))?;
        describe(&self.publisher.coordinators())
    }

    async fn backup(&self, request: Request<pb::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        if let Routed::There(mut leader, request) = self.route(request).await? {
            let pieces = self.answered(leader.backup(request).await)?.into_inner();
            return Ok(Response::new(pieces.boxed()));
        }
        let backup = self.metadata.backup().await.map_err(|error| to_status(&error))?;
        let pieces = pieces(backup.into(), PIECE_BYTES).map(|backup| Ok(pb::BackupReply { backup }));
        Ok(Response::new(futures::stream::iter(pieces).boxed()))
    }
}

/// Cuts it: each piece has `size` bytes, but for the last one.
fn pieces(whole: Bytes, size: usize) -> impl Iterator<Item = Bytes> {
    let begins = (0..whole.len()).step_by(size);
    begins.map(move |begin| whole.slice(begin..whole.len().min(begin + size)))
}

/// Zero is how the wire says that there is none.
fn some(number: u64) -> Option<u64> {
    Some(number).filter(|number| *number > 0)
}

/// A call, and who answers it.
enum Routed<T> {
    Here(T),
    There(Box<LeaderClient>, Request<T>),
}

impl ClientService {
    async fn route<T>(&self, request: Request<T>) -> Result<Routed<T>, Status> {
        let route = self.leader.of(request.metadata()).await?;
        let call = request.into_inner();
        Ok(match route {
            Route::Here => Routed::Here(call),
            Route::There(leader) => Routed::There(leader, LeaderRoute::passed_on(call)),
        })
    }

    /// What the leader answered. Where it is not reached any more it is connected to anew the next time.
    fn answered<T>(&self, answer: Result<Response<T>, Status>) -> Result<Response<T>, Status> {
        match answer {
            Ok(answer) => Ok(Response::new(answer.into_inner())),
            Err(status) => {
                let is_gone = matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded);
                if !is_gone {
                    return Err(status);
                }
                self.leader.forget();
                let error = status.message();
                Err(Status::unavailable(format!(
                    "the coordinator that leads did not answer, and may have done it: {error}"
                )))
            }
        }
    }

    async fn propose(&self, command: Command) -> Result<(), Status> {
        self.metadata.propose(command).await.map(|_| ()).map_err(|error| to_status(&error))
    }

    fn describe_job(&self, job: &str) -> Result<Response<pb::Description>, Status> {
        match self.publisher.job(job) {
            Some(job) => describe(&job),
            None => Err(Status::not_found(format!("there is no job '{job}'; `weir list` shows all jobs"))),
        }
    }
}

fn from_wire(from: &pb::FromSavepoint) -> FromSavepoint {
    let mode = match from.mode() {
        pb::from_savepoint::Mode::Resume => SavepointMode::Resume,
        pb::from_savepoint::Mode::Rewind => SavepointMode::Rewind,
        pb::from_savepoint::Mode::Fork => SavepointMode::Fork,
    };
    FromSavepoint { url: from.url.clone(), mode }
}

fn describe<T: Serialize>(what: &T) -> Result<Response<pb::Description>, Status> {
    let json = wire::to_json(what).map_err(|error| to_status(&error))?;
    Ok(Response::new(pb::Description { json }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole_again_and_none_is_larger_than_its_size() {
        let whole = Bytes::from_static(b"abcdefgh");
        for size in 1..=9 {
            let cut: Vec<Bytes> = pieces(whole.clone(), size).collect();
            assert_eq!(cut.concat(), whole);
            assert_eq!(cut.len(), whole.len().div_ceil(size));
            assert!(cut.iter().all(|piece| (1..=size).contains(&piece.len())), "{cut:?}");
        }
    }
}
