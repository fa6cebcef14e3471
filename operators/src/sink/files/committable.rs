//! The committable of a files sink: staged files, and that there will be no more of them.

use serde::{Deserialize, Serialize};
use weir_engine::{
    error::{EngineError, Result},
    ids::CheckpointId,
    operator::Committable,
};

/// What one committable says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Staged {
    /// A file is to be committed.
    File(StagedFile),
    /// The attempt ends with this checkpoint, and stages nothing more.
    Ended,
}

impl Staged {
    pub fn from_committable(committable: &Committable) -> Result<Self> {
        match committable.payload.get(ENDED) {
            Some(_) => Ok(Staged::Ended),
            None => StagedFile::from_committable(committable).map(Staged::File),
        }
    }

    /// That an attempt has ended.
    pub fn ended(sink: &str, checkpoint: CheckpointId) -> Committable {
        Committable::without_results(sink, checkpoint, serde_json::json!({ ENDED: true }))
    }
}

const ENDED: &str = "ended";

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
                "checkpoint {} contains something other than a staged file for '{}': {error}",
                committable.checkpoint, committable.sink
            ))
        })
    }
}

/// A checksum as it stands in a committable.
pub(super) fn checksum_text(checksum: u64) -> String {
    format!("{checksum:016x}")
}
