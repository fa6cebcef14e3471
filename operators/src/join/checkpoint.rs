//! A join and its checkpoints: what came since the last one goes out, and what a checkpoint holds comes back.

use super::Join;
use super::config::Side;
use super::keyed_rows::Incoming;
use super::left::UnsavedAnswers;
use super::state::SegmentOf;
use crate::table::Rows;
use arrow::record_batch::RecordBatch;
use weir_engine::{
    Result,
    key_group::KeyGroupRange,
    state::{Change, Segment, StateRows},
};

impl Join {
    /// What a checkpoint writes.
    pub(super) fn segments(&mut self) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        let state = &self.state;
        for (start, bucket) in self.sides.left.iter_mut() {
            let rows = bucket.take_unsaved();
            let change = appended(rows.is_empty(), || state.left_rows(bucket, rows))?;
            segments.push(Segment { id: SegmentOf::Left(start).name(), change });
            let answers = match bucket.take_unsaved_answers() {
                UnsavedAnswers::None if !bucket.has_answers() => continue,
                UnsavedAnswers::None => Change::Unchanged,
                UnsavedAnswers::Some(rows) => Change::Append(StateRows::ready(state.answers(bucket, &rows)?)),
                UnsavedAnswers::All(rows) => Change::Replace(StateRows::ready(state.answers(bucket, &rows)?)),
            };
            segments.push(Segment { id: SegmentOf::Answers(start).name(), change: answers });
        }
        for (start, bucket) in self.sides.right.iter_mut() {
            let rows = bucket.take_unsaved();
            let change = appended(rows.is_empty(), || state.right_rows(&bucket.rows, rows))?;
            segments.push(Segment { id: SegmentOf::Right(start).name(), change });
        }
        Ok(segments)
    }

    /// Takes back rows of a segment, as far as they are of these key groups.
    pub(super) fn restore_segment(
        &mut self,
        segment: &str,
        rows: &RecordBatch,
        key_groups: KeyGroupRange,
    ) -> Result<()> {
        match SegmentOf::parse(segment)? {
            SegmentOf::Left(start) => self.restore_rows((segment, Side::Left, start), rows, key_groups),
            SegmentOf::Right(start) => self.restore_rows((segment, Side::Right, start), rows, key_groups),
            SegmentOf::Answers(_) => {
                let max_parallelism = self.context.max_parallelism;
                let answers = self.state.restored_answers(segment, rows, key_groups, max_parallelism)?;
                for (row, answer) in answers {
                    let known = self.restored_answers.entry(row).or_insert(answer);
                    *known = answer.max(*known);
                }
                Ok(())
            }
        }
    }

    /// What a checkpoint held is whole before anything is done with it.
    pub(super) fn take_up_restored(&mut self) {
        if self.restored_answers.is_empty() {
            return;
        }
        let stored = std::mem::take(&mut self.restored_answers);
        for (_, bucket) in self.sides.left.iter_mut() {
            self.newest_answered = self.newest_answered.max(bucket.restore_answers(&stored));
        }
    }

    fn restore_rows(
        &mut self,
        (segment, side, start): (&str, Side, i64),
        rows: &RecordBatch,
        key_groups: KeyGroupRange,
    ) -> Result<()> {
        let max_parallelism = self.context.max_parallelism;
        let restored = self.state.restored_rows((segment, side), rows, key_groups, max_parallelism)?;
        if restored.hashes.is_empty() {
            return Ok(());
        }
        let row_hashes = match self.needs_row_hashes(side) {
            true => self.rows[side as usize].hash(&restored.columns)?,
            false => Vec::new(),
        };
        let incoming = Incoming {
            hashes: &restored.hashes,
            times: &restored.times,
            row_hashes: &row_hashes,
            columns: restored.columns.columns(),
        };
        let all = Rows::All(restored.hashes.len());
        match side {
            Side::Left => self.sides.open_left(start, &self.config)?.restore(incoming, all, &restored.ordinals),
            Side::Right => {
                let bucket = self.sides.open_right(start, &self.config)?;
                bucket.rows.add(incoming, all)?;
                bucket.mark_restored();
                Ok(())
            }
        }
    }
}

/// Rows that came to a segment, if any did.
fn appended(is_empty: bool, rows: impl FnOnce() -> Result<Vec<RecordBatch>>) -> Result<Change> {
    Ok(if is_empty { Change::Unchanged } else { Change::Append(StateRows::ready(rows()?)) })
}
