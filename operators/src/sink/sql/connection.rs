//! A connection to a database. Every answer is waited for so long and no longer, and every error becomes a [`Fault`].
//!
//! Invariant: a connection that had an error, or whose work was cut short, is not used again: the database ends its
//! transaction.

use super::{
    dialect::Dialect,
    fault::{Fault, Tried, fault},
};
use sqlx::{
    AnyConnection, AssertSqlSafe, ConnectOptions, Connection as _,
    any::{AnyArguments, AnyConnectOptions, AnyRow},
};
use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
    hidden::{Hidden, without_password},
};

/// How long one statement may take. Each touches a thousand rows or so.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A transaction in which nothing is said for longer than some seconds is ended (see `Dialect::greeting`): so often something
/// is said while something else is waited for.
const STAY_AWAKE: Duration = Duration::from_secs(1);

/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A database, and how to reach it.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub dialect: Dialect,
    url: Hidden<String>,
    env: Env,
}

/// In a simulation nothing waits in real time: whoever finds a lock comes again.
const NO_WAITING: &str = "PRAGMA busy_timeout = 0";

/// A connection. Statements are waited for one by one.
#[derive(Debug)]
pub(super) struct Connection {
    inner: Driver,
    pub dialect: Dialect,
    url: Hidden<String>,
    env: Env,
}

impl Database {
    /// # Errors
    /// When the URL is of no database that is known.
    pub fn new(url: &str, env: &Env) -> Result<Self> {
        Ok(Database { dialect: Dialect::of(url)?, url: url.into(), env: env.clone() })
    }

    /// For people.
    pub fn shown(&self) -> String {
        without_password(&self.url)
    }

    pub async fn connect(&self) -> Tried<Connection> {
        sqlx::any::install_default_drivers();
        let url = match self.dialect {
            Dialect::Sqlite => self.file()?,
            Dialect::Postgres => String::clone(&self.url),
        };
        let wrong = |error| fault(self.dialect, &self.url, "read the URL", &error);
        // The driver's own log would hold thousands of parameters.
        let options = AnyConnectOptions::from_str(&url).map_err(wrong)?.disable_statement_logging();
        let connecting = self.env.ask("connect", async { AnyConnection::connect_with(&options).await });
        let connected = tokio::select! {
            biased;
            connected = connecting => answered(connected).map_err(|error| fault(self.dialect, &self.url, "connect", &error)),
            () = self.env.sleep(CONNECT_TIMEOUT) => Err(Fault::Passing(format!(
                "{} at '{}' does not answer: no connection within {CONNECT_TIMEOUT:?}", self.dialect, self.shown()
            ))),
        };
        let (dialect, url, env) = (self.dialect, self.url.clone(), self.env.clone());
        let inner = Driver { connection: Some(connected?), is_simulated: env.is_simulated() };
        let mut connection = Connection { inner, dialect, url, env };
        let no_waiting = (dialect == Dialect::Sqlite && connection.env.is_simulated()).then(|| NO_WAITING.to_owned());
        for greeting in dialect.greeting().into_iter().chain(no_waiting) {
            connection.query("set the connection up", greeting, AnyArguments::default()).await?;
        }
        Ok(connection)
    }

    /// Where SQLite keeps what is committed and not yet in the file.
    pub fn write_ahead_log(&self) -> Option<PathBuf> {
        (self.dialect == Dialect::Sqlite).then(|| PathBuf::from(format!("{}-wal", self.path())))
    }

    /// The path in the URL of a file.
    fn path(&self) -> &str {
        let rest = self.url.trim_start_matches("sqlite:");
        rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default()
    }

    /// The URL of a file that is made if it is not there, its folder included.
    fn file(&self) -> Result<String> {
        let path = self.path();
        if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
            weir_engine::disk::make_folder(folder).map_err(|error| {
                EngineError::definition(format!("cannot make the folder '{}' of '{path}': {error}", folder.display()))
            })?;
        }
        Ok(match self.url.split_once('?') {
            Some((_, options)) if options.split('&').any(|option| option.starts_with("mode=")) => {
                String::clone(&self.url)
            }
            Some(_) => format!("{}&mode=rwc", *self.url),
            None => format!("{}?mode=rwc", *self.url),
        })
    }
}

impl Connection {
    /// Executes a statement. Returns how many rows it changed.
    pub async fn execute(&mut self, doing: &str, sql: impl Into<Arc<str>>, arguments: AnyArguments) -> Tried<u64> {
        let query = sqlx::query_with(AssertSqlSafe(sql.into()), arguments);
        let (dialect, url, inner) = (self.dialect, &self.url, &mut self.inner);
        let executing = self.env.ask(doing, async { query.execute(inner.get()?).await });
        tokio::select! {
            biased;
            done = executing => match answered(done) {
                Ok(result) => Ok(result.rows_affected()),
                Err(error) => Err(fault(dialect, url, doing, &error)),
            },
            () = self.env.sleep(STATEMENT_TIMEOUT) => Err(late(dialect, url, doing)),
        }
    }

    /// The rows of a query.
    pub async fn query(
        &mut self,
        doing: &str,
        sql: impl Into<Arc<str>>,
        arguments: AnyArguments,
    ) -> Tried<Vec<AnyRow>> {
        let query = sqlx::query_with(AssertSqlSafe(sql.into()), arguments);
        let (dialect, url, inner) = (self.dialect, &self.url, &mut self.inner);
        let fetching = self.env.ask(doing, async { query.fetch_all(inner.get()?).await });
        tokio::select! {
            biased;
            rows = fetching => answered(rows).map_err(|error| fault(dialect, url, doing, &error)),
            () = self.env.sleep(STATEMENT_TIMEOUT) => Err(late(dialect, url, doing)),
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
        let env = self.env.clone();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = env.sleep(STAY_AWAKE) => self.run("stay awake", "SELECT 1").await?,
            };
        }
    }

    /// Commits it. After a fault nobody knows whether it was done.
    pub async fn commit(&mut self) -> Tried<()> {
        self.run("commit", "COMMIT").await.map(|_| ())
    }

    /// Gives it up.
    pub async fn roll_back(&mut self) -> Tried<()> {
        self.run("roll back", "ROLLBACK").await.map(|_| ())
    }

    /// An error about a value that the database gave.
    pub fn unreadable(&self, what: &str, error: &sqlx::Error) -> Fault {
        Fault::Lasting(EngineError::corrupt(format!(
            "{} at '{}': {what}: {error}",
            self.dialect,
            without_password(&self.url)
        )))
    }

    /// For people.
    pub fn shown(&self) -> String {
        without_password(&self.url)
    }
}

/// A driver's connection.
#[derive(Debug)]
struct Driver {
    /// Always there until it is dropped.
    connection: Option<AnyConnection>,
    is_simulated: bool,
}

impl Driver {
    fn get(&mut self) -> std::result::Result<&mut AnyConnection, sqlx::Error> {
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
fn answered<T>(answer: std::io::Result<std::result::Result<T, sqlx::Error>>) -> std::result::Result<T, sqlx::Error> {
    answer.map_err(sqlx::Error::Io)?
}

fn late(dialect: Dialect, url: &str, doing: &str) -> Fault {
    Fault::Passing(format!("{dialect} at '{}' did not {doing} within {STATEMENT_TIMEOUT:?}", without_password(url)))
}

/// Parameters of a statement, from values of few types.
#[derive(Default)]
pub(super) struct Parameters(AnyArguments);

impl Parameters {
    pub fn number(mut self, value: i64) -> Self {
        self.push(value);
        self
    }

    pub fn text(mut self, value: &str) -> Self {
        self.push(value.to_string());
        self
    }

    /// # Panics
    /// Never: encoding a value for the driver of any database only moves it.
    pub fn push<T>(&mut self, value: T)
    where
        T: sqlx::Encode<'static, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        use sqlx::Arguments;
        self.0.add(value).expect("a value is moved, which cannot fail");
    }

    pub fn reserve(&mut self, count: usize) {
        use sqlx::Arguments;
        self.0.reserve(count, 0);
    }
}

impl From<Parameters> for AnyArguments {
    fn from(parameters: Parameters) -> Self {
        parameters.0
    }
}
