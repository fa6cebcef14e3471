//! The hashed half of a table: an open-addressing index from a key hash to a position in somebody else's array.
//!
//! A slot is eight bytes: 32 bits of the hash (the tag) and the position plus one; zero is an empty slot. The slot number
//! is a prefix of the tag, so that growing needs the slots alone and never touches the keys. A tag that matches is
//! only a hint: the owner of the array confirms it with the whole hash.

use super::prefetch::prefetch;

/// More entries than this don't fit: a position plus one has 32 bits.
pub(super) const MAX_ENTRIES: usize = u32::MAX as usize - 1;

const SMALLEST: usize = 64;
/// Below this many slots (512 KiB) the index stays in the cache, and asking for slots ahead costs more than it gains.
const PREFETCH_FROM: usize = 1 << 16;

/// What a look-up found.
pub(super) enum Probe {
    /// The key is at this position of the owner's array.
    Found(u32),
    /// The key is absent; it belongs into this slot.
    Vacant(usize),
}

#[derive(Debug)]
pub(super) struct TagIndex {
    slots: Vec<u64>,
    /// `64 - log2(slots)`: the slot is the tag's uppermost bits.
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
        self.slots.capacity() * size_of::<u64>()
    }

    /// True where asking ahead pays.
    pub(super) fn is_large(&self) -> bool {
        self.slots.len() >= PREFETCH_FROM
    }

    #[inline(always)]
    fn slot(&self, hash: u128) -> usize {
        ((hash >> 64) as u64 >> self.shift) as usize
    }

    /// Hints that `hash` will be looked up soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u128) {
        prefetch(&self.slots, self.slot(hash));
    }

    /// The position in the first slot that `hash` would be looked for in: a guess at what a look-up will compare with.
    #[inline(always)]
    pub(super) fn likely_position(&self, hash: u128) -> Option<u32> {
        (self.slots[self.slot(hash)] as u32).checked_sub(1)
    }

    /// Looks `hash` up; `is_at` confirms a position by the whole hash.
    #[inline(always)]
    pub(super) fn probe(&self, hash: u128, is_at: impl Fn(u32) -> bool) -> Probe {
        let mask = self.slots.len() - 1;
        let tag = (hash >> 96) as u64;
        let mut slot = self.slot(hash);
        loop {
            let entry = self.slots[slot & mask];
            if entry == 0 {
                return Probe::Vacant(slot & mask);
            }
            if entry >> 32 == tag {
                let position = entry as u32 - 1;
                if is_at(position) {
                    return Probe::Found(position);
                }
            }
            slot += 1;
        }
    }

    /// Fills a slot that `probe` found vacant for this hash. Nothing may have been added in between.
    #[inline(always)]
    pub(super) fn occupy(&mut self, slot: usize, hash: u128, position: u32) {
        self.slots[slot] = ((hash >> 96) as u64) << 32 | (u64::from(position) + 1);
        self.entries += 1;
        if self.entries * 8 > self.slots.len() * 5 {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![0; doubled]);
        self.shift -= 1;
        for entry in old.into_iter().filter(|entry| *entry != 0) {
            let mut slot = ((entry >> 32 << 32) >> self.shift) as usize;
            while self.slots[slot & (doubled - 1)] != 0 {
                slot += 1;
            }
            self.slots[slot & (doubled - 1)] = entry;
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
    (entries.min(MAX_ENTRIES) * 8 / 5 + 1).next_power_of_two().max(SMALLEST)
}
