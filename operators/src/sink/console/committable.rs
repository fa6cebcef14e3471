//! The committable of a console sink: what one subtask has to print.

use serde::{Deserialize, Serialize};
use weir_engine::{
    checkpoint::manifest::FileRef,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId},
    operator::Committable,
};

/// The text of the rows that came to one subtask between two barriers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Printout {
    pub attempt: Attempt,
    pub subtask: usize,
    /// Files of the staging area, in the order in which the rows came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<FileRef>,
    /// What comes behind them, and goes through the manifest itself: a few rows are not worth a file.
    pub lines: Vec<String>,
}

impl Printout {
    pub fn into_committable(self, sink: &str, checkpoint: CheckpointId) -> Result<Committable> {
        let payload = serde_json::to_value(self)
            .map_err(|error| EngineError::internal(format!("lines cannot be written as JSON: {error}")))?;
        Ok(Committable::new(sink, checkpoint, payload))
    }

    pub fn from_committable(committable: &Committable) -> Result<Self> {
        Printout::deserialize(&committable.payload).map_err(|error| {
            EngineError::corrupt(format!(
                "checkpoint {} contains something other than lines to print for '{}': {error}",
                committable.checkpoint, committable.sink
            ))
        })
    }
}
