//! What the sinks of joins have written.

use crate::results::visible_files;
use anyhow::{Context, ensure};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Int32Type, Int64Type, TimestampMillisecondType},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{collections::BTreeMap, fs::File, path::Path};

/// An order with its time, and the click that it is matched to, with its time.
pub(crate) type Result = (String, i64, Option<(String, i64)>);

/// The name of orders, the window that they are of, how many matches there are, and of how many clicks.
pub(super) type Counted = (String, i64, [i64; 2]);

pub(super) fn counted(batch: &RecordBatch, row: usize) -> anyhow::Result<Counted> {
    let start = column(batch, "window_start")?.as_primitive::<TimestampMillisecondType>().value(row);
    let number = |name: &str| anyhow::Ok(column(batch, name)?.as_primitive::<Int64Type>().value(row));
    let order = column(batch, "order")?.as_string::<i32>().value(row).to_owned();
    Ok((order, start, [number("n")?, number("clicks")?]))
}

/// The results that hold, sorted.
///
/// # Errors
/// When a revision of a record is there twice, or there are gaps between them.
pub(crate) fn holding(folder: &Path) -> anyhow::Result<Vec<Result>> {
    newest(folder, result)
}

/// The newest revisions of all records, as `read` reads them, those left out that are withdrawn; sorted.
///
/// # Errors
/// When a revision of a record is there twice, or there are gaps between them.
pub(super) fn newest<R: Ord>(
    folder: &Path,
    read: impl Fn(&RecordBatch, usize) -> anyhow::Result<R>,
) -> anyhow::Result<Vec<R>> {
    let mut records: BTreeMap<Vec<u8>, BTreeMap<i32, Option<R>>> = BTreeMap::new();
    for batch in rows(folder)? {
        let ids = column(&batch, "record_id")?.as_fixed_size_binary();
        let revisions = column(&batch, "revision")?.as_primitive::<Int32Type>();
        let withdrawn = column(&batch, "withdrawn")?.as_boolean();
        for row in 0..batch.num_rows() {
            let result = (!withdrawn.value(row)).then(|| read(&batch, row)).transpose()?;
            let before = records.entry(ids.value(row).to_vec()).or_default().insert(revisions.value(row), result);
            ensure!(before.is_none(), "revision {} of a record is there twice", revisions.value(row));
        }
    }
    let mut held = Vec::new();
    for revisions in records.into_values() {
        let numbers: Vec<i32> = revisions.keys().copied().collect();
        ensure!(numbers.iter().copied().eq(0..numbers.len() as i32), "a record has the revisions {numbers:?}");
        held.extend(revisions.into_values().next_back().flatten());
    }
    held.sort();
    Ok(held)
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

fn result(batch: &RecordBatch, row: usize) -> anyhow::Result<Result> {
    let text = |name: &str| -> anyhow::Result<Option<String>> {
        let texts = column(batch, name)?.as_string::<i32>();
        Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
    };
    let time = |name: &str| -> anyhow::Result<Option<i64>> {
        let times = column(batch, name)?.as_primitive::<TimestampMillisecondType>();
        Ok(times.is_valid(row).then(|| times.value(row)))
    };
    let order = text("order")?.context("a result without an order")?;
    Ok((order, time("ordered")?.context("a result without a time")?, text("click")?.zip(time("clicked")?)))
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> anyhow::Result<&'a arrow::array::ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("no column {name} among {}", batch.schema()))
}

fn rows(folder: &Path) -> anyhow::Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    if !folder.exists() {
        return Ok(batches);
    }
    for path in visible_files(folder)? {
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()? {
            batches.push(batch?);
        }
    }
    Ok(batches)
}
