//! One transaction that sees one state of the store, and which of its tables answer.

use super::{StoreError, catalog, tables::Tables};
use sqlx::any::AnyRow;
use weir_store::{
    Dialect, Readers, Reading, Value,
    fault::{Missing, missing, told},
    row::text,
    tables::SINKS,
};

/// One state of the store.
pub(super) struct Snapshot {
    reading: Reading,
    tables: Tables,
}

impl Snapshot {
    /// Begins, and finds the tables that answer; `chosen` is the table of counts that is wanted.
    pub(super) async fn begin(readers: &Readers, chosen: Option<&str>) -> Result<Self, StoreError> {
        let mut snapshot = Snapshot::of_any_table(readers).await?;
        snapshot.tables = Tables::find(catalog::sinks(&mut snapshot).await?, chosen)?;
        let there = snapshot.those_there(&snapshot.tables.possible()).await?;
        snapshot.tables.are_there(there);
        Ok(snapshot)
    }

    /// Begins, for questions that name their table.
    pub(super) async fn of_any_table(readers: &Readers) -> Result<Self, StoreError> {
        let reading = readers.begin().await.map_err(|error| StoreError::of(readers.dialect(), &error))?;
        Ok(Snapshot { reading, tables: Tables::default() })
    }

    /// The tables that answer.
    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.reading.dialect()
    }

    /// All rows of a statement, whose text is ours; what is from outside goes in as values.
    pub(super) async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<AnyRow>, StoreError> {
        match self.reading.rows(sql, values).await {
            Ok(rows) => Ok(rows),
            Err(error) => Err(self.failed(&error).await),
        }
    }

    /// The only row of a statement that always has one.
    pub(super) async fn row(&mut self, sql: &str, values: &[Value<'_>]) -> Result<AnyRow, StoreError> {
        match self.reading.row(sql, values).await {
            Ok(row) => Ok(row),
            Err(error) => Err(self.failed(&error).await),
        }
    }

    /// Those of some tables that are there.
    async fn those_there(&mut self, names: &[String]) -> Result<Vec<String>, StoreError> {
        let values: Vec<Value<'_>> = names.iter().map(Value::from).collect();
        let sql = self.dialect().which_tables(names.len());
        let rows = self.reading.rows(sql, &values).await.map_err(|error| StoreError::of(self.dialect(), &error))?;
        Ok(rows.iter().map(|row| text(row, 0)).collect::<Result<_, _>>()?)
    }

    /// Why a statement failed. SQLite does not say by a code that a table is missing: it is asked for those that every question
    /// is about.
    async fn failed(&mut self, error: &sqlx::Error) -> StoreError {
        if missing(self.dialect(), error) == Some(Missing::PerhapsTable) {
            let mut needed = vec![SINKS.to_owned()];
            needed.extend(Some(&self.tables.counts.table).filter(|table| !table.is_empty()).cloned());
            if self.those_there(&needed).await.is_ok_and(|there| there.len() < needed.len()) {
                return StoreError::NothingYet(told(error));
            }
        }
        StoreError::of(self.dialect(), error)
    }
}
