//! What a sink should know of rows that are results, which later revisions correct.

use std::{collections::BTreeMap, time::Duration};

/// Results, as a sink writes them.
#[derive(Debug, Clone)]
pub struct SinkResults {
    /// The columns in which every revision of a record has the same value; for those that are another column under this or
    /// another name, which one that was when the results were made.
    pub fixed: BTreeMap<String, Option<String>>,
    /// The columns that tell one result of a window from another, as they were called when the results were made.
    pub key: Vec<String>,
    /// Whether windows are sessions, whose bounds belong to what they hold.
    pub sessions: bool,
    /// Whether a result may be withdrawn because of what is made of it.
    pub withdrawable: bool,
    /// Whether one may be withdrawn because its type does not hold it, such as a sum past 64 bits.
    pub unsayable: bool,
    /// Length of a window, of the longest where they grow; of sessions, their gap; nothing, where there is no window.
    pub window: Duration,
    /// How windows lie.
    pub windows: SinkWindows,
    /// How long after its end a window is corrected.
    pub allowed_lateness: Duration,
    /// The columns whose value over a window is known not to be the sum of those over its pieces.
    pub not_sums: Vec<String>,
}

/// How the windows of results lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkWindows {
    /// Side by side, beginning with multiples of their length in UTC.
    SideBySide,
    /// Several begin at once.
    Growing,
    /// In any other way.
    Other,
    /// There is none: a key has one result.
    None,
}

impl SinkResults {
    /// Whether a result may be withdrawn, for whatever reason.
    pub fn may_be_withdrawn(&self) -> bool {
        self.withdrawable || self.unsayable
    }

    /// Whether every revision of a record has the same value in a column.
    pub fn is_fixed(&self, name: &str) -> bool {
        self.fixed.contains_key(name)
    }

    /// What a column was called when the results were made, if it is one of those that were fixed then.
    pub fn origin(&self, name: &str) -> Option<&str> {
        self.fixed.get(name).and_then(|origin| origin.as_deref())
    }

    /// The columns that tell results of one window apart and that `names` has not among them.
    pub fn left_out(&self, names: &[String]) -> Vec<&str> {
        let has = |column: &str| names.iter().any(|name| self.origin(name) == Some(column));
        self.key.iter().map(String::as_str).filter(|column| !has(column)).collect()
    }
}
