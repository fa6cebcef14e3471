//! A connection to the store, whose errors are those of the recalculation.

use sqlx::any::AnyRow;
use std::time::Duration;
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, Result},
};
use weir_store::{Connection, Fault, Parameters, Value, role::LOCK_TIMEOUT};

/// In a simulation nothing waits in real time: the caller retries after this long.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A connection. Dropped in a transaction, it ends it.
#[derive(Debug)]
pub(super) struct Session {
    pub connection: Connection,
    pub env: Env,
}

impl Session {
    /// # Errors
    /// When the store refuses.
    pub async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let doing = doing(sql);
        let lock = Lock::new(&self.env);
        loop {
            match self.connection.execute(&doing, sql, Parameters::of(values).into()).await {
                Err(Fault::Locked(_)) if lock.is_waited_for().await => {}
                done => return done.map_err(refused),
            }
        }
    }

    /// # Errors
    /// When the store refuses.
    pub async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<AnyRow>> {
        let doing = doing(sql);
        let lock = Lock::new(&self.env);
        loop {
            match self.connection.query(&doing, sql, Parameters::of(values).into()).await {
                Err(Fault::Locked(_)) if lock.is_waited_for().await => {}
                rows => return rows.map_err(refused),
            }
        }
    }

    /// # Errors
    /// When the store refuses, and those of `take`.
    pub async fn each(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        take: impl FnMut(&AnyRow) -> Result<()>,
    ) -> Result<()> {
        self.connection.each(&doing(sql), sql, Parameters::of(values).into(), take).await.map_err(refused)
    }
}

/// A lock that somebody else may hold. A real database waits for it by itself; here the simulation's clock does.
struct Lock<'a> {
    env: &'a Env,
    until: Moment,
}

impl<'a> Lock<'a> {
    fn new(env: &'a Env) -> Self {
        Lock { env, until: env.now() + LOCK_TIMEOUT }
    }

    /// In a simulation: waits a little.
    async fn is_waited_for(&self) -> bool {
        if !self.env.is_simulated() || self.env.now() >= self.until {
            return false;
        }
        self.env.sleep(LOCK_PAUSE).await;
        true
    }
}

/// What a statement does, for messages and simulations.
fn doing(sql: &str) -> String {
    format!("do `{}`", sql.split(" (").next().unwrap_or(sql))
}

/// What the store says. Whatever it is, nothing is wrong with the definition.
pub(super) fn refused(fault: Fault) -> EngineError {
    EngineError::io(fault.into_error().message).context("the store")
}
