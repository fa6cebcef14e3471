//! Settings of a SQL sink, as the compiled node of a definition's `[sink.NAME]` has them.

use super::dialect::Dialect;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use weir_engine::{
    error::{EngineError, Result},
    hidden::Hidden,
};

/// Settings of a SQL sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlSinkConfig {
    /// `sqlite:path/of/file` or `postgres://user:password@host/database`.
    pub url: Hidden<String>,
    /// The table's name: letters, digits and `_`.
    pub table: String,
    /// The columns, in the table's order. The sink's rows have all of them.
    pub columns: Vec<SqlColumn>,
    /// The columns of the primary key, in its order.
    pub key: Vec<String>,
    /// The integer column by which of two rows with the same key the higher one wins; none: the first one stays.
    #[serde(default)]
    pub revision: Option<String>,
    /// The column of rows, not of the table, that says that a row withdraws its key's; none: no row ever does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// The time by which of two rows with the same key the later one wins, before their revisions are asked; none: those alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_by: Option<String>,
    /// Indexes besides the primary key's.
    #[serde(default)]
    pub indexes: Vec<SqlIndex>,
    /// When older rows are added up and removed; none: never.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// What readers of the table should know; written beside it as it is.
    #[serde(default)]
    pub description: serde_json::Value,
}

/// A column of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub sql_type: SqlType,
}

/// What a column of the table holds: few types, the same in all databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlType {
    /// Integers; timestamps and dates, as milliseconds since the epoch; truth, as 0 and 1.
    BigInt,
    /// Floating point numbers.
    Double,
    /// Texts.
    Text,
    /// Bytes, such as the sixteen of a record id.
    Bytes,
    /// Decimals, and integers beyond 64 bits with a sign, exact: a number of any length where the database has one, else a text.
    Numeric,
}

impl SqlType {
    /// What a column of a stream becomes in a table; none: such columns cannot be stored.
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Boolean | DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Some(SqlType::BigInt),
            // Half of its values are beyond the integers of databases.
            DataType::UInt64 => Some(SqlType::Numeric),
            integer if integer.is_integer() => Some(SqlType::BigInt),
            floating if floating.is_floating() => Some(SqlType::Double),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(SqlType::Text),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Some(SqlType::Bytes)
            }
            DataType::Decimal128(..) => Some(SqlType::Numeric),
            DataType::Dictionary(_, values) => SqlType::of(values),
            _ => None,
        }
    }

    /// How such columns lie in staged files.
    pub(super) fn staged(self) -> DataType {
        match self {
            SqlType::BigInt => DataType::Int64,
            SqlType::Double => DataType::Float64,
            // With all its digits.
            SqlType::Text | SqlType::Numeric => DataType::Utf8,
            SqlType::Bytes => DataType::Binary,
        }
    }
}

/// An index of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlIndex {
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// Only rows that this SQL condition holds for are in it.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// When rows are added up and removed, measured against the newest time of rows that are final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The key's first column: milliseconds since the epoch.
    pub time: String,
    /// The columns that are added up. All others are part of the key, or the revision.
    pub sum: Vec<String>,
    /// Hours that are older than this, in milliseconds, go to `<table>_hours`.
    pub minutes_ms: i64,
    /// Days that are older than this go on to `<table>_days`.
    pub hours_ms: i64,
    /// Days that are older than this are removed.
    pub days_ms: i64,
}

impl SqlSinkConfig {
    /// From a node's settings.
    ///
    /// # Errors
    /// Naming the setting that is missing, unknown or wrong.
    pub fn from_json(config: &serde_json::Value) -> Result<Self> {
        let wrong = |error: String| EngineError::definition(format!("SQL sink: {error}"));
        let config = SqlSinkConfig::deserialize(config).map_err(|error| wrong(error.to_string()))?;
        Dialect::of(&config.url)?;
        for name in std::iter::once(&config.table).chain(config.columns.iter().map(|column| &column.name)) {
            check_name(name)?;
        }
        let type_of = |name: &str| config.column(name).map(|column| config.columns[column].sql_type);
        let versions = config.revision.iter().chain(&config.newest_by);
        let used = config.key.iter().chain(versions).chain(config.indexes.iter().flat_map(|one| &one.columns));
        let retained = config.retention.iter().flat_map(|retention| retention.sum.iter().chain([&retention.time]));
        if let Some(missing) = used.chain(retained).find(|name| type_of(name).is_none()) {
            return Err(wrong(format!("there is no column '{missing}' in '{}'", config.table)));
        }
        if config.key.is_empty() {
            return Err(wrong(format!("'{}' needs a key", config.table)));
        }
        if config.revision.as_deref().and_then(type_of).is_some_and(|revision| revision != SqlType::BigInt) {
            return Err(wrong("the revision must be an integer".into()));
        }
        if config.revision.is_none() && (config.withdrawn.is_some() || config.newest_by.is_some()) {
            return Err(wrong("rows that are withdrawn or give way to newer ones need a revision".into()));
        }
        if config.retention.as_ref().is_some_and(|retention| retention.time != config.key[0]) {
            return Err(wrong("the time of 'retention' must be the first column of the key".into()));
        }
        Ok(config)
    }

    /// The columns by which of two rows with the same key the higher one wins, the first that differs deciding.
    pub(super) fn versions(&self) -> Vec<&str> {
        self.newest_by.iter().chain(&self.revision).map(String::as_str).collect()
    }

    /// The position of a column.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The positions of columns that are known to be there.
    pub(super) fn positions(&self, names: &[String]) -> Vec<usize> {
        names.iter().filter_map(|name| self.column(name)).collect()
    }
}

/// The longest name that a table or a column may have: PostgreSQL cuts names at 63 bytes, and some get endings.
pub const MAX_NAME: usize = 48;

/// Whether a table or a column may be called so, in whatever database.
///
/// # Errors
/// Saying what would be right.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && name.chars().all(plain) && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(EngineError::definition(format!(
        "'{name}' cannot be the name of a table or a column; letters, digits and '_' can, no digit first, {MAX_NAME} at most"
    )))
}
