//! The way from a coordinator that does not lead to the one that does, so that a user may ask any of them.
//!
//! A call is passed on once: a coordinator that gets one that was passed on, and does not lead either, says so. Otherwise two that
//! take each other for the leader would pass it to and fro.

use crate::{
    metadata::{Leadership, Metadata},
    status::Snapshot,
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tonic::{Request, Status, metadata::MetadataMap, service::interceptor::InterceptedService, transport::Channel};
use weir_engine::{env::Env, wire};
use weir_proto::{
    net::SharedNetwork,
    secret::{ClusterSecret, ShowSecret},
    transport,
    v1::{BoardRequest, client_client::ClientClient},
};

/// In the head of a call that another coordinator has passed on.
const PASSED_ON: &str = "weir-passed-on";

/// How long an election is waited for. Most take half a second to one second.
const ELECTION: Duration = Duration::from_secs(5);

/// How long the leader may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it may take to answer a call: somewhat longer than a decision may.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The leader's service for users.
pub(crate) type LeaderClient = ClientClient<InterceptedService<Channel, ShowSecret>>;

/// Who answers a call.
pub(crate) enum Route {
    /// This coordinator, which leads.
    Here,
    /// The one that does.
    There(Box<LeaderClient>),
}

/// Finds the leader. Clones share their connection to it.
#[derive(Clone)]
pub struct LeaderRoute {
    metadata: Arc<Metadata>,
    network: SharedNetwork,
    secret: ClusterSecret,
    env: Env,
    /// The address that is connected to, as long as its coordinator leads.
    open: Arc<Mutex<Option<(String, LeaderClient)>>>,
}

impl LeaderRoute {
    /// As this coordinator's metadata knows it.
    pub(crate) fn new(metadata: Arc<Metadata>, network: SharedNetwork, secret: ClusterSecret, env: Env) -> Self {
        LeaderRoute { metadata, network, secret, env, open: Arc::default() }
    }

    /// Who answers a call with this head. Waits for an election, where there is one.
    ///
    /// # Errors
    /// `Unavailable`, when nobody leads or the leader is not reached; also for a call that was passed on to here in vain.
    pub(crate) async fn of(&self, head: &MetadataMap) -> Result<Route, Status> {
        let mut leadership = self.metadata.leadership();
        let has_settled = |now: &Leadership| !matches!(now, Leadership::Follower { leader: None });
        let settled = tokio::select! {
            biased;
            settled = leadership.wait_for(has_settled) => settled.map(|now| now.clone()).ok(),
            () = self.env.sleep(ELECTION) => None,
        };
        match settled {
            Some(Leadership::Leader { .. }) => Ok(Route::Here),
            Some(Leadership::Follower { leader: Some((node, address)) }) => {
                if head.contains_key(PASSED_ON) {
                    return Err(Status::unavailable(format!(
                        "this coordinator does not lead any more, coordinator {node} at {address} does; try again"
                    )));
                }
                self.connect(node, &address).await.map(|leader| Route::There(Box::new(leader)))
            }
            Some(Leadership::Stopped { reason }) => {
                Err(Status::unavailable(format!("this coordinator has stopped: {reason}")))
            }
            Some(Leadership::Follower { leader: None }) | None => Err(Status::unavailable(
                "no coordinator leads: most of them do not reach each other; start those that are down",
            )),
        }
    }

    /// A call as it is passed on.
    pub(crate) fn passed_on<T>(call: T) -> Request<T> {
        let mut request = Request::new(call);
        // One that is frozen keeps its connections, and has a successor soon.
        request.set_timeout(ANSWER_TIMEOUT);
        request.metadata_mut().insert(PASSED_ON, tonic::metadata::MetadataValue::from_static("1"));
        request
    }

    /// What another coordinator shows that leads.
    ///
    /// # Errors
    /// When none does, or it is not reached.
    pub(crate) async fn board(&self) -> Result<Snapshot, Status> {
        let Route::There(mut leader) = self.of(&MetadataMap::new()).await? else {
            return Err(Status::unavailable("this coordinator leads"));
        };
        let shown = leader.board(Self::passed_on(BoardRequest {})).await?.into_inner();
        wire::from_json(&shown.json, "what the leader shows").map_err(|error| Status::internal(error.message))
    }

    /// The connection to the leader did not carry a call.
    pub(crate) fn forget(&self) {
        *self.open.lock() = None;
    }

    async fn connect(&self, node: u64, address: &str) -> Result<LeaderClient, Status> {
        if let Some((open, client)) = &*self.open.lock()
            && open == address
        {
            return Ok(client.clone());
        }
        let channel = transport::connect(self.network.clone(), address, CONNECT_TIMEOUT).await;
        let channel = channel.map_err(|status| {
            Status::unavailable(format!("coordinator {node} leads, and is not reached from here: {}", status.message()))
        })?;
        let client = ClientClient::with_interceptor(channel, self.secret.shown())
            .max_decoding_message_size(transport::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(transport::MAX_MESSAGE_BYTES);
        *self.open.lock() = Some((address.to_owned(), client.clone()));
        Ok(client)
    }
}
