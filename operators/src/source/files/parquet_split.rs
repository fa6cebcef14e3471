//! Row groups of a Parquet file as a split of the files source.
//!
//! Invariant: a split's position is the number of its rows that came out; where it begins in the file is a part of its
//! identity.

use super::{
    listing::{FoundFile, Place},
    parquet_times::DeclaredTimes,
};
use crate::dead_letters::{DeadLetter, row_as_json};
use crate::source::{
    JumpRule,
    parquet::{ParquetFile, ParquetLocation, ParquetRows, ParquetSplit},
    split_reader::{SplitEvent, SplitReader},
};
use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::Schema,
};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{env::Env, error::Result};

/// How Parquet files are read.
#[derive(Clone, Debug)]
pub(super) struct ParquetSettings {
    /// The columns wanted.
    pub(super) columns: Schema,
    /// How the times among them are written, where they are no timestamps.
    pub(super) times: DeclaredTimes,
    /// The column that lateness is judged by.
    pub(super) event_time: Option<String>,
    /// Which rows are refused for being ahead of the file.
    pub(super) jump: Option<JumpRule>,
    /// A file is one split: lateness is judged by what no statistics tell.
    pub(super) uncut: bool,
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
        let splits = match self.uncut {
            true => vec![opened.whole()],
            false => opened.splits(self.event_time.as_deref(), self.jump),
        };
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
    last: Option<LastRows>,
    env: Env,
}

/// Rows that came out.
struct LastRows {
    rows: RecordBatch,
    /// Their places in the file, where they are not one after another up to the position.
    places: Option<Vec<u64>>,
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
                let wanted = self.settings.times.request(&self.settings.columns, file.schema());
                self.rows.insert(file.rows_of(split.clone(), &wanted, *row)?)
            }
        };
        let Some(columns) = rows.next(max_rows).await? else {
            (self.rows, self.last) = (None, None);
            return Ok(SplitEvent::Finished);
        };
        self.stored.row = rows.position();
        let mut refused = Vec::new();
        let columns = self.settings.times.convert(columns, &mut refused)?;
        self.sort_out(columns, refused)
    }

    /// Takes out the rows with a value that does not fit its column.
    fn sort_out(&mut self, columns: RecordBatch, refused: Vec<(usize, String)>) -> Result<SplitEvent> {
        if refused.is_empty() {
            self.last = Some(LastRows { rows: columns.clone(), places: None });
            return Ok(SplitEvent::Records { columns, dead_letters: Vec::new() });
        }
        let first = self.stored.first_row + self.stored.row - columns.num_rows() as u64;
        let place = |row: usize| first + row as u64;
        let mut wanted = vec![true; columns.num_rows()];
        let dead_letters = refused.into_iter().map(|(row, reason)| {
            wanted[row] = false;
            DeadLetter { offset: offset(place(row)), reason, raw: row_as_json(&columns, row) }
        });
        let dead_letters = dead_letters.collect();
        let places = (0..wanted.len()).filter(|row| wanted[*row]).map(place).collect();
        let rows = filter_record_batch(&columns, &BooleanArray::from(wanted))?;
        self.last = Some(LastRows { rows: rows.clone(), places: Some(places) });
        Ok(SplitEvent::Records { columns: rows, dead_letters })
    }
}

fn offset(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
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
        let Some(LastRows { rows: last, places }) = &self.last else { return Vec::new() };
        let first = (self.stored.first_row + self.stored.row).saturating_sub(last.num_rows() as u64);
        let found = |row: &usize| {
            let place = places.as_ref().map_or(first + *row as u64, |places| places[*row]);
            DeadLetter { offset: offset(place), reason: String::new(), raw: row_as_json(last, *row) }
        };
        rows.iter().map(found).collect()
    }
}
