//! The first records of a split, held until it is known where its time begins: the very first may be the wrong ones.
//!
//! Invariant: nothing of what is held has come out of the split, and [`resume`](Head::resume) is the position right before
//! it; so a restart reads it again, and decides the same. Which records are looked at follows from the split alone: those
//! from the first readable one on, so many as the rule says or there are, however they are cut into chunks.

use super::{event_times::EventTimes, jump::JumpRule, split_reader::SplitReader};
use crate::dead_letters::DeadLetter;
use arrow::array::RecordBatch;
use std::collections::VecDeque;
use weir_engine::{element::Origin, error::Result};

/// What a split has said at once.
pub(super) struct Chunk {
    pub(super) columns: RecordBatch,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) origin: Origin,
}

/// A chunk that waits.
pub(super) struct Held {
    pub(super) chunk: Chunk,
    /// Where its rows stand; none where the split can still tell.
    pub(super) located: Option<Vec<DeadLetter>>,
    /// The split's position right after it.
    after: serde_json::Value,
}

/// The first records of one split.
pub(super) struct Head {
    /// So many are looked at.
    most: usize,
    records: usize,
    event_times: Vec<i64>,
    held: VecDeque<Held>,
    resume: serde_json::Value,
}

/// What has become of a chunk.
pub(super) enum Added {
    /// No row has come yet that could be looked at: it need not wait.
    Passed(Chunk),
    /// It waits for more.
    Held,
    /// It waits, and the head is complete.
    Complete,
}

impl Head {
    /// Of a split that stands at `position`.
    pub(super) fn new(rule: &JumpRule, position: serde_json::Value) -> Self {
        let most = usize::try_from(rule.after.rows).unwrap_or(usize::MAX).max(1);
        Head { most, records: 0, event_times: Vec::new(), held: VecDeque::new(), resume: position }
    }

    /// The event times that have come, in their order.
    pub(super) fn event_times(&self) -> &[i64] {
        &self.event_times
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The position right before what waits; none where nothing does.
    pub(super) fn resume(&self) -> Option<&serde_json::Value> {
        (!self.held.is_empty()).then_some(&self.resume)
    }

    /// The next chunk, the last that `reader` has given.
    pub(super) fn add(&mut self, chunk: Chunk, event_time: &str, reader: &dyn SplitReader) -> Result<Added> {
        self.look_at(&chunk, event_time, reader)?;
        if self.event_times.is_empty() {
            self.resume = reader.position();
            return Ok(Added::Passed(chunk));
        }
        let is_complete = self.records >= self.most || reader.is_over();
        // Of the last chunk the reader can tell where the rows are, when they are asked for.
        let all = || (0..chunk.columns.num_rows()).collect::<Vec<_>>();
        let located = (!is_complete).then(|| reader.locate_rows(&all()));
        self.held.push_back(Held { chunk, located, after: reader.position() });
        Ok(if is_complete { Added::Complete } else { Added::Held })
    }

    /// The first chunk that waits.
    pub(super) fn release(&mut self) -> Option<Held> {
        let mut held = self.held.pop_front()?;
        self.resume = held.after.take();
        Some(held)
    }

    /// Counts records and takes their event times, in the order in which they stand in the split.
    fn look_at(&mut self, chunk: &Chunk, event_time: &str, reader: &dyn SplitReader) -> Result<()> {
        let times = EventTimes::of(&chunk.columns, event_time)?;
        let plausible = times.plausible();
        let rows = chunk.columns.num_rows().min(self.most.saturating_sub(self.records));
        let of_row = |row: usize| {
            let right = plausible.as_ref().is_none_or(|plausible| plausible.value(row));
            right.then(|| times.values()[row])
        };
        if chunk.dead_letters.is_empty() {
            (0..rows).for_each(|row| self.record(of_row(row)));
            return Ok(());
        }
        let located = reader.locate_rows(&(0..rows).collect::<Vec<_>>());
        let mut records: Vec<(i64, Option<i64>)> =
            located.iter().enumerate().map(|(row, found)| (found.offset, of_row(row))).collect();
        records.extend(chunk.dead_letters.iter().map(|dead_letter| (dead_letter.offset, None)));
        records.sort_by_key(|(offset, _)| *offset);
        records.into_iter().for_each(|(_, event_time)| self.record(event_time));
        Ok(())
    }

    fn record(&mut self, event_time: Option<i64>) {
        if self.records >= self.most || (self.records == 0 && event_time.is_none()) {
            return;
        }
        self.records += 1;
        self.event_times.extend(event_time);
    }
}
