//! What went wrong with a database: something that passes (it is down, busy, full), or something that waiting does not heal.

use crate::dialect::Dialect;
use weir_engine::{error::EngineError, hidden::without_password};

/// Why a piece of work on a database was not done.
#[derive(Debug)]
pub enum Fault {
    /// Worth another try, on a new connection: nothing of it was done, or all of it.
    Passing(String),
    /// Somebody else holds a lock. Nothing was done; it is worth another try.
    Locked(String),
    /// Another try would fail as well.
    Lasting(EngineError),
    /// An administrator has to make it writable again. At a start that is reported at once; a decided commit waits for it.
    Denied(EngineError),
    /// The database does not take some row. Nothing of the statement was done.
    Refused(Refused),
}

/// What a database said of a row that it does not take.
#[derive(Debug)]
pub struct Refused {
    /// The whole sentence.
    pub message: String,
    /// The database's own words.
    pub told: String,
}

impl Fault {
    /// Whether waiting heals it.
    pub fn passes(&self) -> bool {
        matches!(self, Fault::Passing(_) | Fault::Locked(_))
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        match self {
            Fault::Passing(message) | Fault::Locked(message) => message,
            Fault::Lasting(error) | Fault::Denied(error) => &error.message,
            Fault::Refused(refused) => &refused.message,
        }
    }

    /// As an error, for code that does not retry.
    pub fn into_error(self) -> EngineError {
        match self {
            Fault::Passing(message) | Fault::Locked(message) => EngineError::io(message),
            Fault::Lasting(error) | Fault::Denied(error) => error,
            Fault::Refused(refused) => EngineError::definition(refused.message),
        }
    }
}

/// The result of one try.
pub type Tried<T> = Result<T, Fault>;

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Fault::Lasting(error)
    }
}

/// What an error of the driver means.
pub(crate) fn fault(dialect: Dialect, url: &str, doing: &str, error: &sqlx::Error) -> Fault {
    let message = format!("{dialect} at '{}': cannot {doing}: {}", without_password(url), told(error));
    match error {
        sqlx::Error::Database(database) => match kind(dialect, database.code().as_deref().unwrap_or_default()) {
            Kind::Passing => Fault::Passing(message),
            Kind::Locked => Fault::Locked(message),
            Kind::Damaged => Fault::Lasting(EngineError::corrupt(message)),
            Kind::Denied(hint) => Fault::Denied(EngineError::definition(format!("{message}{hint}"))),
            Kind::Refused => Fault::Refused(Refused { message, told: told(error) }),
            Kind::Wrong(hint) => Fault::Lasting(EngineError::definition(format!("{message}{hint}"))),
        },
        // The connection is gone, or never came; another one may come.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Fault::Passing(message),
        _ => Fault::Lasting(EngineError::definition(message)),
    }
}

enum Kind {
    Passing,
    Locked,
    Damaged,
    Denied(&'static str),
    Refused,
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
        Ok(5) => Kind::Locked,
        // Locked by this process, interrupted, a disk that fails or is full, the schema changed meanwhile.
        Ok(6 | 9 | 10 | 13 | 15 | 17) => Kind::Passing,
        Ok(11 | 26) => Kind::Damaged,
        // Too big, a constraint or a trigger, a value of another type.
        Ok(18..=20) => Kind::Refused,
        Ok(3 | 8) => Kind::Denied("; the file and its folder must be writable"),
        Ok(14) => Kind::Denied("; the folder must be there and writable, and the file no folder"),
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
        "55P03" => return Kind::Locked,
        // A standby takes over; this process was stopped in a transaction, which is over.
        "25006" | "25P03" | "25P04" => return Kind::Passing,
        // A row twice in one statement, after whatever a trigger made of it; a trigger's own complaint; a view's condition.
        "21000" | "P0001" | "44000" => return Kind::Refused,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        // Connection, transaction rolled back, resources, operator intervention, system.
        "08" | "40" | "53" | "57" | "58" => Kind::Passing,
        "XX" => Kind::Damaged,
        // A value that does not fit, a constraint, a limit of the program such as the length of a key.
        "22" | "23" | "54" => Kind::Refused,
        _ => Kind::Wrong(""),
    }
}

/// What of a store is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The file of the database.
    File,
    /// A table that was named.
    Table,
    /// SQLite has one code for a table that is not there, and for other mistakes in a statement: ask for its tables.
    PerhapsTable,
}

/// Whether an error means that something is not there.
pub fn missing(dialect: Dialect, error: &sqlx::Error) -> Option<Missing> {
    let code = error.as_database_error()?.code()?;
    match (dialect, code.as_ref()) {
        (Dialect::Sqlite, "14") => Some(Missing::File),
        (Dialect::Sqlite, "1") => Some(Missing::PerhapsTable),
        (Dialect::Postgres, "42P01") => Some(Missing::Table),
        _ => None,
    }
}

/// What the database said, in its own words.
pub fn told(error: &sqlx::Error) -> String {
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
        let passes = |dialect, code| matches!(kind(dialect, code), Kind::Passing | Kind::Locked);
        for code in ["5", "261", "517", "6", "10", "13"] {
            assert!(passes(Dialect::Sqlite, code), "{code}");
        }
        for code in ["57P01", "57P03", "40001", "40P01", "53300", "53100", "08006", "25006", "25P03", "55P03"] {
            assert!(passes(Dialect::Postgres, code), "{code}");
        }
        for code in ["28P01", "3D000", "42P01", "22021", "23505"] {
            assert!(!passes(Dialect::Postgres, code), "{code}");
        }
        let waits_for_others = |dialect, code| matches!(kind(dialect, code), Kind::Locked);
        assert!(waits_for_others(Dialect::Sqlite, "517") && waits_for_others(Dialect::Postgres, "55P03"));
        assert!(!waits_for_others(Dialect::Sqlite, "6") && !waits_for_others(Dialect::Postgres, "57P01"));
        let refuses = |dialect, code| matches!(kind(dialect, code), Kind::Refused);
        for code in ["22021", "22003", "22P05", "23505", "23502", "23514", "54000", "21000", "P0001"] {
            assert!(refuses(Dialect::Postgres, code), "{code}");
        }
        for code in ["18", "19", "1299", "1555", "1811", "20"] {
            assert!(refuses(Dialect::Sqlite, code), "{code}");
        }
        for code in ["42P01", "28P01", "53100", "25006", "08006", "40001"] {
            assert!(!refuses(Dialect::Postgres, code), "{code}");
        }
        for code in ["8", "1032", "14"] {
            assert!(matches!(kind(Dialect::Sqlite, code), Kind::Denied(_)), "{code}");
        }
        for code in ["1", "8", "14", "11", "1299"] {
            assert!(!passes(Dialect::Sqlite, code), "{code}");
        }
        let refused = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(fault(Dialect::Postgres, "postgres://h/d", "connect", &refused), Fault::Passing(_)));
    }
}
