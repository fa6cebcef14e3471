//! A split of a Parquet file as the sources' common part reads it.

use super::{ParquetFile, ParquetRows, ParquetSplit};
use crate::source::{
    dead_letters::DeadLetter,
    split_reader::{SplitEvent, SplitReader},
};
use arrow::{array::RecordBatch, datatypes::Schema, util::display::array_value_to_string};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// Reads one split.
pub struct ParquetSplitReader {
    rows: ParquetRows,
    /// Rows of the file before the split.
    rows_before: u64,
    /// The last rows that came out, and the row of the split that they begin at.
    last: Option<(u64, RecordBatch)>,
}

/// A position in a checkpoint. It repeats the split, so that a restart cuts the file in the same way, and the size of the
/// file, so that a file that was replaced is recognised.
#[derive(Serialize, Deserialize)]
struct Position {
    split: ParquetSplit,
    row: u64,
    file_bytes: u64,
}

impl ParquetSplitReader {
    /// Reads a split from its first row on.
    ///
    /// # Errors
    /// As [`ParquetFile::rows_of`].
    pub fn begin(file: &Arc<ParquetFile>, split: ParquetSplit, requested: &Schema) -> Result<Self> {
        let rows_before = file.rows_before(&split);
        Ok(ParquetSplitReader { rows: file.rows_of(split, requested, 0)?, rows_before, last: None })
    }

    /// Goes on from what [`SplitReader::position`] gave.
    ///
    /// # Errors
    /// When the position cannot be read, and when the file is not the one that it was taken of.
    pub fn resume(file: &Arc<ParquetFile>, position: serde_json::Value, requested: &Schema) -> Result<Self> {
        let Position { split, row, file_bytes } = serde_json::from_value(position).map_err(|error| {
            EngineError::corrupt(format!("{}: its position in the checkpoint cannot be read: {error}", file.name()))
        })?;
        if file_bytes != file.bytes() {
            return Err(EngineError::corrupt(format!(
                "{} is to be read on from row {row} of a split, but the file has changed: it had {file_bytes} bytes and \
                 now has {}",
                file.name(),
                file.bytes()
            )));
        }
        let rows_before = file.rows_before(&split);
        Ok(ParquetSplitReader { rows: file.rows_of(split, requested, row)?, rows_before, last: None })
    }

    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        let begin = self.rows.position();
        match self.rows.next(max_rows).await? {
            Some(columns) => {
                self.last = Some((begin, columns.clone()));
                Ok(SplitEvent::Records { columns, dead_letters: Vec::new() })
            }
            None => Ok(SplitEvent::Finished),
        }
    }
}

impl SplitReader for ParquetSplitReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        self.next(max_rows).boxed()
    }

    fn position(&self) -> serde_json::Value {
        let split = self.rows.split();
        serde_json::json!(Position {
            split: split.clone(),
            row: self.rows.position(),
            file_bytes: self.rows.file().bytes()
        })
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let Some((begin, last)) = &self.last else { return Vec::new() };
        let locate = |row: &usize| {
            let offset = self.rows_before + begin + *row as u64;
            DeadLetter {
                offset: i64::try_from(offset).unwrap_or(i64::MAX),
                reason: String::new(),
                raw: row_text(last, *row),
            }
        };
        rows.iter().filter(|row| **row < last.num_rows()).map(locate).collect()
    }
}

/// `{ad_id: ad000001, click_timestamp: 2022-03-04T00:00:01Z}`: the requested columns of one row, for people.
fn row_text(rows: &RecordBatch, row: usize) -> String {
    let schema = rows.schema();
    let values = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        let value = array_value_to_string(column, row).unwrap_or_else(|error| format!("({error})"));
        format!("{}: {value}", field.name())
    });
    format!("{{{}}}", values.collect::<Vec<_>>().join(", "))
}
