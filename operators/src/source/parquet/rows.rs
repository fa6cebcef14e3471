//! The rows of a split, in batches, from any row on.
//!
//! Invariant: the rows of a split and their order depend on the file alone; the position says how many of them came out.

use super::{
    columns::{Arranged, RequestedColumns},
    file::ParquetFile,
    splits::ParquetSplit,
};
use arrow::{array::RecordBatch, error::ArrowError};
use parquet::{
    arrow::arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    },
    errors::ParquetError,
};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// Reads a split. Text comes as Utf8View, or as Dictionary(Int32, Utf8) from row groups where the whole column is
/// dictionary-encoded; a batch never spans two row groups, so all batches of a row group share one dictionary.
pub struct ParquetRows {
    file: Arc<ParquetFile>,
    columns: RequestedColumns,
    split: ParquetSplit,
    /// Rows of a batch, as the row group being read was opened for.
    batch_rows: usize,
    /// Rows of the split that have come out.
    position: u64,
    /// The row group being read.
    group: Option<OpenGroup>,
    /// Of the rows that came out last, those that do not fit, and why.
    refused: Vec<(usize, String)>,
}

/// The row group that the position is in.
struct GroupAt {
    index: usize,
    /// Rows of it before the position.
    skipped: u64,
    /// Position in the split where it ends.
    end: u64,
}

struct OpenGroup {
    batches: ParquetRecordBatchReader,
    /// Position in the split where the row group ends.
    end: u64,
}

impl ParquetRows {
    pub(super) fn new(file: Arc<ParquetFile>, columns: RequestedColumns, split: ParquetSplit, position: u64) -> Self {
        ParquetRows { file, columns, split, batch_rows: 0, position, group: None, refused: Vec::new() }
    }

    /// Rows of the split that have come out: where a restart resumes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The file.
    pub fn file(&self) -> &Arc<ParquetFile> {
        &self.file
    }

    /// The split.
    pub fn split(&self) -> &ParquetSplit {
        &self.split
    }

    /// Of the rows that came out last, those with a value that does not fit the type that it was asked for as, and why. In
    /// rising order; such a value is null in the rows.
    pub fn refused(&self) -> &[(usize, String)] {
        &self.refused
    }

    /// Gives up the row group that is being read, since the rest of it cannot be: how many rows that were.
    pub fn skip_group(&mut self) -> u64 {
        let end = self.group_at_position().map_or(self.split.rows, |group| group.end);
        let skipped = end - self.position;
        (self.position, self.group) = (end, None);
        skipped
    }

    /// The next rows, at most `max_rows` (at least 1); none at the end. Changing `max_rows` costs reopening the row group.
    /// May be dropped while it waits, and called again.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged: names it and what is wrong. No call after that will do better.
    pub async fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        if self.batch_rows != max_rows {
            (self.batch_rows, self.group) = (max_rows.max(1), None);
        }
        while self.position < self.split.rows {
            if self.group.is_none() {
                self.group = Some(self.open_group().await?);
            }
            if let Some(batch) = self.next_of_group()? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn next_of_group(&mut self) -> Result<Option<RecordBatch>> {
        let Some(group) = &mut self.group else { return Ok(None) };
        let columns = &self.columns;
        let decoded = self.file.decode(|| {
            let Some(batch) = group.batches.next() else { return Ok(None) };
            Ok(Some(columns.arrange(&batch.map_err(arrow_cause)?).map_err(arrow_cause)?))
        });
        let decoded = decoded.map_err(|error| error.context(format!("row {} of its split", self.position)))?;
        match decoded {
            Some(Arranged { rows, refused }) => {
                self.position += rows.num_rows() as u64;
                self.refused = refused;
                Ok(Some(rows))
            }
            None if self.position == group.end => {
                self.group = None;
                Ok(None)
            }
            None => Err(EngineError::corrupt(format!(
                "{} is not a complete Parquet file: a row group ends {} rows before it should",
                self.file.name(),
                group.end.saturating_sub(self.position)
            ))),
        }
    }

    fn group_at_position(&self) -> Option<GroupAt> {
        let metadata = self.file.metadata();
        let mut end = 0;
        for index in self.split.row_groups.clone() {
            let begin = end;
            end += metadata.row_group(index).num_rows().max(0) as u64;
            if self.position < end {
                return Some(GroupAt { index, skipped: self.position - begin, end });
            }
        }
        None
    }

    /// Opens the row group that the position is in, at the position.
    async fn open_group(&mut self) -> Result<OpenGroup> {
        let Some(GroupAt { index, skipped, end }) = self.group_at_position() else {
            return Err(EngineError::internal(format!(
                "{}: row {} is in no row group",
                self.file.name(),
                self.position
            )));
        };
        let metadata = self.file.metadata();
        let group = metadata.row_group(index);
        let schema = metadata.file_metadata().schema_descr();
        let mask = self.columns.mask(schema);
        let pages = self.file.pages(group, &mask).await?;
        let held = self.columns.decoded_schema(self.file.stored_schema(), schema, group);
        let batches = self.file.decode(|| {
            let arrow = ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::new().with_schema(held))?;
            ParquetRecordBatchReaderBuilder::new_with_metadata(pages, arrow)
                .with_row_groups(vec![index])
                .with_projection(mask)
                .with_batch_size(self.batch_rows)
                .with_offset(usize::try_from(skipped)?)
                .build()
        })?;
        Ok(OpenGroup { batches, end })
    }
}

fn arrow_cause(error: ArrowError) -> ParquetError {
    match error {
        ArrowError::ParquetError(message) => ParquetError::General(message),
        other => ParquetError::ArrowError(other.to_string()),
    }
}
