//! What was answered, for as long as it is taken for true: in pieces, each a segment of the state that only grows, and that is
//! dropped whole when nothing in it counts any more.

use super::{answer::Outcome, config::CacheConfig};
use arrow::record_batch::RecordBatch;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

/// So many pieces has a full cache, about: as much of its age, or of its size, is dropped at once.
const PIECES: i64 = 8;

/// An answer that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub outcome: Outcome,
    /// The keys of its question, and the row there.
    pub keys: Arc<RecordBatch>,
    pub row: u32,
    /// When it came, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// A piece of the cache.
#[derive(Debug, Default)]
pub(super) struct CachePiece {
    /// What no checkpoint holds yet.
    pub fresh: Vec<Remembered>,
    /// Whether one holds the rest.
    pub is_stored: bool,
    /// When its first answer came.
    opened_ms: i64,
    /// How many answers came to it, and how many of them still count.
    total: usize,
    live: usize,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    config: CacheConfig,
    known: HashMap<u128, (Remembered, u64)>,
    /// Keys in the order of their answers; an entry counts if its answer is the key's newest.
    order: VecDeque<(u128, i64)>,
    pieces: BTreeMap<u64, CachePiece>,
    /// The piece that new answers go to.
    current: Option<u64>,
    next: u64,
}

impl Cache {
    pub fn new(config: CacheConfig) -> Self {
        Cache { config, known: HashMap::new(), order: VecDeque::new(), pieces: BTreeMap::new(), current: None, next: 0 }
    }

    /// What is taken for true about a key now.
    pub fn get(&self, hash: u128, now_ms: i64) -> Option<&Outcome> {
        let (remembered, _) = self.known.get(&hash)?;
        (self.expiry(remembered.at_ms) > now_ms).then_some(&remembered.outcome)
    }

    fn expiry(&self, at_ms: i64) -> i64 {
        at_ms.saturating_add(self.config.ttl_ms)
    }

    /// Remembers an answer.
    pub fn remember(&mut self, hash: u128, answer: Remembered) {
        let number = self.open_piece(answer.at_ms);
        if let Some(piece) = self.pieces.get_mut(&number) {
            piece.fresh.push(answer.clone());
        }
        self.add(hash, answer, number);
        self.shrink();
    }

    /// The piece for an answer that came now.
    fn open_piece(&mut self, now_ms: i64) -> u64 {
        let (most, age_ms) = (self.config.size as usize / PIECES as usize + 1, self.config.ttl_ms / PIECES);
        if let Some(number) = self.current
            && let Some(piece) = self.pieces.get(&number)
            && piece.total < most
            && (piece.opened_ms..=piece.opened_ms.saturating_add(age_ms)).contains(&now_ms)
        {
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.pieces.insert(number, CachePiece { opened_ms: now_ms, ..CachePiece::default() });
        self.current = Some(number);
        number
    }

    fn add(&mut self, hash: u128, answer: Remembered, number: u64) {
        self.order.push_back((hash, answer.at_ms));
        let before = self.known.insert(hash, (answer, number));
        if let Some((_, former)) = before {
            self.forget_in(former);
        }
        if let Some(piece) = self.pieces.get_mut(&number) {
            piece.total += 1;
            piece.live += 1;
        }
    }

    fn forget_in(&mut self, number: u64) {
        if let Some(piece) = self.pieces.get_mut(&number) {
            piece.live -= 1;
        }
    }

    /// Forgets what is too old, at a moment.
    pub fn expire(&mut self, now_ms: i64) {
        while let Some((hash, at_ms)) = self.order.front().copied() {
            if self.expiry(at_ms) > now_ms {
                break;
            }
            self.order.pop_front();
            self.forget(hash, at_ms);
        }
    }

    fn shrink(&mut self) {
        while self.known.len() > self.config.size as usize
            && let Some((hash, at_ms)) = self.order.pop_front()
        {
            self.forget(hash, at_ms);
        }
    }

    fn forget(&mut self, hash: u128, at_ms: i64) {
        if self.known.get(&hash).is_some_and(|(newest, _)| newest.at_ms == at_ms)
            && let Some((_, number)) = self.known.remove(&hash)
        {
            self.forget_in(number);
        }
    }

    /// The pieces that still count, by their numbers; the others are gone.
    pub fn pieces(&mut self) -> impl Iterator<Item = (u64, &mut CachePiece)> {
        self.pieces.retain(|_, piece| piece.live > 0);
        self.pieces.iter_mut().map(|(number, piece)| (*number, piece))
    }

    /// Takes over answers of a stored piece.
    pub fn restore(&mut self, number: u64, answers: Vec<(u128, Remembered)>) {
        self.next = self.next.max(number + 1);
        let opened_ms = answers.iter().map(|(_, answer)| answer.at_ms).min().unwrap_or_default();
        let piece = self.pieces.entry(number).or_insert(CachePiece { opened_ms, ..CachePiece::default() });
        piece.is_stored = true;
        for (hash, answer) in answers {
            // The same key may have been answered again in another piece.
            if self.known.get(&hash).is_none_or(|(known, _)| known.at_ms < answer.at_ms) {
                self.add(hash, answer, number);
            }
        }
    }

    /// All stored pieces are there.
    pub fn has_restored(&mut self) {
        self.order.make_contiguous().sort_by_key(|(hash, at_ms)| (*at_ms, *hash));
        self.shrink();
    }
}
