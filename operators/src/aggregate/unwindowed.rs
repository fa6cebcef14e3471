//! Aggregates over a global window: one result per key, of all its events, again and again as they come.
//!
//! The results that have changed are emitted before barriers, with the number of the checkpoint as their revision: it rises over
//! restarts, and no state has to remember it. So which revisions there are depends on when checkpoints are, but the highest of a
//! key says what the input alone decides: the aggregate of all its events, or, with a time to live, of those of its last
//! [life](super::lives). A result has no window.
//!
//! With a time to live an event is late that is behind by as much; without one none is. Late rows go to the late port as partials
//! and count as `late`; the gates before let none come.

use super::config::AggregateConfig;
use super::emission::{Emission, Partials, Results, outputs};
use super::groups::GroupColumns;
use super::lives::Lives;
use super::lives_state::LivesState;
use super::running::RunningRule;
use super::{config::RunningCounts, state::misfit};
use crate::ports;
use crate::table::Rows;
use crate::window::WindowSpec;
use arrow::{array::UInt32Array, record_batch::RecordBatch};
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    element::{Barrier, Batch, Port, WATERMARK_MIN},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

const SEGMENT: &str = "keys";

/// The operator. Counts `events_counted`, `late` and `groups_emitted`.
#[derive(Debug)]
pub struct UnwindowedAggregate {
    config: AggregateConfig,
    context: OperatorContext,
    ttl_ms: Option<i64>,
    hasher: KeyHasher,
    running: RunningRule,
    /// Made at the first batch or at the restore, which know the types.
    layout: Option<Layout>,
    watermark: i64,
    /// Rows that the segment holds, outdated ones included.
    stored_rows: usize,
    /// The stored segment holds rows that are not this subtask's.
    rewrite: bool,
    events_counted: Counter,
    late: Counter,
    groups_emitted: Counter,
}

#[derive(Debug)]
struct Layout {
    emission: Emission,
    state: LivesState,
    lives: Lives,
}

impl UnwindowedAggregate {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense, or ask for windows with bounds.
    pub fn new(config: AggregateConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        let WindowSpec::Global { ttl_ms } = config.windows.window else {
            return Err(EngineError::internal(format!("'{}': its window is not the global one", context.operator)));
        };
        let counter = |name| context.counters.counter(name);
        Ok(UnwindowedAggregate {
            context: context.clone(),
            ttl_ms,
            hasher: KeyHasher::new(config.key.clone()),
            running: RunningRule::new(config.running.unwrap_or(RunningCounts { every_checkpoints: 1 }), context),
            layout: None,
            watermark: WATERMARK_MIN,
            stored_rows: 0,
            rewrite: false,
            events_counted: counter("events_counted"),
            late: counter("late"),
            groups_emitted: counter("groups_emitted"),
            config,
        })
    }

    fn lay_out(&self, prototype: &GroupColumns) -> Result<Layout> {
        Ok(Layout {
            emission: Emission::new(&self.config, &self.context, prototype),
            state: LivesState::new(&self.config, prototype, self.context.max_parallelism),
            lives: Lives::new(prototype, self.ttl_ms)?,
        })
    }

    fn part_late(&mut self, batch: Batch, partials: &Partials, out: &mut Collector) -> Result<Batch> {
        let is_late = |time: i64| self.config.windows.is_late(time, self.watermark);
        if self.ttl_ms.is_none() || !partials.starts.iter().any(|time| is_late(*time)) {
            return Ok(batch);
        }
        let rows = |late: bool| {
            let of_class = partials.starts.iter().enumerate().filter(move |(_, time)| is_late(**time) == late);
            of_class.map(|(row, _)| row as u32).collect::<Vec<u32>>()
        };
        let (late, on_time) = (rows(true), rows(false));
        self.late.add(partials.rows_represented(Rows::Some(&late)));
        out.emit(ports::LATE, batch.take(&UInt32Array::from(late))?);
        batch.take(&UInt32Array::from(on_time))
    }
}

/// The results of some lives.
fn results(lives: &Lives, slots: &[u32], revision: i32) -> Result<Results> {
    let (aggregates, unsayable) = outputs(lives.accumulators(), Rows::Some(slots))?;
    let keys: Vec<u32> = slots.iter().map(|slot| lives.life(*slot).key).collect();
    Ok(Results {
        hashes: Arc::new(slots.iter().map(|slot| lives.hash_of(*slot)).collect()),
        keys: lives.keys().arrays(Rows::Some(&keys))?,
        window_starts: vec![i64::MIN; slots.len()],
        window_ends: vec![i64::MAX; slots.len()],
        aggregates,
        revisions: vec![revision; slots.len()],
        withdrawn: None,
        unsayable,
    })
}

impl Operator for UnwindowedAggregate {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let of = |batch: &Batch, config: &AggregateConfig, operator: &str| {
            Partials::of(config, &batch.columns).map_err(|error| error.context(operator))
        };
        let mut partials = of(&batch, &self.config, &self.context.operator)?;
        let rows = batch.len();
        let batch = self.part_late(batch, &partials, out)?;
        if batch.len() < rows {
            partials = of(&batch, &self.config, &self.context.operator)?;
        }
        let hashes = self.hasher.hashes_of(&batch)?;
        let mut layout = match self.layout.take() {
            Some(layout) => layout,
            None => self.lay_out(&GroupColumns::for_states(&self.config, &partials.keys, &partials.states)?)?,
        };
        let keys = layout.lives.assign_keys(&hashes, &partials.keys)?;
        layout.lives.merge(&keys, &partials.starts, &partials.states)?;
        layout.lives.reuse(keys);
        self.layout = Some(layout);
        self.events_counted.add(partials.rows_represented(Rows::All(batch.len())));
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, _out: &mut Collector) -> Result<()> {
        if watermark <= self.watermark {
            return Ok(());
        }
        self.watermark = watermark;
        if let Some(layout) = &mut self.layout {
            layout.lives.expire(watermark);
            layout.lives.forget_idle_keys()?;
        }
        Ok(())
    }

    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        let (Some(revision), Some(layout)) = (self.running.due_for_good(barrier), &mut self.layout) else {
            return Ok(());
        };
        let slots = layout.lives.take_unemitted();
        if !slots.is_empty() {
            layout.emission.emit(Port::MAIN, results(&layout.lives, &slots, revision)?, out)?;
            self.groups_emitted.add(slots.len() as u64);
        }
        Ok(())
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Snapshot> {
        let Some(Layout { state, lives, .. }) = &mut self.layout else { return Ok(Snapshot::default()) };
        if lives.staying() == 0 {
            lives.drop_ended();
            (self.stored_rows, self.rewrite) = (0, false);
            return Ok(Snapshot::default());
        }
        let all = self.rewrite || self.stored_rows == 0 || self.stored_rows > 2 * lives.staying() + 1024;
        if all {
            lives.drop_ended();
        }
        let change = if all || lives.has_unsaved() {
            let version = i64::try_from(checkpoint.0).unwrap_or(i64::MAX);
            let slots = lives.take_unsaved(all, version);
            let rows = StateRows::ready(state.rows(lives, &slots)?);
            self.stored_rows = slots.len() + if all { 0 } else { self.stored_rows };
            if all { Change::Replace(rows) } else { Change::Append(rows) }
        } else {
            Change::Unchanged
        };
        self.rewrite = false;
        // Not before: what the segment has of them from earlier checkpoints must be outdated.
        lives.drop_ended();
        Ok(Snapshot { segments: vec![Segment { id: SEGMENT.into(), change }] })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if segment != SEGMENT {
            return Err(misfit(segment));
        }
        let restored = LivesState::restored(&self.config, segment, rows, key_groups, &self.context)
            .map_err(|error| error.context(&self.context.operator))?;
        self.stored_rows += rows.num_rows();
        self.rewrite |= restored.is_partial;
        if restored.rows.is_empty() {
            return Ok(());
        }
        let mut layout = match self.layout.take() {
            Some(layout) => layout,
            None => self.lay_out(&GroupColumns::for_states(&self.config, &restored.keys, &restored.states)?)?,
        };
        let lives = &mut layout.lives;
        let chosen = Rows::Some(&restored.rows);
        let hashes: Vec<u128> = restored.rows.iter().map(|row| restored.hashes[*row as usize]).collect();
        let mut own = lives.keys().empty()?;
        own.append(&restored.keys, chosen)?;
        let keys = lives.assign_keys(&hashes, &own.arrays(Rows::All(hashes.len()))?)?;
        for (row, key) in restored.rows.iter().zip(&keys) {
            if let Some(slot) = lives.restore(restored.life(*row as usize, *key)) {
                lives.merge_row(slot, *row, &restored.states)?;
            }
        }
        lives.reuse(keys);
        lives.settle_restored();
        self.layout = Some(layout);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
