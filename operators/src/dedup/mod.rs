//! Lets the first of equal events pass and drops the others.
//!
//! Events are equal when their key columns are, compared by their 128-bit hash (see [`weir_engine::hash`]). Of two equal
//! events the one that arrives first passes. Ids are kept in buckets of event time ([`buckets`]) that are dropped whole.
//!
//! An id that was first seen with event time *t* is held at least until the watermark passes *t* + ttl, and at most one
//! bucket's width longer. With `same_event_time` (the key contains the event time, or the user vouches for it) an equal
//! event falls into the same bucket, of 64 seconds, and only that is looked into. Without it a bucket is as wide as the ttl,
//! and the two or three that there are at a time are all looked into.
//!
//! A row whose key has a null is never a duplicate: it passes and counts as `without_key`, or is a dead letter, as
//! [`NullKey`] says. Nothing is remembered of it.
//!
//! A row whose bucket is gone goes to the late port and counts as `late`; the gates before let none come.
//!
//! State: a segment per bucket, to which a checkpoint appends the ids that came since the last one, as they lie in memory.
//! Columns: `key_hash` (16 bytes, little-endian), `bucket_start`. The segment's name holds the bucket's width, so that state
//! is understood under a changed ttl, too.

mod buckets;
#[cfg(test)]
mod tests;

use crate::dead_letters::RefusedRows;
use crate::event_time::{event_time_type, event_times};
use crate::expression::RefusedRow;
use crate::ports;
use crate::schema::project;
use crate::table::{RowMask, RowsByBucket};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, TimestampMillisecondArray},
    buffer::{BooleanBuffer, NullBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, TimestampMillisecondType},
    record_batch::RecordBatch,
};
use buckets::{Bucket, Buckets};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::{KeyGroupRange, key_group_of},
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

/// Settings of a dedup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DedupConfig {
    /// The columns that make events equal.
    pub key: Vec<String>,
    /// How long an id is remembered, in event time.
    pub ttl_ms: i64,
    /// The event-time column.
    pub time_column: String,
    /// Equal events have the same event time: because it is in the key, or because the user says so.
    #[serde(default)]
    pub same_event_time: bool,
    /// The columns that are passed on, in order; none: all. Those that only the key needs are then not copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<String>>,
    /// What becomes of a row with a null in its key.
    #[serde(default)]
    pub null_key: NullKey,
}

/// What a dedup does with a row that has a null in its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullKey {
    /// It passes, and is counted as `without_key`.
    #[default]
    Pass,
    /// It is a dead letter.
    DeadLetter,
}

/// The operator. Counts what it drops as `duplicates`, and what passes without a key as `without_key`.
#[derive(Debug)]
pub struct Dedup {
    config: DedupConfig,
    context: OperatorContext,
    hasher: KeyHasher,
    buckets: Buckets,
    parted: RowsByBucket,
    duplicates: Counter,
    without_key: Counter,
    late: Counter,
    refused: RefusedRows,
}

impl Dedup {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: DedupConfig, context: &OperatorContext) -> Result<Self> {
        if config.ttl_ms <= 0 {
            return Err(EngineError::definition(format!(
                "'{}': a ttl of {} ms: it must be positive",
                context.operator, config.ttl_ms
            )));
        }
        if config.key.is_empty() {
            return Err(EngineError::definition(format!(
                "'{}': dedup needs at least one key column",
                context.operator
            )));
        }
        Ok(Dedup {
            hasher: KeyHasher::new(config.key.clone()),
            buckets: Buckets::new(config.ttl_ms, config.same_event_time),
            parted: RowsByBucket::default(),
            duplicates: context.counters.counter("duplicates"),
            without_key: context.counters.counter("without_key"),
            refused: RefusedRows::new(context),
            late: context.counters.counter("late"),
            context: context.clone(),
            config,
        })
    }
}

impl Dedup {
    /// Sends the rows without a key where they belong, and gives back the others.
    fn part_from_keyless(&mut self, mut batch: Batch, out: &mut Collector) -> Result<Batch> {
        let Some(keyless) = self.keyless(&batch.columns)? else { return Ok(batch) };
        let others = batch.filter(&BooleanArray::new(!&keyless, None))?;
        match self.config.null_key {
            NullKey::Pass => {
                self.without_key.add(keyless.count_set_bits() as u64);
                batch.key_hashes = None;
                if let Some(output) = &self.config.output {
                    batch = batch.with_columns(project(&batch.columns, output)?);
                }
                out.emit(Port::MAIN, batch.filter(&BooleanArray::new(keyless, None))?);
            }
            NullKey::DeadLetter => {
                let refused: Vec<RefusedRow> = keyless
                    .set_indices()
                    .map(|row| RefusedRow { row, reason: self.null_reason(&batch.columns, row) })
                    .collect();
                self.refused.emit(&batch.columns, &refused, out)?;
            }
        }
        Ok(others)
    }

    /// True for the rows with a null in their key; none: there is no such row.
    fn keyless(&self, rows: &RecordBatch) -> Result<Option<BooleanBuffer>> {
        let mut with_key: Option<NullBuffer> = None;
        for name in &self.config.key {
            let column = rows.column_by_name(name).ok_or_else(|| self.missing(name))?;
            let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            with_key = NullBuffer::union(with_key.as_ref(), nulls.as_ref());
        }
        Ok(with_key.map(|with_key| !with_key.inner()))
    }

    fn null_reason(&self, rows: &RecordBatch, row: usize) -> String {
        let is_null = |name: &&String| rows.column_by_name(name).is_some_and(|column| is_null_at(column, row));
        let null: Vec<&str> = self.config.key.iter().filter(is_null).map(String::as_str).collect();
        let are = if null.len() == 1 { "is" } else { "are" };
        format!("{} {are} null, so the row has no key to find duplicates by (null_key)", null.join(" and "))
    }

    fn missing(&self, name: &str) -> EngineError {
        EngineError::internal(format!("'{}': there is no key column '{name}'", self.context.operator))
    }
}

/// Whether a value is null, also where a dictionary says so.
fn is_null_at(column: &ArrayRef, row: usize) -> bool {
    column.logical_nulls().is_some_and(|nulls| nulls.is_null(row))
}

impl Operator for Dedup {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let mut batch = self.part_from_keyless(batch, out)?;
        if batch.is_empty() {
            return Ok(());
        }
        let hashes = self.hasher.hashes_of(&batch)?;
        // The next operator has another key; filtering these along would be for nothing.
        batch.key_hashes = None;
        let times = event_times(&batch.columns, &self.config.time_column)?;
        if let Some(output) = &self.config.output {
            batch = batch.with_columns(project(&batch.columns, output)?);
        }
        let (mut kept, mut late) = (RowMask::none(batch.len()), RowMask::none(batch.len()));
        let inserted = if self.config.same_event_time {
            self.parted.part(&times, self.buckets.width());
            self.parted
                .iter()
                .try_for_each(|(start, rows)| self.buckets.insert(start, &hashes, rows, &mut kept, &mut late))
        } else {
            self.buckets.insert_in_order(&times, &hashes, &mut kept, &mut late)
        };
        inserted.map_err(|full| EngineError::internal(format!("'{}': {full}", self.context.operator)))?;
        let late_rows = late.count();
        self.duplicates.add((batch.len() - kept.count() - late_rows) as u64);
        let kept = BooleanArray::new(kept.into_boolean_buffer(), None);
        out.emit(Port::MAIN, batch.filter(&kept)?);
        if late_rows > 0 {
            self.late.add(late_rows as u64);
            out.emit(ports::LATE, batch.filter(&BooleanArray::new(late.into_boolean_buffer(), None))?);
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, _out: &mut Collector) -> Result<()> {
        self.buckets.advance(watermark);
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let width = self.buckets.width();
        let segments = self
            .buckets
            .iter_mut()
            .filter(|(_, bucket)| !bucket.ids.is_empty())
            .map(|(start, bucket)| Segment { id: segment_id(start, width), change: bucket_change(start, bucket) });
        Ok(Snapshot { segments: segments.collect() })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        let width = width_of(segment).ok_or_else(|| {
            EngineError::corrupt(format!("segment '{segment}': not a name that a dedup gives to its state"))
        })?;
        self.buckets.check_width(width).map_err(|error| error.context(&self.context.operator))?;
        let (hashes, starts) = state_columns(rows)
            .ok_or_else(|| EngineError::corrupt(format!("segment '{segment}': not the columns of a dedup's state")))?;
        for row in 0..rows.num_rows() {
            let bytes: [u8; 16] = hashes
                .value(row)
                .try_into()
                .map_err(|_| EngineError::corrupt(format!("segment '{segment}': a key hash that is not 16 bytes")))?;
            let hash = u128::from_le_bytes(bytes);
            if key_groups.contains(key_group_of(hash, self.context.max_parallelism)) {
                self.buckets
                    .restore(starts.value(row), width, hash)
                    .map_err(|full| EngineError::internal(format!("'{}': {full}", self.context.operator)))?;
            }
        }
        Ok(())
    }
}

fn segment_id(start: i64, width_ms: i64) -> String {
    format!("bucket-{start}+{width_ms}")
}

/// The width that a segment's name ends with.
fn width_of(segment: &str) -> Option<i64> {
    let (_, width) = segment.strip_prefix("bucket-")?.rsplit_once('+')?;
    width.parse().ok().filter(|width| *width > 0)
}

/// What a checkpoint writes of a bucket: references to the log, no work per id.
fn bucket_change(start: i64, bucket: &mut Bucket) -> Change {
    let rows = |ids: Vec<ScalarBuffer<u128>>| {
        StateRows::deferred(move || ids.into_iter().map(|ids| state_batch(start, ids)).collect())
    };
    if std::mem::take(&mut bucket.rewrite) {
        bucket.ids.mark_handed_over();
        return Change::Replace(rows(bucket.ids.ids()));
    }
    match bucket.ids.new_ids() {
        0 => Change::Unchanged,
        _ => Change::Append(rows(bucket.ids.take_delta())),
    }
}

static STATE_SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("key_hash", DataType::FixedSizeBinary(16), false),
        Field::new("bucket_start", event_time_type(), false),
    ]))
});

fn state_batch(start: i64, ids: ScalarBuffer<u128>) -> Result<RecordBatch> {
    let starts = TimestampMillisecondArray::from_value(start, ids.len()).with_timezone("UTC");
    let hashes: ArrayRef = Arc::new(FixedSizeBinaryArray::try_new(16, ids.into_inner(), None)?);
    Ok(RecordBatch::try_new(STATE_SCHEMA.clone(), vec![hashes, Arc::new(starts)])?)
}

fn state_columns(rows: &RecordBatch) -> Option<(&FixedSizeBinaryArray, &TimestampMillisecondArray)> {
    let hashes = rows.column_by_name("key_hash")?.as_fixed_size_binary_opt()?;
    let starts = rows.column_by_name("bucket_start")?.as_primitive_opt::<TimestampMillisecondType>()?;
    (hashes.null_count() + starts.null_count() == 0).then_some((hashes, starts))
}
