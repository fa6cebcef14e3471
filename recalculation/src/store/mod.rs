//! The store, opened for writing: SQLite or PostgreSQL, one code path. Times are milliseconds since 1970.

mod rolled_up;
mod session;

pub use rolled_up::RolledUp;

use parking_lot::Mutex;
use session::{Session, refused};
use sqlx::any::AnyRow;
use std::sync::Arc;
use weir_engine::{env::Env, error::Result};
use weir_store::{Database, Role, Value, row::text, tables::SINKS};

/// A store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    database: Arc<Database>,
    env: Env,
    /// A connection that is not in use.
    idle: Arc<Mutex<Option<Session>>>,
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
        let database = Arc::new(Database::new(url, Role::Recalculation, env)?);
        let store = Store { database, env: env.clone(), idle: Arc::default() };
        store.put_back(store.connect().await?);
        Ok(store)
    }

    /// A connection that works. One that fails or is dropped is not used again.
    async fn session(&self) -> Result<Session> {
        let idle = self.idle.lock().take();
        if let Some(mut session) = idle
            && session.connection.is_there().await
        {
            return Ok(session);
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<Session> {
        let connection = self.database.connect().await.map_err(refused)?;
        Ok(Session { connection, env: self.env.clone() })
    }

    fn put_back(&self, session: Session) {
        *self.idle.lock() = Some(session);
    }

    /// Executes a statement by itself.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let mut session = self.session().await?;
        let done = session.execute(sql, values).await?;
        self.put_back(session);
        Ok(done)
    }

    /// All rows of a statement.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn rows(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<AnyRow>> {
        let mut session = self.session().await?;
        let rows = session.rows(sql, values).await?;
        self.put_back(session);
        Ok(rows)
    }

    /// Hands the rows of a statement on one by one, so that there may be many.
    ///
    /// # Errors
    /// When the store refuses, and those of `take`.
    pub async fn each(&self, sql: &str, values: &[Value<'_>], take: impl FnMut(&AnyRow) -> Result<()>) -> Result<()> {
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
        Ok(!self.rows(&self.database.dialect.which_tables(1), &[table.into()]).await?.is_empty())
    }

    /// The tables whose names begin like this.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn tables_that_begin(&self, beginning: &str) -> Result<Vec<String>> {
        let sql = self.database.dialect.tables_that_begin();
        let rows = self.rows(&sql, &[beginning.into()]).await?;
        Ok(rows.iter().map(|row| text(row, 0)).collect::<std::result::Result<_, _>>()?)
    }

    /// A transaction that writes. In SQLite it is the only one that does, from its beginning on.
    ///
    /// # Errors
    /// When the store refuses, or is held by others for too long.
    pub async fn begin(&self) -> Result<Writing> {
        let mut session = self.session().await?;
        session
            .execute(self.database.dialect.begin(), &[])
            .await
            .map_err(|error| error.context("cannot write to the store"))?;
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
    pub async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        self.session.execute(sql, values).await
    }

    /// All rows of a statement.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<AnyRow>> {
        self.session.rows(sql, values).await
    }

    /// Keeps the sinks that fill a table from committing until the end of this transaction.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn hold_sinks(&mut self, table: &str) -> Result<()> {
        let select = format!("SELECT checkpoint FROM {SINKS} WHERE table_name = $1");
        if let Some(sql) = self.store.database.dialect.lock_rows(&select) {
            self.rows(&sql, &[table.into()]).await?;
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
