//! The rows that are held. Each has a slot, by which all else refers to it; slots are used again.

use super::layout::Layout;
use arrow::row::{Row, Rows};
use std::sync::Arc;
use weir_engine::{EngineError, Result};

/// So many rows that were let go are kept in memory at least before the others are put together anew.
const DEAD_ROWS: usize = 1 << 14;

/// A row that may have been let go meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) slot: u32,
    serial: u32,
}

/// Rows as a checkpoint takes them: pieces, and which rows of each.
pub(super) type SharedRows = Vec<(Arc<Rows>, Vec<u32>)>;

#[derive(Debug, Clone, Copy)]
struct Slot {
    time: i64,
    hash: u128,
    piece: u32,
    row: u32,
    /// How often it was used before.
    serial: u32,
    is_used: bool,
}

/// Rows that came together.
#[derive(Debug)]
struct Piece {
    rows: Arc<Rows>,
    /// How many of them are held.
    held: usize,
}

/// Rows by slot.
#[derive(Debug, Default)]
pub(super) struct HeldRows {
    pieces: Vec<Option<Piece>>,
    free_pieces: Vec<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    held: usize,
    /// Rows of pieces that are not held any more.
    dead: usize,
    /// No row that was ever held has more bytes.
    longest: usize,
}

impl HeldRows {
    /// Takes rows, and gives the slot of each.
    ///
    /// # Errors
    /// When there are more than there can be.
    pub(super) fn add(&mut self, rows: Rows, times: &[i64], hashes: &[u128]) -> Result<Vec<u32>> {
        if u32::try_from(self.slots.len() + rows.num_rows()).is_err() {
            return Err(EngineError::internal(
                "one subtask holds four billion rows: raise the parallelism, or see rows for a shorter time",
            ));
        }
        let count = rows.num_rows();
        self.longest = rows.lengths().max().unwrap_or(0).max(self.longest);
        let piece = self.free_pieces.pop().unwrap_or(self.pieces.len() as u32);
        self.pieces.resize_with(self.pieces.len().max(piece as usize + 1), || None);
        self.pieces[piece as usize] = Some(Piece { rows: Arc::new(rows), held: count });
        self.held += count;
        let keyed = times.iter().zip(hashes).zip(0..);
        Ok(keyed.map(|((time, hash), row)| self.take_slot(*time, *hash, piece, row)).collect())
    }

    fn take_slot(&mut self, time: i64, hash: u128, piece: u32, row: u32) -> u32 {
        match self.free.pop() {
            Some(free) => {
                let slot = &mut self.slots[free as usize];
                *slot = Slot { time, hash, piece, row, serial: slot.serial, is_used: true };
                free
            }
            None => {
                self.slots.push(Slot { time, hash, piece, row, serial: 0, is_used: true });
                self.slots.len() as u32 - 1
            }
        }
    }

    /// Lets a row go.
    pub(super) fn let_go(&mut self, slot: u32) {
        let freed = &mut self.slots[slot as usize];
        (freed.is_used, freed.serial) = (false, freed.serial.wrapping_add(1));
        let number = freed.piece as usize;
        self.free.push(slot);
        (self.held, self.dead) = (self.held - 1, self.dead + 1);
        if let Some(piece) = &mut self.pieces[number] {
            piece.held -= 1;
            if piece.held == 0 {
                self.dead -= piece.rows.num_rows();
                self.pieces[number] = None;
                self.free_pieces.push(number as u32);
            }
        }
    }

    /// Puts the rows that are held together, if many others are in memory with them.
    pub(super) fn tidy(&mut self, layout: &Layout) {
        if self.dead <= self.held + DEAD_ROWS {
            return;
        }
        let mut rows = layout.no_rows(self.held);
        for number in 0..self.slots.len() {
            if self.slots[number].is_used {
                rows.push(self.row(number as u32));
                (self.slots[number].piece, self.slots[number].row) = (u32::MAX, rows.num_rows() as u32 - 1);
            }
        }
        self.slots.iter_mut().filter(|slot| slot.is_used).for_each(|slot| slot.piece = 0);
        self.pieces = vec![Some(Piece { rows: Arc::new(rows), held: self.held })];
        self.free_pieces.clear();
        self.dead = 0;
    }

    /// Number of slots, free ones included.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The slots of the rows that are held, in no order that matters.
    pub(super) fn used(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.is_used).map(|(number, _)| number)
    }

    pub(super) fn time(&self, slot: u32) -> i64 {
        self.slots[slot as usize].time
    }

    pub(super) fn hash(&self, slot: u32) -> u128 {
        self.slots[slot as usize].hash
    }

    pub(super) fn handle(&self, slot: u32) -> Handle {
        Handle { slot, serial: self.slots[slot as usize].serial }
    }

    pub(super) fn is_held(&self, handle: Handle) -> bool {
        self.slots[handle.slot as usize].serial == handle.serial
    }

    /// A row's bytes.
    pub(super) fn row(&self, slot: u32) -> Row<'_> {
        let (piece, row) = self.place(slot);
        piece.row(row as usize)
    }

    /// How many bytes a row has.
    pub(super) fn bytes(&self, slot: u32) -> usize {
        self.row(slot).as_ref().len()
    }

    /// How many bytes a row has at most.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    fn place(&self, slot: u32) -> (&Arc<Rows>, u32) {
        let Slot { piece, row, .. } = self.slots[slot as usize];
        let piece = self.pieces[piece as usize].as_ref();
        (&piece.expect("a piece is there as long as one of its rows is held").rows, row)
    }

    /// Rows for a checkpoint, which outlive their slots.
    pub(super) fn shared(&self, slots: impl Iterator<Item = u32>) -> SharedRows {
        let mut shared: SharedRows = Vec::new();
        for slot in slots {
            let (piece, row) = self.place(slot);
            match shared.last_mut() {
                Some((last, rows)) if Arc::ptr_eq(last, piece) => rows.push(row),
                _ => shared.push((Arc::clone(piece), vec![row])),
            }
        }
        shared
    }
}
