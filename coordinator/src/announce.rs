//! A coordinator tells the group who and where it is: when it starts, and again while it knows of no leader. So a newcomer is taken
//! in, one that has moved is found, and one that was removed learns of it.

use crate::metadata::{Joined, Joining, Leadership, Metadata};
use std::{collections::BTreeSet, time::Duration};
use tonic::Code;
use weir_engine::{
    env::Env,
    error::{EngineError, ErrorKind, Result},
};
use weir_proto::{
    net::SharedNetwork,
    secret::ClusterSecret,
    transport,
    v1::{JoinReply, JoinRequest, client_client::ClientClient},
};

/// Before it is said once more.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a coordinator may take to take a connection, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Without a leader for so long, one may have been removed.
const LEADERLESS: Duration = Duration::from_secs(5);

/// The way to other coordinators.
#[derive(Clone)]
pub struct Caller {
    /// The network.
    pub network: SharedNetwork,
    /// What is shown at their ports.
    pub secret: ClusterSecret,
    /// Time.
    pub env: Env,
    /// Where this coordinator keeps checkpoints.
    pub storage: String,
}

/// Asks a group for a number, and to be taken in: until one of these addresses answers, and knows who leads.
///
/// # Errors
/// When it is refused for good.
pub async fn join(caller: &Caller, joining: &Joining, addresses: &BTreeSet<String>) -> Result<Joined> {
    let mut told: Option<String> = None;
    loop {
        match caller.ask_all(joining, addresses).await {
            Err(error) if error.kind != ErrorKind::Definition => {
                // Said once, since it may take long.
                if told.as_ref() != Some(&error.message) {
                    tracing::warn!(%error, "not taken in by the other coordinators yet; retrying");
                    told = Some(error.message);
                }
                caller.env.sleep(PAUSE).await;
            }
            answered => return answered.map(|JoinReply { node, votes, .. }| Joined { node, votes }),
        }
    }
}

/// Says who and where a coordinator is, for as long as it runs, and checks that it uses the same storage as the one that leads: with
/// another one it could not take over a single job. One that has just started ends then.
///
/// # Errors
/// When it does not belong to the group (any more), or starts with another storage.
pub(crate) async fn announce(caller: &Caller, metadata: &Metadata) -> Result<()> {
    let joining = metadata.joining();
    let mut has_just_started = true;
    loop {
        let leaders = introduce(caller, metadata, &joining).await?;
        if let Some(Err(problem)) = leaders.map(|leaders| check_storage(&caller.storage, &leaders)) {
            if has_just_started {
                return Err(problem);
            }
            tracing::error!(%problem, "jobs will fail when another coordinator leads");
        }
        has_just_started = false;
        without_leader(&caller.env, metadata).await;
    }
}

/// A coordinator must find what the one has written that leads.
pub(crate) fn check_storage(storage: &str, leaders: &str) -> Result<()> {
    if storage.trim_end_matches('/') == leaders.trim_end_matches('/') {
        return Ok(());
    }
    Err(EngineError::definition(format!(
        "this coordinator keeps checkpoints in '{storage}', and the one that leads in '{leaders}': give all of them the same --storage, one \
         that all workers reach"
    )))
}

/// Returns where the leader keeps checkpoints, if it is another coordinator and says so.
async fn introduce(caller: &Caller, metadata: &Metadata, joining: &Joining) -> Result<Option<String>> {
    let leadership = metadata.leadership();
    loop {
        if metadata.members().is_empty() && metadata.known_addresses().is_empty() {
            return Err(EngineError::definition("this coordinator belongs to no cluster yet: start it with --join"));
        }
        let leads = leadership.borrow().is_leader();
        let answer = match leads {
            true => metadata.admit(joining).await.map(|Joined { votes, .. }| (votes, String::new())),
            false => {
                let reply = caller.ask_all(joining, &metadata.known_addresses()).await;
                reply.map(|JoinReply { votes, storage, .. }| (votes, storage))
            }
        };
        match answer {
            Ok((true, leaders)) => return Ok(Some(leaders).filter(|leaders| !leaders.is_empty())),
            Err(error) if error.kind == ErrorKind::Definition => return Err(error),
            // It catches up, or nobody leads: what keeps it is said by those who call each other.
            Ok(_) | Err(_) => caller.env.sleep(PAUSE).await,
        }
    }
}

/// Waits until no leader has been known for a while.
async fn without_leader(env: &Env, metadata: &Metadata) {
    let mut leadership = metadata.leadership();
    let is_without = |now: &Leadership| matches!(now, Leadership::Follower { leader: None });
    loop {
        if leadership.wait_for(is_without).await.is_err() {
            return std::future::pending().await;
        }
        tokio::select! {
            biased;
            led = leadership.wait_for(|now| !is_without(now)) => if led.is_err() {
                return std::future::pending().await;
            },
            () = env.sleep(LEADERLESS) => return,
        }
    }
}

impl Caller {
    /// Asks one after the other.
    async fn ask_all(&self, joining: &Joining, addresses: &BTreeSet<String>) -> Result<JoinReply> {
        let mut newest = EngineError::unavailable("no other coordinator is known");
        for address in addresses {
            match self.ask(joining, address).await {
                Err(error) if error.kind != ErrorKind::Definition => newest = error,
                answered => return answered,
            }
        }
        Err(newest)
    }

    async fn ask(&self, joining: &Joining, address: &str) -> Result<JoinReply> {
        let asking = async {
            let channel = transport::connect(self.network.clone(), address, CONNECT_TIMEOUT).await?;
            let mut client = ClientClient::with_interceptor(channel, self.secret.shown());
            let Joining { node, disk, address, replaces } = joining.clone();
            let (node, replaces) = (node.unwrap_or(0), replaces.unwrap_or(0));
            client.join(JoinRequest { node, disk, address, replaces, storage: self.storage.clone() }).await
        };
        let answer = tokio::select! {
            biased;
            answer = asking => answer,
            () = self.env.sleep(ANSWER_TIMEOUT) => Err(tonic::Status::unavailable(format!("{address} does not answer"))),
        };
        match answer {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) if matches!(status.code(), Code::InvalidArgument | Code::PermissionDenied) => {
                Err(EngineError::definition(status.message()))
            }
            Err(status) => Err(EngineError::unavailable(status.message())),
        }
    }
}
