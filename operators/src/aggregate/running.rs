//! When running counts of open windows are emitted, and with which revision.

use super::config::RunningCounts;
use weir_engine::{
    element::Barrier,
    ids::CheckpointId,
    operator::{Counter, OperatorContext},
};

/// The rule, and a counter `running_emitted` of the rows.
#[derive(Debug)]
pub(super) struct RunningRule {
    every_checkpoints: u64,
    emitted: Counter,
}

impl RunningRule {
    pub(super) fn new(config: RunningCounts, context: &OperatorContext) -> Self {
        let emitted = context.counters.counter("running_emitted");
        RunningRule { every_checkpoints: config.every_checkpoints.max(1), emitted }
    }

    /// The revision of the running counts that go out before this barrier; none: none go out. The last of an attempt always
    /// does: what has been read is then visible for as long as the job is stopped.
    pub(super) fn due(&self, barrier: Barrier) -> Option<i32> {
        if self.is_due(barrier) { running_revision(barrier.checkpoint) } else { None }
    }

    /// The same of the global window, whose results are followed by no other.
    pub(super) fn due_for_good(&self, barrier: Barrier) -> Option<i32> {
        if self.is_due(barrier) { i32::try_from(barrier.checkpoint.0).ok() } else { None }
    }

    fn is_due(&self, barrier: Barrier) -> bool {
        barrier.last || barrier.checkpoint.0.is_multiple_of(self.every_checkpoints)
    }

    pub(super) fn emitted(&self, rows: usize) {
        self.emitted.add(rows as u64);
    }
}

/// Below that of every result, and higher with every checkpoint, over restarts too. None from checkpoint 2³¹ on: at two a
/// second, after 34 years.
fn running_revision(checkpoint: CheckpointId) -> Option<i32> {
    i32::MIN.checked_add(i32::try_from(checkpoint.0).ok()?)
}

#[cfg(test)]
mod tests;
