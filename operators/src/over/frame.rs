//! The rows of a key that the next row may see, in order, and what is known of the key beside them.

use hashbrown::HashMap;
use std::collections::VecDeque;

/// Rows in order, the earliest first: those of the front, then those of the back.
#[derive(Debug, Default)]
pub(super) struct Frame {
    rows: VecDeque<u32>,
    front: usize,
}

impl Frame {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn slots(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.rows.iter().copied()
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.rows.front().copied()
    }

    pub(super) fn last(&self) -> Option<u32> {
        self.rows.back().copied()
    }

    pub(super) fn first_of_front(&self) -> Option<u32> {
        self.first().filter(|_| self.front > 0)
    }

    /// The row so many before another one, given by its position.
    pub(super) fn before(&self, position: usize, rows: u32) -> Option<u32> {
        position.checked_sub(rows as usize).and_then(|position| self.rows.get(position)).copied()
    }

    /// Adds a row to the back.
    pub(super) fn push(&mut self, slot: u32) {
        self.rows.push_back(slot);
    }

    /// Takes the first row out. Whether it was one of the back, so that the back is not what it was.
    pub(super) fn pop(&mut self) -> Option<(u32, bool)> {
        let slot = self.rows.pop_front()?;
        let is_of_back = self.front == 0;
        self.front = self.front.saturating_sub(1);
        Some((slot, is_of_back))
    }

    /// All rows are the front.
    pub(super) fn turn(&mut self) {
        self.front = self.rows.len();
    }
}

/// What is known of a key.
#[derive(Debug, Default)]
pub(super) struct Key {
    pub(super) hash: u128,
    pub(super) frame: Frame,
    /// The event time of its last row.
    pub(super) last: i64,
    /// Whether the condition was true of that.
    pub(super) holds: bool,
    /// Whether that became known since the last checkpoint.
    pub(super) is_news: bool,
}

/// The keys that have rows, by number; numbers are used again.
#[derive(Debug, Default)]
pub(super) struct Keys {
    numbers: HashMap<u128, u32>,
    keys: Vec<Key>,
    free: Vec<u32>,
}

impl Keys {
    /// The number of a key, and whether it is new.
    pub(super) fn number(&mut self, hash: u128) -> (u32, bool) {
        if let Some(number) = self.numbers.get(&hash) {
            return (*number, false);
        }
        let number = self.free.pop().unwrap_or(self.keys.len() as u32);
        let key = Key { hash, last: i64::MIN, ..Key::default() };
        match self.keys.get_mut(number as usize) {
            Some(free) => *free = key,
            None => self.keys.push(key),
        }
        self.numbers.insert(hash, number);
        (number, true)
    }

    pub(super) fn find(&self, hash: u128) -> Option<u32> {
        self.numbers.get(&hash).copied()
    }

    pub(super) fn get(&self, number: u32) -> &Key {
        &self.keys[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Key {
        &mut self.keys[number as usize]
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, number: u32) {
        let key = std::mem::take(&mut self.keys[number as usize]);
        self.numbers.remove(&key.hash);
        self.free.push(number);
    }

    /// How many numbers there are, free ones included.
    pub(super) fn numbers(&self) -> usize {
        self.keys.len()
    }
}
