//! A set of 128-bit ids that remembers which came since the last checkpoint: an insert-in-order log and an index on it.
//!
//! The log lies in chunks of fixed size. A full chunk is sealed: it never moves or changes again, so the checkpoint's delta
//! is the sealed chunks themselves, by reference, and a copy of at most one open chunk (256 KiB): the barrier
//! costs nothing per id. The index is a fraction of the size of a table of ids.

use super::prefetch::ROWS_AHEAD;
use super::tag_index::{MAX_ENTRIES, Probe, TagIndex};
use super::{RowMask, TableFull};
use arrow::buffer::ScalarBuffer;

const CHUNK_BITS: u32 = 14;
const CHUNK: usize = 1 << CHUNK_BITS;

/// A set of 128-bit hashes in the order of their arrival. In the buffers that leave it, a hash is 16 bytes in the machine's
/// order (little-endian on every platform that Weir supports).
#[derive(Debug)]
pub struct IdLog {
    index: TagIndex,
    sealed: Vec<ScalarBuffer<u128>>,
    open: Vec<u128>,
    /// Ids of emptied chunks that are no longer read.
    spare: Vec<Vec<u128>>,
    /// Ids that earlier deltas have handed over.
    handed_over: usize,
}

impl IdLog {
    /// An empty set with room for `expected` ids: its predecessor's number, as tables of neighbouring times are alike.
    pub fn with_capacity(expected: usize) -> Self {
        Self {
            index: TagIndex::with_capacity(expected),
            sealed: Vec::with_capacity(expected.min(MAX_ENTRIES).div_ceil(CHUNK)),
            open: Vec::with_capacity(expected.min(CHUNK)),
            spare: Vec::new(),
            handed_over: 0,
        }
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.index.entries()
    }

    /// True when the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ids that no delta has handed over yet.
    pub fn new_ids(&self) -> usize {
        self.len() - self.handed_over
    }

    /// Bytes held, for accounting.
    pub fn size_in_bytes(&self) -> usize {
        let chunks = self.sealed.len() + self.spare.len();
        self.index.size_in_bytes() + (chunks * CHUNK + self.open.capacity()) * size_of::<u128>()
    }

    /// Inserts a whole batch and adds the rows whose id was new to `kept`: of two equal ids the first row.
    pub fn insert_all(&mut self, hashes: &[u128], kept: &mut RowMask) -> Result<(), TableFull> {
        self.check_room(hashes.len())?;
        for (row, hash) in hashes.iter().enumerate() {
            if self.index.is_large()
                && let Some(ahead) = hashes.get(row + ROWS_AHEAD)
            {
                self.index.prefetch(*ahead);
            }
            let is_new = self.insert_one(*hash);
            kept.insert_if(row, is_new);
        }
        Ok(())
    }

    /// As `insert_all`, for some rows of a batch.
    pub fn insert_rows(&mut self, hashes: &[u128], rows: &[u32], kept: &mut RowMask) -> Result<(), TableFull> {
        self.check_room(rows.len())?;
        for (at, row) in rows.iter().enumerate() {
            if self.index.is_large()
                && let Some(ahead) = rows.get(at + ROWS_AHEAD)
            {
                self.index.prefetch(hashes[*ahead as usize]);
            }
            let is_new = self.insert_one(hashes[*row as usize]);
            kept.insert_if(*row as usize, is_new);
        }
        Ok(())
    }

    /// Inserts one id; true when it was new.
    pub fn insert(&mut self, hash: u128) -> Result<bool, TableFull> {
        self.check_room(1)?;
        Ok(self.insert_one(hash))
    }

    /// True when the id is in the set.
    pub fn contains(&self, hash: u128) -> bool {
        matches!(self.probe(hash), Probe::Found(_))
    }

    #[inline(always)]
    fn probe(&self, hash: u128) -> Probe {
        self.index.probe(hash, |position| self.at(position) == hash)
    }

    #[inline(always)]
    fn at(&self, position: u32) -> u128 {
        let (chunk, offset) = ((position >> CHUNK_BITS) as usize, position as usize % CHUNK);
        self.sealed.get(chunk).map_or_else(|| self.open[offset], |ids| ids[offset])
    }

    #[inline(always)]
    fn insert_one(&mut self, hash: u128) -> bool {
        let Probe::Vacant(slot) = self.probe(hash) else {
            return false;
        };
        let must_grow = self.index.occupy(slot, hash);
        self.open.push(hash);
        if self.open.len() == CHUNK {
            self.seal();
        }
        if must_grow {
            self.grow();
        }
        true
    }

    #[cold]
    fn grow(&mut self) {
        let sealed = self.sealed.iter().flat_map(|ids| ids.iter().copied());
        self.index.grow(sealed.chain(self.open.iter().copied()));
    }

    #[cold]
    fn seal(&mut self) {
        let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK));
        self.sealed.push(std::mem::replace(&mut self.open, next).into());
    }

    fn check_room(&self, more: usize) -> Result<(), TableFull> {
        if self.len() + more > MAX_ENTRIES {
            return Err(TableFull { entries: self.len() });
        }
        Ok(())
    }

    /// The ids inserted since the last call, in order, by reference. Nothing is copied but the open chunk's part.
    pub fn take_delta(&mut self) -> Vec<ScalarBuffer<u128>> {
        let delta = self.ids_from(self.handed_over);
        self.handed_over = self.len();
        delta
    }

    /// All ids, in order, by reference; what `take_delta` gives next is not changed by it.
    pub fn ids(&self) -> Vec<ScalarBuffer<u128>> {
        self.ids_from(0)
    }

    /// Counts all ids held as handed over: after a restore they are in the checkpoint that they came from.
    pub fn mark_handed_over(&mut self) {
        self.handed_over = self.len();
    }

    fn ids_from(&self, first: usize) -> Vec<ScalarBuffer<u128>> {
        let (chunk, offset) = (first / CHUNK, first % CHUNK);
        let mut parts = Vec::with_capacity(self.sealed.len().saturating_sub(chunk) + 1);
        let mut skip = offset;
        for ids in self.sealed.iter().skip(chunk) {
            parts.push(ids.slice(skip, ids.len() - skip));
            skip = 0;
        }
        if skip < self.open.len() {
            parts.push(self.open[skip..].to_vec().into());
        }
        parts
    }

    /// Empties the set for reuse, with room for `expected` ids. Chunks that an upload still reads are left to it.
    pub fn reset(&mut self, expected: usize) {
        self.index.reset(expected);
        let wanted = expected.min(MAX_ENTRIES).div_ceil(CHUNK);
        for ids in self.sealed.drain(..) {
            if self.spare.len() < wanted
                && let Ok(mut chunk) = ids.into_inner().into_vec::<u128>()
            {
                chunk.clear();
                self.spare.push(chunk);
            }
        }
        self.open.clear();
        self.handed_over = 0;
    }
}
