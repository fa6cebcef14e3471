//! Keeps SQLite's write-ahead log short.
//!
//! SQLite restarts its log only at a moment when nothing reads from it. If a query service is queried all the time there is
//! no such moment, and the log grows until the disk is full. So once it is long, the committer waits a little with the
//! write lock in his hands: pages go into the file, new readers no longer need the log, the last old one leaves, and the log
//! is cut off.
//!
//! He waits in short turns. SQLite waits for one of its few read marks to be free, and does not notice when meanwhile the mark
//! was moved forward, is harmless, and is shared by all new readers: then it is free no more. The next turn sees that.

use sqlx::Row;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};
use weir_store::{Connection, Database, Tried, role::BUSY_TIMEOUT};

/// A log of so many bytes is cut off. SQLite itself copies pages into the file from a quarter of it on.
pub(super) const LONG: u64 = 256 << 20;

/// A turn: a tenth of a second.
const TURN: &str = "PRAGMA busy_timeout = 100";

/// Turns until it is put off because a reader takes so long. Commits wait meanwhile.
const TURNS: usize = 10;

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
        connection.query("wait in turns", TURN, Default::default()).await?;
        for _ in 0..TURNS {
            let cut = "PRAGMA wal_checkpoint(TRUNCATE)";
            let rows = connection.query("cut the write-ahead log off", cut, Default::default()).await?;
            // The first column says whether a reader was in the way.
            if rows.first().is_some_and(|row| row.try_get::<i64, _>(0).is_ok_and(|busy| busy == 0)) {
                break;
            }
        }
        connection.query("wait as a rule", BUSY_TIMEOUT, Default::default()).await?;
        let after = length();
        let limit = if after < before { self.long } else { after + self.long / 4 };
        self.limit.store(limit, Ordering::Relaxed);
        tracing::debug!(path = %path.display(), before, after, "write-ahead log");
        Ok(())
    }
}
