//! Merges partials into keyed state, emits windows when they close, and corrects them within their lateness.
//!
//! State is kept by slice of event time, a table each; a window is one slice or several. At a watermark the windows that it
//! closes are emitted with revision 0, and of windows emitted before, the keys that have changed since, each with its
//! next revision. Rows for windows whose time is over go to the late port as partials and count as `late`; the gates before let none
//! come.
//!
//! Why a revision is never given twice: a key counts as emitted in a window if one of the window's slices held it when
//! the watermark passed the window's end, or at a later watermark. `emitted` says so for each key of a slice, and
//! `emitted_until` which windows are meant; both are in every checkpoint, with the revisions of corrected keys.
//!
//! Running counts of open windows go out before barriers, where they are asked for. Their revision is that of the barrier,
//! so that it is never given twice either, and no state: what a checkpoint holds, and when a window closes, are as without.

use super::config::AggregateConfig;
use super::emission::{Emission, Partials};
use super::groups::{GroupColumns, Groups, Scratch};
use super::running::RunningRule;
use super::slice::{Corrections, Slice};
use super::state::{StateLayout, misfit, restored_progress, restored_rows, time_in};
use crate::ports;
use crate::table::{Rows, RowsByBucket};
use crate::window::{MOST_OPEN_WINDOWS, WindowSpec};
use arrow::{
    array::{Array, UInt32Array},
    record_batch::RecordBatch,
};
use chrono::DateTime;
use std::collections::BTreeMap;
use weir_engine::{
    EngineError, Result,
    element::{Barrier, Batch, WATERMARK_MIN},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

const PROGRESS: &str = "progress";

/// The operator. Counts `events_counted`, `late`, `groups_emitted` and `corrections` (results that take the place of ones
/// that had been emitted); with running counts, `running_emitted`.
#[derive(Debug)]
pub struct GlobalAggregate {
    config: AggregateConfig,
    context: OperatorContext,
    hasher: KeyHasher,
    /// Made at the first batch or at the restore, which know the types.
    layout: Option<Layout>,
    slices: BTreeMap<i64, Slice>,
    corrections: BTreeMap<i64, Corrections>,
    /// Windows that end here or before have been emitted.
    emitted_until: i64,
    stored_progress: Option<i64>,
    parted: RowsByBucket,
    scratch: Scratch,
    running: Option<RunningRule>,
    /// With so many slices the log says that they are many.
    warn_at: usize,
    events_counted: Counter,
    late: Counter,
    groups_emitted: Counter,
    corrected: Counter,
}

#[derive(Debug)]
struct Layout {
    prototype: GroupColumns,
    emission: Emission,
    state: StateLayout,
}

impl GlobalAggregate {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense, or ask for sessions, which are [`SessionAggregate`](super::SessionAggregate)'s.
    pub fn new(config: AggregateConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        if !config.windows.window.has_slices() {
            return Err(EngineError::internal(format!("'{}': its windows have no slices", context.operator)));
        }
        let counter = |name| context.counters.counter(name);
        Ok(GlobalAggregate {
            context: context.clone(),
            hasher: KeyHasher::new(config.key.clone()),
            layout: None,
            slices: BTreeMap::new(),
            corrections: BTreeMap::new(),
            emitted_until: WATERMARK_MIN,
            stored_progress: None,
            parted: RowsByBucket::default(),
            scratch: Scratch::default(),
            warn_at: MOST_OPEN_WINDOWS as usize,
            running: config.running.map(|running| RunningRule::new(running, context)),
            events_counted: counter("events_counted"),
            late: counter("late"),
            groups_emitted: counter("groups_emitted"),
            corrected: counter("corrections"),
            config,
        })
    }

    /// The slices of the window that ends at `end`.
    fn slices_of(&self, end: i64) -> impl Iterator<Item = (&i64, &Slice)> {
        self.slices.range(self.config.windows.window_start(end)..end)
    }

    fn window(&self, end: i64) -> (i64, i64) {
        (self.config.windows.window_start(end), end)
    }

    /// Emits a window for the first time.
    fn emit_window(&self, end: i64, layout: &Layout, out: &mut Collector) -> Result<()> {
        let slices: Vec<&Slice> = self.slices_of(end).map(|(_, slice)| slice).collect();
        let window = self.window(end);
        let emitted = match slices.as_slice() {
            [] => 0,
            [only] => only.emit(window, &layout.emission, out)?,
            several => {
                let expected = several.iter().map(|slice| slice.groups.len()).max().unwrap_or(0);
                let mut merged = Groups::new(&layout.prototype, expected);
                let mut scratch = Scratch::default();
                for slice in several {
                    self.context.canceled.check()?;
                    merged.merge_groups(&slice.groups, slice.all(), &mut scratch)?;
                }
                Slice::of(merged).emit(window, &layout.emission, out)?
            }
        };
        if emitted > 0 {
            self.groups_emitted.add(emitted as u64);
        }
        Ok(())
    }

    /// Emits a window of those that grow for the first time, from what the one before it holds, where that begins as this one does.
    fn emit_grown(&self, end: i64, grown: &mut Option<Grown>, layout: &Layout, out: &mut Collector) -> Result<()> {
        let window = self.window(end);
        let (mut groups, until) = match grown.take() {
            Some(before) if before.start == window.0 => (before.groups, before.until),
            _ => (Groups::new(&layout.prototype, 0), window.0),
        };
        let mut scratch = Scratch::default();
        for slice in self.slices.range(until..end).map(|(_, slice)| slice) {
            self.context.canceled.check()?;
            groups.merge_groups(&slice.groups, slice.all(), &mut scratch)?;
        }
        let emitted = groups.len();
        layout.emission.window(window, &groups, Rows::All(emitted), vec![0; emitted], out)?;
        self.groups_emitted.add(emitted as u64);
        *grown = Some(Grown { start: window.0, until: end, groups });
        Ok(())
    }

    /// Emits the keys of an emitted window that have changed since.
    fn correct_window(&mut self, end: i64, layout: &Layout, out: &mut Collector) -> Result<()> {
        let mut corrections = self.corrections.remove(&end).unwrap_or_default();
        let slices: Vec<&Slice> = self.slices_of(end).map(|(_, slice)| slice).collect();
        let window = self.window(end);
        let keys = distinct(slices.iter().flat_map(|slice| slice.changed_keys()));
        let before = |hash: u128| slices.iter().any(|slice| slice.is_emitted(hash));
        let revisions: Vec<i32> = keys.iter().map(|hash| corrections.next_revision(*hash, before(*hash))).collect();
        // A key's first result is no correction, however late it comes.
        let corrected = revisions.iter().filter(|revision| **revision > 0).count();
        let mut merged = Groups::new(&layout.prototype, keys.len());
        let mut scratch = Scratch::default();
        // The first merge must open the groups in the order of `keys`, which the revisions are in.
        let order: Vec<u32> = order_of(&keys, &slices, &mut merged, &mut scratch)?;
        let revisions = order.iter().map(|at| revisions[*at as usize]).collect();
        layout.emission.window(window, &merged, Rows::All(merged.len()), revisions, out)?;
        self.corrected.add(corrected as u64);
        self.groups_emitted.add(keys.len() as u64);
        if !corrections.is_empty() {
            self.corrections.insert(end, corrections);
        }
        Ok(())
    }

    /// Emits what has changed in open windows since the last time.
    fn emit_running(&mut self, revision: i32, layout: &Layout, out: &mut Collector) -> Result<()> {
        let changed = self.slices.iter().filter(|(_, slice)| !slice.running_groups().is_empty());
        let mut emitted = 0;
        for end in self.config.windows.ends(changed.map(|(start, _)| *start), self.emitted_until) {
            self.context.canceled.check()?;
            emitted += self.emit_running_window(end, revision, layout, out)?;
        }
        self.slices.values_mut().for_each(Slice::settle_running);
        if let Some(running) = &self.running {
            running.emitted(emitted);
        }
        Ok(())
    }

    /// Says how many rows.
    fn emit_running_window(&self, end: i64, revision: i32, layout: &Layout, out: &mut Collector) -> Result<usize> {
        let slices: Vec<&Slice> = self.slices_of(end).map(|(_, slice)| slice).collect();
        let window = self.window(end);
        if let [only] = slices.as_slice() {
            let groups = only.running_groups();
            layout.emission.running(window, &only.groups, Rows::Some(groups), revision, out)?;
            return Ok(groups.len());
        }
        let keys = distinct(slices.iter().flat_map(|slice| slice.running_keys()));
        let mut merged = Groups::new(&layout.prototype, keys.len());
        order_of(&keys, &slices, &mut merged, &mut Scratch::default())?;
        layout.emission.running(window, &merged, Rows::All(merged.len()), revision, out)?;
        Ok(keys.len())
    }

    fn advance(&mut self, watermark: i64, layout: &Layout, out: &mut Collector) -> Result<()> {
        let windows = self.config.windows;
        let changed = self.slices.iter().filter(|(_, slice)| slice.has_changes()).map(|(start, _)| *start);
        // No more than a definition may keep open.
        let to_correct: Vec<i64> =
            windows.ends(changed, WATERMARK_MIN).take_while(|end| *end <= self.emitted_until).collect();
        for end in to_correct {
            self.context.canceled.check()?;
            self.correct_window(end, layout, out)?;
        }
        let mut grown = None;
        for end in windows.ends(self.slices.keys().copied(), self.emitted_until).take_while(|end| *end <= watermark) {
            self.context.canceled.check()?;
            match windows.window {
                WindowSpec::Cumulating { .. } => self.emit_grown(end, &mut grown, layout, out)?,
                _ => self.emit_window(end, layout, out)?,
            }
        }
        Ok(())
    }

    /// Marks what is out, and drops what no accepted event can change any more.
    fn settle(&mut self, watermark: i64) {
        self.emitted_until = watermark;
        let rule = self.config.windows;
        let is_out = |start: &i64| rule.first_window_end(*start) <= watermark;
        self.slices.iter_mut().take_while(|(start, _)| is_out(start)).for_each(|(_, slice)| slice.settle());
        if self.running.is_some() {
            let over = |start: &i64| rule.last_window_end(*start) <= watermark;
            let over = self.slices.iter_mut().take_while(|(start, _)| over(start));
            over.for_each(|(_, slice)| slice.settle_running());
        }
        self.slices.retain(|start, _| rule.expiry(rule.last_window_end(*start)) > watermark);
        self.corrections.retain(|end, _| rule.expiry(*end) > watermark);
    }

    fn lay_out(&self, prototype: GroupColumns) -> Layout {
        Layout {
            emission: Emission::new(&self.config, &self.context, &prototype),
            state: StateLayout::new(&self.config, &prototype, self.context.max_parallelism),
            prototype,
        }
    }
}

/// What a window that grows holds so far.
struct Grown {
    start: i64,
    until: i64,
    groups: Groups,
}

/// A definition that keeps more open is refused, so these are of events far ahead of others. They are counted where they say.
fn warn_of_many(open: &BTreeMap<i64, Slice>, warn_at: &mut usize, operator: &str) {
    if open.len() < *warn_at {
        return;
    }
    *warn_at *= 2;
    let newest = open.last_key_value().and_then(|(start, _)| DateTime::from_timestamp_millis(*start));
    tracing::warn!(
        operator,
        windows = open.len(),
        newest = newest.map(|newest| newest.to_rfc3339()),
        "many windows are open at once, since some events are far ahead of others: each takes memory, and a place in every \
         checkpoint. With `watermark.max_jump` an event that is further ahead of its file is a dead letter"
    );
}

/// Each key once, where it first comes.
fn distinct(keys: impl Iterator<Item = u128>) -> Vec<u128> {
    let mut known = hashbrown::HashSet::new();
    keys.filter(|hash| known.insert(*hash)).collect()
}

/// Merges the given keys from all slices; the n-th group of `merged` is the key at the n-th of the returned positions.
fn order_of(keys: &[u128], slices: &[&Slice], merged: &mut Groups, scratch: &mut Scratch) -> Result<Vec<u32>> {
    let mut order = Vec::with_capacity(keys.len());
    for slice in slices {
        let found: Vec<(u32, u32)> = keys
            .iter()
            .enumerate()
            .filter_map(|(at, hash)| slice.groups.find(*hash).map(|group| (at as u32, group)))
            .collect();
        let opened = found.iter().filter(|(at, _)| merged.find(keys[*at as usize]).is_none()).map(|(at, _)| *at);
        order.extend(opened);
        let groups: Vec<u32> = found.iter().map(|(_, group)| *group).collect();
        merged.merge_groups(&slice.groups, Rows::Some(&groups), scratch)?;
    }
    Ok(order)
}

impl Operator for GlobalAggregate {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let partials =
            Partials::of(&self.config, &batch.columns).map_err(|error| error.context(&self.context.operator))?;
        let hashes = self.hasher.hashes_of(&batch)?;
        let layout = match self.layout.take() {
            Some(layout) => layout,
            None => self.lay_out(GroupColumns::for_states(&self.config, &partials.keys, &partials.states)?),
        };
        self.parted.part_exactly(&partials.starts);
        for (start, rows) in self.parted.iter() {
            let represented = partials.rows_represented(rows);
            if self.config.windows.is_late(start, self.emitted_until) {
                self.late.add(represented);
                let rows = UInt32Array::from_iter_values((0..rows.len()).map(|n| rows.row(n) as u32));
                out.emit(ports::LATE, batch.take(&rows)?);
                continue;
            }
            if !self.slices.contains_key(&start) {
                warn_of_many(&self.slices, &mut self.warn_at, &self.context.operator);
                let neighbour = self.slices.range(..start).next_back().map_or(0, |(_, slice)| slice.groups.len());
                let slice = Slice::of(Groups::new(&layout.prototype, neighbour));
                self.slices.insert(start, slice.noting_changes(self.running.is_some()));
            }
            let is_closed = self.config.windows.first_window_end(start) <= self.emitted_until;
            if let Some(slice) = self.slices.get_mut(&start) {
                slice.merge(&hashes, &partials, rows, is_closed, &mut self.scratch)?;
            }
            self.events_counted.add(represented);
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        if watermark <= self.emitted_until {
            return Ok(());
        }
        // Without a layout there has been no row.
        if let Some(layout) = self.layout.take() {
            self.advance(watermark, &layout, out)?;
            self.layout = Some(layout);
        }
        self.settle(watermark);
        Ok(())
    }

    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        let Some(revision) = self.running.as_ref().and_then(|running| running.due(barrier)) else { return Ok(()) };
        // Without a layout there has been no row.
        if let Some(layout) = self.layout.take() {
            self.emit_running(revision, &layout, out)?;
            self.layout = Some(layout);
        }
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let Some(layout) = &self.layout else { return Ok(Snapshot::default()) };
        let mut segments = Vec::with_capacity(self.slices.len() + 1);
        for (start, slice) in &mut self.slices {
            segments.push(Segment { id: format!("slice-{start}"), change: slice.change(*start, &layout.state) });
        }
        for (end, corrections) in &mut self.corrections {
            let change = corrections.change(*end, &layout.state);
            segments.push(Segment { id: format!("corrections-{end}"), change });
        }
        if !segments.is_empty() && self.emitted_until != WATERMARK_MIN {
            let (state, until) = (layout.state.clone(), self.emitted_until);
            let is_stored = self.stored_progress == Some(until);
            let rows = StateRows::deferred(move || state.progress(until));
            let change = if is_stored { Change::Unchanged } else { Change::Replace(rows) };
            segments.push(Segment { id: PROGRESS.into(), change });
            self.stored_progress = Some(until);
        } else {
            self.stored_progress = None;
        }
        Ok(Snapshot { segments })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if segment == PROGRESS {
            self.emitted_until = self.emitted_until.max(restored_progress(segment, rows)?);
            return Ok(());
        }
        let restored = restored_rows(&self.config, segment, rows, key_groups, &self.context)
            .map_err(|error| error.context(&self.context.operator))?;
        if restored.rows.is_empty() {
            return Ok(());
        }
        if self.layout.is_none() {
            let prototype = GroupColumns::for_states(&self.config, &restored.keys, &restored.states)?;
            self.layout = Some(self.lay_out(prototype));
        }
        let Some(layout) = &self.layout else { return Ok(()) };
        if let Some(start) = time_in(segment, "slice") {
            let noting = self.running.is_some();
            let fresh = || Slice::of(Groups::new(&layout.prototype, 0)).noting_changes(noting);
            let slice = self.slices.entry(start).or_insert_with(fresh);
            return slice.restore(&restored, &mut self.scratch);
        }
        let end = time_in(segment, "corrections").ok_or_else(|| misfit(segment))?;
        let corrections = self.corrections.entry(end).or_default();
        for row in restored.rows.iter().map(|row| *row as usize).filter(|row| restored.revisions.is_valid(*row)) {
            corrections.restore(restored.hashes[row], restored.revisions.value(row));
        }
        corrections.mark_unsaved(restored.is_partial);
        Ok(())
    }
}
