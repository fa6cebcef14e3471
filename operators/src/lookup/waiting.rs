//! Rows that wait, in the order in which they came, in pieces: what happens to one of them makes a checkpoint write its piece
//! again, and no other.

use super::answer::Outcome;
use std::{collections::VecDeque, sync::Arc};
use weir_engine::element::Batch;

/// Rows of a piece, at most; one that is restored from several subtasks may have more.
pub(super) const PIECE_ROWS: usize = 4096;

/// A row that waits: the number of its piece, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    piece: u64,
    row: u32,
}

/// Some rows.
#[derive(Debug)]
pub(super) struct Piece {
    /// Names its segment.
    pub id: u64,
    pub batch: Batch,
    pub hashes: Arc<Vec<u128>>,
    /// Where its rows begin in `hashes`.
    pub offset: usize,
    /// What is known of each row; none: nothing yet.
    pub outcomes: Vec<Option<Outcome>>,
    /// How many have been released.
    pub released: usize,
    /// Whether a checkpoint holds it as it is.
    pub is_stored: bool,
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
    next_id: u64,
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

    /// All of it, to note that a checkpoint holds it.
    pub fn pieces_mut(&mut self) -> impl Iterator<Item = &mut Piece> {
        self.pieces.iter_mut()
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
            let length = (batch.len() - offset).min(PIECE_ROWS);
            let rest = outcomes.split_off(length);
            let piece = Piece {
                id: self.next_id,
                batch: batch.slice(offset, length),
                hashes: hashes.clone(),
                offset,
                outcomes,
                released: 0,
                is_stored: false,
            };
            self.next_id += 1;
            open.extend(self.add(piece));
            outcomes = rest;
            offset += length;
        }
        open
    }

    /// Adds a piece that a checkpoint holds; those of a subtask come in the order of their ids.
    pub fn restore(
        &mut self,
        id: u64,
        batch: Batch,
        hashes: Vec<u128>,
        outcomes: Vec<Option<Outcome>>,
    ) -> Vec<(u128, Place)> {
        self.next_id = self.next_id.max(id + 1);
        let hashes = Arc::new(hashes);
        self.add(Piece { id, batch, hashes, offset: 0, outcomes, released: 0, is_stored: true })
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
            piece.is_stored = false;
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
        piece.is_stored = false;
        self.rows -= count as u64;
        self.bytes = self.bytes.saturating_sub(batch.bytes());
        if to == piece.batch.len() {
            self.pieces.pop_front();
            self.first += 1;
        }
        if self.pieces.is_empty() {
            self.bytes = 0;
        }
        Some(Settled { batch, outcomes })
    }
}
