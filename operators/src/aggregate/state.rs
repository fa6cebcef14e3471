//! What a checkpoint holds of an aggregate over slices, and how it comes back.
//!
//! Three kinds of segments with one schema. `slice-<start>`: a row per key, with its states; `emitted`: an earlier result
//! holds it; `changed`: and there has been a change since. `corrections-<window end>`: the revision of each key that was
//! corrected in that window. `progress`: one row, the watermark up to which windows have been emitted.

use super::accumulator::Accumulator;
use super::config::{AggregateConfig, SLICE_START};
use super::groups::GroupColumns;
use crate::columns::{REVISION, WINDOW_END};
use crate::event_time::event_time_type;
use crate::table::{Rows, hash_column, hashes_in};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int32Array, TimestampMillisecondArray, UInt16Array, new_null_array,
    },
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimestampMillisecondType},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    key_group::{KeyGroupRange, key_group_of},
    operator::OperatorContext,
};

/// Columns of state beside keys and aggregates.
#[derive(Debug, Clone)]
pub(super) struct StateLayout {
    schema: SchemaRef,
    max_parallelism: u16,
}

/// Rows of one segment.
#[derive(Default)]
pub(super) struct StateColumns {
    pub(super) hashes: Vec<u128>,
    pub(super) slice_start: Option<i64>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) states: Vec<ArrayRef>,
    pub(super) emitted: Vec<bool>,
    pub(super) changed: Vec<bool>,
    pub(super) window_end: Option<i64>,
    pub(super) revisions: Vec<i32>,
}

/// Rows of one segment as they come back, those of foreign key groups left out of `rows`.
pub(super) struct RestoredRows {
    pub(super) hashes: Vec<u128>,
    pub(super) rows: Vec<u32>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) states: Vec<Vec<ArrayRef>>,
    pub(super) emitted: BooleanArray,
    pub(super) changed: BooleanArray,
    pub(super) revisions: Int32Array,
    /// The stored segment holds more than this subtask's rows, or less: it has to be rewritten.
    pub(super) is_partial: bool,
}

const BEFORE_KEYS: usize = 3;
const AFTER_STATES: usize = 5;

impl StateLayout {
    pub(super) fn new(config: &AggregateConfig, prototype: &GroupColumns, max_parallelism: u16) -> Self {
        let keys = config.key.iter().zip(prototype.keys.types()).map(|(name, t)| Field::new(name, t.clone(), true));
        let mut fields = vec![
            Field::new("key_group", DataType::UInt16, true),
            Field::new("key_hash", DataType::FixedSizeBinary(16), true),
            Field::new(SLICE_START, event_time_type(), true),
        ];
        fields.extend(keys);
        fields.extend(prototype.accumulators.iter().flat_map(Accumulator::state_fields));
        fields.push(Field::new("emitted", DataType::Boolean, true));
        fields.push(Field::new("changed", DataType::Boolean, true));
        fields.push(Field::new(WINDOW_END, event_time_type(), true));
        fields.push(Field::new(REVISION, DataType::Int32, true));
        fields.push(Field::new("emitted_until", event_time_type(), true));
        StateLayout { schema: Arc::new(Schema::new(fields)), max_parallelism }
    }

    /// Rows of a slice or of corrections.
    pub(super) fn rows(&self, columns: StateColumns) -> Result<Vec<RecordBatch>> {
        let rows = columns.hashes.len();
        let groups = columns.hashes.iter().map(|hash| key_group_of(*hash, self.max_parallelism));
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(UInt16Array::from_iter_values(groups)),
            // As they lie in memory: little-endian on every platform that Weir supports.
            hash_column(columns.hashes)?,
            self.times(columns.slice_start, rows),
        ];
        arrays.extend(columns.keys);
        arrays.extend(columns.states);
        while arrays.len() < self.schema.fields().len() - AFTER_STATES {
            arrays.push(new_null_array(self.schema.field(arrays.len()).data_type(), rows));
        }
        arrays.push(bools(&columns.emitted, rows));
        arrays.push(bools(&columns.changed, rows));
        arrays.push(self.times(columns.window_end, rows));
        arrays.push(if columns.revisions.is_empty() {
            new_null_array(&DataType::Int32, rows)
        } else {
            Arc::new(Int32Array::from(columns.revisions))
        });
        arrays.push(self.times(None, rows));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), arrays)?])
    }

    /// The one row of `progress`.
    pub(super) fn progress(&self, emitted_until: i64) -> Result<Vec<RecordBatch>> {
        let last = self.schema.fields().len() - 1;
        let fields = self.schema.fields().iter().take(last);
        let mut arrays: Vec<ArrayRef> = fields.map(|field| new_null_array(field.data_type(), 1)).collect();
        arrays.push(self.times(Some(emitted_until), 1));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), arrays)?])
    }

    fn times(&self, value: Option<i64>, rows: usize) -> ArrayRef {
        match value {
            Some(value) => Arc::new(TimestampMillisecondArray::from_value(value, rows).with_timezone("UTC")),
            None => new_null_array(&event_time_type(), rows),
        }
    }
}

fn bools(values: &[bool], rows: usize) -> ArrayRef {
    if values.is_empty() {
        new_null_array(&DataType::Boolean, rows)
    } else {
        Arc::new(BooleanArray::from(values.to_vec()))
    }
}

/// The watermark in a `progress` segment.
pub(super) fn restored_progress(segment: &str, rows: &RecordBatch) -> Result<i64> {
    let last = rows.columns().last().and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    match last {
        Some(until) if until.len() == 1 && until.is_valid(0) => Ok(until.value(0)),
        _ => Err(misfit(segment)),
    }
}

/// The rows of a segment that belong to `key_groups`.
///
/// After a rescale the segment's files hold rows of other subtasks too, and may, when they come back once more, hold rows that
/// have been replaced since: counts must not be merged from both. So such a segment is rewritten at the next checkpoint.
pub(super) fn restored_rows(
    config: &AggregateConfig,
    segment: &str,
    batch: &RecordBatch,
    key_groups: KeyGroupRange,
    context: &OperatorContext,
) -> Result<RestoredRows> {
    let fields = batch.schema_ref().fields();
    let widths = Accumulator::state_widths(&config.aggregates, fields, BEFORE_KEYS + config.key.len());
    let states: usize = widths.iter().sum();
    if batch.num_columns() != BEFORE_KEYS + config.key.len() + states + AFTER_STATES {
        return Err(misfit(segment));
    }
    let mut columns = batch.columns().iter().skip(1).cloned();
    let mut next = || columns.next().ok_or_else(|| misfit(segment));
    let hashes = hashes_in(&next()?).ok_or_else(|| misfit(segment))?;
    next()?;
    let keys: Result<Vec<ArrayRef>> = config.key.iter().map(|_| next()).collect();
    let mut states = Vec::new();
    for width in widths {
        let columns: Result<Vec<ArrayRef>> = (0..width).map(|_| next()).collect();
        states.push(columns?);
    }
    let (emitted, changed) = (next()?, next()?);
    next()?;
    let revisions = next()?;
    let rows: Vec<u32> = (0..hashes.len() as u32)
        .filter(|row| key_groups.contains(key_group_of(hashes[*row as usize], context.max_parallelism)))
        .collect();
    let is_partial = rows.len() < hashes.len() || key_groups != context.key_groups;
    Ok(RestoredRows {
        hashes,
        rows,
        is_partial,
        keys: keys?,
        states,
        emitted: emitted.as_boolean_opt().ok_or_else(|| misfit(segment))?.clone(),
        changed: changed.as_boolean_opt().ok_or_else(|| misfit(segment))?.clone(),
        revisions: revisions.as_primitive_opt::<Int32Type>().ok_or_else(|| misfit(segment))?.clone(),
    })
}

/// What is behind the dash of a segment's name.
pub(crate) fn time_in(segment: &str, kind: &str) -> Option<i64> {
    segment.strip_prefix(kind)?.strip_prefix('-')?.parse().ok()
}

pub(super) fn misfit(segment: &str) -> EngineError {
    EngineError::corrupt(format!(
        "segment '{segment}' does not fit this aggregate: its keys or what it selects have changed since the checkpoint"
    ))
}

/// The rows of a slice in the form in which a checkpoint holds them.
pub(super) fn slice_columns(
    start: i64,
    hashes: &[u128],
    columns: &GroupColumns,
    emitted: Vec<bool>,
    changed: Vec<bool>,
) -> Result<StateColumns> {
    let all = Rows::All(hashes.len());
    Ok(StateColumns {
        hashes: hashes.to_vec(),
        slice_start: Some(start),
        keys: columns.keys.arrays(all)?,
        states: columns.states(all)?,
        emitted,
        changed,
        ..StateColumns::default()
    })
}
