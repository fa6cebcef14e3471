//! The contracts of what runs in the engine: [`Operator`], [`Lookup`], [`Source`] and [`Sink`], and who builds them ([`Factory`]).
//!
//! An operator is synchronous and deterministic: batch in, batches out, no clock, no I/O. Sources and sinks do the
//! waiting, and are asynchronous. One subtask drives one chain of them and calls every method from one place, never two at
//! a time.

mod canceled;
mod context;
mod lags;
mod lookup;
mod pace;
mod sink;
mod source;
mod waiting;
mod waits;

pub use canceled::Canceled;
pub use context::{CommitterContext, Counter, Counters, OperatorContext};
pub use lags::{Lag, Lags};
pub(crate) use lookup::as_lookup;
pub use lookup::{Lookup, LookupService, Question};
pub use pace::{Pace, Slowest};
pub use sink::{
    CommitOutcome, Committable, Committer, ExpectedResults, ShownResults, Sink, SinkCommit, SweepScope, ToCommit,
};
pub use source::{Source, SourceEvent, SplitState};
pub use waiting::{Patience, Waiting};
pub use waits::{Wait, Waits};

use crate::{
    element::{Barrier, Batch, Port},
    error::Result,
    graph::Node,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    state::Snapshot,
};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// Where an operator puts what it makes.
#[derive(Debug, Default)]
pub struct Collector {
    outputs: Vec<(Port, Batch)>,
}

impl Collector {
    /// Emits rows on a port. Empty batches are dropped.
    pub fn emit(&mut self, port: Port, batch: Batch) {
        if !batch.is_empty() {
            self.outputs.push((port, batch));
        }
    }

    /// Takes all that was emitted, in order.
    pub fn drain(&mut self) -> Vec<(Port, Batch)> {
        std::mem::take(&mut self.outputs)
    }
}

/// One step of the dataflow, in one subtask.
///
/// What is called when: `restore` (any number of times) before anything else; then `process` and `watermark` in the order
/// in which elements come; `prepare_snapshot` and at once after it `snapshot` when a barrier has been aligned. The watermark
/// [`WATERMARK_MAX`](crate::element::WATERMARK_MAX) says that no input will come any more; the last barrier follows it, and
/// after that nothing. An error ends the attempt.
///
/// An operator may have several inputs, numbered as the graph numbers them. They share one event time and one barrier, and the
/// operator cannot choose between them: in which order rows of two inputs come is a matter of chance, and what is emitted in
/// the end must not depend on it. An input that is over is not told apart from one that has nothing to say: event time goes on
/// without it.
///
/// The same calls must give the same outputs: no clock, no chance, no iteration in the order of a random hash.
pub trait Operator: Send {
    /// Rows came in on an input, from 0. An operator of one input need not look.
    ///
    /// # Errors
    /// Any error ends the attempt; bad rows go to a port instead.
    fn process(&mut self, input: usize, batch: Batch, out: &mut Collector) -> Result<()>;

    /// The operator's event time, the minimum over its inputs, has risen to `watermark`. What is emitted here reaches the
    /// next operator before the watermark does.
    ///
    /// After a restore time starts from scratch, and watermarks from before the checkpoint arrive again: what has been
    /// emitted must be part of the state, or it is emitted twice.
    ///
    /// # Errors
    /// Any error ends the attempt.
    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        let _ = (watermark, out);
        Ok(())
    }

    /// The event time of what comes behind it, when its own is `watermark`: less, if it keeps rows back for longer, so that they
    /// are not behind time when it emits them. Follows from `watermark` alone, and rises with it; the largest one stays what it
    /// is.
    fn watermark_behind(&self, watermark: i64) -> i64 {
        watermark
    }

    /// A barrier is about to pass: emit what must be on this side of it and is not state. All rows before the barrier have
    /// come by then, those too that the operators before this one emit in their own `prepare_snapshot`.
    ///
    /// # Errors
    /// Any error ends the attempt.
    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        let _ = (barrier, out);
        Ok(())
    }

    /// What this subtask holds now. Cheap: hands over arrays, encodes nothing.
    ///
    /// # Errors
    /// Any error ends the attempt.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Snapshot> {
        let _ = checkpoint;
        Ok(Snapshot::default())
    }

    /// Rows of one segment of a snapshot that some subtask of this operator took, at whatever parallelism. Called once a batch.
    ///
    /// Only rows whose key group is in `key_groups` count: the others are another subtask's, or stale. Afterwards the segment
    /// is known to the engine: [`Change::Unchanged`](crate::state::Change::Unchanged) and
    /// [`Change::Append`](crate::state::Change::Append) continue it.
    ///
    /// # Errors
    /// When the rows do not fit.
    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        let _ = (rows, key_groups);
        Err(crate::error::EngineError::corrupt(format!("there is state '{segment}' for an operator that keeps none")))
    }

    /// The same operator as one that asks a service about its rows, if it does: then its node is a
    /// [`NodeRole::Lookup`](crate::graph::NodeRole::Lookup).
    fn lookup(&mut self) -> Option<&mut dyn Lookup> {
        None
    }
}

/// Builds what a node of the graph names, from its configuration.
pub trait Factory: Send + Sync {
    /// A source's instance for one subtask.
    ///
    /// # Errors
    /// When the configuration does not fit or what it names cannot be opened.
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>>;

    /// An operator's instance for one subtask.
    ///
    /// # Errors
    /// When the configuration does not fit.
    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>>;

    /// A sink's instance for one subtask.
    ///
    /// # Errors
    /// When the configuration does not fit or the target cannot be opened.
    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>>;

    /// What commits a sink's committables, from anywhere.
    ///
    /// # Errors
    /// When the configuration does not fit or the target cannot be opened.
    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>>;
}
