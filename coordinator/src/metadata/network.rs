//! How coordinators reach each other: the Raft library's messages as JSON over gRPC, and the service that receives them.
//!
//! A call names the coordinator that it is meant for and its disk, so that an address that is another's by now, or was given to two
//! by mistake, is not taken for a second voice, nor one that has lost its disk for one that remembers its votes. A call that fails waits a little before it says so: the library tries again at
//! once. (Its own way of waiting throws dice that cannot be seeded.)

use super::{
    identity::Identity,
    pre_vote::Hearing,
    raft_types::{Node, Raft, TypeConfig},
};
use openraft::{
    RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::task::JoinSet;
use tonic::{Request, Status, metadata::MetadataValue, service::interceptor::InterceptedService, transport::Channel};
use weir_engine::env::{Env, Moment};
use weir_proto::{
    PROTOCOL_VERSION,
    net::SharedNetwork,
    protocol,
    secret::{ClusterSecret, ShowSecret},
    transport,
    v1::{self as pb, IdentifyRequest, RaftMessage, raft_client::RaftClient, raft_server},
};

/// Header of every call: the number of the coordinator that it is meant for.
const TARGET: &str = "weir-coordinator";
/// And its disk, where the caller knows it.
const DISK: &str = "weir-coordinator-disk";
/// How long a connection may take to be there: longer than a call may, and not so long that one to a network that was cut is waited
/// for when it is whole again.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
/// And the version of the protocol that the caller speaks.
const PROTOCOL: &str = "weir-protocol";
/// Before a failed call is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// A client that shows the cluster's secret.
type Client = RaftClient<InterceptedService<Channel, ShowSecret>>;

/// Makes a client for every other coordinator. Cheap to clone.
#[derive(Clone)]
pub(super) struct Peers {
    pub network: SharedNetwork,
    pub env: Env,
    /// Where they are by the settings of this one: tried where nobody answers at the address in the log.
    pub addresses: BTreeMap<u64, String>,
    pub secret: ClusterSecret,
    /// When each of them has answered last.
    pub heard: Arc<Mutex<BTreeMap<u64, Moment>>>,
}

/// The way to one other coordinator.
pub(super) struct Peer {
    target: u64,
    disk: Option<u64>,
    /// The one that is tried next comes first; never empty.
    addresses: VecDeque<String>,
    network: SharedNetwork,
    env: Env,
    secret: ClusterSecret,
    heard: Arc<Mutex<BTreeMap<u64, Moment>>>,
    /// Open until a call fails.
    client: Option<Client>,
    /// On the way. A call may end before it is there: the next one goes on with it, so that a handshake which takes longer than a
    /// call may is finished all the same.
    dialled: JoinSet<Result<Channel, Status>>,
    /// Whether the last call came through, as far as was told.
    is_reached: bool,
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Node) -> Peer {
        let told = self.addresses.get(&target).filter(|address| **address != node.address);
        Peer {
            target,
            disk: node.disk,
            addresses: [&node.address].into_iter().chain(told).cloned().collect(),
            network: self.network.clone(),
            env: self.env.clone(),
            secret: self.secret.clone(),
            heard: Arc::clone(&self.heard),
            client: None,
            dialled: JoinSet::new(),
            is_reached: true,
        }
    }
}

/// An error that came back from the other side, or the way to it.
type CallError<E> = RPCError<u64, Node, RaftError<u64, E>>;

impl Peer {
    fn address(&self) -> &str {
        self.addresses.front().map_or("", String::as_str)
    }

    /// One call: a request as JSON, and the answer's JSON.
    async fn call<Q, A, E, F>(
        &mut self,
        question: &Q,
        option: &RPCOption,
        send: impl FnOnce(Client, Request<RaftMessage>) -> F,
    ) -> Result<A, CallError<E>>
    where
        Q: Serialize,
        A: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
        F: Future<Output = Result<tonic::Response<RaftMessage>, Status>>,
    {
        match self.exchange(question, send).await {
            Ok(answer) => {
                self.heard.lock().insert(self.target, self.env.now());
                if !std::mem::replace(&mut self.is_reached, true) {
                    tracing::info!(coordinator = self.target, address = self.address(), "coordinator is reached again");
                }
                answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
            }
            Err(status) => {
                self.client = None;
                let is_reached = std::mem::replace(&mut self.is_reached, false);
                // Said once, since it may take long.
                if is_reached {
                    let error = status.message();
                    tracing::warn!(
                        coordinator = self.target,
                        address = self.address(),
                        error,
                        "coordinator is not reached; retrying"
                    );
                }
                self.addresses.rotate_left(1);
                self.env.sleep(option.soft_ttl().min(PAUSE)).await;
                Err(RPCError::Network(NetworkError::new(&status)))
            }
        }
    }

    async fn exchange<Q, A, E, F>(
        &mut self,
        question: &Q,
        send: impl FnOnce(Client, Request<RaftMessage>) -> F,
    ) -> Result<Result<A, RaftError<u64, E>>, Status>
    where
        Q: Serialize,
        A: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
        F: Future<Output = Result<tonic::Response<RaftMessage>, Status>>,
    {
        let client = self.client().await?;
        let request = self.addressed(RaftMessage { json: to_json(question)?.into() });
        from_json(&send(client, request).await?.into_inner().json)
    }
}

impl Peer {
    /// Has it stand for election.
    ///
    /// # Errors
    /// When it is not reached, or refuses.
    pub(super) async fn elect(&mut self) -> Result<(), Status> {
        let mut client = self.client().await?;
        client.elect(self.addressed(pb::ElectRequest {})).await.map(drop)
    }

    /// Whether it, too, hears no leader. One of a release that does not know the question has nothing against an election.
    ///
    /// # Errors
    /// When it is not reached, or takes longer than `limit`.
    pub(super) async fn pre_vote(&mut self, limit: Duration) -> Result<bool, Status> {
        let env = self.env.clone();
        let asked = tokio::select! {
            biased;
            asked = self.ask_pre_vote() => asked,
            () = env.sleep(limit) => Err(Status::deadline_exceeded("it does not answer")),
        };
        match asked {
            Ok(reply) => Ok(reply.granted),
            Err(status) if status.code() == tonic::Code::Unimplemented => Ok(true),
            Err(status) => {
                self.client = None;
                self.addresses.rotate_left(1);
                Err(status)
            }
        }
    }

    async fn ask_pre_vote(&mut self) -> Result<pb::PreVoteReply, Status> {
        let mut client = self.client().await?;
        client.pre_vote(self.addressed(pb::PreVoteRequest {})).await.map(tonic::Response::into_inner)
    }

    /// A message that says whom it is for.
    fn addressed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(TARGET, MetadataValue::from(self.target));
        request.metadata_mut().insert(PROTOCOL, MetadataValue::from(PROTOCOL_VERSION));
        if let Some(disk) = self.disk {
            request.metadata_mut().insert(DISK, MetadataValue::from(disk));
        }
        request
    }

    async fn client(&mut self) -> Result<Client, Status> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        if self.dialled.is_empty() {
            let (network, address) = (self.network.clone(), self.address().to_owned());
            self.dialled.spawn(async move { transport::connect(network, &address, CONNECT_TIMEOUT).await });
        }
        let Some(Ok(channel)) = self.dialled.join_next().await else {
            return Err(Status::unavailable("connecting was given up"));
        };
        let client = RaftClient::with_interceptor(channel?, self.secret.shown());
        Ok(self.client.insert(client.max_decoding_message_size(transport::MAX_MESSAGE_BYTES)).clone())
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, Node, RaftError<u64>>> {
        self.call(&rpc, &option, |mut client, request| async move { client.append(request).await }).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, Node, RaftError<u64, InstallSnapshotError>>> {
        self.call(&rpc, &option, |mut client, request| async move { client.install_snapshot(request).await }).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Node, RaftError<u64>>> {
        self.call(&rpc, &option, |mut client, request| async move { client.vote(request).await }).await
    }
}

/// Where the others' messages arrive, with the cluster's secret. Does not keep the log running by itself.
pub struct RaftService {
    pub(super) identity: Arc<Identity>,
    pub(super) raft: Weak<Raft>,
    pub(super) hearing: Arc<Hearing>,
}

impl RaftService {
    /// The log, and what the message says.
    async fn admit<Q: DeserializeOwned>(&self, request: &Request<RaftMessage>) -> Result<(Arc<Raft>, Q), Status> {
        Ok((self.open(request).await?, from_json(&request.get_ref().json)?))
    }

    /// The log, for a caller that means this coordinator.
    async fn open<T>(&self, request: &Request<T>) -> Result<Arc<Raft>, Status> {
        let node = self.identity.node;
        let header = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        check_protocol(header(PROTOCOL), node)?;
        let target = header(TARGET);
        if target != Some(node.to_string().as_str()) {
            return Err(Status::failed_precondition(format!(
                "this is coordinator {node}, the message is for {}; give each its own address",
                target.unwrap_or("nobody")
            )));
        }
        if let Some(disk) = header(DISK) {
            if disk != self.identity.disk.to_string() {
                return Err(Status::failed_precondition(format!(
                    "coordinator {node} has another data dir than the one that is a member"
                )));
            }
            self.identity.confirm().await.map_err(|error| Status::unavailable(error.message))?;
        }
        self.raft.upgrade().ok_or_else(|| Status::unavailable("this coordinator is shutting down"))
    }
}

/// Coordinators that decide differently must not decide together.
fn check_protocol(spoken: Option<&str>, node: u64) -> Result<(), Status> {
    // Version 4 did not say so.
    let spoken =
        spoken.map_or(Ok(4), str::parse).map_err(|_| Status::invalid_argument("no version of the protocol"))?;
    let mine = format!("coordinator {node} (Weir {})", env!("CARGO_PKG_VERSION"));
    match protocol::mismatch("the coordinator that calls", spoken, &mine) {
        Some(why) => Err(Status::failed_precondition(why)),
        None => Ok(()),
    }
}

fn answer(answer: &impl Serialize) -> Result<tonic::Response<RaftMessage>, Status> {
    Ok(tonic::Response::new(RaftMessage { json: to_json(answer)?.into() }))
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    async fn append(&self, request: Request<RaftMessage>) -> Result<tonic::Response<RaftMessage>, Status> {
        let (raft, rpc) = self.admit(&request).await?;
        let reply = raft.append_entries(rpc).await;
        if reply.as_ref().is_ok_and(|reply| !matches!(reply, AppendEntriesResponse::HigherVote(_))) {
            self.hearing.hear();
        }
        answer(&reply)
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<tonic::Response<RaftMessage>, Status> {
        let (raft, rpc) = self.admit::<VoteRequest<u64>>(&request).await?;
        let has_begun = rpc.last_log_id.is_some_and(|last| last.index > 0);
        let is_empty = raft.metrics().borrow().last_log_index.unwrap_or(0) == 0;
        if has_begun && is_empty && !self.identity.is_confirmed() {
            return Err(Status::failed_precondition(format!(
                "coordinator {} has an empty data dir, and does not vote before the leader knows it",
                self.identity.node
            )));
        }
        answer(&raft.vote(rpc).await)
    }

    async fn install_snapshot(&self, request: Request<RaftMessage>) -> Result<tonic::Response<RaftMessage>, Status> {
        let (raft, rpc) = self.admit::<InstallSnapshotRequest<TypeConfig>>(&request).await?;
        let vote = rpc.vote;
        let reply = raft.install_snapshot(rpc).await;
        if reply.as_ref().is_ok_and(|reply| reply.vote == vote) {
            self.hearing.hear();
        }
        answer(&reply)
    }

    async fn elect(&self, request: Request<pb::ElectRequest>) -> Result<tonic::Response<pb::ElectReply>, Status> {
        let raft = self.open(&request).await?;
        raft.trigger().elect().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(tonic::Response::new(pb::ElectReply {}))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::PreVoteRequest>,
    ) -> Result<tonic::Response<pb::PreVoteReply>, Status> {
        let raft = self.open(&request).await?;
        let granted = self.hearing.misses_leader(&raft.metrics().borrow());
        Ok(tonic::Response::new(pb::PreVoteReply { granted }))
    }

    async fn identify(&self, _: Request<IdentifyRequest>) -> Result<tonic::Response<pb::Identity>, Status> {
        Ok(tonic::Response::new(pb::Identity { node: self.identity.node, disk: self.identity.disk }))
    }
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(value).map_err(|error| Status::internal(format!("a Raft message has no JSON: {error}")))
}

fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(json).map_err(|error| Status::invalid_argument(format!("not a Raft message: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_decides_by_another_version_is_not_listened_to() {
        check_protocol(Some(&PROTOCOL_VERSION.to_string()), 1).unwrap();
        let newer = (PROTOCOL_VERSION + 1).to_string();
        for other in [None, Some("4"), Some(newer.as_str())] {
            let refused = check_protocol(other, 7).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
            assert!(refused.message().contains("coordinator 7 (Weir "), "{}", refused.message());
        }
        assert_eq!(check_protocol(Some("new"), 7).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
