//! Key groups: the unit in which keyed state is split, stored and moved.
//!
//! This file is the only owner of the rule *key hash → key group → subtask*. Channels, state and rescaling call it.
//! Invariant: for every `parallelism <= max_parallelism` the ranges of all subtasks cover every key group exactly once.

use serde::{Deserialize, Serialize};

/// Key groups of a job that says nothing else.
pub const DEFAULT_MAX_PARALLELISM: u16 = 128;

/// A range of key groups, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// First key group.
    pub start: u16,
    /// One past the last key group.
    pub end: u16,
}

impl KeyGroupRange {
    /// Every key group of a job.
    pub fn all(max_parallelism: u16) -> Self {
        KeyGroupRange { start: 0, end: max_parallelism }
    }

    /// Whether `group` is in the range.
    #[inline]
    pub fn contains(self, group: u16) -> bool {
        self.start <= group && group < self.end
    }

    /// The key groups that are in both, if any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let both = KeyGroupRange { start: self.start.max(other.start), end: self.end.min(other.end) };
        (both.start < both.end).then_some(both)
    }
}

/// The key group of a key hash.
///
/// `hash % max_parallelism` over the low 64 bits, so that a power of two costs a mask.
#[inline]
pub fn key_group_of(key_hash: u128, max_parallelism: u16) -> u16 {
    ((key_hash as u64) % u64::from(max_parallelism)) as u16
}

/// The subtask that owns a key group.
#[inline]
pub fn subtask_of(key_group: u16, max_parallelism: u16, parallelism: usize) -> usize {
    usize::from(key_group) * parallelism / usize::from(max_parallelism)
}

/// The key groups that a subtask owns: the inverse of [`subtask_of`].
pub fn range_of(subtask: usize, max_parallelism: u16, parallelism: usize) -> KeyGroupRange {
    let bound = |index: usize| (index * usize::from(max_parallelism)).div_ceil(parallelism) as u16;
    KeyGroupRange { start: bound(subtask), end: bound(subtask + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_owners_agree_for_every_parallelism() {
        for max in [1u16, 2, 7, 100, 128, 1024] {
            for parallelism in 1..=usize::from(max.min(130)) {
                let mut seen = 0;
                for subtask in 0..parallelism {
                    let range = range_of(subtask, max, parallelism);
                    assert_eq!(range.start, seen, "no gap before subtask {subtask}");
                    for group in range.start..range.end {
                        assert_eq!(subtask_of(group, max, parallelism), subtask);
                    }
                    seen = range.end;
                }
                assert_eq!(seen, max);
            }
        }
    }

    #[test]
    fn golden_key_groups() {
        assert_eq!(key_group_of(0, 128), 0);
        assert_eq!(key_group_of(129, 128), 1);
        assert_eq!(key_group_of(u128::MAX, 128), 127);
        assert_eq!(key_group_of(1 << 64, 128), 0, "the upper half plays no part");
    }
}
