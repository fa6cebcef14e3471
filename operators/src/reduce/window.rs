//! One window of the lists: the keys that subtasks have given out, and the ranks that have been emitted.

use super::ranking::{ABSENT, Candidate, Known, NewNumbers, Ranking, or_null};
use super::span::Span;
use super::state::{StoredRows, TopState};
use crate::table::{KeyColumns, Rows};
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use weir_engine::{
    Result,
    state::{Change, StateRows},
};

/// One window.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) known: Known,
    /// By list: by place, where every rank is there once; else in the order in which keys came to be in it.
    ranks: BTreeMap<u32, Vec<Rank>>,
    /// Lists that have changed since the last emission.
    changed: BTreeSet<u32>,
    pub(super) unsaved: bool,
}

/// What was last emitted for a place in a list, or for a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rank {
    /// Of a place that was withdrawn, the last key that had it.
    pub(super) key: u32,
    /// The rank, from 1.
    pub(super) number: i32,
    /// [`ABSENT`]: it was withdrawn.
    pub(super) count: i64,
    pub(super) revision: i32,
}

impl Rank {
    pub(super) fn is_withdrawn(&self) -> bool {
        self.count == ABSENT
    }

    fn says(&self, other: &Rank) -> bool {
        (self.key, self.number, self.count) == (other.key, other.number, other.count)
    }

    /// What takes its place, with the next revision.
    fn followed_by(&mut self, next: Rank) -> Rank {
        *self = Rank { revision: self.revision + 1, ..next };
        *self
    }

    fn withdraw(&mut self) -> Rank {
        self.followed_by(Rank { count: ABSENT, ..*self })
    }
}

/// Ranks to be emitted, of one window.
#[derive(Default)]
pub(super) struct Emitted {
    pub(super) lists: Vec<u32>,
    pub(super) ranks: Vec<Rank>,
}

impl Emitted {
    fn push(&mut self, list: u32, rank: Rank) {
        self.lists.push(list);
        self.ranks.push(rank);
    }
}

impl Window {
    pub(super) fn new(prototype: &KeyColumns) -> Result<Self> {
        Ok(Window { known: Known::new(prototype)?, ranks: BTreeMap::new(), changed: BTreeSet::new(), unsaved: true })
    }

    /// Lets a list be compared with what was emitted of it.
    pub(super) fn note(&mut self, list: u32) {
        self.changed.insert(list);
    }

    /// The ranks that differ from what was emitted; they count as emitted then.
    pub(super) fn take_changes(&mut self, n: (usize, Ranking), items: &[usize]) -> Emitted {
        let mut emitted = Emitted::default();
        if self.changed.is_empty() {
            return emitted;
        }
        let best = self.known.best(n, items);
        for list in std::mem::take(&mut self.changed) {
            let candidates: &[Candidate] = best.get(list as usize).map_or(&[], Vec::as_slice);
            let numbers = n.1.numbers(candidates);
            let of = |(candidate, number): (&Candidate, i32)| Rank {
                key: candidate.key,
                number,
                count: candidate.count,
                revision: 0,
            };
            let ranks = candidates.iter().zip(numbers).map(of);
            let before = self.ranks.entry(list).or_default();
            match n.1.is_row_number() {
                true => compare_places(list, ranks, before, &mut emitted),
                false => compare_keys(list, ranks, before, &mut emitted),
            }
        }
        self.unsaved = true;
        emitted
    }

    /// Lists have other numbers now. Each that there are ranks of, or that has changed, is that of a known key.
    pub(super) fn renumber(&mut self, numbers: &NewNumbers) {
        numbers.replace(&mut self.known.counted.lists);
        let ranks = std::mem::take(&mut self.ranks).into_iter();
        self.ranks = ranks.map(|(list, ranks)| (numbers.of(list), ranks)).collect();
        self.changed = std::mem::take(&mut self.changed).into_iter().map(|list| numbers.of(list)).collect();
    }

    /// Takes back what was emitted for a place or a key.
    pub(super) fn restore(&mut self, list: u32, rank: Rank, ranking: Ranking) {
        let ranks = self.ranks.entry(list).or_default();
        if !ranking.is_row_number() {
            ranks.push(rank);
            return;
        }
        let place = usize::try_from(rank.number).unwrap_or(1).max(1);
        let empty = Rank { key: u32::MAX, number: 0, count: 0, revision: -1 };
        ranks.resize(ranks.len().max(place), empty);
        ranks[place - 1] = rank;
    }

    /// What a checkpoint writes of it.
    pub(super) fn change(&mut self, bounds: Span, state: &TopState) -> Change {
        if !std::mem::take(&mut self.unsaved) {
            return Change::Unchanged;
        }
        let (counted, state) = (self.known.counted.clone(), state.clone());
        let held: Vec<Rank> = self.ranks.values().flatten().copied().collect();
        Change::Replace(StateRows::deferred(move || {
            let known = StoredRows {
                bounds,
                keys: &counted.keys,
                chosen: Rows::All(counted.keys.len()),
                counts: counted.counts.iter().map(|count| or_null(*count)).collect(),
                ranks: Vec::new(),
                revisions: Vec::new(),
            };
            let keys: Vec<u32> = held.iter().map(|rank| rank.key).collect();
            let ranked = StoredRows {
                bounds,
                keys: &counted.keys,
                chosen: Rows::Some(&keys),
                counts: held.iter().map(|rank| or_null(rank.count)).collect(),
                ranks: held.iter().map(|rank| Some(rank.number)).collect(),
                revisions: held.iter().map(|rank| Some(rank.revision)).collect(),
            };
            let known = state.rows(known)?;
            Ok(if held.is_empty() { vec![known] } else { vec![known, state.rows(ranked)?] })
        }))
    }
}

/// The places of a list that another key has now, or the same with another count; and those that nobody has any more.
fn compare_places(list: u32, now: impl Iterator<Item = Rank>, before: &mut Vec<Rank>, emitted: &mut Emitted) {
    let mut places = 0;
    for (at, rank) in now.enumerate() {
        places = at + 1;
        match before.get_mut(at) {
            Some(held) if held.says(&rank) => {}
            Some(held) => emitted.push(list, held.followed_by(rank)),
            None => {
                before.push(rank);
                emitted.push(list, rank);
            }
        }
    }
    // The list has become shorter than it was.
    for held in before.iter_mut().skip(places).filter(|held| !held.is_withdrawn()) {
        emitted.push(list, held.withdraw());
    }
}

/// The keys of a list that have another rank or count now, and those that are in it no more.
fn compare_keys(list: u32, now: impl Iterator<Item = Rank>, before: &mut Vec<Rank>, emitted: &mut Emitted) {
    let mut places: HashMap<u32, usize> = before.iter().enumerate().map(|(at, rank)| (rank.key, at)).collect();
    for rank in now {
        match places.remove(&rank.key) {
            Some(at) if before[at].says(&rank) => {}
            Some(at) => emitted.push(list, before[at].followed_by(rank)),
            None => {
                before.push(rank);
                emitted.push(list, rank);
            }
        }
    }
    let mut gone: Vec<usize> = places.into_values().filter(|at| !before[*at].is_withdrawn()).collect();
    gone.sort_unstable();
    for at in gone {
        emitted.push(list, before[at].withdraw());
    }
}
