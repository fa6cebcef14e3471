//! What was put out of one window: of each result the last revision, and which rows of the two sides it was made of.

use std::collections::{BTreeMap, BTreeSet};

/// A result of a window: the hash of the values of `on`, and what else identifies it of either side ([`crate::window_join`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Identity {
    pub(super) hash: u128,
    pub(super) left: u128,
    pub(super) right: u128,
}

/// The revisions of the two rows that a result is made of; none: there is no such row. Without either it does not hold.
pub(super) type MadeOf = [Option<i32>; 2];

/// It is withdrawn.
pub(super) const WITHDRAWN: MadeOf = [None, None];

/// A result as it was put out last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) revision: i32,
    pub(super) made_of: MadeOf,
}

/// What was put out of a window. Invariant: a result is put out again only when it is made of other rows than before, by the next
/// revision; one that was never put out is not withdrawn.
#[derive(Debug, Default)]
pub(super) struct GivenResults {
    results: BTreeMap<Identity, Given>,
    /// Those that no checkpoint holds as they are.
    unsaved: BTreeSet<Identity>,
    /// How many rows checkpoints hold.
    saved: usize,
}

/// What a checkpoint has to write.
pub(super) enum Unsaved {
    None,
    /// These came.
    Some(Vec<(Identity, Given)>),
    /// These are all there are.
    All(Vec<(Identity, Given)>),
}

/// So many rows that newer ones have replaced are kept in checkpoints at least before they are written anew.
const STALE_ROWS: usize = 4096;

impl GivenResults {
    /// Whether nothing of the window was put out.
    pub(super) fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Notes what a result is made of now. Gives the revision that says so, if readers do not have it like that.
    pub(super) fn next(&mut self, identity: Identity, made_of: MadeOf) -> Option<i32> {
        let revision = match self.results.get(&identity) {
            None if made_of == WITHDRAWN => return None,
            None => 0,
            Some(before) if before.made_of == made_of => return None,
            Some(before) => before.revision.saturating_add(1),
        };
        self.results.insert(identity, Given { revision, made_of });
        self.unsaved.insert(identity);
        Some(revision)
    }

    /// The results of one value of `on` that hold, as far as readers know.
    pub(super) fn holding(&self, hash: u128) -> Vec<Identity> {
        let first = Identity { hash, left: 0, right: 0 };
        let last = Identity { hash, left: u128::MAX, right: u128::MAX };
        let of_hash = self.results.range(first..=last);
        of_hash.filter(|(_, given)| given.made_of != WITHDRAWN).map(|(identity, _)| *identity).collect()
    }

    /// Takes what a checkpoint holds of a result; of several the highest revision is the newest.
    pub(super) fn restore(&mut self, identity: Identity, given: Given) {
        self.saved += 1;
        let known = self.results.entry(identity).or_insert(given);
        if known.revision < given.revision {
            *known = given;
        }
    }

    /// What a checkpoint has to write.
    pub(super) fn take_unsaved(&mut self) -> Unsaved {
        let unsaved = std::mem::take(&mut self.unsaved);
        if unsaved.is_empty() {
            return Unsaved::None;
        }
        let stored = self.saved + unsaved.len();
        if stored > STALE_ROWS.max(self.results.len()) + self.results.len() {
            self.saved = self.results.len();
            return Unsaved::All(self.results.iter().map(|(identity, given)| (*identity, *given)).collect());
        }
        self.saved = stored;
        Unsaved::Some(unsaved.into_iter().filter_map(|one| Some((one, *self.results.get(&one)?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_given_once_and_only_for_what_readers_do_not_have() {
        let mut given = GivenResults::default();
        let one = Identity { hash: 1, left: 0, right: 0 };
        assert_eq!(given.next(one, WITHDRAWN), None, "nobody has seen it");
        assert_eq!(given.next(one, [Some(0), None]), Some(0));
        assert_eq!(given.next(one, [Some(0), None]), None, "as it was");
        assert_eq!(given.next(one, [Some(0), Some(0)]), Some(1), "a match has come");
        assert_eq!(given.next(one, [Some(0), Some(3)]), Some(2));
        assert_eq!(given.next(one, WITHDRAWN), Some(3));
        assert_eq!(given.next(one, WITHDRAWN), None, "withdrawn already");
        assert_eq!(given.holding(1), []);
        assert_eq!(given.next(one, [None, Some(4)]), Some(4), "it holds again");
        assert_eq!(given.holding(1), [one]);
        assert_eq!(given.holding(0), []);
    }

    #[test]
    fn many_corrections_of_one_result_do_not_add_up_in_checkpoints() {
        let mut given = GivenResults::default();
        let mut stored = 0;
        for revision in 0..20_000 {
            given.next(Identity { hash: 1, left: 2, right: 3 }, [Some(revision), None]);
            stored = match given.take_unsaved() {
                Unsaved::None => stored,
                Unsaved::Some(rows) => stored + rows.len(),
                Unsaved::All(rows) => rows.len(),
            };
        }
        assert!(stored <= STALE_ROWS + 2, "{stored} rows");
    }
}
