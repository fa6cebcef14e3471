//! The rows that are held: those to be answered, and those that later ones see, by key; and until when each is.

use super::config::OverConfig;
use super::frame::Keys;
use super::held::{Handle, HeldRows};
use super::layout::Layout;
use super::sliding::{self, Slidings};
use super::state::Buckets;
use arrow::array::ArrayRef;
use std::{collections::VecDeque, sync::Arc};
use weir_engine::Result;

/// Rows, and what they make together.
#[derive(Debug)]
pub(super) struct SeenRows {
    config: Arc<OverConfig>,
    layout: Arc<Layout>,
    pub(super) held: HeldRows,
    pub(super) slidings: Slidings,
    pub(super) keys: Keys,
    pub(super) buckets: Buckets,
    /// Rows that have been answered, in the order in which nobody sees them any more.
    answered: VecDeque<(i64, Handle)>,
}

impl SeenRows {
    /// None yet; pieces of state are so long.
    ///
    /// # Errors
    /// When a function is not defined for what it is called with.
    pub(super) fn new(config: Arc<OverConfig>, layout: Arc<Layout>, width: i64) -> Result<Self> {
        Ok(SeenRows {
            held: HeldRows::default(),
            slidings: Slidings::new(&config)?,
            keys: Keys::default(),
            buckets: Buckets::new(width),
            answered: VecDeque::new(),
            config,
            layout,
        })
    }

    /// Takes rows into memory, and gives the slot of each.
    pub(super) fn hold(&mut self, columns: &[ArrayRef], times: &[i64], hashes: &[u128]) -> Result<Vec<u32>> {
        let slots = self.held.add(self.layout.to_rows(columns)?, times, hashes)?;
        self.slidings.take(&slots, self.held.slots(), &sliding::read(&self.config, columns)?)?;
        Ok(slots)
    }

    /// Lets a row go.
    pub(super) fn let_go(&mut self, slot: u32) {
        let time = self.held.time(slot);
        self.slidings.forget(slot);
        self.held.let_go(slot);
        self.buckets.let_go(time, &self.held);
    }

    /// Sorts rows: by event time, by key, and those of one key and time in their order.
    pub(super) fn sort(&self, slots: &mut [u32]) {
        let held = &self.held;
        let place = |slot: u32| (held.time(slot), held.hash(slot));
        slots.sort_unstable_by(|a, b| place(*a).cmp(&place(*b)).then_with(|| held.row(*a).cmp(&held.row(*b))));
    }

    /// Rows of a key and an event time, in order, come to those that are seen, and others leave them for that. Gives the number of
    /// their key, and for each whether the one before it is among those that it could see.
    pub(super) fn admit(&mut self, rows: &[u32], time: i64, gone: &mut Vec<u32>) -> Result<(u32, Vec<bool>)> {
        let number = self.number(rows.first().map_or(0, |slot| self.held.hash(*slot)));
        let unseen = time.saturating_sub(self.config.within_ms);
        let most = self.config.rows.map_or(usize::MAX, |rows| rows as usize - 1);
        self.evict(number, unseen, most, gone)?;
        let mut follows = Vec::with_capacity(rows.len());
        for slot in rows {
            let key = self.keys.get_mut(number);
            follows.push(key.last > unseen);
            key.last = time;
            key.frame.push(*slot);
            self.slidings.push(number, *slot)?;
            self.answered.push_back((time, self.held.handle(*slot)));
        }
        Ok((number, follows))
    }

    fn number(&mut self, hash: u128) -> u32 {
        let (number, is_new) = self.keys.number(hash);
        if is_new {
            self.slidings.begin(number, self.keys.numbers());
        }
        number
    }

    /// Takes rows out of what a key's next row sees: those up to a time, and the first ones until there are no more than `most`.
    fn evict(&mut self, number: u32, up_to: i64, most: usize, gone: &mut Vec<u32>) -> Result<()> {
        let frame = &mut self.keys.get_mut(number).frame;
        let mut is_back_changed = false;
        while let Some(first) = frame.first() {
            if self.held.time(first) > up_to && frame.len() <= most {
                break;
            }
            is_back_changed |= frame.pop().is_some_and(|(_, is_of_back)| is_of_back);
            gone.push(first);
        }
        if is_back_changed {
            frame.turn();
            self.slidings.turn(number, frame)?;
        }
        Ok(())
    }

    /// Lets go what nobody sees any more: rows up to that time.
    pub(super) fn expire(&mut self, up_to: i64) -> Result<()> {
        let mut gone = Vec::new();
        while let Some((time, row)) = self.answered.front().copied().filter(|(time, _)| *time <= up_to) {
            self.answered.pop_front();
            if !self.held.is_held(row) {
                continue;
            }
            let Some(number) = self.keys.find(self.held.hash(row.slot)) else { continue };
            self.evict(number, time, usize::MAX, &mut gone)?;
            gone.drain(..).for_each(|slot| self.let_go(slot));
            if self.keys.get(number).frame.is_empty() {
                self.keys.remove(number);
            }
        }
        self.held.tidy(&self.layout);
        Ok(())
    }
}
