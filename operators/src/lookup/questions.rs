//! The keys that are asked about: each once, however many rows wait for it, and so many at once.

use super::waiting::Place;
use arrow::record_batch::RecordBatch;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What was asked, and not answered yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub hashes: Vec<u128>,
    pub keys: Arc<RecordBatch>,
}

/// Keys without an answer.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// The rows that wait for each, by its hash.
    open: HashMap<u128, Vec<Place>>,
    /// Those that are still to be asked, each with a row that has it.
    queue: VecDeque<(u128, Place)>,
    asked: HashMap<u64, Asked>,
    next: u64,
    in_flight: usize,
}

impl Questions {
    /// A row waits for its key.
    pub fn want(&mut self, hash: u128, place: Place) {
        let places = self.open.entry(hash).or_default();
        if places.is_empty() {
            self.queue.push_back((hash, place));
        }
        places.push(place);
    }

    /// The next keys to be asked about: at most so many of a question, and so many in all.
    pub fn take(&mut self, most: usize, in_flight: usize) -> Vec<(u128, Place)> {
        let room = in_flight.saturating_sub(self.in_flight).min(most).min(self.queue.len());
        self.in_flight += room;
        self.queue.drain(..room).collect()
    }

    /// Notes that they are asked about. Returns the number of the question.
    pub fn ask(&mut self, hashes: Vec<u128>, keys: Arc<RecordBatch>) -> u64 {
        self.next += 1;
        self.asked.insert(self.next, Asked { hashes, keys });
        self.next
    }

    /// A question is answered.
    pub fn answered(&mut self, question: u64) -> Option<Asked> {
        let asked = self.asked.remove(&question)?;
        self.in_flight -= asked.hashes.len();
        Some(asked)
    }

    /// The rows that have waited for a key.
    pub fn close(&mut self, hash: u128) -> Vec<Place> {
        self.open.remove(&hash).unwrap_or_default()
    }
}
