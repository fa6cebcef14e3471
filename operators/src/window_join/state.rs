//! What a checkpoint holds of a join of results, and how it comes back.
//!
//! Three kinds of segments with one schema. `left-<window end>` and `right-<window end>`: the results of a side, as they came, what is
//! kept of them under `left/` and `right/`; of several rows of a record the highest revision is the newest. `given-<window end>`:
//! what was put out, the parts of its identity, and the revisions of the rows that it was made of; of several rows the highest
//! revision is the newest. All are appended to, and mean the same if some of their rows come back twice. Nothing else is pending
//! at a barrier: what follows from the rows, and was not put out, is found anew.

use super::config::{WindowJoinConfig, WindowJoinInput};
use super::given::{Given, Identity};
use crate::columns::{RECORD_ID, REVISION, WITHDRAWN};
use crate::join::Side;
use crate::result_rows::ResultRows;
use crate::table::{hash_column, hashes_in, own_rows, plain_key_type};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, new_null_array},
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{EngineError, Result, key_group::KeyGroupRange};

/// Columns before those of the sides.
const BEFORE_COLUMNS: usize = 2;
/// Columns behind those of the sides.
const AFTER_COLUMNS: usize = 6;

/// A kind of segment, and the end of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SegmentOf {
    Side(Side, i64),
    Given(i64),
}

impl SegmentOf {
    pub(super) fn name(self) -> String {
        match self {
            SegmentOf::Side(Side::Left, end) => format!("left-{end}"),
            SegmentOf::Side(Side::Right, end) => format!("right-{end}"),
            SegmentOf::Given(end) => format!("given-{end}"),
        }
    }

    /// # Errors
    /// When a join gives no such name.
    pub(super) fn parse(segment: &str) -> Result<Self> {
        let (kind, end) = segment.split_once('-').ok_or_else(|| misfit(segment))?;
        let end = end.parse().map_err(|_| misfit(segment))?;
        match kind {
            "left" => Ok(SegmentOf::Side(Side::Left, end)),
            "right" => Ok(SegmentOf::Side(Side::Right, end)),
            "given" => Ok(SegmentOf::Given(end)),
            _ => Err(misfit(segment)),
        }
    }
}

/// The schema of the state.
#[derive(Debug, Clone)]
pub(super) struct JoinState {
    schema: SchemaRef,
    /// How many columns of each side.
    widths: [usize; 2],
}

impl JoinState {
    pub(super) fn new(config: &WindowJoinConfig) -> Self {
        let hash = |name: &str| Field::new(name, DataType::FixedSizeBinary(16), true);
        let number = |name: &str| Field::new(name, DataType::Int32, true);
        let kept = |side: &str, input: &WindowJoinInput| {
            let of_side =
                input.kept.columns.iter().map(|column| {
                    Field::new(format!("{side}/{}", column.name), plain_key_type(&column.data_type), true)
                });
            of_side.collect::<Vec<Field>>()
        };
        let mut fields = vec![hash("key_hash"), hash(RECORD_ID)];
        fields.extend(kept("left", &config.left));
        fields.extend(kept("right", &config.right));
        fields.extend([number(REVISION), Field::new(WITHDRAWN, DataType::Boolean, true)]);
        fields.extend([hash("of_left"), hash("of_right"), number("left_revision"), number("right_revision")]);
        JoinState {
            schema: Arc::new(Schema::new(fields)),
            widths: [config.left.kept.columns.len(), config.right.kept.columns.len()],
        }
    }

    /// Where the columns of a side are.
    fn columns_of(&self, side: Side) -> std::ops::Range<usize> {
        let first = match side {
            Side::Left => BEFORE_COLUMNS,
            Side::Right => BEFORE_COLUMNS + self.widths[0],
        };
        first..first + self.widths[side as usize]
    }

    fn nothing(&self, rows: usize) -> Vec<ArrayRef> {
        self.schema.fields().iter().map(|field| new_null_array(field.data_type(), rows)).collect()
    }

    /// Rows of a side.
    pub(super) fn rows(&self, side: Side, rows: &ResultRows) -> Result<RecordBatch> {
        let mut arrays = self.nothing(rows.len());
        arrays[0] = hash_column(rows.hashes.clone())?;
        arrays[1] = hash_column(rows.ids.clone())?;
        arrays.splice(self.columns_of(side), rows.columns.iter().cloned());
        let after = self.schema.fields().len() - AFTER_COLUMNS;
        arrays[after] = Arc::new(Int32Array::from(rows.revisions.clone()));
        arrays[after + 1] = Arc::new(BooleanArray::from(rows.withdrawn.clone()));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }

    /// Rows of what was put out.
    pub(super) fn given(&self, given: &[(Identity, Given)]) -> Result<RecordBatch> {
        let mut arrays = self.nothing(given.len());
        let hashes = |of: fn(&Identity) -> u128| hash_column(given.iter().map(|(identity, _)| of(identity)).collect());
        let numbers = |of: fn(&Given) -> Option<i32>| -> ArrayRef {
            Arc::new(Int32Array::from_iter(given.iter().map(|(_, given)| of(given))))
        };
        arrays[0] = hashes(|identity| identity.hash)?;
        let after = self.schema.fields().len() - AFTER_COLUMNS;
        arrays[after] = numbers(|given| Some(given.revision));
        arrays[after + 2] = hashes(|identity| identity.left)?;
        arrays[after + 3] = hashes(|identity| identity.right)?;
        arrays[after + 4] = numbers(|given| given.made_of[0]);
        arrays[after + 5] = numbers(|given| given.made_of[1]);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }

    /// Those of stored rows that belong to these key groups, and the hashes that say so.
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
    ) -> Result<ResultRows> {
        let (hashes, own) = self.own(segment, stored, key_groups, max_parallelism)?;
        let after = own.num_columns() - AFTER_COLUMNS;
        let withdrawn = own.column(after + 1).as_boolean_opt().filter(|withdrawn| withdrawn.null_count() == 0);
        let withdrawn = withdrawn.ok_or_else(|| misfit(segment))?;
        Ok(ResultRows {
            columns: own.columns()[self.columns_of(side)].to_vec(),
            ids: hashes_in(own.column(1)).ok_or_else(|| misfit(segment))?,
            revisions: numbers(segment, own.column(after))?,
            withdrawn: withdrawn.values().iter().collect(),
            hashes,
        })
    }

    /// What was put out of these key groups.
    pub(super) fn restored_given(
        &self,
        segment: &str,
        stored: &RecordBatch,
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<Vec<(Identity, Given)>> {
        let (hashes, own) = self.own(segment, stored, key_groups, max_parallelism)?;
        let after = own.num_columns() - AFTER_COLUMNS;
        let revisions = numbers(segment, own.column(after))?;
        let part = |at: usize| hashes_in(own.column(after + at)).ok_or_else(|| misfit(segment));
        let (left, right) = (part(2)?, part(3)?);
        let made_of = |at: usize| own.column(after + at).as_primitive_opt::<Int32Type>().ok_or_else(|| misfit(segment));
        let (of_left, of_right) = (made_of(4)?, made_of(5)?);
        let row = |row: usize| {
            let revision_in = |column: &Int32Array| column.is_valid(row).then(|| column.value(row));
            let identity = Identity { hash: hashes[row], left: left[row], right: right[row] };
            let made_of = [revision_in(of_left), revision_in(of_right)];
            (identity, Given { revision: revisions[row], made_of })
        };
        Ok((0..hashes.len()).map(row).collect())
    }
}

fn numbers(segment: &str, column: &ArrayRef) -> Result<Vec<i32>> {
    let numbers = column.as_primitive_opt::<Int32Type>().filter(|numbers| numbers.null_count() == 0);
    Ok(numbers.ok_or_else(|| misfit(segment))?.values().to_vec())
}

fn misfit(segment: &str) -> EngineError {
    EngineError::corrupt(format!(
        "segment '{segment}' does not fit this join: its columns have changed since the checkpoint"
    ))
}
