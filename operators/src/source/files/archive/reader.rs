//! Some files of an hour, one after another.
//!
//! Invariant: the position is the file being read and the number of its rows that are behind, whether they came out or not.

use super::{
    EventTimeRange,
    judge::{Verdict, judge},
};
use crate::dead_letters::{DeadLetter, row_as_json};
use crate::source::{
    files::{
        listing::FoundFile,
        parquet_split::{ParquetSettings, open},
    },
    parquet::{ParquetRows, is_damage},
    split_reader::{SplitEvent, SplitReader},
};
use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

/// A split and how far it has been read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredArchiveSplit {
    /// Identity: the name of the first file.
    pub(super) id: String,
    /// Start of the hour.
    pub(super) hour_ms: i64,
    /// The files that are not read to their end, in the order in which they are read.
    pub(super) files: Vec<String>,
    /// Rows of the first of them that are behind.
    pub(super) row: u64,
    /// Size of the first of them, once it has been opened: one that was replaced is recognised by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file_bytes: Option<u64>,
}

impl StoredArchiveSplit {
    /// Without files yet.
    pub(super) fn of(hour_ms: i64, first_file: &str) -> Self {
        StoredArchiveSplit { id: first_file.to_owned(), hour_ms, files: Vec::new(), row: 0, file_bytes: None }
    }
}

pub(super) struct ArchiveSplitReader {
    /// As in `stored.files`.
    pub(super) files: Vec<FoundFile>,
    pub(super) parquet: Arc<ParquetSettings>,
    pub(super) event_time: String,
    pub(super) range: EventTimeRange,
    pub(super) all_or_nothing: bool,
    /// Rows to be read one by one, to find the one that damage begins with.
    pub(super) careful: usize,
    pub(super) stored: StoredArchiveSplit,
    /// The first file, open.
    pub(super) rows: Option<ParquetRows>,
    /// The rows that came out last.
    pub(super) last: Option<LastRows>,
    pub(super) env: Env,
}

/// Rows that came out, and where they stand.
pub(super) struct LastRows {
    rows: RecordBatch,
    /// Their places in the file.
    places: Vec<u64>,
}

impl ArchiveSplitReader {
    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        self.last = None;
        loop {
            let Some(file) = self.files.first() else { return Ok(SplitEvent::Finished) };
            if self.rows.is_none() {
                self.env.crash_point("files.opening")?;
                let opened = match open(file).await {
                    Ok(opened) => match self.parquet.check(&opened) {
                        Ok(()) => opened,
                        Err(problem) => return self.pass_over(format!("{}: {problem}", file.name)),
                    },
                    Err(error) if is_damage(&error) => return self.pass_over(error.message),
                    Err(error) => return Err(error),
                };
                self.env.crash_point("files.opened")?;
                let mut whole = opened.whole();
                whole.file_bytes = *self.stored.file_bytes.get_or_insert(whole.file_bytes);
                self.rows = Some(opened.rows_of(whole, &self.parquet.columns, self.stored.row)?);
            }
            let Some(rows) = &mut self.rows else { continue };
            let (careful, max_rows) = (self.careful > 0, if self.careful > 0 { 1 } else { max_rows });
            match rows.next(max_rows).await {
                // All rows before the damage come out, however many are asked for at once.
                Err(error) if is_damage(&error) && !careful && max_rows > 1 => self.careful = max_rows,
                Err(error) if is_damage(&error) && !self.all_or_nothing => {
                    let (first, skipped) = (self.stored.row, rows.skip_group());
                    (self.stored.row, self.careful) = (rows.position(), 0);
                    let reason = format!("{}; {skipped} rows from this one on are not read", error.message);
                    return self.unread(first, reason);
                }
                Err(error) if is_damage(&error) => return Err(all_or_nothing(error.message)),
                Err(error) => return Err(error),
                Ok(Some(columns)) => {
                    self.careful = self.careful.saturating_sub(1);
                    let first_row = self.stored.row;
                    let refused = rows.refused().to_vec();
                    self.stored.row = rows.position();
                    let event = self.sort_out(columns, refused, first_row)?;
                    if let SplitEvent::Records { columns, dead_letters } = &event
                        && (columns.num_rows() > 0 || !dead_letters.is_empty())
                    {
                        return Ok(event);
                    }
                }
                Ok(None) => self.next_file(),
            }
        }
    }

    fn next_file(&mut self) {
        self.files.remove(0);
        self.stored.files.remove(0);
        (self.rows, self.stored.row, self.stored.file_bytes, self.careful) = (None, 0, None, 0);
    }

    /// Nothing of the first file can be read.
    fn pass_over(&mut self, problem: String) -> Result<SplitEvent> {
        if self.all_or_nothing {
            return Err(all_or_nothing(problem));
        }
        self.next_file();
        self.unread(0, problem)
    }

    fn unread(&self, first: u64, reason: String) -> Result<SplitEvent> {
        tracing::warn!("a file, or a part of one, is not read: {reason}");
        let columns = RecordBatch::new_empty(Arc::new(self.parquet.columns.clone()));
        let dead_letters = vec![DeadLetter { offset: offset(first), reason, raw: String::new() }];
        Ok(SplitEvent::Records { columns, dead_letters })
    }

    /// Takes out the rows that are not asked for, and those that should not be there.
    fn sort_out(&mut self, columns: RecordBatch, refused: Vec<(usize, String)>, first_row: u64) -> Result<SplitEvent> {
        let judged = judge(&columns, &self.event_time, self.stored.hour_ms, self.range);
        let name = self.files.first().map(|file| file.name.as_str()).unwrap_or_default();
        let Verdict { mut wanted, mut misplaced } = judged.map_err(|error| error.context(name))?;
        if !refused.is_empty() {
            let is_refused = |row: usize| refused.binary_search_by_key(&row, |(refused, _)| *refused).is_ok();
            let was_wanted = |row: usize| wanted.as_ref().is_none_or(|wanted| wanted.value(row));
            let still_wanted = (0..columns.num_rows()).map(|row| Some(was_wanted(row) && !is_refused(row)));
            let still_wanted = BooleanArray::from_iter(still_wanted);
            misplaced.retain(|(row, _)| !is_refused(*row));
            wanted = Some(still_wanted);
            misplaced.extend(refused);
            misplaced.sort_by_key(|(row, _)| *row);
        }
        let place = |row: usize| first_row + row as u64;
        let dead_letters = misplaced.into_iter().map(|(row, reason)| DeadLetter {
            offset: offset(place(row)),
            reason: format!("{name}: {reason}"),
            raw: row_as_json(&columns, row),
        });
        let dead_letters = dead_letters.collect();
        let (rows, places) = match wanted {
            None => (columns.clone(), (0..columns.num_rows()).map(place).collect()),
            Some(wanted) => {
                let kept = (0..columns.num_rows()).filter(|row| wanted.value(*row));
                (filter_record_batch(&columns, &wanted)?, kept.map(place).collect())
            }
        };
        self.last = Some(LastRows { rows: rows.clone(), places });
        Ok(SplitEvent::Records { columns: rows, dead_letters })
    }
}

fn all_or_nothing(problem: String) -> EngineError {
    EngineError::corrupt(format!(
        "{problem}. Without it the windows of its hour would be counted wrongly, so they are not replaced: bring the file back \
         from a copy, or leave its hour out of the range"
    ))
}

fn offset(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

impl SplitReader for ArchiveSplitReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        self.next(max_rows).boxed()
    }

    fn position(&self) -> serde_json::Value {
        serde_json::json!(self.stored)
    }

    /// The offset is the number of the row in its file, from 0.
    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let Some(last) = &self.last else { return Vec::new() };
        let found = |row: &usize| {
            let place = *last.places.get(*row)?;
            Some(DeadLetter { offset: offset(place), reason: String::new(), raw: row_as_json(&last.rows, *row) })
        };
        rows.iter().filter_map(found).collect()
    }
}
