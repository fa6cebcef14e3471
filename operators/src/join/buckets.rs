//! Buckets of event time, which are dropped whole when their time is over.

use crate::window::floor;
use std::collections::BTreeMap;

/// A side's rows are spread over about so many buckets: what is kept beyond its time is one of so many.
const BUCKETS: i64 = 16;

/// Rows that are dropped within less than this are not told apart.
const NARROW_MS: i64 = 1_000;

/// What is kept of each piece of event time.
#[derive(Debug)]
pub(super) struct Buckets<B> {
    width_ms: i64,
    ttl_ms: i64,
    buckets: BTreeMap<i64, B>,
}

impl<B> Buckets<B> {
    /// Of rows that are kept for so long after their event time.
    pub(super) fn new(ttl_ms: i64) -> Self {
        Buckets { width_ms: (ttl_ms / BUCKETS).max(NARROW_MS), ttl_ms, buckets: BTreeMap::new() }
    }

    /// The bucket of a time: its start and its width.
    pub(super) fn of(&self, time: i64) -> (i64, i64) {
        (floor(time, self.width_ms), self.width_ms)
    }

    pub(super) fn get(&self, start: i64) -> Option<&B> {
        self.buckets.get(&start)
    }

    pub(super) fn get_mut(&mut self, start: i64) -> Option<&mut B> {
        self.buckets.get_mut(&start)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &B> {
        self.buckets.values()
    }

    /// The bucket at a start, made if there is none.
    pub(super) fn open<E>(&mut self, start: i64, make: impl FnOnce() -> Result<B, E>) -> Result<&mut B, E> {
        use std::collections::btree_map::Entry;
        Ok(match self.buckets.entry(start) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(make()?),
        })
    }

    /// All buckets, by their starts.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (i64, &mut B)> {
        self.buckets.iter_mut().map(|(start, bucket)| (*start, bucket))
    }

    /// The buckets that have times from one to another.
    pub(super) fn between(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = (i64, &B)> {
        let first = from.saturating_sub(self.width_ms - 1);
        // A range must not end before it begins.
        self.buckets.range(first..=to.max(first)).map(|(start, bucket)| (*start, bucket))
    }

    /// The buckets whose last moment has passed, so that only late rows come for them.
    pub(super) fn passed(&mut self, watermark: i64) -> impl Iterator<Item = &mut B> {
        let width_ms = self.width_ms;
        let passed = self.buckets.iter_mut().take_while(move |(start, _)| start.saturating_add(width_ms) <= watermark);
        passed.map(|(_, bucket)| bucket)
    }

    /// Drops the buckets of which no row is needed any more.
    pub(super) fn expire(&mut self, watermark: i64) {
        while let Some(oldest) = self.buckets.first_entry() {
            let last = oldest.key().saturating_add(self.width_ms - 1);
            if last.saturating_add(self.ttl_ms) >= watermark {
                break;
            }
            oldest.remove();
        }
    }
}
