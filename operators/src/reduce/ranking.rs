//! Keys with their counts, and the N largest of them per group.

use super::TopConfig;
use crate::table::{GroupTable, KeyColumns, Rows};
use arrow::{array::ArrayRef, record_batch::RecordBatch};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use weir_engine::{EngineError, Result, hash::KeyHasher};

/// What ranks equal counts have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// One after the other, by key: 1, 2, 3, 4.
    #[default]
    RowNumber,
    /// The same, and the next count has the number of those before it: 1, 2, 2, 4. All that have the last rank are in the list.
    Rank,
    /// The same, and the next count has the next number: 1, 2, 2, 3. All that have the last rank are in the list.
    DenseRank,
}

impl Ranking {
    /// Whether every rank is there once.
    pub fn is_row_number(&self) -> bool {
        *self == Ranking::RowNumber
    }

    /// Where in candidates, best first, the one stands that says which others are in a list of `n` ranks; none: all are.
    pub(super) fn last_place(self, sorted: &[Candidate], n: usize) -> Option<usize> {
        match self {
            Ranking::RowNumber | Ranking::Rank => (sorted.len() >= n).then(|| n - 1),
            Ranking::DenseRank => {
                let firsts = (0..sorted.len()).filter(|at| *at == 0 || sorted[at - 1].count != sorted[*at].count);
                firsts.into_iter().nth(n - 1)
            }
        }
    }

    /// How many candidates, best first, are in a list whose last rank the one at a place has.
    fn length(self, sorted: &[Candidate], last: usize) -> usize {
        match self {
            Ranking::RowNumber => last + 1,
            _ => sorted.partition_point(|candidate| candidate.count >= sorted[last].count),
        }
    }

    /// Whether others may come into a list because a key of it has another count now: where it has a smaller one; and where equal
    /// counts share a number, also where it has that of another key, so that there is one number less.
    pub(super) fn lets_others_in(self, before: i64, now: i64) -> bool {
        now < before || (self == Ranking::DenseRank && now != before)
    }

    /// The rank of each candidate of a list, best first.
    pub(super) fn numbers(self, list: &[Candidate]) -> Vec<i32> {
        let mut numbers: Vec<i32> = Vec::with_capacity(list.len());
        for (at, candidate) in list.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| (list[before].count == candidate.count, numbers[before]));
            numbers.push(match (self, before) {
                (Ranking::Rank | Ranking::DenseRank, Some((true, number))) => number,
                (Ranking::DenseRank, Some((false, number))) => number + 1,
                _ => at as i32 + 1,
            });
        }
        numbers
    }
}

/// With fewer lists than this it does not matter how many of them are in use.
const FEW_LISTS: usize = 1024;

/// Lists are numbered anew when one in so many of them is in use.
const LISTS_IN_USE: usize = 4;

/// Numbers the groups that there is a list for. Much is as long as the largest number, so that those that are not in use any more
/// have to go.
#[derive(Debug)]
pub(super) struct Lists {
    hasher: KeyHasher,
    table: GroupTable,
    /// Keys that have been dropped since it was last looked which lists are in use.
    dropped: usize,
}

/// The new numbers of lists, by their old ones.
#[derive(Debug)]
pub(super) struct NewNumbers(Vec<u32>);

impl NewNumbers {
    /// The new number of a list that is in use.
    pub(super) fn of(&self, list: u32) -> u32 {
        self.0[list as usize]
    }

    /// Replaces the numbers of lists that are in use.
    pub(super) fn replace(&self, lists: &mut [u32]) {
        lists.iter_mut().for_each(|list| *list = self.of(*list));
    }
}

impl Lists {
    pub(super) fn new(config: &TopConfig) -> Self {
        Lists { hasher: KeyHasher::new(config.per.clone()), table: GroupTable::with_capacity(0), dropped: 0 }
    }

    /// The list that each row belongs to.
    pub(super) fn of(&mut self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let (mut lists, mut opened) = (Vec::new(), Vec::new());
        if self.hasher.columns().is_empty() {
            return Ok(vec![0; rows.num_rows()]);
        }
        let hashes = self.hasher.hash(rows)?;
        self.table.assign(&hashes, &mut lists, &mut opened).map_err(|full| EngineError::internal(full.to_string()))?;
        Ok(lists)
    }

    /// How many lists have a number.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Notes that so many keys have been dropped, and so many are left. Says whether it is time to look which lists they are of: that
    /// is a look at each, so there must be as many that have gone since.
    pub(super) fn note_dropped(&mut self, dropped: usize, left: usize) -> bool {
        self.dropped += dropped;
        self.len() >= FEW_LISTS && self.dropped >= left
    }

    /// Numbers those lists anew, in the same order, that keys are of, unless too few of the others would go.
    pub(super) fn renumber<'a>(&mut self, of_keys: impl Iterator<Item = &'a u32>) -> Result<Option<NewNumbers>> {
        self.dropped = 0;
        let mut is_used = vec![false; self.len()];
        of_keys.for_each(|list| is_used[*list as usize] = true);
        let used: Vec<usize> = (0..is_used.len()).filter(|list| is_used[*list]).collect();
        if is_used.len() < LISTS_IN_USE * used.len() {
            return Ok(None);
        }
        let hashes: Vec<u128> = used.iter().map(|list| self.table.hashes()[*list]).collect();
        let (mut table, mut lists, mut opened) = (GroupTable::with_capacity(used.len()), Vec::new(), Vec::new());
        table.assign(&hashes, &mut lists, &mut opened).map_err(|full| EngineError::internal(full.to_string()))?;
        let mut numbers = vec![u32::MAX; is_used.len()];
        used.into_iter().zip(lists).for_each(|(old, new)| numbers[old] = new);
        self.table = table;
        Ok(Some(NewNumbers(numbers)))
    }

    /// The hash of a list's group.
    pub(super) fn hash(&self, list: u32) -> u128 {
        self.table.hashes().get(list as usize).copied().unwrap_or_else(|| weir_engine::hash::combine(&[]))
    }
}

/// The count of a key that is not there (any more): in no list, and null in what flows and in what is stored. No count is so
/// small: see [`count_of`].
pub(super) const ABSENT: i64 = i64::MIN;

/// A count as it is kept.
pub(super) fn count_of(count: i64) -> i64 {
    count.max(ABSENT + 1)
}

/// A count as it flows and is stored.
pub(super) fn or_null(count: i64) -> Option<i64> {
    (count != ABSENT).then_some(count)
}

/// Keys and counts, by number in the order of arrival.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub(super) keys: KeyColumns,
    pub(super) counts: Vec<i64>,
    pub(super) lists: Vec<u32>,
}

impl Counted {
    pub(super) fn new(prototype: &KeyColumns) -> Result<Self> {
        Ok(Counted { keys: prototype.empty()?, counts: Vec::new(), lists: Vec::new() })
    }

    /// Adds keys with a count of 0: some rows of these columns.
    pub(super) fn append(&mut self, keys: &[ArrayRef], lists: &[u32], rows: Rows<'_>) -> Result<()> {
        self.keys.append(keys, rows)?;
        self.lists.extend((0..rows.len()).map(|n| lists[rows.row(n)]));
        self.counts.resize(self.keys.len(), 0);
        Ok(())
    }
}

/// A key that may be among the largest: which of several `Counted` it is in, and where; and its count, which may be a sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) count: i64,
    pub(super) source: u32,
    pub(super) key: u32,
}

/// Picks the N largest of each list out of many candidates, looking closely only at few.
pub(super) struct Selection<'a> {
    n: usize,
    ranking: Ranking,
    sources: &'a [&'a KeyColumns],
    items: &'a [usize],
    pools: Vec<Pool>,
}

/// The candidates of one list.
#[derive(Debug, Clone, Default)]
struct Pool {
    candidates: Vec<Candidate>,
    /// The one that has the last rank so far: a key that is not before it is out, or, where all are in that have that rank, one
    /// with a smaller count.
    last: Option<Candidate>,
    /// At so many candidates those that are out are looked for.
    full: usize,
}

impl<'a> Selection<'a> {
    pub(super) fn new((n, ranking): (usize, Ranking), sources: &'a [&'a KeyColumns], items: &'a [usize]) -> Self {
        Selection { n, ranking, sources, items, pools: Vec::new() }
    }

    fn compare(&self, one: &Candidate, other: &Candidate) -> Ordering {
        other.count.cmp(&one.count).then_with(|| {
            let (left, right) = (self.sources[one.source as usize], self.sources[other.source as usize]);
            left.compare(one.key, right, other.key, self.items)
        })
    }

    #[inline]
    pub(super) fn offer(&mut self, list: u32, candidate: Candidate) {
        if candidate.count == ABSENT {
            return;
        }
        let list = list as usize;
        if list >= self.pools.len() {
            self.pools.resize(list + 1, Pool { full: 2 * self.n + 16, ..Pool::default() });
        }
        if let Some(last) = &self.pools[list].last
            && (candidate.count < last.count
                || (self.ranking == Ranking::RowNumber && self.compare(&candidate, last).is_gt()))
        {
            return;
        }
        let pool = &mut self.pools[list];
        pool.candidates.push(candidate);
        if pool.candidates.len() >= pool.full {
            self.prune(list);
        }
    }

    fn prune(&mut self, list: usize) {
        let mut candidates = std::mem::take(&mut self.pools[list].candidates);
        candidates.sort_by(|one, other| self.compare(one, other));
        let pool = &mut self.pools[list];
        if let Some(last) = self.ranking.last_place(&candidates, self.n) {
            candidates.truncate(self.ranking.length(&candidates, last));
            pool.last = Some(candidates[last]);
        }
        // Where many have the last rank, they are not sorted again for each that comes.
        pool.full = 2 * candidates.len().max(self.n) + 16;
        pool.candidates = candidates;
    }

    /// The N largest of each list, best first.
    pub(super) fn finish(mut self) -> Vec<Vec<Candidate>> {
        (0..self.pools.len()).for_each(|list| self.prune(list));
        self.pools.into_iter().map(|pool| pool.candidates).collect()
    }
}

/// The keys that are known of one window, with exact counts.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) table: GroupTable,
    pub(super) counted: Counted,
}

impl Known {
    pub(super) fn new(prototype: &KeyColumns) -> Result<Self> {
        Ok(Known { table: GroupTable::with_capacity(0), counted: Counted::new(prototype)? })
    }

    pub(super) fn find(&self, hash: u128) -> Option<u32> {
        self.table.find(hash)
    }

    /// Adds a key, one row of these columns, or finds it, and sets its count.
    pub(super) fn set(&mut self, hash: u128, keys: &[ArrayRef], row: u32, list: u32, count: i64) -> Result<u32> {
        let added = self.table.find_or_add(hash).map_err(|full| EngineError::internal(full.to_string()))?;
        if added.1 {
            self.counted.keys.append(keys, Rows::Some(&[row]))?;
            self.counted.lists.push(list);
            self.counted.counts.push(count);
        }
        self.counted.counts[added.0 as usize] = count;
        Ok(added.0)
    }

    /// The N largest of each list, best first.
    pub(super) fn best(&self, n: (usize, Ranking), items: &[usize]) -> Vec<Vec<Candidate>> {
        let sources = [&self.counted.keys];
        let mut selection = Selection::new(n, &sources, items);
        for (key, (list, count)) in self.counted.lists.iter().zip(&self.counted.counts).enumerate() {
            selection.offer(*list, Candidate { count: *count, source: 0, key: key as u32 });
        }
        selection.finish()
    }
}
