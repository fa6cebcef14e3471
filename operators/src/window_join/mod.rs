//! The join of results by their windows: the results of two aggregates that have one window and the same values of some columns.
//!
//! A pair of results is a result when both inputs have come past the end of their window, so that neither side has one still to
//! come that is on time. A result without a partner is one, too, where the type of the join keeps its side: with nulls for the other.
//! Of each result the newest revision counts, and a withdrawn one counts nowhere, on either side. So whatever corrects a row
//! corrects what it is part of, by the next revision; and what follows no longer is withdrawn.
//!
//! The record id follows from the window, the values of `on` and what identifies the rows beside them: nothing of a *single* side,
//! whose key is `on` and nothing else, and of another the row's own record id, or that it has no row. So where both sides are
//! single, a result keeps its id when its partner comes or goes; where one is not, the row without a partner is a record of its
//! own, which is withdrawn when a partner comes. A null in `on` equals nothing, as in SQL; such rows have ids that tell the sides apart.
//!
//! Why results follow from the input alone: all revisions of either side come before event time is past the time for which the window
//! is corrected ([`WindowRule::expiry`](crate::window::WindowRule::expiry)), and what holds is found from the newest of them, whatever came before.
//!
//! State: per window the newest rows of both sides and what was put out of them, dropped whole when neither side can correct it
//! any more. Invariant: a result is put out again only when it is made of other revisions of its rows than what is out, and what is
//! out is stored with the barrier behind it. So what comes again after a restore is put out once.

mod config;
mod emission;
mod given;
mod state;
#[cfg(test)]
mod tests;
mod window;

use crate::columns::WINDOW_END;
use crate::join::Side;
use crate::result_rows::ResultRows;
use crate::table::RowsByBucket;
use arrow::record_batch::RecordBatch;
pub use config::{JoinType, WindowJoinColumn, WindowJoinConfig, WindowJoinInput};
use emission::Emission;
pub use emission::columns;
use given::Unsaved;
use state::{JoinState, SegmentOf};
use std::collections::BTreeMap;
use weir_engine::{
    EngineError, Result,
    element::{Batch, WATERMARK_MIN},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};
use window::Window;

/// The operator. Counts results when they are put out first as `joined`, and as `corrections` what takes their place.
#[derive(Debug)]
pub struct WindowJoin {
    config: WindowJoinConfig,
    context: OperatorContext,
    /// Of the columns of `on`, on each side.
    hashers: [KeyHasher; 2],
    emission: Emission,
    state: JoinState,
    /// By their ends.
    windows: BTreeMap<i64, Window>,
    watermark: i64,
    parted: RowsByBucket,
    joined: Counter,
    corrections: Counter,
}

impl WindowJoin {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: WindowJoinConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        Ok(WindowJoin {
            context: context.clone(),
            hashers: [&config.left, &config.right].map(|input| KeyHasher::new(input.on.clone())),
            emission: Emission::new(&config, context),
            state: JoinState::new(&config),
            windows: BTreeMap::new(),
            watermark: WATERMARK_MIN,
            parted: RowsByBucket::default(),
            joined: context.counters.counter("joined"),
            corrections: context.counters.counter("corrections"),
            config,
        })
    }

    fn add(&mut self, side: Side, batch: &Batch) -> Result<()> {
        let hashes = self.hashers[side as usize].hashes_of(batch)?.to_vec();
        let (rows, ends) = ResultRows::of(&batch.columns, self.config.input(side).kept.names(), hashes, WINDOW_END)?;
        let rule = self.config.windows;
        if let Some(end) = ends.iter().find(|end| rule.expiry(**end) <= self.watermark) {
            return Err(EngineError::internal(format!(
                "a result of the window that ends at {end} has come after event time {}, when nothing corrects it any more",
                self.watermark
            )));
        }
        self.parted.part_exactly(&ends);
        for (end, piece) in self.parted.iter() {
            self.windows.entry(end).or_default().side_mut(side).add(rows.take(piece)?)?;
        }
        Ok(())
    }

    /// Puts out what follows from the windows that both sides have come past, as far as readers do not have it.
    fn settle(&mut self, out: &mut Collector) -> Result<()> {
        let mut picked = Vec::new();
        for (end, window) in self.windows.range_mut(..=self.watermark).filter(|(_, window)| window.has_changes()) {
            let bounds = (self.config.windows.window_start(*end), *end);
            for hash in window.changed() {
                window.pick(hash, &self.config, &mut picked);
                if picked.len() >= emission::MOST_ROWS {
                    self.context.canceled.check()?;
                    self.emission.emit(bounds, &picked, window, out)?;
                    count(&self.joined, &self.corrections, &mut picked);
                }
            }
            self.emission.emit(bounds, &picked, window, out)?;
            count(&self.joined, &self.corrections, &mut picked);
            window.settle();
        }
        Ok(())
    }

    /// Drops the windows that nothing corrects any more.
    fn expire(&mut self) {
        let (rule, watermark) = (self.config.windows, self.watermark);
        while let Some(first) = self.windows.first_entry().filter(|first| rule.expiry(*first.key()) <= watermark) {
            first.remove();
        }
    }

    fn restore_segment(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        let most = self.context.max_parallelism;
        match SegmentOf::parse(segment)? {
            SegmentOf::Side(side, end) => {
                let restored = self.state.restored_rows((segment, side), rows, key_groups, most)?;
                if !restored.is_empty() {
                    self.windows.entry(end).or_default().side_mut(side).restore(restored)?;
                }
            }
            SegmentOf::Given(end) => {
                for (identity, given) in self.state.restored_given(segment, rows, key_groups, most)? {
                    self.windows.entry(end).or_default().given.restore(identity, given);
                }
            }
        }
        Ok(())
    }
}

/// Counts what was put out.
fn count(joined: &Counter, corrections: &Counter, picked: &mut Vec<window::Picked>) {
    let first = picked.iter().filter(|picked| picked.revision == 0).count();
    joined.add(first as u64);
    corrections.add((picked.len() - first) as u64);
    picked.clear();
}

impl Operator for WindowJoin {
    fn process(&mut self, input: usize, batch: Batch, _out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let side = if input == 0 { Side::Left } else { Side::Right };
        self.add(side, &batch).map_err(|error| error.context(&self.context.operator))
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        if watermark <= self.watermark {
            return Ok(());
        }
        self.watermark = watermark;
        self.settle(out)?;
        self.expire();
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let mut segments = Vec::with_capacity(3 * self.windows.len());
        for (end, window) in &mut self.windows {
            for side in [Side::Left, Side::Right] {
                if window.side(side).pieces().is_empty() {
                    continue;
                }
                let state = self.state.clone();
                let change = window.side_mut(side).change(move |rows| state.rows(side, rows))?;
                segments.push(Segment { id: SegmentOf::Side(side, *end).name(), change });
            }
            if window.given.is_empty() {
                continue;
            }
            let state = self.state.clone();
            let change = match window.given.take_unsaved() {
                Unsaved::None => Change::Unchanged,
                Unsaved::Some(rows) => Change::Append(StateRows::deferred(move || Ok(vec![state.given(&rows)?]))),
                Unsaved::All(rows) => Change::Replace(StateRows::deferred(move || Ok(vec![state.given(&rows)?]))),
            };
            segments.push(Segment { id: SegmentOf::Given(*end).name(), change });
        }
        Ok(Snapshot { segments })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        self.restore_segment(segment, rows, key_groups).map_err(|error| error.context(&self.context.operator))
    }
}
