//! What a checkpoint holds of an aggregate over results, and how it comes back.
//!
//! Three kinds of segments with one schema. `slice-<start>`: the rows of results, as they came; of several rows of a record the
//! highest revision is the newest. `emitted-<window end>`: a row for each group and each time that it was emitted; the highest
//! version is the newest. `progress`: one row, the watermark up to which windows have been emitted. The first two are appended to,
//! and mean the same if some of their rows come back twice.

use super::incoming::ResultColumns;
use crate::aggregate::state::{misfit, time_in};
use crate::columns::{RECORD_ID, REVISION, WITHDRAWN};
use crate::event_time::event_time_type;
use crate::result_rows::ResultRows;
use crate::table::{Rows, hash_column, hashes_in};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, TimestampMillisecondArray, new_null_array,
    },
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    Result,
    key_group::{KeyGroupRange, key_group_of},
};

const BEFORE_COLUMNS: usize = 2;
const AFTER_COLUMNS: usize = 4;

/// The schema of the state.
#[derive(Debug, Clone)]
pub(super) struct ResultState {
    schema: SchemaRef,
}

/// Rows of one `emitted` segment.
#[derive(Debug, Default)]
pub(super) struct EmittedRows {
    pub(super) hashes: Vec<u128>,
    pub(super) revisions: Vec<i32>,
    pub(super) withdrawn: Vec<bool>,
    pub(super) versions: Vec<i64>,
}

/// Rows of a segment as they come back, those of foreign key groups left out.
pub(super) struct Restored {
    pub(super) rows: ResultRows,
    /// Of what was emitted.
    pub(super) versions: Vec<i64>,
}

impl ResultState {
    /// For kept columns of these types.
    pub(super) fn new(names: &ResultColumns, columns: &[ArrayRef]) -> Self {
        let hash = |name: &str| Field::new(name, DataType::FixedSizeBinary(16), true);
        let mut fields = vec![hash("key_hash"), hash(RECORD_ID)];
        let keys = names.key.iter().map(|name| format!("key/{name}"));
        let named = keys.chain(names.arguments.iter().map(|name| format!("argument/{name}")));
        fields.extend(named.zip(columns).map(|(name, column)| Field::new(name, column.data_type().clone(), true)));
        fields.push(Field::new(REVISION, DataType::Int32, true));
        fields.push(Field::new(WITHDRAWN, DataType::Boolean, true));
        fields.push(Field::new("version", DataType::Int64, true));
        fields.push(Field::new("emitted_until", event_time_type(), true));
        ResultState { schema: Arc::new(Schema::new(fields)) }
    }

    /// Rows of a slice.
    pub(super) fn rows(&self, rows: &ResultRows) -> Result<RecordBatch> {
        let mut arrays = vec![hash_column(rows.hashes.clone())?, hash_column(rows.ids.clone())?];
        arrays.extend(rows.columns.iter().cloned());
        arrays.push(Arc::new(Int32Array::from(rows.revisions.clone())));
        arrays.push(Arc::new(BooleanArray::from(rows.withdrawn.clone())));
        arrays.push(new_null_array(&DataType::Int64, rows.len()));
        arrays.push(new_null_array(&event_time_type(), rows.len()));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }

    /// Rows of what was emitted.
    pub(super) fn emitted(&self, rows: EmittedRows) -> Result<Vec<RecordBatch>> {
        let count = rows.hashes.len();
        let mut arrays = vec![hash_column(rows.hashes)?];
        let rest = &self.schema.fields()[1..self.schema.fields().len() - AFTER_COLUMNS];
        arrays.extend(rest.iter().map(|field| new_null_array(field.data_type(), count)));
        arrays.push(Arc::new(Int32Array::from(rows.revisions)));
        arrays.push(Arc::new(BooleanArray::from(rows.withdrawn)));
        arrays.push(Arc::new(Int64Array::from(rows.versions)));
        arrays.push(new_null_array(&event_time_type(), count));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), arrays)?])
    }

    /// The one row of `progress`.
    pub(super) fn progress(&self, emitted_until: i64) -> Result<Vec<RecordBatch>> {
        let last = self.schema.fields().len() - 1;
        let fields = self.schema.fields().iter().take(last);
        let mut arrays: Vec<ArrayRef> = fields.map(|field| new_null_array(field.data_type(), 1)).collect();
        arrays.push(Arc::new(TimestampMillisecondArray::from_value(emitted_until, 1).with_timezone("UTC")));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), arrays)?])
    }

    /// The rows of a segment that belong to `key_groups`.
    pub(super) fn restored(
        names: &ResultColumns,
        segment: &str,
        batch: &RecordBatch,
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<Restored> {
        if batch.num_columns() != BEFORE_COLUMNS + names.len() + AFTER_COLUMNS {
            return Err(misfit(segment));
        }
        let after = BEFORE_COLUMNS + names.len();
        let hashes = hashes_in(batch.column(0)).ok_or_else(|| misfit(segment))?;
        // What was emitted is of no record.
        let ids = match time_in(segment, "emitted") {
            Some(_) => vec![0; hashes.len()],
            None => hashes_in(batch.column(1)).ok_or_else(|| misfit(segment))?,
        };
        let revisions = batch.column(after).as_primitive_opt::<Int32Type>().ok_or_else(|| misfit(segment))?;
        let withdrawn = batch.column(after + 1).as_boolean_opt().ok_or_else(|| misfit(segment))?;
        let versions = batch.column(after + 2).as_primitive_opt::<Int64Type>().ok_or_else(|| misfit(segment))?;
        let mine: Vec<u32> = (0..hashes.len() as u32)
            .filter(|row| key_groups.contains(key_group_of(hashes[*row as usize], max_parallelism)))
            .collect();
        let all = ResultRows {
            columns: batch.columns()[BEFORE_COLUMNS..after].to_vec(),
            ids,
            hashes,
            revisions: revisions.values().to_vec(),
            withdrawn: withdrawn.values().iter().collect(),
        };
        let rows = Arc::unwrap_or_clone(all.take(Rows::Some(&mine))?);
        Ok(Restored { rows, versions: mine.iter().map(|row| versions.values()[*row as usize]).collect() })
    }
}
