//! The Raft library's own suite for log stores and state machines, on memory and on a file; and what it does not ask.

use super::support::{alone, tcp};
use crate::metadata::{
    MemoryDisk, Metadata,
    database::{Database, LOG},
    log_store::LogStore,
    open_file,
    raft_types::{Entry, LogId, StorageError, StorageIOError, TypeConfig},
    state_machine::StateMachine,
};
use openraft::{
    AnyError, CommittedLeaderId, EntryPayload, RaftLogReader,
    storage::{RaftLogStorage, RaftLogStorageExt},
    testing::{StoreBuilder, Suite},
};
use redb::StorageBackend;
use tokio::sync::watch;
use weir_engine::{EngineError, ErrorKind, Result, env::Env};

struct InMemory;
struct InFile;

async fn stores(backend: impl StorageBackend) -> Result<(LogStore, StateMachine), StorageError> {
    let broken = |error: EngineError| StorageIOError::read(AnyError::new(&error));
    let database = Database::open(backend, Env::default()).await.map_err(broken)?;
    let log = LogStore::open(database.clone()).await.map_err(broken)?;
    let (newest, _) = watch::channel(Default::default());
    let state_machine = StateMachine::open(database, newest).await.map_err(broken)?;
    Ok((log, state_machine))
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError> {
        let (log, state_machine) = stores(MemoryDisk::new().backend()).await?;
        Ok(((), log, state_machine))
    }
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for InFile {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let (log, state_machine) = stores(open_file(&folder.path().join("metadata.redb")).unwrap()).await?;
        Ok((folder, log, state_machine))
    }
}

#[test]
fn the_suite_passes_in_memory() {
    Suite::test_all(InMemory).unwrap();
}

#[test]
fn the_suite_passes_in_a_file() {
    Suite::test_all(InFile).unwrap();
}

fn entry(index: u64) -> Entry {
    Entry { log_id: LogId::new(CommittedLeaderId::new(1, 1), index), payload: EntryPayload::Blank }
}

#[tokio::test]
async fn a_missing_or_unreadable_entry_is_an_error_and_not_absent() {
    for damage in ["missing", "unreadable"] {
        let database = Database::open(MemoryDisk::new().backend(), Env::default()).await.unwrap();
        let mut log = LogStore::open(database.clone()).await.unwrap();
        log.blocking_append((0..5).map(entry)).await.unwrap();
        assert_eq!(log.try_get_log_entries(1..4).await.unwrap().len(), 3);
        database
            .write("damage", move |transaction| {
                let mut log = transaction.open_table(LOG).unwrap();
                match damage {
                    "missing" => log.remove(2).map(drop).unwrap(),
                    _ => log.insert(2, b"\x01not an entry".as_slice()).map(drop).unwrap(),
                }
                Ok(())
            })
            .await
            .unwrap();
        let error = log.try_get_log_entries(1..4).await.unwrap_err();
        assert!(error.to_string().contains("log entry 2"), "{damage}: {error}");
        let failure = database.failure().unwrap();
        assert_eq!(failure.kind, ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn a_follower_gets_large_entries_piece_by_piece() {
    let (mut log, _) = stores(MemoryDisk::new().backend()).await.unwrap();
    let large =
        |index| Entry { payload: EntryPayload::Normal(super::support::submit(&"x".repeat(400_000))), ..entry(index) };
    log.blocking_append((0..5).map(large)).await.unwrap();
    let piece = log.limited_get_log_entries(0, 5).await.unwrap();
    assert!((1..5).contains(&piece.len()), "{} entries at once", piece.len());
    assert_eq!(log.get_log_state().await.unwrap().last_log_id.unwrap().index, 4);
}

#[tokio::test]
async fn the_disk_of_another_coordinator_is_refused() {
    let disk = MemoryDisk::new();
    Metadata::open(alone(), disk.backend(), tcp(), Env::seeded(1)).await.unwrap().shutdown().await.unwrap();
    let other = crate::metadata::MetadataSettings::alone(2, "127.0.0.1:1");
    let Err(error) = Metadata::open(other, disk.backend(), tcp(), Env::seeded(1)).await else { panic!("it opened") };
    assert_eq!(error.kind, ErrorKind::Definition);
    assert!(error.message.contains("coordinator 1"), "{error}");
    let three =
        crate::metadata::MetadataSettings::new(1, (1..4).map(|node| (node, format!("127.0.0.1:{node}"))).collect());
    // Who belongs to it the log knows better.
    let again = Metadata::open(three, disk.backend(), tcp(), Env::seeded(1)).await.unwrap();
    assert_eq!(again.members().into_iter().map(|member| member.node).collect::<Vec<_>>(), [1]);
}
