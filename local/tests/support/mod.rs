//! A job of test operators: numbers → (all of them to a sink) and → sums by key → a sink.

use arrow::{
    array::{AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use weir_engine::{
    Result,
    checkpoint::CheckpointStore,
    element::{Barrier, Batch, Origin, Port, WATERMARK_MAX},
    env::Env,
    error::EngineError,
    graph::{CheckpointSettings, JobGraph, Node, NodeRole, Partitioner},
    hash::hash_integer,
    ids::{CheckpointId, Lineage},
    key_group::{KeyGroupRange, key_group_of},
    operator::*,
    state::{Change, Segment, Snapshot, StateRows},
    task::{RunOutcome, StopSignal},
};
use weir_local::{Settings, Submission, run_apart};

const KEYS: i64 = 7;

/// numbers → raw, numbers → sum → sums.
pub fn job(parallelism: usize, numbers: i64) -> JobGraph {
    let mut job = JobGraph::new("job");
    job.checkpoint = CheckpointSettings { interval_ms: 3, retain: 2 };
    let mut add =
        |id: &str, role, config| job.add_node(Node { id: id.into(), kind: id.into(), role, parallelism, config });
    let source = add("numbers", NodeRole::Source, serde_json::json!({ "numbers": numbers }));
    let raw = add("raw", NodeRole::Sink, serde_json::Value::Null);
    let sum = add("sum", NodeRole::Operator, serde_json::json!({}));
    let sums = add("sums", NodeRole::Sink, serde_json::Value::Null);
    job.add_edge(source, Port::MAIN, raw, Partitioner::Forward);
    job.add_edge(source, Port::MAIN, sum, Partitioner::Hash { key: vec!["key".into()] });
    job.add_edge(sum, Port::MAIN, sums, Partitioner::Forward);
    job
}

pub async fn run_once(
    job: JobGraph,
    store: &CheckpointStore,
    sinks: &Sinks,
    env: Env,
    stop: &StopSignal,
) -> Result<RunOutcome> {
    run_as(job, "definition", store, sinks, env, stop).await
}

pub async fn run_definition(
    job: JobGraph,
    definition: &str,
    store: &CheckpointStore,
    sinks: &Sinks,
) -> Result<RunOutcome> {
    run_as(job, definition, store, sinks, Env::default(), &StopSignal::default()).await
}

async fn run_as(
    job: JobGraph,
    definition: &str,
    store: &CheckpointStore,
    sinks: &Sinks,
    env: Env,
    stop: &StopSignal,
) -> Result<RunOutcome> {
    let settings = Settings::new(job, store.clone(), env, Arc::new(TestFactory(sinks.clone())));
    let settings = Settings { channel_bytes: 2000, ..settings };
    Ok(run_apart(2, settings, Submission::new(definition), stop.clone()).await?)
}

pub async fn run_to_end(job: JobGraph, store: &CheckpointStore, sinks: &Sinks, env: Env) {
    let outcome = run_once(job, store, sinks, env, &StopSignal::default()).await.unwrap();
    assert!(outcome.manifest.last);
}

struct TestFactory(Sinks);

impl Factory for TestFactory {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        let end = node.config["numbers"].as_i64().unwrap();
        let pause = match node.config["rest_ms"].as_u64() {
            Some(milliseconds) => Duration::from_millis(milliseconds),
            None => Duration::from_micros(200),
        };
        let refuse_at = node.config["refuse_at"].as_u64().map(|batch| batch as usize);
        Ok(Box::new(Numbers { end, context, pause, refuse_at, splits: BTreeMap::new(), turn: 0 }))
    }

    fn operator(&self, node: &Node, _: OperatorContext) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Sum { sums: BTreeMap::new(), unsaved: false, fail_at: node.config["fail_at"].as_i64() }))
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(TestSink { sink: node.id.clone(), context, sinks: self.0.clone(), rows: Vec::new() }))
    }

    fn committer(&self, node: &Node, _: CommitterContext) -> Result<Arc<dyn Committer>> {
        Ok(Arc::new(TestCommitter { sink: node.id.clone(), sinks: self.0.clone() }))
    }
}

/// Eight splits; split s holds the numbers n with n % 8 = s.
struct Numbers {
    end: i64,
    context: OperatorContext,
    /// Before each batch.
    pause: Duration,
    /// The batch in place of which the source fails.
    refuse_at: Option<usize>,
    splits: BTreeMap<i64, i64>,
    turn: usize,
}

const SPLITS: i64 = 8;

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
            self.context.env.sleep(self.pause).await;
            let end = self.end;
            let mut open: Vec<&mut i64> = self.splits.values_mut().filter(|next| **next < end).collect();
            if open.is_empty() {
                return Ok(SourceEvent::EndOfInput);
            }
            self.turn += 1;
            if Some(self.turn) == self.refuse_at {
                return Err(EngineError::definition("b.csv: its header is wrong"));
            }
            let turn = self.turn % open.len();
            let numbers: Vec<i64> = (*open[turn]..end).step_by(SPLITS as usize).take(20).collect();
            *open[turn] = numbers.last().unwrap() + SPLITS;
            let origin =
                Origin { source: "numbers".into(), split: "a.csv".into(), from: 0, to: 32, ..Origin::default() };
            let batch = rows(numbers.iter().map(|n| (n % KEYS, *n)));
            Ok(SourceEvent::Rows(Port::MAIN, Batch { origin: Some(Arc::new(origin)), ..batch }))
        })
    }

    fn snapshot(&mut self) -> Result<Vec<SplitState>> {
        Ok(self
            .splits
            .iter()
            .map(|(split, next)| SplitState { id: split.to_string(), state: (*next).into() })
            .collect())
    }
}

struct Sum {
    sums: BTreeMap<i64, i64>,
    unsaved: bool,
    fail_at: Option<i64>,
}

impl Operator for Sum {
    fn process(&mut self, _input: usize, batch: Batch, _: &mut Collector) -> Result<()> {
        for (key, number) in pairs(&batch.columns) {
            if Some(number) == self.fail_at {
                return Err(EngineError::internal(format!("asked to fail at {number}")));
            }
            *self.sums.entry(key).or_default() += number;
            self.unsaved = true;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        if watermark == WATERMARK_MAX && !self.sums.is_empty() {
            // Given out once: a restart from a checkpoint after this one hears the last watermark again.
            out.emit(Port::MAIN, rows(std::mem::take(&mut self.sums).into_iter()));
        }
        Ok(())
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Snapshot> {
        if self.sums.is_empty() {
            return Ok(Snapshot::default());
        }
        let batch = rows(self.sums.iter().map(|(key, sum)| (*key, *sum)));
        let change = match std::mem::take(&mut self.unsaved) {
            true => Change::Replace(StateRows::ready(vec![batch.columns])),
            false => Change::Unchanged,
        };
        Ok(Snapshot { segments: vec![Segment { id: "sums".into(), change }] })
    }

    fn restore(&mut self, _: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        for (key, sum) in pairs(rows) {
            if key_groups.contains(key_group_of(hash_integer(key), 128)) {
                assert!(self.sums.insert(key, sum).is_none(), "a key is restored once");
            }
        }
        Ok(())
    }
}

/// What sinks have staged and made visible, as a target outside the process would keep it.
#[derive(Clone, Default)]
pub struct Sinks(Arc<Mutex<Target>>);

#[derive(Default)]
struct Target {
    staged: BTreeMap<String, Vec<(i64, i64)>>,
    visible: BTreeMap<String, Vec<(i64, i64)>>,
}

impl Target {
    /// `false`: it was visible already.
    fn commit(&mut self, committable: &Committable) -> Result<bool> {
        let text = |name: &str| committable.payload[name].as_str().unwrap().to_string();
        match self.staged.remove(&text("staged")) {
            Some(rows) => {
                assert!(self.visible.insert(text("final"), rows).is_none(), "committed under a name that was taken");
                Ok(true)
            }
            None if self.visible.contains_key(&text("final")) => Ok(false),
            None => Err(EngineError::io(format!("{} is lost", text("staged")))),
        }
    }
}

impl Sinks {
    /// Every number is visible once, and every key's sum is right.
    pub fn check(&self, numbers: i64) {
        let target = self.0.lock();
        let of = |sink: &str| -> Vec<(i64, i64)> {
            let parts = target.visible.iter().filter(|(part, _)| part.starts_with(sink));
            let mut rows: Vec<_> = parts.flat_map(|(_, rows)| rows.clone()).collect();
            rows.sort_unstable();
            rows
        };
        let mut expected: Vec<(i64, i64)> = (0..numbers).map(|n| (n % KEYS, n)).collect();
        expected.sort_unstable();
        assert_eq!(of("raw/"), expected);
        let mut sums = BTreeMap::new();
        expected.iter().for_each(|(key, number)| *sums.entry(*key).or_default() += number);
        assert_eq!(of("sums/"), sums.into_iter().collect::<Vec<_>>());
    }

    pub fn is_visible(&self, committable: &Committable) -> bool {
        self.0.lock().visible.contains_key(committable.payload["final"].as_str().unwrap())
    }
}

struct TestSink {
    sink: String,
    context: OperatorContext,
    sinks: Sinks,
    rows: Vec<(i64, i64)>,
}

impl Sink for TestSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.rows.extend(pairs(&batch.columns));
        Box::pin(async { Ok(()) })
    }

    fn stage(&mut self, Barrier { checkpoint, .. }: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let rows = std::mem::take(&mut self.rows);
        let (sinks, sink, context) = (self.sinks.clone(), self.sink.clone(), self.context.clone());
        Box::pin(async move {
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let staged = format!("{sink}/{}/{checkpoint}/{}", context.attempt, context.subtask);
            let visible = format!("{sink}/{checkpoint}/{}", context.subtask);
            context.env.crash_point("sink.staging")?;
            assert!(sinks.0.lock().staged.insert(staged.clone(), rows).is_none());
            let payload = serde_json::json!({ "staged": staged, "final": visible });
            Ok(vec![Committable::new(sink, checkpoint, payload)])
        })
    }
}

struct TestCommitter {
    sink: String,
    sinks: Sinks,
}

impl Committer for TestCommitter {
    fn commit<'a>(
        &'a self,
        checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        Box::pin(async move {
            let mut outcome = CommitOutcome::AlreadyDone;
            for committable in committables {
                assert_eq!((committable.checkpoint, &committable.sink), (checkpoint, &self.sink));
                if self.sinks.0.lock().commit(committable)? {
                    outcome = CommitOutcome::Done;
                }
            }
            Ok(outcome)
        })
    }

    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let mut target = self.sinks.0.lock();
            let prefix = format!("{}/", self.sink);
            let before = target.staged.len();
            let kept = |staged: &str| scope.keep.iter().any(|keep| keep.payload["staged"] == staged);
            let current = format!("{prefix}{}/", scope.attempt);
            target
                .staged
                .retain(|staged, _| !staged.starts_with(&prefix) || kept(staged) || staged.starts_with(&current));
            Ok((before - target.staged.len()) as u64)
        })
    }

    fn reset(&self, _: Lineage) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async { Ok(0) })
    }
}

fn rows(pairs: impl Iterator<Item = (i64, i64)>) -> Batch {
    let (keys, numbers): (Vec<i64>, Vec<i64>) = pairs.unzip();
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as arrow::array::ArrayRef;
    Batch::new(RecordBatch::try_from_iter([("key", column(keys)), ("number", column(numbers))]).unwrap())
}

fn pairs(batch: &RecordBatch) -> Vec<(i64, i64)> {
    let column = |index: usize| batch.column(index).as_primitive::<Int64Type>().values().to_vec();
    column(0).into_iter().zip(column(1)).collect()
}
