//! What the coordinators have decided, replicated and durable.
//!
//! The life of a decision: a [`Command`] is [proposed](Metadata::propose) to the leader → it goes into the log on the disks of
//! a majority (`log_store`) → it is applied to every [`Catalog`] → its [`Response`] goes back, and everybody who
//! [watches](Metadata::watch) sees the new catalog. A group of one takes the same path as a group of three.
//!
//! Reading order: [`job_status`] and [`command`] (what can be decided), [`job`] and [`catalog`] (what it means; pure),
//! `database`, `log_store` and `state_machine` (what is on disk), `network`, `runtime`, `pre_vote`, `leadership` and `hand_over` (the group).

mod backup;
pub mod catalog;
pub mod command;
mod database;
mod file_disk;
mod hand_over;
mod identity;
pub mod job;
pub mod job_status;
mod leadership;
mod log_store;
mod membership;
mod memory_disk;
mod network;
mod pre_vote;
mod raft_types;
mod record;
mod runtime;
mod settings;
mod state_machine;

pub use self::{
    backup::{Restored, check_backup, restore},
    catalog::{Catalog, Leader},
    command::{CheckpointStats, Command, FromSavepoint, Refusal, Response, SavepointMode},
    database::format,
    file_disk::open_file,
    identity::{Stored, stored_identity},
    job::{CompletedCheckpoint, Job, StopRequest, Transition},
    job_status::JobStatus,
    leadership::Leadership,
    membership::{Joined, Joining, Member, Role},
    memory_disk::{MemoryBackend, MemoryDisk},
    network::RaftService,
    settings::MetadataSettings,
};

use self::{
    database::Database,
    identity::Identity,
    log_store::LogStore,
    pre_vote::Hearing,
    raft_types::{Node, Raft},
    state_machine::StateMachine,
};
use crate::door::LetIn;
use futures::{FutureExt, future::BoxFuture};
use openraft::error::{ClientWriteError, InitializeError, RaftError};
use redb::StorageBackend;
use std::{collections::BTreeMap, sync::Arc};
use tokio::{sync::watch, task::JoinHandle};
use tonic::service::interceptor::InterceptedService;
use weir_engine::{EngineError, Result, env::Env};
use weir_proto::{net::SharedNetwork, transport, v1::raft_server::RaftServer};

/// No decision is larger.
const COMMAND_BYTES: usize = 16 << 20;

/// One coordinator's part in the replicated metadata. Dropping it stops it, as a crash would.
pub struct Metadata {
    raft: Arc<Raft>,
    identity: Arc<Identity>,
    /// Held while the set of coordinators is changed: one change at a time.
    changing: tokio::sync::Mutex<()>,
    peers: network::Peers,
    settings: MetadataSettings,
    database: Database,
    catalog: watch::Receiver<Arc<Catalog>>,
    leadership: watch::Receiver<Leadership>,
    hearing: Arc<Hearing>,
    follower: JoinHandle<()>,
    gate: JoinHandle<()>,
    env: Env,
}

impl Metadata {
    /// Opens the metadata on a disk that [`open_file`] or [`MemoryDisk::new`] gave; the first time, the group begins to be.
    ///
    /// A group of one leads when this returns. One that joins a group waits until that has [admitted](Metadata::admit) it. In a larger one the others must first reach this one: serve
    /// [`Metadata::raft_service`], then follow [`Metadata::leadership`].
    ///
    /// # Errors
    /// When the disk refuses, what is on it is damaged or another coordinator's, or the settings make no sense.
    pub async fn open(
        settings: MetadataSettings,
        backend: impl StorageBackend,
        network: SharedNetwork,
        env: Env,
    ) -> Result<Metadata> {
        let config = Arc::new(settings.raft_config()?);
        let database = Database::open(backend, env.clone()).await?;
        Metadata::begin(settings, config, database, network, env).await
    }

    /// Boxed: what is waited for is compiled where it is first polled, and the Raft library with it, which is generic and large.
    /// So that is here, and not in each program that opens metadata.
    fn begin(
        settings: MetadataSettings,
        config: Arc<openraft::Config>,
        database: Database,
        network: SharedNetwork,
        env: Env,
    ) -> BoxFuture<'static, Result<Metadata>> {
        async move {
            let identity = Arc::new(Identity::claim(&database, settings.node_id, &env).await?);
            let log = LogStore::open(database.clone()).await?;
            let (newest, catalog) = watch::channel(Arc::default());
            let state_machine = StateMachine::open(database.clone(), newest).await?;
            let (addresses, secret) = (settings.peers.clone(), settings.secret.clone());
            let peers = network::Peers { network, env: env.clone(), addresses, secret, heard: Arc::default() };
            let dice = env.rng(&format!("elections of coordinator {}", settings.node_id));
            let start = Raft::new(settings.node_id, config, peers.clone(), log, state_machine);
            let raft = match runtime::with_dice(dice, start).await {
                Ok(raft) => Arc::new(raft),
                Err(error) => return Err(stopped(&database, &error)),
            };
            let (tell, leadership) = watch::channel(Leadership::Follower { leader: None });
            let patience = settings.election_timeout.1;
            let hearing = Arc::new(Hearing::new(patience, env.clone()));
            let following = leadership::follow(raft.clone(), hearing.clone(), patience, env.clone(), tell);
            let follower = tokio::spawn(following);
            let gate = pre_vote::Gate::new(raft.clone(), peers.clone(), hearing.clone(), &settings);
            let gate = tokio::spawn(gate.keep());
            let changing = tokio::sync::Mutex::default();
            let metadata = Metadata {
                raft,
                identity,
                changing,
                peers,
                settings,
                database,
                catalog,
                leadership,
                hearing,
                follower,
                gate,
                env,
            };
            match metadata.join_group().await {
                Ok(()) => Ok(metadata),
                Err(error) => {
                    metadata.shutdown().await?;
                    Err(error)
                }
            }
        }
        .boxed()
    }

    /// Begins the group, if it is a new one. Who belongs to one that has begun, its log says.
    async fn join_group(&self) -> Result<()> {
        // Asked to begin what has begun, the library logs an error.
        let has_begun = self.raft.is_initialized().await.map_err(|error| stopped(&self.database, &error))?;
        let is_alone = match has_begun {
            true => leadership::is_alone(&self.raft.metrics().borrow()),
            false if self.settings.peers.is_empty() => return Ok(()),
            false => {
                self.begin_group().await?;
                self.settings.peers.len() == 1
            }
        };
        if !is_alone {
            return Ok(());
        }
        // No other coordinator could: no reason to wait for silence. A new group already has an election.
        if has_begun && !self.raft.metrics().borrow().state.is_leader() {
            self.raft.trigger().elect().await.map_err(|error| stopped(&self.database, &error))?;
        }
        let mut leadership = self.leadership.clone();
        let decided = leadership.wait_for(|now| !matches!(now, Leadership::Follower { .. })).await;
        match decided.as_deref() {
            Ok(Leadership::Leader { .. }) => Ok(()),
            Ok(other) => Err(self
                .database
                .failure()
                .unwrap_or_else(|| EngineError::internal(format!("the only coordinator does not lead: {other:?}")))),
            Err(_) => Err(EngineError::internal("nobody follows who leads")),
        }
    }

    async fn begin_group(&self) -> Result<()> {
        let node = |(node, address): (&u64, &String)| (*node, Node { address: address.clone(), disk: None });
        let members: BTreeMap<u64, Node> = self.settings.peers.iter().map(node).collect();
        match self.raft.initialize(members).await {
            // Another one was faster, and has told this one.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error)) => Err(EngineError::internal(format!("cannot begin the group: {error}"))),
            Err(RaftError::Fatal(error)) => Err(stopped(&self.database, &error)),
        }
    }

    /// Has a command decided: when this returns, it is durable and applied.
    ///
    /// Dropping the future takes nothing back.
    ///
    /// # Errors
    /// When it is refused (kinds: [`Refusal`]); `Fenced` when another coordinator leads; `Io` when it was not decided in
    /// time: it may be yet; the disk's own when that has failed.
    pub async fn propose(&self, command: Command) -> Result<Response> {
        let narrated = narrate(&command);
        let response = self.decide(command).await?.into_result()?;
        narrated();
        Ok(response)
    }

    /// The same, with a refusal as an answer.
    ///
    /// # Errors
    /// As [`Metadata::propose`], but for refusals.
    pub async fn decide(&self, command: Command) -> Result<Response> {
        check_size(&command)?;
        let name = command.to_string();
        let limit = self.settings.decision_timeout;
        tokio::select! {
            biased;
            written = self.raft.client_write(command) => match written {
                Ok(written) => Ok(written.data),
                Err(error) => Err(self.not_written(&name, error)),
            },
            () = self.env.sleep(limit) => Err(EngineError::unavailable(format!(
                "{name}: not decided within {limit:?}, because most coordinators were not reached; it may still be decided"
            ))),
        }
    }

    fn not_written(&self, doing: &str, error: RaftError<u64, ClientWriteError<u64, Node>>) -> EngineError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(other)) => {
                let leader = match (other.leader_id, other.leader_node) {
                    (Some(id), Some(node)) => format!("coordinator {id} at {} does", node.address),
                    (Some(id), None) => format!("coordinator {id} does"),
                    _ => "nobody does at the moment".into(),
                };
                EngineError::fenced(format!("cannot {doing}: this coordinator does not lead, {leader}"))
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                EngineError::unavailable(format!("cannot {doing} now: {error}; try again"))
            }
            RaftError::Fatal(error) => stopped(&self.database, &error).context(format!("cannot {doing}")),
        }
    }

    /// The error of the disk at which the log has stopped, if it has.
    pub fn failure(&self) -> Option<EngineError> {
        self.database.failure()
    }

    /// Why the log has stopped: for those to whom it shows by the end of what they [watch](Metadata::watch).
    pub fn why_stopped(&self) -> EngineError {
        let reason = match &*self.leadership.borrow() {
            Leadership::Stopped { reason } => reason.clone(),
            _ => "it has ended".into(),
        };
        stopped(&self.database, &reason)
    }

    /// Everything decided that is applied here. On a leader nothing decided is newer.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    /// The same, and every change to it.
    pub fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.clone()
    }

    /// Whether this coordinator leads, and every change to that.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// The door for the other coordinators, to be served where [`MetadataSettings::peers`] says.
    pub fn raft_service(&self) -> InterceptedService<RaftServer<RaftService>, LetIn> {
        let (identity, hearing) = (self.identity.clone(), self.hearing.clone());
        let service = RaftService { identity, raft: Arc::downgrade(&self.raft), hearing };
        let server = RaftServer::new(service).max_decoding_message_size(transport::MAX_MESSAGE_BYTES);
        InterceptedService::new(server, LetIn::with(&self.settings.secret))
    }

    /// Stops, and closes the disk: another one may open it when this returns.
    ///
    /// # Errors
    /// When stopping broke down.
    pub async fn shutdown(&self) -> Result<()> {
        let stopped = self.raft.shutdown().await;
        self.gate.abort();
        self.follower.abort();
        self.database.close().await?;
        stopped.map_err(|error| EngineError::internal(format!("the metadata's log did not stop cleanly: {error}")))
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.gate.abort();
        self.follower.abort();
    }
}

fn check_size(command: &Command) -> Result<()> {
    if let Command::Submit { job, graph, definition, .. } = command {
        let bytes = definition.len() + graph.to_string().len();
        if bytes > COMMAND_BYTES {
            return Err(EngineError::definition(format!(
                "job '{job}': its definition and graph have {bytes} bytes; at most {COMMAND_BYTES} are kept"
            )));
        }
    }
    Ok(())
}

/// The log has stopped: why, as exactly as is known.
fn stopped(database: &Database, error: &impl std::fmt::Display) -> EngineError {
    database.failure().unwrap_or_else(|| EngineError::disconnected(format!("the metadata's log has stopped: {error}")))
}

/// What the log of the process says about a command once it is decided: every transition with its cause.
fn narrate(command: &Command) -> impl FnOnce() + use<> {
    let story = match command {
        Command::Submit { job, .. } => Some((job.clone(), JobStatus::Created, "submitted".to_string())),
        Command::StatusChanged { job, status, cause, .. } => Some((job.clone(), *status, cause.clone())),
        _ => None,
    };
    move || {
        if let Some((job, status, cause)) = story {
            tracing::info!(%job, %status, %cause, "job changes state");
        }
    }
}

#[cfg(test)]
mod tests;
