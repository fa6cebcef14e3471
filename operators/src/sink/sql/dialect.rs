//! What the databases differ in. The only place that knows.

use super::config::SqlType;
use serde::{Deserialize, Serialize};
use std::fmt;
use weir_engine::error::{EngineError, Result};

/// How long a lock of SQLite is waited for, as a rule.
pub(super) const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 5000";

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// A file on a local disk, written by one process at a time.
    Sqlite,
    /// PostgreSQL, or what speaks like it.
    Postgres,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Sqlite => "SQLite",
            Dialect::Postgres => "PostgreSQL",
        })
    }
}

impl Dialect {
    /// The one that a URL means.
    ///
    /// # Errors
    /// When it is none of those that are known.
    pub fn of(url: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Err(EngineError::definition(format!(
                "{why}; a SQL sink writes to \"sqlite:path/of/file\" or \"postgres://user@host/database\""
            )))
        };
        if url.starts_with("${") {
            return refuse("the URL of a database begins with its kind, which is no secret");
        }
        match url.split_once(':') {
            Some(("sqlite", "" | "//" | ":memory:" | "//:memory:")) => refuse("the URL names no file"),
            Some(("sqlite", _)) => Ok(Dialect::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Dialect::Postgres),
            Some((scheme, _)) => refuse(&format!("there is no database '{scheme}:'")),
            None => refuse("the URL of a database begins with its kind"),
        }
    }

    /// A name in a statement.
    pub(super) fn quoted(self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    /// The type of a column.
    pub(super) fn type_name(self, sql_type: SqlType) -> &'static str {
        match (sql_type, self) {
            (SqlType::BigInt, _) => "BIGINT",
            (SqlType::Double, _) => "DOUBLE PRECISION",
            (SqlType::Text, _) => "TEXT",
            // SQLite's NUMERIC makes floats of what has a point in it.
            (SqlType::Numeric, Dialect::Sqlite) => "TEXT",
            (SqlType::Numeric, Dialect::Postgres) => "NUMERIC",
            (SqlType::Bytes, Dialect::Sqlite) => "BLOB",
            (SqlType::Bytes, Dialect::Postgres) => "BYTEA",
        }
    }

    /// What stands behind the columns of a table. A table whose key is most of it needs no second tree for its rows.
    pub(super) fn table_options(self) -> &'static str {
        match self {
            Dialect::Sqlite => " WITHOUT ROWID",
            Dialect::Postgres => "",
        }
    }

    /// The place of the `n`-th parameter, from 1. SQLite looks named ones up one by one, and so gets anonymous ones.
    pub(super) fn parameter(self, n: usize) -> String {
        match self {
            Dialect::Sqlite => "?".into(),
            Dialect::Postgres => format!("${n}"),
        }
    }

    /// The same for a value of a type. The driver gives a number that is absent another type than one that is there, which
    /// PostgreSQL takes amiss in a statement that it has seen before: there they travel as texts.
    pub(super) fn value(self, n: usize, sql_type: SqlType) -> String {
        match (self, sql_type) {
            (Dialect::Postgres, SqlType::Double) => format!("CAST(${n}::text AS DOUBLE PRECISION)"),
            (Dialect::Postgres, SqlType::Numeric) => format!("CAST(${n}::text AS NUMERIC)"),
            _ => self.parameter(n),
        }
    }

    /// Parameters that a statement may have.
    pub(super) fn max_parameters(self) -> usize {
        match self {
            Dialect::Sqlite => 32_766,
            Dialect::Postgres => 65_535,
        }
    }

    /// Begins a transaction that will write. SQLite takes its one write lock at once: later it might have to be refused.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        }
    }

    /// What a new connection is told first. A commit that is reported as done must survive a loss of power.
    pub(super) fn greeting(self) -> Vec<String> {
        match self {
            Dialect::Sqlite => [
                BUSY_TIMEOUT,
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA cache_size = -65536",
                "PRAGMA wal_autocheckpoint = 16384",
            ]
            .map(String::from)
            .into(),
            Dialect::Postgres => vec![
                "SET client_min_messages = warning".into(),
                "SET synchronous_commit = on".into(),
                end_who_is_stopped(),
                where_undecided(&WAITS_NOT_LONG),
            ],
        }
    }

    /// Makes sure that nobody else makes tables at the same time, until the end of the transaction.
    pub(super) fn lock_tables(self) -> Option<&'static str> {
        match self {
            Dialect::Sqlite => None,
            // The number is Weir's own: "weir" in ASCII.
            Dialect::Postgres => Some("SELECT pg_advisory_xact_lock(2003134834)"),
        }
    }

    /// Name, type and place in the primary key (from 1; else 0) of every column of the table whose name is the parameter.
    pub(super) fn columns_of_table(self) -> &'static str {
        match self {
            Dialect::Sqlite => {
                "SELECT CAST(name AS TEXT), CAST(upper(type) AS TEXT), CAST(pk AS BIGINT) FROM pragma_table_info(?) ORDER BY cid"
            }
            Dialect::Postgres => {
                "SELECT a.attname::text, upper(format_type(a.atttypid, NULL)), \
                 COALESCE(array_position(i.indkey::int2[], a.attnum), -1)::bigint + 1 \
                 FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
                 WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
            }
        }
    }
}

/// Settings of a PostgreSQL session that end a client which was stopped, or cut off, in the middle of a transaction, within
/// seconds: then its locks go to whoever needs them.
const ENDS_WHO_IS_STOPPED: [(&str, &str); 4] = [
    ("idle_in_transaction_session_timeout", "5s"),
    ("tcp_keepalives_idle", "3s"),
    ("tcp_keepalives_interval", "1s"),
    ("tcp_keepalives_count", "3"),
];

/// And those that have a client which waits for locks, or for a long statement, say so within seconds, and nothing go on for
/// one that has left. No answer to a sink is so large that a server waits for it to be read.
const WAITS_NOT_LONG: [(&str, &str); 4] = [
    ("lock_timeout", "3s"),
    ("statement_timeout", "60s"),
    ("tcp_user_timeout", "6s"),
    ("client_connection_check_interval", "3s"),
];

/// The statement with which a PostgreSQL session is told to end a client that was stopped in a transaction.
pub fn end_who_is_stopped() -> String {
    where_undecided(&ENDS_WHO_IS_STOPPED)
}

/// Sets what nobody has decided: a setting that is in the URL (`options=`), or that the role, the database or the server's
/// configuration has, stays. So does what a server does not know.
fn where_undecided(settings: &[(&str, &str)]) -> String {
    let settings: Vec<_> = settings.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
    format!(
        "SELECT set_config(name, wanted, false) FROM (VALUES {}) AS settings (name, wanted) \
         JOIN pg_catalog.pg_settings USING (name) WHERE source = 'default'",
        settings.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_which_database_it_is() {
        assert_eq!(Dialect::of("sqlite:out/store.sqlite").unwrap(), Dialect::Sqlite);
        assert_eq!(Dialect::of("sqlite:///tmp/store.sqlite").unwrap(), Dialect::Sqlite);
        assert_eq!(Dialect::of("postgres://t@localhost/t").unwrap(), Dialect::Postgres);
        for wrong in ["mysql://host/db", "out/store.sqlite", "sqlite:", "sqlite::memory:"] {
            assert!(Dialect::of(wrong).unwrap_err().message.contains("sqlite:path/of/file"), "{wrong}");
        }
    }
}
