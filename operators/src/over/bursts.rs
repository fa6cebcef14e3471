//! Of the keys whose last row meets the condition, that row as state, so that the next one is known not to be the first.

use super::frame::Keys;
use super::held::HeldRows;
use super::state::{Name, Stored};
use crate::window::floor;
use arrow::row::{OwnedRow, Row};
use hashbrown::{HashMap, hash_map::Entry};
use std::collections::BTreeMap;
use weir_engine::state::{Change, Segment};

/// What is stored of them.
#[derive(Debug)]
pub(super) struct Bursts {
    width: i64,
    /// The numbers of keys of whose last row it became known since the last checkpoint.
    pub(super) news: Vec<u32>,
    /// For each piece of event time, whether something is stored.
    pieces: BTreeMap<i64, bool>,
    /// What a checkpoint had, by the hash of the key: the latest row, and when it was.
    restored: HashMap<u128, (i64, OwnedRow)>,
}

impl Bursts {
    pub(super) fn new(width: i64) -> Self {
        Bursts { width, news: Vec::new(), pieces: BTreeMap::new(), restored: HashMap::new() }
    }

    /// Takes a row that a checkpoint had.
    pub(super) fn restore(&mut self, hash: u128, time: i64, row: Row<'_>) {
        match self.restored.entry(hash) {
            Entry::Occupied(known) if known.get().0 > time => {}
            Entry::Occupied(mut known) => _ = known.insert((time, row.owned())),
            Entry::Vacant(vacant) => _ = vacant.insert((time, row.owned())),
        }
    }

    /// All rows are restored: says of each key whether the condition is true of its last one.
    pub(super) fn settle(&mut self, keys: &mut Keys, held: &HeldRows) {
        let mut restored: Vec<(u128, (i64, OwnedRow))> = self.restored.drain().collect();
        restored.sort_unstable_by_key(|(hash, _)| *hash);
        for (hash, (time, row)) in restored {
            let Some(number) = keys.find(hash) else { continue };
            let key = keys.get_mut(number);
            let is_last = |slot: u32| held.time(slot) == time && held.row(slot) == row.row();
            if key.frame.last().is_some_and(is_last) {
                // Stored again, under whatever name.
                (key.holds, key.is_news) = (true, true);
                self.news.push(number);
            }
        }
    }

    /// Forgets pieces of which no row is seen any more: those up to that time.
    pub(super) fn expire(&mut self, until: i64) {
        while let Some((start, _)) = self.pieces.first_key_value() {
            if start.saturating_add(self.width) > until {
                break;
            }
            self.pieces.pop_first();
        }
    }

    /// What a checkpoint writes of them.
    pub(super) fn segments(&mut self, keys: &mut Keys, held: &HeldRows, stored: &Stored) -> Vec<Segment> {
        let mut fresh: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for number in self.news.drain(..) {
            let key = keys.get_mut(number);
            let is_news = std::mem::take(&mut key.is_news);
            if let Some(last) = key.frame.last().filter(|_| is_news && key.holds) {
                let start = floor(key.last, self.width);
                fresh.entry(start).or_default().push(last);
                self.pieces.entry(start).or_default();
            }
        }
        let segment = |(start, is_stored): (&i64, &mut bool)| {
            let id = Name::Burst { start: *start }.text();
            let Some(slots) = fresh.remove(start) else { return Segment { id, change: Change::Unchanged } };
            let hashes: Vec<u128> = slots.iter().map(|slot| held.hash(*slot)).collect();
            let rows = stored.rows(held.shared(slots.into_iter()), &hashes);
            let change = if std::mem::replace(is_stored, true) { Change::Append(rows) } else { Change::Replace(rows) };
            Segment { id, change }
        };
        self.pieces.iter_mut().map(segment).collect()
    }
}
