//! The results that fall into one slice, and the rows of groups put together from several slices.

use super::ResultRows;
use super::state::ResultState;
use crate::aggregate::changed_groups::ChangedGroups;
use crate::table::GroupTable;
use arrow::array::{Array, ArrayRef};
use hashbrown::{HashMap, hash_map::Entry};
use std::{ops::Range, sync::Arc};
use weir_engine::{
    EngineError, Result,
    state::{Change, StateRows},
};

/// So many rows that newer ones have replaced are kept at least before the rest is put together anew.
const DEAD_ROWS: usize = 4096;

/// Where the newest row of a record is.
#[derive(Debug, Clone, Copy)]
struct Newest {
    piece: u32,
    row: u32,
}

/// The results of one slice.
#[derive(Debug)]
pub(super) struct SliceRows {
    /// As they came; what newer rows have replaced is in them still.
    pieces: Vec<Arc<ResultRows>>,
    newest: HashMap<u128, Newest>,
    groups: GroupTable,
    /// The records of each group.
    records: Vec<Vec<u128>>,
    changed: ChangedGroups,
    dead: usize,
    /// The first piece that no checkpoint holds.
    unsaved_from: usize,
    /// Pieces have been put together, so that a checkpoint holds others.
    rewrite: bool,
}

impl Default for SliceRows {
    fn default() -> Self {
        SliceRows {
            pieces: Vec::new(),
            newest: HashMap::new(),
            groups: GroupTable::with_capacity(0),
            records: Vec::new(),
            changed: ChangedGroups::default(),
            dead: 0,
            unsaved_from: 0,
            rewrite: false,
        }
    }
}

impl SliceRows {
    /// Adds rows, of which those that are no newer than what is there change nothing.
    pub(super) fn add(&mut self, rows: Arc<ResultRows>) -> Result<()> {
        let (mut groups, mut opened) = (Vec::new(), Vec::new());
        let assigned = self.groups.assign(&rows.hashes, &mut groups, &mut opened);
        assigned.map_err(|full| EngineError::internal(full.to_string()))?;
        self.records.resize(self.groups.len(), Vec::new());
        let piece = self.pieces.len() as u32;
        self.pieces.push(rows.clone());
        for (row, group) in groups.into_iter().enumerate() {
            let here = Newest { piece, row: row as u32 };
            match self.newest.entry(rows.ids[row]) {
                Entry::Vacant(vacant) => {
                    vacant.insert(here);
                    self.records[group as usize].push(rows.ids[row]);
                }
                Entry::Occupied(mut known) => {
                    self.dead += 1;
                    let Newest { piece, row: known_row } = *known.get();
                    if self.pieces[piece as usize].revisions[known_row as usize] >= rows.revisions[row] {
                        continue;
                    }
                    known.insert(here);
                }
            }
            self.changed.note(&[group], self.groups.len());
        }
        Ok(())
    }

    /// Adds rows that a checkpoint holds.
    pub(super) fn restore(&mut self, rows: ResultRows) -> Result<()> {
        self.add(Arc::new(rows))?;
        self.unsaved_from = self.pieces.len();
        Ok(())
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// All that has changed is out.
    pub(super) fn settle(&mut self) {
        self.changed.clear();
    }

    /// What a checkpoint writes of it.
    pub(super) fn change(&mut self, layout: &ResultState) -> Result<Change> {
        if self.dead > DEAD_ROWS.max(self.newest.len()) {
            self.compact()?;
        }
        let from = if self.rewrite { 0 } else { self.unsaved_from };
        let pieces: Vec<Arc<ResultRows>> = self.pieces[from..].to_vec();
        self.unsaved_from = self.pieces.len();
        if pieces.is_empty() {
            return Ok(Change::Unchanged);
        }
        let layout = layout.clone();
        let rows = StateRows::deferred(move || pieces.iter().map(|piece| layout.rows(piece)).collect());
        Ok(if std::mem::take(&mut self.rewrite) { Change::Replace(rows) } else { Change::Append(rows) })
    }

    /// Puts the newest rows together, in the order in which their records came.
    fn compact(&mut self) -> Result<()> {
        let places: Vec<(usize, usize)> = self.records.iter().flatten().map(|id| self.place_of(id)).collect();
        let of = |(piece, row): &(usize, usize)| (&self.pieces[*piece], *row);
        let kept = ResultRows {
            columns: interleaved(&self.pieces.iter().collect::<Vec<_>>(), 0..self.width(), &places)?,
            hashes: places.iter().map(of).map(|(piece, row)| piece.hashes[row]).collect(),
            ids: places.iter().map(of).map(|(piece, row)| piece.ids[row]).collect(),
            revisions: places.iter().map(of).map(|(piece, row)| piece.revisions[row]).collect(),
            withdrawn: places.iter().map(of).map(|(piece, row)| piece.withdrawn[row]).collect(),
        };
        for (row, id) in (0..).zip(&kept.ids) {
            self.newest.insert(*id, Newest { piece: 0, row });
        }
        self.pieces = vec![Arc::new(kept)];
        (self.dead, self.rewrite) = (0, true);
        Ok(())
    }

    fn width(&self) -> usize {
        self.pieces.first().map_or(0, |piece| piece.columns.len())
    }

    /// The piece and the row of a record's newest row.
    fn place_of(&self, id: &u128) -> (usize, usize) {
        self.newest.get(id).map_or((0, 0), |newest| (newest.piece as usize, newest.row as usize))
    }
}

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
    pub(super) fn of(slices: &[&SliceRows], only_changed: bool) -> Self {
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
                true => slice.changed.groups().iter().for_each(|group| name(slice.groups.hashes()[*group as usize])),
                false => slice.groups.hashes().iter().for_each(|hash| name(*hash)),
            }
        }
        for (hash, group) in gathered.hashes.iter().zip(&mut gathered.groups) {
            for (number, slice) in slices.iter().enumerate() {
                let Some(found) = slice.groups.find(*hash) else { continue };
                for id in &slice.records[found as usize] {
                    let (piece, row) = slice.place_of(id);
                    let rows = &slice.pieces[piece];
                    group.any = (number, piece, row);
                    group.version += i64::from(rows.revisions[row]) + 1;
                    if !rows.withdrawn[row] {
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
    pub(super) fn keys(&self, slices: &[&SliceRows], width: usize) -> Result<Vec<ArrayRef>> {
        let places = self.groups.iter().map(|group| group.any);
        self.columns(slices, 0..width, places)
    }

    /// The number of the group of each row that holds, and these columns of the rows.
    pub(super) fn living(&self, slices: &[&SliceRows], columns: Range<usize>) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let groups = (0..).zip(&self.groups).flat_map(|(number, group)| group.living.iter().map(move |_| number));
        let places = self.groups.iter().flat_map(|group| group.living.iter().copied());
        Ok((groups.collect(), self.columns(slices, columns, places)?))
    }

    fn columns(
        &self,
        slices: &[&SliceRows],
        columns: Range<usize>,
        places: impl Iterator<Item = (usize, usize, usize)>,
    ) -> Result<Vec<ArrayRef>> {
        let pieces: Vec<&Arc<ResultRows>> = slices.iter().flat_map(|slice| &slice.pieces).collect();
        let mut before = 0;
        let mut firsts = Vec::with_capacity(slices.len());
        for slice in slices {
            firsts.push(before);
            before += slice.pieces.len();
        }
        let places: Vec<(usize, usize)> = places.map(|(slice, piece, row)| (firsts[slice] + piece, row)).collect();
        interleaved(&pieces, columns, &places)
    }
}

/// Some columns of some rows of these pieces.
fn interleaved(pieces: &[&Arc<ResultRows>], columns: Range<usize>, rows: &[(usize, usize)]) -> Result<Vec<ArrayRef>> {
    let of = |column: usize| -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = pieces.iter().map(|piece| piece.columns[column].as_ref()).collect();
        Ok(arrow::compute::interleave(&arrays, rows)?)
    };
    columns.map(of).collect()
}
