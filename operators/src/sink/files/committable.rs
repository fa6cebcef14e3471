//! What the first phase tells the second: one staged file.

use serde::{Deserialize, Serialize};
use weir_engine::{
    error::{EngineError, Result},
    ids::CheckpointId,
    operator::Committable,
};

/// A staged file, and what it is to become. Paths are relative to the sink's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedFile {
    /// The folder, as it was written to. Earlier versions did not note it.
    #[serde(default)]
    pub root: String,
    /// Where it lies.
    pub staged: String,
    /// Where it will lie.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// XXH3-64 of all its bytes, in hex.
    pub checksum: String,
    /// Rows in it.
    pub rows: u64,
}

impl StagedFile {
    pub fn into_committable(self, sink: &str, checkpoint: CheckpointId) -> Result<Committable> {
        let payload = serde_json::to_value(self)
            .map_err(|error| EngineError::internal(format!("a staged file cannot be written as JSON: {error}")))?;
        Ok(Committable::new(sink, checkpoint, payload))
    }

    pub fn from_committable(committable: &Committable) -> Result<Self> {
        StagedFile::deserialize(&committable.payload).map_err(|error| {
            EngineError::corrupt(format!(
                "checkpoint {} holds something else than a staged file for '{}': {error}",
                committable.checkpoint, committable.sink
            ))
        })
    }
}

/// A checksum as it stands in a committable.
pub(super) fn checksum_text(checksum: u64) -> String {
    format!("{checksum:016x}")
}
