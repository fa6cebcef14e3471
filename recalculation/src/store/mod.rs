//! The store, opened for writing: SQLite or PostgreSQL, one code path. Times are milliseconds since 1970.

mod rolled_up;

pub use rolled_up::{DAY_MS, Grain, HOUR_MS, RolledUp};

use sqlx::{
    Any, AnyPool, AssertSqlSafe, Row, Transaction,
    any::{AnyArguments, AnyPoolOptions, AnyRow},
    query::Query,
};
use std::time::Duration;
use weir_engine::error::{EngineError, Result};
use weir_operators::sink::sql::end_who_is_stopped;

/// How long a statement waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// A store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    flavour: Flavour,
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    Sqlite,
    Postgres,
}

/// A value that is put into a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number, or a time.
    Integer(i64),
    /// A text.
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.into())
    }
}

impl Flavour {
    /// What a new connection is told first.
    fn greeting(self) -> Vec<String> {
        match self {
            // Whoever else writes holds the file for as long as a transaction takes, never for minutes.
            Flavour::Sqlite => ["PRAGMA busy_timeout = 60000", "PRAGMA synchronous = FULL"].map(String::from).into(),
            // A replay that was stopped while it keeps the sinks from committing does so for some seconds, not for good.
            Flavour::Postgres => vec![end_who_is_stopped()],
        }
    }
}

impl Store {
    /// Opens `sqlite:PATH` or `postgres://…`, which must exist.
    ///
    /// # Errors
    /// When the address is neither, or nothing answers there.
    pub async fn open(url: &str) -> Result<Self> {
        let resolved = weir_engine::secrets::resolve(url)
            .map_err(|missing| EngineError::definition(format!("the store's address: {missing}")))?;
        let url = resolved.as_str();
        let flavour = if url.starts_with("sqlite:") {
            Flavour::Sqlite
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Flavour::Postgres
        } else {
            // The address itself is not repeated: it may hold a password.
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(EngineError::definition(format!(
                "the store's address begins with '{scheme}:'; a store is sqlite:PATH or postgres://USER@HOST/DATABASE"
            )));
        };
        sqlx::any::install_default_drivers();
        let options = AnyPoolOptions::new().max_connections(2).acquire_timeout(ACQUIRE_TIMEOUT).after_connect(
            move |connection, _| {
                Box::pin(async move {
                    for setting in flavour.greeting() {
                        sqlx::query(AssertSqlSafe(setting)).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            },
        );
        let pool = options.connect(url).await.map_err(|error| failed("cannot open the store", &error))?;
        Ok(Store { pool, flavour })
    }

    /// Executes a statement by itself.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64> {
        let done = bound(sql, values).execute(&self.pool).await.map_err(|error| failed(sql, &error))?;
        Ok(done.rows_affected())
    }

    /// All rows of a statement.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn rows(&self, sql: &str, values: &[Value]) -> Result<Vec<AnyRow>> {
        bound(sql, values).fetch_all(&self.pool).await.map_err(|error| failed(sql, &error))
    }

    /// Hands the rows of a statement on one by one, so that there may be many.
    ///
    /// # Errors
    /// When the store refuses, and those of `take`.
    pub async fn each(&self, sql: &str, values: &[Value], mut take: impl FnMut(&AnyRow) -> Result<()>) -> Result<()> {
        use futures::TryStreamExt;
        let mut rows = bound(sql, values).fetch(&self.pool);
        while let Some(row) = rows.try_next().await.map_err(|error| failed(sql, &error))? {
            take(&row)?;
        }
        Ok(())
    }

    /// Whether there is such a table.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn has(&self, table: &str) -> Result<bool> {
        let sql = match self.flavour {
            Flavour::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1",
            Flavour::Postgres => {
                "SELECT CAST(relname AS TEXT) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND relname = $1 \
                 AND pg_catalog.pg_table_is_visible(oid)"
            }
        };
        Ok(!self.rows(sql, &[table.into()]).await?.is_empty())
    }

    /// A transaction that writes. In SQLite it is the only one that does, from its beginning on.
    ///
    /// # Errors
    /// When the store refuses, or is held by others for too long.
    pub async fn begin(&self) -> Result<Writing> {
        let begin = match self.flavour {
            Flavour::Sqlite => "BEGIN IMMEDIATE",
            Flavour::Postgres => "BEGIN",
        };
        let transaction =
            self.pool.begin_with(begin).await.map_err(|error| failed("cannot write to the store", &error))?;
        Ok(Writing { transaction, flavour: self.flavour })
    }
}

/// A transaction that writes; dropped, it changes nothing.
pub struct Writing {
    transaction: Transaction<'static, Any>,
    flavour: Flavour,
}

impl Writing {
    /// Executes a statement; gives how many rows it touched.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        let done = bound(sql, values).execute(&mut *self.transaction).await.map_err(|error| failed(sql, &error))?;
        Ok(done.rows_affected())
    }

    /// All rows of a statement.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<AnyRow>> {
        bound(sql, values).fetch_all(&mut *self.transaction).await.map_err(|error| failed(sql, &error))
    }

    /// Keeps the sinks that fill a table from committing until the end of this transaction.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn hold_sinks(&mut self, table: &str) -> Result<()> {
        if self.flavour == Flavour::Postgres {
            let sql = "SELECT checkpoint FROM weir_sinks WHERE table_name = $1 FOR UPDATE";
            self.rows(sql, &[table.into()]).await?;
        }
        Ok(())
    }

    /// Makes it all visible at once.
    ///
    /// # Errors
    /// When the store refuses; then nothing has changed, or all of it has.
    pub async fn commit(self) -> Result<()> {
        self.transaction.commit().await.map_err(|error| failed("cannot commit", &error))
    }
}

/// A name as SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn bound<'q>(sql: &str, values: &[Value]) -> Query<'q, Any, AnyArguments> {
    // The text is ours but for names, which are quoted; what else is from outside goes in as values.
    values.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
        Value::Integer(value) => query.bind(*value),
        Value::Text(value) => query.bind(value.clone()),
    })
}

/// What the store says, with what was asked of it.
pub(crate) fn failed(what: &str, error: &sqlx::Error) -> EngineError {
    EngineError::io(format!("the store: {error} ({what})"))
}

/// A whole number in a row.
///
/// # Errors
/// When it is none.
pub fn integer(row: &AnyRow, column: usize) -> Result<i64> {
    row.try_get(column).map_err(|error| failed("a whole number", &error))
}

/// A whole number in a row, or nothing.
///
/// # Errors
/// When it is something else.
pub fn integer_or_null(row: &AnyRow, column: usize) -> Result<Option<i64>> {
    row.try_get(column).map_err(|error| failed("a whole number", &error))
}

/// A text in a row.
///
/// # Errors
/// When it is none.
pub fn text(row: &AnyRow, column: usize) -> Result<String> {
    row.try_get(column).map_err(|error| failed("a text", &error))
}

/// A text in a row, or a whole number as text; `None` for nothing.
///
/// # Errors
/// When it is something else.
pub fn text_of(row: &AnyRow, column: usize) -> Result<Option<String>> {
    if let Ok(text) = row.try_get::<Option<String>, _>(column) {
        return Ok(text);
    }
    Ok(integer_or_null(row, column)?.map(|number| number.to_string()))
}
