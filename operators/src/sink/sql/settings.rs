//! The settings of a SQL sink, as a definition's `[sink.NAME]` has them. What its node keeps of them, with what follows from the
//! columns, is [`SqlSinkConfig`](super::SqlSinkConfig).

use super::{Retention, SqlIndex};
use crate::{
    columns::RECORD_ID,
    definition::{Reader, duration::millis},
};
use weir_engine::hidden::Hidden;

/// A SQL sink as defined.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlSinkSettings {
    /// Where the database is.
    pub url: Hidden<String>,
    /// The table's name.
    pub table: String,
    /// The columns of the primary key; none: `record_id`.
    pub key: Option<Vec<String>>,
    /// Of results with the same key, whether that of the newest window stays.
    pub keep_newest: bool,
    /// Indexes besides the primary key's.
    pub indexes: Vec<SqlIndex>,
    /// When old rows are added up, and when they go; none: never.
    pub retention: Option<Retention>,
}

impl SqlSinkSettings {
    /// A table in the database at a URL, `sqlite:path/of/file` or `postgres://user@host/database`. It takes running counts unless
    /// it is told not to.
    pub fn table(url: impl Into<String>, table: impl Into<String>) -> Self {
        let (url, table) = (Hidden::from(url.into()), table.into());
        SqlSinkSettings { url, table, key: None, keep_newest: false, indexes: Vec::new(), retention: None }
    }

    /// The columns of the table's primary key; of two rows with the same key the one with the higher revision stays.
    #[must_use]
    pub fn key<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.key = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// The table keeps, of each key, the result of the newest window: for a key without the window.
    #[must_use]
    pub fn keep_newest(mut self) -> Self {
        self.keep_newest = true;
        self
    }

    /// Adds an index to the table.
    #[must_use]
    pub fn index(mut self, index: SqlIndex) -> Self {
        self.indexes.push(index);
        self
    }

    /// When old rows of the table are added up, and when they go.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Reads the keys of a `[sink.NAME]`.
    pub(super) fn read(keys: &Reader<'_>) -> Self {
        SqlSinkSettings {
            url: keys.required_text("url", "\"sqlite:out/store.sqlite\"").into(),
            table: keys.required_text("table", "\"ad_counts\""),
            key: keys.texts("key"),
            keep_newest: keys.choice("keep", &[("newest", true)]).unwrap_or(false),
            indexes: keys.tables("indexes").into_iter().map(read_index).collect(),
            retention: keys.table("retention").map(read_retention),
        }
    }

    /// The columns of the primary key.
    pub(super) fn primary_key(&self) -> Vec<String> {
        self.key.clone().unwrap_or_else(|| vec![RECORD_ID.into()])
    }
}

fn read_index(index: Reader<'_>) -> SqlIndex {
    index.require("columns", "[\"ad_id\"]");
    let read = SqlIndex { columns: index.texts("columns").unwrap_or_default(), condition: index.text("where") };
    index.finish();
    read
}

fn read_retention(retention: Reader<'_>) -> Retention {
    let duration = |key: &str, example: &str| {
        retention.require(key, example);
        retention.positive_duration(key).map(millis).unwrap_or_default()
    };
    let (minutes_ms, hours_ms, days_ms) =
        (duration("minutes", "\"2d\""), duration("hours", "\"90d\""), duration("days", "\"1095d\""));
    let time = retention.required_text("time", "\"click_minute\"");
    retention.require("sum", "[\"count\"]");
    let sum = retention.texts("sum").unwrap_or_default();
    retention.finish();
    Retention { time, sum, minutes_ms, hours_ms, days_ms }
}
