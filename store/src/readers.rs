//! Connections that only read, as many as are needed at once.
//!
//! Invariant: what is read between the beginning and the end of a [`Reading`] is one state of the store.

use crate::{
    address::{UrlMistake, for_driver},
    dialect::Dialect,
    parameters::{Parameters, Value},
    role::Role,
};
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions, Transaction,
    any::{AnyArguments, AnyConnectOptions, AnyPoolOptions, AnyRow},
};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};
use weir_engine::secrets;

/// A replaced file is noticed by then; a server that moved, too.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// A store, opened for reading. Cheap to clone.
#[derive(Clone)]
pub struct Readers {
    pool: AnyPool,
    dialect: Dialect,
}

impl fmt::Debug for Readers {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl Readers {
    /// At most so many connections to a database. Nothing is connected to before the first need. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the URL is of no database that is known, or refers to a secret that is not there.
    pub fn open(url: &str, most: u32) -> Result<Self, UrlMistake> {
        let url = secrets::resolve(url)?;
        let dialect = Dialect::of(&url)?;
        sqlx::any::install_default_drivers();
        let options = AnyPoolOptions::new()
            .max_connections(most.max(1))
            .acquire_timeout(Role::Query.connect_timeout())
            .max_lifetime(CONNECTION_LIFETIME)
            .after_connect(move |connection, _| Box::pin(greet(connection, dialect)));
        let wrong = |message: String| UrlMistake { message, expected: None };
        let url = for_driver(&url, dialect, Role::Query).map_err(|error| wrong(error.message))?;
        let address = AnyConnectOptions::from_str(&url).map_err(|error| wrong(error.to_string()))?;
        let pool = options.connect_lazy_with(address.disable_statement_logging());
        Ok(Readers { pool, dialect })
    }

    /// The kind of the database.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Begins to read.
    ///
    /// # Errors
    /// When there is no connection in time, or the database refuses.
    pub async fn begin(&self) -> sqlx::Result<Reading> {
        let transaction = self.pool.begin_with(self.dialect.begin_reading()).await?;
        Ok(Reading { transaction, dialect: self.dialect })
    }
}

async fn greet(connection: &mut AnyConnection, dialect: Dialect) -> sqlx::Result<()> {
    for setting in Role::Query.greeting(dialect, false) {
        sqlx::query(AssertSqlSafe(setting.into_owned())).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A transaction that reads; dropped, it ends.
pub struct Reading {
    transaction: Transaction<'static, Any>,
    dialect: Dialect,
}

impl Reading {
    /// The kind of the database.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// All rows of a statement, whose text is ours; what is from outside goes in as values.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn rows(&mut self, sql: impl Into<Arc<str>>, values: &[Value<'_>]) -> sqlx::Result<Vec<AnyRow>> {
        let parameters: AnyArguments = Parameters::of(values).into();
        let query = sqlx::query_with(AssertSqlSafe(sql.into()), parameters);
        query.fetch_all(&mut *self.transaction).await
    }

    /// The only row of a statement that always has one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn row(&mut self, sql: impl Into<Arc<str>>, values: &[Value<'_>]) -> sqlx::Result<AnyRow> {
        let parameters: AnyArguments = Parameters::of(values).into();
        let query = sqlx::query_with(AssertSqlSafe(sql.into()), parameters);
        query.fetch_one(&mut *self.transaction).await
    }
}
