//! Keyed state as the engine sees it: named segments of rows that are exported as Arrow and come back as Arrow.
//!
//! A *segment* is a part of an operator's state that changes together (a window slice, a bucket of seen ids). At each
//! checkpoint the operator says of each of its segments what changed; the engine writes only that, and keeps a list of files
//! per segment in the manifest. That makes state that grows (`Append`) and state that rests (`Unchanged`) cost nothing twice.

use crate::error::Result;
use arrow::record_batch::RecordBatch;
use std::fmt;

/// What a subtask of an operator holds at a barrier. A segment that is not mentioned is gone.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The segments that exist now.
    pub segments: Vec<Segment>,
}

/// One segment of a snapshot.
#[derive(Debug)]
pub struct Segment {
    /// Its name, unique within the subtask's operator and the same from checkpoint to checkpoint.
    pub id: String,
    /// What changed since the last snapshot.
    pub change: Change,
}

/// What changed in a segment since the last snapshot, or since it was restored.
#[derive(Debug)]
pub enum Change {
    /// Nothing.
    Unchanged,
    /// These rows came to it.
    Append(StateRows),
    /// These rows are now all there is.
    Replace(StateRows),
}

/// Rows that are made beside the processing: the barrier only hands over what they are made from.
pub struct StateRows(Box<dyn FnOnce() -> Result<Vec<RecordBatch>> + Send>);

impl StateRows {
    /// Rows that `make` gives when the upload asks for them. All batches of one operator have the same schema.
    pub fn deferred(make: impl FnOnce() -> Result<Vec<RecordBatch>> + Send + 'static) -> Self {
        StateRows(Box::new(make))
    }

    /// Rows that are there already.
    pub fn ready(batches: Vec<RecordBatch>) -> Self {
        StateRows::deferred(move || Ok(batches))
    }

    /// Makes the rows.
    ///
    /// # Errors
    /// Whatever making them does.
    pub fn into_batches(self) -> Result<Vec<RecordBatch>> {
        (self.0)()
    }
}

impl fmt::Debug for StateRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateRows")
    }
}
