//! The embedded database under the log, the vote and the snapshot.
//!
//! Every write is one durable transaction: when it returns, it survives the death of the process and of the machine. What
//! cannot be read is an error, never "absent"; a database that is not there is made by [`format()`] and by nothing else, so
//! that one that was lost is not mistaken for one that never was.

use parking_lot::{Mutex, RwLock};
use redb::{ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition, WriteTransaction};
use std::sync::Arc;
use weir_engine::{EngineError, ErrorKind, Result, availability, env::Env};

/// Single values: `format`, `node`, `vote`, `committed`, `purged`.
pub(super) const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
/// Log entries by index.
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// The newest snapshot: `meta` and `data`.
pub(super) const SNAPSHOT: TableDefinition<&str, &[u8]> = TableDefinition::new("snapshot");

const FORMAT_KEY: &str = "format";
const FORMAT: u64 = 1;
/// What is kept in memory of it; the whole is a few megabytes.
const CACHE_BYTES: usize = 16 << 20;

/// An open database. Cheap to clone; it closes with the last one, or for all of them when it is told to.
#[derive(Clone)]
pub(super) struct Database {
    redb: Arc<RwLock<Option<redb::Database>>>,
    env: Env,
    failure: Arc<Mutex<Option<EngineError>>>,
}

/// Makes an empty database where there is nothing yet.
///
/// # Errors
/// When the backend refuses, or holds something already.
pub fn format(backend: impl StorageBackend) -> Result<()> {
    match backend.len() {
        Ok(0) => {}
        Ok(bytes) => {
            return Err(EngineError::internal(format!(
                "the metadata would overwrite {bytes} existing bytes; they are left as they are"
            )));
        }
        Err(error) => return Err(failed("make")(error)),
    }
    let redb = builder().create_with_backend(backend).map_err(failed("make"))?;
    let transaction = redb.begin_write().map_err(failed("make"))?;
    {
        let mut values = transaction.open_table(VALUES).map_err(failed("make"))?;
        let version = super::record::encode("the format version", &FORMAT)?;
        values.insert(FORMAT_KEY, version.as_slice()).map_err(failed("make"))?;
        transaction.open_table(LOG).map_err(failed("make"))?;
        transaction.open_table(SNAPSHOT).map_err(failed("make"))?;
    }
    transaction.commit().map_err(failed("make"))
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    // Checks every page at every opening: a damaged file is refused there, not met later.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

impl Database {
    /// Opens one that [`format()`] made.
    ///
    /// # Errors
    /// When there is none, it is damaged, open elsewhere, or written by a newer Weir.
    pub async fn open(backend: impl StorageBackend, env: Env) -> Result<Database> {
        let redb = env
            .run_blocking(move || {
                if backend.len().map_err(failed("open"))? == 0 {
                    return Err(EngineError::corrupt("the metadata is empty: it was truncated, or never created"));
                }
                builder().create_with_backend(backend).map_err(failed("open"))
            })
            .await?;
        let database = Database { redb: Arc::new(RwLock::new(Some(redb))), env, failure: Arc::default() };
        database.read("open", check_format).await?;
        Ok(database)
    }

    /// Reads.
    ///
    /// # Errors
    /// The reader's, or the database's.
    pub async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&ReadTransaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let redb = self.redb.clone();
        let result = self
            .env
            .run_blocking(move || {
                let redb = redb.read();
                read(&redb.as_ref().ok_or_else(closed)?.begin_read().map_err(failed(doing))?)
            })
            .await;
        self.note(result)
    }

    /// Writes, durably and as a whole.
    ///
    /// # Errors
    /// The writer's, or the database's; then nothing is written.
    pub async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        write: impl FnOnce(&WriteTransaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let redb = self.redb.clone();
        let result = self
            .env
            .run_blocking(move || {
                let redb = redb.read();
                let transaction = redb.as_ref().ok_or_else(closed)?.begin_write().map_err(failed(doing))?;
                let written = write(&transaction)?;
                transaction.commit().map_err(failed(doing))?;
                Ok(written)
            })
            .await;
        self.note(result)
    }

    /// Closes it for everybody who has it, once what is being read and written is through.
    ///
    /// # Errors
    /// When closing broke down.
    pub async fn close(&self) -> Result<()> {
        let redb = self.redb.clone();
        self.env
            .run_blocking(move || {
                drop(redb.write().take());
                Ok(())
            })
            .await
    }

    /// The first error: the Raft library stops at it and passes on no more than its text.
    pub fn failure(&self) -> Option<EngineError> {
        self.failure.lock().clone()
    }

    fn note<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.failure.lock().get_or_insert_with(|| error.clone());
        }
        result
    }
}

fn closed() -> EngineError {
    EngineError::disconnected("the metadata is closed")
}

fn check_format(transaction: &ReadTransaction) -> Result<()> {
    let values = transaction.open_table(VALUES).map_err(failed("open"))?;
    let Some(stored) = values.get(FORMAT_KEY).map_err(failed("open"))? else {
        return Err(EngineError::corrupt("the metadata does not state its format: it was not written by Weir"));
    };
    let version: u64 = super::record::decode("the metadata's format version", stored.value())?;
    if version != FORMAT {
        return Err(EngineError::corrupt(format!(
            "the metadata has format {version}; this Weir reads format {FORMAT}"
        )));
    }
    Ok(())
}

/// Whether an error of the disk says that what is there is not what was written.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

/// An error of the database, for people, by what was being done.
pub(super) fn failed<E: Into<redb::Error>>(doing: &'static str) -> impl Fn(E) -> EngineError {
    move |error| {
        let error = error.into();
        let kind = match &error {
            redb::Error::DatabaseAlreadyOpen => {
                return EngineError::definition(format!(
                    "cannot {doing} the metadata: another coordinator has it open; stop it, or use another --data-dir"
                ));
            }
            redb::Error::Io(io) if !is_damage(io) => availability::kind_of(io),
            redb::Error::PreviousIo | redb::Error::Backend(_) => ErrorKind::Io,
            redb::Error::DatabaseClosed => ErrorKind::Disconnected,
            // Whatever else it may say of a file that only we write means that the file is not what we wrote.
            _ => ErrorKind::Corrupt,
        };
        let remedy = match kind {
            ErrorKind::Corrupt => "; it is damaged, restore it from a backup",
            _ => "",
        };
        EngineError::of(kind, format!("cannot {doing} the metadata: {error}{remedy}"))
    }
}
