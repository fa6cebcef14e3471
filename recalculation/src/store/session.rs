//! A connection to the store. Where time is simulated, what is asked of the database goes through the process's door.

use super::Value;
use futures::TryStreamExt;
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, ConnectOptions, Connection,
    any::{AnyArguments, AnyConnectOptions, AnyRow},
    query::Query,
};
use std::{str::FromStr, time::Duration};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
    hidden::Hidden,
};
use weir_operators::sink::sql::{Driver, end_who_is_stopped};

/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a lock is waited for. Whoever else writes holds the file for as long as a transaction takes, never for minutes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// In a simulation nothing waits in real time: whoever finds a lock comes again so much later.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    Sqlite,
    Postgres,
}

impl Flavour {
    fn of(url: &str) -> Result<Self> {
        if url.starts_with("sqlite:") {
            return Ok(Flavour::Sqlite);
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Flavour::Postgres);
        }
        // The address itself is not repeated: it may hold a password.
        let scheme = url.split(':').next().unwrap_or_default();
        Err(EngineError::definition(format!(
            "the store's address begins with '{scheme}:'; a store is sqlite:PATH or postgres://USER@HOST/DATABASE"
        )))
    }

    /// What a new connection is told first.
    fn greeting(self, env: &Env) -> Vec<String> {
        match self {
            Flavour::Sqlite => {
                let patience = if env.is_simulated() { 0 } else { LOCK_TIMEOUT.as_millis() };
                vec![format!("PRAGMA busy_timeout = {patience}"), "PRAGMA synchronous = FULL".into()]
            }
            // A replay that was stopped while it keeps the sinks from committing does so for some seconds, not for good.
            Flavour::Postgres => vec![end_who_is_stopped()],
        }
    }
}

/// A database, and how to reach it.
#[derive(Debug)]
pub(super) struct Database {
    pub flavour: Flavour,
    url: Hidden<String>,
    env: Env,
}

impl Database {
    /// # Errors
    /// When the address is of no database that is known.
    pub fn new(url: &str, env: &Env) -> Result<Self> {
        Ok(Database { flavour: Flavour::of(url)?, url: url.to_owned().into(), env: env.clone() })
    }

    /// # Errors
    /// When nothing answers.
    pub async fn connect(&self) -> Result<Session> {
        sqlx::any::install_default_drivers();
        let doing = "cannot open the store";
        let wrong = |error: &sqlx::Error| failed(doing, error);
        // The driver's own log would hold the values.
        let options = AnyConnectOptions::from_str(&self.url).map_err(|error| wrong(&error))?;
        let options = options.disable_statement_logging();
        let connecting = self.env.ask("connect", async { AnyConnection::connect_with(&options).await });
        let connected = tokio::select! {
            biased;
            connected = connecting => connected.map_err(|lost| wrong(&sqlx::Error::Io(lost)))?,
            () = self.env.sleep(CONNECT_TIMEOUT) => {
                return Err(EngineError::io(format!("{doing}: no connection within {CONNECT_TIMEOUT:?}")));
            }
        };
        let driver = Driver::new(connected.map_err(|error| wrong(&error))?, &self.env);
        let mut session = Session { driver, flavour: self.flavour, env: self.env.clone() };
        for setting in self.flavour.greeting(&self.env) {
            session.rows(&setting, &[]).await?;
        }
        Ok(session)
    }
}

/// A connection. Dropped in a transaction, it ends it.
#[derive(Debug)]
pub(super) struct Session {
    driver: Driver,
    flavour: Flavour,
    env: Env,
}

impl Session {
    /// Whether the database still answers: it may have closed a connection that was idle.
    pub async fn is_there(&mut self) -> bool {
        if self.flavour == Flavour::Sqlite {
            return true;
        }
        match self.driver.get() {
            Ok(connection) => connection.ping().await.is_ok(),
            Err(_) => false,
        }
    }

    /// # Errors
    /// When the store refuses.
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        let mut lock = Lock::new(&self.env);
        loop {
            let driver = &mut self.driver;
            let work = async { bound(sql, values).execute(driver.get()?).await };
            match answered(self.env.ask(told(sql), work).await) {
                Err(error) if lock.comes_again(&error).await => {}
                done => return Ok(done.map_err(|error| failed(sql, &error))?.rows_affected()),
            }
        }
    }

    /// # Errors
    /// When the store refuses.
    pub async fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<AnyRow>> {
        let mut lock = Lock::new(&self.env);
        loop {
            let driver = &mut self.driver;
            let work = async { bound(sql, values).fetch_all(driver.get()?).await };
            match answered(self.env.ask(told(sql), work).await) {
                Err(error) if lock.comes_again(&error).await => {}
                rows => return rows.map_err(|error| failed(sql, &error)),
            }
        }
    }

    /// # Errors
    /// When the store refuses, and those of `take`.
    pub async fn each(
        &mut self,
        sql: &str,
        values: &[Value],
        mut take: impl FnMut(&AnyRow) -> Result<()>,
    ) -> Result<()> {
        let driver = &mut self.driver;
        let work = async {
            let connection = driver.get().map_err(|error| failed(sql, &error))?;
            let mut rows = bound(sql, values).fetch(connection);
            while let Some(row) = rows.try_next().await.map_err(|error| failed(sql, &error))? {
                take(&row)?;
            }
            Ok(())
        };
        self.env.ask(told(sql), work).await.map_err(|lost| failed(sql, &sqlx::Error::Io(lost)))?
    }
}

/// A lock that somebody else may hold. A real database waits for it by itself.
struct Lock<'a> {
    env: &'a Env,
    until: weir_engine::env::Moment,
}

impl<'a> Lock<'a> {
    fn new(env: &'a Env) -> Self {
        Lock { env, until: env.now() + LOCK_TIMEOUT }
    }

    /// In a simulation: waits a little, if that is what is wrong.
    async fn comes_again(&mut self, error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        // SQLITE_BUSY, whatever its extension.
        let is_locked = code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5);
        if !is_locked || !self.env.is_simulated() || self.env.now() >= self.until {
            return false;
        }
        self.env.sleep(LOCK_PAUSE).await;
        true
    }
}

/// What a simulation calls a statement.
fn told(sql: &str) -> &str {
    sql.split(" (").next().unwrap_or(sql)
}

fn answered<T>(answer: std::io::Result<std::result::Result<T, sqlx::Error>>) -> std::result::Result<T, sqlx::Error> {
    answer.map_err(sqlx::Error::Io)?
}

fn bound<'q>(sql: &str, values: &[Value]) -> Query<'q, Any, AnyArguments> {
    // The text is ours but for names, which are quoted; what else is from outside goes in as values.
    values.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
        Value::Integer(value) => query.bind(*value),
        Value::Text(value) => query.bind(value.clone()),
    })
}

/// What the store says, with what was asked of it.
pub(super) fn failed(what: &str, error: &sqlx::Error) -> EngineError {
    EngineError::io(format!("the store: {error} ({what})"))
}
