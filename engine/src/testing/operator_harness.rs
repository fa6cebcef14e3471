//! Drives one operator as a subtask would, and shows what came out.

use crate::{
    element::{Barrier, Batch, Port},
    error::Result,
    ids::CheckpointId,
    key_group::{DEFAULT_MAX_PARALLELISM, KeyGroupRange},
    operator::{Collector, Lookup, Operator},
    state::Change,
};
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;

/// State rows as a checkpoint refers to them: those of other key groups are another subtask's. A rescale refers to the same
/// rows from several subtasks, so that without the range every rescale would multiply them.
pub type StoredRows = (KeyGroupRange, RecordBatch);

/// An operator, fed by hand. Keeps its snapshots as the engine would: a list of row batches per segment.
pub struct OperatorHarness {
    operator: Box<dyn Operator>,
    checkpoint: CheckpointId,
    key_groups: KeyGroupRange,
    segments: BTreeMap<String, Vec<StoredRows>>,
}

impl OperatorHarness {
    /// Around a fresh operator that owns all key groups.
    pub fn new(operator: Box<dyn Operator>) -> Self {
        let key_groups = KeyGroupRange::all(DEFAULT_MAX_PARALLELISM);
        OperatorHarness { operator, checkpoint: CheckpointId(0), key_groups, segments: BTreeMap::new() }
    }

    /// Around a fresh operator that is given the segments of former instances, as after a restart or a rescale.
    /// `key_groups` are those of the new instance.
    ///
    /// # Errors
    /// The operator's own.
    pub fn restored(
        mut operator: Box<dyn Operator>,
        key_groups: KeyGroupRange,
        former: &[BTreeMap<String, Vec<StoredRows>>],
    ) -> Result<Self> {
        let mut segments: BTreeMap<String, Vec<StoredRows>> = BTreeMap::new();
        for (segment, stored) in former.iter().flatten() {
            for (owned, rows) in stored {
                let Some(shared) = owned.intersection(key_groups) else { continue };
                operator.restore(segment, rows, shared)?;
                segments.entry(segment.clone()).or_default().push((shared, rows.clone()));
            }
        }
        Ok(OperatorHarness { operator, checkpoint: CheckpointId(0), key_groups, segments })
    }

    /// Lets the next barrier be that of the checkpoint after this one, as after a restore.
    #[must_use]
    pub fn after_checkpoint(mut self, checkpoint: CheckpointId) -> Self {
        self.checkpoint = checkpoint;
        self
    }

    /// The checkpoint of the last barrier.
    pub fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// Rows into the first input, rows out.
    ///
    /// # Errors
    /// The operator's own.
    pub fn process(&mut self, batch: Batch) -> Result<Vec<(Port, Batch)>> {
        self.process_input(0, batch)
    }

    /// Rows into an input, by its number, rows out.
    ///
    /// # Errors
    /// The operator's own.
    pub fn process_input(&mut self, input: usize, batch: Batch) -> Result<Vec<(Port, Batch)>> {
        let mut out = Collector::default();
        self.operator.process(input, batch, &mut out)?;
        Ok(out.drain())
    }

    /// The operator as one that asks, if it does.
    pub fn lookup(&mut self) -> Option<&mut dyn Lookup> {
        self.operator.lookup()
    }

    /// A watermark in, rows out.
    ///
    /// # Errors
    /// The operator's own.
    pub fn watermark(&mut self, watermark: i64) -> Result<Vec<(Port, Batch)>> {
        let mut out = Collector::default();
        self.operator.watermark(watermark, &mut out)?;
        Ok(out.drain())
    }

    /// A barrier: what is flushed before it. The snapshot is kept, see [`OperatorHarness::segments`].
    ///
    /// # Errors
    /// The operator's own, or a snapshot that breaks the contract (an `Unchanged` segment that was never written).
    pub fn barrier(&mut self) -> Result<Vec<(Port, Batch)>> {
        self.pass_barrier(false)
    }

    /// The barrier that an attempt ends with; else as [`OperatorHarness::barrier`].
    ///
    /// # Errors
    /// As [`OperatorHarness::barrier`].
    pub fn last_barrier(&mut self) -> Result<Vec<(Port, Batch)>> {
        self.pass_barrier(true)
    }

    fn pass_barrier(&mut self, last: bool) -> Result<Vec<(Port, Batch)>> {
        let mut out = Collector::default();
        self.checkpoint = self.checkpoint.next();
        self.operator.prepare_snapshot(Barrier { checkpoint: self.checkpoint, last }, &mut out)?;
        let snapshot = self.operator.snapshot(self.checkpoint)?;
        let mut before = std::mem::take(&mut self.segments);
        let key_groups = self.key_groups;
        let own = |rows: RecordBatch| (key_groups, rows);
        for segment in snapshot.segments {
            let former = before.remove(&segment.id);
            let rows = match segment.change {
                Change::Unchanged => former.ok_or_else(|| {
                    crate::error::EngineError::internal(format!("segment '{}' is unchanged but unknown", segment.id))
                })?,
                Change::Append(rows) => {
                    let mut all = former.unwrap_or_default();
                    all.extend(rows.into_batches()?.into_iter().map(own));
                    all
                }
                Change::Replace(rows) => rows.into_batches()?.into_iter().map(own).collect(),
            };
            self.segments.insert(segment.id, rows);
        }
        Ok(out.drain())
    }

    /// What the last barrier would have stored.
    pub fn segments(&self) -> &BTreeMap<String, Vec<StoredRows>> {
        &self.segments
    }
}
