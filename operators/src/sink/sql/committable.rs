//! The committable of a SQL sink: the staged rows of one subtask.

use serde::{Deserialize, Serialize};
use weir_engine::{
    checkpoint::manifest::FileRef,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId},
    operator::Committable,
};

/// The rows that came to one subtask between two barriers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedRows {
    /// Files of the staging area, in the order in which the rows came.
    pub parts: Vec<FileRef>,
    /// Rows in them.
    pub rows: u64,
    /// The attempt that staged them.
    pub attempt: Attempt,
    /// When the barrier passed the sink: wall clock, milliseconds since the epoch.
    pub staged_at_ms: i64,
    /// The attempt ends with this checkpoint.
    #[serde(default)]
    pub last: bool,
}

impl StagedRows {
    pub fn into_committable(self, sink: &str, checkpoint: CheckpointId) -> Result<Committable> {
        let payload = serde_json::to_value(self)
            .map_err(|error| EngineError::internal(format!("staged rows cannot be written as JSON: {error}")))?;
        Ok(Committable::new(sink, checkpoint, payload))
    }

    pub fn from_committable(committable: &Committable) -> Result<Self> {
        StagedRows::deserialize(&committable.payload).map_err(|error| {
            EngineError::corrupt(format!(
                "checkpoint {} contains something other than staged rows for '{}': {error}",
                committable.checkpoint, committable.sink
            ))
        })
    }
}

/// So many staged bytes go into one transaction at most, if they are of more than one checkpoint.
const MOST_TOGETHER: u64 = 64 << 20;

/// What all subtasks of a sink have staged for one checkpoint, or for several that follow each other: it goes into the table in one
/// transaction.
#[derive(Clone, Debug)]
pub(super) struct StagedCheckpoint {
    /// The newest.
    pub checkpoint: CheckpointId,
    /// Each of them, in order, and not empty.
    pub each: Vec<OfCheckpoint>,
    /// In the order of checkpoints.
    pub parts: Vec<FileRef>,
    pub rows: u64,
    pub attempt: Attempt,
    /// Everything that was read before this moment is in: the earliest of all subtasks' barriers, of the newest checkpoint.
    pub staged_at_ms: i64,
    /// The attempt ended with it.
    pub last: bool,
    /// The newest checkpoint before that has rows for the sink, if that is known: they are in the table before these go in.
    pub after: Option<CheckpointId>,
}

/// What history says of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OfCheckpoint {
    pub checkpoint: CheckpointId,
    pub rows: u64,
    pub staged_at_ms: i64,
}

impl StagedCheckpoint {
    pub fn new(checkpoint: CheckpointId, committables: &[Committable]) -> Result<Self> {
        let staged = committables.iter().map(StagedRows::from_committable).collect::<Result<Vec<_>>>()?;
        let nothing = || EngineError::internal(format!("checkpoint {checkpoint} has nothing to commit"));
        let rows = staged.iter().map(|one| one.rows).sum();
        let staged_at_ms = staged.iter().map(|one| one.staged_at_ms).min().ok_or_else(nothing)?;
        Ok(StagedCheckpoint {
            checkpoint,
            each: vec![OfCheckpoint { checkpoint, rows, staged_at_ms }],
            rows,
            attempt: staged.iter().map(|one| one.attempt).max().ok_or_else(nothing)?,
            staged_at_ms,
            last: staged.iter().all(|one| one.last),
            after: committables.iter().filter_map(|one| one.after).max(),
            parts: staged.into_iter().flat_map(|one| one.parts).collect(),
        })
    }

    /// The first of them.
    pub fn first(&self) -> CheckpointId {
        self.each.first().map_or(self.checkpoint, |first| first.checkpoint)
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Adds the next checkpoint, if one transaction may hold it as well: it is of the same attempt, nothing is missing in between, and it
    /// is not too much. `false`: it may not.
    pub fn join(&mut self, next: Self) -> bool {
        let follows = next.attempt == self.attempt && next.after.is_none_or(|after| after <= self.checkpoint);
        if !follows || self.bytes() + next.bytes() > MOST_TOGETHER {
            return false;
        }
        self.checkpoint = next.checkpoint;
        self.each.extend(next.each);
        self.parts.extend(next.parts);
        self.rows += next.rows;
        (self.staged_at_ms, self.last) = (next.staged_at_ms, next.last);
        true
    }
}
