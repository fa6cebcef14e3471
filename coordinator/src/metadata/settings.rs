//! Settings of the replicated metadata: plain values; disk, network and environment are handed in beside them.

use openraft::{Config, SnapshotPolicy};
use std::{collections::BTreeMap, fmt, time::Duration};
use weir_engine::{EngineError, Result};
use weir_proto::secret::ClusterSecret;

/// Who belongs to the group, and how patient it is.
#[derive(Clone)]
pub struct MetadataSettings {
    /// The number of this coordinator; it belongs to its data directory for good.
    pub node_id: u64,
    /// Where the others reach this coordinator (`host:port`).
    pub address: String,
    /// The coordinators of a new group, this one included, by where they listen: who belongs to it later, its log says. None: this one
    /// joins a group that is there.
    pub peers: BTreeMap<u64, String>,
    /// Where coordinators of the group may be found, besides.
    pub contacts: Vec<String>,
    /// The member whose place this one takes.
    pub replaces: Option<u64>,
    /// The cluster's shared secret: messages without it are refused.
    pub secret: ClusterSecret,
    /// How often a leader lets the others know that it is there.
    pub heartbeat_interval: Duration,
    /// Silence after which another one wants to lead: a random time from the first to the second.
    pub election_timeout: (Duration, Duration),
    /// Entries after which a snapshot is taken.
    pub snapshot_every: u64,
    /// Entries before a snapshot that are kept for those who lag behind.
    pub keep_entries: u64,
    /// How long a decision may take; after that its outcome is unknown to the caller.
    pub decision_timeout: Duration,
}

impl MetadataSettings {
    /// One that joins a group that is there.
    pub fn joining(node_id: u64, address: impl Into<String>) -> Self {
        MetadataSettings { address: address.into(), ..Self::new(node_id, BTreeMap::new()) }
    }

    /// A new group of these.
    pub fn new(node_id: u64, peers: BTreeMap<u64, String>) -> Self {
        let address = peers.get(&node_id).cloned().unwrap_or_default();
        MetadataSettings {
            node_id,
            address,
            peers,
            contacts: Vec::new(),
            replaces: None,
            secret: ClusterSecret::default(),
            heartbeat_interval: Duration::from_millis(50),
            // Another one leads well within a worker's lease. The library waits for the longer one before it votes, too, and once
            // more where the first to ask for votes knows less than another: in all, 1.4 seconds at most.
            election_timeout: (Duration::from_millis(200), Duration::from_millis(350)),
            snapshot_every: 1000,
            keep_entries: 200,
            decision_timeout: Duration::from_secs(10),
        }
    }

    /// A group of one.
    pub fn alone(node_id: u64, address: impl Into<String>) -> Self {
        Self::new(node_id, BTreeMap::from([(node_id, address.into())]))
    }

    /// In the words of the Raft library.
    pub(super) fn raft_config(&self) -> Result<Config> {
        if !self.peers.is_empty() && !self.peers.contains_key(&self.node_id) {
            return Err(EngineError::definition(format!(
                "coordinator {} is not among its own peers ({}); name it there with its address",
                self.node_id,
                list(self.peers.keys())
            )));
        }
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: "weir".into(),
            heartbeat_interval: milliseconds(self.heartbeat_interval),
            election_timeout_min: milliseconds(self.election_timeout.0),
            election_timeout_max: milliseconds(self.election_timeout.1),
            install_snapshot_timeout: 5_000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.keep_entries,
            // Beyond what is kept there is only the snapshot.
            replication_lag_threshold: self.snapshot_every + self.keep_entries,
            // JSON makes about four times as much of it.
            snapshot_max_chunk_size: 1 << 20,
            ..Config::default()
        };
        config.validate().map_err(|error| EngineError::definition(format!("time-outs of the coordinators: {error}")))
    }
}

impl fmt::Debug for MetadataSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secret.
        f.debug_struct("MetadataSettings")
            .field("node_id", &self.node_id)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// Numbers, for people.
pub(super) fn list<'a>(nodes: impl Iterator<Item = &'a u64>) -> String {
    nodes.map(u64::to_string).collect::<Vec<_>>().join(", ")
}
