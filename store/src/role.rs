//! What a connection is for, and hence what a database is told first, and how long it is waited for.

use crate::dialect::{Dialect, end_who_is_stopped, where_undecided};
use std::{borrow::Cow, time::Duration};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Commits the rows of a sink; makes a file that is not there.
    Sink,
    /// Replaces counts, and checks them, in a store that must be there.
    Recalculation,
    /// Only reads.
    Query,
}

/// How long a lock of SQLite is waited for by a sink, as a rule.
pub const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 5000";

/// In a simulation nothing waits in real time: the caller retries when it finds a lock.
const NO_WAITING: &str = "PRAGMA busy_timeout = 0";

/// How long a recalculation waits for a lock. Whoever else writes holds the file for as long as a transaction takes, never for
/// minutes.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of PostgreSQL that have a client which waits for locks, or for a long statement, say so within seconds, and nothing
/// go on for one that has left. No answer to a sink is so large that a server waits for it to be read.
const WAITS_NOT_LONG: [(&str, &str); 4] = [
    ("lock_timeout", "3s"),
    ("statement_timeout", "60s"),
    ("tcp_user_timeout", "6s"),
    ("client_connection_check_interval", "3s"),
];

impl Role {
    /// The first statements on a new connection.
    pub(crate) fn greeting(self, dialect: Dialect, is_simulated: bool) -> Vec<Cow<'static, str>> {
        match (dialect, self) {
            (Dialect::Sqlite, Role::Sink) => [
                BUSY_TIMEOUT,
                "PRAGMA journal_mode = WAL",
                // A commit that is reported as done must survive a loss of power.
                "PRAGMA synchronous = FULL",
                "PRAGMA cache_size = -65536",
                "PRAGMA wal_autocheckpoint = 16384",
            ]
            .into_iter()
            .chain(is_simulated.then_some(NO_WAITING))
            .map(Cow::Borrowed)
            .collect(),
            (Dialect::Sqlite, Role::Recalculation) => {
                let patience = if is_simulated { 0 } else { LOCK_TIMEOUT.as_millis() };
                vec![format!("PRAGMA busy_timeout = {patience}").into(), "PRAGMA synchronous = FULL".into()]
            }
            // The page cache of a connection is emptied by each commit of the writer; pages that are mapped stay.
            (Dialect::Sqlite, Role::Query) => {
                ["PRAGMA query_only = ON", "PRAGMA mmap_size = 17179869184", "PRAGMA cache_size = -16384"]
                    .map(Cow::Borrowed)
                    .into()
            }
            (Dialect::Postgres, Role::Sink) => vec![
                "SET client_min_messages = warning".into(),
                "SET synchronous_commit = on".into(),
                end_who_is_stopped().into(),
                where_undecided(&WAITS_NOT_LONG).into(),
            ],
            // A replay that was stopped while it keeps the sinks from committing does so for some seconds, not for good.
            (Dialect::Postgres, Role::Recalculation) => vec![end_who_is_stopped().into()],
            (Dialect::Postgres, Role::Query) => {
                ["SET default_transaction_read_only = on", "SET jit = off", "SET work_mem = '64MB'"]
                    .map(Cow::Borrowed)
                    .into()
            }
        }
    }

    /// The mode in which a file is opened; none: as the driver does, which makes none.
    pub(crate) fn file_mode(self) -> Option<&'static str> {
        match self {
            Role::Sink => Some("rwc"),
            Role::Recalculation => None,
            Role::Query => Some("ro"),
        }
    }

    /// How long a new connection may take.
    pub(crate) fn connect_timeout(self) -> Duration {
        Duration::from_secs(match self {
            Role::Sink => 10,
            Role::Recalculation => 30,
            Role::Query => 2,
        })
    }

    /// How long one statement may take; none: as long as it takes. A sink's touches a thousand rows or so.
    pub(crate) fn statement_timeout(self) -> Option<Duration> {
        (self == Role::Sink).then_some(Duration::from_secs(60))
    }
}
