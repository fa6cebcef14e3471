//! Several subtasks of one operator, fed as an exchange would feed them, restarted and rescaled: for the tests of this crate.

use arrow::{array::UInt32Array, record_batch::RecordBatch};
use std::sync::Arc;
use weir_engine::{
    Result,
    element::{Batch, KeyHashes, Port},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::{key_group_of, range_of, subtask_of},
    operator::{Operator, OperatorContext},
    testing::OperatorHarness,
};

type Make = Box<dyn Fn(&OperatorContext) -> Box<dyn Operator>>;

/// All subtasks of one operator behind a hash exchange.
pub(crate) struct Subtasks {
    make: Make,
    key: Vec<String>,
    harnesses: Vec<OperatorHarness>,
    context: OperatorContext,
    watermark: i64,
}

impl Subtasks {
    pub(crate) fn new(key: &[&str], make: impl Fn(&OperatorContext) -> Box<dyn Operator> + 'static) -> Self {
        let mut subtasks = Subtasks {
            make: Box::new(make),
            key: key.iter().map(ToString::to_string).collect(),
            harnesses: Vec::new(),
            context: OperatorContext::single("job", "operator"),
            watermark: i64::MIN,
        };
        subtasks.harnesses =
            (0..1).map(|at| OperatorHarness::new((subtasks.make)(&subtasks.context_of(at, 1)))).collect();
        subtasks
    }

    fn context_of(&self, subtask: usize, parallelism: usize) -> OperatorContext {
        let mut context = self.context.clone();
        (context.subtask, context.parallelism) = (subtask, parallelism);
        context.key_groups = range_of(subtask, context.max_parallelism, parallelism);
        context
    }

    /// The counters, summed over all subtasks and attempts.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.context.counters.values().get(name).copied().unwrap_or(0)
    }

    /// Sends every row to the subtask that owns its key; some batches carry their hashes, as after an exchange.
    pub(crate) fn process(&mut self, rows: &RecordBatch, carry_hashes: bool) -> Result<Vec<(Port, Batch)>> {
        let hashes = KeyHasher::new(self.key.clone()).hash(rows)?;
        let mut batch = Batch::new(rows.clone());
        if carry_hashes {
            let columns: Arc<[String]> = self.key.clone().into();
            batch.key_hashes = Some(KeyHashes { columns, hashes: Arc::new(hashes.clone()) });
        }
        let max = self.context.max_parallelism;
        let (mut out, parallelism) = (Vec::new(), self.harnesses.len());
        for (at, harness) in self.harnesses.iter_mut().enumerate() {
            let mine = (0..hashes.len() as u32)
                .filter(|row| subtask_of(key_group_of(hashes[*row as usize], max), max, parallelism) == at);
            out.extend(harness.process(batch.take(&UInt32Array::from_iter_values(mine))?)?);
        }
        Ok(out)
    }

    pub(crate) fn watermark(&mut self, watermark: i64) -> Result<Vec<(Port, Batch)>> {
        self.watermark = watermark;
        let outputs: Result<Vec<_>> = self.harnesses.iter_mut().map(|harness| harness.watermark(watermark)).collect();
        Ok(outputs?.into_iter().flatten().collect())
    }

    pub(crate) fn barrier(&mut self) -> Result<Vec<(Port, Batch)>> {
        let outputs: Result<Vec<_>> = self.harnesses.iter_mut().map(OperatorHarness::barrier).collect();
        Ok(outputs?.into_iter().flatten().collect())
    }

    /// A last barrier, and then as many instances, restored from it. They learn the watermark as they would from their inputs.
    pub(crate) fn restart(&mut self, parallelism: usize) -> Result<Vec<(Port, Batch)>> {
        let outputs: Result<Vec<_>> = self.harnesses.iter_mut().map(OperatorHarness::last_barrier).collect();
        let mut out: Vec<_> = outputs?.into_iter().flatten().collect();
        self.restore(parallelism)?;
        out.extend(self.watermark(self.watermark)?);
        Ok(out)
    }

    /// As many instances, restored from the last barrier: whatever came after it is to come again.
    pub(crate) fn crash(&mut self, parallelism: usize) -> Result<()> {
        self.watermark = i64::MIN;
        self.restore(parallelism)
    }

    fn restore(&mut self, parallelism: usize) -> Result<()> {
        let checkpoint = self.checkpoint();
        let max = self.context.max_parallelism;
        let state: Vec<_> = self.harnesses.iter().map(|harness| harness.segments().clone()).collect();
        let restored: Result<Vec<_>> = (0..parallelism)
            .map(|at| {
                let operator = (self.make)(&self.context_of(at, parallelism));
                let restored = OperatorHarness::restored(operator, range_of(at, max, parallelism), &state)?;
                Ok(restored.after_checkpoint(checkpoint))
            })
            .collect();
        self.harnesses = restored?;
        Ok(())
    }

    /// The checkpoint of the last barrier.
    pub(crate) fn checkpoint(&self) -> CheckpointId {
        self.harnesses.first().map_or(CheckpointId(0), OperatorHarness::checkpoint)
    }
}
