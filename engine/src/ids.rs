//! The identities that everything else refers to. Newtypes, so that a checkpoint is never taken for an attempt.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The number of a checkpoint of a job: 1, 2, 3 … without gaps, whatever attempt took it.
    CheckpointId
);
number!(
    /// The number of a job's current incarnation, raised at every (re)start. Everything that an attempt writes carries it.
    Attempt
);

number!(
    /// What a start-over begins: the number of the attempt that began it. The first attempt of all begins one, too; 0 is that of
    /// jobs that versions before this word began. A later attempt is never of an earlier lineage.
    Lineage
);

impl Default for Lineage {
    fn default() -> Self {
        Lineage::NAMELESS
    }
}

impl Lineage {
    /// Of jobs that versions before lineages began.
    pub const NAMELESS: Lineage = Lineage(0);

    /// Whether an attempt was over, as far as anybody counts on it, before this lineage began.
    pub fn has_left_behind(self, attempt: Attempt) -> bool {
        attempt.0 < self.0
    }

    /// Whether this is the attempt that started it: there was none before.
    pub fn was_begun_by(self, attempt: Attempt) -> bool {
        attempt.0 == self.0
    }
}

impl CheckpointId {
    /// The one after.
    pub fn next(self) -> Self {
        CheckpointId(self.0 + 1)
    }
}

/// One parallel instance of a task, or of an operator within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubtaskId {
    /// Index of the task in the execution graph.
    pub task: usize,
    /// Index of the instance, from 0.
    pub index: usize,
}

impl fmt::Display for SubtaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task, self.index)
    }
}

/// The channel between two subtasks over one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelId {
    /// Index of the edge in the job graph.
    pub edge: usize,
    /// The producing subtask.
    pub producer: SubtaskId,
    /// The consuming subtask.
    pub consumer: SubtaskId,
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} (edge {})", self.producer, self.consumer, self.edge)
    }
}
