//! A join of two streams of numbers, made for the purpose, and what it should give.
//!
//! `left` → join.0 and `right` → relay → join.1: so what comes on the first input comes from sources, what comes on the second
//! from behind a gate, and the two are spread by columns of their own.

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use futures::future::BoxFuture;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use weir_engine::{
    Result,
    element::{Batch, Port},
    graph::{CheckpointSettings, JobGraph, Node, NodeRole, Partitioner},
    hash::hash_integer,
    ids::CheckpointId,
    key_group::{KeyGroupRange, key_group_of},
    operator::{Collector, Operator, OperatorContext, Source, SourceEvent, SplitState},
    state::{Change, Segment, Snapshot, StateRows},
};

const KEYS: i64 = 5;
const SPLITS: i64 = 4;
/// How far the numbers of a pair may be apart.
pub const REACH: i64 = 6;
/// In the place of a number, where there is none.
pub const NONE: i64 = -1;

/// What the join gives: a key, and the two numbers of a pair, or one that has no other.
pub type Joined = [i64; 3];

/// The two streams: as many numbers as each has.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    pub left: i64,
    pub right: i64,
    /// The right one does not end: it falls silent.
    pub is_followed: bool,
}

fn left_key(number: i64) -> i64 {
    number % KEYS
}

fn right_key(number: i64) -> i64 {
    number * 3 % KEYS
}

impl Streams {
    pub fn bounded(left: i64, right: i64) -> Self {
        Streams { left, right, is_followed: false }
    }

    pub fn job(self, parallelism: usize) -> JobGraph {
        let mut job = JobGraph::new("job");
        job.checkpoint = CheckpointSettings { interval_ms: 3, retain: 2 };
        let mut add = |id: &str, kind: &str, role, config| {
            job.add_node(Node { id: id.into(), kind: kind.into(), role, parallelism, config })
        };
        let numbers = |side: &str, numbers, is_followed| {
            let config = serde_json::json!({ "side": side, "numbers": numbers, "is_followed": is_followed });
            (config, NodeRole::Source)
        };
        let (left, source) = numbers("left", self.left, false);
        let left = add("left", "numbers", source, left);
        let (right, source) = numbers("right", self.right, self.is_followed);
        let right = add("right", "numbers", source, right);
        let relay = add("relay", "relay", NodeRole::Operator, serde_json::Value::Null);
        let join = add("join", "join", NodeRole::Operator, serde_json::Value::Null);
        let sink = add("joined", "sink", NodeRole::Sink, serde_json::Value::Null);
        let by = |key: &str| Partitioner::Hash { key: vec![key.into()] };
        job.add_edge_into(left, Port::MAIN, (join, 0), by("left_key"));
        job.add_edge(right, Port::MAIN, relay, by("right"));
        job.add_edge_into(relay, Port::MAIN, (join, 1), by("right_key"));
        job.add_edge(join, Port::MAIN, sink, Partitioner::Forward);
        job
    }

    /// What the join gives in the end, in order.
    pub fn expected(self) -> Vec<Joined> {
        let mut joined = Vec::new();
        let is_pair = |left: i64, right: i64| left_key(left) == right_key(right) && (left - right).abs() <= REACH;
        for left in 0..self.left {
            let pairs = (0..self.right).filter(|right| is_pair(left, *right));
            joined.extend(pairs.map(|right| [left_key(left), left, right]));
            if !(0..self.right).any(|right| is_pair(left, right)) {
                joined.push([left_key(left), left, NONE]);
            }
        }
        let alone = (0..self.right).filter(|right| !(0..self.left).any(|left| is_pair(left, *right)));
        joined.extend(alone.map(|right| [right_key(right), NONE, right]));
        joined.sort_unstable();
        joined
    }
}

/// Four splits; split s holds the numbers n with n % 4 = s. A number is its event time.
pub struct Numbers {
    is_left: bool,
    end: i64,
    is_followed: bool,
    context: OperatorContext,
    splits: BTreeMap<i64, i64>,
    turn: usize,
    told: Option<i64>,
    is_silent: bool,
}

impl Numbers {
    pub fn new(node: &Node, context: OperatorContext) -> Self {
        Numbers {
            is_left: node.config["side"] == "left",
            end: node.config["numbers"].as_i64().unwrap(),
            is_followed: node.config["is_followed"].as_bool().unwrap(),
            context,
            splits: BTreeMap::new(),
            turn: 0,
            told: None,
            is_silent: false,
        }
    }

    fn at_end(&mut self) -> SourceEvent {
        match self.is_followed {
            true => {
                self.is_silent = true;
                SourceEvent::Idle
            }
            false => SourceEvent::EndOfInput,
        }
    }

    fn event(&mut self) -> SourceEvent {
        let time = self.splits.values().copied().min();
        if time > self.told {
            self.told = time;
            return time.map_or_else(|| self.at_end(), SourceEvent::Watermark);
        }
        let end = self.end;
        let mut open: Vec<&mut i64> = self.splits.values_mut().filter(|next| **next < end).collect();
        if open.is_empty() {
            return self.at_end();
        }
        self.turn += 1;
        let turn = self.turn % open.len();
        let numbers: Vec<i64> = (*open[turn]..end).step_by(SPLITS as usize).take(5).collect();
        *open[turn] += SPLITS * numbers.len() as i64;
        let (names, key): (_, fn(i64) -> i64) = match self.is_left {
            true => (["left_key", "left"], left_key),
            false => (["right_key", "right"], right_key),
        };
        let keys = numbers.iter().map(|number| key(*number)).collect();
        SourceEvent::Rows(Port::MAIN, Batch::new(rows(&names, vec![keys, numbers])))
    }
}

impl Source for Numbers {
    fn restore(&mut self, states: Vec<SplitState>) -> BoxFuture<'_, Result<()>> {
        for split in (0..SPLITS).filter(|split| *split as usize % self.context.parallelism == self.context.subtask) {
            let state = states.iter().find(|state| state.id == split.to_string());
            self.splits.insert(split, state.map_or(split, |state| state.state.as_i64().unwrap()));
        }
        Box::pin(async { Ok(()) })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<SourceEvent>> {
        Box::pin(async {
            if self.is_silent {
                std::future::pending::<()>().await;
            }
            self.context.env.sleep(Duration::from_micros(100)).await;
            Ok(self.event())
        })
    }

    fn snapshot(&mut self) -> Result<Vec<SplitState>> {
        let state = |(split, next): (&i64, &i64)| SplitState { id: split.to_string(), state: (*next).into() };
        Ok(self.splits.iter().map(state).collect())
    }
}

/// Sends on what comes.
pub struct Relay;

impl Operator for Relay {
    fn process(&mut self, input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        assert_eq!(input, 0, "it has one input");
        out.emit(Port::MAIN, batch);
        Ok(())
    }
}

/// Pairs of rows of its two inputs that have one key and are not far apart; and those that have no other, as soon as event time
/// says that none can come.
#[derive(Default)]
pub struct Join {
    /// By input, key and number: whether it was paired.
    held: BTreeMap<(usize, i64, i64), bool>,
    unsaved: bool,
}

fn joined(key: i64, input: usize, own: i64, other: i64) -> Joined {
    if input == 0 { [key, own, other] } else { [key, other, own] }
}

fn emit(joined: &[Joined], out: &mut Collector) {
    let column = |index: usize| joined.iter().map(|row| row[index]).collect();
    out.emit(Port::MAIN, Batch::new(rows(&["key", "left", "right"], (0..3).map(column).collect())));
}

impl Operator for Join {
    fn process(&mut self, input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let mut pairs = Vec::new();
        self.unsaved = true;
        for row in values(&batch.columns) {
            let (key, own) = (row[0], row[1]);
            let within = (1 - input, key, own - REACH)..=(1 - input, key, own + REACH);
            let mut is_paired = false;
            for ((_, _, other), paired) in self.held.range_mut(within) {
                (is_paired, *paired) = (true, true);
                pairs.push(joined(key, input, own, *other));
            }
            assert!(self.held.insert((input, key, own), is_paired).is_none(), "{input}: {own} came twice");
        }
        emit(&pairs, out);
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        let over: Vec<_> =
            self.held.iter().filter(|((.., number), _)| number.saturating_add(REACH) < watermark).collect();
        let alone: Vec<Joined> = over
            .iter()
            .filter(|(_, paired)| !**paired)
            .map(|((input, key, number), _)| joined(*key, *input, *number, NONE))
            .collect();
        self.unsaved |= !over.is_empty();
        self.held.retain(|(.., number), _| number.saturating_add(REACH) >= watermark);
        emit(&alone, out);
        Ok(())
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Snapshot> {
        let change = match std::mem::take(&mut self.unsaved) {
            true => {
                let row = |((input, key, number), paired): (&(usize, i64, i64), &bool)| {
                    [*input as i64, *key, *number, i64::from(*paired)]
                };
                let all: Vec<[i64; 4]> = self.held.iter().map(row).collect();
                let column = |index: usize| all.iter().map(|row| row[index]).collect();
                let names = ["input", "key", "number", "paired"];
                Change::Replace(StateRows::ready(vec![rows(&names, (0..4).map(column).collect())]))
            }
            false if self.held.is_empty() => return Ok(Snapshot::default()),
            false => Change::Unchanged,
        };
        Ok(Snapshot { segments: vec![Segment { id: "held".into(), change }] })
    }

    fn restore(&mut self, _: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        for row in values(rows) {
            let (input, key, number) = (row[0] as usize, row[1], row[2]);
            if key_groups.contains(key_group_of(hash_integer(key), 128)) {
                assert!(self.held.insert((input, key, number), row[3] == 1).is_none(), "a row is restored once");
            }
        }
        Ok(())
    }
}

fn rows(names: &[&str], columns: Vec<Vec<i64>>) -> RecordBatch {
    let columns = columns.into_iter().map(|values| Arc::new(Int64Array::from(values)) as ArrayRef);
    RecordBatch::try_from_iter(names.iter().copied().zip(columns)).unwrap()
}

/// Row by row.
pub fn values(batch: &RecordBatch) -> Vec<Vec<i64>> {
    let column = |column: &ArrayRef| column.as_primitive::<Int64Type>().values().to_vec();
    let columns: Vec<Vec<i64>> = batch.columns().iter().map(column).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row]).collect()).collect()
}
