//! What flows on an edge: a batch of rows, or one of four signals.

mod batch;
mod origin;
mod port;

pub use batch::{Batch, KeyHashes};
pub use origin::{Origin, Piece};
pub use port::Port;

use crate::ids::CheckpointId;

/// Smallest watermark: nothing is known yet.
pub const WATERMARK_MIN: i64 = i64::MIN;
/// Largest watermark: no event will come any more.
pub const WATERMARK_MAX: i64 = i64::MAX;

/// What flows on an edge between two subtasks.
#[derive(Clone, Debug)]
pub enum StreamElement {
    /// Rows.
    Batch(Batch),
    /// No event with a smaller event time (milliseconds) will come, but for those that are late.
    Watermark(i64),
    /// This channel has nothing to say about time until its next batch or watermark.
    Idle,
    /// Everything before belongs to checkpoint *n*, everything after does not.
    Barrier(Barrier),
    /// The only regular end of a channel.
    EndOfInput,
}

/// The element that carries a checkpoint's number through the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// The attempt ends with this checkpoint: nothing follows but the end of input.
    pub last: bool,
}

impl Barrier {
    /// One that more follows.
    pub fn new(checkpoint: CheckpointId) -> Self {
        Barrier { checkpoint, last: false }
    }
}
