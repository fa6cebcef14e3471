//! What the sinks of joins have written.

use crate::results::held::{column, rows};
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Int64Type, TimestampMillisecondType},
};
use std::path::Path;

/// The name of orders, the window that they are of, how many matches there are, and of how many clicks.
pub(super) type Counted = (String, i64, [i64; 2]);

pub(super) fn counted(batch: &RecordBatch, row: usize) -> anyhow::Result<Counted> {
    let start = column(batch, "window_start")?.as_primitive::<TimestampMillisecondType>().value(row);
    let number = |name: &str| anyhow::Ok(column(batch, name)?.as_primitive::<Int64Type>().value(row));
    let order = column(batch, "order")?.as_string::<i32>().value(row).to_owned();
    Ok((order, start, [number("n")?, number("clicks")?]))
}

/// The names of rows, sorted.
pub(super) fn names(folder: &Path, side: &str) -> anyhow::Result<Vec<String>> {
    let name = side.trim_end_matches('s');
    let mut names = Vec::new();
    for batch in rows(folder)? {
        let column = column(&batch, name)?.as_string::<i32>();
        names.extend((0..batch.num_rows()).map(|row| column.value(row).to_owned()));
    }
    names.sort();
    Ok(names)
}
