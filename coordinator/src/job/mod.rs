//! Driving jobs: a supervisor for each, which schedules attempts until the job is over.
//!
//! [`supervisor`] decides what comes next, [`verdict`] what a failure leads to, [`patience`] tells of long waits; [`attempt`] runs one
//! incarnation, [`takeover`] finds one that runs without its driver, [`from_savepoint`] makes a savepoint what it goes on from,
//! [`savepoints`] has one made, [`control`] is its hands: the record in the replicated catalog, the commits on workers. [`commits`]
//! counts these, for those who watch.

pub mod attempt;
pub mod commits;
pub mod control;
pub mod from_savepoint;
pub mod patience;
pub mod savepoints;
pub mod supervisor;
pub mod takeover;
pub mod verdict;

use crate::{
    config::{CoordinatorComponents, CoordinatorSettings},
    metadata::{Command, Job, JobStatus, Metadata},
    workers::Workers,
};
use commits::CommitsSoFar;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    error::{EngineError, ErrorKind, Result},
    ids::{Attempt, SubtaskId},
    operator::Waits,
    task::Savepoints,
    wire::AttemptKey,
};

/// The worker of each subtask of an attempt.
pub type Placement = BTreeMap<SubtaskId, String>;

/// What every supervisor works with. Cheap to clone.
#[derive(Clone)]
pub struct JobContext {
    /// Settings of this coordinator.
    pub settings: Arc<CoordinatorSettings>,
    /// Its surroundings.
    pub components: CoordinatorComponents,
    /// The replicated catalog.
    pub metadata: Arc<Metadata>,
    /// The workers that are there.
    pub workers: Workers,
    /// What supervisors show of their jobs.
    pub live: LiveJobs,
}

impl JobContext {
    /// The attempts of these jobs that may run on workers although nobody drives them here.
    pub fn undriven<'a>(&self, jobs: impl IntoIterator<Item = &'a Job>) -> Vec<AttemptKey> {
        let runs = |job: &&Job| matches!(job.status, JobStatus::Running | JobStatus::Stopping);
        let key = |job: &Job| Some(AttemptKey { job: job.name.clone(), attempt: job.attempt? });
        jobs.into_iter().filter(runs).filter_map(key).collect()
    }

    /// Records that a job goes to another state, and why.
    ///
    /// # Errors
    /// When the catalog forbids it, or cannot be reached.
    pub async fn become_status(
        &self,
        job: &str,
        attempt: Option<Attempt>,
        status: JobStatus,
        cause: impl Into<String>,
    ) -> Result<()> {
        let is_there = || self.metadata.catalog().job(job).is_some_and(|job| job.status == status);
        // If something else (a user's request that came meanwhile) has already changed the status, it stays.
        if is_there() {
            return Ok(());
        }
        let (name, cause, at_ms) = (job.to_string(), cause.into(), self.components.env.wall_clock_ms());
        let proposed = self.metadata.propose(Command::StatusChanged { job: name, attempt, status, cause, at_ms }).await;
        match proposed {
            Err(error) if error.kind != ErrorKind::Fenced && is_there() => Ok(()),
            proposed => proposed.map(|_| ()),
        }
    }
}

/// What is known of jobs beside the catalog: where their subtasks are, what they wait for, and what their sinks have committed.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LiveJobs {
    jobs: Arc<Mutex<BTreeMap<String, LiveJob>>>,
    commits: CommitsSoFar,
}

/// One job's.
#[derive(Clone, Debug, Default)]
pub struct LiveJob {
    /// The worker of every subtask of the running attempt.
    pub placement: BTreeMap<SubtaskId, String>,
    /// What it waits for.
    pub waiting: Option<Waiting>,
    /// What the driver of the running attempt waits for.
    pub waits: Waits,
    /// Savepoints that it is asked for.
    pub savepoints: Savepoints,
    /// How its last failed attempt failed.
    pub failure: Option<EngineError>,
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// In words.
    pub what: String,
    /// Since when: milliseconds since the epoch.
    pub since_ms: i64,
}

impl Waiting {
    /// A moment as sentences about waiting name it.
    pub fn since(since_ms: i64) -> String {
        let since = chrono::DateTime::from_timestamp_millis(since_ms).unwrap_or_default();
        since.format("%Y-%m-%d %H:%M:%S UTC").to_string()
    }
}

impl LiveJobs {
    /// Changes what is known of a job.
    pub fn update(&self, job: &str, change: impl FnOnce(&mut LiveJob)) {
        change(self.jobs.lock().entry(job.into()).or_default());
    }

    /// Asks a job for savepoints.
    pub fn savepoints(&self, job: &str) -> Savepoints {
        self.jobs.lock().entry(job.into()).or_default().savepoints.clone()
    }

    /// What is known of a job now.
    pub fn of(&self, job: &str) -> LiveJob {
        self.jobs.lock().get(job).cloned().unwrap_or_default()
    }

    /// What the sinks of all jobs have committed.
    pub fn commits(&self) -> &CommitsSoFar {
        &self.commits
    }
}
