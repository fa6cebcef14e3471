//! The store that the job of a cluster fills, and the query service over it.

use super::rest::{self, Port};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use weir_test_support::{place::Place, postgres_server::PostgresServer};

/// Where a job's counts go.
#[derive(Debug)]
pub struct Store {
    database: Option<Database>,
}

#[derive(Debug)]
struct Database {
    server: PostgresServer,
    url: String,
    runs: bool,
}

impl Store {
    /// In a file of the cluster's folder.
    pub fn sqlite() -> Self {
        Store { database: None }
    }

    /// In a PostgreSQL server of its own. `None`: PostgreSQL is not installed here.
    ///
    /// # Errors
    /// When it is, and does not start.
    pub fn postgres() -> Result<Option<Self>> {
        Self::postgres_at(Place::loopback())
    }

    /// The same, in another place.
    ///
    /// # Errors
    /// When it does not start.
    pub fn postgres_at(place: Place) -> Result<Option<Self>> {
        let Some(server) = PostgresServer::start_at(place)? else { return Ok(None) };
        let url = server.new_database()?;
        Ok(Some(Store { database: Some(Database { server, url, runs: true }) }))
    }

    /// Whether it is a process, which can be killed.
    pub fn is_process(&self) -> bool {
        self.database.is_some()
    }

    /// Whether it answers.
    pub(super) fn runs(&self) -> bool {
        self.database.as_ref().is_none_or(|database| database.runs)
    }

    /// Kills it, if it is a process.
    pub(super) fn kill(&mut self) -> Result<()> {
        let database = self.process()?;
        database.runs = false;
        database.server.kill().context("cannot kill PostgreSQL")
    }

    /// Freezes it, if it is a process.
    pub(super) fn freeze(&mut self) -> Result<()> {
        self.process()?.server.stop().context("cannot freeze PostgreSQL")
    }

    /// Has it go on.
    pub(super) fn thaw(&mut self) -> Result<()> {
        self.process()?.server.go_on().context("cannot thaw PostgreSQL")
    }

    /// Starts it again, and waits until it answers.
    pub(super) fn start_again(&mut self) -> Result<()> {
        let database = self.process()?;
        database.server.restart().context("PostgreSQL does not come back")?;
        database.runs = true;
        Ok(())
    }

    fn process(&mut self) -> Result<&mut Database> {
        self.database.as_mut().context("the store is no process")
    }
}

/// A store that is served.
#[derive(Debug)]
pub struct Serving {
    pub(super) store: Store,
    /// Of the store.
    pub url: String,
    /// Of the query service.
    pub address: String,
}

impl Serving {
    pub(super) fn new(store: Store, folder: &Path, address: String) -> Self {
        let url = match &store.database {
            Some(database) => database.url.clone(),
            None => format!("sqlite:{}", folder.join("store.sqlite").display()),
        };
        Serving { store, url, address }
    }

    /// Whether the store is a process, which can be killed.
    pub fn has_database(&self) -> bool {
        self.store.is_process()
    }
}

/// Asks a query service. `None`: it, or its store, cannot be asked now.
///
/// # Errors
/// When it answers with anything that is neither an answer nor the word that it has none yet.
pub fn ask(address: &str, path: &str) -> Result<Option<Value>> {
    // One that is down, or dies while it speaks, gives no answer.
    let Ok(answer) = rest::get(&Port::plain(address), path) else { return Ok(None) };
    if answer.status == 503 {
        return Ok(None);
    }
    ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
    match serde_json::from_str(&answer.body) {
        Ok(value) => Ok(Some(value)),
        // Killed in the middle of a word.
        Err(error) if error.is_eof() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{path} is no JSON: {}", answer.body)),
    }
}
