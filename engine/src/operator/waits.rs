//! What sinks wait for: a target that is down or slow is no failure, but somebody should know.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The sinks of a job that wait for their targets now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Waits(Arc<Mutex<BTreeMap<String, Wait>>>);

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
        let mut waits = self.0.lock();
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
        self.0.lock().remove(sink);
    }

    /// Which sinks wait, by node id.
    pub fn now(&self) -> BTreeMap<String, Wait> {
        self.0.lock().clone()
    }
}
