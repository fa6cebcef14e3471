//! The newest description of the cluster, published for readers.

use super::{ClusterStatus, CoordinatorStatus, JobStatus, WorkerStatus};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// The cluster and all its jobs at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The cluster, with each job in one line.
    pub cluster: ClusterStatus,
    /// The jobs, by id.
    pub jobs: BTreeMap<String, JobStatus>,
}

impl Snapshot {
    /// Puts a snapshot together; the lines of `cluster.jobs` are made here, from `jobs`.
    pub fn new(
        as_of_ms: i64,
        coordinator: CoordinatorStatus,
        workers: Vec<WorkerStatus>,
        jobs: impl IntoIterator<Item = JobStatus>,
    ) -> Self {
        let jobs: BTreeMap<String, JobStatus> = jobs.into_iter().map(|job| (job.id.clone(), job)).collect();
        let lines = jobs.values().map(JobStatus::summary).collect();
        Snapshot {
            cluster: ClusterStatus { as_of_ms, coordinator, coordinators: Vec::new(), workers, jobs: lines },
            jobs,
        }
    }
}

/// Holds the newest [`Snapshot`]. Clones show the same one.
#[derive(Clone, Debug)]
pub struct StatusBoard {
    newest: watch::Sender<Arc<Snapshot>>,
}

impl Default for StatusBoard {
    fn default() -> Self {
        StatusBoard::new(Snapshot::default())
    }
}

impl StatusBoard {
    /// A board that shows `first` until something is published.
    pub fn new(first: Snapshot) -> Self {
        StatusBoard { newest: watch::Sender::new(Arc::new(first)) }
    }

    /// Shows `snapshot` from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.newest.send_replace(Arc::new(snapshot));
    }

    /// What is shown now.
    pub fn newest(&self) -> Arc<Snapshot> {
        self.newest.borrow().clone()
    }

    /// Follows what is shown.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.newest.subscribe()
    }
}
