//! What the coordinators have decided, replicated and durable.
//!
//! The life of a decision: a [`Command`] is [proposed](Metadata::propose) to the leader → it goes into the log on the disks of
//! a majority (`log_store`) → it is applied to every [`Catalog`] → its [`Response`] goes back, and everybody who
//! [watches](Metadata::watch) sees the new catalog. A group of one takes the same path as a group of three.
//!
//! Reading order: [`job_status`] and [`command`] (what can be decided), [`job`] and [`catalog`] (what it means; pure),
//! `database`, `log_store` and `state_machine` (what is on disk), `network`, `runtime` and `leadership` (the group).

pub mod catalog;
pub mod command;
mod database;
mod file_disk;
pub mod job;
pub mod job_status;
mod leadership;
mod log_store;
mod memory_disk;
mod network;
mod raft_types;
mod record;
mod runtime;
mod settings;
mod state_machine;

pub use self::{
    catalog::{Catalog, Leader},
    command::{CheckpointStats, Command, FromSavepoint, Refusal, Response, SavepointMode},
    database::format,
    file_disk::open_file,
    job::{CompletedCheckpoint, Job, StopRequest, Transition},
    job_status::JobStatus,
    leadership::Leadership,
    memory_disk::{MemoryBackend, MemoryDisk},
    network::RaftService,
    settings::MetadataSettings,
};

use self::{
    database::{Database, VALUES, failed},
    log_store::LogStore,
    raft_types::Raft,
    state_machine::StateMachine,
};
use crate::door::LetIn;
use futures::{FutureExt, future::BoxFuture};
use openraft::{
    BasicNode,
    error::{ClientWriteError, InitializeError, RaftError},
};
use redb::StorageBackend;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};
use tonic::service::interceptor::InterceptedService;
use weir_engine::{EngineError, Result, env::Env};
use weir_proto::{net::SharedNetwork, transport, v1::raft_server::RaftServer};

const NODE: &str = "node";
/// No decision is larger.
const COMMAND_BYTES: usize = 16 << 20;

/// One coordinator's part in the replicated metadata. Dropping it stops it, as a crash would.
pub struct Metadata {
    raft: Arc<Raft>,
    settings: MetadataSettings,
    database: Database,
    catalog: watch::Receiver<Arc<Catalog>>,
    leadership: watch::Receiver<Leadership>,
    follower: JoinHandle<()>,
    env: Env,
}

impl Metadata {
    /// Opens the metadata on a disk that [`open_file`] or [`MemoryDisk::new`] gave; the first time, the group begins to be.
    ///
    /// A group of one leads when this returns. In a larger one the others must first reach this one: serve
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
            claim(&database, settings.node_id).await?;
            let log = LogStore::open(database.clone()).await?;
            let (newest, catalog) = watch::channel(Arc::default());
            let state_machine = StateMachine::open(database.clone(), newest).await?;
            let peers = network::Peers {
                network,
                env: env.clone(),
                addresses: settings.peers.clone(),
                secret: settings.secret.clone(),
            };
            let dice = env.rng(&format!("elections of coordinator {}", settings.node_id));
            let start = Raft::new(settings.node_id, config, peers, log, state_machine);
            let raft = match runtime::with_dice(dice, start).await {
                Ok(raft) => Arc::new(raft),
                Err(error) => return Err(stopped(&database, &error)),
            };
            let (tell, leadership) = watch::channel(Leadership::Follower { leader: None });
            // Nobody else could lead in the place of one that is alone, however long its disk takes.
            let patience = if settings.is_alone() { Duration::MAX } else { settings.election_timeout.1 };
            let follower = tokio::spawn(leadership::follow(raft.clone(), patience, env.clone(), tell));
            let metadata = Metadata { raft, settings, database, catalog, leadership, follower, env };
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

    /// Begins the group, or checks that it is the one that the settings name.
    async fn join_group(&self) -> Result<()> {
        let members: BTreeMap<u64, BasicNode> =
            self.settings.peers.iter().map(|(node, address)| (*node, BasicNode::new(address))).collect();
        // Asked to begin what has begun, the library logs an error.
        let has_begun = self.raft.is_initialized().await.map_err(|error| stopped(&self.database, &error))?;
        let begun = if has_begun { Ok(()) } else { self.raft.initialize(members).await };
        match begun {
            Ok(()) if has_begun => self.check_group()?,
            Ok(()) => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => self.check_group()?,
            Err(RaftError::APIError(error)) => {
                return Err(EngineError::internal(format!("cannot begin the group: {error}")));
            }
            Err(RaftError::Fatal(error)) => return Err(stopped(&self.database, &error)),
        }
        if !self.settings.is_alone() {
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

    fn check_group(&self) -> Result<()> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members: Vec<u64> = metrics.membership_config.membership().voter_ids().collect();
        // A member that has heard nothing yet of a group that is there: the group will tell.
        if members.is_empty() || members.iter().eq(self.settings.peers.keys()) {
            return Ok(());
        }
        Err(EngineError::definition(format!(
            "the metadata belongs to the coordinators {}, the settings name {}; start it with those that it belongs to",
            settings::list(members.iter()),
            settings::list(self.settings.peers.keys())
        )))
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
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(other))) => {
                    let leader = match (other.leader_id, other.leader_node) {
                        (Some(id), Some(node)) => format!("coordinator {id} at {} does", node.addr),
                        (Some(id), None) => format!("coordinator {id} does"),
                        _ => "nobody does at the moment".into(),
                    };
                    Err(EngineError::fenced(format!("cannot {name}: this coordinator does not lead, {leader}")))
                }
                Err(RaftError::APIError(error)) => Err(EngineError::internal(format!("cannot {name}: {error}"))),
                Err(RaftError::Fatal(error)) => Err(stopped(&self.database, &error).context(format!("cannot {name}"))),
            },
            () = self.env.sleep(limit) => Err(EngineError::unavailable(format!(
                "{name}: not decided within {limit:?}, because most coordinators were not reached; it may still be decided"
            ))),
        }
    }

    /// The error of the disk at which the log has stopped, if it has.
    pub fn failure(&self) -> Option<EngineError> {
        self.database.failure()
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
        let service = RaftService { node: self.settings.node_id, raft: Arc::downgrade(&self.raft) };
        let server = RaftServer::new(service).max_decoding_message_size(transport::MAX_MESSAGE_BYTES);
        InterceptedService::new(server, LetIn::with(&self.settings.secret))
    }

    /// Stops, and closes the disk: another one may open it when this returns.
    ///
    /// # Errors
    /// When stopping broke down.
    pub async fn shutdown(&self) -> Result<()> {
        let stopped = self.raft.shutdown().await;
        self.follower.abort();
        self.database.close().await?;
        stopped.map_err(|error| EngineError::internal(format!("the metadata's log did not stop cleanly: {error}")))
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// A data directory is one coordinator's: another number on it could vote twice.
async fn claim(database: &Database, node: u64) -> Result<()> {
    let owner: Option<u64> = database
        .read("read", |transaction| {
            let values = transaction.open_table(VALUES).map_err(failed("read"))?;
            let stored = values.get(NODE).map_err(failed("read"))?;
            stored.map(|stored| record::decode("the coordinator's number", stored.value())).transpose()
        })
        .await?;
    match owner {
        Some(owner) if owner == node => Ok(()),
        Some(owner) => Err(EngineError::definition(format!(
            "the metadata is that of coordinator {owner}, this one is {node}; start it with --node-id {owner}, or with \
             another --data-dir"
        ))),
        None => {
            database
                .write("write", move |transaction| {
                    let mut values = transaction.open_table(VALUES).map_err(failed("write"))?;
                    let stored = record::encode("the coordinator's number", &node)?;
                    values.insert(NODE, stored.as_slice()).map_err(failed("write"))?;
                    Ok(())
                })
                .await
        }
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
