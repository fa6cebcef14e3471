//! Several subtasks of one operator, fed as an exchange would feed them, restarted and rescaled: for tests, those of other crates
//! included.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::{array::{ArrayRef, Int64Array}, record_batch::RecordBatch};
//! use weir_engine::{element::Batch, operator::{Collector, Operator}};
//! use weir_operators::testing::Subtasks;
//!
//! struct Same;
//! impl Operator for Same {
//!     fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> weir_engine::Result<()> {
//!         out.emit(weir_engine::element::Port::MAIN, batch);
//!         Ok(())
//!     }
//! }
//!
//! let rows: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
//! let rows = RecordBatch::try_from_iter([("n", rows)])?;
//! let mut subtasks = Subtasks::new(&["n"], |_| Box::new(Same));
//! subtasks.process(&rows, false)?;
//! subtasks.restart(3)?;
//! let out = subtasks.process(&rows, true)?;
//! assert_eq!(out.iter().map(|(_, batch)| batch.len()).sum::<usize>(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

/// What subtasks emit: on which port, and which rows.
pub type Emitted = Vec<(Port, Batch)>;

/// All subtasks of one operator behind a hash exchange. Begins with one.
pub struct Subtasks {
    make: Make,
    /// The key of each input.
    keys: Vec<Vec<String>>,
    harnesses: Vec<OperatorHarness>,
    context: OperatorContext,
    watermark: i64,
}

impl Subtasks {
    /// Of an operator that `make` makes for each subtask, with rows spread by these columns; none: all go to one.
    pub fn new(key: &[&str], make: impl Fn(&OperatorContext) -> Box<dyn Operator> + 'static) -> Self {
        Subtasks::of_inputs(&[key], make)
    }

    /// The same with several inputs, each with a key of its own.
    pub fn of_inputs(keys: &[&[&str]], make: impl Fn(&OperatorContext) -> Box<dyn Operator> + 'static) -> Self {
        let key = |key: &&[&str]| key.iter().map(ToString::to_string).collect();
        let mut subtasks = Subtasks {
            make: Box::new(make),
            keys: keys.iter().map(key).collect(),
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

    /// A counter, summed over all subtasks and attempts.
    pub fn counter(&self, name: &str) -> u64 {
        self.context.counters.values().get(name).copied().unwrap_or(0)
    }

    /// Sends every row to the subtask that owns its key; if asked to, with the hashes of the keys, as after an exchange.
    ///
    /// # Errors
    /// The operator's own.
    pub fn process(&mut self, rows: &RecordBatch, carry_hashes: bool) -> Result<Emitted> {
        self.process_input(0, rows, carry_hashes)
    }

    /// The same at one of several inputs.
    ///
    /// # Errors
    /// The operator's own.
    pub fn process_input(&mut self, input: usize, rows: &RecordBatch, carry_hashes: bool) -> Result<Emitted> {
        let key = &self.keys[input];
        let hashes = KeyHasher::new(key.clone()).hash(rows)?;
        let mut batch = Batch::new(rows.clone());
        if carry_hashes {
            let columns: Arc<[String]> = key.clone().into();
            batch.key_hashes = Some(KeyHashes { columns, hashes: Arc::new(hashes.clone()) });
        }
        let max = self.context.max_parallelism;
        let (mut out, parallelism) = (Vec::new(), self.harnesses.len());
        for (at, harness) in self.harnesses.iter_mut().enumerate() {
            let mine = (0..hashes.len() as u32)
                .filter(|row| subtask_of(key_group_of(hashes[*row as usize], max), max, parallelism) == at);
            out.extend(harness.process_input(input, batch.take(&UInt32Array::from_iter_values(mine))?)?);
        }
        Ok(out)
    }

    /// Tells all subtasks a watermark, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The operator's own.
    pub fn watermark(&mut self, watermark: i64) -> Result<Emitted> {
        self.watermark = watermark;
        let outputs: Result<Vec<_>> = self.harnesses.iter_mut().map(|harness| harness.watermark(watermark)).collect();
        Ok(outputs?.into_iter().flatten().collect())
    }

    /// Lets a barrier pass, which ends a checkpoint.
    ///
    /// # Errors
    /// The operator's own, or a snapshot that breaks the contract.
    pub fn barrier(&mut self) -> Result<Emitted> {
        let outputs: Result<Vec<_>> = self.harnesses.iter_mut().map(OperatorHarness::barrier).collect();
        Ok(outputs?.into_iter().flatten().collect())
    }

    /// A last barrier, and then as many instances, restored from it. They learn the watermark as they would from their inputs.
    ///
    /// # Errors
    /// The operator's own.
    pub fn restart(&mut self, parallelism: usize) -> Result<Emitted> {
        let outputs: Result<Vec<_>> = self.harnesses.iter_mut().map(OperatorHarness::last_barrier).collect();
        let mut out: Vec<_> = outputs?.into_iter().flatten().collect();
        self.restore(parallelism)?;
        out.extend(self.watermark(self.watermark)?);
        Ok(out)
    }

    /// As many instances, restored from the last barrier: whatever came after it is to come again.
    ///
    /// # Errors
    /// The operator's own.
    pub fn crash(&mut self, parallelism: usize) -> Result<()> {
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
    pub fn checkpoint(&self) -> CheckpointId {
        self.harnesses.first().map_or(CheckpointId(0), OperatorHarness::checkpoint)
    }
}
