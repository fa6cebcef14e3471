//! What a definition says of the whole job, beside its nodes.

use std::time::Duration;

use weir_engine::key_group::DEFAULT_MAX_PARALLELISM;

/// Bytes in the name of a job or a node: a file's name holds one of each, and may have 255.
pub(crate) const LONGEST_NAME: usize = 100;

/// The settings of a whole job.
#[derive(Debug, Clone)]
pub(crate) struct JobSettings {
    pub(crate) name: String,
    /// What record ids are made from, where that is not the name.
    pub(crate) identity: Option<String>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) parallelism: Option<usize>,
    pub(crate) max_parallelism: u16,
    /// Global filters: id and condition.
    pub(crate) filters: Vec<(String, String)>,
}

impl JobSettings {
    /// Those of a job that says nothing but its name.
    pub(crate) fn new(name: String) -> Self {
        JobSettings {
            name,
            identity: None,
            checkpoint: Checkpoint::default(),
            parallelism: None,
            max_parallelism: DEFAULT_MAX_PARALLELISM,
            filters: Vec::new(),
        }
    }

    /// The number of checkpoints in a time, rounded up.
    pub(crate) fn checkpoints_in(&self, time: Duration) -> u64 {
        let interval = self.checkpoint.interval.as_millis().max(1);
        u64::try_from(time.as_millis().div_ceil(interval)).unwrap_or(u64::MAX)
    }
}

/// When checkpoints are taken, where they go, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// From the start of one to the start of the next.
    pub interval: Duration,
    /// URL or folder; none: inside the data directory of the run.
    pub storage: Option<String>,
    /// How many completed ones are kept.
    pub retain: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { interval: Duration::from_secs(1), storage: None, retain: 3 }
    }
}
