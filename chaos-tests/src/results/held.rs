//! Results of joins that hold: of each record the newest revision, whatever its columns mean.

use super::visible_files;
use crate::oracle::Pair;
use anyhow::{Context, Result, ensure};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Int32Type, TimestampMillisecondType},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{collections::BTreeMap, fs::File, path::Path};

/// The results that hold, sorted.
///
/// # Errors
/// When a revision of a record is there twice, or there are gaps between them.
pub(crate) fn pairs(folder: &Path) -> Result<Vec<Pair>> {
    newest(folder, pair)
}

/// The newest revisions of all records, as `read` reads them, those left out that are withdrawn; sorted.
///
/// # Errors
/// When a revision of a record is there twice, or there are gaps between them.
pub(crate) fn newest<R: Ord>(folder: &Path, read: impl Fn(&RecordBatch, usize) -> Result<R>) -> Result<Vec<R>> {
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

fn pair(batch: &RecordBatch, row: usize) -> Result<Pair> {
    let text = |name: &str| -> Result<Option<String>> {
        let texts = column(batch, name)?.as_string::<i32>();
        Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
    };
    let time = |name: &str| -> Result<Option<i64>> {
        let times = column(batch, name)?.as_primitive::<TimestampMillisecondType>();
        Ok(times.is_valid(row).then(|| times.value(row)))
    };
    let order = text("order")?.context("a result without an order")?;
    Ok((order, time("ordered")?.context("a result without a time")?, text("click")?.zip(time("clicked")?)))
}

/// A column by its name.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("no column {name} among {}", batch.schema()))
}

/// All rows below a folder.
pub(crate) fn rows(folder: &Path) -> Result<Vec<RecordBatch>> {
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
