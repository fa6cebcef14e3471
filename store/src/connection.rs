//! A connection to a database. Every answer is waited for so long and no longer, and every error becomes a [`Fault`].
//!
//! Invariant: a connection that had an error, or whose work was cut short, is not used again: the database ends its
//! transaction.

use crate::{
    address::{UrlMistake, for_driver, path_of},
    dialect::Dialect,
    fault::{Fault, Tried, fault},
    role::Role,
};
use futures::TryStreamExt;
use sqlx::{
    AnyConnection, AssertSqlSafe, ConnectOptions, Connection as _,
    any::{AnyArguments, AnyConnectOptions, AnyRow},
};
use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
    hidden::{Hidden, without_password},
    secrets,
};

/// A transaction in which nothing is said for longer than some seconds is ended (see [`Role`]): so often something
/// is said while something else is waited for.
const STAY_AWAKE: Duration = Duration::from_secs(1);

/// A database, how to reach it, and what for.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its kind.
    pub dialect: Dialect,
    role: Role,
    url: Hidden<String>,
    env: Env,
}

/// A connection. Statements are waited for one by one. Dropped in a transaction, it ends it.
#[derive(Debug)]
pub struct Connection {
    inner: Driver,
    /// The kind of the database.
    pub dialect: Dialect,
    database: Database,
}

impl Database {
    /// # Errors
    /// When the URL is of no database that is known.
    pub fn new(url: &str, role: Role, env: &Env) -> Result<Self, UrlMistake> {
        Ok(Database { dialect: Dialect::of(url)?, role, url: url.into(), env: env.clone() })
    }

    /// For people.
    pub fn shown(&self) -> String {
        without_password(&self.url)
    }

    /// A new connection.
    ///
    /// # Errors
    /// When nothing answers in time, or the database refuses.
    pub async fn connect(&self) -> Tried<Connection> {
        sqlx::any::install_default_drivers();
        let url = for_driver(&self.resolved()?, self.dialect, self.role)?;
        let wrong = |error| self.fault("read the URL", &error);
        // The driver's own log would hold thousands of parameters.
        let options = AnyConnectOptions::from_str(&url).map_err(wrong)?.disable_statement_logging();
        let limit = self.role.connect_timeout();
        let connecting = self.env.ask("connect", async { AnyConnection::connect_with(&options).await });
        let connected = tokio::select! {
            biased;
            connected = connecting => answered(connected).map_err(|error| self.fault("connect", &error)),
            () = self.env.sleep(limit) => Err(Fault::Passing(format!(
                "{} at '{}' does not answer: no connection within {limit:?}", self.dialect, self.shown()
            ))),
        };
        let inner = Driver::new(connected?, &self.env);
        let mut connection = Connection { inner, dialect: self.dialect, database: self.clone() };
        for greeting in self.role.greeting(self.dialect, self.env.is_simulated()) {
            connection.query("set the connection up", greeting, AnyArguments::default()).await?;
        }
        Ok(connection)
    }

    fn fault(&self, doing: &str, error: &sqlx::Error) -> Fault {
        fault(self.dialect, &self.url, doing, error)
    }

    /// The answer to a piece of work, waited for as long as the role allows.
    async fn answer<T>(&self, doing: &str, work: impl Future<Output = sqlx::Result<T>>) -> Tried<T> {
        let answer = self.env.ask(doing, work);
        let Some(limit) = self.role.statement_timeout() else {
            return answered(answer.await).map_err(|error| self.fault(doing, &error));
        };
        tokio::select! {
            biased;
            answer = answer => answered(answer).map_err(|error| self.fault(doing, &error)),
            () = self.env.sleep(limit) => Err(Fault::Passing(format!(
                "{} at '{}' did not {doing} within {limit:?}", self.dialect, self.shown()
            ))),
        }
    }

    /// The URL with the secrets that it refers to, as they are now: one that is changed is known with the next connection.
    ///
    /// # Errors
    /// When this process does not have one of them.
    pub fn resolved(&self) -> Result<Hidden<String>> {
        secrets::resolve(&self.url).map_err(|missing| {
            EngineError::definition(format!(
                "{missing}; the `url` '{}' refers to it, and it is looked for where the \
                                             connection is opened: in process {}",
                self.shown(),
                std::process::id()
            ))
        })
    }

    /// Where SQLite keeps what is committed and not yet in the file.
    pub fn write_ahead_log(&self) -> Option<PathBuf> {
        let url = self.resolved().ok().filter(|_| self.dialect == Dialect::Sqlite)?;
        Some(PathBuf::from(format!("{}-wal", path_of(&url))))
    }
}

impl Connection {
    /// Executes a statement. Returns how many rows it changed.
    ///
    /// # Errors
    /// When the database refuses, or does not answer.
    pub async fn execute(&mut self, doing: &str, sql: impl Into<Arc<str>>, arguments: AnyArguments) -> Tried<u64> {
        let query = sqlx::query_with(AssertSqlSafe(sql.into()), arguments);
        let inner = &mut self.inner;
        let done = self.database.answer(doing, async { query.execute(inner.get()?).await }).await?;
        Ok(done.rows_affected())
    }

    /// The rows of a query.
    ///
    /// # Errors
    /// When the database refuses, or does not answer.
    pub async fn query(
        &mut self,
        doing: &str,
        sql: impl Into<Arc<str>>,
        arguments: AnyArguments,
    ) -> Tried<Vec<AnyRow>> {
        let query = sqlx::query_with(AssertSqlSafe(sql.into()), arguments);
        let inner = &mut self.inner;
        self.database.answer(doing, async { query.fetch_all(inner.get()?).await }).await
    }

    /// Hands the rows of a query on one by one, so that there may be many, however long that takes.
    ///
    /// # Errors
    /// When the database refuses, and those of `take`.
    pub async fn each(
        &mut self,
        doing: &str,
        sql: impl Into<Arc<str>>,
        arguments: AnyArguments,
        mut take: impl FnMut(&AnyRow) -> Result<()>,
    ) -> Tried<()> {
        let (database, inner) = (&self.database, &mut self.inner);
        let failed = |error| database.fault(doing, &error);
        let work = async {
            let connection = inner.get().map_err(failed)?;
            let mut rows = sqlx::query_with(AssertSqlSafe(sql.into()), arguments).fetch(connection);
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                take(&row)?;
            }
            Ok(())
        };
        database.env.ask(doing, work).await.map_err(|lost| failed(sqlx::Error::Io(lost)))?
    }

    /// Whether the database still answers: it may have closed a connection that was idle.
    pub async fn is_there(&mut self) -> bool {
        if self.dialect == Dialect::Sqlite {
            return true;
        }
        match self.inner.get() {
            Ok(connection) => connection.ping().await.is_ok(),
            Err(_) => false,
        }
    }

    /// A statement without parameters.
    pub async fn run(&mut self, doing: &str, sql: impl Into<Arc<str>>) -> Tried<u64> {
        self.execute(doing, sql, AnyArguments::default()).await
    }

    /// Begins a transaction that will write.
    pub async fn begin(&mut self) -> Tried<()> {
        self.run("begin a transaction", self.dialect.begin()).await.map(|_| ())
    }

    /// Does something else in the midst of a transaction, without the database taking this process for a dead one.
    pub async fn awake<T>(&mut self, work: impl Future<Output = T>) -> Tried<T> {
        let env = self.database.env.clone();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = env.sleep(STAY_AWAKE) => self.run("stay awake", "SELECT 1").await?,
            };
        }
    }

    /// Commits it. After a fault it is unknown whether it was done.
    pub async fn commit(&mut self) -> Tried<()> {
        self.run("commit", "COMMIT").await.map(|_| ())
    }

    /// Gives it up.
    pub async fn roll_back(&mut self) -> Tried<()> {
        self.run("roll back", "ROLLBACK").await.map(|_| ())
    }

    /// An error about a value that the database gave.
    pub fn unreadable(&self, what: &str, error: &sqlx::Error) -> Fault {
        Fault::Lasting(EngineError::corrupt(format!("{} at '{}': {what}: {error}", self.dialect, self.shown())))
    }

    /// For people.
    pub fn shown(&self) -> String {
        self.database.shown()
    }
}

/// A driver's connection. A simulation closes it at once when it is dropped.
#[derive(Debug)]
struct Driver {
    /// Always there until it is dropped.
    connection: Option<AnyConnection>,
    is_simulated: bool,
}

impl Driver {
    fn new(connection: AnyConnection, env: &Env) -> Self {
        Driver { connection: Some(connection), is_simulated: env.is_simulated() }
    }

    /// Never an error.
    fn get(&mut self) -> sqlx::Result<&mut AnyConnection> {
        self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The thread of SQLite's driver gives the lock up some time later; a simulation must know when.
        if self.is_simulated
            && let Some(connection) = self.connection.take()
        {
            let _ = futures::executor::block_on(connection.close());
        }
    }
}

/// An answer, or that there is none.
fn answered<T>(answer: std::io::Result<sqlx::Result<T>>) -> sqlx::Result<T> {
    answer.map_err(sqlx::Error::Io)?
}
