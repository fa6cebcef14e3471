//! The tables of a sink: created if they don't exist, checked if they do.

use super::{
    config::{SqlColumn, SqlIndex, SqlSinkConfig},
    withdrawn::beside,
};
use sqlx::Row;
use weir_engine::error::EngineError;
use weir_store::{
    Connection, Dialect, Grain, Parameters, SqlType, Tried, quoted, quoted_list,
    tables::{COMMITS, SINKS, of_sink},
};

/// The tables with all columns that a sink has.
fn own(config: &SqlSinkConfig) -> Vec<String> {
    let kept = if config.retention.is_some() { Grain::ALL.len() } else { 1 };
    Grain::ALL.into_iter().take(kept).map(|grain| grain.table(&config.table)).collect()
}

/// Makes the tables and indexes that are missing, and checks those that are there. Within a transaction.
pub(super) async fn make(connection: &mut Connection, config: &SqlSinkConfig) -> Tried<()> {
    make_all(connection, config).await?;
    match beside(config) {
        Some(beside) => make_all(connection, &beside).await,
        None => Ok(()),
    }
}

async fn make_all(connection: &mut Connection, config: &SqlSinkConfig) -> Tried<()> {
    for table in own(config) {
        let found = columns(connection, &table).await?;
        if found.is_empty() {
            connection.run(&format!("make the table '{table}'"), create(connection.dialect, config, &table)).await?;
        } else {
            check(connection, config, &table, &found)?;
        }
        for (k, index) in config.indexes.iter().enumerate() {
            let sql = create_index(&table, k, index);
            connection.run(&format!("make an index of '{table}'"), sql).await?;
        }
    }
    Ok(())
}

/// Removes all tables of a sink. Within a transaction.
pub(super) async fn remove(connection: &mut Connection, table: &str) -> Tried<u64> {
    let mut removed = 0;
    for name in of_sink(table, true) {
        if is_there(connection, &name).await? {
            connection.run(&format!("drop '{name}'"), format!("DROP TABLE {}", quoted(&name))).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a table is there.
pub(super) async fn is_there(connection: &mut Connection, table: &str) -> Tried<bool> {
    Ok(!columns(connection, table).await?.is_empty())
}

/// Whether a table is there and has a row.
pub(super) async fn holds_rows(connection: &mut Connection, table: &str) -> Tried<bool> {
    if !is_there(connection, table).await? {
        return Ok(false);
    }
    let sql = format!("SELECT 1 FROM {} LIMIT 1", quoted(table));
    let rows = connection.query(&format!("look into '{table}'"), sql, Parameters::default().into()).await?;
    Ok(!rows.is_empty())
}

/// A column as the database describes it.
#[derive(Debug)]
struct Found {
    name: String,
    type_name: String,
    /// Place in the primary key, from 1; 0: not part of it.
    key: i64,
}

async fn columns(connection: &mut Connection, table: &str) -> Tried<Vec<Found>> {
    let doing = format!("look at '{table}'");
    let sql = connection.dialect.columns_of_table();
    let rows = connection.query(&doing, sql, Parameters::default().text(table).into()).await?;
    let read = |row: &sqlx::any::AnyRow| -> sqlx::Result<Found> {
        Ok(Found { name: row.try_get(0)?, type_name: row.try_get(1)?, key: row.try_get(2)? })
    };
    rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(|error| connection.unreadable(&doing, &error))
}

fn check(connection: &Connection, config: &SqlSinkConfig, table: &str, found: &[Found]) -> Result<(), EngineError> {
    let dialect = connection.dialect;
    let wanted = config.columns.iter().map(|column| (column.name.as_str(), dialect.type_name(column.sql_type)));
    let mut wanted: Vec<_> = wanted.collect();
    let mut there: Vec<_> = found.iter().map(|column| (column.name.as_str(), column.type_name.as_str())).collect();
    wanted.sort_unstable();
    there.sort_unstable();
    let mut key: Vec<_> = found.iter().filter(|column| column.key > 0).collect();
    key.sort_unstable_by_key(|column| column.key);
    let key: Vec<_> = key.into_iter().map(|column| column.name.as_str()).collect();
    if wanted == there && key == config.key {
        return Ok(());
    }
    let list = |columns: &[(&str, &str)]| {
        columns.iter().map(|(name, of)| format!("{name} {of}")).collect::<Vec<_>>().join(", ")
    };
    Err(EngineError::definition(format!(
        "the table '{table}' in '{}' does not fit the sink: it has the columns ({}) with the key ({}), and the sink writes ({}) with \
         the key ({}). Choose another 'table', or drop this one and start with --fresh",
        connection.shown(),
        list(&there),
        key.join(", "),
        list(&wanted),
        config.key.join(", ")
    )))
}

fn create(dialect: Dialect, config: &SqlSinkConfig, table: &str) -> String {
    let column = |column: &SqlColumn| {
        let needed = config.key.contains(&column.name) || config.revision.as_ref() == Some(&column.name);
        let null = if needed { " NOT NULL" } else { "" };
        format!("{} {}{null}", quoted(&column.name), dialect.type_name(column.sql_type))
    };
    let columns: Vec<_> = config.columns.iter().map(column).collect();
    format!(
        "CREATE TABLE {} ({}, PRIMARY KEY ({})){}",
        quoted(table),
        columns.join(", "),
        quoted_list(&config.key),
        dialect.table_options()
    )
}

fn create_index(table: &str, number: usize, index: &SqlIndex) -> String {
    let condition = index.condition.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    format!(
        "CREATE INDEX IF NOT EXISTS {} ON {} ({}){condition}",
        quoted(&format!("{table}_index_{}", number + 1)),
        quoted(table),
        quoted_list(&index.columns)
    )
}

/// Makes the tables of the sinks themselves. Within a transaction.
pub(super) async fn keep_books(connection: &mut Connection) -> Tried<()> {
    for statement in bookkeeping(connection.dialect) {
        connection.run("make the tables of the sinks", statement).await?;
    }
    // Stores of the first days lack this column.
    if columns(connection, SINKS).await?.iter().all(|column| column.name != "ended") {
        let number = connection.dialect.type_name(SqlType::BigInt);
        let sql = format!("ALTER TABLE {SINKS} ADD COLUMN ended {number} NOT NULL DEFAULT 0");
        connection.run("complete the table of the sinks", sql).await?;
    }
    Ok(())
}

fn bookkeeping(dialect: Dialect) -> [String; 3] {
    let (number, text) = (dialect.type_name(SqlType::BigInt), dialect.type_name(SqlType::Text));
    [
        format!(
            "CREATE TABLE IF NOT EXISTS {SINKS} (job {text} NOT NULL, sink {text} NOT NULL, table_name {text} NOT NULL, \
             description {text} NOT NULL, fence_attempt {number} NOT NULL, checkpoint {number} NOT NULL, \
             staged_at_ms {number} NOT NULL, committed_at_ms {number} NOT NULL, owner {text} NOT NULL, ended {number} NOT NULL, \
             PRIMARY KEY (job, sink))"
        ),
        format!("CREATE UNIQUE INDEX IF NOT EXISTS {SINKS}_table ON {SINKS} (table_name)"),
        format!(
            "CREATE TABLE IF NOT EXISTS {COMMITS} (job {text} NOT NULL, sink {text} NOT NULL, \
             checkpoint {number} NOT NULL, attempt {number} NOT NULL, staged_at_ms {number} NOT NULL, \
             committed_at_ms {number} NOT NULL, rows {number} NOT NULL, PRIMARY KEY (job, sink, checkpoint))"
        ),
    ]
}
