//! The left rows of one piece of event time, and how each was answered.

use super::keyed_rows::{Incoming, KeyedRows};
use crate::table::Rows;
use hashbrown::HashMap;
use std::{collections::BTreeMap, ops::Range};
use weir_engine::{
    Result,
    hash::{combine, hash_integer},
};

/// How a left row was answered: not yet, as unmatched, or with a match, by the revision of the last one. It only ever rises.
pub(super) type Answer = i32;
/// Its time has not come yet.
pub(super) const WAITING: Answer = -2;
/// There was no right row for it.
pub(super) const UNMATCHED: Answer = -1;

/// Answers that are stored more than once are written anew when there are more of them than of rows, and more than these.
const STALE_ANSWERS: usize = 4096;

/// The left rows of one piece of event time.
#[derive(Debug)]
pub(super) struct LeftRows {
    pub(super) rows: KeyedRows,
    /// Which of several equal rows each is.
    ordinals: Vec<u32>,
    answers: Vec<Answer>,
    /// How many rows there are of each kind: equal in their time and all their columns.
    equals: HashMap<u128, u32>,
    /// The rows that wait, by their time.
    waiting: BTreeMap<i64, Vec<u32>>,
    /// Rows from here on are in no checkpoint.
    unsaved: u32,
    /// Rows whose answer no checkpoint has.
    unsaved_answers: Vec<u32>,
    stored_answers: usize,
}

/// What a checkpoint has to write of answers.
pub(super) enum UnsavedAnswers {
    None,
    /// Those of these rows came.
    Some(Vec<u32>),
    /// Those of these rows are all there are.
    All(Vec<u32>),
}

impl LeftRows {
    pub(super) fn new(rows: KeyedRows) -> Self {
        LeftRows {
            rows,
            ordinals: Vec::new(),
            answers: Vec::new(),
            equals: HashMap::new(),
            waiting: BTreeMap::new(),
            unsaved: 0,
            unsaved_answers: Vec::new(),
            stored_answers: 0,
        }
    }

    /// Adds rows that came.
    pub(super) fn add(&mut self, incoming: Incoming<'_>, rows: Rows<'_>) -> Result<()> {
        for row in self.rows.add(incoming, rows)? {
            let equals = self.equals.entry(self.kind(row)).or_default();
            self.ordinals.push(*equals);
            *equals += 1;
            self.answers.push(WAITING);
            self.waiting.entry(self.rows.time(row)).or_default().push(row);
        }
        Ok(())
    }

    /// Adds rows that a checkpoint holds.
    pub(super) fn restore(&mut self, incoming: Incoming<'_>, rows: Rows<'_>, ordinals: &[u32]) -> Result<()> {
        for (n, row) in self.rows.add(incoming, rows)?.enumerate() {
            let ordinal = ordinals[rows.row(n)];
            let equals = self.equals.entry(self.kind(row)).or_default();
            *equals = (*equals).max(ordinal + 1);
            self.ordinals.push(ordinal);
            self.answers.push(WAITING);
            self.waiting.entry(self.rows.time(row)).or_default().push(row);
        }
        self.unsaved = self.rows.len() as u32;
        Ok(())
    }

    /// Takes up the answers that a checkpoint holds, by the [`identity`](Self::identity) of their rows. Gives the latest time of a
    /// row with an answer.
    pub(super) fn restore_answers(&mut self, stored: &HashMap<u128, Answer>) -> Option<i64> {
        let mut newest = None;
        for row in 0..self.rows.len() as u32 {
            if let Some(answer) = stored.get(&self.identity(row)) {
                self.answers[row as usize] = *answer;
                self.stored_answers += 1;
                newest = newest.max(Some(self.rows.time(row)));
            }
        }
        newest
    }

    /// What a row and its equals have in common.
    fn kind(&self, row: u32) -> u128 {
        combine(&[self.rows.row_hash(row), hash_integer(self.rows.time(row))])
    }

    /// A row among all rows.
    pub(super) fn identity(&self, row: u32) -> u128 {
        identity(self.rows.row_hash(row), self.rows.time(row), self.ordinal(row))
    }

    pub(super) fn ordinal(&self, row: u32) -> u32 {
        self.ordinals[row as usize]
    }

    pub(super) fn answer(&self, row: u32) -> Answer {
        self.answers[row as usize]
    }

    pub(super) fn set_answer(&mut self, row: u32, answer: Answer) {
        self.answers[row as usize] = answer;
        self.unsaved_answers.push(row);
    }

    /// Takes the rows that wait and are no later than that.
    pub(super) fn take_due(&mut self, until: i64) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= until) {
            due.extend(first.remove());
        }
        due.retain(|row| self.answer(*row) == WAITING);
        due
    }

    /// The rows that a checkpoint has to write.
    pub(super) fn take_unsaved(&mut self) -> Range<u32> {
        let end = self.rows.len() as u32;
        std::mem::replace(&mut self.unsaved, end)..end
    }

    /// The answers that a checkpoint has to write.
    pub(super) fn take_unsaved_answers(&mut self) -> UnsavedAnswers {
        let mut rows = std::mem::take(&mut self.unsaved_answers);
        rows.sort_unstable();
        rows.dedup();
        let stored = self.stored_answers + rows.len();
        if stored > STALE_ANSWERS + self.rows.len() {
            let all: Vec<u32> = (0..self.rows.len() as u32).filter(|row| self.answer(*row) != WAITING).collect();
            self.stored_answers = all.len();
            return UnsavedAnswers::All(all);
        }
        self.stored_answers = stored;
        if rows.is_empty() { UnsavedAnswers::None } else { UnsavedAnswers::Some(rows) }
    }

    /// Whether a checkpoint holds answers of these rows.
    pub(super) fn has_answers(&self) -> bool {
        self.stored_answers > 0
    }
}

/// A left row among all rows: by the hash of its columns, its time, and which of several equal rows it is.
pub(super) fn identity(row_hash: u128, time: i64, ordinal: u32) -> u128 {
    combine(&[row_hash, hash_integer(time), hash_integer(ordinal.into())])
}
