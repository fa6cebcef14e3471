//! What runs, with which means, and what is asked of it.

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::{runtime::Handle, sync::mpsc};
use weir_engine::{checkpoint::CheckpointStore, env::Env, error::Result, graph::JobGraph, operator::Factory};
use weir_proto::v1::FromSavepoint;

/// Credit of each channel, in bytes.
pub const CHANNEL_BYTES: usize = 1 << 20;

/// The wait before a job begins again the first time.
pub const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// What runs where, and with which means.
#[derive(Clone)]
pub struct Settings {
    /// The job.
    pub graph: JobGraph,
    /// Its checkpoints.
    pub store: CheckpointStore,
    /// Time, chance and planned crashes. A planned crash ends the run, as it would end the process.
    pub env: Env,
    /// Builds operators.
    pub factory: Arc<dyn Factory>,
    /// How many workers share the job's subtasks.
    pub workers: NonZeroUsize,
    /// How often in a row, without progress, the job may fail and begin again.
    pub restarts: u32,
    /// The wait before it begins again the first time; each further one doubles it.
    pub first_backoff: Duration,
    /// Credit of each channel, in bytes.
    pub channel_bytes: usize,
    /// Where subtasks run; `None`: where everything else does.
    pub data_runtime: Option<Handle>,
}

impl Settings {
    /// One worker, no restarts, one runtime.
    pub fn new(graph: JobGraph, store: CheckpointStore, env: Env, factory: Arc<dyn Factory>) -> Self {
        Settings {
            graph,
            store,
            env,
            factory,
            workers: NonZeroUsize::MIN,
            restarts: 0,
            first_backoff: FIRST_BACKOFF,
            channel_bytes: CHANNEL_BYTES,
            data_runtime: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { graph, workers, restarts, .. } = self;
        f.debug_struct("Settings")
            .field("job", &graph.name)
            .field("workers", workers)
            .field("restarts", restarts)
            .finish_non_exhaustive()
    }
}

/// Called once the job is started over.
pub type OnStartedOver = Box<dyn FnOnce() -> Result<()> + Send>;

/// What is asked of the job besides running it.
pub struct Submission {
    /// Fingerprint of its definition.
    pub fingerprint: String,
    /// Whether to forget its checkpoints and remove what it has written first.
    pub start_over: bool,
    /// Called once that is done.
    pub on_started_over: Option<OnStartedOver>,
    /// What to go on from instead of the newest checkpoint.
    pub from_savepoint: Option<FromSavepoint>,
    /// Takes a sentence for the user now and then.
    pub notices: mpsc::UnboundedSender<String>,
}

impl Submission {
    /// From the newest checkpoint; nobody takes notices.
    pub fn new(fingerprint: impl Into<String>) -> Self {
        Submission {
            fingerprint: fingerprint.into(),
            start_over: false,
            on_started_over: None,
            from_savepoint: None,
            notices: mpsc::unbounded_channel().0,
        }
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Submission { fingerprint, start_over, .. } = self;
        f.debug_struct("Submission")
            .field("fingerprint", fingerprint)
            .field("start_over", start_over)
            .finish_non_exhaustive()
    }
}
