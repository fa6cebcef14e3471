//! Rows into a table: statements of many rows, whose texts repeat, so that the database has each prepared.

use super::config::{SqlColumn, SqlSinkConfig};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{Float64Type, Int64Type},
};
use std::{collections::BTreeMap, sync::Arc};
use weir_store::{Connection, Dialect, Parameters, SqlType, Tried, quoted, quoted_list};

/// Rows of the largest statement. Larger ones are hardly faster, and take longer to prepare.
const MOST_ROWS: usize = 512;

/// Writes rows of one sink. The numbers of rows of its statements are powers of two, so that there are few different ones.
#[derive(Debug)]
pub(super) struct Upsert {
    dialect: Dialect,
    columns: Vec<SqlColumn>,
    most_rows: usize,
    statements: BTreeMap<usize, Arc<str>>,
}

impl Upsert {
    pub fn new(dialect: Dialect, config: &SqlSinkConfig) -> Self {
        let fitting = (dialect.max_parameters() / config.columns.len()).max(1);
        let most_rows = MOST_ROWS.min(1 << fitting.ilog2());
        let sizes = std::iter::successors(Some(most_rows), |rows| Some(rows / 2).filter(|rows| *rows > 0));
        let statements = sizes.map(|rows| (rows, statement(dialect, config, rows).into())).collect();
        Upsert { dialect, columns: config.columns.clone(), most_rows, statements }
    }

    /// Writes rows in the table's columns, one a key. Returns how many of them the table has taken.
    pub async fn write(&self, connection: &mut Connection, rows: &RecordBatch) -> Tried<u64> {
        let (mut from, mut taken) = (0, 0);
        while from < rows.num_rows() {
            let left = rows.num_rows() - from;
            let size = if left >= self.most_rows { self.most_rows } else { 1 << left.ilog2() };
            let Some(sql) = self.statements.get(&size) else { break };
            let values = self.parameters(rows, from, size);
            taken += connection.execute("write rows", Arc::clone(sql), values.into()).await?;
            from += size;
        }
        Ok(taken)
    }

    fn parameters(&self, rows: &RecordBatch, from: usize, size: usize) -> Parameters {
        let mut values = Parameters::default();
        values.reserve(size * self.columns.len());
        for row in from..from + size {
            for (column, array) in self.columns.iter().zip(rows.columns()) {
                push_value(&mut values, self.dialect, column.sql_type, array, row);
            }
        }
        values
    }
}

/// Adds a staged value to those of a statement.
pub(super) fn push_value(values: &mut Parameters, dialect: Dialect, sql_type: SqlType, array: &ArrayRef, row: usize) {
    let there = !array.is_null(row);
    match sql_type {
        SqlType::BigInt => values.push(there.then(|| array.as_primitive::<Int64Type>().value(row))),
        SqlType::Double => {
            let number = there.then(|| array.as_primitive::<Float64Type>().value(row));
            match dialect {
                // See `Dialect::value`.
                Dialect::Postgres => values.push(number.map(|number| number.to_string())),
                Dialect::Sqlite => values.push(number),
            }
        }
        SqlType::Text | SqlType::Numeric => values.push(there.then(|| array.as_string::<i32>().value(row).to_string())),
        SqlType::Bytes => values.push(there.then(|| array.as_binary::<i32>().value(row).to_vec())),
    }
}

fn statement(dialect: Dialect, config: &SqlSinkConfig, rows: usize) -> String {
    let names: Vec<String> = config.columns.iter().map(|column| column.name.clone()).collect();
    let mut sql = format!("INSERT INTO {} ({}) VALUES ", quoted(&config.table), quoted_list(&names));
    let mut parameter = 0;
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for (position, column) in config.columns.iter().enumerate() {
            parameter += 1;
            if position > 0 {
                sql.push_str(", ");
            }
            sql.push_str(&dialect.value(parameter, column.sql_type));
        }
        sql.push(')');
    }
    sql.push_str(&format!(" ON CONFLICT ({}) DO ", quoted_list(&config.key)));
    match config.versions().as_slice() {
        [] => sql.push_str("NOTHING"),
        versions => {
            let values = names.iter().filter(|name| !config.key.contains(name)).map(|name| quoted(name));
            let values: Vec<_> = values.map(|name| format!("{name} = excluded.{name}")).collect();
            let newer = newer(&config.table, versions);
            sql.push_str(&format!("UPDATE SET {} WHERE {newer}", values.join(", ")));
        }
    }
    sql
}

/// The condition that a row is newer than the one that the table has: the first column that differs decides.
fn newer(table: &str, versions: &[&str]) -> String {
    let Some((first, rest)) = versions.split_first() else { return "false".into() };
    let (table_name, column) = (quoted(table), quoted(first));
    let higher = format!("excluded.{column} > {table_name}.{column}");
    if rest.is_empty() {
        return higher;
    }
    format!("({higher} OR (excluded.{column} = {table_name}.{column} AND {}))", newer(table, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(revision: Option<&str>) -> SqlSinkConfig {
        let column = |name: &str, sql_type| SqlColumn { name: name.into(), sql_type };
        SqlSinkConfig {
            url: "sqlite:x".into(),
            table: "t".into(),
            columns: vec![column("k", SqlType::Text), column("x", SqlType::Double), column("r", SqlType::BigInt)],
            key: vec!["k".into()],
            revision: revision.map(Into::into),
            withdrawn: None,
            newest_by: None,
            indexes: vec![],
            retention: None,
            description: Default::default(),
        }
    }

    #[test]
    fn statements_say_what_wins() {
        assert_eq!(
            statement(Dialect::Sqlite, &config(Some("r")), 2),
            "INSERT INTO \"t\" (\"k\", \"x\", \"r\") VALUES (?, ?, ?), (?, ?, ?) ON CONFLICT (\"k\") DO \
             UPDATE SET \"x\" = excluded.\"x\", \"r\" = excluded.\"r\" WHERE excluded.\"r\" > \"t\".\"r\""
        );
        assert_eq!(
            statement(Dialect::Postgres, &config(None), 1),
            "INSERT INTO \"t\" (\"k\", \"x\", \"r\") VALUES ($1, CAST($2::text AS DOUBLE PRECISION), $3) \
             ON CONFLICT (\"k\") DO NOTHING"
        );
        assert_eq!(
            newer("t", &["w", "r"]),
            "(excluded.\"w\" > \"t\".\"w\" OR (excluded.\"w\" = \"t\".\"w\" AND excluded.\"r\" > \"t\".\"r\"))"
        );
    }

    #[test]
    fn statements_stay_below_the_limit_of_parameters() {
        let mut wide = config(Some("r"));
        let column = |n: usize| SqlColumn { name: format!("c{n}"), sql_type: SqlType::BigInt };
        wide.columns.extend((0..1_000).map(column));
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            let upsert = Upsert::new(dialect, &wide);
            assert!(upsert.most_rows * wide.columns.len() <= dialect.max_parameters());
            assert!(upsert.most_rows.is_power_of_two() && upsert.statements.contains_key(&1));
        }
    }
}
