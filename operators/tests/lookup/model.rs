//! Random rows, questions, answers, barriers, crashes and rescales, and a recount in plain words: a row is answered at once by what
//! is remembered, or by the next answer about its key.

use super::{CacheConfig, Told, answer, config, keys, numbers, operator, rows, values};
use arrow::array::{AsArray, UInt32Array};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use weir_engine::{
    element::Port,
    hash::KeyHasher,
    key_group::{key_group_of, range_of, subtask_of},
    operator::{Collector, OperatorContext},
    testing::OperatorHarness,
};
use weir_operators::ports;

/// Keys from 0 to 9; of the first nothing is known, and about the second there is no answer.
type Key = u8;

#[derive(Clone, Debug)]
enum Step {
    Rows(Vec<Option<Key>>),
    /// The one of the open questions that is at this place, modulo their number.
    Answer(usize),
    Release(u64),
    Time(i64),
    Barrier,
    Crash(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = prop_oneof![9 => (0..10_u8).prop_map(Some), 1 => Just(None)];
    let step = prop_oneof![
        4 => prop::collection::vec(key, 1..12).prop_map(Step::Rows),
        8 => any::<usize>().prop_map(Step::Answer),
        4 => (1..20_u64).prop_map(Step::Release),
        2 => (1..60_i64).prop_map(Step::Time),
        2 => Just(Step::Barrier),
        1 => (1..4_usize).prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 1..80)
}

/// What a row must come out with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Value(i64),
    Nothing,
    DeadLetter,
}

/// The recount. It knows of no pieces, places or segments.
#[derive(Clone, Debug, Default)]
struct Recount {
    fates: BTreeMap<i64, Fate>,
    open: Vec<(i64, Key)>,
    /// By key: what was told last, and when. `None`: that nothing is known.
    remembered: BTreeMap<Key, (Option<i64>, i64)>,
    came: Vec<(i64, Option<Key>)>,
}

impl Recount {
    fn row(&mut self, n: i64, key: Option<Key>, now: i64, ttl: Option<i64>) {
        self.came.push((n, key));
        match key {
            None => {
                self.fates.insert(n, Fate::Nothing);
            }
            Some(key) => self.settle_or_wait(n, key, now, ttl),
        }
    }

    fn settle_or_wait(&mut self, n: i64, key: Key, now: i64, ttl: Option<i64>) {
        match (self.remembered.get(&key), ttl) {
            (Some((told, at)), Some(ttl)) if at + ttl > now => {
                self.fates.insert(n, told.map_or(Fate::Nothing, Fate::Value));
            }
            _ => self.open.push((n, key)),
        }
    }

    fn told(&mut self, key: Key, fate: &Fate, now: i64) {
        let (answered, open) = self.open.drain(..).partition(|(_, other)| *other == key);
        self.open = open;
        let answered: Vec<(i64, Key)> = answered;
        self.fates.extend(answered.into_iter().map(|(n, _)| (n, fate.clone())));
        match fate {
            Fate::Value(value) => self.remembered.insert(key, (Some(*value), now)),
            Fate::Nothing => self.remembered.insert(key, (None, now)),
            Fate::DeadLetter => None,
        };
    }
}

struct Run {
    harnesses: Vec<OperatorHarness>,
    context: OperatorContext,
    in_flight: u32,
    cache: Option<CacheConfig>,
    now: i64,
    /// Of each subtask: question, key.
    open: Vec<Vec<(u64, Key)>>,
    next_value: i64,
    next_row: i64,
    recount: Recount,
    /// What has come out, in its order, of each subtask of this attempt; and what its checkpoint holds of that.
    out: Vec<(i64, Fate)>,
    /// The recount and the number of rows that had come out at the last barrier.
    at_barrier: (Recount, usize, i64),
}

impl Run {
    fn new(in_flight: u32, cache: Option<CacheConfig>) -> Self {
        let mut run = Run {
            harnesses: Vec::new(),
            context: OperatorContext::single("job", "lookup.ads"),
            in_flight,
            cache,
            now: 1_000,
            open: Vec::new(),
            next_value: 100,
            next_row: 0,
            recount: Recount::default(),
            out: Vec::new(),
            at_barrier: (Recount::default(), 0, 0),
        };
        run.start(1);
        run
    }

    fn ttl(&self) -> Option<i64> {
        self.cache.map(|cache| cache.ttl_ms)
    }

    fn start(&mut self, parallelism: usize) {
        let max = self.context.max_parallelism;
        let state: Vec<_> = self.harnesses.iter().map(|harness| harness.segments().clone()).collect();
        let make = |at| {
            let key_groups = range_of(at, max, parallelism);
            let context = OperatorContext { subtask: at, parallelism, key_groups, ..self.context.clone() };
            let operator = Box::new(operator(config(self.in_flight, self.cache), &context));
            OperatorHarness::restored(operator, key_groups, &state).unwrap()
        };
        self.harnesses = (0..parallelism).map(make).collect();
        self.open = vec![Vec::new(); parallelism];
        let waiting: u64 = self.harnesses.iter_mut().map(|harness| harness.lookup().unwrap().waiting()).sum();
        assert_eq!(waiting as usize, self.at_barrier.0.came.len() - self.at_barrier.1);
    }

    /// Every loop of a subtask begins like this.
    fn ask(&mut self) {
        for (harness, open) in self.harnesses.iter_mut().zip(&mut self.open) {
            let lookup = harness.lookup().unwrap();
            lookup.set_time(self.now);
            for question in lookup.questions().unwrap() {
                let [key] = <[String; 1]>::try_from(keys(&question.keys)).unwrap();
                open.push((question.number, key.parse().unwrap()));
            }
            let asked: BTreeSet<Key> = open.iter().map(|(_, key)| *key).collect();
            assert_eq!(asked.len(), open.len(), "a key is asked about twice at once");
            assert!(open.len() <= self.in_flight as usize);
        }
        // Nobody is idle while somebody waits.
        let open: usize = self.open.iter().map(Vec::len).sum();
        assert!(open > 0 || self.recount.open.is_empty());
    }

    fn rows(&mut self, keys: &[Option<Key>]) {
        let ttl = self.ttl();
        let mut came = Vec::new();
        for key in keys {
            self.recount.row(self.next_row, *key, self.now, ttl);
            came.push((self.next_row, key.map(|key| key.to_string())));
            self.next_row += 1;
        }
        let batch = rows(&came);
        let hashes = KeyHasher::new(vec!["ad".into()]).hash(&batch.columns).unwrap();
        let (max, parallelism) = (self.context.max_parallelism, self.harnesses.len());
        for (at, harness) in self.harnesses.iter_mut().enumerate() {
            let is_own = |row: &u32| subtask_of(key_group_of(hashes[*row as usize], max), max, parallelism) == at;
            let own: Vec<u32> = (0..batch.len() as u32).filter(is_own).collect();
            assert!(harness.process(batch.take(&UInt32Array::from(own)).unwrap()).unwrap().is_empty());
        }
    }

    fn answer(&mut self, which: usize) {
        let all: Vec<(usize, usize)> =
            self.open.iter().enumerate().flat_map(|(at, open)| (0..open.len()).map(move |place| (at, place))).collect();
        let Some((at, place)) = all.get(which.checked_rem(all.len()).unwrap_or(0)).copied() else { return };
        let (question, key) = self.open[at].remove(place);
        self.next_value += 1;
        let (told, fate) = match key {
            0 => (Told::Missing, Fate::Nothing),
            1 => (Told::Failed, Fate::DeadLetter),
            _ => (Told::Value(self.next_value), Fate::Value(self.next_value)),
        };
        self.recount.told(key, &fate, self.now);
        self.harnesses[at].lookup().unwrap().answer(question, &answer(told)).unwrap();
    }

    fn release(&mut self, at_most: u64) -> u64 {
        let mut all = 0;
        for at in 0..self.harnesses.len() {
            let mut collector = Collector::default();
            let released = self.harnesses[at].lookup().unwrap().release(at_most, &mut collector).unwrap();
            assert!(released <= at_most);
            let out = collector.drain();
            assert_eq!(out.iter().map(|(_, batch)| batch.len() as u64).sum::<u64>(), released);
            let mut came = Vec::new();
            for (port, batch) in out {
                if port == Port::MAIN {
                    let watermarks = batch.split_watermarks.as_ref().unwrap();
                    for ((n, value), watermark) in
                        numbers(&batch.columns).into_iter().zip(values(&batch.columns)).zip(watermarks)
                    {
                        assert_eq!(*watermark, n * 100, "what travels with a row");
                        came.push((n, value.map_or(Fate::Nothing, Fate::Value)));
                    }
                } else {
                    assert_eq!(port, ports::DEAD_LETTERS);
                    let raw = batch.columns.column_by_name("raw").unwrap().as_string::<i32>().clone();
                    let n = |row: Option<&str>| {
                        row.unwrap().trim_start_matches("{\"n\":").split(',').next().unwrap().parse().unwrap()
                    };
                    came.extend(raw.iter().map(|row| (n(row), Fate::DeadLetter)));
                }
            }
            // On two ports there is no order between them.
            came.sort_by_key(|(n, _)| *n);
            all += released;
            self.out.extend(came);
        }
        all
    }

    fn barrier(&mut self) {
        for harness in &mut self.harnesses {
            assert!(harness.barrier().unwrap().is_empty());
        }
        self.at_barrier = (self.recount.clone(), self.out.len(), self.next_row);
    }

    /// All since the last barrier did not happen; rows come again.
    fn crash(&mut self, parallelism: usize) {
        let (recount, out, next_row) = self.at_barrier.clone();
        let came_since = self.recount.came.split_off(recount.came.len());
        self.recount = recount;
        self.out.truncate(out);
        self.next_row = next_row;
        self.start(parallelism);
        // What waited is asked for again, unless it is remembered.
        let ttl = self.ttl();
        for (n, key) in std::mem::take(&mut self.recount.open) {
            self.recount.settle_or_wait(n, key, self.now, ttl);
        }
        self.ask();
        self.rows(&came_since.into_iter().map(|(_, key)| key).collect::<Vec<_>>());
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Rows(keys) => self.rows(keys),
            Step::Answer(which) => self.answer(*which),
            Step::Release(at_most) => {
                self.release(*at_most);
            }
            Step::Time(ms) => self.now += ms,
            Step::Barrier => self.barrier(),
            Step::Crash(parallelism) => self.crash(*parallelism),
        }
        self.ask();
        self.check();
    }

    /// What has come out is what is told, each row once; those of a key in their order.
    fn check(&self) {
        let mut seen: BTreeMap<Option<Key>, i64> = BTreeMap::new();
        for (n, fate) in &self.out {
            assert_eq!(self.recount.fates.get(n), Some(fate), "row {n}");
            let (_, key) = self.recount.came[*n as usize];
            let before = seen.insert(key, *n);
            assert!(before.is_none_or(|before| before < *n), "row {n} of {key:?} after {before:?}");
        }
    }

    fn finish(mut self, alone: bool) {
        while self.out.len() < self.recount.came.len() {
            self.answer(0);
            self.release(u64::MAX);
            self.ask();
        }
        self.check();
        if alone {
            let order: Vec<i64> = self.out.iter().map(|(n, _)| *n).collect();
            assert!(order.is_sorted(), "all in the order in which they came: {order:?}");
        }
        self.barrier();
        let rows_left = self
            .harnesses
            .iter()
            .flat_map(|harness| harness.segments().keys())
            .filter(|id| id.starts_with("rows"))
            .count();
        assert_eq!(rows_left, 0, "nothing waits");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_comes_out_is_the_recount(
        steps in steps(),
        in_flight in 1..5_u32,
        ttl_ms in prop_oneof![Just(None), (1..100_i64).prop_map(Some), Just(Some(1_000_000))],
    ) {
        let alone = !steps.iter().any(|step| matches!(step, Step::Crash(parallelism) if *parallelism > 1));
        let mut run = Run::new(in_flight, ttl_ms.map(|ttl_ms| CacheConfig { ttl_ms, size: 1_000 }));
        steps.iter().for_each(|step| run.step(step));
        run.finish(alone);
    }
}
