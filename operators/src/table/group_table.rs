//! Groups rows by their 128-bit key hash: every key gets a dense number, in the order of first arrival.
//!
//! What belongs to a group (its key's columns, its accumulators) lives in arrays elsewhere that are indexed by this number
//! and only ever appended to. The table allocates when it grows, never per row.

use super::TableFull;
use super::prefetch::{ROWS_AHEAD, prefetch};
use super::tag_index::{MAX_ENTRIES, Probe, TagIndex};
use std::sync::Arc;

/// Key hash → dense group number. The hashes are behind an `Arc`, so that a snapshot takes them by reference; they are
/// copied only if a group is added while the snapshot is still being written.
#[derive(Debug)]
pub struct GroupTable {
    index: TagIndex,
    hashes: Arc<Vec<u128>>,
}

impl GroupTable {
    /// An empty table with room for `expected` groups: its predecessor's number.
    pub fn with_capacity(expected: usize) -> Self {
        Self {
            index: TagIndex::with_capacity(expected),
            hashes: Arc::new(Vec::with_capacity(expected.min(MAX_ENTRIES))),
        }
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// True when there is no group.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The key hashes by group number.
    pub fn hashes(&self) -> &[u128] {
        &self.hashes
    }

    /// The key hashes by group number, shared with the writer of a snapshot.
    pub fn shared_hashes(&self) -> Arc<Vec<u128>> {
        Arc::clone(&self.hashes)
    }

    /// Bytes held, for accounting.
    pub fn size_in_bytes(&self) -> usize {
        self.index.size_in_bytes() + self.hashes.capacity() * size_of::<u128>()
    }

    /// The group of a key, if it has one.
    #[inline]
    pub fn find(&self, hash: u128) -> Option<u32> {
        match self.index.probe(hash, |group| self.hashes[group as usize] == hash) {
            Probe::Found(group) => Some(group),
            Probe::Vacant(_) => None,
        }
    }

    /// Puts the group of every row into `groups` (cleared first). The rows that opened a group are put into `opened`
    /// (cleared first), in order: the n-th of them opened group `len() before + n`.
    pub fn assign(&mut self, hashes: &[u128], groups: &mut Vec<u32>, opened: &mut Vec<u32>) -> Result<(), TableFull> {
        groups.clear();
        opened.clear();
        if self.len() + hashes.len() > MAX_ENTRIES {
            return Err(TableFull { entries: self.len() });
        }
        groups.reserve(hashes.len());
        let shared = Arc::get_mut(&mut self.hashes).is_none();
        let first = if shared { self.assign_known(hashes, groups) } else { 0 };
        if first == hashes.len() {
            return Ok(());
        }
        let mut adding = Adding { index: &mut self.index, hashes: Arc::make_mut(&mut self.hashes) };
        for (row, hash) in hashes.iter().enumerate().skip(first) {
            look_ahead(adding.index, adding.hashes, hashes, row);
            let (group, is_new) = adding.find_or_add(*hash);
            groups.push(group);
            if is_new {
                opened.push(row as u32);
            }
        }
        Ok(())
    }

    /// Finds the groups of rows up to the first that would open one, and says which row that is. Opening one copies the
    /// hashes while a snapshot has them.
    fn assign_known(&self, hashes: &[u128], groups: &mut Vec<u32>) -> usize {
        for (row, hash) in hashes.iter().enumerate() {
            look_ahead(&self.index, &self.hashes, hashes, row);
            match self.find(*hash) {
                Some(group) => groups.push(group),
                None => return row,
            }
        }
        hashes.len()
    }

    /// The group of one key, and whether it was opened by this call.
    pub fn find_or_add(&mut self, hash: u128) -> Result<(u32, bool), TableFull> {
        if self.len() >= MAX_ENTRIES {
            return Err(TableFull { entries: self.len() });
        }
        if let Some(group) = self.find(hash) {
            return Ok((group, false));
        }
        Ok(Adding { index: &mut self.index, hashes: Arc::make_mut(&mut self.hashes) }.find_or_add(hash))
    }

    /// Empties the table for reuse, with room for `expected` groups.
    pub fn reset(&mut self, expected: usize) {
        self.index.reset(expected);
        match Arc::get_mut(&mut self.hashes) {
            Some(hashes) if hashes.capacity() <= 4 * expected.max(1024) => hashes.clear(),
            _ => self.hashes = Arc::new(Vec::with_capacity(expected.min(MAX_ENTRIES))),
        }
    }
}

/// Two steps, since most look-ups hit: first the slot, then the hash that it will be compared with.
#[inline(always)]
fn look_ahead(index: &TagIndex, held: &[u128], hashes: &[u128], row: usize) {
    if !index.is_large() {
        return;
    }
    if let Some(ahead) = hashes.get(row + 2 * ROWS_AHEAD) {
        index.prefetch(*ahead);
    }
    if let Some(ahead) = hashes.get(row + ROWS_AHEAD)
        && let Some(group) = index.likely_position(*ahead)
    {
        prefetch(held, group as usize);
    }
}

/// The table while a batch goes in, its `Arc` opened once and not for each group.
struct Adding<'a> {
    index: &'a mut TagIndex,
    hashes: &'a mut Vec<u128>,
}

impl Adding<'_> {
    #[inline(always)]
    fn find_or_add(&mut self, hash: u128) -> (u32, bool) {
        let held: &[u128] = self.hashes;
        match self.index.probe(hash, |group| held[group as usize] == hash) {
            Probe::Found(group) => (group, false),
            Probe::Vacant(slot) => {
                let group = held.len() as u32;
                let must_grow = self.index.occupy(slot, hash);
                self.hashes.push(hash);
                if must_grow {
                    self.index.grow(self.hashes.iter().copied());
                }
                (group, true)
            }
        }
    }
}
