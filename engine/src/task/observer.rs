//! Observing a running job from outside, without disturbing it.

use crate::{
    checkpoint::manifest::Manifest,
    element::{Origin, WATERMARK_MIN},
    error::{EngineError, ErrorKind},
    ids::{Attempt, CheckpointId, SubtaskId},
    operator::{Counters, Lag, Lags, Waits},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Shared between a run and its progress display.
#[derive(Debug, Default)]
pub struct Observer {
    nodes: Mutex<Vec<(SubtaskId, String, Counters)>>,
    subtasks: Mutex<Vec<(SubtaskId, Arc<SubtaskGauges>)>>,
    lags: Mutex<BTreeMap<SubtaskId, Lags>>,
    run: Mutex<RunStatus>,
    longest_step_us: AtomicU64,
    state_bytes: AtomicU64,
    to_restore_bytes: AtomicU64,
    restored_bytes: AtomicU64,
    waits: Waits,
}

/// What one subtask shows of itself.
#[derive(Debug)]
pub struct SubtaskGauges {
    busy_us: AtomicU64,
    delivering_us: AtomicU64,
    watermark: AtomicI64,
    processing: Mutex<Option<Arc<Origin>>>,
}

impl Default for SubtaskGauges {
    fn default() -> Self {
        SubtaskGauges {
            busy_us: AtomicU64::new(0),
            delivering_us: AtomicU64::new(0),
            watermark: AtomicI64::new(WATERMARK_MIN),
            processing: Mutex::default(),
        }
    }
}

impl SubtaskGauges {
    pub(crate) fn busy(&self, took: Duration) {
        self.busy_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn delivering(&self, took: Duration) {
        self.delivering_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// The rows that go through the operators now.
    pub(crate) fn processing(&self, rows: Option<&Arc<Origin>>) {
        *self.processing.lock() = rows.cloned();
    }

    /// An error that came up, about the rows that went through the operators then. What comes from outside is not their fault.
    pub(crate) fn about(&self, error: EngineError) -> EngineError {
        let processing = self.processing.lock();
        match (&*processing, error.kind) {
            (Some(origin), ErrorKind::Internal | ErrorKind::Definition) => error.with_origin(origin),
            _ => error,
        }
    }

    pub(crate) fn watermark(&self, watermark: i64) {
        self.watermark.store(watermark, Ordering::Relaxed);
    }
}

/// One subtask at one moment.
#[derive(Clone, Debug)]
pub struct SubtaskView {
    /// Which.
    pub id: SubtaskId,
    /// Time spent in operators.
    pub busy: Duration,
    /// Time spent handing results on: nearly all of it waiting where a downstream subtask is slower.
    pub delivering: Duration,
    /// Its event time, once known; milliseconds since the epoch.
    pub watermark: Option<i64>,
    /// Every operator of its chain, head first, with its counters.
    pub operators: Vec<(String, BTreeMap<String, u64>)>,
    /// How far the splits are behind that it reads, as far as that is known.
    pub lags: BTreeMap<String, Lag>,
}

/// How much state of a checkpoint is back: bytes of state files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Read so far.
    pub restored_bytes: u64,
    /// All of them.
    pub bytes: u64,
}

impl Restored {
    /// Together with what is restored elsewhere.
    pub fn and(self, other: Restored) -> Restored {
        Restored { restored_bytes: self.restored_bytes + other.restored_bytes, bytes: self.bytes + other.bytes }
    }

    /// Whether something is not back yet.
    pub fn is_under_way(self) -> bool {
        self.restored_bytes < self.bytes
    }
}

/// Where a run stands.
#[derive(Clone, Debug, Default)]
pub struct RunStatus {
    /// The attempt that runs.
    pub attempt: Option<Attempt>,
    /// The checkpoint that it was restored from, if that holds more than the beginning.
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
    /// One whose subtasks say in `waits` what they wait for.
    pub fn with_waits(waits: Waits) -> Self {
        Observer { waits, ..Observer::default() }
    }

    pub(crate) fn add_node(&self, subtask: SubtaskId, id: &str, counters: Counters) {
        self.nodes.lock().push((subtask, id.to_string(), counters));
    }

    /// Where the source of a subtask says how much it has not read yet.
    pub(crate) fn add_lags(&self, id: SubtaskId) -> Lags {
        self.lags.lock().entry(id).or_default().clone()
    }

    pub(crate) fn add_subtask(&self, id: SubtaskId) -> Arc<SubtaskGauges> {
        let gauges = Arc::new(SubtaskGauges::default());
        self.subtasks.lock().push((id, gauges.clone()));
        gauges
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut RunStatus)) {
        change(&mut self.run.lock());
    }

    /// An attempt is about to run, from this checkpoint.
    pub fn begins(&self, attempt: Attempt, restored: Option<&Manifest>) {
        self.update(|run| {
            run.attempt = Some(attempt);
            let begun = restored.filter(|manifest| !manifest.is_beginning());
            run.restored = begun.map(|manifest| manifest.checkpoint);
        });
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

    pub(crate) fn will_restore(&self, bytes: u64) {
        self.to_restore_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn has_restored(&self, bytes: u64) {
        self.restored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much state is back.
    pub fn restored(&self) -> Restored {
        Restored {
            restored_bytes: self.restored_bytes.load(Ordering::Relaxed),
            bytes: self.to_restore_bytes.load(Ordering::Relaxed),
        }
    }

    /// The counters of every node now, summed over its subtasks.
    pub fn counters(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut sums: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (_, node, counters) in self.nodes.lock().iter() {
            let sums = sums.entry(node.clone()).or_default();
            for (name, value) in counters.values() {
                *sums.entry(name).or_default() += value;
            }
        }
        sums
    }

    /// Every subtask now: its gauges, and the counters of each operator of its chain.
    pub fn subtasks(&self) -> Vec<SubtaskView> {
        let nodes = self.nodes.lock();
        let subtasks = self.subtasks.lock();
        let lags = self.lags.lock();
        let operators = |id| {
            let own = nodes.iter().filter(move |(subtask, ..)| *subtask == id);
            own.map(|(_, node, counters)| (node.clone(), counters.values())).collect()
        };
        subtasks
            .iter()
            .map(|(id, gauges)| SubtaskView {
                id: *id,
                busy: Duration::from_micros(gauges.busy_us.load(Ordering::Relaxed)),
                delivering: Duration::from_micros(gauges.delivering_us.load(Ordering::Relaxed)),
                watermark: Some(gauges.watermark.load(Ordering::Relaxed)).filter(|time| *time != WATERMARK_MIN),
                operators: operators(*id),
                lags: lags.get(id).map(Lags::now).unwrap_or_default(),
            })
            .collect()
    }

    /// Which sources wait for what they read.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Where the run stands.
    pub fn status(&self) -> RunStatus {
        self.run.lock().clone()
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
