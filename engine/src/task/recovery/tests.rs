//! Commits of several sinks and of several checkpoints: side by side, in order, marked at the end, and once after a crash.

use super::*;
use crate::env::CrashPlan;
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// What is visible, in the order in which it became so: sink and checkpoint.
type Visible = Arc<Mutex<Vec<(&'static str, u64)>>>;

/// A sink that makes visible what its commits name.
struct Shelf {
    sink: &'static str,
    visible: Visible,
    /// So many checkpoints at once.
    most: usize,
    /// How long a commit takes.
    takes: Duration,
    /// As often as it may commit.
    allowed: Arc<Semaphore>,
    /// It refuses this checkpoint.
    refused: Option<u64>,
}

impl Committer for Shelf {
    fn commit<'a>(
        &'a self,
        checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        let one = [ToCommit { checkpoint, committables: committables.to_vec() }];
        async move { self.commit_together(&one).await.map(|(_, outcome)| outcome) }.boxed()
    }

    fn commit_together<'a>(&'a self, several: &'a [ToCommit]) -> BoxFuture<'a, Result<(usize, CommitOutcome)>> {
        async move {
            self.allowed.acquire().await.unwrap().forget();
            Env::default().sleep(self.takes).await;
            let these = &several[..self.most.min(several.len())];
            if these.iter().any(|one| self.refused == Some(one.checkpoint.0)) {
                return Err(EngineError::io("it is full"));
            }
            let mut visible = self.visible.lock();
            let mut outcome = CommitOutcome::AlreadyDone;
            for one in these.iter().map(|one| (self.sink, one.checkpoint.0)) {
                if !visible.contains(&one) {
                    visible.push(one);
                    outcome = CommitOutcome::Done;
                }
            }
            Ok((these.len(), outcome))
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, _: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        std::future::ready(Ok(0)).boxed()
    }

    fn reset(&self, _: Lineage) -> BoxFuture<'_, Result<u64>> {
        std::future::ready(Ok(0)).boxed()
    }
}

/// A job of two sinks.
struct Job {
    store: CheckpointStore,
    env: Env,
    visible: Visible,
    shelves: [Shelf; 2],
}

impl Job {
    fn new() -> Self {
        let visible = Visible::default();
        let shelves = ["a", "b"].map(|sink| Shelf {
            sink,
            visible: visible.clone(),
            most: 1,
            takes: Duration::ZERO,
            allowed: Arc::new(Semaphore::new(1_000)),
            refused: None,
        });
        Job { store: CheckpointStore::in_memory("job"), env: Env::default(), visible, shelves }
    }

    /// Commits checkpoints of both sinks, which are complete.
    async fn commit(self, numbers: std::ops::RangeInclusive<u64>) -> Result<Vec<SinkCommit>> {
        for number in numbers.clone() {
            let manifest = self.store.layout().manifest(CheckpointId(number));
            // Its content matters to nobody here.
            self.store.create(&Env::default(), &manifest, "{}".into()).await.unwrap();
        }
        self.commit_what_is_there(numbers).await
    }

    /// The same, of what the storage has.
    async fn commit_what_is_there(self, numbers: std::ops::RangeInclusive<u64>) -> Result<Vec<SinkCommit>> {
        let committables: Vec<Committable> = numbers
            .clone()
            .flat_map(|n| ["a", "b"].map(|sink| Committable::new(sink, CheckpointId(n), serde_json::Value::Null)))
            .collect();
        let checkpoints: Vec<CheckpointId> = numbers.map(CheckpointId).collect();
        let committers: Committers =
            self.shelves.into_iter().map(|shelf| (shelf.sink.into(), Arc::new(shelf) as Arc<dyn Committer>)).collect();
        commit(&self.store, &self.env, &committers, &checkpoints, Attempt(1), &committables, false).await
    }
}

async fn marked(store: &CheckpointStore, most: u64) -> Vec<u64> {
    let mut marked = Vec::new();
    for number in 1..=most {
        if committed::is_marked(store, CheckpointId(number), Attempt(1)).await.unwrap() {
            marked.push(number);
        }
    }
    marked
}

fn of(visible: &Visible, sink: &str) -> Vec<u64> {
    visible.lock().iter().filter(|(of, _)| *of == sink).map(|(_, number)| *number).collect()
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_waits_keeps_no_other_from_committing_and_all_are_marked_at_the_end() {
    let mut job = Job::new();
    let gate = Arc::new(Semaphore::new(1));
    job.shelves[0].allowed = gate.clone();
    let (store, env, visible) = (job.store.clone(), job.env.clone(), job.visible.clone());
    let committing = tokio::spawn(job.commit(1..=3));
    env.sleep(Duration::from_secs(3_600)).await;
    assert_eq!((of(&visible, "a"), of(&visible, "b")), (vec![1], vec![1, 2, 3]));
    assert_eq!(marked(&store, 3).await, [0u64; 0], "not all sinks have any of the last two");
    gate.add_permits(2);
    let commits = committing.await.unwrap().unwrap();
    assert_eq!(commits.iter().map(|commit| commit.sink.as_str()).collect::<Vec<_>>(), ["b", "b", "b", "a", "a", "a"]);
    assert_eq!((of(&visible, "a"), marked(&store, 3).await), (vec![1, 2, 3], vec![1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn sinks_take_as_long_as_the_slowest_of_them() {
    let mut job = Job::new();
    let (env, began) = (job.env.clone(), job.env.now());
    job.shelves.iter_mut().for_each(|shelf| shelf.takes = Duration::from_millis(180));
    job.shelves[1].most = 10;
    let commits = job.commit(1..=3).await.unwrap();
    assert_eq!(
        env.now() - began,
        Duration::from_millis(3 * 180),
        "three commits, and beside them one of three checkpoints"
    );
    assert_eq!(commits.iter().filter(|commit| commit.sink == "b").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_lets_the_others_finish_within_a_moment() {
    for (takes, finished) in [(FINISH / 2, true), (FINISH * 2, false)] {
        let mut job = Job::new();
        job.shelves[0].refused = Some(2);
        job.shelves[1].takes = takes;
        job.shelves[1].most = 10;
        let (store, env, visible, began) = (job.store.clone(), job.env.clone(), job.visible.clone(), job.env.now());
        let error = job.commit(1..=3).await.unwrap_err();
        assert_eq!(error.message, "committing checkpoint 2 of 'a': it is full");
        assert_eq!(env.now() - began, takes.min(FINISH));
        assert_eq!(of(&visible, "b"), if finished { vec![1, 2, 3] } else { vec![] });
        assert_eq!((of(&visible, "a"), marked(&store, 3).await), (vec![1], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_in_a_commit_leaves_what_a_repetition_completes() {
    for (point, visits) in [("commit.started", 1), ("commit.one_done", 4), ("commit.marked", 1)] {
        for visit in 1..=visits {
            let mut job = Job::new();
            job.shelves[1].most = 10;
            job.shelves[1].takes = Duration::from_millis(1);
            job.env = Env::default().with_crash_plan(CrashPlan::crash_at(point, visit));
            let (store, env, visible) = (job.store.clone(), job.env.clone(), job.visible.clone());
            let crash = job.commit(1..=3).await.unwrap_err();
            assert_eq!(crash.kind, ErrorKind::Crash, "{point}:{visit}");
            let seen = visible.lock().clone();
            env.sleep(Duration::from_secs(1)).await;
            assert_eq!(*visible.lock(), seen, "{point}:{visit}: the dead do nothing any more");
            let is_marked = marked(&store, 3).await;
            assert_eq!(is_marked, if point == "commit.marked" { vec![1, 2, 3] } else { vec![] }, "{point}:{visit}");
            let mut again = Job::new();
            (again.store, again.visible) = (store.clone(), visible.clone());
            again.shelves.iter_mut().for_each(|shelf| shelf.visible = visible.clone());
            again.commit(1..=3).await.unwrap();
            for sink in ["a", "b"] {
                assert_eq!(of(&visible, sink), [1, 2, 3], "{point}:{visit}: each once, in order");
            }
            assert_eq!(marked(&store, 3).await, [1, 2, 3], "{point}:{visit}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_says_it_has_committed_nothing_is_not_believed() {
    let mut job = Job::new();
    job.shelves[0].most = 0;
    let (store, error) = (job.store.clone(), job.commit(1..=1).await.unwrap_err());
    assert_eq!(error.kind, ErrorKind::Internal, "{error}");
    assert_eq!(marked(&store, 1).await, [0u64; 0]);
}

/// As a worker does on whose machine the storage is not mounted: sinks that find nothing staged say that it was committed before.
#[tokio::test(start_paused = true)]
async fn nothing_is_committed_or_marked_where_the_checkpoint_is_not() {
    for is_replaced in [false, true] {
        let job = Job::new();
        let store = job.store.clone();
        job.visible.lock().extend([("a", 1), ("b", 1)]);
        if is_replaced {
            store.claim(&job.env, Attempt(1), false).await.unwrap();
        }
        let error = job.commit_what_is_there(1..=1).await.unwrap_err();
        let expected = if is_replaced { ErrorKind::Fenced } else { ErrorKind::Unavailable };
        assert_eq!(error.kind, expected, "{error}");
        assert_eq!(marked(&store, 1).await, [0u64; 0]);
    }
}
