//! How far the subtasks of one source are in event time, so that none runs ahead of the others (`max_drift`). It decides when
//! something is read, and nothing else; no checkpoint keeps it.

use std::time::Duration;
use tokio::sync::watch;

/// What a subtask of a source says of its event time, and hears of the others'. Cheap to clone; clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    own: watch::Sender<Option<i64>>,
    slowest: watch::Sender<Option<Slowest>>,
}

/// The slowest subtasks of a source, of those that anybody has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowest {
    /// Index of the slowest one.
    pub subtask: usize,
    /// Its event time, in milliseconds.
    pub event_time: i64,
    /// The event time of the slowest one but for that, in milliseconds; none: there is no other.
    pub next: Option<i64>,
}

impl Slowest {
    /// The event time of the slowest subtask other than this one, which knows better how far it is itself.
    pub fn other_than(self, subtask: usize) -> Option<i64> {
        if self.subtask == subtask { self.next } else { Some(self.event_time) }
    }
}

impl Pace {
    /// How often at most a subtask says how far it is, and hears of the others. What one reads meanwhile may be beyond `max_drift`.
    pub const INTERVAL: Duration = Duration::from_millis(50);

    /// This subtask's slowest split is here, in milliseconds; none: nobody has to wait for it.
    pub fn say(&self, event_time: Option<i64>) {
        self.own.send_if_modified(|own| std::mem::replace(own, event_time) != event_time);
    }

    /// The slowest subtasks are here; none: there are none to wait for.
    pub fn hear(&self, slowest: Option<Slowest>) {
        self.slowest.send_if_modified(|known| std::mem::replace(known, slowest) != slowest);
    }

    /// What this subtask says, from now on.
    pub fn said(&self) -> watch::Receiver<Option<i64>> {
        self.own.subscribe()
    }

    /// What is heard of all, from now on.
    pub fn heard(&self) -> watch::Receiver<Option<Slowest>> {
        self.slowest.subscribe()
    }
}
