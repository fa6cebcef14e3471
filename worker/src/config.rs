//! A worker's settings and environment.

use crate::{coordinators::Coordinators, leave::Leave, network::Compression};
use std::{fmt, sync::Arc, time::Duration};
use tokio::runtime::Handle;
use weir_engine::{checkpoint::OpenStore, env::Env, operator::Factory, task::Observers};
use weir_proto::{net::SharedNetwork, secret::ClusterSecret};

/// What an operator of a cluster sets.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Name of this process, unlike that of any other before or after.
    pub worker: String,
    /// The coordinators.
    pub coordinators: Coordinators,
    /// Subtasks of a task that run here at a time.
    pub slots: usize,
    /// Where the data port listens.
    pub listen: String,
    /// The host under which other workers reach this one; `None`: the address that it listens on.
    pub advertise: Option<String>,
    /// The cluster's shared secret.
    pub secret: ClusterSecret,
    /// How long subtasks run while no coordinator is heard that leads; no shorter than the lease.
    pub leaderless_timeout: Duration,
    /// How long to wait before a coordinator that could not be reached is tried again.
    pub reconnect_after: Duration,
    /// The credit of each channel, in bytes: what bounds the memory for data in flight.
    pub channel_bytes: usize,
    /// How batches are compressed on the network.
    pub compression: Compression,
}

/// What a worker works with.
#[derive(Clone)]
pub struct WorkerComponents {
    /// Builds operators.
    pub factory: Arc<dyn Factory>,
    /// Opens checkpoint stores.
    pub open_store: OpenStore,
    /// The network.
    pub network: SharedNetwork,
    /// Time, chance and planned crashes.
    pub env: Env,
    /// Exposes the attempts of a job to observers in this process.
    pub observers: Observers,
    /// Where subtasks and the data plane run, so that no heartbeat waits behind a batch.
    pub data_runtime: Handle,
    /// Asks this worker to leave.
    pub leave: Leave,
}

impl fmt::Debug for WorkerComponents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerComponents").field("network", &self.network).finish_non_exhaustive()
    }
}
