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

/// What all subtasks of a sink have staged for one checkpoint.
#[derive(Clone, Debug)]
pub(super) struct StagedCheckpoint {
    pub checkpoint: CheckpointId,
    pub parts: Vec<FileRef>,
    pub rows: u64,
    pub attempt: Attempt,
    /// Everything that was read before this moment is in: the earliest of all subtasks' barriers.
    pub staged_at_ms: i64,
    /// The attempt ended with it.
    pub last: bool,
    /// The newest checkpoint before that has rows for the sink, if that is known: they are in the table before these go in.
    pub after: Option<CheckpointId>,
}

impl StagedCheckpoint {
    pub fn new(checkpoint: CheckpointId, committables: &[Committable]) -> Result<Self> {
        let staged = committables.iter().map(StagedRows::from_committable).collect::<Result<Vec<_>>>()?;
        let nothing = || EngineError::internal(format!("checkpoint {checkpoint} has nothing to commit"));
        Ok(StagedCheckpoint {
            checkpoint,
            rows: staged.iter().map(|one| one.rows).sum(),
            attempt: staged.iter().map(|one| one.attempt).max().ok_or_else(nothing)?,
            staged_at_ms: staged.iter().map(|one| one.staged_at_ms).min().ok_or_else(nothing)?,
            last: staged.iter().all(|one| one.last),
            after: committables.iter().filter_map(|one| one.after).max(),
            parts: staged.into_iter().flat_map(|one| one.parts).collect(),
        })
    }
}
