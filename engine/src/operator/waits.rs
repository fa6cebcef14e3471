//! What sinks say of their targets: one that is down or slow is waited for, one that refuses rows gets the others. Neither is a
//! failure, but somebody should know. Sources say it of what they read, where that can be waited for, and an attempt of the storage
//! that its checkpoints are in.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The sinks of a job that wait for their targets now, and how many rows targets have refused. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Waits(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    waits: BTreeMap<String, Wait>,
    rejected: BTreeMap<String, u64>,
    steps: u64,
}

/// A sink that waits for its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Since when: wall clock, milliseconds since the epoch.
    pub since_ms: i64,
    /// What the target said last.
    pub cause: String,
}

impl Wait {
    /// What waits for the storage that checkpoints are in, in the place of a node's id.
    pub const STORAGE: &str = "storage";

    /// What waits, and for what: of a source the cause says it. `since` is put in between, as in ` since 12:00`.
    pub fn tell(node: &str, since: &str, cause: &str) -> String {
        match node {
            Self::STORAGE => format!("checkpoints wait for the storage{since}: {cause}"),
            node if Wait::is_of_source(node) => format!("'{node}' waits{since} for {cause}"),
            node => format!("'{node}' waits for its target{since}: {cause}"),
        }
    }

    /// Who waits, as the log has it.
    pub(super) fn who(node: &str) -> &'static str {
        match node {
            Self::STORAGE => "the job",
            node if Wait::is_of_source(node) => "the source",
            _ => "the sink",
        }
    }

    /// Whether a node that waits is a source.
    pub fn is_of_source(node: &str) -> bool {
        node.starts_with("source.")
    }
}

impl Waits {
    /// A sink waits, since the first time that this was said.
    pub fn begin(&self, sink: &str, now_ms: i64, cause: impl Into<String>) {
        let waits = &mut self.0.lock().waits;
        let cause = cause.into();
        match waits.get_mut(sink) {
            Some(wait) => wait.cause = cause,
            None => {
                waits.insert(sink.into(), Wait { since_ms: now_ms, cause });
            }
        }
    }

    /// A sink does not wait any more.
    pub fn end(&self, sink: &str) {
        self.0.lock().waits.remove(sink);
    }

    /// Which sinks wait, by node id.
    pub fn now(&self) -> BTreeMap<String, Wait> {
        self.0.lock().waits.clone()
    }

    /// A target has taken a piece of a commit: the commit may take long, but gets on.
    pub fn step(&self) {
        self.0.lock().steps += 1;
    }

    /// How many pieces of commits targets have taken.
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// So many rows of a sink, in all, has its target refused; they are set aside.
    pub fn set_rejected(&self, sink: &str, rows: u64) {
        self.0.lock().rejected.insert(sink.into(), rows);
    }

    /// How many rows targets have refused, by node id, of sinks that have looked.
    pub fn rejected(&self) -> BTreeMap<String, u64> {
        self.0.lock().rejected.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_waits_for_its_target_and_a_source_for_what_it_says() {
        assert_eq!(
            Wait::tell("sink.a", " since 12:00", "it is down"),
            "'sink.a' waits for its target since 12:00: it is down"
        );
        assert_eq!(Wait::tell("source.a", "", "Kafka: no answer"), "'source.a' waits for Kafka: no answer");
        assert_eq!(Wait::tell(Wait::STORAGE, "", "status 503"), "checkpoints wait for the storage: status 503");
    }
}
