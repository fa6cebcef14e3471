//! Jobs whose storage is away, or another one is in its place, in virtual time: they wait, say so, and go on, and none of it counts as
//! a failure.

use super::*;
use crate::{
    config::{CoordinatorComponents, CoordinatorSettings, RestartPolicy},
    job::LiveJobs,
    metadata::{Command, MemoryDisk, Metadata, MetadataSettings},
    workers::{Session, Workers},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use tokio::task::JoinHandle;
use weir_engine::{
    checkpoint::{CheckpointStore, OpenStore},
    env::Env,
    graph::{CheckpointSettings, Node, NodeRole},
    ids::Attempt,
    task::Observers,
};
use weir_proto::{
    net::TcpNetwork,
    v1::{self as pb, coordinator_message::Kind as Order, worker_message::Kind as Said},
};

/// The job.
pub(in crate::job) const JOB: &str = "j";
pub(in crate::job) const HOUR: Duration = Duration::from_secs(3600);
/// Nobody is silent in these tests, and nobody has to say so.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// What storage does, time and again.
type Storage = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// A job, and who supervises it.
pub(in crate::job) struct Bench {
    pub(in crate::job) context: JobContext,
    supervising: JoinHandle<Result<()>>,
    /// What is opened as its storage.
    store: Arc<Mutex<CheckpointStore>>,
    /// How often storage was opened.
    opened: Arc<AtomicU32>,
    /// By attempt: whether results were compared with the checkpoint.
    compared: Compared,
    /// Whether the worker says that it runs what it is asked about.
    hosts: Arc<AtomicBool>,
    /// How often the worker was told to end an attempt.
    canceled: Arc<AtomicU32>,
}

type Compared = Arc<Mutex<BTreeMap<u64, bool>>>;

/// How long the worker takes to restore state, and how much of that comes back in a second.
#[derive(Clone, Copy, Default)]
struct Restore {
    seconds: u64,
    bytes_per_second: u64,
}

impl Restore {
    async fn pretend(self, workers: &Workers, session: &Session, deploy: &pb::Deploy) {
        for second in 0..self.seconds {
            let restored_bytes = second * self.bytes_per_second;
            let so_far = pb::Restoring { attempt: deploy.attempt.clone(), restored_bytes, bytes: u64::MAX };
            beat(workers, session, pb::Heartbeat { restoring: vec![so_far], ..pb::Heartbeat::default() });
            workers.env().sleep(Duration::from_secs(1)).await;
        }
    }
}

fn beat(workers: &Workers, session: &Session, heartbeat: pb::Heartbeat) {
    workers.on_message(session, pb::WorkerMessage { kind: Some(Said::Heartbeat(heartbeat)) }).unwrap();
}

impl Bench {
    /// A job in a cluster with one worker, which says `deployed` whenever it is to deploy.
    pub(in crate::job) async fn new(storage: Storage, deployed: impl Fn() -> Result<()> + Send + 'static) -> Self {
        Bench::that_restores(Restore::default(), storage, deployed).await
    }

    /// The same, where that takes a while.
    async fn that_restores(
        restore: Restore,
        storage: Storage,
        deployed: impl Fn() -> Result<()> + Send + 'static,
    ) -> Self {
        let began = Env::default().now();
        let wall_clock = move || 1_772_000_000_000 + (Env::default().now() - began).as_millis() as i64;
        let env = Env::simulated(1, Arc::new(wall_clock));
        let network = Arc::new(TcpNetwork);
        let group = MetadataSettings {
            heartbeat_interval: FOREVER / 4,
            election_timeout: (FOREVER, FOREVER * 2),
            decision_timeout: FOREVER,
            ..MetadataSettings::alone(1, "nowhere:1")
        };
        let metadata = Metadata::open(group, MemoryDisk::new().backend(), network.clone(), env.clone()).await.unwrap();
        let opened = Arc::new(AtomicU32::new(0));
        let store = Arc::new(Mutex::new(CheckpointStore::in_memory(JOB)));
        let (there, opens) = (store.clone(), opened.clone());
        let open_store: OpenStore = Arc::new(move |_, _| {
            opens.fetch_add(1, Ordering::Relaxed);
            storage().map(|()| there.lock().clone())
        });
        let workers = Workers::new(env.clone());
        let components =
            CoordinatorComponents { open_store, network, env: env.clone(), observers: Observers::default() };
        let settings = CoordinatorSettings {
            restart: RestartPolicy { most_failures: 2, ..RestartPolicy::default() },
            ..CoordinatorSettings::default()
        };
        let context = JobContext {
            settings: Arc::new(settings),
            components,
            metadata: Arc::new(metadata),
            workers,
            live: LiveJobs::default(),
        };
        let (hosts, canceled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let compared = serve(&context, restore, deployed, hosts.clone(), canceled.clone());
        let submit = Command::Submit {
            job: JOB.into(),
            graph: serde_json::to_value(graph()).unwrap().into(),
            fingerprint: "f".into(),
            definition: String::new().into(),
            fresh: false,
            from_savepoint: None,
            at_ms: 0,
        };
        context.metadata.propose(submit).await.unwrap();
        let supervising = tokio::spawn(Supervisor::new(context.clone(), JOB).run());
        Bench { context, supervising, store, opened, compared, hosts, canceled }
    }

    /// One whose second attempt runs, and has completed a checkpoint, and which nobody supervises any more.
    async fn with_a_checkpoint() -> Self {
        Bench::with_a_checkpoint_in(Arc::new(|| Ok(()))).await
    }

    async fn with_a_checkpoint_in(storage: Storage) -> Self {
        let ends = Mutex::new(vec![EngineError::io("a bug")]);
        let bench = Bench::new(storage, move || ends.lock().pop().map_or(Ok(()), Err)).await;
        bench.passes(HOUR).await;
        let job = bench.job();
        let (attempt, checkpoint) = (Some(Attempt(2)), Some(CheckpointId(1)));
        assert_eq!((job.status, job.attempt, job.checkpoint), (JobStatus::Running, attempt, checkpoint));
        bench.supervising.abort();
        bench.passes(HOUR).await;
        bench
    }

    /// Puts another storage in the place of the one that is there, which is returned.
    fn replace_storage(&self, store: CheckpointStore) -> CheckpointStore {
        std::mem::replace(&mut *self.store.lock(), store)
    }

    fn job(&self) -> Job {
        self.context.metadata.catalog().job(JOB).unwrap().clone()
    }

    fn waiting(&self) -> Option<Waiting> {
        self.context.live.of(JOB).waiting
    }

    /// Who supervises it once more, as when a coordinator leads that did not before.
    async fn supervise(&self) -> Result<()> {
        self.context.workers.expect(self.context.undriven([&self.job()]));
        let supervised = Supervisor::new(self.context.clone(), JOB).run();
        tokio::time::timeout(HOUR, supervised).await.expect("it comes to an end")
    }

    /// How often the worker is told to end an attempt when it is looked at what nobody drives.
    async fn strays(&self) -> u32 {
        let before = self.canceled.load(Ordering::Relaxed);
        self.context.workers.cancel_strays();
        self.passes(Duration::from_millis(10)).await;
        self.canceled.load(Ordering::Relaxed) - before
    }

    /// Slots of the worker that another job may take.
    fn free(&self) -> usize {
        let workers = &self.context.workers;
        if workers.expects_any() { 0 } else { workers.free("another").values().sum() }
    }

    pub(in crate::job) async fn passes(&self, time: Duration) {
        self.context.components.env.sleep(time).await;
    }
}

/// One source, which the worker never builds.
fn graph() -> JobGraph {
    JobGraph {
        name: JOB.into(),
        identity: None,
        nodes: vec![Node {
            id: "source.s".into(),
            kind: "s".into(),
            role: NodeRole::Source,
            parallelism: 1,
            config: serde_json::Value::Null,
        }],
        edges: vec![],
        max_parallelism: 16,
        checkpoint: CheckpointSettings { interval_ms: FOREVER.as_millis() as u64, ..CheckpointSettings::default() },
    }
}

/// A worker that does all that it is asked at once, but for what it restores, and says so.
fn serve(
    context: &JobContext,
    restore: Restore,
    deployed: impl Fn() -> Result<()> + Send + 'static,
    hosts: Arc<AtomicBool>,
    canceled: Arc<AtomicU32>,
) -> Compared {
    let registration = pb::Register { worker: "w".into(), slots: 1, ..pb::Register::default() };
    let (session, mut orders) = context.workers.register(registration, &context.settings);
    let (workers, compared) = (context.workers.clone(), Compared::default());
    let noted = compared.clone();
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            let done = |request| Said::Done(pb::Done { request, ..pb::Done::default() });
            let said = match order.kind {
                Some(Order::Deploy(deploy)) => {
                    restore.pretend(&workers, &session, &deploy).await;
                    let failure = deployed().err().map(|error| (&error).into());
                    Said::Deployed(pb::Deployed { attempt: deploy.attempt, failure })
                }
                Some(Order::Describe(attempt)) if hosts.load(Ordering::Relaxed) => {
                    let running =
                        pb::SubtaskMetrics { attempt: Some(attempt.clone()), ..pb::SubtaskMetrics::default() };
                    beat(&workers, &session, pb::Heartbeat { subtasks: vec![running], ..pb::Heartbeat::default() });
                    let subtasks = vec![pb::SubtaskId { task: 0, index: 0 }];
                    Said::Hosted(pb::Hosted { attempt: Some(attempt), subtasks, triggered: None })
                }
                Some(Order::Cancel(attempt)) => {
                    canceled.fetch_add(1, Ordering::Relaxed);
                    Said::Canceled(attempt)
                }
                Some(Order::Commit(commit)) => done(commit.request),
                Some(Order::Sweep(sweep)) => {
                    let attempt = sweep.attempt.map_or(0, |key| key.attempt);
                    *noted.lock().entry(attempt).or_default() |= !sweep.results.is_empty();
                    done(sweep.request)
                }
                _ => continue,
            };
            workers.on_message(&session, pb::WorkerMessage { kind: Some(said) }).unwrap();
        }
    });
    compared
}

fn away() -> Result<()> {
    Err(EngineError::unavailable("storage 's3://b': cannot list 'jobs/j': connection refused"))
}

/// Away until then, from now on.
fn away_for(time: Duration) -> Storage {
    let env = Env::default();
    let back = env.now() + time;
    Arc::new(move || if env.now() < back { away() } else { Ok(()) })
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_storage_is_away_for_a_day_says_so_and_goes_on_by_itself() {
    let bench = Bench::new(away_for(24 * HOUR), || Ok(())).await;
    bench.passes(HOUR).await;
    let waiting = bench.waiting().unwrap();
    assert_eq!((bench.job().status, waiting.since_ms), (JobStatus::Created, 1_772_000_000_000));
    assert!(waiting.what.starts_with("waits since 2026-02-25 06:13:20 UTC"), "{}", waiting.what);
    assert!(waiting.what.ends_with("connection refused"), "{}", waiting.what);
    bench.passes(23 * HOUR - Duration::from_secs(1)).await;
    let job = bench.job();
    assert_eq!(
        (job.transitions.len(), job.restarts, job.attempt),
        (1, 0, None),
        "nothing is taken down while it waits"
    );
    assert_eq!(bench.waiting().map(|waiting| waiting.since_ms), Some(1_772_000_000_000));
    let tries = bench.opened.load(Ordering::Relaxed);
    assert!((2880..3000).contains(&tries), "twice a minute: {tries}");
    bench.passes(Duration::from_secs(32)).await;
    let job = bench.job();
    assert_eq!((job.status, job.restarts, job.attempt.map(|attempt| attempt.0)), (JobStatus::Running, 0, Some(1)));
    assert_eq!(bench.waiting(), None);
    assert!(!bench.supervising.is_finished());
}

/// As when the disk of a worker is full.
#[tokio::test(start_paused = true)]
async fn attempts_that_fail_for_what_is_full_use_nothing_up() {
    let left = Mutex::new(40);
    let deployed = move || {
        let mut left = left.lock();
        *left -= 1;
        if *left < 0 { Ok(()) } else { Err(EngineError::unavailable("no space left on device")) }
    };
    let bench = Bench::new(Arc::new(|| Ok(())), deployed).await;
    bench.passes(Duration::from_secs(300)).await;
    let (job, waiting) = (bench.job(), bench.waiting().unwrap());
    assert!(job.restarts > 10 && waiting.what.contains("no space left"), "{} {}", job.restarts, waiting.what);
    assert_eq!(waiting.since_ms, 1_772_000_000_000, "it is one wait");
    bench.passes(HOUR).await;
    assert_eq!((bench.job().status, bench.job().restarts), (JobStatus::Running, 40));
    assert_eq!(bench.waiting(), None);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_refuses_is_no_storage_that_is_away() {
    let bench = Bench::new(Arc::new(|| Err(EngineError::io("no such bucket"))), || Ok(())).await;
    bench.passes(Duration::from_secs(10)).await;
    let job = bench.job();
    let cause = &job.transitions.back().unwrap().cause;
    assert_eq!((job.status, cause.as_str()), (JobStatus::Failed, "3 failures in a row, the last: no such bucket"));
    assert_eq!(bench.waiting(), None);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_can_be_canceled_and_one_that_never_began_can_be_stopped() {
    let cancel = Command::CancelRequested { job: JOB.into(), at_ms: 1 };
    let stop = Command::StopRequested { job: JOB.into(), drain: false, at_ms: 1 };
    for asked in [cancel, stop] {
        let bench = Bench::new(Arc::new(away), || Ok(())).await;
        bench.passes(HOUR).await;
        bench.context.metadata.propose(asked).await.unwrap();
        bench.passes(Duration::from_millis(10)).await;
        assert_eq!((bench.job().status, bench.waiting()), (JobStatus::Canceled, None));
    }
}

/// It costs a look at all results, so it is done only where somebody may have brought back an older state meanwhile.
#[tokio::test(start_paused = true)]
async fn results_are_compared_at_a_start_and_after_a_wait_and_not_at_each_restart() {
    let ends = Mutex::new(vec![EngineError::io("a bug"), away().unwrap_err(), EngineError::io("another bug")]);
    let deployed = move || {
        let mut ends = ends.lock();
        if ends.is_empty() { Ok(()) } else { Err(ends.remove(0)) }
    };
    let bench = Bench::new(Arc::new(|| Ok(())), deployed).await;
    bench.passes(HOUR).await;
    assert_eq!(bench.job().status, JobStatus::Running);
    let compared = |bench: &Bench| bench.compared.lock().values().copied().collect::<Vec<bool>>();
    assert_eq!(compared(&bench), [true, false, true, false], "the third has waited for storage");
    // Its coordinator is started again, perhaps with all that it and its storage knew an hour ago.
    bench.supervising.abort();
    bench.passes(HOUR).await;
    let supervising = tokio::spawn(Supervisor::new(bench.context.clone(), JOB).run());
    bench.passes(HOUR).await;
    assert_eq!((bench.job().status, bench.job().restarts), (JobStatus::Running, 4));
    assert_eq!(compared(&bench), [true, false, true, false, true]);
    assert!(!supervising.is_finished());
}

/// As a folder is where nothing is mounted any more.
#[tokio::test(start_paused = true)]
async fn a_storage_that_has_nothing_of_what_is_complete_is_waited_for_and_nothing_is_written_to_it() {
    let bench = Bench::with_a_checkpoint().await;
    let empty = CheckpointStore::in_memory(JOB);
    let kept = bench.replace_storage(empty.clone());
    let supervising = tokio::spawn(Supervisor::new(bench.context.clone(), JOB).run());
    bench.passes(HOUR).await;
    let (job, waiting) = (bench.job(), bench.waiting().unwrap());
    assert_eq!((job.status, job.attempt), (JobStatus::Restarting, Some(Attempt(2))));
    assert!(waiting.what.contains("checkpoint 1 of job 'j' is complete, but the storage"), "{}", waiting.what);
    assert_eq!(empty.newest_attempt().await.unwrap(), None, "a claim would make it the job's storage");
    bench.replace_storage(kept);
    bench.passes(Duration::from_secs(60)).await;
    let job = bench.job();
    assert_eq!((job.status, job.attempt, job.restarts), (JobStatus::Running, Some(Attempt(3)), 2));
    assert!(job.checkpoint > Some(CheckpointId(1)));
    assert!(!supervising.is_finished());
}

/// As it was left by whoever claimed attempts in such a folder.
#[tokio::test(start_paused = true)]
async fn a_storage_in_which_only_an_attempt_was_claimed_is_no_storage_in_which_a_job_was_started_over() {
    let bench = Bench::with_a_checkpoint().await;
    let stray = CheckpointStore::in_memory(JOB);
    stray.claim(&bench.context.components.env, Attempt(2), false).await.unwrap();
    bench.replace_storage(stray);
    let supervising = tokio::spawn(Supervisor::new(bench.context.clone(), JOB).run());
    bench.passes(HOUR).await;
    let (job, waiting) = (bench.job(), bench.waiting().unwrap());
    assert!(job.status != JobStatus::Running && job.checkpoint == Some(CheckpointId(1)), "{}", job.status);
    assert!(waiting.what.contains("checkpoint 1 of job 'j' is complete, but the storage"), "{}", waiting.what);
    assert!(!supervising.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_runs_is_neither_taken_over_nor_ended_while_its_storage_is_another_one() {
    let bench = Bench::with_a_checkpoint().await;
    bench.hosts.store(true, Ordering::Relaxed);
    let kept = bench.replace_storage(CheckpointStore::in_memory(JOB));
    let error = bench.supervise().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert_eq!((bench.job().status, bench.job().attempt), (JobStatus::Running, Some(Attempt(2))));
    assert_eq!(bench.strays().await, 0);
    bench.replace_storage(kept);
    let supervising = tokio::spawn(Supervisor::new(bench.context.clone(), JOB).run());
    bench.passes(HOUR).await;
    let job = bench.job();
    assert_eq!((job.status, job.attempt, job.restarts), (JobStatus::Running, Some(Attempt(2)), 1));
    assert!(!supervising.is_finished());
}

/// However often it is looked at.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_cannot_be_judged_keeps_its_slots_and_no_others() {
    let bench = Bench::with_a_checkpoint().await;
    bench.hosts.store(true, Ordering::Relaxed);
    let more = pb::Register { worker: "another".into(), slots: 3, ..pb::Register::default() };
    let _another = bench.context.workers.register(more, &bench.context.settings);
    assert_eq!(bench.free(), 4, "nobody knows of it yet");
    bench.replace_storage(CheckpointStore::in_memory(JOB));
    for _ in 0..3 {
        let error = bench.supervise().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert_eq!(bench.free(), 3);
        // As whoever restarts a supervisor does.
        bench.context.workers.expect(bench.context.undriven([&bench.job()]));
        assert_eq!((bench.free(), bench.strays().await), (3, 0));
    }
    // Another coordinator leads for a while.
    bench.context.workers.clear();
    let back = pb::Register { worker: "w".into(), slots: 1, ..pb::Register::default() };
    let _back = bench.context.workers.register(back, &bench.context.settings);
    assert_eq!(bench.free(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_attempt_cannot_be_judged_can_be_canceled() {
    let bench = Bench::with_a_checkpoint().await;
    bench.hosts.store(true, Ordering::Relaxed);
    bench.replace_storage(CheckpointStore::in_memory(JOB));
    bench.supervise().await.unwrap_err();
    bench.context.metadata.propose(Command::CancelRequested { job: JOB.into(), at_ms: 1 }).await.unwrap();
    bench.supervise().await.unwrap();
    assert_eq!((bench.job().status, bench.free()), (JobStatus::Canceled, 1));
    assert_eq!(bench.strays().await, 1, "its worker ends it");
}

/// The next attempt would find the same, so that nobody needs to wait for another look.
#[tokio::test(start_paused = true)]
async fn an_attempt_whose_storage_is_damaged_is_ended_and_the_job_says_why() {
    let damaged = Arc::new(AtomicBool::new(false));
    let is_damaged = damaged.clone();
    let storage = move || match is_damaged.load(Ordering::Relaxed) {
        true => Err(EngineError::corrupt("the manifest of checkpoint 1 is damaged")),
        false => Ok(()),
    };
    let bench = Bench::with_a_checkpoint_in(Arc::new(storage)).await;
    bench.hosts.store(true, Ordering::Relaxed);
    damaged.store(true, Ordering::Relaxed);
    bench.supervise().await.unwrap();
    let job = bench.job();
    let cause = &job.transitions.back().unwrap().cause;
    assert_eq!((job.status, cause.as_str()), (JobStatus::Failed, "the manifest of checkpoint 1 is damaged"));
    assert_eq!((bench.free(), bench.strays().await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_restore_may_take_as_long_as_it_takes_while_state_comes_back() {
    let half_an_hour = |bytes_per_second| Restore { seconds: 1800, bytes_per_second };
    let bench = Bench::that_restores(half_an_hour(1_000_000), Arc::new(|| Ok(())), || Ok(())).await;
    bench.passes(HOUR).await;
    let job = bench.job();
    assert_eq!((job.status, job.restarts, job.attempt), (JobStatus::Running, 0, Some(Attempt(1))));
    let stuck = Bench::that_restores(half_an_hour(0), Arc::new(|| Ok(())), || Ok(())).await;
    stuck.passes(Duration::from_secs(660)).await;
    let job = stuck.job();
    let gave_up = job.transitions.iter().any(|transition| transition.cause.contains("were not ready within 600s"));
    assert!(gave_up && job.status != JobStatus::Running, "{:?}", job.transitions);
}
