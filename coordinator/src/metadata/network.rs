//! How coordinators reach each other: the Raft library's messages as JSON over gRPC, and the service that receives them.
//!
//! A call names the coordinator that it is meant for, so that an address that is another's by now, or was given to two by
//! mistake, is not taken for a second voice. A call that fails waits a little before it says so: the library tries again at
//! once. (Its own way of waiting throws dice that cannot be seeded.)

use super::raft_types::{Raft, TypeConfig};
use openraft::{
    BasicNode, RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::task::JoinSet;
use tonic::{Request, Status, metadata::MetadataValue, service::interceptor::InterceptedService, transport::Channel};
use weir_engine::env::Env;
use weir_proto::{
    net::SharedNetwork,
    secret::{ClusterSecret, ShowSecret},
    transport,
    v1::{RaftMessage, raft_client::RaftClient, raft_server},
};
/// Header of every call: the number of the coordinator that it is meant for.
const TARGET: &str = "weir-coordinator";
/// How long a connection may take to be there: longer than a call may, and not so long that one to a network that was cut is waited
/// for when it is whole again.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
/// Before a failed call is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// A client that shows the cluster's secret.
type Client = RaftClient<InterceptedService<Channel, ShowSecret>>;

/// Makes a client for every other coordinator.
pub(super) struct Peers {
    pub network: SharedNetwork,
    pub env: Env,
    /// Where they are by the settings of this one; they go before what the log says.
    pub addresses: BTreeMap<u64, String>,
    pub secret: ClusterSecret,
}

/// The way to one other coordinator.
pub(super) struct Peer {
    target: u64,
    address: String,
    network: SharedNetwork,
    env: Env,
    secret: ClusterSecret,
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

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        Peer {
            target,
            address: self.addresses.get(&target).unwrap_or(&node.addr).clone(),
            network: self.network.clone(),
            env: self.env.clone(),
            secret: self.secret.clone(),
            client: None,
            dialled: JoinSet::new(),
            is_reached: true,
        }
    }
}

/// An error that came back from the other side, or the way to it.
type CallError<E> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Peer {
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
                if !std::mem::replace(&mut self.is_reached, true) {
                    tracing::info!(coordinator = self.target, address = %self.address, "coordinator is reached again");
                }
                answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
            }
            Err(status) => {
                self.client = None;
                // Said once, since it may take long.
                if std::mem::replace(&mut self.is_reached, false) {
                    let error = status.message();
                    tracing::warn!(coordinator = self.target, address = %self.address, error, "coordinator is not reached; retrying");
                }
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
        let mut request = Request::new(RaftMessage { json: to_json(question)?.into() });
        request.metadata_mut().insert(TARGET, MetadataValue::from(self.target));
        from_json(&send(client, request).await?.into_inner().json)
    }
}

impl Peer {
    async fn client(&mut self) -> Result<Client, Status> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        if self.dialled.is_empty() {
            let (network, address) = (self.network.clone(), self.address.clone());
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
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        self.call(&rpc, &option, |mut client, request| async move { client.append(request).await }).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>> {
        self.call(&rpc, &option, |mut client, request| async move { client.install_snapshot(request).await }).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        self.call(&rpc, &option, |mut client, request| async move { client.vote(request).await }).await
    }
}

/// Where the others' messages arrive, with the cluster's secret. Does not keep the log running by itself.
pub struct RaftService {
    pub(super) node: u64,
    pub(super) raft: Weak<Raft>,
}

impl RaftService {
    /// The log, and what the message says.
    fn admit<Q: DeserializeOwned>(&self, request: &Request<RaftMessage>) -> Result<(Arc<Raft>, Q), Status> {
        let target = request.metadata().get(TARGET).and_then(|value| value.to_str().ok());
        if target != Some(self.node.to_string().as_str()) {
            return Err(Status::failed_precondition(format!(
                "this is coordinator {}, the message is for {}; give each its own address in --peers",
                self.node,
                target.unwrap_or("nobody")
            )));
        }
        let raft = self.raft.upgrade().ok_or_else(|| Status::unavailable("this coordinator is shutting down"))?;
        Ok((raft, from_json(&request.get_ref().json)?))
    }
}

fn answer(answer: &impl Serialize) -> Result<tonic::Response<RaftMessage>, Status> {
    Ok(tonic::Response::new(RaftMessage { json: to_json(answer)?.into() }))
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    async fn append(&self, request: Request<RaftMessage>) -> Result<tonic::Response<RaftMessage>, Status> {
        let (raft, rpc) = self.admit(&request)?;
        answer(&raft.append_entries(rpc).await)
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<tonic::Response<RaftMessage>, Status> {
        let (raft, rpc) = self.admit(&request)?;
        answer(&raft.vote(rpc).await)
    }

    async fn install_snapshot(&self, request: Request<RaftMessage>) -> Result<tonic::Response<RaftMessage>, Status> {
        let (raft, rpc) = self.admit(&request)?;
        answer(&raft.install_snapshot(rpc).await)
    }
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(value).map_err(|error| Status::internal(format!("a Raft message has no JSON: {error}")))
}

fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(json).map_err(|error| Status::invalid_argument(format!("not a Raft message: {error}")))
}
