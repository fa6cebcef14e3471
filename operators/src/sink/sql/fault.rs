//! What went wrong with a database: something that passes (it is down, busy, full), or something that waiting does not heal.

use super::dialect::Dialect;
use weir_engine::{error::EngineError, hidden::without_password};

/// Why a piece of work on a database was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// Worth another try, on a new connection: nothing of it was done, or all of it.
    Passing(String),
    /// Another try would fail as well.
    Lasting(EngineError),
}

/// The result of one try.
pub(super) type Tried<T> = Result<T, Fault>;

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Fault::Lasting(error)
    }
}

/// What an error of the driver means.
pub(super) fn fault(dialect: Dialect, url: &str, doing: &str, error: &sqlx::Error) -> Fault {
    let message = format!("{dialect} at '{}': cannot {doing}: {}", without_password(url), told(error));
    match error {
        sqlx::Error::Database(database) => match kind(dialect, database.code().as_deref().unwrap_or_default()) {
            Kind::Passing => Fault::Passing(message),
            Kind::Damaged => Fault::Lasting(EngineError::corrupt(message)),
            Kind::Wrong(hint) => Fault::Lasting(EngineError::definition(format!("{message}{hint}"))),
        },
        // The connection is gone, or never came; another one may come.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Fault::Passing(message),
        _ => Fault::Lasting(EngineError::definition(message)),
    }
}

enum Kind {
    Passing,
    Damaged,
    Wrong(&'static str),
}

fn kind(dialect: Dialect, code: &str) -> Kind {
    match dialect {
        Dialect::Sqlite => of_sqlite(code),
        Dialect::Postgres => of_postgres(code),
    }
}

/// By SQLite's result codes, the extended ones included.
fn of_sqlite(code: &str) -> Kind {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // Busy, locked, interrupted, a disk that fails or is full, the schema changed meanwhile.
        Ok(5 | 6 | 9 | 10 | 13 | 15 | 17) => Kind::Passing,
        Ok(11 | 26) => Kind::Damaged,
        Ok(8) => Kind::Wrong("; the file and its folder must be writable"),
        Ok(14) => Kind::Wrong("; the folder must be there and writable, and the file no folder"),
        _ => Kind::Wrong(""),
    }
}

/// By PostgreSQL's SQLSTATE.
fn of_postgres(code: &str) -> Kind {
    match code {
        "3D000" => return Kind::Wrong("; make the database first, as in: createdb NAME"),
        "28P01" | "28000" => {
            return Kind::Wrong("; the URL must have a user that may log in: postgres://user:password@host/database");
        }
        "42501" => return Kind::Wrong("; the user must own the table, or may create it in its schema"),
        // A standby takes over, a row is locked for long; this process was stopped in a transaction, which is over.
        "25006" | "55P03" | "25P03" | "25P04" => return Kind::Passing,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        // Connection, transaction rolled back, resources, operator intervention, system.
        "08" | "40" | "53" | "57" | "58" => Kind::Passing,
        "XX" => Kind::Damaged,
        _ => Kind::Wrong(""),
    }
}

/// What the database said, in its own words.
fn told(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let passes = |dialect, code| matches!(kind(dialect, code), Kind::Passing);
        for code in ["5", "261", "517", "6", "10", "13"] {
            assert!(passes(Dialect::Sqlite, code), "{code}");
        }
        for code in ["57P01", "57P03", "40001", "40P01", "53300", "53100", "08006", "25006", "25P03", "55P03"] {
            assert!(passes(Dialect::Postgres, code), "{code}");
        }
        for code in ["28P01", "3D000", "42P01", "22021", "23505"] {
            assert!(!passes(Dialect::Postgres, code), "{code}");
        }
        for code in ["1", "8", "14", "11", "1299"] {
            assert!(!passes(Dialect::Sqlite, code), "{code}");
        }
        let refused = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(fault(Dialect::Postgres, "postgres://h/d", "connect", &refused), Fault::Passing(_)));
    }
}
