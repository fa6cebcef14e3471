//! Any table of the store, whatever it is about: its columns, and its newest rows.
//!
//! What the columns are the sinks tell ([`Shape`]); of a store that an older version has written it follows from the key.

mod cell;
mod column;
mod question;

pub use cell::Cell;
pub use column::{Holds, TableColumn};
pub use question::RowsQuestion;

use super::{
    StoreError,
    catalog::{self, Sink},
    snapshot::Snapshot,
};
use weir_store::{
    Shape, SqlType, Value,
    columns::{REVISION, WINDOW_END, WINDOW_START},
    row::{integer, text},
    tables::is_shadow,
};

/// A table that a sink fills, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The job whose sink fills it.
    pub job: String,
    /// The columns of its primary key.
    pub key: Vec<String>,
    /// All columns, in the table's order.
    pub columns: Vec<TableColumn>,
    /// What the columns are.
    pub shape: Shape,
    /// Length of the windows, in milliseconds; none: its rows are events.
    pub window_ms: Option<i64>,
    /// Whether windows that are not over are in it, too.
    pub running: bool,
    /// The newest checkpoint that is in; 0: none.
    pub checkpoint: i64,
    /// Everything that the job had read by then is in: milliseconds since the epoch, on the clock of the job.
    pub read_until_ms: i64,
    /// The job has ended with that checkpoint.
    pub ended: bool,
}

/// Rows of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRows {
    /// The table.
    pub table: Table,
    /// The rows, a cell for each of its columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A column.
    pub fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether a key has rows of several times, so that they can be charted; otherwise it has one row.
    pub fn has_history(&self) -> bool {
        self.shape.time.is_some() && !self.key.iter().all(|name| self.shape.series.contains(name))
    }
}

/// All tables, by name. What a replay fills is not read before it has come to its place.
pub(super) async fn tables(snapshot: &mut Snapshot) -> Result<Vec<Table>, StoreError> {
    let mut tables = Vec::new();
    for sink in catalog::sinks(snapshot).await?.into_iter().filter(|sink| !is_shadow(&sink.table)) {
        tables.push(described(snapshot, sink).await?);
    }
    if tables.is_empty() {
        return Err(StoreError::NothingYet("no sink has a table in the store".into()));
    }
    Ok(tables)
}

/// The newest rows of a table.
pub(super) async fn rows(snapshot: &mut Snapshot, question: &RowsQuestion) -> Result<TableRows, StoreError> {
    let sinks: Vec<Sink> = catalog::sinks(snapshot).await?.into_iter().filter(|sink| !is_shadow(&sink.table)).collect();
    let Some(sink) = sinks.iter().find(|sink| sink.table == question.table) else {
        let known = sinks.into_iter().map(|sink| sink.table).collect();
        return Err(StoreError::UnknownTable { asked: question.table.clone(), known });
    };
    let table = described(snapshot, sink.clone()).await?;
    let (sql, values) = question::statement(question, &table, snapshot.dialect())?;
    let read =
        |row| table.columns.iter().enumerate().map(|(place, column)| Cell::read(row, place, column.holds)).collect();
    let found: Vec<_> = snapshot.rows(&sql, &values).await?;
    let rows = found.iter().map(read).collect::<Result<_, _>>()?;
    Ok(TableRows { table, rows })
}

async fn described(snapshot: &mut Snapshot, sink: Sink) -> Result<Table, StoreError> {
    let sql = snapshot.dialect().columns_of_table().replace('?', "$1");
    let found = snapshot.rows(&sql, &[Value::from(&sink.table)]).await?;
    if found.is_empty() {
        return Err(StoreError::NothingYet(format!("the table '{}' is not there yet", sink.table)));
    }
    let mut columns = Vec::with_capacity(found.len());
    for row in &found {
        columns.push((text(row, 0)?, SqlType::of_name(&text(row, 1)?), integer(row, 2)?));
    }
    let description = sink.description;
    let shape = description.shape.unwrap_or_else(|| guessed(&description.key, description.time, &columns));
    let column = |(name, sql_type, _): (String, SqlType, i64)| {
        let holds = match Holds::of(sql_type) {
            Holds::Integer if shape.times.contains(&name) => Holds::Time,
            // SQLite keeps exact numbers of any length as texts.
            Holds::Text if shape.values.contains(&name) => Holds::Decimal,
            holds => holds,
        };
        TableColumn { name, sql_type, holds }
    };
    Ok(Table {
        columns: columns.into_iter().map(column).collect(),
        name: sink.table,
        job: sink.job,
        key: description.key,
        shape,
        window_ms: description.window_ms,
        running: description.running,
        checkpoint: sink.checkpoint,
        read_until_ms: sink.staged_at_ms,
        ended: sink.ended,
    })
}

/// The shape of a table whose sink does not tell it: what is a number and in no key is a value.
fn guessed(key: &[String], time: Option<String>, columns: &[(String, SqlType, i64)]) -> Shape {
    let beside = [REVISION, WINDOW_START, WINDOW_END];
    let is_number = |sql_type: SqlType| matches!(sql_type, SqlType::BigInt | SqlType::Double | SqlType::Numeric);
    let values = columns
        .iter()
        .filter(|(name, sql_type, in_key)| is_number(*sql_type) && *in_key == 0 && !beside.contains(&name.as_str()));
    let is_time = |name: &&String| time.as_ref() == Some(*name) || [WINDOW_START, WINDOW_END].contains(&name.as_str());
    let names = || columns.iter().map(|(name, ..)| name);
    Shape {
        times: names().filter(is_time).cloned().collect(),
        series: key.iter().filter(|name| !is_time(name)).cloned().collect(),
        values: values.map(|(name, ..)| name.clone()).collect(),
        time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_an_older_version_is_understood_by_its_key() {
        let number = |name: &str, in_key| (name.to_owned(), SqlType::BigInt, in_key);
        let columns = [
            number("click_minute", 1),
            ("ad_id".to_owned(), SqlType::Text, 2),
            number("count", 0),
            number("window_end", 0),
            number("revision", 0),
        ];
        let key = ["click_minute".to_owned(), "ad_id".to_owned()];
        let shape = guessed(&key, Some("click_minute".into()), &columns);
        assert_eq!(shape.times, ["click_minute", "window_end"]);
        assert_eq!((shape.series, shape.values), (vec!["ad_id".to_owned()], vec!["count".to_owned()]));
        assert_eq!(shape.time.as_deref(), Some("click_minute"));
    }
}
