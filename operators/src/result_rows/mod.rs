//! Rows of results as operators keep them that take results as results: the newest revision of each record counts, and a withdrawn one
//! counts nowhere. For aggregates of results and joins of them.

mod newest_rows;

use crate::columns::{RECORD_ID, REVISION, WITHDRAWN, withdrawn};
use crate::event_time::event_times;
use crate::table::{Rows, hashes_in, longest_texts, plain_keys};
use arrow::{
    array::{Array, ArrayRef, AsArray, UInt32Array},
    buffer::ScalarBuffer,
    datatypes::Int32Type,
    record_batch::RecordBatch,
};
use std::{ops::Range, sync::Arc};
use weir_engine::{EngineError, Result};

pub(crate) use newest_rows::{NewestRows, Record};

/// The columns that say which result a row is, which revision of it, and whether it holds.
pub const RESULT_COLUMNS: [&str; 3] = [RECORD_ID, REVISION, WITHDRAWN];

/// Bytes of the texts of rows that are put together, but for one row that has more. A column has room for 2 GiB.
pub(crate) const MOST_BYTES: usize = 1 << 30;

/// Where a row is: in which piece, and where in that.
pub(crate) type Place = (usize, usize);

/// The rows of one batch of results, or of a part of one.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResultRows {
    /// What is kept of them.
    pub(crate) columns: Vec<ArrayRef>,
    /// Of the keys of their groups.
    pub(crate) hashes: Vec<u128>,
    pub(crate) ids: Vec<u128>,
    pub(crate) revisions: Vec<i32>,
    pub(crate) withdrawn: Vec<bool>,
}

impl ResultRows {
    /// A batch of results, with these of its columns; and the times in another, such as the ends of their windows.
    ///
    /// # Errors
    /// When a column is missing or of another type, which is a mistake of ours.
    pub(crate) fn of<'a>(
        batch: &RecordBatch,
        kept: impl Iterator<Item = &'a str>,
        hashes: Vec<u128>,
        time_column: &str,
    ) -> Result<(Self, ScalarBuffer<i64>)> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| missing(name, batch));
        let revisions = column(REVISION)?.as_primitive_opt::<Int32Type>().ok_or_else(|| missing(REVISION, batch))?;
        let columns: Result<Vec<ArrayRef>> = kept.map(|name| column(name).cloned()).collect();
        let rows = ResultRows {
            columns: plain_keys(&columns?)?,
            hashes,
            ids: hashes_in(column(RECORD_ID)?).ok_or_else(|| missing(RECORD_ID, batch))?,
            revisions: revisions.values().to_vec(),
            withdrawn: withdrawn(batch)?.values().iter().collect(),
        };
        Ok((rows, event_times(batch, time_column)?))
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How many bytes the texts of one of the rows have together, at most.
    pub(crate) fn longest(&self) -> usize {
        longest_texts(&self.columns, Rows::All(self.len()))
    }

    /// How many bytes the texts of a row have together.
    pub(crate) fn text_bytes(&self, row: usize) -> usize {
        longest_texts(&self.columns, Rows::Some(&[row as u32]))
    }

    /// Some of the rows.
    pub(crate) fn take(&self, rows: Rows<'_>) -> Result<Arc<ResultRows>> {
        let chosen = || (0..rows.len()).map(|n| rows.row(n));
        let indices = UInt32Array::from_iter_values(chosen().map(|row| row as u32));
        let columns: std::result::Result<Vec<_>, _> =
            self.columns.iter().map(|column| arrow::compute::take(column, &indices, None)).collect();
        Ok(Arc::new(ResultRows {
            columns: columns?,
            hashes: chosen().map(|row| self.hashes[row]).collect(),
            ids: chosen().map(|row| self.ids[row]).collect(),
            revisions: chosen().map(|row| self.revisions[row]).collect(),
            withdrawn: chosen().map(|row| self.withdrawn[row]).collect(),
        }))
    }
}

fn missing(name: &str, rows: &RecordBatch) -> EngineError {
    EngineError::internal(format!("results without a column '{name}' of its type: {}", rows.schema_ref()))
}

/// How many rows, the first ones, may be put together, whose texts have so many bytes each. One may, whatever it takes.
pub(crate) fn fitting(bytes: impl Iterator<Item = usize>, most_bytes: usize) -> usize {
    let mut all = 0_usize;
    let has_room = |bytes: &usize| {
        all = all.saturating_add(*bytes);
        all <= most_bytes
    };
    bytes.take_while(has_room).count().max(1)
}

/// Some columns of some rows of these pieces.
pub(crate) fn interleaved(pieces: &[&Arc<ResultRows>], columns: Range<usize>, rows: &[Place]) -> Result<Vec<ArrayRef>> {
    let of = |column: usize| -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = pieces.iter().map(|piece| piece.columns[column].as_ref()).collect();
        Ok(arrow::compute::interleave(&arrays, rows)?)
    };
    columns.map(of).collect()
}
