//! A table of a SQL database, as a definition has it.

use std::time::Duration;

use weir_engine::hidden::Hidden;

use weir_operators::definition::Reader;

/// A table of a SQL database.
#[derive(Debug, Clone)]
pub(crate) struct SqlSink {
    pub(crate) url: Hidden<String>,
    pub(crate) table: String,
    /// None: `record_id`.
    pub(crate) key: Option<Vec<String>>,
    /// Of results with the same key, whether that of the newest window stays.
    pub(crate) keep_newest: bool,
    pub(crate) indexes: Vec<TableIndex>,
    pub(crate) retention: Option<TableRetention>,
}

/// An index of a table.
#[derive(Debug, Clone)]
pub struct TableIndex {
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// Only rows that this SQL condition of the database holds for are in it.
    pub condition: Option<String>,
}

/// When old rows of a table are added up, and when they go.
#[derive(Debug, Clone)]
pub struct TableRetention {
    /// The first column of the key, a timestamp.
    pub time: String,
    /// The columns that are added up.
    pub sum: Vec<String>,
    /// Hours that are older go to a table of hours.
    pub minutes: Duration,
    /// Days that are older go on to a table of days.
    pub hours: Duration,
    /// Days that are older are removed.
    pub days: Duration,
}

impl SqlSink {
    pub(super) fn read(node: &Reader<'_>) -> Self {
        SqlSink {
            url: node.required_text("url", "\"sqlite:out/store.sqlite\"").into(),
            table: node.required_text("table", "\"ad_counts\""),
            key: node.texts("key"),
            keep_newest: node.choice("keep", &[("newest", true)]).unwrap_or(false),
            indexes: node.tables("indexes").into_iter().map(read_index).collect(),
            retention: node.table("retention").map(read_retention),
        }
    }
}

fn read_index(index: Reader<'_>) -> TableIndex {
    index.require("columns", "[\"ad_id\"]");
    let read = TableIndex { columns: index.texts("columns").unwrap_or_default(), condition: index.text("where") };
    index.finish();
    read
}

fn read_retention(retention: Reader<'_>) -> TableRetention {
    let duration = |key: &str, example: &str| {
        retention.require(key, example);
        retention.positive_duration(key).unwrap_or_default()
    };
    let (minutes, hours, days) =
        (duration("minutes", "\"2d\""), duration("hours", "\"90d\""), duration("days", "\"1095d\""));
    let time = retention.required_text("time", "\"click_minute\"");
    retention.require("sum", "[\"count\"]");
    let sum = retention.texts("sum").unwrap_or_default();
    retention.finish();
    TableRetention { time, sum, minutes, hours, days }
}
