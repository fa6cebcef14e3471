//! The keys of a `[sink.NAME]` with the connector `sql`.

use crate::sql_sink::{SqlSink, TableIndex, TableRetention};
use weir_operators::definition::Reader;

pub(super) fn read_sql_sink(node: &Reader<'_>) -> SqlSink {
    SqlSink {
        url: node.required_text("url", "\"sqlite:out/store.sqlite\"").into(),
        table: node.required_text("table", "\"ad_counts\""),
        key: node.texts("key"),
        keep_newest: node.choice("keep", &[("newest", true)]).unwrap_or(false),
        indexes: node.tables("indexes").into_iter().map(read_index).collect(),
        retention: node.table("retention").map(read_retention),
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
