//! How much of what a source reads has not been read yet. For people: nothing is decided by it, and no checkpoint keeps it.

use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// How far the splits of one subtask are behind, by their names. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lags(Arc<Mutex<BTreeMap<String, Lag>>>);

/// How far a split is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records that there are, and have not been read.
    pub records: u64,
    /// How long ago the newest record was written that has been read, in milliseconds; 0 where all have been.
    pub behind_ms: u64,
}

impl Lags {
    /// How far all splits are behind now.
    pub fn set(&self, lags: BTreeMap<String, Lag>) {
        *self.0.lock() = lags;
    }

    /// How far they were when it was said last.
    pub fn now(&self) -> BTreeMap<String, Lag> {
        self.0.lock().clone()
    }
}
