//! The hashed half of a table: an open-addressing index from a key hash to a position in another array.
//!
//! A slot is four bytes, so that an index of hundreds of thousands of keys nearly stays in the cache. Of 2ᵇ slots each holds
//! the position plus one in its lower b bits, and in the others the tag, as many bits of the hash; zero is an empty slot.
//! A tag that matches is only a hint: the owner of the array confirms it with the whole hash. Slot number and tag are
//! different bits of the hash's upper half. Growing reads the owner's hashes, one after the other.

use super::prefetch::prefetch;

/// More slots than this would leave no tag.
const MAX_SLOTS: usize = 1 << 31;
/// More entries than this don't fit.
pub(super) const MAX_ENTRIES: usize = MAX_SLOTS / 8 * 5;

const SMALLEST: usize = 64;
/// Below this many slots (512 KiB) the index stays in the cache, and asking for slots ahead costs more than it gains.
const PREFETCH_FROM: usize = 1 << 17;

/// What a look-up found.
pub(super) enum Probe {
    /// The key is at this position of the owner's array.
    Found(u32),
    /// The key is absent; it belongs into this slot.
    Vacant(usize),
}

#[derive(Debug)]
pub(super) struct TagIndex {
    /// A power of two of them.
    slots: Vec<u32>,
    /// `64 - log2(slots)`: the slot is the uppermost bits of the hash.
    shift: u32,
    entries: usize,
}

impl TagIndex {
    /// An index that holds `entries` without growing.
    pub(super) fn with_capacity(entries: usize) -> Self {
        let slots = slots_for(entries);
        Self { slots: vec![0; slots], shift: 64 - slots.trailing_zeros(), entries: 0 }
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes held.
    pub(super) fn size_in_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    /// True where asking ahead pays.
    pub(super) fn is_large(&self) -> bool {
        self.slots.len() >= PREFETCH_FROM
    }

    #[inline(always)]
    fn slot(&self, hash: u128) -> usize {
        ((hash >> 64) as u64 >> self.shift) as usize
    }

    /// Selects the position in a slot; it selects a slot's number, too.
    #[inline(always)]
    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    #[inline(always)]
    fn tag(&self, hash: u128) -> u32 {
        (hash >> 64) as u32 & !(self.mask() as u32)
    }

    /// Hints that `hash` will be looked up soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u128) {
        prefetch(&self.slots, self.slot(hash));
    }

    /// The position in the first slot that `hash` would be looked for in: a guess at what a look-up will compare with.
    #[inline(always)]
    pub(super) fn likely_position(&self, hash: u128) -> Option<u32> {
        (self.slots[self.slot(hash)] & self.mask() as u32).checked_sub(1)
    }

    /// Looks `hash` up; `is_at` confirms a position by the whole hash.
    #[inline(always)]
    pub(super) fn probe(&self, hash: u128, is_at: impl Fn(u32) -> bool) -> Probe {
        let (mask, tag) = (self.mask(), self.tag(hash));
        let mut slot = self.slot(hash);
        loop {
            let entry = self.slots[slot & mask];
            if entry == 0 {
                return Probe::Vacant(slot & mask);
            }
            if entry & !(mask as u32) == tag {
                let position = (entry & mask as u32) - 1;
                if is_at(position) {
                    return Probe::Found(position);
                }
            }
            slot += 1;
        }
    }

    /// Fills a slot that `probe` found vacant for this hash, with the next position: that of the number of entries. Nothing
    /// may have been added in between. True when the index must grow before the next one.
    #[inline(always)]
    pub(super) fn occupy(&mut self, slot: usize, hash: u128) -> bool {
        self.slots[slot] = self.tag(hash) | (self.entries as u32 + 1);
        self.entries += 1;
        self.entries * 8 > self.slots.len() * 5
    }

    /// Doubles the slots. `hashes` are those of all entries, by position.
    #[cold]
    pub(super) fn grow(&mut self, hashes: impl Iterator<Item = u128>) {
        let doubled = (self.slots.len() * 2).min(MAX_SLOTS);
        // What was held is given back before the new slots are taken.
        self.slots = Vec::new();
        self.slots = vec![0; doubled];
        self.shift = 64 - doubled.trailing_zeros();
        let mask = self.mask();
        for (position, hash) in hashes.enumerate() {
            let mut slot = self.slot(hash);
            while self.slots[slot & mask] != 0 {
                slot += 1;
            }
            self.slots[slot & mask] = self.tag(hash) | (position as u32 + 1);
        }
    }

    /// Empties the index for reuse, with room for `entries`. Memory is kept unless it is four times too much.
    pub(super) fn reset(&mut self, entries: usize) {
        let wanted = slots_for(entries);
        if self.slots.len() < wanted || self.slots.len() > 4 * wanted {
            *self = Self::with_capacity(entries);
        } else {
            self.slots.fill(0);
            self.entries = 0;
        }
    }
}

fn slots_for(entries: usize) -> usize {
    (entries.min(MAX_ENTRIES) * 8 / 5 + 1).next_power_of_two().clamp(SMALLEST, MAX_SLOTS)
}
