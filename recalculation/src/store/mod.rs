//! The store, opened for writing: SQLite or PostgreSQL, one code path. Times are milliseconds since 1970.

mod rolled_up;
mod session;

pub use rolled_up::{DAY_MS, Grain, HOUR_MS, RolledUp};

use parking_lot::Mutex;
use session::{Database, Flavour, Session, failed};
use sqlx::{Row, any::AnyRow};
use std::sync::Arc;
use weir_engine::{env::Env, error::Result};

/// A store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    database: Arc<Database>,
    /// A connection that nobody uses at the moment.
    idle: Arc<Mutex<Option<Session>>>,
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

impl Store {
    /// Opens `sqlite:PATH` or `postgres://…`, which must exist.
    ///
    /// # Errors
    /// When the address is neither, or nothing answers there.
    pub async fn open(url: &str) -> Result<Self> {
        Store::open_in(url, &Env::default()).await
    }

    /// The same, where time may be simulated.
    ///
    /// # Errors
    /// When the address is neither, or nothing answers there.
    pub async fn open_in(url: &str, env: &Env) -> Result<Self> {
        let store = Store { database: Arc::new(Database::new(url, env)?), idle: Arc::default() };
        let session = store.database.connect().await?;
        store.put_back(session);
        Ok(store)
    }

    /// A connection that works. One that fails or is dropped is not used again.
    async fn session(&self) -> Result<Session> {
        let idle = self.idle.lock().take();
        if let Some(mut session) = idle
            && session.is_there().await
        {
            return Ok(session);
        }
        self.database.connect().await
    }

    fn put_back(&self, session: Session) {
        *self.idle.lock() = Some(session);
    }

    /// Executes a statement by itself.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64> {
        let mut session = self.session().await?;
        let done = session.execute(sql, values).await?;
        self.put_back(session);
        Ok(done)
    }

    /// All rows of a statement.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn rows(&self, sql: &str, values: &[Value]) -> Result<Vec<AnyRow>> {
        let mut session = self.session().await?;
        let rows = session.rows(sql, values).await?;
        self.put_back(session);
        Ok(rows)
    }

    /// Hands the rows of a statement on one by one, so that there may be many.
    ///
    /// # Errors
    /// When the store refuses, and those of `take`.
    pub async fn each(&self, sql: &str, values: &[Value], take: impl FnMut(&AnyRow) -> Result<()>) -> Result<()> {
        let mut session = self.session().await?;
        session.each(sql, values, take).await?;
        self.put_back(session);
        Ok(())
    }

    /// Whether there is such a table.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn has(&self, table: &str) -> Result<bool> {
        let sql = match self.database.flavour {
            Flavour::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1",
            Flavour::Postgres => {
                "SELECT CAST(relname AS TEXT) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND relname = $1 \
                 AND pg_catalog.pg_table_is_visible(oid)"
            }
        };
        Ok(!self.rows(sql, &[table.into()]).await?.is_empty())
    }

    /// The tables whose names begin like this.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn tables_that_begin(&self, beginning: &str) -> Result<Vec<String>> {
        let sql = match self.database.flavour {
            Flavour::Sqlite => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, length($1)) = $1 ORDER BY name"
            }
            Flavour::Postgres => {
                "SELECT CAST(relname AS TEXT) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') \
                 AND pg_catalog.starts_with(CAST(relname AS TEXT), $1) AND pg_catalog.pg_table_is_visible(oid) ORDER BY 1"
            }
        };
        self.rows(sql, &[beginning.into()]).await?.iter().map(|row| text(row, 0)).collect()
    }

    /// A transaction that writes. In SQLite it is the only one that does, from its beginning on.
    ///
    /// # Errors
    /// When the store refuses, or is held by others for too long.
    pub async fn begin(&self) -> Result<Writing> {
        let begin = match self.database.flavour {
            Flavour::Sqlite => "BEGIN IMMEDIATE",
            Flavour::Postgres => "BEGIN",
        };
        let mut session = self.session().await?;
        session.execute(begin, &[]).await.map_err(|error| error.context("cannot write to the store"))?;
        Ok(Writing { session, store: self.clone() })
    }
}

/// A transaction that writes; dropped, it changes nothing.
pub struct Writing {
    session: Session,
    store: Store,
}

impl Writing {
    /// Executes a statement; gives how many rows it touched.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        self.session.execute(sql, values).await
    }

    /// All rows of a statement.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<AnyRow>> {
        self.session.rows(sql, values).await
    }

    /// Keeps the sinks that fill a table from committing until the end of this transaction.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn hold_sinks(&mut self, table: &str) -> Result<()> {
        if self.store.database.flavour == Flavour::Postgres {
            let sql = "SELECT checkpoint FROM weir_sinks WHERE table_name = $1 FOR UPDATE";
            self.rows(sql, &[table.into()]).await?;
        }
        Ok(())
    }

    /// Makes it all visible at once.
    ///
    /// # Errors
    /// When the store refuses; then nothing has changed, or all of it has.
    pub async fn commit(mut self) -> Result<()> {
        self.session.execute("COMMIT", &[]).await?;
        self.store.put_back(self.session);
        Ok(())
    }
}

/// A name as SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
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
