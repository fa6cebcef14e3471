//! Rows that wait, in the order in which they came: in pieces as they came, and these in segments. What happens to a row makes a
//! checkpoint write its segment again, and no other.

use super::answer::Outcome;
use std::{collections::VecDeque, sync::Arc};
use weir_engine::element::Batch;

/// Rows of a segment, at most; one that is restored from several subtasks may have more.
const SEGMENT_ROWS: usize = 4096;

/// A row that waits: the number of its piece, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    piece: u64,
    row: u32,
}

/// What the last checkpoint holds of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Nothing.
    New,
    /// It as it is.
    AsItIs,
    /// It, or what was before it in its segment, as it was.
    AsItWas,
}

/// Some rows.
#[derive(Debug)]
pub(super) struct Piece {
    /// The number of its segment.
    pub segment: u64,
    /// How many rows came to the segment before it.
    pub before: usize,
    pub batch: Batch,
    pub hashes: Arc<Vec<u128>>,
    /// Where its rows begin in `hashes`.
    pub offset: usize,
    /// What is known of each row; none: nothing yet.
    pub outcomes: Vec<Option<Outcome>>,
    /// How many have been released.
    pub released: usize,
    pub stored: Stored,
}

impl Piece {
    /// The hash of a row's key.
    pub fn hash(&self, row: usize) -> u128 {
        self.hashes[self.offset + row]
    }

    /// How many rows at its front are settled, of those that are left.
    fn settled(&self) -> usize {
        self.outcomes[self.released..].iter().take_while(|outcome| outcome.is_some()).count()
    }

    fn has_changed(&mut self) {
        if self.stored == Stored::AsItIs {
            self.stored = Stored::AsItWas;
        }
    }
}

/// Rows at the front that are settled.
#[derive(Debug)]
pub(super) struct Settled {
    pub batch: Batch,
    pub outcomes: Vec<Outcome>,
}

/// All rows that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pieces: VecDeque<Piece>,
    /// The number of the first piece, as places have it.
    first: u64,
    /// The segment that rows are added to, and how many came to it; none: a new one is begun.
    open: Option<(u64, usize)>,
    next_segment: u64,
    rows: u64,
    bytes: usize,
}

impl Waiting {
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pieces of each segment, to note what a checkpoint holds.
    pub fn segments(&mut self) -> impl Iterator<Item = &mut [Piece]> {
        self.pieces.make_contiguous().chunk_by_mut(|one, next| one.segment == next.segment)
    }

    /// Adds rows at the end. Returns where each of them is that is not settled, with the hash of its key.
    pub fn push(
        &mut self,
        batch: &Batch,
        hashes: &Arc<Vec<u128>>,
        mut outcomes: Vec<Option<Outcome>>,
    ) -> Vec<(u128, Place)> {
        let mut open = Vec::new();
        let mut offset = 0;
        while offset < batch.len() {
            let length = (batch.len() - offset).min(SEGMENT_ROWS);
            let (segment, before) = self.room_for(length);
            let rest = outcomes.split_off(length);
            let piece = Piece {
                segment,
                before,
                batch: batch.slice(offset, length),
                hashes: hashes.clone(),
                offset,
                outcomes,
                released: 0,
                stored: Stored::New,
            };
            open.extend(self.add(piece));
            outcomes = rest;
            offset += length;
        }
        open
    }

    /// The segment for so many rows, and how many came to it before.
    fn room_for(&mut self, rows: usize) -> (u64, usize) {
        let is_there = self.pieces.back().map(|last| last.segment);
        let (segment, before) = match self.open {
            Some((segment, before)) if before + rows <= SEGMENT_ROWS && is_there == Some(segment) => (segment, before),
            _ => {
                self.next_segment += 1;
                (self.next_segment - 1, 0)
            }
        };
        self.open = Some((segment, before + rows));
        (segment, before)
    }

    /// Adds rows of a segment that a checkpoint holds, behind so many others of it; segments come in their order.
    pub fn restore(
        &mut self,
        (segment, before): (u64, usize),
        batch: Batch,
        hashes: Vec<u128>,
        outcomes: Vec<Option<Outcome>>,
    ) -> Vec<(u128, Place)> {
        self.next_segment = self.next_segment.max(segment + 1);
        let hashes = Arc::new(hashes);
        let stored = Stored::AsItIs;
        self.add(Piece { segment, before, batch, hashes, offset: 0, outcomes, released: 0, stored })
    }

    fn add(&mut self, mut piece: Piece) -> Vec<(u128, Place)> {
        // Carried hashes are those of the whole batch: what leaves has none.
        piece.batch.key_hashes = None;
        let number = self.first + self.pieces.len() as u64;
        let is_open = |(_, outcome): &(usize, &Option<Outcome>)| outcome.is_none();
        let place = |row: usize| (piece.hash(row), Place { piece: number, row: row as u32 });
        let open = piece.outcomes.iter().enumerate().filter(is_open).map(|(row, _)| place(row)).collect();
        self.rows += piece.batch.len() as u64;
        self.bytes += piece.batch.bytes();
        self.pieces.push_back(piece);
        open
    }

    /// The piece and the row of a place, unless it was released.
    pub fn find(&self, place: Place) -> Option<(&Piece, usize)> {
        let at = usize::try_from(place.piece.checked_sub(self.first)?).ok()?;
        Some((self.pieces.get(at)?, place.row as usize))
    }

    /// What is known of a row now.
    pub fn settle(&mut self, place: Place, outcome: Outcome) {
        let at = place.piece.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let Some(piece) = at.and_then(|at| self.pieces.get_mut(at)) else { return };
        if let Some(known) = piece.outcomes.get_mut(place.row as usize) {
            *known = Some(outcome);
            piece.has_changed();
        }
    }

    /// Takes the settled rows at the front of the first piece, at most so many.
    pub fn release(&mut self, at_most: u64) -> Option<Settled> {
        let piece = self.pieces.front_mut()?;
        let count = piece.settled().min(usize::try_from(at_most).unwrap_or(usize::MAX));
        if count == 0 {
            return None;
        }
        let (from, to) = (piece.released, piece.released + count);
        let batch = piece.batch.slice(from, count);
        let outcomes = piece.outcomes[from..to].iter_mut().filter_map(Option::take).collect();
        piece.released = to;
        piece.has_changed();
        self.rows -= count as u64;
        self.bytes = self.bytes.saturating_sub(batch.bytes());
        if to == piece.batch.len() {
            let gone = self.pieces.pop_front().map(|gone| gone.segment);
            self.first += 1;
            // What is left of its segment is not all of it any more.
            if let Some(next) = self.pieces.front_mut().filter(|next| Some(next.segment) == gone) {
                next.has_changed();
            }
        }
        if self.pieces.is_empty() {
            self.bytes = 0;
        }
        Some(Settled { batch, outcomes })
    }
}
