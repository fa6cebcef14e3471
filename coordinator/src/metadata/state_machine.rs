//! The catalog under the Raft library: applies what is committed, keeps snapshots, and shows the newest state.
//!
//! Applied state is in memory; what is durable is the snapshot, and the log after it. A snapshot in the database is whole
//! and never replaced by an older one.

use super::{
    catalog::Catalog,
    command::Response,
    database::{Database, SNAPSHOT, failed},
    raft_types::{Entry, LogId, Snapshot, SnapshotMeta, StorageError, StorageIOError, StoredMembership, TypeConfig},
    record,
};
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, storage::RaftStateMachine};
use redb::ReadableTable;
use std::{io::Cursor, sync::Arc};
use tokio::sync::watch;
use weir_engine::{EngineError, Result};

const META: &str = "meta";
const DATA: &str = "data";

/// The replicated catalog of one coordinator.
pub(super) struct StateMachine {
    state: State,
    database: Database,
    newest: watch::Sender<Arc<Catalog>>,
}

/// Everything that a snapshot is taken of.
#[derive(Clone, Default)]
struct State {
    catalog: Arc<Catalog>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// Takes a snapshot of the moment in which it was made.
pub(super) struct SnapshotBuilder {
    state: State,
    database: Database,
}

impl StateMachine {
    /// From the newest snapshot, or from nothing where there is none. Shows every state through `newest`.
    ///
    /// # Errors
    /// When the snapshot cannot be read.
    pub async fn open(database: Database, newest: watch::Sender<Arc<Catalog>>) -> Result<StateMachine> {
        let state = match load(&database).await? {
            Some((meta, data)) => State::restore(&meta, &data)?,
            None => State::default(),
        };
        newest.send_replace(state.catalog.clone());
        Ok(StateMachine { state, database, newest })
    }
}

impl State {
    fn restore(meta: &SnapshotMeta, data: &[u8]) -> Result<State> {
        let catalog = Arc::new(Catalog::from_bytes(data)?);
        Ok(State { catalog, applied: meta.last_log_id, membership: meta.last_membership.clone() })
    }

    fn apply(&mut self, entry: Entry) -> Response {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Response::NOTHING,
            EntryPayload::Normal(command) => Arc::make_mut(&mut self.catalog).apply(&command),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Response::NOTHING
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Response>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let responses = entries.into_iter().map(|entry| self.state.apply(entry)).collect();
        self.newest.send_replace(self.state.catalog.clone());
        Ok(responses)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { state: self.state.clone(), database: self.database.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let data = snapshot.into_inner();
        // Understood before it is kept: one that cannot be read must not replace one that can.
        let state = State::restore(meta, &data).map_err(|error| broken(meta, &error))?;
        store(&self.database, meta, data).await.map_err(|error| broken(meta, &error))?;
        self.state = state;
        self.newest.send_replace(self.state.catalog.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let loaded =
            load(&self.database).await.map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        Ok(loaded.map(|(meta, data)| Snapshot { meta, snapshot: Box::new(Cursor::new(data)) }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let State { catalog, applied, membership } = &self.state;
        let meta = SnapshotMeta {
            last_log_id: *applied,
            last_membership: membership.clone(),
            // The same log gives the same catalog, so the position is name enough.
            snapshot_id: applied.map_or("empty".into(), |at| format!("{}-{}", at.leader_id, at.index)),
        };
        let data = catalog.to_bytes().map_err(|error| broken(&meta, &error))?;
        store(&self.database, &meta, data.clone()).await.map_err(|error| broken(&meta, &error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}

/// The snapshot in the database.
async fn load(database: &Database) -> Result<Option<(SnapshotMeta, Vec<u8>)>> {
    database
        .read("read", |transaction| {
            let table = transaction.open_table(SNAPSHOT).map_err(failed("read"))?;
            match (table.get(META).map_err(failed("read"))?, table.get(DATA).map_err(failed("read"))?) {
                (None, None) => Ok(None),
                (Some(meta), Some(data)) => Ok(Some((
                    record::decode("the snapshot's description", meta.value())?,
                    record::unframe("the snapshot", data.value())?.to_vec(),
                ))),
                _ => Err(EngineError::corrupt("half of the snapshot is missing")),
            }
        })
        .await
}

/// Keeps a snapshot, unless a newer one is there.
pub(super) async fn store(database: &Database, meta: &SnapshotMeta, data: Vec<u8>) -> Result<()> {
    let meta = meta.clone();
    database
        .write("write", move |transaction| {
            let mut table = transaction.open_table(SNAPSHOT).map_err(failed("write"))?;
            let kept: Option<SnapshotMeta> = table
                .get(META)
                .map_err(failed("write"))?
                .map(|kept| record::decode("the snapshot's description", kept.value()))
                .transpose()?;
            if kept.is_some_and(|kept| kept.last_log_id > meta.last_log_id) {
                return Ok(());
            }
            let stored = record::encode("the snapshot's description", &meta)?;
            table.insert(META, stored.as_slice()).map_err(failed("write"))?;
            table.insert(DATA, record::frame(&data).as_slice()).map_err(failed("write"))?;
            Ok(())
        })
        .await
}

fn broken(meta: &SnapshotMeta, error: &EngineError) -> StorageIOError {
    StorageIOError::write_snapshot(Some(meta.signature()), AnyError::new(error))
}
