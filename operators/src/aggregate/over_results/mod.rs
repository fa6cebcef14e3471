//! Aggregates over the results of another aggregate: hours from minutes, a total over all keys.
//!
//! A result counts at the last moment of its window, or, if it is of none, at the time in its time column. Of its revisions the
//! newest counts alone; a withdrawn one counts nowhere. So this operator keeps the newest row of every result, by slices of its own
//! windows ([`NewestRows`]), and computes a group anew from its rows whenever one of them has changed. That needs no function that
//! can be undone, and gives what a recount of the final results gives, to the last digit.
//!
//! At a watermark the windows that it closes are emitted, and of windows emitted before, the groups that have changed since, each
//! with its next revision; one without rows is withdrawn. Results are corrected only as long as the aggregate before accepts late
//! events. The configured lateness is that time, so no result comes late.
//!
//! Why a revision is never given twice: what was emitted of each group is kept ([`EmittedGroups`]) with a *version*, which every
//! newer row of the group raises. A group whose version is the emitted one is not emitted again. After a restore, versions alone
//! tell which groups have changed since they were emitted.

mod emitted;
mod gathered;
mod incoming;
mod state;
#[cfg(test)]
mod tests;

use super::config::AggregateConfig;
use super::emission::{Emission, results};
use super::groups::{GroupColumns, Groups, Scratch};
use super::state::{misfit, restored_progress, time_in};
use crate::result_rows::NewestRows;
use crate::table::{Rows, RowsByBucket};
use arrow::{array::BooleanArray, record_batch::RecordBatch};
use emitted::{EmittedGroups, Next};
use gathered::Gathered;
use incoming::{Incoming, ResultColumns};
use state::ResultState;
use std::collections::BTreeMap;
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port, WATERMARK_MIN},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

const PROGRESS: &str = "progress";

/// The operator. Counts `groups_emitted`, and as `corrections` those that take the place of ones that had been emitted.
#[derive(Debug)]
pub struct ResultAggregate {
    config: AggregateConfig,
    context: OperatorContext,
    columns: ResultColumns,
    hasher: KeyHasher,
    /// Made at the first batch or at the restore, which know the types.
    layout: Option<Layout>,
    slices: BTreeMap<i64, NewestRows>,
    emitted: BTreeMap<i64, EmittedGroups>,
    /// Windows that end here or before have been emitted.
    emitted_until: i64,
    stored_progress: Option<i64>,
    parted: RowsByBucket,
    groups_emitted: Counter,
    corrections: Counter,
}

#[derive(Debug)]
struct Layout {
    prototype: GroupColumns,
    emission: Emission,
    state: ResultState,
}

impl ResultAggregate {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense, or ask for sessions, which are made of events.
    pub fn new(config: AggregateConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        if !config.windows.window.has_slices() {
            return Err(EngineError::internal(format!("'{}': its windows have no slices", context.operator)));
        }
        Ok(ResultAggregate {
            context: context.clone(),
            columns: ResultColumns::of(&config),
            hasher: KeyHasher::new(config.key.clone()),
            layout: None,
            slices: BTreeMap::new(),
            emitted: BTreeMap::new(),
            emitted_until: WATERMARK_MIN,
            stored_progress: None,
            parted: RowsByBucket::default(),
            groups_emitted: context.counters.counter("groups_emitted"),
            corrections: context.counters.counter("corrections"),
            config,
        })
    }

    fn lay_out(&self, columns: &[arrow::array::ArrayRef]) -> Result<Layout> {
        let (keys, arguments) = (self.columns.keys(columns), self.columns.arguments(columns)?);
        let prototype = GroupColumns::for_rows(&self.config, keys, &arguments)?;
        Ok(Layout {
            emission: Emission::new(&self.config, &self.context, &prototype),
            state: ResultState::new(&self.columns, columns),
            prototype,
        })
    }

    /// Emits those of the groups of a window that are not as they were emitted last.
    fn emit_window(&mut self, end: i64, only_changed: bool, layout: &Layout, out: &mut Collector) -> Result<()> {
        let bounds = (self.config.windows.window_start(end), end);
        let slices: Vec<&NewestRows> = self.slices.range(bounds.0..bounds.1).map(|(_, slice)| slice).collect();
        let mut gathered = Gathered::of(&slices, only_changed);
        let emitted = self.emitted.entry(end).or_default();
        gathered.retain(|key, version, lives| emitted.is_due(key, version, lives));
        if gathered.is_empty() {
            return Ok(());
        }
        let groups = self.columns.computed(&self.config, &gathered, &slices, &layout.prototype)?;
        let (mut chosen, mut revisions, mut withdrawn) = (Vec::new(), Vec::new(), Vec::new());
        for (group, (key, version, lives)) in (0..).zip(gathered.groups()) {
            let Next::Revision(revision) = emitted.next(key, version, lives) else { continue };
            chosen.push(group);
            revisions.push(revision);
            withdrawn.push(!lives);
        }
        let corrected = revisions.iter().filter(|revision| **revision > 0).count();
        let mut rows = results(bounds, &groups, Rows::Some(&chosen), revisions)?;
        rows.withdrawn = withdrawn.contains(&true).then(|| BooleanArray::from(withdrawn));
        self.groups_emitted.add(chosen.len() as u64);
        self.corrections.add(corrected as u64);
        layout.emission.emit(Port::MAIN, rows, out)
    }

    fn advance(&mut self, watermark: i64, layout: &Layout, out: &mut Collector) -> Result<()> {
        let (rule, until) = (self.config.windows, self.emitted_until);
        let changed = self.slices.iter().filter(|(_, slice)| slice.has_changes()).map(|(start, _)| *start);
        let out_before = rule.ends(changed, WATERMARK_MIN).take_while(|end| *end <= until);
        // After a restore all groups count as changed, and what was emitted of windows that are over is forgotten.
        let to_correct: Vec<i64> = out_before.filter(|end| rule.expiry(*end) > until).collect();
        let starts: Vec<i64> = self.slices.keys().copied().collect();
        let to_emit = rule.ends(starts.into_iter(), until).take_while(|end| *end <= watermark);
        for (end, only_changed) in to_correct.into_iter().map(|end| (end, true)).chain(to_emit.map(|end| (end, false)))
        {
            self.context.canceled.check()?;
            self.emit_window(end, only_changed, layout, out)?;
        }
        Ok(())
    }

    /// Marks what is out, and drops what no correction can reach any more.
    fn settle(&mut self, watermark: i64) {
        self.emitted_until = watermark;
        let rule = self.config.windows;
        self.slices.values_mut().for_each(NewestRows::settle);
        self.slices.retain(|start, _| rule.expiry(rule.last_window_end(*start)) > watermark);
        self.emitted.retain(|end, _| rule.expiry(*end) > watermark);
    }
}

impl Operator for ResultAggregate {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let incoming = Incoming::of(&self.columns, &batch, &mut self.hasher)
            .map_err(|error| error.context(&self.context.operator))?;
        if self.layout.is_none() {
            self.layout = Some(self.lay_out(&incoming.rows.columns)?);
        }
        let rule = self.config.windows;
        self.parted.part_by(&incoming.times, |time| rule.slice(time));
        for (start, rows) in self.parted.iter() {
            let piece = incoming.rows.take(rows)?;
            self.slices.entry(start).or_default().add(piece)?;
        }
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

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let Some(layout) = &self.layout else { return Ok(Snapshot::default()) };
        let mut segments = Vec::with_capacity(self.slices.len() + self.emitted.len() + 1);
        for (start, slice) in &mut self.slices {
            let state = layout.state.clone();
            let change = slice.change(move |rows| state.rows(rows))?;
            segments.push(Segment { id: format!("slice-{start}"), change });
        }
        for (end, emitted) in self.emitted.iter_mut().filter(|(_, emitted)| !emitted.is_empty()) {
            segments.push(Segment { id: format!("emitted-{end}"), change: emitted.change(&layout.state) });
        }
        self.stored_progress = if segments.is_empty() || self.emitted_until == WATERMARK_MIN {
            None
        } else {
            let (state, until) = (layout.state.clone(), self.emitted_until);
            let change = match self.stored_progress == Some(until) {
                true => Change::Unchanged,
                false => Change::Replace(StateRows::deferred(move || state.progress(until))),
            };
            segments.push(Segment { id: PROGRESS.into(), change });
            Some(until)
        };
        Ok(Snapshot { segments })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if segment == PROGRESS {
            self.emitted_until = self.emitted_until.max(restored_progress(segment, rows)?);
            return Ok(());
        }
        let restored = ResultState::restored(&self.columns, segment, rows, key_groups, self.context.max_parallelism)
            .map_err(|error| error.context(&self.context.operator))?;
        if restored.rows.is_empty() {
            return Ok(());
        }
        if self.layout.is_none() {
            self.layout = Some(self.lay_out(&restored.rows.columns)?);
        }
        if let Some(start) = time_in(segment, "slice") {
            return self.slices.entry(start).or_default().restore(restored.rows);
        }
        let end = time_in(segment, "emitted").ok_or_else(|| misfit(segment))?;
        self.emitted.entry(end).or_default().restore(&restored.rows, &restored.versions);
        Ok(())
    }
}
