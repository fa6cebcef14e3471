//! The archive counted without the engine's operators: plain code, one set for duplicates, one map for counts. Of the
//! operators' room only the SQL expressions are used, which say what a filter means.
//!
//! Invariant: duplicates have the event time of their original, so that both lie in the folder of one hour, and nothing has
//! to be remembered from one hour to the next. Where a definition says otherwise, which of two events is counted depends on
//! the order in which they came; then there is no recount.

mod rows;
pub(crate) use rows::NO_VALUE;
#[cfg(test)]
mod tests;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, TimestampMillisecondType},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rows::{Compiled, logical};
use std::collections::{HashMap, HashSet};
use weir_engine::error::{EngineError, Result};
use weir_jobs::recalculation::{CountedTable, RecountStep};
use weir_operators::source::files::{ArchivePart, EventTimeRange};
use weir_store::HOUR_MS;

/// Stands between the values of a key.
pub(crate) const SEPARATOR: char = '\u{1f}';

/// Counts what a table should hold.
#[derive(Debug)]
pub struct Recounter {
    counted: CountedTable,
    compiled: Option<Compiled>,
}

/// Counts of some hours, by start of their bucket, filter and key.
#[derive(Debug, Default)]
pub struct Counts {
    counts: HashMap<(i64, u32, u32), i64>,
    keys: Keys,
    /// Rows that were read, of the range and of others.
    pub rows: u64,
    /// Rows that were dropped as duplicates.
    pub duplicates: u64,
    /// Rows that lie in the folder of another hour, and are left out.
    pub misplaced: u64,
}

/// Keys by number.
#[derive(Debug, Default)]
struct Keys {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Keys {
    fn number(&mut self, key: &str) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(key.into());
        self.numbers.insert(key.into(), number);
        number
    }
}

/// What of event time is counted, and how it is put together.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// Events outside of it are left out.
    pub range: EventTimeRange,
    /// Length of a bucket, in milliseconds.
    pub length_ms: i64,
}

impl Recounter {
    /// For a table's counts.
    ///
    /// # Errors
    /// When the counts cannot be found without the order in which the events came.
    pub fn new(counted: CountedTable) -> Result<Self> {
        for step in &counted.steps {
            if let RecountStep::Unique { key, same_event_time: false, .. } = step {
                return Err(EngineError::definition(format!(
                    "which of several events with the same {} is counted depends on the order in which they came, so that they \
                     cannot be recounted: put the event time into the dedup's key, or say same_event_time = true",
                    key.join(", ")
                )));
            }
        }
        Ok(Recounter { counted, compiled: None })
    }

    /// Counts the parts of an archive that are in a range. `parts` are in the order of their hours.
    ///
    /// # Errors
    /// When a part cannot be read, or has not the columns that are needed.
    pub async fn count(&mut self, parts: &[ArchivePart], buckets: Buckets) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut seen: Vec<HashSet<u128>> = Vec::new();
        let mut hour = None;
        for part in parts.iter().filter(|part| buckets.range.within_hour(part.hour_ms).is_some()) {
            if hour != Some(part.hour_ms) {
                (hour, seen) = (Some(part.hour_ms), vec![HashSet::new(); self.counted.steps.len()]);
            }
            let bytes = part.fetch().await?;
            self.count_part(part, bytes, buckets, &mut seen, &mut counts).map_err(|error| error.context(&part.name))?;
        }
        Ok(counts)
    }

    fn count_part(
        &mut self,
        part: &ArchivePart,
        bytes: bytes::Bytes,
        buckets: Buckets,
        seen: &mut [HashSet<u128>],
        counts: &mut Counts,
    ) -> Result<()> {
        let damaged =
            |error: &dyn std::fmt::Display| EngineError::io(format!("it is not a complete Parquet file: {error}"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
        for batch in reader.map_err(|error| damaged(&error))? {
            let batch = logical(&batch.map_err(|error| damaged(&error))?)?;
            counts.rows += batch.num_rows() as u64;
            let compiled = match &mut self.compiled {
                Some(compiled) if compiled.fits(&batch) => compiled,
                other => other.insert(Compiled::new(&self.counted, &batch)?),
            };
            let before = seen.iter().map(HashSet::len).sum::<usize>();
            let (batch, asked) = compiled.run(batch, seen)?;
            let kept = seen.iter().map(HashSet::len).sum::<usize>() - before;
            counts.duplicates += asked.saturating_sub(kept) as u64;
            let masks = compiled.filters(&batch)?;
            let Some((batch, masks)) = masks else { continue };
            add(&self.counted, &batch, &masks, part.hour_ms, buckets, counts)?;
        }
        Ok(())
    }
}

/// Adds the rows of a batch under every filter that they match.
fn add(
    counted: &CountedTable,
    batch: &RecordBatch,
    masks: &[BooleanArray],
    hour_ms: i64,
    buckets: Buckets,
    counts: &mut Counts,
) -> Result<()> {
    let times = column(batch, &counted.time)?;
    let Some(times) = times.as_primitive_opt::<TimestampMillisecondType>() else {
        return Err(EngineError::definition(format!("'{}' is not a column of timestamps", counted.time)));
    };
    let texts = counted.keys.iter().map(|(name, _)| as_text(column(batch, name)?)).collect::<Result<Vec<_>>>()?;
    let texts: Vec<&StringArray> = texts.iter().map(|text| text.as_string::<i32>()).collect();
    let hour = EventTimeRange { from_ms: hour_ms, to_ms: hour_ms + HOUR_MS };
    let mut key = String::new();
    for row in 0..batch.num_rows() {
        let time = times.value(row);
        if times.is_null(row) || !hour.contains(time) {
            counts.misplaced += 1;
            continue;
        }
        if !buckets.range.contains(time) {
            continue;
        }
        key.clear();
        for (position, text) in texts.iter().enumerate() {
            if position > 0 {
                key.push(SEPARATOR);
            }
            key.push_str(if text.is_null(row) { NO_VALUE } else { text.value(row) });
        }
        let number = counts.keys.number(&key);
        let bucket = time - time.rem_euclid(buckets.length_ms);
        for (filter, mask) in masks.iter().enumerate() {
            if mask.value(row) {
                *counts.counts.entry((bucket, filter as u32, number)).or_default() += 1;
            }
        }
    }
    Ok(())
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let names: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        EngineError::definition(format!("there is no column '{name}'; there are: {}", names.join(", ")))
    })
}

/// As the store holds it, as text: times as milliseconds.
fn as_text(column: &ArrayRef) -> Result<ArrayRef> {
    let column = match column.data_type() {
        DataType::Timestamp(..) => &cast(column, &DataType::Int64)?,
        _ => column,
    };
    Ok(cast(column, &DataType::Utf8)?)
}

impl Counts {
    /// Takes a count out; none: there is none.
    pub fn take(&mut self, bucket_ms: i64, filter: u32, key: &str) -> Option<i64> {
        let number = self.keys.numbers.get(key)?;
        self.counts.remove(&(bucket_ms, filter, *number))
    }

    /// What has not been taken out, in order: start of the bucket, filter, key and count.
    pub fn rest(self) -> Vec<(i64, u32, Box<str>, i64)> {
        let text = |number: u32| self.keys.texts.get(number as usize).cloned().unwrap_or_default();
        let rest = self.counts.iter().map(|((bucket, filter, key), count)| (*bucket, *filter, text(*key), *count));
        let mut rest: Vec<_> = rest.collect();
        rest.sort_unstable();
        rest
    }
}
