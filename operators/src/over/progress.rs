//! How far rows have been answered, in event time.
//!
//! After a rescale key groups may have come different ways, and what has been answered must not be answered again: so it is known
//! of each key group, until all have come further.

use super::state::{Name, Stored};
use std::collections::BTreeMap;
use weir_engine::{
    Result,
    element::WATERMARK_MIN,
    key_group::{KeyGroupRange, key_group_of},
    state::{Change, Segment, StateRows},
};

/// Up to which event time all rows have been answered.
#[derive(Debug)]
pub(super) struct Progress {
    owned: KeyGroupRange,
    max_parallelism: u16,
    /// Of all rows.
    until: i64,
    /// Of the key groups that had come further before a restore.
    restored: BTreeMap<u16, i64>,
    stored: Option<Vec<(u16, i64)>>,
}

impl Progress {
    pub(super) fn new(owned: KeyGroupRange, max_parallelism: u16) -> Self {
        Progress { owned, max_parallelism, until: WATERMARK_MIN, restored: BTreeMap::new(), stored: None }
    }

    /// Up to when all rows have been answered.
    pub(super) fn until(&self) -> i64 {
        self.until
    }

    /// Up to when those of a key have been.
    pub(super) fn of(&self, hash: u128) -> i64 {
        if self.restored.is_empty() {
            return self.until;
        }
        let of_group = self.restored.get(&key_group_of(hash, self.max_parallelism));
        of_group.map_or(self.until, |until| self.until.max(*until))
    }

    pub(super) fn advance(&mut self, until: i64) {
        self.until = self.until.max(until);
        if self.restored.values().all(|restored| *restored <= self.until) {
            self.restored.clear();
        }
    }

    /// Takes what a checkpoint had of some key groups: runs, each from its first key group on.
    pub(super) fn restore(&mut self, runs: &[(u16, i64)], key_groups: KeyGroupRange) {
        for group in key_groups.start..key_groups.end {
            let run = runs.iter().filter(|run| run.0 <= group).max_by_key(|run| run.0);
            if let Some((_, until)) = run.filter(|run| run.1 > WATERMARK_MIN) {
                let known = self.restored.entry(group).or_insert(*until);
                *known = (*known).max(*until);
            }
        }
    }

    fn runs(&self) -> Vec<(u16, i64)> {
        if self.restored.is_empty() {
            return vec![(self.owned.start, self.until)];
        }
        let of = |group: u16| self.restored.get(&group).map_or(self.until, |until| self.until.max(*until));
        let mut runs: Vec<(u16, i64)> = (self.owned.start..self.owned.end).map(|group| (group, of(group))).collect();
        runs.dedup_by_key(|run| run.1);
        runs
    }

    /// What a checkpoint writes of it.
    pub(super) fn segment(&mut self, stored: &Stored) -> Result<Option<Segment>> {
        let runs = self.runs();
        if runs.iter().all(|run| run.1 == WATERMARK_MIN) {
            return Ok(None);
        }
        let change = match self.stored.as_ref() == Some(&runs) {
            true => Change::Unchanged,
            false => Change::Replace(StateRows::ready(vec![stored.progress(&runs)?])),
        };
        self.stored = Some(runs);
        Ok(Some(Segment { id: Name::Progress.text(), change }))
    }
}
