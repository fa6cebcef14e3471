//! The contract of a source.

use crate::{
    element::{Batch, Port},
    error::Result,
};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// Where rows come in, in one subtask.
///
/// What is called when: `restore` once, before anything else, also with no splits on a fresh start; then `next` and, between
/// two calls of it, `snapshot`.
pub trait Source: Send {
    /// Continues from a checkpoint. `splits` are those of **all** subtasks that took it, at whatever parallelism; the source
    /// keeps those that are its own by its rule of assignment. Empty on a fresh start.
    ///
    /// # Errors
    /// When a split cannot be continued (its file is gone, say): never a silent fresh start.
    fn restore(&mut self, splits: Vec<SplitState>) -> BoxFuture<'_, Result<()>>;

    /// What comes next. Waits where nothing is there yet.
    ///
    /// May be dropped at any of its waiting points and called again: nothing may be lost by that.
    ///
    /// # Errors
    /// Any error ends the attempt; unreadable records go to a port of their own instead.
    fn next(&mut self) -> BoxFuture<'_, Result<SourceEvent>>;

    /// Gives, one after another, what has been read and not been given yet: the job is drained, and nothing more will be read.
    /// A position may be past such a record already, so that it would never be read again.
    ///
    /// # Errors
    /// Any error ends the attempt.
    fn drain(&mut self) -> Result<Option<SourceEvent>> {
        Ok(None)
    }

    /// The position of every split of this subtask, right after the last event that `next` gave.
    ///
    /// # Errors
    /// Any error ends the attempt.
    fn snapshot(&mut self) -> Result<Vec<SplitState>>;
}

/// What a source has to say.
#[derive(Debug)]
pub enum SourceEvent {
    /// Rows.
    Rows(Port, Batch),
    /// The merged watermark of this subtask's splits has risen. Never falls within an attempt.
    Watermark(i64),
    /// All splits are silent; other subtasks' time advances without this one until its next event.
    Idle,
    /// A bounded source has no more. `next` is not called again; `snapshot` still is.
    EndOfInput,
}

/// Position of one split: opaque to the engine, stored in the manifest as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitState {
    /// Identity of the split, the same in every attempt.
    pub id: String,
    /// Position, watermark, whatever continues it.
    pub state: serde_json::Value,
}
