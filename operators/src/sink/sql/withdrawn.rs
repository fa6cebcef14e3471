//! What was withdrawn. The table has no row of it, so that readers of the table see only what applies; a table beside it has its
//! key and its revision, so that an older row cannot come back.
//!
//! Invariant: a row whose key was withdrawn with its own revision, or with a higher one, is never in the table, in whatever
//! order rows and withdrawals come. While nothing is withdrawn, a commit asks once whether that is so, and no more.

use super::{
    config::{SqlColumn, SqlSinkConfig},
    upsert::push_value,
};
use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::{filter_record_batch, not},
    datatypes::Int64Type,
};
use sqlx::Row;
use std::{collections::BTreeMap, sync::Arc};
use weir_store::{Connection, Dialect, Parameters, SqlType, Tried, quoted, quoted_list, tables::withdrawn_from};

/// The type of the column of staged rows that says which are withdrawn.
pub(super) const STAGED: SqlType = SqlType::BigInt;

/// Keys of the largest statement: each is a condition of its own.
const MOST_KEYS: usize = 64;

/// The table beside, as a table of a sink: the key and the revision. None where nothing is ever withdrawn.
pub(super) fn beside(config: &SqlSinkConfig) -> Option<SqlSinkConfig> {
    config.withdrawn.as_ref()?;
    let is_kept =
        |column: &&SqlColumn| config.key.contains(&column.name) || config.revision.as_ref() == Some(&column.name);
    Some(SqlSinkConfig {
        table: withdrawn_from(&config.table),
        columns: config.columns.iter().filter(is_kept).cloned().collect(),
        withdrawn: None,
        indexes: Vec::new(),
        retention: None,
        ..config.clone()
    })
}

/// Keeps a table free of what was withdrawn.
#[derive(Debug)]
pub(super) struct Withdrawals {
    dialect: Dialect,
    /// The columns of the key and, last, the revision: each with its place in the rows.
    columns: Vec<(usize, SqlColumn)>,
    is_empty: Arc<str>,
    /// By number of keys.
    statements: BTreeMap<usize, Statements>,
}

/// Statements about so many keys, each with its revision.
#[derive(Debug)]
struct Statements {
    /// Removes rows that are older.
    remove: Arc<str>,
    /// Notes that they are withdrawn.
    note: Arc<str>,
    /// Finds the places, among the keys, of those that are withdrawn.
    find: Arc<str>,
    /// Forgets withdrawals that are older.
    forget: Arc<str>,
}

impl Withdrawals {
    /// None where nothing is ever withdrawn.
    pub fn new(dialect: Dialect, config: &SqlSinkConfig) -> Option<Self> {
        let beside = beside(config)?;
        let names = config.key.iter().chain(&config.revision);
        let columns: Vec<(usize, SqlColumn)> =
            names.filter_map(|name| config.column(name)).map(|at| (at, config.columns[at].clone())).collect();
        let texts = Texts { dialect, columns: &columns, table: &config.table, beside: &beside.table };
        let sizes = std::iter::successors(Some(MOST_KEYS), |keys| Some(keys / 2).filter(|keys| *keys > 0));
        let statements = sizes.map(|keys| (keys, texts.statements(keys))).collect();
        let is_empty = format!("SELECT 1 FROM {} LIMIT 1", quoted(&beside.table)).into();
        Some(Withdrawals { dialect, columns, is_empty, statements })
    }

    /// Takes what is withdrawn out of the table and notes it, and returns the rows that may be written. `rows` have one row a
    /// key, and say in their last column, behind those of the table, which are withdrawn. Also says how many rows went.
    pub async fn apply(&self, connection: &mut Connection, rows: &RecordBatch) -> Tried<(RecordBatch, u64)> {
        let says = rows.num_columns() - 1;
        let withdrawn = BooleanArray::from_unary(rows.column(says).as_primitive::<Int64Type>(), |said| said != 0);
        let mut removed = 0;
        if withdrawn.true_count() > 0 {
            let gone = filter_record_batch(rows, &withdrawn).map_err(weir_engine::EngineError::from)?;
            for (from, keys, statements) in self.pieces(&gone) {
                let values = || self.parameters(&gone, from, keys);
                let doing = "remove what is withdrawn";
                removed += connection.execute(doing, Arc::clone(&statements.remove), values().into()).await?;
                connection.execute(doing, Arc::clone(&statements.note), values().into()).await?;
            }
        }
        let holding = not(&withdrawn).and_then(|holding| filter_record_batch(rows, &holding));
        let holding = holding.map_err(weir_engine::EngineError::from)?;
        let none_noted = withdrawn.true_count() == 0
            && connection
                .query("look for what is withdrawn", Arc::clone(&self.is_empty), Default::default())
                .await?
                .is_empty();
        if none_noted || holding.num_rows() == 0 {
            return Ok((holding, removed));
        }
        let mut may_be_written = vec![true; holding.num_rows()];
        for (from, keys, statements) in self.pieces(&holding) {
            let values = || self.parameters(&holding, from, keys);
            let doing = "look for what is withdrawn";
            for row in connection.query(doing, Arc::clone(&statements.find), values().into()).await? {
                let place: i64 = row.try_get(0).map_err(|error| connection.unreadable(doing, &error))?;
                if let Some(may) = usize::try_from(place).ok().and_then(|place| may_be_written.get_mut(from + place)) {
                    *may = false;
                }
            }
            connection.execute("forget what holds again", Arc::clone(&statements.forget), values().into()).await?;
        }
        let written = filter_record_batch(&holding, &may_be_written.into()).map_err(weir_engine::EngineError::from)?;
        Ok((written, removed))
    }

    /// The rows in pieces: from which, how many, and the statements for so many.
    fn pieces(&self, rows: &RecordBatch) -> impl Iterator<Item = (usize, usize, &Statements)> {
        let (all, mut from) = (rows.num_rows(), 0);
        std::iter::from_fn(move || {
            let left = all.checked_sub(from).filter(|left| *left > 0)?;
            let keys = MOST_KEYS.min(1 << left.ilog2());
            let piece = (from, keys, self.statements.get(&keys)?);
            from += keys;
            Some(piece)
        })
    }

    fn parameters(&self, rows: &RecordBatch, from: usize, keys: usize) -> Parameters {
        let mut values = Parameters::default();
        values.reserve(keys * self.columns.len());
        for row in from..from + keys {
            for (at, column) in &self.columns {
                push_value(&mut values, self.dialect, column.sql_type, rows.column(*at), row);
            }
        }
        values
    }
}

/// Makes statements.
struct Texts<'a> {
    dialect: Dialect,
    columns: &'a [(usize, SqlColumn)],
    table: &'a str,
    beside: &'a str,
}

impl Texts<'_> {
    fn statements(&self, keys: usize) -> Statements {
        let (table, beside) = (quoted(self.table), quoted(self.beside));
        let conditions = |compare: &str| (0..keys).map(|n| self.condition(n, compare)).collect::<Vec<_>>();
        let place =
            |(n, condition): (usize, String)| format!("SELECT CAST({n} AS BIGINT) FROM {beside} WHERE {condition}");
        let find: Vec<String> = conditions(">=").into_iter().enumerate().map(place).collect();
        Statements {
            remove: format!("DELETE FROM {table} WHERE {}", conditions("<").join(" OR ")).into(),
            note: self.note(&beside, keys).into(),
            find: find.join(" UNION ALL ").into(),
            forget: format!("DELETE FROM {beside} WHERE {}", conditions("<").join(" OR ")).into(),
        }
    }

    /// The `n`-th key, of rows whose revision compares so with its own.
    fn condition(&self, n: usize, compare: &str) -> String {
        let width = self.columns.len();
        let one = |(at, (_, column)): (usize, &(usize, SqlColumn))| {
            let compare = if at + 1 == width { compare } else { "=" };
            let value = self.dialect.value(n * width + at + 1, column.sql_type);
            format!("{} {compare} {value}", quoted(&column.name))
        };
        let all: Vec<String> = self.columns.iter().enumerate().map(one).collect();
        format!("({})", all.join(" AND "))
    }

    fn note(&self, beside: &str, keys: usize) -> String {
        let width = self.columns.len();
        let row = |n: usize| {
            let value = |(at, (_, column)): (usize, &(usize, SqlColumn))| {
                self.dialect.value(n * width + at + 1, column.sql_type)
            };
            format!("({})", self.columns.iter().enumerate().map(value).collect::<Vec<_>>().join(", "))
        };
        let names: Vec<String> = self.columns.iter().map(|(_, column)| column.name.clone()).collect();
        let (key, revision) = names.split_at(width - 1);
        let revision = quoted_list(revision);
        format!(
            "INSERT INTO {beside} ({}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {revision} = excluded.{revision} \
             WHERE excluded.{revision} > {beside}.{revision}",
            quoted_list(&names),
            (0..keys).map(row).collect::<Vec<_>>().join(", "),
            quoted_list(key)
        )
    }
}
