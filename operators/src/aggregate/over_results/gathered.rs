//! The rows of groups, put together from several slices.

use crate::result_rows::{NewestRows, Record, ResultRows, interleaved};
use arrow::array::ArrayRef;
use hashbrown::HashMap;
use std::{ops::Range, sync::Arc};
use weir_engine::Result;

/// Groups of a window: where the newest rows of their records are, in the window's slices.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    hashes: Vec<u128>,
    groups: Vec<GatheredGroup>,
}

#[derive(Debug, Default)]
struct GatheredGroup {
    version: i64,
    /// Some row of the group, for its key: the slice's number among those gathered from, the piece, the row.
    any: (usize, usize, usize),
    /// The rows that hold.
    living: Vec<(usize, usize, usize)>,
}

impl Gathered {
    /// The groups of these slices; if asked for, only those that have changed in one of them since the last emission.
    pub(super) fn of(slices: &[&NewestRows], only_changed: bool) -> Self {
        let mut gathered = Gathered::default();
        let mut known = HashMap::new();
        let mut name = |hash: u128| {
            known.entry(hash).or_insert_with(|| {
                gathered.hashes.push(hash);
                gathered.groups.push(GatheredGroup::default());
                gathered.groups.len() - 1
            });
        };
        for slice in slices {
            match only_changed {
                true => slice.changed().for_each(&mut name),
                false => slice.groups().iter().for_each(|hash| name(*hash)),
            }
        }
        for (hash, group) in gathered.hashes.iter().zip(&mut gathered.groups) {
            for (number, slice) in slices.iter().enumerate() {
                for Record { revision, withdrawn, place: (piece, row), .. } in slice.records(*hash) {
                    group.any = (number, piece, row);
                    group.version += i64::from(revision) + 1;
                    if !withdrawn {
                        group.living.push((number, piece, row));
                    }
                }
            }
        }
        gathered
    }

    /// Keeps the groups for which that is true of their key's hash, their version, and whether a row of them holds.
    pub(super) fn retain(&mut self, keep: impl Fn(u128, i64, bool) -> bool) {
        let keep: Vec<bool> = self.groups().map(|(hash, version, lives)| keep(hash, version, lives)).collect();
        let mut kept = keep.iter();
        self.hashes.retain(|_| kept.next() == Some(&true));
        let mut kept = keep.iter();
        self.groups.retain(|_| kept.next() == Some(&true));
    }

    /// Of each group the hash of its key, its version, and whether a row of it holds.
    pub(super) fn groups(&self) -> impl Iterator<Item = (u128, i64, bool)> + '_ {
        let groups = self.hashes.iter().zip(&self.groups);
        groups.map(|(hash, group)| (*hash, group.version, !group.living.is_empty()))
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub(super) fn hashes(&self) -> &[u128] {
        &self.hashes
    }

    /// The key columns, a row for each group. A key has `width` columns.
    pub(super) fn keys(&self, slices: &[&NewestRows], width: usize) -> Result<Vec<ArrayRef>> {
        let places = self.groups.iter().map(|group| group.any);
        self.columns(slices, 0..width, places)
    }

    /// The number of the group of each row that holds, and these columns of the rows.
    pub(super) fn living(&self, slices: &[&NewestRows], columns: Range<usize>) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let groups = (0..).zip(&self.groups).flat_map(|(number, group)| group.living.iter().map(move |_| number));
        let places = self.groups.iter().flat_map(|group| group.living.iter().copied());
        Ok((groups.collect(), self.columns(slices, columns, places)?))
    }

    fn columns(
        &self,
        slices: &[&NewestRows],
        columns: Range<usize>,
        places: impl Iterator<Item = (usize, usize, usize)>,
    ) -> Result<Vec<ArrayRef>> {
        let pieces: Vec<&Arc<ResultRows>> = slices.iter().flat_map(|slice| slice.pieces()).collect();
        let mut before = 0;
        let mut firsts = Vec::with_capacity(slices.len());
        for slice in slices {
            firsts.push(before);
            before += slice.pieces().len();
        }
        let places: Vec<(usize, usize)> = places.map(|(slice, piece, row)| (firsts[slice] + piece, row)).collect();
        interleaved(&pieces, columns, &places)
    }
}
