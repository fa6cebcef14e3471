//! The replicated log, the vote and how far both were cleaned up, durable.
//!
//! Invariants: a write returns when it is on disk; the entries that are there are consecutive, from the one after the last
//! purged; one that is missing or unreadable among them is an error.

use super::{
    database::{Database, LOG, VALUES, failed},
    raft_types::{Entry, LogId, StorageError, StorageIOError, TypeConfig, Vote},
    record,
};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader, storage::LogFlushed, storage::RaftLogStorage};
use parking_lot::Mutex;
use redb::{ReadableTable, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt::Debug,
    ops::{Bound, RangeBounds},
    sync::Arc,
};
use weir_engine::{EngineError, Result};

pub(super) const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
pub(super) const PURGED: &str = "purged";

/// A follower is sent about this much at once.
const REPLICATE_BYTES: usize = 1 << 20;

/// The log over a database. Clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    database: Database,
    /// How far the log is committed. Written along with the next entries: it only spares a restarted follower some waiting,
    /// and is not worth a sync of its own.
    committed: Arc<Mutex<Option<LogId>>>,
}

impl LogStore {
    /// The log of a database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn open(database: Database) -> Result<LogStore> {
        let store = LogStore { database, committed: Arc::default() };
        let committed = store.value(COMMITTED).await?;
        *store.committed() = committed;
        Ok(store)
    }

    async fn value<T: DeserializeOwned + Send + 'static>(&self, key: &'static str) -> Result<Option<T>> {
        self.database
            .read("read", move |transaction| {
                let values = transaction.open_table(VALUES).map_err(failed("read"))?;
                let stored = values.get(key).map_err(failed("read"))?;
                stored.map(|stored| record::decode(&format!("the metadata's '{key}'"), stored.value())).transpose()
            })
            .await
    }

    /// Entries of a range, which must be consecutive, until they make up `limit` bytes; at least one.
    async fn entries(&self, range: (Bound<u64>, Bound<u64>), limit: usize) -> Result<Vec<Entry>> {
        self.database
            .read("read", move |transaction| {
                let log = transaction.open_table(LOG).map_err(failed("read"))?;
                let mut entries: Vec<Entry> = Vec::new();
                let mut bytes = 0;
                for item in log.range(range).map_err(failed("read"))? {
                    let (index, stored) = item.map_err(failed("read"))?;
                    let entry: Entry = record::decode(&format!("log entry {}", index.value()), stored.value())?;
                    let expected = entries.last().map_or(index.value(), |last| last.log_id.index + 1);
                    if index.value() != expected || entry.log_id.index != expected {
                        return Err(EngineError::corrupt(format!(
                            "log entry {expected} is missing: entry {} follows, stored as {}",
                            entry.log_id.index,
                            index.value()
                        )));
                    }
                    entries.push(entry);
                    bytes += stored.value().len();
                    if bytes >= limit {
                        break;
                    }
                }
                Ok(entries)
            })
            .await
    }

    fn committed(&self) -> parking_lot::MutexGuard<'_, Option<LogId>> {
        self.committed.lock()
    }
}

fn put<T: Serialize>(transaction: &WriteTransaction, key: &'static str, value: &T) -> Result<()> {
    let mut values = transaction.open_table(VALUES).map_err(failed("write"))?;
    let stored = record::encode(&format!("the metadata's '{key}'"), value)?;
    values.insert(key, stored.as_slice()).map_err(failed("write"))?;
    Ok(())
}

/// Removes the entries of a range.
fn remove(transaction: &WriteTransaction, range: impl RangeBounds<u64>) -> Result<()> {
    let mut log = transaction.open_table(LOG).map_err(failed("write"))?;
    log.retain_in(range, |_, _| false).map_err(failed("write"))
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        Ok(self.entries(range, usize::MAX).await.map_err(reading)?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let range = (Bound::Included(start), Bound::Excluded(end));
        Ok(self.entries(range, REPLICATE_BYTES).await.map_err(reading)?)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let purged: Option<LogId> = self.value(PURGED).await.map_err(reading)?;
        let last = self
            .database
            .read("read", |transaction| {
                let log = transaction.open_table(LOG).map_err(failed("read"))?;
                let last = log.last().map_err(failed("read"))?;
                last.map(|(_, stored)| record::decode::<Entry>("the last log entry", stored.value())).transpose()
            })
            .await
            .map_err(reading)?;
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.map(|entry| entry.log_id).or(purged) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.database.write("write", move |transaction| put(transaction, VOTE, &vote)).await.map_err(writing)?;
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.value(VOTE).await.map_err(reading)?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        *self.committed() = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(*self.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let committed = *self.committed();
        self.database
            .write("write", move |transaction| {
                let mut log = transaction.open_table(LOG).map_err(failed("write"))?;
                for entry in entries {
                    let index = entry.log_id.index;
                    let stored = record::encode("a log entry", &entry)?;
                    log.insert(index, stored.as_slice()).map_err(failed("write"))?;
                }
                committed.map_or(Ok(()), |committed| put(transaction, COMMITTED, &committed))
            })
            .await
            .map_err(writing)?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        self.database.write("write", move |transaction| remove(transaction, since.index..)).await.map_err(writing)?;
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.database
            .write("write", move |transaction| {
                put(transaction, PURGED, &upto)?;
                remove(transaction, ..=upto.index)
            })
            .await
            .map_err(writing)?;
        Ok(())
    }
}

fn reading(error: EngineError) -> StorageIOError {
    StorageIOError::read_logs(AnyError::new(&error))
}

fn writing(error: EngineError) -> StorageIOError {
    StorageIOError::write_logs(AnyError::new(&error))
}
