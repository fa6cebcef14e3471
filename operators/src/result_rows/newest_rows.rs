//! The newest revision of each of some results, by groups: of one slice or one window, say.

use super::{Place, ResultRows, interleaved};
use crate::table::{ChangedGroups, GroupTable};
use arrow::record_batch::RecordBatch;
use hashbrown::{HashMap, hash_map::Entry};
use std::sync::Arc;
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

/// The newest row of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: u128,
    pub(crate) revision: i32,
    pub(crate) withdrawn: bool,
    pub(crate) place: Place,
}

/// The newest rows of some results. Of several rows of a record the one with the highest revision is the newest, so that any of them may
/// come twice, and in any order.
#[derive(Debug)]
pub(crate) struct NewestRows {
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

impl Default for NewestRows {
    fn default() -> Self {
        NewestRows {
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

impl NewestRows {
    /// Adds rows, of which those that are no newer than what is there change nothing.
    pub(crate) fn add(&mut self, rows: Arc<ResultRows>) -> Result<()> {
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
    pub(crate) fn restore(&mut self, rows: ResultRows) -> Result<()> {
        self.add(Arc::new(rows))?;
        self.unsaved_from = self.pieces.len();
        Ok(())
    }

    /// Whether a group has changed since all was out.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// All that has changed is out.
    pub(crate) fn settle(&mut self) {
        self.changed.clear();
    }

    /// The hashes of the keys of groups that have changed since all was out.
    pub(crate) fn changed(&self) -> impl Iterator<Item = u128> + '_ {
        self.changed.groups().iter().map(|group| self.groups.hashes()[*group as usize])
    }

    /// The hashes of the keys of all groups.
    pub(crate) fn groups(&self) -> &[u128] {
        self.groups.hashes()
    }

    /// The records of a group, in the order in which they came.
    pub(crate) fn records(&self, hash: u128) -> impl Iterator<Item = Record> + '_ {
        let of_group = self.groups.find(hash).map(|group| &self.records[group as usize]);
        of_group.into_iter().flatten().filter_map(|id| self.record(*id))
    }

    /// The newest row of a record, if there is one.
    pub(crate) fn record(&self, id: u128) -> Option<Record> {
        let newest = self.newest.get(&id)?;
        let place @ (piece, row) = (newest.piece as usize, newest.row as usize);
        let rows = &self.pieces[piece];
        Some(Record { id, revision: rows.revisions[row], withdrawn: rows.withdrawn[row], place })
    }

    /// The rows, as they came; what newer ones have replaced is in them still.
    pub(crate) fn pieces(&self) -> &[Arc<ResultRows>] {
        &self.pieces
    }

    /// What a checkpoint writes of it, each piece as `write` lays it out.
    pub(crate) fn change(
        &mut self,
        write: impl Fn(&ResultRows) -> Result<RecordBatch> + Send + 'static,
    ) -> Result<Change> {
        if self.dead > DEAD_ROWS.max(self.newest.len()) {
            self.compact()?;
        }
        let from = if self.rewrite { 0 } else { self.unsaved_from };
        let pieces: Vec<Arc<ResultRows>> = self.pieces[from..].to_vec();
        self.unsaved_from = self.pieces.len();
        if pieces.is_empty() {
            return Ok(Change::Unchanged);
        }
        let rows = StateRows::deferred(move || pieces.iter().map(|piece| write(piece)).collect());
        Ok(if std::mem::take(&mut self.rewrite) { Change::Replace(rows) } else { Change::Append(rows) })
    }

    /// Puts the newest rows together, in the order in which their records came.
    fn compact(&mut self) -> Result<()> {
        let places: Vec<Place> = self.records.iter().flatten().filter_map(|id| Some(self.record(*id)?.place)).collect();
        let of = |(piece, row): &Place| (&self.pieces[*piece], *row);
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
}
