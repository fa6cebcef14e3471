//! A storage that fails at a chosen step, before or after it has done the work; a process that dies there.

use super::*;
use crate::sink::{
    conformance::{JOB, SINK, context, numbers, rows, visible},
    files::storage::{NewFile, TimedFile},
};
use parking_lot::Mutex;
use std::{
    fmt,
    io::ErrorKind,
    sync::atomic::{AtomicBool, Ordering},
};
use weir_engine::{
    element::Barrier,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId},
    operator::{CommitOutcome, Committable, SweepScope},
};

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Refused, and nothing done.
    Before,
    /// Done, and then reported as failed.
    After,
    /// Everything from here on is refused: the process is dead, or its storage away.
    DeadBefore,
    /// This is done; everything from here on is refused.
    DeadAfter,
}

const FAULTS: [Fault; 4] = [Fault::Before, Fault::After, Fault::DeadBefore, Fault::DeadAfter];

/// A storage with a fault at one of its steps.
struct FaultyStorage {
    inner: Arc<dyn Storage>,
    plan: Arc<Plan>,
}

struct Plan {
    fault: Fault,
    at: usize,
    steps: Mutex<Vec<&'static str>>,
    dead: AtomicBool,
    /// What others do just before the step, which then is done as if nothing were.
    others: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Plan {
    fn new(fault: Fault, at: usize) -> Arc<Self> {
        Arc::new(Plan { fault, at, steps: Mutex::default(), dead: AtomicBool::new(false), others: Mutex::default() })
    }

    fn overtaken(at: usize, others: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        let plan = Plan::new(Fault::Before, at);
        *plan.others.lock() = Some(others.boxed());
        plan
    }

    /// Runs a step, or what the plan makes of it.
    async fn step<T>(&self, name: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let number = {
            let mut steps = self.steps.lock();
            steps.push(name);
            steps.len() - 1
        };
        let failed = || EngineError::io(format!("storage failed at step {number}, {name}"));
        if self.dead.load(Ordering::SeqCst) {
            return Err(failed());
        }
        if number != self.at {
            return work.await;
        }
        let others = self.others.lock().take();
        if let Some(others) = others {
            others.await;
            return work.await;
        }
        self.dead.store(matches!(self.fault, Fault::DeadBefore | Fault::DeadAfter), Ordering::SeqCst);
        if matches!(self.fault, Fault::After | Fault::DeadAfter) {
            work.await?;
        }
        Err(failed())
    }
}

impl fmt::Debug for FaultyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStorage({:?})", self.inner)
    }
}

impl Storage for FaultyStorage {
    fn create<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Box<dyn NewFile>>> {
        async move {
            let file = self.plan.step("create", self.inner.create(path)).await?;
            Ok(Box::new(FaultyFile { file, plan: Arc::clone(&self.plan) }) as Box<dyn NewFile>)
        }
        .boxed()
    }

    fn create_new<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool>> {
        self.plan.step("create_new", self.inner.create_new(path, content)).boxed()
    }

    fn find<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.plan.step("find", self.inner.find(path)).boxed()
    }

    fn size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>> {
        self.plan.step("size", self.inner.size(path)).boxed()
    }

    fn checksum<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.plan.step("checksum", self.inner.checksum(path)).boxed()
    }

    fn publish<'a>(&'a self, staged: &'a str, path: &'a str) -> BoxFuture<'a, Result<()>> {
        self.plan.step("publish", self.inner.publish(staged, path)).boxed()
    }

    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        self.plan.step("remove", self.inner.remove(path)).boxed()
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.plan.step("list", self.inner.list(folder)).boxed()
    }

    fn list_with_times<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<TimedFile>>> {
        self.plan.step("list_with_times", self.inner.list_with_times(folder)).boxed()
    }

    fn prune<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<()>> {
        self.plan.step("prune", self.inner.prune(folder)).boxed()
    }

    fn describe(&self, path: &str) -> String {
        self.inner.describe(path)
    }
}

struct FaultyFile {
    file: Box<dyn NewFile>,
    plan: Arc<Plan>,
}

impl NewFile for FaultyFile {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        self.plan.step("write", self.file.write(bytes)).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        async move { self.plan.step("finish", self.file.finish()).await }.boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        // The dead don't tidy up.
        async move {
            if !self.plan.dead.load(Ordering::SeqCst) {
                self.file.abort().await;
            }
        }
        .boxed()
    }
}

/// The job's side of the contract: rows 0..20 in two checkpoints, restarted from the last completed one after every error.
struct Run {
    storage: Arc<dyn Storage>,
    target: Target,
    attempt: u64,
    completed: Vec<Vec<Committable>>,
}

impl Run {
    async fn attempt(&mut self) -> Result<()> {
        self.attempt += 1;
        let committer = FilesCommitter::new(Arc::clone(&self.storage), &self.target.committer_context(JOB, SINK));
        let keep = self.completed.concat();
        for (k, committables) in self.completed.iter().enumerate() {
            committer.commit(CheckpointId(k as u64 + 1), committables).await?;
        }
        committer.prepare().await?;
        committer.sweep(&SweepScope { attempt: Attempt(self.attempt), keep, results: None }).await?;
        let mut sink = FilesSink::new(self.target.config.clone(), Arc::clone(&self.storage), &context(self.attempt, 0));
        while self.completed.len() < 2 {
            let from = self.completed.len() as i64 * 10;
            sink.write(rows(from..from + 10)).await?;
            let checkpoint = CheckpointId(self.completed.len() as u64 + 1);
            let staged = sink.stage(Barrier::new(checkpoint)).await?;
            self.completed.push(staged.clone());
            committer.commit(checkpoint, &staged).await?;
        }
        Ok(())
    }
}

/// Runs with a fault at step `at`, then on without; says which step it was.
async fn run_with_fault(target: Target, fault: Fault, at: usize) -> Option<&'static str> {
    let plan = Plan::new(fault, at);
    let faulty = Arc::new(FaultyStorage { inner: Arc::clone(&target.storage), plan: Arc::clone(&plan) });
    let mut run = Run { storage: faulty, target, attempt: 0, completed: vec![] };
    // A publish that is reported as failed although it was done is no failure.
    let failed = run.attempt().await.is_err();
    let seen = visible(&run.target).await;
    let whole: Vec<_> = run.completed.iter().enumerate().flat_map(|(k, _)| k as i64 * 10..k as i64 * 10 + 10).collect();
    assert!(whole.starts_with(&seen), "{fault:?} at {at}: {seen:?} is visible, {whole:?} is decided");
    run.storage = Arc::clone(&run.target.storage);
    if failed {
        run.attempt().await.unwrap();
    }
    assert_eq!(visible(&run.target).await, numbers(0..20), "{fault:?} at {at}");
    assert_eq!(run.target.leftovers().await, 0, "{fault:?} at {at}");
    let steps = plan.steps.lock();
    steps.get(at).copied()
}

#[tokio::test]
async fn whatever_step_fails_the_rows_are_there_once() {
    let mut seen = Vec::new();
    for fault in FAULTS {
        for at in 0.. {
            let lines = Target::memory().with(FileFormat::Json, Compression::Gzip);
            let targets = [lines, Target::local(), Target::memory()];
            let mut step = None;
            for target in targets {
                step = run_with_fault(target, fault, at).await;
            }
            match step {
                Some(name) => seen.push(name),
                None => break,
            }
        }
    }
    for step in ["create", "write", "finish", "size", "publish", "remove", "list", "prune", "find", "create_new"] {
        assert!(seen.contains(&step), "no fault was at '{step}'");
    }
}

async fn staged(target: &Target) -> Committable {
    let mut sink = target.sink(&context(1, 0));
    sink.write(rows(0..10)).await.unwrap();
    sink.stage(Barrier::new(CheckpointId(1))).await.unwrap().remove(0)
}

#[tokio::test]
async fn another_runs_results_are_not_replaced() {
    for target in [Target::local(), Target::memory()] {
        let committable = staged(&target).await;
        let path = "ad-click-counts-00000001-0-0.parquet";
        let bytes = committable.payload["bytes"].as_u64().unwrap() as usize;
        for other in [vec![0; 3], vec![0; bytes]] {
            let mut file = target.storage.create(path).await.unwrap();
            file.write(other.clone().into()).await.unwrap();
            file.finish().await.unwrap();
            let refused = target
                .committer(JOB, SINK)
                .commit(CheckpointId(1), std::slice::from_ref(&committable))
                .await
                .unwrap_err();
            assert!(refused.message.contains(path) && refused.message.contains("another run"), "{refused}");
            assert_eq!(target.bytes(path).await, other);
        }
    }
}

#[tokio::test]
async fn what_has_vanished_is_missed_loudly() {
    for target in [Target::local(), Target::memory()] {
        let committable = staged(&target).await;
        let path = committable.payload["staged"].as_str().unwrap();
        target.storage.remove(path).await.unwrap();
        let missed =
            target.committer(JOB, SINK).commit(CheckpointId(1), std::slice::from_ref(&committable)).await.unwrap_err();
        let named = missed.message.contains(path) && missed.message.contains("00000001-0-0.parquet");
        assert!(named && missed.message.contains("10 result rows"), "{missed}");
        let mut file = target.storage.create(path).await.unwrap();
        file.write(Bytes::from_static(b"short")).await.unwrap();
        file.finish().await.unwrap();
        let damaged =
            target.committer(JOB, SINK).commit(CheckpointId(1), std::slice::from_ref(&committable)).await.unwrap_err();
        assert!(damaged.message.contains("5 bytes"), "{damaged}");
        assert_eq!(target.results().await, [""; 0]);
    }
}

#[tokio::test]
async fn a_commit_cut_between_its_steps_is_completed() {
    for target in [Target::local(), Target::memory()] {
        let committable = staged(&target).await;
        let (from, to) =
            (committable.payload["staged"].as_str().unwrap(), committable.payload["path"].as_str().unwrap());
        target.storage.publish(from, to).await.unwrap();
        let outcome =
            target.committer(JOB, SINK).commit(CheckpointId(1), std::slice::from_ref(&committable)).await.unwrap();
        assert_eq!((outcome, target.leftovers().await), (CommitOutcome::AlreadyDone, 0));
        assert_eq!(visible(&target).await, numbers(0..10));
    }
}

/// A worker that was replaced may still commit, as its successor does: both do what is decided.
#[tokio::test]
async fn two_that_commit_the_same_do_not_disturb_each_other() {
    for target in [Target::local, Target::memory] {
        for at in 0.. {
            let target = target();
            let committable = staged(&target).await;
            let (other, decided) = (target.committer(JOB, SINK), committable.clone());
            let plan = Plan::overtaken(at, async move {
                other.commit(CheckpointId(1), &[decided]).await.unwrap();
            });
            let storage = FaultyStorage { inner: Arc::clone(&target.storage), plan: Arc::clone(&plan) };
            let committer = FilesCommitter::new(Arc::new(storage), &target.committer_context(JOB, SINK));
            let staged = std::slice::from_ref(&committable);
            for outcome in [committer.verify(staged).await, committer.commit(CheckpointId(1), staged).await.map(drop)] {
                outcome
                    .unwrap_or_else(|error| panic!("overtaken before step {at} of {:?}: {error}", plan.steps.lock()));
            }
            assert_eq!(visible(&target).await, numbers(0..10));
            if plan.others.lock().is_some() {
                assert!(at > 5, "verifying and committing take more steps than {at}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn readers_see_no_file_that_grows() {
    let target = Target::local();
    let mut sink = target.sink(&context(1, 0));
    for k in 0..20 {
        sink.write(rows(k * 60_000..(k + 1) * 60_000)).await.unwrap();
        assert_eq!(target.results().await, [""; 0]);
    }
    assert!(target.leftovers().await > 0, "rows go out before the barrier");
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    assert_eq!(target.results().await, [""; 0]);
    target.committer(JOB, SINK).commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!(visible(&target).await.len(), 1_200_000);
}

#[tokio::test]
async fn a_slow_storage_slows_the_job_down() {
    /// Takes nothing, for good.
    #[derive(Debug)]
    struct StuckStorage(Arc<dyn Storage>);

    struct StuckFile;

    impl NewFile for StuckFile {
        fn write(&mut self, _bytes: Bytes) -> BoxFuture<'_, Result<()>> {
            futures::future::pending().boxed()
        }

        fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
            futures::future::pending().boxed()
        }

        fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
            futures::future::pending().boxed()
        }
    }

    impl Storage for StuckStorage {
        fn create<'a>(&'a self, _path: &'a str) -> BoxFuture<'a, Result<Box<dyn NewFile>>> {
            async { Ok(Box::new(StuckFile) as Box<dyn NewFile>) }.boxed()
        }

        fn create_new<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool>> {
            self.0.create_new(path, content)
        }

        fn find<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
            self.0.find(path)
        }

        fn size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>> {
            self.0.size(path)
        }

        fn checksum<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>> {
            self.0.checksum(path)
        }

        fn publish<'a>(&'a self, staged: &'a str, path: &'a str) -> BoxFuture<'a, Result<()>> {
            self.0.publish(staged, path)
        }

        fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
            self.0.remove(path)
        }

        fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
            self.0.list(folder)
        }

        fn list_with_times<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<TimedFile>>> {
            self.0.list_with_times(folder)
        }

        fn prune<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<()>> {
            self.0.prune(folder)
        }

        fn describe(&self, path: &str) -> String {
            self.0.describe(path)
        }
    }

    let target = Target::memory();
    let storage = Arc::new(StuckStorage(Arc::clone(&target.storage)));
    let mut sink = FilesSink::new(target.config.clone(), storage, &context(1, 0));
    let mut taken = 0;
    // Waits in the storage are real waits, so that giving way often enough lets everything go as far as it can.
    'full: for _ in 0..100 {
        let mut write = sink.write(rows(0..60_000));
        for _ in 0..100 {
            match futures::poll!(&mut write) {
                std::task::Poll::Ready(outcome) => {
                    outcome.unwrap();
                    taken += 1;
                    continue 'full;
                }
                std::task::Poll::Pending => tokio::task::yield_now().await,
            }
        }
        break;
    }
    // About a megabyte a batch: one row group being written, one on its way, one being collected.
    assert!((8..=15).contains(&taken), "{taken} batches were taken");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_named() {
    let target = Target::local();
    let Reader::Local(folder) = &target.reader else { unreachable!("a local target") };
    std::fs::write(folder.path().join("out"), "a file where a folder should be").unwrap();
    let mut sink = target.sink(&context(1, 0));
    sink.write(rows(0..10)).await.unwrap();
    let error = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap_err();
    assert!(error.message.contains("out/counts/_staging") && error.message.contains("must be a folder"), "{error}");
    // It is put right, and the next attempt goes on.
    std::fs::remove_file(folder.path().join("out")).unwrap();
    let mut sink = target.sink(&context(2, 0));
    sink.write(rows(0..10)).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    target.committer(JOB, SINK).commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!(visible(&target).await, numbers(0..10));
}

#[test]
fn causes_say_what_to_do() {
    let message = |kind: ErrorKind| storage::explain("cannot write 'x'", &kind.into()).message;
    assert!(message(ErrorKind::StorageFull).contains("free some space"));
    assert!(message(ErrorKind::PermissionDenied).contains("must be writable"));
    assert!(message(ErrorKind::TimedOut).starts_with("cannot write 'x': "));
}
