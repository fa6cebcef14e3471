//! The contract of a lookup: an operator that asks a service outside about its rows, and passes them on in the order in which they
//! came.
//!
//! The operator itself waits for nothing: it hands out [`Question`]s as data, is handed the answers, and releases the rows at its
//! front that are settled. Its subtask's loop does the asking, through the [`LookupService`], and hands the time in. So a lookup
//! is tested like any operator, by calling it.
//!
//! Rows that wait, and what was answered about them, are state: a barrier passes them by. Answers that had not come by then are
//! asked for again after a restore.

use super::{Collector, Operator};
use crate::error::Result;
use arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use std::sync::Arc;

/// What a lookup asks its service at once.
#[derive(Clone, Debug)]
pub struct Question {
    /// Tells it from the others of this operator that are not answered yet.
    pub number: u64,
    /// A row for each thing that is asked about.
    pub keys: RecordBatch,
}

/// Who is asked. Retries by itself, as it is set to.
pub trait LookupService: Send + Sync {
    /// The answer to a question, in a form that its operator understands. What failed for good, but must not end the attempt, is a
    /// part of the answer.
    ///
    /// # Errors
    /// An error ends the attempt.
    fn ask(&self, keys: RecordBatch) -> BoxFuture<'static, Result<RecordBatch>>;
}

/// A lookup. As an [`Operator`] it is at the head of its chain, and emits nothing in `process`: rows only come in there.
pub trait Lookup {
    /// Who is asked.
    fn service(&self) -> Arc<dyn LookupService>;

    /// The time, by the wall clock, in milliseconds since the epoch: until the next one is handed in it is this.
    fn set_time(&mut self, now_ms: i64);

    /// What is to be asked now. Nothing of it is handed out twice.
    ///
    /// # Errors
    /// Any error ends the attempt.
    fn questions(&mut self) -> Result<Vec<Question>>;

    /// The answer to a question.
    ///
    /// # Errors
    /// When it is none to a question that was asked.
    fn answer(&mut self, question: u64, answer: &RecordBatch) -> Result<()>;

    /// Emits the rows at the front that are settled, and counts them: at most so many, in the order in which they came.
    ///
    /// # Errors
    /// Any error ends the attempt.
    fn release(&mut self, at_most: u64, out: &mut Collector) -> Result<u64>;

    /// How many rows are waiting, restored ones included.
    fn waiting(&self) -> u64;

    /// Whether so many rows wait that no more should come.
    fn is_full(&self) -> bool;

    /// Bytes of memory that the waiting rows take, about.
    fn waiting_bytes(&self) -> usize;
}

/// An operator as a lookup.
pub(crate) fn as_lookup(operator: &mut dyn Operator) -> Result<&mut dyn Lookup> {
    operator
        .lookup()
        .ok_or_else(|| crate::error::EngineError::internal("a node that is a lookup has an operator that asks nobody"))
}
