//! What is stored: what changed, and not more than there is to remember.

use super::{CacheConfig, Told, answer, config, keys, operator, rows};
use std::collections::BTreeSet;
use weir_engine::{
    ids::CheckpointId,
    operator::{Collector, Lookup, Operator, OperatorContext},
    state::Change,
};
use weir_operators::lookup::LookupOperator;

struct Alone {
    operator: LookupOperator,
    next: i64,
    now: i64,
}

/// What a snapshot does to segments.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stored {
    unchanged: usize,
    rows: usize,
    segments: BTreeSet<String>,
}

impl Alone {
    fn new(cache: Option<CacheConfig>) -> Self {
        let context = OperatorContext::single("job", "lookup.ads");
        Alone { operator: operator(config(1_000_000, cache), &context), next: 0, now: 0 }
    }

    fn rows(&mut self, keys: impl IntoIterator<Item = i64>) {
        let mut came = Vec::new();
        for key in keys {
            came.push((self.next, Some(key.to_string())));
            self.next += 1;
        }
        self.operator.set_time(self.now);
        self.operator.process(0, rows(&came), &mut Collector::default()).unwrap();
    }

    /// Asks, and answers about the keys that are wanted.
    fn answer(&mut self, is_wanted: impl Fn(&str) -> bool) -> usize {
        self.operator.set_time(self.now);
        let questions = self.operator.questions().unwrap();
        let mut asked = 0;
        for question in questions {
            asked += 1;
            if is_wanted(&keys(&question.keys)[0]) {
                self.operator.answer(question.number, &answer(Told::Value(7))).unwrap();
            }
        }
        asked
    }

    fn release(&mut self) {
        while self.operator.release(u64::MAX, &mut Collector::default()).unwrap() > 0 {}
    }

    fn snapshot(&mut self) -> Stored {
        self.operator.set_time(self.now);
        let mut stored = Stored::default();
        for segment in self.operator.snapshot(CheckpointId(1)).unwrap().segments {
            assert!(stored.segments.insert(segment.id), "a segment twice");
            match segment.change {
                Change::Unchanged => stored.unchanged += 1,
                Change::Append(rows) | Change::Replace(rows) => {
                    stored.rows += rows.into_batches().unwrap().iter().map(|rows| rows.num_rows()).sum::<usize>();
                }
            }
        }
        stored
    }
}

#[test]
fn a_checkpoint_writes_the_pieces_of_waiting_rows_that_something_happened_to() {
    let mut alone = Alone::new(None);
    alone.rows(0..20_000);
    assert_eq!(alone.snapshot().rows, 20_000);
    assert_eq!((alone.snapshot().rows, alone.snapshot().unchanged), (0, 5), "nothing has happened");
    alone.answer(|key| key == "5000");
    assert_eq!(alone.snapshot().rows, 4_096, "that of the row");
    alone.rows([1]);
    assert_eq!(alone.snapshot().rows, 1, "what came");
}

#[test]
fn small_batches_share_segments() {
    let mut alone = Alone::new(None);
    for key in 0..5_000 {
        alone.rows([key]);
        if key % 100 == 0 {
            let written = alone.snapshot().rows;
            assert!(written <= 100, "what came since the last one: {written}");
        }
    }
    assert_eq!(alone.snapshot().segments.len(), 2);
    alone.answer(|key| key == "0");
    alone.release();
    assert_eq!(alone.snapshot().rows, 4_095, "what is left of the first");
    assert_eq!(alone.snapshot().rows, 0);
}

#[test]
fn a_checkpoint_writes_the_answers_since_the_last_one() {
    let mut alone = Alone::new(Some(CacheConfig { ttl_ms: 1_000_000, size: 100_000 }));
    alone.rows(0..1_000);
    alone.answer(|_| true);
    alone.release();
    assert_eq!(alone.snapshot().rows, 1_000);
    assert_eq!(alone.snapshot().rows, 0);
    alone.rows(990..1_010);
    assert_eq!(alone.answer(|_| true), 10, "the others are remembered");
    alone.release();
    assert_eq!(alone.snapshot().rows, 10);
}

#[test]
fn what_is_remembered_has_an_age_and_a_size_in_state_too() {
    let mut alone = Alone::new(Some(CacheConfig { ttl_ms: 800, size: 100_000 }));
    let mut most = 0;
    for round in 0..100 {
        alone.now = round * 50;
        alone.rows(round * 10..round * 10 + 10);
        alone.answer(|_| true);
        alone.release();
        most = most.max(alone.snapshot().segments.len());
    }
    assert!((6..=10).contains(&most), "pieces of an eighth of the age: {most}");
    alone.now += 801;
    assert_eq!(alone.snapshot(), Stored::default(), "all of it is too old");

    let mut alone = Alone::new(Some(CacheConfig { ttl_ms: 1_000_000, size: 80 }));
    for round in 0..100 {
        alone.rows(round * 10..round * 10 + 10);
        alone.answer(|_| true);
        alone.release();
        most = alone.snapshot().segments.len();
    }
    assert!((8..=10).contains(&most), "pieces of an eighth of the size: {most}");
    alone.rows(920..1_000);
    assert_eq!(alone.answer(|_| true), 0, "the newest are there");
    alone.rows(900..920);
    assert_eq!(alone.answer(|_| true), 20, "the oldest have gone first");
}

#[test]
fn it_is_full_when_many_wait() {
    let mut alone = Alone::new(None);
    alone.operator = operator(config(10, None), &OperatorContext::single("job", "lookup.ads"));
    alone.rows(0..16_383);
    assert!(!alone.operator.is_full());
    alone.rows([0]);
    assert!(alone.operator.is_full());
    for _ in 0..3 {
        alone.answer(|_| true);
        alone.release();
    }
    assert!(!alone.operator.is_full());
}
