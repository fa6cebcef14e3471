//! The right rows of one piece of event time.

use super::keyed_rows::KeyedRows;
use std::ops::Range;

/// The right rows of one piece of event time.
#[derive(Debug)]
pub(super) struct RightRows {
    pub(super) rows: KeyedRows,
    /// Rows from here on have come since left rows were last answered: an answer that was given before does not know them.
    settled: u32,
    /// Rows from here on are in no checkpoint.
    unsaved: u32,
    is_sealed: bool,
}

impl RightRows {
    pub(super) fn new(rows: KeyedRows) -> Self {
        RightRows { rows, settled: 0, unsaved: 0, is_sealed: false }
    }

    /// Whether a row has come since left rows were last answered.
    pub(super) fn is_new(&self, row: u32) -> bool {
        row >= self.settled
    }

    /// All answers know all rows.
    pub(super) fn settle(&mut self) {
        self.settled = self.rows.len() as u32;
    }

    /// All rows are out of a checkpoint, and left rows had been answered with them.
    pub(super) fn mark_restored(&mut self) {
        self.settle();
        self.unsaved = self.settled;
    }

    /// The rows that a checkpoint has to write.
    pub(super) fn take_unsaved(&mut self) -> Range<u32> {
        let end = self.rows.len() as u32;
        std::mem::replace(&mut self.unsaved, end)..end
    }

    pub(super) fn seal(&mut self) {
        if !std::mem::replace(&mut self.is_sealed, true) {
            self.rows.seal();
        }
    }
}
