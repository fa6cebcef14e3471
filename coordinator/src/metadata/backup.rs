//! A backup of everything decided, and the beginning of a new group from one.
//!
//! A backup is one state of the catalog: all that was decided until a moment, and nothing after it. What it does not know, storage
//! knows: a job goes on from its newest checkpoint there. So a group that begins from a backup may be behind, and does no harm by it.
//! Invariant: the new group has no disk in common with the old one, of which some may still run.

use super::{
    Metadata,
    catalog::Catalog,
    database::{Database, VALUES, failed},
    identity,
    log_store::{PURGED, VOTE},
    raft_types::{LogId, Node, SnapshotMeta, StoredMembership, Vote},
    record, state_machine,
};
use openraft::{CommittedLeaderId, Membership};
use redb::StorageBackend;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use weir_engine::{EngineError, Result, env::Env};

const FORMAT_VERSION: u32 = 1;
const WHAT: &str = "the backup";

/// What is in the file, within its checksum.
#[derive(Serialize, Deserialize)]
struct Backup {
    format_version: u32,
    taken_at_ms: i64,
    /// No coordinator had a higher number.
    highest_number: u64,
    /// In its stored form.
    catalog: String,
}

/// What a group was begun from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The number of its first coordinator.
    pub node: u64,
    /// When the backup was taken, milliseconds since the epoch.
    pub taken_at_ms: i64,
    /// Its jobs.
    pub jobs: usize,
    /// Those of them that are canceled, because they were to start over, or from a savepoint: whether they have done so since, nobody knows.
    pub canceled: Vec<String>,
}

impl Metadata {
    /// Everything decided so far, in a form to be kept.
    ///
    /// # Errors
    /// When this coordinator does not lead.
    pub async fn backup(&self) -> Result<Vec<u8>> {
        // One that was replaced without knowing has an old catalog.
        let led = self.raft.ensure_linearizable().await;
        led.map_err(|_| {
            EngineError::unavailable(
                "this coordinator leads no more, or does not reach most of the others: what it knows may not be the newest; try again",
            )
        })?;
        let catalog = self.catalog();
        let members = self.members().into_iter().map(|member| member.node).max();
        let highest_number = members.unwrap_or(0).max(catalog.highest_number());
        let catalog = String::from_utf8(catalog.to_bytes()?)
            .map_err(|error| EngineError::internal(format!("the catalog is no text: {error}")))?;
        let taken_at_ms = self.env.wall_clock_ms();
        let backup = Backup { format_version: FORMAT_VERSION, taken_at_ms, highest_number, catalog };
        record::encode(WHAT, &backup)
    }
}

/// Whether a backup is as it was taken, to its last byte.
///
/// # Errors
/// When it is damaged, or something of it is missing.
pub fn check_backup(backup: &[u8]) -> Result<()> {
    record::unframe(WHAT, backup).map(drop)
}

/// Begins a group of one from a backup, on an empty disk. It is opened as the one that [`Restored`] names.
///
/// # Errors
/// When the backup is damaged or of a newer Weir, or the disk is not empty.
pub async fn restore(backup: &[u8], backend: impl StorageBackend, env: Env) -> Result<Restored> {
    let Backup { format_version, taken_at_ms, highest_number, catalog } = record::decode(WHAT, backup)?;
    if format_version != FORMAT_VERSION {
        return Err(EngineError::corrupt(format!(
            "the backup has format version {format_version}; this Weir reads version {FORMAT_VERSION}"
        )));
    }
    let mut catalog = Catalog::from_bytes(catalog.as_bytes())?;
    let canceled = catalog.forget_to_go_back(env.wall_clock_ms());
    let (jobs, node) = (catalog.jobs().count(), highest_number + 1);
    let database = Database::open(backend, env.clone()).await?;
    let identity = identity::Identity::claim(&database, node, &env).await?;
    identity.confirm().await?;
    let written = begin_from(&database, &catalog, node, identity.disk).await;
    database.close().await?;
    written.map(|()| Restored { node, taken_at_ms, jobs, canceled })
}

/// As if the catalog had been decided by this coordinator alone, in the first term.
async fn begin_from(database: &Database, catalog: &Catalog, node: u64, disk: u64) -> Result<()> {
    let at = LogId::new(CommittedLeaderId::new(1, node), 1);
    // It says itself where it is.
    let nodes = BTreeMap::from([(node, Node { address: String::new(), disk: Some(disk) })]);
    let membership = Membership::new(vec![BTreeSet::from([node])], nodes);
    let last_membership = StoredMembership::new(Some(at), membership);
    let meta = SnapshotMeta { last_log_id: Some(at), last_membership, snapshot_id: "restored".into() };
    let (vote, purged) = (record::encode("the vote", &Vote::new(1, node))?, record::encode("the log's end", &at)?);
    state_machine::store(database, &meta, catalog.to_bytes()?).await?;
    database
        .write("write", move |transaction| {
            let mut values = transaction.open_table(VALUES).map_err(failed("write"))?;
            values.insert(VOTE, vote.as_slice()).map_err(failed("write"))?;
            values.insert(PURGED, purged.as_slice()).map_err(failed("write"))?;
            Ok(())
        })
        .await
}
