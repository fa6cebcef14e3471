//! The newest revision of each of some results, by groups: of one slice or one window, say.

use super::{MOST_BYTES, Place, ResultRows, fitting, interleaved};
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
    /// The texts of no row have more bytes together than this.
    longest: usize,
    /// Bytes of the texts of a piece that is put together.
    most_bytes: usize,
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
            longest: 0,
            most_bytes: MOST_BYTES,
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
        self.longest = self.longest.max(rows.longest());
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

    /// How many bytes the texts of a row have together, at most.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// How many bytes the texts of the row at a place have together.
    pub(crate) fn text_bytes(&self, (piece, row): Place) -> usize {
        self.pieces.get(piece).map_or(0, |piece| piece.text_bytes(row))
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

    /// Puts the newest rows together, in the order in which their records came: in one piece, or in as many as have room for their
    /// texts.
    fn compact(&mut self) -> Result<()> {
        let places: Vec<Place> = self.records.iter().flatten().filter_map(|id| Some(self.record(*id)?.place)).collect();
        let mut pieces = Vec::new();
        let mut rest = places.as_slice();
        while !rest.is_empty() {
            let (now, later) =
                rest.split_at(fitting(rest.iter().map(|place| self.text_bytes(*place)), self.most_bytes));
            pieces.push(Arc::new(self.put_together(now)?));
            rest = later;
        }
        for (piece, rows) in (0..).zip(&pieces) {
            for (row, id) in (0..).zip(&rows.ids) {
                self.newest.insert(*id, Newest { piece, row });
            }
        }
        self.pieces = pieces;
        (self.dead, self.rewrite) = (0, true);
        Ok(())
    }

    /// The rows at these places.
    fn put_together(&self, places: &[Place]) -> Result<ResultRows> {
        let of = |(piece, row): &Place| (&self.pieces[*piece], *row);
        Ok(ResultRows {
            columns: interleaved(&self.pieces.iter().collect::<Vec<_>>(), 0..self.width(), places)?,
            hashes: places.iter().map(of).map(|(piece, row)| piece.hashes[row]).collect(),
            ids: places.iter().map(of).map(|(piece, row)| piece.ids[row]).collect(),
            revisions: places.iter().map(of).map(|(piece, row)| piece.revisions[row]).collect(),
            withdrawn: places.iter().map(of).map(|(piece, row)| piece.withdrawn[row]).collect(),
        })
    }

    fn width(&self) -> usize {
        self.pieces.first().map_or(0, |piece| piece.columns.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, StringArray};

    const RECORDS: u128 = 25;

    /// A text of a hundred bytes.
    fn text(record: u128, revision: i32) -> String {
        format!("{record:50}{revision:50}")
    }

    /// A revision of each record.
    fn rows(revision: i32) -> ResultRows {
        let records = || 0..RECORDS;
        let texts = StringArray::from_iter_values(records().map(|record| text(record, revision)));
        ResultRows {
            columns: vec![Arc::new(texts)],
            hashes: records().map(|record| record % 3).collect(),
            ids: records().collect(),
            revisions: records().map(|_| revision).collect(),
            withdrawn: records().map(|_| false).collect(),
        }
    }

    fn write(rows: &ResultRows) -> Result<RecordBatch> {
        let texts: ArrayRef = Arc::clone(&rows.columns[0]);
        Ok(RecordBatch::try_from_iter([("text", texts)])?)
    }

    /// No more bytes are put together than a column has room for.
    #[test]
    fn what_is_left_of_many_corrections_lies_in_pieces_of_a_bounded_size() {
        let mut newest = NewestRows { most_bytes: 1 << 10, ..NewestRows::default() };
        for revision in 0..=200 {
            newest.add(Arc::new(rows(revision))).unwrap();
        }
        assert_eq!(newest.dead, 5_000);
        let Change::Replace(written) = newest.change(write).unwrap() else { panic!("nothing was put together") };
        let sizes: Vec<usize> = written.into_batches().unwrap().iter().map(RecordBatch::num_rows).collect();
        assert_eq!(sizes, [10, 10, 5], "each row has a hundred bytes of text");
        for record in 0..RECORDS {
            let Record { revision, place: (piece, row), .. } = newest.record(record).unwrap();
            let found = newest.pieces()[piece].columns[0].as_string::<i32>().value(row).to_owned();
            assert_eq!((revision, found), (200, text(record, 200)));
        }
        newest.add(Arc::new(rows(201))).unwrap();
        let Change::Append(written) = newest.change(write).unwrap() else { panic!("all was written before") };
        assert_eq!(written.into_batches().unwrap().len(), 1);
        assert_eq!(newest.records(1).map(|record| record.revision).collect::<Vec<_>>(), [201; 8]);
    }

    #[test]
    fn a_row_that_is_too_long_for_a_piece_is_one_of_its_own() {
        assert_eq!(fitting([300, 300, 300].into_iter(), 1_000), 3);
        assert_eq!(fitting([300, 300, 401].into_iter(), 1_000), 2);
        assert_eq!(fitting([3_000, 1].into_iter(), 1_000), 1);
    }
}
