//! The driver with a record that is stuck, and with commits that are slow.

use super::*;
use crate::{
    checkpoint::manifest::SubtaskState,
    graph::{CheckpointSettings, JobGraph, Node, NodeRole},
    operator::Slowest,
};
use futures::FutureExt;

/// A record that never answers.
struct Stuck;

impl ControlPlane for Stuck {
    fn completed<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Result<()>> {
        std::future::pending().boxed()
    }

    fn commit(&self, _: Vec<CheckpointId>, _: Attempt, _: Vec<Committable>) -> BoxFuture<'static, Result<()>> {
        std::future::pending().boxed()
    }

    fn sweep(&self, _: SweepScope) -> BoxFuture<'static, Result<()>> {
        std::future::pending().boxed()
    }

    fn shown(&self) -> BoxFuture<'static, Result<BTreeMap<String, ShownResults>>> {
        std::future::ready(Ok(BTreeMap::new())).boxed()
    }
}

type Told = mpsc::UnboundedReceiver<SourceCommand>;

/// A job of one source that is always ready for its checkpoints, and what it is told besides.
fn settings(control: Arc<dyn ControlPlane>) -> (AttemptSettings, mpsc::UnboundedReceiver<Report>, Told) {
    let config = serde_json::Value::Null;
    let source = Node { id: "source".into(), kind: "any".into(), role: NodeRole::Source, parallelism: 1, config };
    let graph = JobGraph {
        name: "job".into(),
        identity: None,
        nodes: vec![source],
        edges: vec![],
        max_parallelism: 1,
        checkpoint: CheckpointSettings { interval_ms: 1, retain: 1 },
    };
    let (reports, inbox) = mpsc::unbounded_channel();
    let (hear, told) = mpsc::unbounded_channel();
    let acknowledge = move |command| {
        let SourceCommand::Checkpoint { checkpoint, .. } = command else {
            hear.send(command).unwrap();
            return;
        };
        let subtask = SubtaskId { task: 0, index: 0 };
        let operators = vec![("source".into(), SubtaskState::default())];
        let acknowledgement = Acknowledgement { subtask, checkpoint, operators, committables: vec![] };
        reports.send(Report::Acknowledged(acknowledgement)).unwrap();
    };
    let settings = AttemptSettings {
        graph: Arc::new(ExecutionGraph::new(graph).unwrap()),
        definition: "d".into(),
        store: CheckpointStore::open("memory:///", "job").unwrap(),
        env: Env::default(),
        attempt: Attempt(1),
        observer: Arc::default(),
        restored: None,
        control,
        sources: Box::new(acknowledge),
        checkpoint_timeout: Duration::from_millis(100),
        savepoints: Default::default(),
        takes_over: None,
    };
    (settings, inbox, told)
}

#[tokio::test]
async fn a_checkpoint_that_is_not_recorded_in_time_ends_the_attempt() {
    let (settings, inbox, _told) = settings(Arc::new(Stuck));
    let error = drive(settings, inbox, StopSignal::default()).await.unwrap_err();
    assert!(error.message.contains("not recorded within 100ms"), "{error}");
}

/// A record that never answers, because of a storage that is away.
struct Away;

impl ControlPlane for Away {
    fn completed<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Result<()>> {
        Stuck.completed(manifest)
    }

    fn commit(
        &self,
        of: Vec<CheckpointId>,
        attempt: Attempt,
        what: Vec<Committable>,
    ) -> BoxFuture<'static, Result<()>> {
        Stuck.commit(of, attempt, what)
    }

    fn sweep(&self, scope: SweepScope) -> BoxFuture<'static, Result<()>> {
        Stuck.sweep(scope)
    }

    fn shown(&self) -> BoxFuture<'static, Result<BTreeMap<String, ShownResults>>> {
        std::future::ready(Ok(BTreeMap::new())).boxed()
    }

    fn waits(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_is_away_holds_sources_up_and_ends_nothing() {
    let (recorded, inbox, mut told) = settings(Arc::new(Away));
    let driving = tokio::spawn(drive(recorded, inbox, StopSignal::default()));
    assert_eq!(told.recv().await, Some(SourceCommand::Hold), "while the manifest waits");
    // So does one whose subtasks cannot write their state.
    let (unwritten, inbox, _) = settings(Arc::new(Away));
    let (hear, mut told_too) = mpsc::unbounded_channel();
    let env = unwritten.env.clone();
    let silent = AttemptSettings { sources: Box::new(move |command| hear.send(command).unwrap()), ..unwritten };
    let waiting = tokio::spawn(drive(silent, inbox, StopSignal::default()));
    assert!(matches!(told_too.recv().await, Some(SourceCommand::Checkpoint { .. })));
    assert_eq!(told_too.recv().await, Some(SourceCommand::Hold));
    env.sleep(Duration::from_secs(3_600)).await;
    assert!(!driving.is_finished() && !waiting.is_finished(), "an hour is 36,000 time-outs");
    assert!(told.try_recv().is_err() && told_too.try_recv().is_err());
    driving.abort();
    waiting.abort();
}

/// Records at once, and commits as often as it is allowed to; notes which checkpoints it is asked for.
struct Slow(Arc<tokio::sync::Semaphore>, mpsc::UnboundedSender<Vec<u64>>);

impl ControlPlane for Slow {
    fn completed<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn commit(&self, these: Vec<CheckpointId>, _: Attempt, _: Vec<Committable>) -> BoxFuture<'static, Result<()>> {
        let allowed = self.0.clone();
        let _ = self.1.send(these.iter().map(|checkpoint| checkpoint.0).collect());
        async move {
            allowed.acquire().await.unwrap().forget();
            Ok(())
        }
        .boxed()
    }

    fn sweep(&self, _: SweepScope) -> BoxFuture<'static, Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn shown(&self) -> BoxFuture<'static, Result<BTreeMap<String, ShownResults>>> {
        std::future::ready(Ok(BTreeMap::new())).boxed()
    }
}

#[tokio::test]
async fn sources_are_held_up_while_commits_are_too_far_behind() {
    let allowed = Arc::new(tokio::sync::Semaphore::new(0));
    let (asked, mut asks) = mpsc::unbounded_channel();
    let (settings, inbox, mut told) = settings(Arc::new(Slow(allowed.clone(), asked)));
    let (store, observer) = (settings.store.clone(), settings.observer.clone());
    let driving = tokio::spawn(drive(settings, inbox, StopSignal::default()));
    assert_eq!(told.recv().await, Some(SourceCommand::Hold));
    assert_eq!(store.checkpoints().await.unwrap().last(), Some(&CheckpointId(MAX_UNCOMMITTED as u64)));
    assert_eq!(observer.status().committed, None);
    allowed.add_permits(1);
    assert_eq!(told.recv().await, Some(SourceCommand::GoOn));
    assert_eq!(observer.status().committed, Some(CheckpointId(1)), "in order");
    // Those that waited behind it go together, but not all, so that sources go on before all are done.
    let most = MAX_TOGETHER as u64;
    assert_eq!(asks.recv().await.unwrap(), [1]);
    assert_eq!(asks.recv().await.unwrap(), (2..=most + 1).collect::<Vec<_>>());
    allowed.add_permits(1);
    let next = asks.recv().await.unwrap();
    assert_eq!(next, (most + 2..=most * 2 + 1).collect::<Vec<_>>());
    assert_eq!(observer.status().committed, Some(CheckpointId(most + 1)));
    driving.abort();
}

#[tokio::test]
async fn a_savepoint_that_is_committed_with_others_is_kept_and_told_of_when_all_are_visible() {
    let allowed = Arc::new(tokio::sync::Semaphore::new(0));
    let (asked, mut asks) = mpsc::unbounded_channel();
    let (settings, inbox, mut told) = settings(Arc::new(Slow(allowed.clone(), asked)));
    let (store, savepoints) = (settings.store.clone(), settings.savepoints.clone());
    let driving = tokio::spawn(drive(settings, inbox, StopSignal::default()));
    assert_eq!(asks.recv().await.unwrap(), [1]);
    let mut savepoint = savepoints.ask();
    assert_eq!(told.recv().await, Some(SourceCommand::Hold), "more checkpoints are complete than may be uncommitted");
    assert!(savepoint.try_recv().is_err() && pins::list(&store).await.unwrap().is_empty());
    // It was asked for early on, and is among the first that waited; it is not the last of these.
    allowed.add_permits(2);
    asks.recv().await.unwrap();
    let kept = savepoint.await.unwrap();
    assert!((2..=MAX_TOGETHER as u64).contains(&kept.0), "{kept}");
    let pinned: Vec<CheckpointId> = pins::list(&store).await.unwrap().into_iter().map(|(_, pinned)| pinned).collect();
    assert_eq!(pinned, [kept]);
    assert!(store.exists(&store.layout().manifest(kept)).await.unwrap(), "although only one is retained");
    driving.abort();
}

/// Who has it copied elsewhere releases it then.
#[tokio::test]
async fn whoever_asks_for_a_savepoint_has_one_that_nobody_else_releases() {
    let (asked, _asks) = mpsc::unbounded_channel();
    let allowed = Arc::new(tokio::sync::Semaphore::new(1_000_000));
    let (settings, inbox, _told) = settings(Arc::new(Slow(allowed, asked)));
    let (store, savepoints) = (settings.store.clone(), settings.savepoints.clone());
    let (first, second) = (savepoints.ask(), savepoints.ask());
    let driving = tokio::spawn(drive(settings, inbox, StopSignal::default()));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(first < second, "{first} {second}");
    assert!(pins::unpin(&store, second).await.unwrap());
    savepoints.release(second);
    let third = savepoints.ask().await.unwrap();
    let pinned: Vec<CheckpointId> = pins::list(&store).await.unwrap().into_iter().map(|(_, pinned)| pinned).collect();
    assert_eq!(pinned, [first, third]);
    assert!(store.exists(&store.layout().manifest(first)).await.unwrap());
    driving.abort();
}

#[tokio::test(start_paused = true)]
async fn sources_hear_where_their_slowest_subtask_is_until_it_has_no_more() {
    let (settings, _, _) = settings(Arc::new(Stuck));
    let (hear, mut told) = mpsc::unbounded_channel();
    let settings = AttemptSettings { sources: Box::new(move |command| hear.send(command).unwrap()), ..settings };
    let (reports, inbox) = mpsc::unbounded_channel();
    let driving = tokio::spawn(drive(settings, inbox, StopSignal::default()));
    let subtask = SubtaskId { task: 0, index: 0 };
    let mut next = async || loop {
        if let SourceCommand::Pace { task: 0, slowest } = told.recv().await.expect("it is driven") {
            return slowest;
        }
    };
    reports.send(Report::Paced(subtask, Some(7))).unwrap();
    assert_eq!(next().await, Some(Slowest { subtask: 0, event_time: 7, next: None }));
    reports.send(Report::Exhausted(subtask)).unwrap();
    reports.send(Report::Paced(subtask, Some(8))).unwrap();
    assert_eq!(next().await, None, "whatever it has said last");
    driving.abort();
}

/// A source that was drained and then read on would count in windows that have fired.
#[tokio::test(start_paused = true)]
async fn from_a_drain_on_there_is_no_checkpoint_but_the_last() {
    let left_behind = [None, Some(TakeOver { newest_was_last: false, next: None })];
    for takes_over in left_behind {
        let (settings, _, _) = settings(Arc::new(Stuck));
        let (env, subtask) = (settings.env.clone(), SubtaskId { task: 0, index: 0 });
        let (hear, mut told) = mpsc::unbounded_channel();
        let sources = Box::new(move |command| hear.send(command).unwrap());
        let (reports, inbox) = mpsc::unbounded_channel();
        let stop = StopSignal::default();
        // A driver that takes over does not know how far its predecessor came with it.
        stop.drain();
        let driving = tokio::spawn(drive(AttemptSettings { sources, takes_over, ..settings }, inbox, stop));
        let mut next = async || told.recv().await.expect("it is driven");
        if takes_over.is_some() {
            assert_eq!(next().await, SourceCommand::GoOn);
        }
        assert_eq!(next().await, SourceCommand::Drain);
        let long = env.now() + Duration::from_secs(60);
        tokio::select! {
            command = next() => panic!("{command:?} of a source that is being drained"),
            () = env.sleep_until(long) => {}
        }
        reports.send(Report::Exhausted(subtask)).unwrap();
        assert_eq!(next().await, SourceCommand::Checkpoint { checkpoint: CheckpointId(1), last: true });
        driving.abort();
    }
}

/// The barrier of a checkpoint that some sources have heard of must reach them all; of one that nobody has heard of there is none.
#[tokio::test(start_paused = true)]
async fn a_driver_that_takes_over_triggers_what_was_begun() {
    for last in [false, true] {
        let (settings, _, _) = settings(Arc::new(Stuck));
        let (hear, mut told) = mpsc::unbounded_channel();
        let sources = Box::new(move |command| hear.send(command).unwrap());
        let takes_over = Some(TakeOver { newest_was_last: false, next: Some(last) });
        let (_reports, inbox) = mpsc::unbounded_channel();
        let driving =
            tokio::spawn(drive(AttemptSettings { sources, takes_over, ..settings }, inbox, StopSignal::default()));
        assert_eq!(told.recv().await, Some(SourceCommand::GoOn));
        let begun = SourceCommand::Checkpoint { checkpoint: CheckpointId(1), last };
        assert_eq!(told.recv().await, Some(begun));
        driving.abort();
    }
}
