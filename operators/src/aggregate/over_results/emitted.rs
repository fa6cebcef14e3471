//! What was emitted of the groups of one window: the revision, and which version of the group it was computed from.

use super::state::{EmittedRows, ResultState};
use crate::result_rows::ResultRows;
use hashbrown::HashMap;
use weir_engine::state::{Change, StateRows};

/// What was emitted last of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Emitted {
    revision: i32,
    withdrawn: bool,
    version: i64,
}

/// What is emitted of a group now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: readers have it as it is.
    Nothing,
    /// This revision.
    Revision(i32),
}

/// The emitted groups of a window, by the hash of their key.
#[derive(Debug, Default)]
pub(super) struct EmittedGroups {
    groups: HashMap<u128, Emitted>,
    /// Those that no checkpoint holds as they are.
    unsaved: Vec<u128>,
}

impl EmittedGroups {
    /// Whether nothing of the window was emitted.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether a group is not as it was emitted.
    pub(super) fn is_due(&self, key: u128, version: i64, lives: bool) -> bool {
        self.groups.get(&key).map_or(lives, |emitted| emitted.version < version)
    }

    /// Notes that a group is emitted in this version, and says as which revision. A group whose results all were withdrawn before
    /// it was emitted never was.
    pub(super) fn next(&mut self, key: u128, version: i64, lives: bool) -> Next {
        let before = self.groups.get(&key).copied();
        let next = match before {
            None if !lives => return Next::Nothing,
            None => Next::Revision(0),
            Some(before) if before.version >= version => return Next::Nothing,
            Some(before) if before.withdrawn && !lives => Next::Nothing,
            Some(before) => Next::Revision(before.revision.saturating_add(1)),
        };
        let revision = match next {
            Next::Revision(revision) => revision,
            Next::Nothing => before.map_or(0, |before| before.revision),
        };
        self.groups.insert(key, Emitted { revision, withdrawn: !lives, version });
        self.unsaved.push(key);
        next
    }

    /// Takes rows that a checkpoint holds; of several rows of a group the highest version is the newest.
    pub(super) fn restore(&mut self, rows: &ResultRows, versions: &[i64]) {
        for (row, version) in (0..rows.len()).zip(versions) {
            let stored = Emitted { revision: rows.revisions[row], withdrawn: rows.withdrawn[row], version: *version };
            let known = self.groups.entry(rows.hashes[row]).or_insert(stored);
            if known.version < stored.version {
                *known = stored;
            }
        }
    }

    /// What a checkpoint writes of it.
    pub(super) fn change(&mut self, layout: &ResultState) -> Change {
        if self.unsaved.is_empty() {
            return Change::Unchanged;
        }
        let mut rows = EmittedRows::default();
        for key in self.unsaved.drain(..) {
            let Some(emitted) = self.groups.get(&key) else { continue };
            rows.hashes.push(key);
            rows.revisions.push(emitted.revision);
            rows.withdrawn.push(emitted.withdrawn);
            rows.versions.push(emitted.version);
        }
        let layout = layout.clone();
        Change::Append(StateRows::deferred(move || layout.emitted(rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_given_once_and_only_for_what_readers_do_not_have() {
        let mut emitted = EmittedGroups::default();
        assert!(!emitted.is_due(1, 1, false));
        assert_eq!(emitted.next(1, 1, false), Next::Nothing, "withdrawn before anybody saw it");
        assert_eq!(emitted.next(1, 2, true), Next::Revision(0));
        assert!(!emitted.is_due(1, 2, true));
        assert_eq!(emitted.next(1, 2, true), Next::Nothing);
        assert_eq!(emitted.next(1, 3, false), Next::Revision(1));
        assert_eq!(emitted.next(1, 4, false), Next::Nothing, "withdrawn already");
        assert_eq!(emitted.next(1, 5, true), Next::Revision(2));
    }
}
