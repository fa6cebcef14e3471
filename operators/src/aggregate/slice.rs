//! One slice of event time: its groups, and what of them has been emitted; and the revisions of a window's corrections.

use super::emission::{Emission, Partials};
use super::groups::{Groups, Scratch};
use super::state::{RestoredRows, StateColumns, StateLayout, slice_columns};
use crate::table::{ChangedGroups, Rows};
use arrow::array::Array;
use hashbrown::HashMap;
use std::sync::Arc;
use weir_engine::{
    Result,
    operator::Collector,
    state::{Change, StateRows},
};

/// State of one slice.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) groups: Groups,
    /// By group: an emitted window holds it.
    emitted: Vec<bool>,
    /// Since the last emission. Only kept once a window of the slice has been emitted.
    changed: ChangedGroups,
    /// Since the last running counts; none: they are not read.
    running: Option<ChangedGroups>,
    /// All of it has been emitted, and nothing has come since.
    settled: bool,
    /// It differs from what the last checkpoint holds.
    unsaved: bool,
}

impl Slice {
    pub(super) fn of(groups: Groups) -> Self {
        Slice {
            groups,
            emitted: Vec::new(),
            changed: ChangedGroups::default(),
            running: None,
            settled: false,
            unsaved: false,
        }
    }

    /// Notes from now on what changes, for running counts.
    #[must_use]
    pub(super) fn noting_changes(mut self, noting: bool) -> Self {
        self.running = noting.then(ChangedGroups::default);
        self
    }

    pub(super) fn all(&self) -> Rows<'static> {
        Rows::All(self.groups.len())
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The keys that have changed since the last emission, in the order in which they did.
    pub(super) fn changed_keys(&self) -> impl Iterator<Item = u128> {
        self.changed.groups().iter().map(|group| self.groups.hashes()[*group as usize])
    }

    /// The groups that have changed since the last running counts, in the order in which they did.
    pub(super) fn running_groups(&self) -> &[u32] {
        self.running.as_ref().map_or(&[], ChangedGroups::groups)
    }

    /// Their keys.
    pub(super) fn running_keys(&self) -> impl Iterator<Item = u128> {
        self.running_groups().iter().map(|group| self.groups.hashes()[*group as usize])
    }

    /// Running counts of all of it are out, or are not wanted any more.
    pub(super) fn settle_running(&mut self) {
        if let Some(running) = &mut self.running {
            running.clear();
        }
    }

    /// Whether an emitted window holds this key because of this slice.
    pub(super) fn is_emitted(&self, hash: u128) -> bool {
        self.groups.find(hash).is_some_and(|group| self.emitted.get(group as usize).copied().unwrap_or(false))
    }

    /// Merges some partials; `is_closed` when a window of this slice has been emitted.
    pub(super) fn merge(
        &mut self,
        hashes: &[u128],
        partials: &Partials,
        rows: Rows<'_>,
        is_closed: bool,
        scratch: &mut Scratch,
    ) -> Result<()> {
        self.groups.assign(hashes, &partials.keys, rows, scratch)?;
        self.groups.merge(&scratch.groups, rows, &partials.states)?;
        (self.settled, self.unsaved) = (false, true);
        if is_closed {
            self.changed.note(&scratch.groups, self.groups.len());
        }
        if let Some(running) = &mut self.running {
            running.note(&scratch.groups, self.groups.len());
        }
        Ok(())
    }

    /// Emits all groups, as the first results of a window that consists of this slice, and says how many.
    pub(super) fn emit(&self, window: (i64, i64), emission: &Emission, out: &mut Collector) -> Result<usize> {
        let groups = self.groups.len();
        emission.window(window, &self.groups, self.all(), vec![0; groups], out)?;
        Ok(groups)
    }

    /// All of it has been emitted.
    pub(super) fn settle(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.unsaved = true;
        self.emitted.clear();
        self.emitted.resize(self.groups.len(), true);
        self.changed.clear();
    }

    /// What a checkpoint writes of it: references, and a copy of the flags.
    pub(super) fn change(&mut self, start: i64, layout: &StateLayout) -> Change {
        if !std::mem::take(&mut self.unsaved) {
            return Change::Unchanged;
        }
        let (hashes, columns) = (self.groups.shared_hashes(), Arc::clone(self.groups.columns()));
        let (mut emitted, mut changed) = (self.emitted.clone(), self.changed.flags().to_vec());
        let layout = layout.clone();
        Change::Replace(StateRows::deferred(move || {
            emitted.resize(hashes.len(), false);
            changed.resize(hashes.len(), false);
            layout.rows(slice_columns(start, &hashes, &columns, emitted, changed)?)
        }))
    }

    /// Takes rows back that a checkpoint held. Whether running counts of them were out by then is not known, nor whether
    /// their present readers got them then: all of them are emitted again.
    pub(super) fn restore(&mut self, restored: &RestoredRows, scratch: &mut Scratch) -> Result<()> {
        let rows = Rows::Some(&restored.rows);
        self.groups.assign(&restored.hashes, &restored.keys, rows, scratch)?;
        self.groups.merge(&scratch.groups, rows, &restored.states)?;
        self.emitted.resize(self.groups.len(), false);
        for (n, group) in scratch.groups.iter().enumerate() {
            let row = rows.row(n);
            self.emitted[*group as usize] = restored.emitted.is_valid(row) && restored.emitted.value(row);
            if restored.changed.is_valid(row) && restored.changed.value(row) {
                self.changed.note(&[*group], self.groups.len());
            }
        }
        if let Some(running) = &mut self.running {
            running.note(&scratch.groups, self.groups.len());
        }
        self.settled = self.changed.is_empty() && self.emitted.iter().all(|emitted| *emitted);
        self.unsaved |= restored.is_partial;
        Ok(())
    }
}

/// The latest revisions of the keys that were corrected in one window.
#[derive(Debug, Clone, Default)]
pub(super) struct Corrections {
    revisions: HashMap<u128, i32>,
    unsaved: bool,
}

impl Corrections {
    /// The revision of a key's next result in this window, which held it `before` or not.
    pub(super) fn next_revision(&mut self, hash: u128, before: bool) -> i32 {
        if !before {
            return 0;
        }
        self.unsaved = true;
        let revision = self.revisions.entry(hash).or_insert(0);
        *revision += 1;
        *revision
    }

    pub(super) fn is_empty(&self) -> bool {
        self.revisions.is_empty()
    }

    pub(super) fn restore(&mut self, hash: u128, revision: i32) {
        self.revisions.insert(hash, revision);
    }

    pub(super) fn mark_unsaved(&mut self, unsaved: bool) {
        self.unsaved |= unsaved;
    }

    /// What a checkpoint writes of them, in the order of the hashes.
    pub(super) fn change(&mut self, window_end: i64, layout: &StateLayout) -> Change {
        if !std::mem::take(&mut self.unsaved) {
            return Change::Unchanged;
        }
        let (revisions, layout) = (self.revisions.clone(), layout.clone());
        Change::Replace(StateRows::deferred(move || {
            let mut sorted: Vec<(u128, i32)> = revisions.into_iter().collect();
            sorted.sort_unstable();
            let (hashes, revisions) = sorted.into_iter().unzip();
            layout.rows(StateColumns { hashes, revisions, window_end: Some(window_end), ..StateColumns::default() })
        }))
    }
}
