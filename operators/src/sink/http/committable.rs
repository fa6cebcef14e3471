//! The committable of an HTTP sink: the staged rows of one subtask.

use serde::{Deserialize, Serialize};
use weir_engine::{
    checkpoint::manifest::FileRef,
    error::{EngineError, Result},
    ids::CheckpointId,
    operator::Committable,
};

/// The rows that came to one subtask between two barriers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedRows {
    /// Files of the staging area, in the order in which the rows came.
    pub parts: Vec<Part>,
}

/// A staged file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub file: FileRef,
    /// Rows in it.
    pub rows: u64,
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

    /// What all subtasks have staged for one checkpoint. The order is the same each time.
    pub fn parts_of(committables: &[Committable]) -> Result<Vec<Part>> {
        let staged = committables.iter().map(StagedRows::from_committable).collect::<Result<Vec<_>>>()?;
        Ok(staged.into_iter().flat_map(|one| one.parts).collect())
    }
}
