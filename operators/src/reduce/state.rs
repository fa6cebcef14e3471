//! What a checkpoint holds of top lists: rows of keys with counts, in one schema for all segments.
//!
//! The local operator's segments are `slice-<start>` (counts of the aggregate's keys) and `given-<window end>` (keys that were
//! given out, with the counts that were). The global one's are `window-<end>`: its known keys, without a rank, and the ranks
//! that were emitted, with their revisions. Where one bound does not tell windows apart, names have both: `slice-<start>..<end>`. `progress` holds the watermark up to which windows are out.

use super::TopConfig;
use super::ranking::ABSENT;
use super::span::Span;
use crate::columns::{RANK, REVISION, WINDOW_END, WINDOW_START};
use crate::event_time::{event_time_type, event_times};
use crate::table::{KeyColumns, Rows};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int32Array, Int64Array, TimestampMillisecondArray, UInt16Array,
        new_null_array,
    },
    buffer::{Buffer, ScalarBuffer},
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMillisecondType},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    element::WATERMARK_MIN,
    hash::KeyHasher,
    key_group::{KeyGroupRange, key_group_of},
    operator::OperatorContext,
    state::{Change, Segment, StateRows},
};

pub(super) const PROGRESS: &str = "progress";

/// The columns of stored rows, and which of them the rows are distributed by.
#[derive(Debug, Clone)]
pub(super) struct TopState {
    schema: SchemaRef,
    distributed_by: Vec<String>,
    max_parallelism: u16,
}

/// Rows of one segment.
pub(super) struct StoredRows<'a> {
    pub(super) bounds: Span,
    pub(super) keys: &'a KeyColumns,
    pub(super) chosen: Rows<'a>,
    /// Null where a key is not there any more.
    pub(super) counts: Vec<Option<i64>>,
    pub(super) ranks: Vec<Option<i32>>,
    pub(super) revisions: Vec<Option<i32>>,
}

impl TopState {
    pub(super) fn new(
        config: &TopConfig,
        keys: &KeyColumns,
        distributed_by: Vec<String>,
        context: &OperatorContext,
    ) -> Self {
        let mut fields = vec![
            Field::new("key_group", DataType::UInt16, true),
            Field::new("key_hash", DataType::FixedSizeBinary(16), true),
            Field::new(WINDOW_START, event_time_type(), true),
            Field::new(WINDOW_END, event_time_type(), true),
        ];
        fields.extend(config.key.iter().zip(keys.types()).map(|(name, t)| Field::new(name, t.clone(), true)));
        fields.push(Field::new(&config.by, DataType::Int64, true));
        fields.push(Field::new(RANK, DataType::Int32, true));
        fields.push(Field::new(REVISION, DataType::Int32, true));
        fields.push(Field::new("emitted_until", event_time_type(), true));
        let max_parallelism = context.max_parallelism;
        TopState { schema: Arc::new(Schema::new(fields)), distributed_by, max_parallelism }
    }

    pub(super) fn rows(&self, stored: StoredRows<'_>) -> Result<RecordBatch> {
        let rows = stored.chosen.len();
        let times =
            |time| -> ArrayRef { Arc::new(TimestampMillisecondArray::from_value(time, rows).with_timezone("UTC")) };
        let or_nulls = |values: Vec<Option<i32>>| -> ArrayRef {
            if values.is_empty() { new_null_array(&DataType::Int32, rows) } else { Arc::new(Int32Array::from(values)) }
        };
        let mut columns = vec![times(stored.bounds.start), times(stored.bounds.end)];
        columns.extend(stored.keys.arrays(stored.chosen)?);
        columns.push(Arc::new(Int64Array::from(stored.counts)));
        columns.push(or_nulls(stored.ranks));
        columns.push(or_nulls(stored.revisions));
        columns.push(new_null_array(&event_time_type(), rows));
        let fields = self.schema.fields().iter().skip(2).cloned().collect::<Vec<_>>();
        let unkeyed = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let hashes = KeyHasher::new(self.distributed_by.clone()).hash(&unkeyed)?;
        let groups = hashes.iter().map(|hash| key_group_of(*hash, self.max_parallelism));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt16Array::from_iter_values(groups)),
            // As they lie in memory: little-endian on every platform that Weir supports.
            Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(hashes), None)?),
        ];
        columns.extend(unkeyed.columns().iter().cloned());
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// How far windows have been emitted, as a segment; none before the first.
    pub(super) fn progress_segment(&self, emitted_until: i64) -> Option<Segment> {
        let state = self.clone();
        let rows = StateRows::deferred(move || state.progress(emitted_until));
        (emitted_until != WATERMARK_MIN).then(|| Segment { id: PROGRESS.into(), change: Change::Replace(rows) })
    }

    /// The one row of `progress`.
    fn progress(&self, emitted_until: i64) -> Result<Vec<RecordBatch>> {
        let last = self.schema.fields().len() - 1;
        let fields = self.schema.fields().iter().take(last);
        let mut columns: Vec<ArrayRef> = fields.map(|field| new_null_array(field.data_type(), 1)).collect();
        columns.push(Arc::new(TimestampMillisecondArray::from(vec![emitted_until]).with_timezone("UTC")));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), columns)?])
    }
}

/// Rows of one segment as they come back: only those of the asked key groups.
pub(super) struct RestoredRows {
    pub(super) batch: RecordBatch,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) counts: Int64Array,
    pub(super) ranks: Int32Array,
    pub(super) revisions: Int32Array,
    /// The stored segment does not hold exactly this subtask's rows and has to be rewritten.
    pub(super) is_partial: bool,
}

impl RestoredRows {
    /// The window that all rows are of; there is at least one.
    pub(super) fn span(&self, segment: &str) -> Result<Span> {
        let [start, end] = [WINDOW_START, WINDOW_END].map(|name| event_times(&self.batch, name));
        let first = |times: Result<ScalarBuffer<i64>>| times?.first().copied().ok_or_else(|| misfit(segment));
        Ok(Span { start: first(start)?, end: first(end)? })
    }

    /// The count in a row.
    pub(super) fn count(&self, row: usize) -> i64 {
        if self.counts.is_valid(row) { self.counts.value(row) } else { ABSENT }
    }
}

pub(super) fn restored_rows(
    config: &TopConfig,
    segment: &str,
    batch: &RecordBatch,
    key_groups: KeyGroupRange,
    context: &OperatorContext,
) -> Result<RestoredRows> {
    let misfit = || misfit(segment);
    let hashes = batch.column_by_name("key_hash").and_then(|hashes| hashes.as_fixed_size_binary_opt());
    let hashes: Vec<u128> = hashes
        .ok_or_else(misfit)?
        .iter()
        .map(|hash| hash.and_then(|hash| hash.try_into().ok()).map(u128::from_le_bytes).ok_or_else(misfit))
        .collect::<Result<_>>()?;
    let in_range = |hash: &u128| Some(key_groups.contains(key_group_of(*hash, context.max_parallelism)));
    let mine: arrow::array::BooleanArray = hashes.iter().map(in_range).collect();
    let is_partial = mine.true_count() < hashes.len() || key_groups != context.key_groups;
    let batch = arrow::compute::filter_record_batch(batch, &mine)?;
    let column = |name: &str| batch.column_by_name(name).cloned().ok_or_else(misfit);
    let keys: Result<Vec<ArrayRef>> = config.key.iter().map(|name| column(name)).collect();
    Ok(RestoredRows {
        keys: keys?,
        counts: column(&config.by)?.as_primitive_opt::<Int64Type>().ok_or_else(misfit)?.clone(),
        ranks: column(RANK)?.as_primitive_opt::<Int32Type>().ok_or_else(misfit)?.clone(),
        revisions: column(REVISION)?.as_primitive_opt::<Int32Type>().ok_or_else(misfit)?.clone(),
        is_partial,
        batch,
    })
}

/// The watermark in a `progress` segment.
pub(super) fn restored_progress(rows: &RecordBatch) -> Result<i64> {
    let until =
        rows.column_by_name("emitted_until").and_then(|until| until.as_primitive_opt::<TimestampMillisecondType>());
    until.and_then(|until| until.iter().flatten().max()).ok_or_else(|| misfit(PROGRESS))
}

pub(super) fn misfit(segment: &str) -> EngineError {
    EngineError::corrupt(format!(
        "segment '{segment}' does not fit this top list: its keys or its column have changed since the checkpoint"
    ))
}
