//! A job that gets old: what it leaves in storage, and what a checkpoint costs, stay what they were on its first day.
//!
//! The driver, the uploads, the merging, the recovery and the retiring are the real ones; only what is processed is made up. Each
//! checkpoint adds rows to the bucket of its six hours, some to the one before, and writes another segment anew; a bucket is
//! held for six days. Attempts are killed and stopped on the way.

use super::{
    attempt::{self, AttemptSettings, ControlPlane, StopSignal},
    chain::CapturedLink,
    checkpointing::{self, Report, TaskServices},
    observer::Observer,
    recovery::{self, Committers},
    subtask::SourceCommand,
};
use crate::{
    checkpoint::{CheckpointStore, Manifest, segment_ledger::SegmentLedger, split_files, state_file},
    element::Barrier,
    env::Env,
    error::Result,
    graph::{CheckpointSettings, ExecutionGraph, JobGraph, Node, NodeRole},
    ids::{Attempt, CheckpointId, SubtaskId},
    key_group::KeyGroupRange,
    operator::{Committable, ShownResults, SplitState, SweepScope},
    state::{Change, Segment, Snapshot, StateRows},
};
use arrow::{
    array::{ArrayRef, AsArray, Int64Array},
    datatypes::Int64Type,
    record_batch::RecordBatch,
};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, memory::InMemory, path::Path,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// A checkpoint each hour of virtual time, and so many a month.
const INTERVAL_MS: u64 = 3_600_000;
const A_MONTH: u64 = 744;
const PER_BUCKET: u64 = 6;
const BUCKETS_HELD: u64 = 24;
const NODE: &str = "source";

/// An object store in memory that counts what it is asked, and may lose the answers to whoever merges.
#[derive(Debug, Default)]
struct Counting {
    inner: InMemory,
    requests: Arc<AtomicU64>,
    loses_merged: AtomicBool,
}

impl Counting {
    fn count(&self) -> &InMemory {
        self.requests.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counting")
    }
}

type Answer<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Answer<PutResult> {
        let done = self.count().put_opts(path, payload, options).await?;
        if self.loses_merged.load(Ordering::SeqCst) && path.as_ref().ends_with("-merged.parquet") {
            return Err(object_store::Error::Generic { store: "counting", source: "the answer is lost".into() });
        }
        Ok(done)
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Answer<Box<dyn MultipartUpload>> {
        self.count().put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Answer<GetResult> {
        self.count().get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Answer<Path>>) -> BoxStream<'static, Answer<Path>> {
        self.count().delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Answer<ObjectMeta>> {
        self.count().list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Answer<ListResult> {
        self.count().list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Answer<()> {
        self.count().copy_opts(from, to, options).await
    }
}

/// What was seen at a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    manifest_bytes: usize,
    parts: usize,
    /// Since the checkpoint before it.
    requests: u64,
}

impl Seen {
    fn most(seen: &[Seen]) -> Seen {
        let most = |of: fn(&Seen) -> u64| seen.iter().map(of).max().unwrap_or(0);
        Seen {
            manifest_bytes: most(|seen| seen.manifest_bytes as u64) as usize,
            parts: most(|seen| seen.parts as u64) as usize,
            requests: most(|seen| seen.requests),
        }
    }
}

/// A control plane whose record is the manifests, without sinks. Looks on while checkpoints are recorded.
struct Watching {
    store: CheckpointStore,
    env: Env,
    attempt: Attempt,
    requests: Arc<AtomicU64>,
    /// The count at the last checkpoint; none: the attempt has just begun.
    before: Mutex<Option<u64>>,
    record: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    seen: Vec<Seen>,
    /// Checkpoints that a source was asked for and that were completed.
    taken: BTreeSet<u64>,
}

impl ControlPlane for Watching {
    fn completed<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Result<()>> {
        let now = self.requests.load(Ordering::SeqCst);
        let before = self.before.lock().replace(now);
        let mut record = self.record.lock();
        // What a new attempt does first is another matter.
        if let Some(before) = before {
            let subtasks = manifest.operators.iter().flat_map(|operator| &operator.subtasks);
            record.seen.push(Seen {
                manifest_bytes: manifest.to_bytes().unwrap().len(),
                parts: subtasks.flat_map(|subtask| &subtask.segments).map(|segment| segment.parts.len()).sum(),
                requests: now - before,
            });
        }
        std::future::ready(Ok(())).boxed()
    }

    fn commit(
        &self,
        these: Vec<CheckpointId>,
        attempt: Attempt,
        committables: Vec<Committable>,
    ) -> BoxFuture<'static, Result<()>> {
        let (store, env, is_inherited) = (self.store.clone(), self.env.clone(), attempt != self.attempt);
        let none = Committers::new();
        async move { recovery::commit(&store, &env, &none, &these, attempt, &committables, is_inherited).await.map(drop) }
            .boxed()
    }

    fn sweep(&self, _: SweepScope) -> BoxFuture<'static, Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn shown(&self) -> BoxFuture<'static, Result<BTreeMap<String, ShownResults>>> {
        std::future::ready(Ok(BTreeMap::new())).boxed()
    }
}

struct Job {
    store: CheckpointStore,
    env: Env,
    requests: Arc<AtomicU64>,
    record: Arc<Mutex<Record>>,
    /// What the source says of its splits in a checkpoint.
    splits: fn(u64) -> Vec<SplitState>,
}

fn bucket_of(checkpoint: u64) -> u64 {
    checkpoint / PER_BUCKET
}

fn id(bucket: u64) -> String {
    format!("bucket-{bucket:06}")
}

/// The rows that a checkpoint brings to each bucket.
fn rows_of(checkpoint: u64) -> BTreeMap<u64, Vec<i64>> {
    let (bucket, first) = (bucket_of(checkpoint), checkpoint as i64 * 10);
    let mut rows = BTreeMap::from([(bucket, vec![first, first + 1])]);
    if checkpoint.is_multiple_of(3) && bucket > 0 {
        rows.insert(bucket - 1, vec![first + 2]);
    }
    rows
}

fn batch(values: Vec<i64>) -> StateRows {
    let column: ArrayRef = Arc::new(Int64Array::from(values));
    StateRows::ready(vec![RecordBatch::try_from_iter([("n", column)]).unwrap()])
}

fn snapshot(checkpoint: u64, known: &mut BTreeSet<u64>) -> Snapshot {
    let mut rows = rows_of(checkpoint);
    known.extend(rows.keys());
    known.retain(|bucket| bucket + BUCKETS_HELD > bucket_of(checkpoint));
    let segments = known.iter().map(|bucket| {
        let change = rows.remove(bucket).map_or(Change::Unchanged, |rows| Change::Append(batch(rows)));
        Segment { id: id(*bucket), change }
    });
    let mut segments: Vec<Segment> = segments.collect();
    segments.push(Segment { id: "progress".into(), change: Change::Replace(batch(vec![checkpoint as i64])) });
    Snapshot { segments }
}

fn graph() -> Arc<ExecutionGraph> {
    let config = serde_json::Value::Null;
    let source = Node { id: NODE.into(), kind: "any".into(), role: NodeRole::Source, parallelism: 1, config };
    let graph = JobGraph {
        name: "job".into(),
        identity: None,
        nodes: vec![source],
        edges: vec![],
        max_parallelism: 8,
        checkpoint: CheckpointSettings { interval_ms: INTERVAL_MS, retain: 3 },
    };
    Arc::new(ExecutionGraph::new(graph).unwrap())
}

impl Job {
    /// Runs an attempt for so many checkpoints, and then stops it, or kills it where it stands.
    async fn attempt(&self, checkpoints: u64, kill: bool) {
        let (graph, stop) = (graph(), StopSignal::default());
        let claim = self.store.claim(&self.env, Attempt(0), false).await.unwrap();
        let (attempt, store) = (claim.attempt, self.store.clone().in_lineage(claim.lineage));
        let control: Arc<dyn ControlPlane> = Arc::new(Watching {
            store: store.clone(),
            env: self.env.clone(),
            attempt,
            requests: self.requests.clone(),
            before: Mutex::default(),
            record: self.record.clone(),
        });
        let recovering = recovery::recover(&store, &self.env, control.as_ref(), &graph.job, "d", attempt, true);
        let restored = recovering.await.unwrap();
        let (reports, inbox) = mpsc::unbounded_channel();
        let services = TaskServices {
            env: self.env.clone(),
            store: store.clone(),
            attempt,
            observer: Arc::new(Observer::default()),
            suspect: None,
            reports,
        };
        let settings = AttemptSettings {
            definition: "d".into(),
            store,
            env: self.env.clone(),
            attempt,
            observer: services.observer.clone(),
            sources: Box::new(self.source(services, restored.as_ref())),
            control: Arc::clone(&control),
            restored,
            checkpoint_timeout: Duration::from_secs(60),
            savepoints: Default::default(),
            takes_over: None,
            graph,
        };
        let driving = attempt::drive(settings, inbox, stop.clone());
        let lived = Duration::from_millis(INTERVAL_MS * checkpoints + INTERVAL_MS / 2);
        tokio::select! {
            ended = driving => { ended.unwrap(); }
            () = async {
                self.env.sleep(lived).await;
                if !kill {
                    stop.stop();
                    std::future::pending::<()>().await;
                }
            } => {}
        }
    }

    fn source(
        &self,
        services: TaskServices,
        restored: Option<&Manifest>,
    ) -> impl Fn(SourceCommand) + Send + Sync + 'static {
        let (key_groups, subtask) = (KeyGroupRange::all(8), SubtaskId { task: 0, index: 0 });
        let mut ledger = SegmentLedger::new(key_groups);
        let mut known = BTreeSet::new();
        for state in restored.and_then(|manifest| manifest.operator(NODE)).into_iter().flat_map(|node| &node.subtasks) {
            ledger.restore(&state.segments);
            known.extend(
                state.segments.iter().filter_map(|segment| segment.id.strip_prefix("bucket-")?.parse::<u64>().ok()),
            );
        }
        let (ledger, known, record) = (Arc::new(Mutex::new(ledger)), Mutex::new(known), self.record.clone());
        let (splits, split_ledger) = (self.splits, Arc::default());
        move |command| {
            match command {
                SourceCommand::Checkpoint { checkpoint, last } => {
                    let captured = CapturedLink {
                        node: NODE.into(),
                        subtask: 0,
                        key_groups,
                        counters: BTreeMap::new(),
                        snapshot: snapshot(checkpoint.0, &mut known.lock()),
                        ledger: ledger.clone(),
                        splits: Arc::clone(&split_ledger),
                        staging: None,
                    };
                    record.lock().taken.insert(checkpoint.0);
                    let barrier = Barrier { last, ..Barrier::new(checkpoint) };
                    let splits = splits(checkpoint.0);
                    let upload = checkpointing::upload(services.clone(), subtask, barrier, vec![captured], splits);
                    tokio::spawn(upload);
                }
                SourceCommand::Finish => services.report(Report::Finished(subtask)),
                _ => {}
            };
        }
    }

    /// What is held is what the checkpoints brought that were taken.
    async fn check_rows(&self) {
        let newest = self.store.newest().await.unwrap().unwrap();
        let taken = self.record.lock().taken.clone();
        let mut expected: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let last = *taken.last().unwrap();
        for (bucket, rows) in taken.iter().filter(|n| **n <= newest.checkpoint.0).flat_map(|n| rows_of(*n)) {
            if bucket + BUCKETS_HELD > bucket_of(last) {
                expected.entry(id(bucket)).or_default().extend(rows);
            }
        }
        expected.insert("progress".into(), vec![last as i64]);
        let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for segment in &newest.operators[0].subtasks[0].segments {
            for part in &segment.parts {
                let content = self.store.read_state(&self.env, &part.file).await.unwrap();
                for batch in state_file::read_part(part, content).unwrap() {
                    let values = batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec();
                    found.entry(segment.id.clone()).or_default().extend(values);
                }
            }
        }
        assert_eq!(found, expected);
        let subtask = &newest.operators[0].subtasks[0];
        let mut splits = split_files::read(&self.store, &self.env, subtask).await.unwrap();
        splits.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(splits, (self.splits)(newest.checkpoint.0));
    }
}

/// Lets attempts of some sixty checkpoints follow each other, each second one killed, and calls back after each.
async fn grow_old(job: &Job, checkpoints: u64, mut after: impl FnMut(u64)) {
    let mut seed = 1u64;
    loop {
        let done = job.store.newest().await.unwrap().map_or(0, |newest| newest.checkpoint.0);
        if done >= checkpoints {
            return;
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        job.attempt(20 + (seed >> 33) % 80, seed >> 63 == 1).await;
        after(done);
    }
}

fn job(store: CheckpointStore, requests: Arc<AtomicU64>) -> Job {
    Job { store, env: Env::simulated(7, Arc::new(|| 0)), requests, record: Arc::default(), splits: |_| Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_month_costs_each_checkpoint_what_the_first_day_does() {
    let requests = Arc::new(AtomicU64::new(0));
    let objects = Arc::new(Counting { requests: requests.clone(), ..Counting::default() });
    let job = job(CheckpointStore::over(objects.clone(), "job"), requests);
    let mut left = Vec::new();
    grow_old(&job, A_MONTH, |_| {
        left.push(objects.inner.list(None).count().now_or_never().unwrap());
    })
    .await;
    job.check_rows().await;
    let seen = job.record.lock().seen.clone();
    assert!(seen.len() > 700, "{}", seen.len());
    // All buckets are there after 144 checkpoints.
    let (early, late) = (&seen[150..350], &seen[seen.len() - 200..]);
    let average = |seen: &[Seen]| seen.iter().map(|seen| seen.requests).sum::<u64>() as f64 / seen.len() as f64;
    let averages = [average(early), average(late)];
    let (early, late) = (Seen::most(early), Seen::most(late));
    assert!(late.requests <= early.requests + 4 && late.requests <= 32, "{early:?} {late:?}");
    assert!(late.parts <= 64, "{early:?} {late:?}");
    assert!(late.manifest_bytes <= 10_000, "{early:?} {late:?}");
    assert!(averages[1] < 1.1 * averages[0] && averages[1] < 16.0, "requests a checkpoint: {averages:?}");
    assert!(left.iter().max() < Some(&100), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn that_merging_fails_costs_no_attempt_and_leaves_nothing() {
    let objects = Arc::new(Counting { loses_merged: true.into(), ..Counting::default() });
    let job = job(CheckpointStore::over(objects.clone(), "job"), Arc::default());
    let merged_files = || {
        let paths = objects.inner.list(None).map(|object| object.unwrap().location.to_string());
        paths.filter(|path| futures::future::ready(path.contains("-merged"))).count().now_or_never().unwrap()
    };
    job.attempt(140, true).await;
    job.check_rows().await;
    let most = |record: &Record| Seen::most(&record.seen[record.seen.len() - 10..]).parts;
    let unmerged = most(&job.record.lock());
    assert!((1..=2).contains(&merged_files()), "one for now, or the next one: {}", merged_files());
    objects.loses_merged.store(false, Ordering::SeqCst);
    job.attempt(60, true).await;
    job.check_rows().await;
    let merged = most(&job.record.lock());
    assert!(unmerged > 150 && merged < 60, "{unmerged} parts, then {merged}");
}

/// Where a source is with one file that grows, and with very many of which some change each two days.
fn most_files_rest(checkpoint: u64) -> Vec<SplitState> {
    let resting = serde_json::json!({ "packed": "x".repeat(50_000), "number": checkpoint / 48 });
    let growing = serde_json::json!({ "offset": checkpoint });
    [("growing", growing), ("resting", resting)].map(|(id, state)| SplitState { id: id.into(), state }).into()
}

#[tokio::test(start_paused = true)]
async fn positions_that_stay_the_same_are_written_once() {
    let objects = Arc::new(Counting::default());
    let store = CheckpointStore::over(objects.clone(), "job");
    let job = Job { splits: most_files_rest, ..job(store, Arc::default()) };
    let mut files = Vec::new();
    grow_old(&job, 400, |_| {
        let paths = objects.inner.list(None).map(|object| object.unwrap().location.to_string());
        let splits = paths.filter(|path| futures::future::ready(path.contains("-splits-")));
        files.push(splits.count().now_or_never().unwrap());
    })
    .await;
    job.check_rows().await;
    // Where they did change, and at most once more in an attempt, which begins with what is there.
    let seen = job.record.lock().seen.clone();
    let large = seen.iter().filter(|seen| seen.manifest_bytes > 50_000).count();
    let most = 400 / 48 + files.len();
    assert!(seen.len() > 380 && most < 24 && (1..=most).contains(&large), "{large} of {}, at most {most}", seen.len());
    // The three that are kept need two at most, and an attempt writes its own.
    assert!(files.iter().all(|files| (1..=4).contains(files)), "{files:?}");
}

#[tokio::test(start_paused = true)]
async fn no_folders_are_left_on_a_local_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(&format!("file://{}", folder.path().display()), "job").unwrap();
    // As an earlier version has left them.
    for n in 0..500 {
        std::fs::create_dir_all(folder.path().join(format!("jobs/job/checkpoints/{n:010}"))).unwrap();
    }
    let job = job(store, Arc::default());
    let mut counts = Vec::new();
    grow_old(&job, 150, |_| counts.push(count(folder.path()))).await;
    job.check_rows().await;
    assert!(counts.iter().all(|(folders, files)| *folders < 50 && *files < 100), "{counts:?}");
}

/// The folders and files below a folder.
fn count(folder: &std::path::Path) -> (usize, usize) {
    std::fs::read_dir(folder).unwrap().fold((0, 0), |(folders, files), entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let below = count(&path);
            (folders + 1 + below.0, files + below.1)
        } else {
            (folders, files + 1)
        }
    })
}
