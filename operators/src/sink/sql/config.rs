//! Settings of a SQL sink, as the compiled node of a definition's `[sink.NAME]` has them.

use serde::{Deserialize, Serialize};
use weir_engine::{
    error::{EngineError, Result},
    hidden::Hidden,
};
use weir_store::{Description, Dialect, Retention, SqlType, tables::check_name};

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
    /// What readers of the table should know; written beside it.
    #[serde(default)]
    pub description: Description,
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
            return Err(wrong("rows that are withdrawn or replaced by newer ones need a revision".into()));
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
