//! The counts of the aggregate's windows, which are the slices of top lists, and sums over them; and what has been given out.

use super::ranking::{ABSENT, Candidate, Counted, Known, NewNumbers, Ranking, count_of};
use crate::table::{GroupTable, KeyColumns};
use std::sync::Arc;
use weir_engine::{EngineError, Result};

/// Counts of one window of the aggregate.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) table: GroupTable,
    /// Shared with a snapshot that is being written; copied if it changes meanwhile.
    pub(super) counted: Arc<Counted>,
    /// The N largest of each list in this slice alone, as of when it was last ranked.
    pub(super) largest: Vec<Vec<Candidate>>,
    pub(super) is_ranked: bool,
    /// Keys that have changed since the last watermark, once a window of this slice is out.
    pub(super) changed: Vec<u32>,
    pub(super) unsaved: bool,
}

impl Slice {
    /// Lists have other numbers now. What is as long as the largest of them is made anew when it is needed.
    pub(super) fn renumber(&mut self, numbers: &NewNumbers) {
        numbers.replace(&mut Arc::make_mut(&mut self.counted).lists);
        (self.largest, self.is_ranked) = (Vec::new(), false);
    }
}

/// What has been given out of one window.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) known: Known,
    /// Who had the last rank of each list when it was last looked at: who is behind it need not be given out.
    pub(super) floor: Vec<Option<Candidate>>,
    pub(super) looked_at: usize,
    pub(super) unsaved: bool,
}

impl Given {
    pub(super) fn new(prototype: &KeyColumns) -> Result<Self> {
        Ok(Given { known: Known::new(prototype)?, floor: Vec::new(), looked_at: 0, unsaved: true })
    }

    /// Looks for the N-th largest again if much has come to be known since. A floor that is too low is no mistake.
    pub(super) fn raise_floor(&mut self, (n, ranking): (usize, Ranking), items: &[usize]) {
        if self.looked_at == 0 || self.known.counted.counts.len() > self.looked_at + n {
            self.looked_at = self.known.counted.counts.len();
            let last = |best: &Vec<Candidate>| ranking.last_place(best, n).map(|place| best[place]);
            self.floor = self.known.best((n, ranking), items).iter().map(last).collect();
        }
    }

    /// Lists have other numbers now. The floor is looked for again before it is asked for.
    pub(super) fn renumber(&mut self, numbers: &NewNumbers) {
        numbers.replace(&mut self.known.counted.lists);
        (self.floor, self.looked_at) = (Vec::new(), 0);
    }

    pub(super) fn is_behind(
        &self,
        ranking: Ranking,
        (list, count): (u32, i64),
        (keys, key): (&KeyColumns, u32),
        items: &[usize],
    ) -> bool {
        let Some(Some(floor)) = self.floor.get(list as usize) else { return false };
        let known = &self.known.counted.keys;
        let is_tie_out = || ranking.is_row_number() && keys.compare(key, known, floor.key, items).is_gt();
        count < floor.count || (count == floor.count && is_tie_out())
    }
}

/// What a key among the N largest sums over `slices` slices must have in one of them, given the best of the leaders' sums.
/// None where that says nothing, as sums are not positive.
pub(super) fn bound(best: &[Candidate], (n, ranking): (usize, Ranking), slices: usize) -> Option<i64> {
    if best.len() < n {
        // Not even N keys lead in any slice, so all keys of the list do: none but them is left to be found.
        return Some(i64::MIN);
    }
    let last = best[ranking.last_place(best, n)?];
    let slices = slices as i64;
    (last.count > 0).then(|| (last.count - 1) / slices + 1)
}

/// Sums of some keys over several slices: of each key once, as the first of `(slice, key)` that names it.
pub(super) fn sums_of(slices: &[&Slice], chosen: impl Iterator<Item = (u32, u32)>) -> Vec<(u32, Candidate)> {
    let mut known = hashbrown::HashSet::new();
    let mut candidates = Vec::new();
    for (source, key) in chosen {
        let slice = slices[source as usize];
        let hash = slice.table.hashes()[key as usize];
        if known.insert(hash) {
            let found = slices.iter().filter_map(|slice| Some(slice.counted.counts[slice.table.find(hash)? as usize]));
            candidates.push((slice.counted.lists[key as usize], Candidate { count: sum(found), source, key }));
        }
    }
    candidates
}

/// Sums of every key over several slices, with the first slice that holds it.
pub(super) fn sums(slices: &[&Slice]) -> Result<Vec<(u32, Candidate)>> {
    let expected = slices.iter().map(|slice| slice.table.len()).max().unwrap_or(0);
    let mut table = GroupTable::with_capacity(expected);
    let (mut groups, mut opened) = (Vec::new(), Vec::new());
    let mut candidates: Vec<(u32, Candidate)> = Vec::with_capacity(expected);
    for (source, slice) in slices.iter().enumerate() {
        let assigned = table.assign(slice.table.hashes(), &mut groups, &mut opened);
        assigned.map_err(|full| EngineError::internal(full.to_string()))?;
        let counted = &slice.counted;
        candidates.extend(
            opened.iter().map(|key| {
                (counted.lists[*key as usize], Candidate { count: ABSENT, source: source as u32, key: *key })
            }),
        );
        for (group, count) in groups.iter().zip(&counted.counts) {
            let sum = &mut candidates[*group as usize].1.count;
            *sum = added(*sum, *count);
        }
    }
    Ok(candidates)
}

/// The sum of a key's counts: absent if all of them are.
pub(super) fn sum(counts: impl Iterator<Item = i64>) -> i64 {
    counts.fold(ABSENT, added)
}

fn added(sum: i64, count: i64) -> i64 {
    match (sum, count) {
        (ABSENT, other) | (other, ABSENT) => other,
        (sum, count) => count_of(sum.saturating_add(count)),
    }
}
