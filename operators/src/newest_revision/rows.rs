//! What the columns of a batch say of its rows: which revision each is, of which moment, and whether it holds.

use super::NewestRevisionConfig;
use crate::event_time::event_times;
use crate::expression::RefusedRow;
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array},
    buffer::ScalarBuffer,
    compute::cast,
    datatypes::{DataType, Int64Type},
    record_batch::RecordBatch,
};
use weir_engine::{EngineError, Result};

/// Revisions of a batch, row by row.
#[derive(Debug)]
pub(super) struct RevisionRows {
    /// A moment of each one's window.
    pub(super) times: ScalarBuffer<i64>,
    /// None: the row is refused.
    pub(super) revisions: Vec<Option<i32>>,
    pub(super) withdrawn: Vec<bool>,
    /// The rows that don't say what they are a revision of, or which one.
    pub(super) refused: Vec<RefusedRow>,
}

impl RevisionRows {
    /// # Errors
    /// When a column is missing or of another type than was checked.
    pub(super) fn of(config: &NewestRevisionConfig, rows: &RecordBatch) -> Result<Self> {
        let ids = column(rows, &config.record_id)?.logical_nulls();
        let revisions = cast(column(rows, &config.revision)?, &DataType::Int64)?;
        let revisions = revisions.as_primitive_opt::<Int64Type>().ok_or_else(|| misfit(&config.revision))?;
        let withdrawn = config.withdrawn.as_ref().map(|name| flags(rows, name)).transpose()?;
        let mut found = RevisionRows {
            times: event_times(rows, &config.time_column)?,
            revisions: Vec::with_capacity(rows.num_rows()),
            withdrawn: Vec::with_capacity(rows.num_rows()),
            refused: Vec::new(),
        };
        for row in 0..rows.num_rows() {
            let revision = revisions.is_valid(row).then(|| revisions.value(row));
            let holds = withdrawn.as_ref().map_or(Some(false), |flags| flags.is_valid(row).then(|| flags.value(row)));
            let has_id = ids.as_ref().is_none_or(|ids| ids.is_valid(row));
            let judged = judge(config, has_id, revision, holds);
            found.withdrawn.push(holds.unwrap_or(false));
            found.revisions.push(judged.as_ref().ok().copied());
            found.refused.extend(judged.err().map(|reason| RefusedRow { row, reason }));
        }
        Ok(found)
    }

    /// The revisions of some rows that are not refused.
    pub(super) fn revisions(&self, rows: impl Iterator<Item = usize>) -> Int32Array {
        rows.map(|row| self.revisions[row]).collect()
    }
}

/// The revision of a row that is one; of another, why it is none.
fn judge(
    config: &NewestRevisionConfig,
    has_id: bool,
    revision: Option<i64>,
    withdrawn: Option<bool>,
) -> std::result::Result<i32, String> {
    let NewestRevisionConfig { record_id, revision: revision_column, .. } = config;
    if !has_id {
        return Err(format!("{record_id} is null, so the row is no result"));
    }
    if withdrawn.is_none() {
        let name = config.withdrawn.as_deref().unwrap_or_default();
        return Err(format!("{name} is null, so it is not known whether the result holds"));
    }
    let Some(revision) = revision else {
        return Err(format!("{revision_column} is null, so the row is no result"));
    };
    i32::try_from(revision).map_err(|_| format!("{revision_column} is {revision}: revisions have 32 bits"))
}

fn flags(rows: &RecordBatch, name: &str) -> Result<BooleanArray> {
    column(rows, name)?.as_boolean_opt().cloned().ok_or_else(|| misfit(name))
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(name).ok_or_else(|| EngineError::internal(format!("there is no column '{name}'")))
}

fn misfit(name: &str) -> EngineError {
    EngineError::internal(format!("the column '{name}' is of another type than was declared"))
}
