//! What a checkpoint holds of a join, and how it comes back.
//!
//! Three kinds of segments with one schema. `left-<start>` and `right-<start>`: the rows of a bucket, as they came, their columns
//! under `left/` and `right/`; of a left row also which of several equal ones it is. `answers-<start>`: by the hash of a left row
//! how it was answered; of several rows with one hash the highest answer is the newest. All are appended to, so a checkpoint
//! costs the rows and the answers that came since the last one. At a barrier every left row whose time has come has been answered
//! with all right rows that are there, so nothing else is pending.

use super::config::{JoinConfig, Side};
use super::keyed_rows::KeyedRows;
use super::left::{Answer, LeftRows};
use crate::event_time::{event_time_type, event_times};
use crate::schema::ColumnSchema;
use crate::table::{Rows, hash_column, hashes_in, own_rows, plain_key_type};
use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, TimestampMillisecondArray, new_null_array},
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use std::{ops::Range, sync::Arc};
use weir_engine::{EngineError, Result, key_group::KeyGroupRange};

const EVENT_TIME: &str = "event_time";
/// Columns before those of the sides.
const BEFORE_COLUMNS: usize = 2;
/// Columns behind those of the sides.
const AFTER_COLUMNS: usize = 3;

/// A kind of segment, and the start of its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SegmentOf {
    Left(i64),
    Right(i64),
    Answers(i64),
}

impl SegmentOf {
    pub(super) fn name(self) -> String {
        match self {
            SegmentOf::Left(start) => format!("left-{start}"),
            SegmentOf::Right(start) => format!("right-{start}"),
            SegmentOf::Answers(start) => format!("answers-{start}"),
        }
    }

    /// # Errors
    /// When a join gives no such name.
    pub(super) fn parse(segment: &str) -> Result<Self> {
        let (kind, start) = segment.split_once('-').ok_or_else(|| misfit(segment))?;
        let start = start.parse().map_err(|_| misfit(segment))?;
        match kind {
            "left" => Ok(SegmentOf::Left(start)),
            "right" => Ok(SegmentOf::Right(start)),
            "answers" => Ok(SegmentOf::Answers(start)),
            _ => Err(misfit(segment)),
        }
    }
}

/// The schema of the state.
#[derive(Debug)]
pub(super) struct JoinState {
    schema: SchemaRef,
    left: SchemaRef,
    right: SchemaRef,
}

/// Rows of a side as they come back.
pub(super) struct RestoredRows {
    pub(super) hashes: Vec<u128>,
    pub(super) times: Vec<i64>,
    /// The kept columns, under their names.
    pub(super) columns: RecordBatch,
    /// Of left rows.
    pub(super) ordinals: Vec<u32>,
}

impl JoinState {
    pub(super) fn new(config: &JoinConfig) -> Self {
        let hash = |name: &str| Field::new(name, DataType::FixedSizeBinary(16), true);
        let mut fields = vec![hash("key_hash"), Field::new(EVENT_TIME, event_time_type(), true)];
        for (side, kept) in [("left", &config.left.kept), ("right", &config.right.kept)] {
            let of_side = plain(kept).into_iter().map(|field| {
                let name = format!("{side}/{}", field.name());
                field.with_name(name)
            });
            fields.extend(of_side);
        }
        fields.extend([
            Field::new("ordinal", DataType::Int32, true),
            hash("row"),
            Field::new("answer", DataType::Int32, true),
        ]);
        JoinState {
            schema: Arc::new(Schema::new(fields)),
            left: Arc::new(Schema::new(plain(&config.left.kept))),
            right: Arc::new(Schema::new(plain(&config.right.kept))),
        }
    }

    /// The columns of a side, which begin at that place.
    fn columns_of(&self, side: Side) -> (usize, &SchemaRef) {
        match side {
            Side::Left => (BEFORE_COLUMNS, &self.left),
            Side::Right => (BEFORE_COLUMNS + self.left.fields().len(), &self.right),
        }
    }

    /// Some rows of a bucket of left rows.
    pub(super) fn left_rows(&self, bucket: &LeftRows, rows: Range<u32>) -> Result<Vec<RecordBatch>> {
        let ordinals = Int32Array::from_iter_values(rows.clone().map(|row| bucket.ordinal(row).cast_signed()));
        self.rows(Side::Left, &bucket.rows, rows, Some(Arc::new(ordinals)))
    }

    /// Some rows of a bucket of right rows.
    pub(super) fn right_rows(&self, bucket: &KeyedRows, rows: Range<u32>) -> Result<Vec<RecordBatch>> {
        self.rows(Side::Right, bucket, rows, None)
    }

    fn rows(
        &self,
        side: Side,
        bucket: &KeyedRows,
        rows: Range<u32>,
        ordinals: Option<ArrayRef>,
    ) -> Result<Vec<RecordBatch>> {
        let chosen: Vec<u32> = rows.collect();
        let mut arrays = self.nothing(chosen.len());
        arrays[0] = hash_column(chosen.iter().map(|row| bucket.hash(*row)).collect())?;
        arrays[1] = times(chosen.iter().map(|row| bucket.time(*row)));
        let (first, _) = self.columns_of(side);
        for (at, column) in bucket.arrays(Rows::Some(&chosen))?.into_iter().enumerate() {
            arrays[first + at] = column;
        }
        let after = arrays.len() - AFTER_COLUMNS;
        if let Some(ordinals) = ordinals {
            arrays[after] = ordinals;
        }
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), arrays)?])
    }

    /// How some left rows of a bucket were answered.
    pub(super) fn answers(&self, bucket: &LeftRows, rows: &[u32]) -> Result<Vec<RecordBatch>> {
        let mut arrays = self.nothing(rows.len());
        arrays[0] = hash_column(rows.iter().map(|row| bucket.rows.hash(*row)).collect())?;
        arrays[1] = times(rows.iter().map(|row| bucket.rows.time(*row)));
        let after = arrays.len() - AFTER_COLUMNS;
        arrays[after + 1] = hash_column(rows.iter().map(|row| bucket.identity(*row)).collect())?;
        arrays[after + 2] = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| bucket.answer(*row))));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), arrays)?])
    }

    fn nothing(&self, rows: usize) -> Vec<ArrayRef> {
        self.schema.fields().iter().map(|field| new_null_array(field.data_type(), rows)).collect()
    }

    /// Those of stored rows that belong to these key groups.
    fn own(
        &self,
        segment: &str,
        stored: &RecordBatch,
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<(Vec<u128>, RecordBatch)> {
        let own = own_rows(&self.schema, stored, key_groups, max_parallelism)?;
        own.ok_or_else(|| misfit(segment))
    }

    /// Rows of a side that belong to these key groups.
    pub(super) fn restored_rows(
        &self,
        (segment, side): (&str, Side),
        stored: &RecordBatch,
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<RestoredRows> {
        let (hashes, own) = self.own(segment, stored, key_groups, max_parallelism)?;
        let (first, schema) = self.columns_of(side);
        let columns = own.columns()[first..first + schema.fields().len()].to_vec();
        let ordinals = own.column(own.num_columns() - AFTER_COLUMNS).as_primitive_opt::<Int32Type>();
        let ordinals = ordinals.filter(|ordinals| side == Side::Right || ordinals.null_count() == 0);
        let ordinals = ordinals.ok_or_else(|| misfit(segment))?.values();
        Ok(RestoredRows {
            hashes,
            times: event_times(&own, EVENT_TIME)?.to_vec(),
            columns: RecordBatch::try_new(Arc::clone(schema), columns)?,
            ordinals: ordinals.iter().map(|ordinal| ordinal.cast_unsigned()).collect(),
        })
    }

    /// Answers to left rows of these key groups, by the identities of the rows.
    pub(super) fn restored_answers(
        &self,
        segment: &str,
        stored: &RecordBatch,
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<Vec<(u128, Answer)>> {
        let (_, own) = self.own(segment, stored, key_groups, max_parallelism)?;
        let after = own.num_columns() - AFTER_COLUMNS;
        let rows = hashes_in(own.column(after + 1)).ok_or_else(|| misfit(segment))?;
        let answers = own.column(after + 2).as_primitive_opt::<Int32Type>().filter(|answers| answers.null_count() == 0);
        let answers = answers.ok_or_else(|| misfit(segment))?.values();
        Ok(rows.into_iter().zip(answers.iter().copied()).collect())
    }
}

/// Columns as they are kept.
fn plain(kept: &ColumnSchema) -> Vec<Field> {
    kept.columns.iter().map(|column| Field::new(&column.name, plain_key_type(&column.data_type), true)).collect()
}

fn times(times: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
}

fn misfit(segment: &str) -> EngineError {
    EngineError::corrupt(format!(
        "segment '{segment}' does not fit this join: its columns have changed since the checkpoint"
    ))
}
