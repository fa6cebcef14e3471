//! The committable of a Kafka sink: the staged records of one subtask.

use crate::sink::staging_buffer::StagedPart;
use serde::{Deserialize, Serialize};
use weir_engine::{
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId},
    operator::Committable,
};

/// The records that came to one subtask between two barriers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedRecords {
    /// Files of the staging area, in the order in which the rows came.
    pub parts: Vec<StagedPart>,
    /// The attempt that staged them.
    pub attempt: Attempt,
    /// The partitions that the topic must have: one more than the highest that a record goes to.
    pub partitions: i32,
}

impl StagedRecords {
    pub fn into_committable(self, sink: &str, checkpoint: CheckpointId) -> Result<Committable> {
        let payload = serde_json::to_value(self)
            .map_err(|error| EngineError::internal(format!("staged records cannot be written as JSON: {error}")))?;
        Ok(Committable::new(sink, checkpoint, payload))
    }

    pub fn from_committable(committable: &Committable) -> Result<Self> {
        StagedRecords::deserialize(&committable.payload).map_err(|error| {
            EngineError::corrupt(format!(
                "checkpoint {} contains something other than staged records for '{}': {error}",
                committable.checkpoint, committable.sink
            ))
        })
    }
}

/// What all subtasks of a sink have staged for one checkpoint. The order of its rows is the same each time.
#[derive(Clone, Debug)]
pub(super) struct StagedCheckpoint {
    pub checkpoint: CheckpointId,
    pub parts: Vec<StagedPart>,
    pub rows: u64,
    pub attempt: Attempt,
    pub partitions: i32,
    /// The newest checkpoint before that has rows for the sink, if that is known: they are in before these.
    pub after: Option<CheckpointId>,
}

/// A place among the rows of several checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Which of the checkpoints; those before it are whole.
    pub of: usize,
    /// So many of its rows are before this place.
    pub row: u64,
}

impl StagedCheckpoint {
    /// How many of several checkpoints, from the first on, may be written as if they were one: of the same attempt, and with nothing
    /// missing in between.
    pub fn together(several: &[Self]) -> usize {
        let follows = |pair: &[Self]| match pair {
            [one, next] => next.attempt == one.attempt && next.after.is_none_or(|after| after <= one.checkpoint),
            _ => false,
        };
        several.len().min(1) + several.windows(2).take_while(|pair| follows(pair)).count()
    }

    pub fn new(checkpoint: CheckpointId, committables: &[Committable]) -> Result<Self> {
        let staged = committables.iter().map(StagedRecords::from_committable).collect::<Result<Vec<_>>>()?;
        let nothing = || EngineError::internal(format!("checkpoint {checkpoint} has nothing to commit"));
        let attempt = staged.iter().map(|one| one.attempt).max().ok_or_else(nothing)?;
        let partitions = staged.iter().map(|one| one.partitions).max().unwrap_or(0);
        let parts: Vec<StagedPart> = staged.into_iter().flat_map(|one| one.parts).collect();
        Ok(StagedCheckpoint {
            checkpoint,
            rows: parts.iter().map(|part| part.rows).sum(),
            parts,
            attempt,
            partitions,
            after: committables.iter().filter_map(|one| one.after).max(),
        })
    }
}
