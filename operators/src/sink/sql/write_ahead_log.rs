//! Keeps SQLite's write-ahead log short.
//!
//! SQLite begins its log anew only at a moment when nobody reads from it. Where a query service is asked all the time there is
//! no such moment, and the log grows until the disk is full. So once it is long, whoever commits waits a little with the
//! write lock in his hands: pages go into the file, new readers no longer need the log, the last old one leaves, and the log
//! is cut off. A reader that stays longer puts it off.

use super::{
    connection::{Connection, Database},
    fault::Tried,
};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

/// A log of so many bytes is cut off. SQLite itself copies pages into the file from a quarter of it on.
pub(super) const LONG: u64 = 256 << 20;

/// Where readers did not leave in time, the log may grow by so much until it is tried again.
const MORE: u64 = 64 << 20;

/// The log of a database file.
#[derive(Debug)]
pub(super) struct WriteAheadLog {
    /// `None`: the database is none that has such a file.
    path: Option<PathBuf>,
    /// A log of more bytes is cut off.
    long: u64,
    /// When that is tried next: at more bytes than this.
    limit: AtomicU64,
}

impl WriteAheadLog {
    /// Of this database; `long` is how many bytes it may have.
    pub fn of(database: &Database, long: u64) -> Self {
        WriteAheadLog { path: database.write_ahead_log(), long, limit: AtomicU64::new(long) }
    }

    /// Cuts it off if it is long. Call it outside of transactions.
    pub async fn shorten(&self, connection: &mut Connection) -> Tried<()> {
        let Some(path) = &self.path else { return Ok(()) };
        // A log that is not there is short.
        let length = || std::fs::metadata(path).map_or(0, |file| file.len());
        let before = length();
        if before <= self.limit.load(Ordering::Relaxed) {
            return Ok(());
        }
        for statement in connection.dialect.cut_log_off() {
            // A query, for the second one answers with a row.
            connection.query("cut the write-ahead log off", *statement, Default::default()).await?;
        }
        let after = length();
        let limit = if after < before { self.long } else { after + MORE };
        self.limit.store(limit, Ordering::Relaxed);
        tracing::debug!(path = %path.display(), before, after, "write-ahead log");
        Ok(())
    }
}
