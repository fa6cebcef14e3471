//! Files that a source finds and does not read: each is named once in the log, and counted.
//!
//! Invariant: what is kept of them is bounded by what the last listing found; of a great many the log names some and says how
//! many there are.

use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use weir_engine::operator::{Counter, OperatorContext};
use xxhash_rust::xxh3::xxh3_64;

/// How many names are reported for each reason.
const TOLD_NAMES: usize = 8;

/// The counter of such files.
pub(super) const FILES_PASSED_OVER: &str = "files_passed_over";

/// What one listing has passed over.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    /// Names and why, by name.
    files: BTreeMap<String, &'static str>,
}

impl PassedOver {
    pub(super) fn add(&mut self, name: impl Into<String>, reason: &'static str) {
        self.files.insert(name.into(), reason);
    }

    /// For a message about an empty list: ` (passed over: …)`, or nothing.
    pub(super) fn in_brackets(&self) -> String {
        if self.files.is_empty() {
            return String::new();
        }
        let all: Vec<(&str, &str)> = self.files.iter().map(|(name, reason)| (name.as_str(), *reason)).collect();
        let told: Vec<String> = all.iter().take(TOLD_NAMES).map(|(name, reason)| format!("{name}: {reason}")).collect();
        let more = all.len().saturating_sub(TOLD_NAMES);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!(" (passed over: {}{more})", told.join("; "))
    }
}

/// Tells of them. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Teller(Option<Arc<Mutex<Told>>>);

struct Told {
    source: String,
    counter: Counter,
    /// Hashes of the names that the last listing passed over; none before the first.
    known: Option<HashSet<u64>>,
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_some() { "Teller" } else { "Teller(silent)" })
    }
}

impl Teller {
    /// One subtask reports for all of a source.
    pub(super) fn of(context: &OperatorContext) -> Self {
        if context.subtask > 0 {
            return Teller::default();
        }
        let counter = context.counters.counter(FILES_PASSED_OVER);
        Teller(Some(Arc::new(Mutex::new(Told { source: context.operator.clone(), counter, known: None }))))
    }

    /// Logs and counts what no listing before has passed over. A first listing after a restart is reported again, and not counted:
    /// the count is part of the checkpoint.
    pub(super) fn tell(&self, passed_over: &PassedOver) {
        let Some(told) = &self.0 else { return };
        let mut told = told.lock();
        let hash = |name: &str| xxh3_64(name.as_bytes());
        let is_new = |name: &str| told.known.as_ref().is_none_or(|known| !known.contains(&hash(name)));
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, reason) in passed_over.files.iter().filter(|(name, _)| is_new(name)) {
            by_reason.entry(reason).or_default().push(name);
        }
        let new: usize = by_reason.values().map(Vec::len).sum();
        for (reason, names) in by_reason {
            let more = names.len().saturating_sub(TOLD_NAMES);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let files = names[..names.len().min(TOLD_NAMES)].join(", ");
            tracing::warn!(source = told.source, "passed over, {reason}: {files}{more}");
        }
        if told.known.is_some() || told.counter.get() == 0 {
            told.counter.add(new as u64);
        }
        told.known = Some(passed_over.files.keys().map(|name| hash(name)).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_counted_once_however_often_it_is_listed() {
        let context = OperatorContext::single("job", "source.clicks");
        let counted = || context.counters.counter(FILES_PASSED_OVER).get();
        let teller = Teller::of(&context);
        let mut passed_over = PassedOver::default();
        passed_over.add("a.xz", "since it is compressed");
        teller.tell(&passed_over);
        teller.tell(&passed_over);
        assert_eq!(counted(), 1);
        passed_over.add("b.xz", "since it is compressed");
        teller.tell(&passed_over);
        assert_eq!(counted(), 2);
        Teller::of(&context).tell(&passed_over);
        assert_eq!(counted(), 2, "after a restart");
        let mut second = OperatorContext::single("job", "source.clicks");
        second.subtask = 1;
        Teller::of(&second).tell(&passed_over);
        assert_eq!(second.counters.counter(FILES_PASSED_OVER).get(), 0);
    }

    #[test]
    fn many_are_told_in_short() {
        let mut passed_over = PassedOver::default();
        assert_eq!(passed_over.in_brackets(), "");
        for n in 0..10 {
            passed_over.add(format!("{n}.zip"), "packed");
        }
        let told = passed_over.in_brackets();
        assert!(told.starts_with(" (passed over: 0.zip: packed; 1.zip: ") && told.ends_with("; and 2 more)"), "{told}");
    }
}
