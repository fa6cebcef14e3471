//! A coordinator and its workers in this process.
//!
//! They are those of a cluster, and so is what they say to each other. It goes through queues instead of connections
//! ([`link`]), and of the workers' data only what goes from one to another is on the network ([`peers`]), which one worker
//! alone has no port for. The coordinator's record lasts as long as the process: beyond it the job's manifests are the record,
//! and a run begins with what they say.
//!
//! Invariant: a part of this process is lost only with the whole. So silence between the parts means nothing: a job continues that
//! was suspended for hours, and one whose output is not read waits. A planned crash in any part ends all of them.

use crate::{
    failed::{Failed, refused},
    link, peers,
    settings::{OnStartedOver, Settings, Submission},
};
use backon::Retryable;
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::JoinSet};
use tonic::Request;
use weir_coordinator::{
    Coordinator, CoordinatorComponents, CoordinatorSettings, RestartPolicy,
    job::Waiting,
    metadata::{Job, JobStatus, MemoryDisk, Metadata, MetadataSettings},
    scheduler,
};
use weir_engine::{
    checkpoint::{CheckpointStore, OpenStore},
    env::Env,
    error::{EngineError, ErrorKind},
    graph::{ExecutionGraph, JobGraph},
    retry,
    task::{Observers, RunOutcome},
    wire,
};
use weir_proto::v1::{StopRequest, SubmitRequest, client_server::Client};
use weir_worker::{Coordinators, Leave, WorkerComponents, WorkerSettings, network::Compression};

/// Longer than anybody waits. (The longest that a worker's lease can be is 49 days.)
pub(crate) const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often workers tell what they have done.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A wait that is over before is not told of.
const TOLD_AFTER_MS: i64 = 1000;

/// How often the last manifest is looked for when the storage is away, and the first and the longest pause between two looks: for
/// some two minutes in all.
const LOOKS: usize = 20;
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// A coordinator and its workers, up and running.
pub struct OneProcess {
    coordinator: Coordinator,
    metadata: Arc<Metadata>,
    /// Those who never end.
    parts: JoinSet<Result<(), EngineError>>,
    job: JobGraph,
    store: CheckpointStore,
    observers: Observers,
    env: Env,
    /// It was asked to remove what was there before.
    starts_over: bool,
}

/// Asks a job of this process to stop. Cheap to clone.
#[derive(Clone)]
pub struct Stopper {
    coordinator: Coordinator,
    metadata: Arc<Metadata>,
    job: String,
}

impl OneProcess {
    /// Starts them on the runtime that this is called on.
    ///
    /// # Errors
    /// When the graph cannot be run, or a port is refused.
    pub async fn start(settings: Settings) -> Result<Self, EngineError> {
        let Settings { graph, store, env, factory, workers, restarts, first_backoff, channel_bytes, data_runtime } =
            settings;
        let data_runtime = data_runtime.unwrap_or_else(Handle::current);
        let slots = scheduler::slots_needed(&ExecutionGraph::new(graph.clone())?).max(1).div_ceil(workers.get());
        let observers = Observers::of_one_job();
        let network = peers::network(workers);
        // One store for all: what is in memory would be another one's with each opening. A folder may be mounted anew meanwhile.
        let shared = store.clone();
        let open_store: OpenStore = Arc::new(move |_, _| shared.found_anew());
        let group = MetadataSettings {
            election_timeout: (FOREVER, FOREVER * 2),
            decision_timeout: FOREVER,
            ..MetadataSettings::alone(1, "this process")
        };
        let disk = MemoryDisk::new().backend();
        let metadata = Arc::new(Metadata::open(group, disk, network.clone(), env.clone()).await?);
        let components = CoordinatorComponents {
            open_store: open_store.clone(),
            network: network.clone(),
            env: env.clone(),
            observers: observers.clone(),
        };
        let restart =
            RestartPolicy { most_failures: restarts, first_backoff, yields: true, ..RestartPolicy::default() };
        let settings = coordinator_settings(store.url(), restart);
        let coordinator = Coordinator::new(settings, components, metadata.clone(), 1);
        let mut parts = JoinSet::new();
        let leading = coordinator.clone();
        parts.spawn(async move { leading.lead().await });
        for number in 1..=workers.get() {
            let settings = worker_settings(number, slots, channel_bytes);
            let components = WorkerComponents {
                factory: factory.clone(),
                open_store: open_store.clone(),
                network: network.clone(),
                env: env.clone(),
                observers: observers.clone(),
                data_runtime: data_runtime.clone(),
                leave: Leave::default(),
            };
            let plane = peers::data_plane(&settings, &components).await?;
            let link = link::to(coordinator.worker_service());
            parts.spawn(weir_worker::run_with(settings, components, plane, link));
        }
        Ok(OneProcess { coordinator, metadata, parts, job: graph, store, observers, env, starts_over: false })
    }

    /// What can be seen of the job.
    pub fn observers(&self) -> Observers {
        self.observers.clone()
    }

    /// Tells what the job waits for, if it has waited for a while: the slots that it waits for at first are there at once.
    pub fn waits(&self) -> impl Fn() -> Option<String> + Send + 'static {
        let (coordinator, job, env) = (self.coordinator.clone(), self.job.name.clone(), self.env.clone());
        let for_a_while = move |waiting: &Waiting| env.wall_clock_ms() - waiting.since_ms >= TOLD_AFTER_MS;
        move || coordinator.waiting(&job).filter(&for_a_while).map(|waiting| waiting.what)
    }

    /// Stops the job.
    pub fn stopper(&self) -> Stopper {
        let (coordinator, metadata) = (self.coordinator.clone(), self.metadata.clone());
        Stopper { coordinator, metadata, job: self.job.name.clone() }
    }

    /// Hands the job in and waits until it is over.
    ///
    /// # Errors
    /// The root cause of a failure; a planned crash, wherever it was.
    pub async fn run(mut self, submission: Submission) -> Result<RunOutcome, Failed> {
        let env = self.env.clone();
        let done = tokio::select! {
            biased;
            crash = env.crashed() => Err(crash.into()),
            done = self.until_over(submission) => done,
        };
        let done = match done {
            Ok(()) => self.outcome().await,
            Err(failed) => Err(failed),
        };
        self.parts.shutdown().await;
        if let Err(error) = self.metadata.shutdown().await {
            tracing::info!(%error, "not shut down cleanly; nothing of it is needed any more");
        }
        done
    }

    async fn until_over(&mut self, submission: Submission) -> Result<(), Failed> {
        let Submission { fingerprint, start_over, on_started_over, from_savepoint, notices } = submission;
        let request = SubmitRequest {
            graph: wire::to_json(&self.job)?,
            fingerprint,
            definition: String::new(),
            fresh: start_over,
            from_savepoint,
        };
        self.starts_over = start_over;
        let mut started_over: Option<OnStartedOver> = on_started_over.filter(|_| start_over);
        let mut catalog = self.metadata.watch();
        let submitted = self.coordinator.client_service().submit(Request::new(request)).await;
        for notice in submitted.map_err(|status| refused(&status))?.into_inner().notices {
            // The receiver may be gone.
            let _ = notices.send(notice);
        }
        let mut restarts = 0;
        loop {
            if let Some(job) = catalog.borrow_and_update().job(&self.job.name) {
                if !job.fresh_start_pending
                    && let Some(started_over) = started_over.take()
                {
                    tracing::info!(job = job.name, "started over");
                    started_over()?;
                }
                if job.restarts > restarts {
                    restarts = job.restarts;
                    // The receiver may be gone.
                    let _ = notices.send(format!("{}; it begins again", cause(job)));
                }
                if job.status.is_terminal() {
                    break;
                }
            }
            tokio::select! {
                changed = catalog.changed() => changed.map_err(|_| self.metadata.why_stopped())?,
                Some(part) = self.parts.join_next() => return Err(ended(part)),
            }
        }
        Ok(())
    }

    /// How the job ended.
    async fn outcome(&self) -> Result<RunOutcome, Failed> {
        let catalog = self.metadata.catalog();
        let job = catalog.job(&self.job.name).ok_or_else(|| EngineError::internal("the job is not in the catalog"))?;
        let has_run = job.restarts > 0 || job.transitions.iter().any(|step| step.to == JobStatus::Running);
        let last = match (job.status, job.checkpoint) {
            (JobStatus::Finished | JobStatus::Canceled, Some(last)) => last,
            _ => {
                let failure = self.coordinator.failure(&job.name);
                let kind = failure.map_or(ErrorKind::Io, |failure| failure.kind);
                let has_removed = self.starts_over && job.attempt.is_some();
                return Err(Failed { error: EngineError::of(kind, cause(job)), has_started: has_run || has_removed });
            }
        };
        // Everything is done; a storage that is away for a moment must not make a failure of it.
        let manifest = (|| self.store.manifest(last))
            .retry(retry::pauses(FIRST_LOOK, LONGEST_LOOK).take(LOOKS))
            .sleep(retry::sleeper(&self.env))
            .when(|error| error.kind == ErrorKind::Unavailable)
            .await?;
        let was_finished = manifest.last && !has_run && self.observers.status().checkpoints == 0;
        Ok(RunOutcome { manifest, was_finished })
    }
}

impl Stopper {
    /// Asks the job to stop with a last checkpoint and commit. One that has not begun yet begins first: nothing was taken down
    /// yet that it could resume from.
    pub async fn stop(self) {
        let mut catalog = self.metadata.watch();
        let has_begun = |job: &Job| job.attempt.is_some();
        if catalog.wait_for(|catalog| catalog.job(&self.job).is_some_and(has_begun)).await.is_err() {
            return;
        }
        let request = StopRequest { job: self.job, drain: false };
        if let Err(status) = self.coordinator.client_service().stop(Request::new(request)).await {
            tracing::info!(reason = status.message(), "not stopped");
        }
    }
}

fn coordinator_settings(storage: &str, restart: RestartPolicy) -> CoordinatorSettings {
    CoordinatorSettings {
        storage: storage.into(),
        heartbeat_interval: HEARTBEAT,
        heartbeat_timeout: FOREVER,
        commit_timeout: FOREVER,
        commit_patience: FOREVER,
        deploy_timeout: FOREVER,
        restart,
        ..CoordinatorSettings::default()
    }
}

fn worker_settings(number: usize, slots: usize, channel_bytes: usize) -> WorkerSettings {
    WorkerSettings {
        worker: format!("worker-{number}"),
        coordinators: Coordinators::default(),
        slots,
        listen: "127.0.0.1:0".into(),
        advertise: None,
        secret: Default::default(),
        leaderless_timeout: FOREVER,
        reconnect_after: Duration::from_millis(10),
        channel_bytes,
        compression: Compression::None,
    }
}

/// Why a job stands where it stands.
fn cause(job: &Job) -> String {
    job.transitions.back().map(|transition| transition.cause.clone()).unwrap_or_default()
}

/// A part of this process ended, which none does by itself.
fn ended(part: Result<Result<(), EngineError>, tokio::task::JoinError>) -> Failed {
    match part {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => EngineError::internal("the coordinator or a worker ended unexpectedly").into(),
        Err(error) => EngineError::internal(format!("the coordinator or a worker panicked: {error}")).into(),
    }
}
