//! Jobs whose storage is away, or another one is in its place, in virtual time: they wait, say so, and go on, and none of it counts as
//! a failure.

use super::*;
use crate::{
    config::{CoordinatorComponents, CoordinatorSettings, RestartPolicy},
    job::LiveJobs,
    metadata::{Command, MemoryDisk, Metadata, MetadataSettings},
    workers::Workers,
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
}

type Compared = Arc<Mutex<BTreeMap<u64, bool>>>;

impl Bench {
    /// A job in a cluster with one worker, which says `deployed` whenever it is to deploy.
    pub(in crate::job) async fn new(storage: Storage, deployed: impl Fn() -> Result<()> + Send + 'static) -> Self {
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
        let hosts = Arc::new(AtomicBool::new(false));
        let compared = serve(&context, deployed, hosts.clone());
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
        Bench { context, supervising, store, opened, compared, hosts }
    }

    /// One whose second attempt runs, and has completed a checkpoint, and which nobody supervises any more.
    async fn with_a_checkpoint() -> Self {
        let ends = Mutex::new(vec![EngineError::io("a bug")]);
        let bench = Bench::new(Arc::new(|| Ok(())), move || ends.lock().pop().map_or(Ok(()), Err)).await;
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

/// A worker that does all that it is asked at once, and says so.
fn serve(context: &JobContext, deployed: impl Fn() -> Result<()> + Send + 'static, hosts: Arc<AtomicBool>) -> Compared {
    let registration = pb::Register { worker: "w".into(), slots: 1, ..pb::Register::default() };
    let (session, mut orders) = context.workers.register(registration, &context.settings);
    let (workers, compared) = (context.workers.clone(), Compared::default());
    let noted = compared.clone();
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            let done = |request| Said::Done(pb::Done { request, ..pb::Done::default() });
            let said = match order.kind {
                Some(Order::Deploy(deploy)) => {
                    let failure = deployed().err().map(|error| (&error).into());
                    Said::Deployed(pb::Deployed { attempt: deploy.attempt, failure })
                }
                Some(Order::Describe(attempt)) if hosts.load(Ordering::Relaxed) => {
                    let subtasks = vec![pb::SubtaskId { task: 0, index: 0 }];
                    Said::Hosted(pb::Hosted { attempt: Some(attempt), subtasks, triggered: None })
                }
                Some(Order::Cancel(attempt)) => Said::Canceled(attempt),
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
    let supervise = || Supervisor::new(bench.context.clone(), JOB).run();
    let error = tokio::time::timeout(HOUR, supervise()).await.expect("it does not go on").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert_eq!((bench.job().status, bench.job().attempt), (JobStatus::Running, Some(Attempt(2))));
    bench.replace_storage(kept);
    let supervising = tokio::spawn(supervise());
    bench.passes(HOUR).await;
    let job = bench.job();
    assert_eq!((job.status, job.attempt, job.restarts), (JobStatus::Running, Some(Attempt(2)), 1));
    assert!(!supervising.is_finished());
}
