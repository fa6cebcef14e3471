//! What the Raft library is instantiated with.

use super::{
    command::{Command, Response},
    runtime::SeededRuntime,
};
use serde::{Deserialize, Serialize};
use std::io::Cursor;

/// A coordinator as the others know it. A stored format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where it is reached.
    #[serde(rename = "addr")]
    pub address: String,
    /// What tells its data dir from any other; none before it was heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
}

openraft::declare_raft_types!(
    /// Commands in, responses out; a coordinator is a number with an address and a disk.
    pub TypeConfig:
        D = Command,
        R = Response,
        NodeId = u64,
        Node = Node,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = SeededRuntime,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Node>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Node>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type StorageIOError = openraft::StorageIOError<u64>;
