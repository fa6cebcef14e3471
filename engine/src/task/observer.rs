//! What can be seen of a running job from outside, without disturbing it.

use crate::{
    checkpoint::manifest::Manifest,
    ids::{Attempt, CheckpointId},
    operator::Counters,
};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Shared between a run and whoever shows its progress.
#[derive(Debug, Default)]
pub struct Observer {
    nodes: Mutex<Vec<(String, Counters)>>,
    run: Mutex<RunStatus>,
    longest_step_us: AtomicU64,
    state_bytes: AtomicU64,
}

/// Where a run stands.
#[derive(Clone, Debug, Default)]
pub struct RunStatus {
    /// The attempt that runs.
    pub attempt: Option<Attempt>,
    /// The checkpoint that it was restored from.
    pub restored: Option<CheckpointId>,
    /// The newest completed checkpoint.
    pub completed: Option<CheckpointId>,
    /// Checkpoints completed by this attempt.
    pub checkpoints: u64,
    /// The longest time from trigger to completion.
    pub longest_checkpoint: Duration,
    /// The newest checkpoint whose results are visible.
    pub committed: Option<CheckpointId>,
}

impl Observer {
    pub(crate) fn add_node(&self, id: &str, counters: Counters) {
        self.nodes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((id.to_string(), counters));
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut RunStatus)) {
        change(&mut self.run.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    pub(crate) fn completed(&self, manifest: &Manifest) {
        self.update(|run| {
            run.completed = Some(manifest.checkpoint);
            run.checkpoints += 1;
            run.longest_checkpoint = run.longest_checkpoint.max(Duration::from_millis(manifest.duration_ms));
        });
    }

    pub(crate) fn saw_step(&self, took: Duration) {
        self.longest_step_us.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn saw_state_bytes(&self, bytes: u64) {
        self.state_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counters of every node now, summed over its subtasks.
    pub fn counters(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut sums: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (node, counters) in self.nodes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
            let sums = sums.entry(node.clone()).or_default();
            for (name, value) in counters.values() {
                *sums.entry(name).or_default() += value;
            }
        }
        sums
    }

    /// Where the run stands.
    pub fn status(&self) -> RunStatus {
        self.run.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The longest that one step of any subtask has held its input up.
    pub fn longest_step(&self) -> Duration {
        Duration::from_micros(self.longest_step_us.load(Ordering::Relaxed))
    }

    /// Bytes of state that this attempt wrote to checkpoints.
    pub fn state_bytes(&self) -> u64 {
        self.state_bytes.load(Ordering::Relaxed)
    }
}
