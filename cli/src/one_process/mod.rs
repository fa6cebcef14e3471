//! A coordinator and its workers in this process: what `weir run` runs a job on.
//!
//! They are those of a cluster, and so is what they say to each other. It goes through queues instead of connections
//! ([`link`]), and of the workers' data only what goes from one to another is on the network ([`peers`]), which one worker
//! alone has no port for. The coordinator's record lasts as long as the process: beyond it the job's manifests are the record,
//! and a run begins with what they say.
//!
//! Invariant: a part of this process is lost only with the whole. So no silence between them means anything: a job goes on that
//! was suspended for hours, and one whose output nobody takes waits.

mod link;
mod peers;

use crate::{cluster::connection::refused, failure::Failure};
use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::JoinSet};
use tonic::Request;
use weir_coordinator::{
    Coordinator, CoordinatorComponents, CoordinatorSettings, RestartPolicy,
    metadata::{Job, JobStatus, MemoryDisk, Metadata, MetadataSettings},
    scheduler,
};
use weir_engine::{
    checkpoint::{CheckpointStore, Manifest, OpenStore},
    disk,
    env::Env,
    error::{EngineError, ErrorKind},
    graph::{ExecutionGraph, JobGraph},
    task::{Observers, RunOutcome},
    wire,
};
use weir_operators::Registry;
use weir_proto::v1::{StopRequest, SubmitRequest, client_server::Client};
use weir_worker::{WorkerComponents, WorkerSettings, network::Compression};

/// Longer than anybody waits. (The longest that a worker's lease can be is 49 days.)
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often workers tell what they have done.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Credit of each channel, in bytes.
const CHANNEL_BYTES: usize = 1 << 20;

/// What runs where, and with which means.
pub struct Settings {
    /// The job.
    pub graph: JobGraph,
    /// Its checkpoints.
    pub store: CheckpointStore,
    /// Time, chance and planned crashes.
    pub env: Env,
    /// How many workers share the job's subtasks.
    pub workers: NonZeroUsize,
    /// How often in a row, without progress, the job may fail and begin again.
    pub restarts: u32,
    /// Where subtasks run.
    pub data_runtime: Handle,
}

/// What is asked of the job besides running it.
pub struct Submission {
    /// Fingerprint of its definition.
    pub fingerprint: String,
    /// The file that says that the job is to be started over; it is removed when that is done.
    pub start_over: Option<PathBuf>,
    /// Takes a sentence for the user now and then.
    pub notices: tokio::sync::mpsc::UnboundedSender<String>,
}

/// A coordinator and its workers, up and running.
pub struct OneProcess {
    coordinator: Coordinator,
    metadata: Arc<Metadata>,
    /// Those who never end.
    parts: JoinSet<Result<(), EngineError>>,
    job: JobGraph,
    store: CheckpointStore,
    observers: Observers,
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
        let Settings { graph, store, env, workers, restarts, data_runtime } = settings;
        let slots = scheduler::slots_needed(&ExecutionGraph::new(graph.clone())?).max(1).div_ceil(workers.get());
        let observers = Observers::of_one_job();
        let network = peers::network(workers);
        // One store for all: what is in memory would be another one's with each opening.
        let shared = store.clone();
        let open_store: OpenStore = Arc::new(move |_, _| Ok(shared.clone()));
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
        let settings = coordinator_settings(store.url(), restarts);
        let coordinator = Coordinator::new(settings, components, metadata.clone(), 1);
        let mut parts = JoinSet::new();
        let leading = coordinator.clone();
        parts.spawn(async move { leading.lead().await });
        for number in 1..=workers.get() {
            let settings = worker_settings(number, slots);
            let components = WorkerComponents {
                factory: Arc::new(Registry),
                open_store: open_store.clone(),
                network: network.clone(),
                env: env.clone(),
                observers: observers.clone(),
                data_runtime: data_runtime.clone(),
            };
            let plane = peers::data_plane(&settings, &components).await?;
            let link = link::to(coordinator.worker_service());
            parts.spawn(weir_worker::run_with(settings, components, plane, link));
        }
        Ok(OneProcess { coordinator, metadata, parts, job: graph, store, observers })
    }

    /// What can be seen of the job.
    pub fn observers(&self) -> Observers {
        self.observers.clone()
    }

    /// Stops the job.
    pub fn stopper(&self) -> Stopper {
        let (coordinator, metadata) = (self.coordinator.clone(), self.metadata.clone());
        Stopper { coordinator, metadata, job: self.job.name.clone() }
    }

    /// Hands the job in and waits until it is over. `before` is the newest checkpoint before that.
    ///
    /// # Errors
    /// The root cause of a failure.
    pub async fn run(mut self, submission: Submission, before: Option<&Manifest>) -> Result<RunOutcome, Failure> {
        let done = match self.until_over(submission).await {
            Ok(()) => self.outcome(before).await,
            Err(failure) => Err(failure),
        };
        self.parts.shutdown().await;
        if let Err(error) = self.metadata.shutdown().await {
            tracing::info!(%error, "not shut down well; nothing of it is needed any more");
        }
        done
    }

    async fn until_over(&mut self, submission: Submission) -> Result<(), Failure> {
        let Submission { fingerprint, mut start_over, notices } = submission;
        let request = SubmitRequest {
            graph: wire::to_json(&self.job)?,
            fingerprint,
            definition: String::new(),
            fresh: start_over.is_some(),
        };
        let mut catalog = self.metadata.watch();
        let submitted = self.coordinator.client_service().submit(Request::new(request)).await;
        submitted.map_err(|status| refused(&status))?;
        let mut restarts = 0;
        loop {
            if let Some(job) = catalog.borrow_and_update().job(&self.job.name) {
                if !job.fresh_start_pending
                    && let Some(mark) = start_over.take()
                {
                    tracing::info!(job = job.name, "started over");
                    remove(&mark)?;
                }
                if job.restarts > restarts {
                    restarts = job.restarts;
                    // Whoever shows notices may be gone.
                    let _ = notices.send(format!("{}; it begins again", cause(job)));
                }
                if job.status.is_terminal() {
                    break;
                }
            }
            tokio::select! {
                changed = catalog.changed() => changed.map_err(|_| EngineError::internal("the catalog is gone"))?,
                Some(part) = self.parts.join_next() => return Err(ended(part)),
            }
        }
        Ok(())
    }

    /// How the job ended.
    async fn outcome(&self, before: Option<&Manifest>) -> Result<RunOutcome, Failure> {
        let catalog = self.metadata.catalog();
        let job = catalog.job(&self.job.name).ok_or_else(|| EngineError::internal("the job is not in the catalog"))?;
        let last = match (job.status, job.checkpoint) {
            (JobStatus::Finished | JobStatus::Canceled, Some(last)) => last,
            _ => {
                let failure = self.coordinator.failure(&job.name);
                return Err(EngineError::of(failure.map_or(ErrorKind::Io, |failure| failure.kind), cause(job)).into());
            }
        };
        let manifest = self.store.manifest(last).await?;
        Ok(RunOutcome { manifest, was_finished: before.is_some_and(|before| before.last) })
    }
}

impl Stopper {
    /// Asks the job to stop with a last checkpoint and commit. One that has not begun yet begins first: nothing was taken down
    /// yet that it could go on from.
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

fn coordinator_settings(storage: &str, restarts: u32) -> CoordinatorSettings {
    CoordinatorSettings {
        storage: storage.into(),
        heartbeat_interval: HEARTBEAT,
        heartbeat_timeout: FOREVER,
        commit_timeout: FOREVER,
        commit_patience: FOREVER,
        deploy_timeout: FOREVER,
        restart: RestartPolicy { most_failures: restarts, yields: true, ..RestartPolicy::default() },
        ..CoordinatorSettings::default()
    }
}

fn worker_settings(number: usize, slots: usize) -> WorkerSettings {
    WorkerSettings {
        worker: format!("worker-{number}"),
        coordinators: Vec::new(),
        slots,
        listen: "127.0.0.1:0".into(),
        advertise: None,
        secret: Default::default(),
        reconnect_after: Duration::from_millis(10),
        channel_bytes: CHANNEL_BYTES,
        compression: Compression::None,
    }
}

/// Why a job stands where it stands.
fn cause(job: &Job) -> String {
    job.transitions.back().map(|transition| transition.cause.clone()).unwrap_or_default()
}

/// A part of this process ended, which none does by itself.
fn ended(part: Result<Result<(), EngineError>, tokio::task::JoinError>) -> Failure {
    match part {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => EngineError::internal("the coordinator or a worker ended by itself").into(),
        Err(error) => EngineError::internal(format!("the coordinator or a worker panicked: {error}")).into(),
    }
}

fn remove(mark: &std::path::Path) -> Result<(), Failure> {
    disk::remove_file(mark).map_err(|error| Failure::failed(format!("cannot remove '{}': {error}", mark.display())))
}
