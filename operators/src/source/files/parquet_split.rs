//! Row groups of a Parquet file as a split of the files source.
//!
//! Invariant: a split's position is the number of its rows that came out; where it begins in the file is a part of its
//! identity. What is wrong with a file ends no job: one that is no Parquet, or cannot be read as is declared, is a split of one
//! dead letter; a row group that is damaged is a dead letter behind the last row of it that can be read.

use super::{
    empty_columns::ToldFiles,
    listing::{FoundFile, Place},
    parquet_times::DeclaredTimes,
};
use crate::dead_letters::{DeadLetter, row_as_json};
use crate::source::{
    JumpRule,
    parquet::{ParquetFile, ParquetLocation, ParquetRows, ParquetSplit, is_damage},
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
    /// Of how many files it was said which columns they lack.
    pub(super) told: ToldFiles,
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
    /// Why nothing of the file is read, until that has come out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unreadable: Option<String>,
}

/// How a file is cut. Subtasks agree on it, so it is read by other versions, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlannedFile {
    /// Its name.
    pub(super) file: String,
    /// One behind the other, from its first row on.
    splits: Vec<ParquetSplit>,
    /// Why nothing of it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

impl PlannedFile {
    /// A file of which nothing is read, as a split.
    fn unreadable(file: &FoundFile, problem: String) -> Self {
        let split = ParquetSplit { row_groups: 0..0, rows: 0, file_bytes: 0, newest_before_ms: None };
        PlannedFile { file: file.name.clone(), splits: vec![split], unreadable: Some(problem) }
    }

    /// Its splits, of which nothing has been read.
    pub(super) fn into_splits(self) -> Vec<StoredParquetSplit> {
        let PlannedFile { file, splits, unreadable } = self;
        let mut first_row = 0;
        let place = |split: ParquetSplit| {
            let (file, unreadable) = (file.clone(), unreadable.clone());
            let stored = StoredParquetSplit { file, first_row, split, row: 0, unreadable };
            first_row += stored.split.rows;
            stored
        };
        splits.into_iter().map(place).collect()
    }
}

impl StoredParquetSplit {
    pub(super) fn id(&self) -> String {
        format!("{}#{}", self.file, self.first_row)
    }

    /// Says so, where nothing is read of the file.
    pub(super) fn tell_unreadable(&self) {
        if let Some(problem) = &self.unreadable {
            tracing::warn!("a file is not read: {problem}");
        }
    }

    pub(super) fn newest_before_ms(&self) -> Option<i64> {
        self.split.newest_before_ms
    }
}

impl ParquetSettings {
    /// Cuts a file into splits.
    ///
    /// # Errors
    /// When the storage does not give the file.
    pub(super) async fn plan(&self, file: &FoundFile) -> Result<PlannedFile> {
        let opened = match open(file).await {
            Ok(opened) => opened,
            Err(error) if is_damage(&error) => return Ok(PlannedFile::unreadable(file, error.message)),
            Err(error) => return Err(error),
        };
        if let Err(problem) = self.check(&opened) {
            return Ok(PlannedFile::unreadable(file, format!("{}: {problem}", file.name)));
        }
        let splits = match self.uncut {
            true => vec![opened.whole()],
            false => opened.splits(self.event_time.as_deref(), self.jump),
        };
        Ok(PlannedFile { file: file.name.clone(), splits, unreadable: None })
    }

    /// What to ask a file for.
    fn wanted(&self, file: &ParquetFile) -> Schema {
        self.times.request(&self.columns, file.schema())
    }

    /// Whether the rows of a file can be read as is declared.
    pub(super) fn check(&self, file: &ParquetFile) -> std::result::Result<(), String> {
        let missing = file.missing_columns(&self.wanted(file))?;
        match self.event_time.as_ref().filter(|event_time| missing.contains(event_time)) {
            Some(event_time) if file.rows() > 0 => {
                let found: Vec<&str> = file.schema().fields().iter().map(|field| field.name().as_str()).collect();
                let found = found.join(", ");
                Err(format!("there is no column '{event_time}', the event time; the columns found are: {found}"))
            }
            _ => Ok(()),
        }
    }

    /// Says which columns a file lacks.
    fn tell_missing(&self, file: &ParquetFile) {
        let missing = file.missing_columns(&self.wanted(file)).unwrap_or_default();
        if !missing.is_empty() && self.told.once_more() {
            let (file, columns) = (file.name(), missing.join(", "));
            tracing::warn!(file, columns, "columns that a file lacks, so they are null: are their names right?");
        }
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
    /// Rows to be read one by one, to find the one that damage begins with.
    careful: usize,
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
        ParquetSplitReader { file, settings, stored, rows: None, last: None, careful: 0, env }
    }

    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        self.last = None;
        if let Some(reason) = self.stored.unreadable.take() {
            return Ok(self.without_rows(DeadLetter { offset: 0, reason, raw: String::new() }));
        }
        loop {
            if self.stored.row == self.stored.split.rows {
                self.rows = None;
                return Ok(SplitEvent::Finished);
            }
            let (careful, max_rows) = (self.careful > 0, if self.careful > 0 { 1 } else { max_rows });
            let rows = match &mut self.rows {
                Some(rows) => rows,
                None => {
                    self.env.crash_point("files.opening")?;
                    let file = open(&self.file).await?;
                    self.env.crash_point("files.opened")?;
                    let StoredParquetSplit { split, row, first_row, .. } = &self.stored;
                    if (*first_row, *row) == (0, 0) {
                        self.settings.tell_missing(&file);
                    }
                    let rows = file.rows_of(split.clone(), &self.settings.wanted(&file), *row)?;
                    self.rows.insert(rows)
                }
            };
            match rows.next(max_rows).await {
                Ok(Some(columns)) => {
                    let mut refused = rows.refused().to_vec();
                    self.careful = self.careful.saturating_sub(1);
                    self.stored.row = rows.position();
                    let columns = self.settings.times.convert(columns, &mut refused)?;
                    return self.sort_out(columns, refused);
                }
                Ok(None) => self.stored.row = self.stored.split.rows,
                // All rows before the damage come out, however many are asked for at once.
                Err(error) if is_damage(&error) && !careful && max_rows > 1 => self.careful = max_rows,
                Err(error) if is_damage(&error) => {
                    let (first, skipped) = (self.stored.first_row + self.stored.row, rows.skip_group());
                    self.stored.row = rows.position();
                    self.careful = 0;
                    let reason = format!("{}; {skipped} rows from this one on are not read", error.message);
                    tracing::warn!("a part of a file is not read: {reason}");
                    return Ok(self.without_rows(DeadLetter { offset: offset(first), reason, raw: String::new() }));
                }
                Err(error) => return Err(error),
            }
        }
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

    fn without_rows(&self, dead_letter: DeadLetter) -> SplitEvent {
        let columns = RecordBatch::new_empty(Arc::new(self.settings.columns.clone()));
        SplitEvent::Records { columns, dead_letters: vec![dead_letter] }
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
            let place = match places {
                Some(places) => *places.get(*row)?,
                None => first + *row as u64,
            };
            Some(DeadLetter { offset: offset(place), reason: String::new(), raw: row_as_json(last, *row) })
        };
        rows.iter().filter_map(found).collect()
    }
}
