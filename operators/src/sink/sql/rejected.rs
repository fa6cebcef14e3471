//! A row that the database refuses although the table's rule has let it through: a user's constraint or trigger, a
//! text that its encoding does not have. The commit is decided and cannot leave it out silently, and must not fail for ever.
//!
//! So the transaction is done again, carefully: what is refused is halved until it is one row, which goes into a table beside, in
//! the same transaction. Invariant: of the rows of a checkpoint, each is in the table or in the one beside, exactly once.

use super::{config::SqlSinkConfig, tables, upsert::push_value};
use crate::dead_letters::row_as_json;
use arrow::array::RecordBatch;
use sqlx::Row;
use weir_engine::{error::EngineError, ids::CheckpointId};
use weir_store::{Connection, Dialect, Fault, Parameters, SqlType, Tried, quoted, tables::rejected_from};

const DOING: &str = "set a refused row aside";

/// Rows of one commit that the database has refused.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    /// How many.
    pub rows: u64,
    /// Of the first, what the database said.
    pub reason: Option<String>,
}

/// Makes the table beside, and has the database say at once what it would only say at the end of the transaction.
pub(super) async fn prepare(connection: &mut Connection, config: &SqlSinkConfig) -> Tried<()> {
    let dialect = connection.dialect;
    let (number, text) = (dialect.type_name(SqlType::BigInt), dialect.type_name(SqlType::Text));
    let table = quoted(&rejected_from(&config.table));
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {table} (checkpoint {number} NOT NULL, rejected_at_ms {number} NOT NULL, \
         reason {text} NOT NULL, raw {text} NOT NULL)"
    );
    connection.run("make the table of refused rows", sql).await?;
    if dialect == Dialect::Postgres {
        connection.run("check constraints at once", "SET CONSTRAINTS ALL IMMEDIATE").await?;
    }
    Ok(())
}

/// How many rows are set aside in all. No table: none.
pub(super) async fn count(connection: &mut Connection, config: &SqlSinkConfig) -> Tried<u64> {
    const DOING: &str = "count the refused rows";
    let table = rejected_from(&config.table);
    if !tables::holds_rows(connection, &table).await? {
        return Ok(0);
    }
    let sql = format!("SELECT count(*) FROM {}", quoted(&table));
    let rows = connection.query(DOING, sql, Parameters::default().into()).await?;
    let counted = rows.first().map(|row| row.try_get::<i64, _>(0)).transpose();
    let counted = counted.map_err(|error| connection.unreadable(DOING, &error))?;
    Ok(counted.unwrap_or(0).unsigned_abs())
}

/// Sets a row aside. An earlier revision of it goes: it is known not to hold any more.
pub(super) async fn set_aside(
    connection: &mut Connection,
    config: &SqlSinkConfig,
    row: &RecordBatch,
    (checkpoint, now_ms): (CheckpointId, i64),
    reason: &str,
) -> Tried<()> {
    let dialect = connection.dialect;
    let table = quoted(&rejected_from(&config.table));
    let places: Vec<String> = (1..=4).map(|n| dialect.parameter(n)).collect();
    let sql = format!("INSERT INTO {table} (checkpoint, rejected_at_ms, reason, raw) VALUES ({})", places.join(", "));
    let values = Parameters::default()
        .number(i64::try_from(checkpoint.0).unwrap_or(i64::MAX))
        .number(now_ms)
        .text(&in_ascii(reason))
        .text(&in_ascii(&row_as_json(row, 0)));
    connection.execute(DOING, sql, values.into()).await.map_err(lasting)?;
    if config.revision.is_none() {
        return Ok(());
    }
    connection.run(DOING, "SAVEPOINT weir_earlier").await?;
    match remove_earlier(connection, config, row).await {
        Ok(()) => connection.run(DOING, "RELEASE SAVEPOINT weir_earlier").await.map(|_| ()),
        // The key itself is what the database does not know: there is no such row.
        Err(Fault::Refused(_)) => connection.run(DOING, "ROLLBACK TO SAVEPOINT weir_earlier").await.map(|_| ()),
        Err(other) => Err(other),
    }
}

async fn remove_earlier(connection: &mut Connection, config: &SqlSinkConfig, row: &RecordBatch) -> Tried<()> {
    let dialect = connection.dialect;
    let mut values = Parameters::default();
    let mut conditions = Vec::with_capacity(config.key.len());
    for (number, name) in config.key.iter().enumerate() {
        let Some(at) = config.column(name) else { continue };
        let sql_type = config.columns[at].sql_type;
        conditions.push(format!("{} = {}", quoted(name), dialect.value(number + 1, sql_type)));
        push_value(&mut values, dialect, sql_type, row.column(at), 0);
    }
    let sql = format!("DELETE FROM {} WHERE {}", quoted(&config.table), conditions.join(" AND "));
    connection.execute(DOING, sql, values.into()).await.map(|_| ())
}

/// A table that takes no refused rows takes nothing.
fn lasting(fault: Fault) -> Fault {
    match fault {
        Fault::Refused(refused) => Fault::Lasting(EngineError::io(refused.message)),
        other => other,
    }
}

/// A text that every encoding has.
fn in_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => ascii.push_str("\\u0000"),
            plain if plain.is_ascii() => ascii.push(plain),
            other => other.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::in_ascii;

    #[test]
    fn what_is_set_aside_is_written_in_ascii() {
        assert_eq!(in_ascii("a \"é\" \u{1f600}\0"), "a \"\\u00e9\" \\ud83d\\ude00\\u0000");
    }
}
