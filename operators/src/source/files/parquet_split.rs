//! Row groups of a Parquet file as a split of the files source.
//!
//! Invariant: a split's position is the number of its rows that came out; where it begins in the file is a part of its
//! identity.

use super::listing::{FoundFile, Place};
use crate::dead_letters::{DeadLetter, row_as_json};
use crate::source::{
    JumpRule,
    parquet::{ParquetFile, ParquetLocation, ParquetRows, ParquetSplit},
    split_reader::{SplitEvent, SplitReader},
};
use arrow::{array::RecordBatch, datatypes::Schema};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{env::Env, error::Result};

/// How Parquet files are read.
#[derive(Clone, Debug)]
pub(super) struct ParquetSettings {
    /// The columns wanted.
    pub(super) columns: Schema,
    /// The column that lateness is judged by.
    pub(super) event_time: Option<String>,
    /// Which rows are refused for being ahead of the file.
    pub(super) jump: Option<JumpRule>,
}

/// A split and how far it has been read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredParquetSplit {
    pub(super) file: String,
    /// The row of the file that is the split's first.
    pub(super) first_row: u64,
    pub(super) split: ParquetSplit,
    /// Rows of the split that came out.
    pub(super) row: u64,
}

impl StoredParquetSplit {
    pub(super) fn id(&self) -> String {
        format!("{}#{}", self.file, self.first_row)
    }

    pub(super) fn newest_before_ms(&self) -> Option<i64> {
        self.split.newest_before_ms
    }
}

impl ParquetSettings {
    /// Cuts a file into splits.
    pub(super) async fn plan(&self, file: &FoundFile) -> Result<Vec<(FoundFile, StoredParquetSplit)>> {
        let opened = open(file).await?;
        let splits = opened.splits(self.event_time.as_deref(), self.jump);
        let mut first_row = 0;
        let place = |split: ParquetSplit| {
            let stored = StoredParquetSplit { file: file.name.clone(), first_row, split, row: 0 };
            first_row += stored.split.rows;
            (file.clone(), stored)
        };
        Ok(splits.into_iter().map(place).collect())
    }
}

pub(super) async fn open(file: &FoundFile) -> Result<Arc<ParquetFile>> {
    ParquetFile::open(match &file.place {
        Place::Local(path) => ParquetLocation::Local(path.clone()),
        Place::Object { store, path, .. } => ParquetLocation::Object { store: store.clone(), path: path.clone() },
    })
    .await
}

/// Reads a split; opens its file when it is first asked.
pub(super) struct ParquetSplitReader {
    file: FoundFile,
    settings: Arc<ParquetSettings>,
    stored: StoredParquetSplit,
    rows: Option<ParquetRows>,
    /// The rows that came out last.
    last: Option<RecordBatch>,
    env: Env,
}

impl ParquetSplitReader {
    pub(super) fn new(file: FoundFile, settings: Arc<ParquetSettings>, stored: StoredParquetSplit, env: Env) -> Self {
        ParquetSplitReader { file, settings, stored, rows: None, last: None, env }
    }

    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => {
                self.env.crash_point("files.opening")?;
                let file = open(&self.file).await?;
                self.env.crash_point("files.opened")?;
                let StoredParquetSplit { split, row, .. } = &self.stored;
                let rows = file.rows_of(split.clone(), &self.settings.columns, *row)?;
                self.rows.insert(rows)
            }
        };
        let Some(columns) = rows.next(max_rows).await? else {
            (self.rows, self.last) = (None, None);
            return Ok(SplitEvent::Finished);
        };
        self.stored.row = rows.position();
        self.last = Some(columns.clone());
        Ok(SplitEvent::Records { columns, dead_letters: Vec::new() })
    }
}

impl SplitReader for ParquetSplitReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        self.next(max_rows).boxed()
    }

    fn position(&self) -> serde_json::Value {
        serde_json::json!(self.stored)
    }

    /// The offset is the number of the row in its file, from 0.
    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let Some(last) = &self.last else { return Vec::new() };
        let first = self.stored.first_row + self.stored.row - last.num_rows() as u64;
        let found = |row: &usize| DeadLetter {
            offset: i64::try_from(first + *row as u64).unwrap_or(i64::MAX),
            reason: String::new(),
            raw: row_as_json(last, *row),
        };
        rows.iter().map(found).collect()
    }
}
