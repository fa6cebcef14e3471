//! What sinks say of their targets: one that is down or slow is waited for, one that refuses rows gets the others. Neither is a
//! failure, but somebody should know.

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
}

/// A sink that waits for its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Since when: wall clock, milliseconds since the epoch.
    pub since_ms: i64,
    /// What the target said last.
    pub cause: String,
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

    /// So many rows of a sink, in all, has its target refused; they are set aside.
    pub fn set_rejected(&self, sink: &str, rows: u64) {
        self.0.lock().rejected.insert(sink.into(), rows);
    }

    /// How many rows targets have refused, by node id, of sinks that have looked.
    pub fn rejected(&self) -> BTreeMap<String, u64> {
        self.0.lock().rejected.clone()
    }
}
