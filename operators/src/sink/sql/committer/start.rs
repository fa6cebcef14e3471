//! What is done before an attempt's first commit: tables are made, or found to be those that were written to, and compared with the
//! checkpoint that is resumed from; or they are started over.

use super::{AT_A_START, SqlCommitter};
use crate::sink::sql::{marker::Marker, tables};
use std::collections::HashSet;
use weir_engine::{
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId, Lineage},
    operator::ShownResults,
};
use weir_store::{Connection, Tried};

impl SqlCommitter {
    /// Makes the tables, and takes the sink's row or finds it.
    async fn try_prepare(&self, connection: &mut Connection) -> Tried<()> {
        self.open_tables(connection).await?;
        let owner = self.owner().await?;
        match self.markers.read(connection).await? {
            Some(marker) => {
                marker.check_owner(owner, &self.database.shown())?;
                if marker.table != self.config.table {
                    return Err(EngineError::definition(format!(
                        "it has written to the table '{}' so far; start with --fresh to let it write to '{}'",
                        marker.table, self.config.table
                    ))
                    .into());
                }
                self.refuse_gone_table(connection, &marker).await?;
                self.markers.describe(connection).await?;
            }
            None => {
                self.refuse_foreign_table(connection).await?;
                self.markers.write(connection, owner, Attempt(0)).await?;
            }
        }
        tables::make(connection, &self.config).await?;
        connection.commit().await
    }

    /// Begins a transaction in which no other process creates tables, and creates those of all sinks.
    async fn open_tables(&self, connection: &mut Connection) -> Tried<()> {
        connection.begin().await?;
        if let Some(lock) = self.database.dialect.lock_tables() {
            connection.query("lock the tables", lock, Default::default()).await?;
        }
        tables::keep_books(connection).await
    }

    /// A table that this sink has not created must have no owner, and be empty.
    async fn refuse_foreign_table(&self, connection: &mut Connection) -> Tried<()> {
        let (table, shown) = (&self.config.table, self.database.shown());
        if let Some(other) = self.markers.of_table(connection).await? {
            return Err(EngineError::definition(format!(
                "the table '{table}' in '{shown}' is written by '{}' of job '{}': each sink needs a table of its own",
                other.sink, other.job
            ))
            .into());
        }
        if tables::holds_rows(connection, table).await? {
            return Err(EngineError::definition(format!(
                "the table '{table}' in '{shown}' has rows in it that Weir did not write: choose another 'table', or empty it"
            ))
            .into());
        }
        Ok(())
    }

    /// A table that held something is not made anew: it would be without that, and nothing would say so. Those beside it may be new.
    async fn refuse_gone_table(&self, connection: &mut Connection, marker: &Marker) -> Tried<()> {
        if marker.checkpoint.0 == 0 || tables::is_there(connection, &self.config.table).await? {
            return Ok(());
        }
        Err(marker.is_without_table(&self.database.shown()).into())
    }

    pub(super) async fn prepare_once(&self) -> Tried<()> {
        let mut held = self.connection.lock().await;
        // What is in it is compared with the checkpoint now. One that is gone is not made anew.
        if self.file.is_another() {
            self.let_go(&mut held);
        }
        let mut connection = self.connect(&mut held).await?;
        self.try_prepare(&mut connection).await?;
        self.tell_rejected(&mut connection).await?;
        *held = Some(connection);
        Ok(())
    }

    /// The file that was opened is not waited for any more: the next one to be opened is the database.
    fn let_go(&self, held: &mut Option<Connection>) {
        *held = None;
        self.file.forget();
    }

    pub(super) async fn compare_once(&self, newest: CheckpointId, is_committed: bool) -> Tried<()> {
        let mut held = self.connection.lock().await;
        let mut connection = self.connect(&mut held).await?;
        if let Some(marker) = self.markers.read(&mut connection).await? {
            marker.compare(newest, is_committed, &self.database.shown())?;
        }
        *held = Some(connection);
        Ok(())
    }

    pub(super) async fn shown_once(&self) -> Tried<ShownResults> {
        let mut held = self.connection.lock().await;
        let mut connection = self.connect(&mut held).await?;
        let marker = self.markers.read(&mut connection).await?;
        *held = Some(connection);
        let unrepeatable = format!(
            "a table keeps one row of each key, the one of the highest revision: what the table '{}' in '{}' holds of later checkpoints would \
             be taken for newer than what is counted again",
            self.config.table,
            self.database.shown()
        );
        Ok(ShownResults { newest: marker.map(|marker| marker.checkpoint), unrepeatable: Some(unrepeatable) })
    }

    async fn reset_once(&self, lineage: Lineage) -> Tried<u64> {
        let mut held = self.connection.lock().await;
        // Whatever is there now, or nothing: it is started over.
        if self.file.check().is_err() {
            self.let_go(&mut held);
        }
        let mut connection = self.connect(&mut held).await?;
        let removed = self.try_reset(&mut connection, lineage).await?;
        *held = Some(connection);
        Ok(removed)
    }

    /// Starts the tables over, and shuts out processes that don't know. What this lineage has started already stays as it is.
    async fn try_reset(&self, connection: &mut Connection, lineage: Lineage) -> Tried<u64> {
        self.open_tables(connection).await?;
        let owner = self.owner().await?;
        let mut removed = 0;
        let own = self.markers.read(connection).await?;
        let begun =
            |marker: &Marker| marker.owner == owner && marker.fence.0 == lineage.0 && marker.table == self.config.table;
        if own.as_ref().is_some_and(begun) {
            connection.roll_back().await?;
            return Ok(0);
        }
        // A sink that bore another name in an earlier definition of the job.
        let former = self.markers.of_table(connection).await?.filter(|marker| marker.job == self.context.job);
        for marker in own.into_iter().chain(former) {
            if marker.owner == owner && marker.fence.0 > lineage.0 {
                return Err(EngineError::fenced(format!(
                    "attempt {} has written to '{}' since: attempt {lineage} is too late to start it over",
                    marker.fence, marker.table
                ))
                .into());
            }
            removed += tables::remove(connection, &marker.table).await?;
            self.markers.forget(connection, &marker).await?;
        }
        self.refuse_foreign_table(connection).await?;
        self.markers.write(connection, owner, Attempt(lineage.0)).await?;
        tables::make(connection, &self.config).await?;
        self.context.env.crash_point("sql_sink.resetting")?;
        connection.commit().await?;
        Ok(removed)
    }

    pub(super) async fn reset_all(&self, lineage: Lineage) -> Result<u64> {
        let removed = AT_A_START.retry(&self.context, || self.reset_once(lineage)).await?;
        Ok(removed + self.context.staging.sweep(Attempt(lineage.0), &HashSet::new()).await?)
    }
}
