//! Everything that the coordinators have decided: a pure state machine.
//!
//! [`Catalog::apply`] is all there is: no clock, no chance, no I/O, so that every replica that applies the same commands in
//! the same order has the same catalog, and one restored from its bytes continues as if nothing had happened.

use super::{
    command::{Command, Refusal, Response},
    job::{CompletedCheckpoint, Job, Refused, Submission},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{EngineError, Result};

/// Version of the stored form of the catalog and of its commands.
pub const FORMAT_VERSION: u32 = 1;

/// All jobs, and who leads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Shared with the catalogs before this one: a decision copies the one job that it is about.
    #[serde(with = "shared")]
    jobs: BTreeMap<String, Arc<Job>>,
    leader: Option<Leader>,
    /// The highest number that a coordinator was given, where any was given to one after the first ones.
    #[serde(default, skip_serializing_if = "is_none")]
    highest_number: u64,
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

/// Jobs in their stored form, in which nothing is shared.
mod shared {
    use super::Job;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::{collections::BTreeMap, sync::Arc};

    pub(super) fn serialize<S: Serializer>(
        jobs: &BTreeMap<String, Arc<Job>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(jobs.iter().map(|(name, job)| (name, &**job)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Arc<Job>>, D::Error> {
        let jobs = BTreeMap::<String, Job>::deserialize(deserializer)?;
        Ok(jobs.into_iter().map(|(name, job)| (name, Arc::new(job))).collect())
    }
}

/// Who leads the coordinators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Which one.
    pub node: u64,
    /// Since when, milliseconds since the epoch.
    pub since_ms: i64,
    /// Number of elections so far.
    pub elections: u64,
}

/// The stored form, for reading and for writing.
#[derive(Serialize)]
struct Stored<'a> {
    format_version: u32,
    catalog: &'a Catalog,
}

#[derive(Deserialize)]
struct StoredCatalog {
    catalog: Catalog,
}

#[derive(Deserialize)]
struct StoredVersion {
    format_version: u32,
}

impl Catalog {
    /// All jobs by name.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().map(Arc::as_ref)
    }

    /// One job.
    pub fn job(&self, name: &str) -> Option<&Job> {
        self.jobs.get(name).map(Arc::as_ref)
    }

    /// Who leads, as far as is decided.
    pub fn leader(&self) -> Option<Leader> {
        self.leader
    }

    /// No coordinator that joined has a higher number.
    pub fn highest_number(&self) -> u64 {
        self.highest_number
    }

    /// Takes a decision, or refuses it and stays as it is.
    pub fn apply(&mut self, command: &Command) -> Response {
        self.decide(command).unwrap_or_else(|(refusal, reason)| Response::Refused { refusal, reason })
    }

    fn decide(&mut self, command: &Command) -> Result<Response, Refused> {
        let job = match command {
            Command::Submit { job, graph, fingerprint, definition, fresh, from_savepoint, at_ms } => {
                let submission =
                    Submission { graph, fingerprint, definition, fresh: *fresh, from_savepoint, at_ms: *at_ms };
                self.submit(job, &submission)?
            }
            Command::AttemptStarted { job, attempt, at_ms } => {
                let job = self.existing(job)?;
                job.start_attempt(*attempt, *at_ms)?;
                job
            }
            Command::FreshStartDone { job, attempt } => {
                let job = self.existing(job)?;
                job.fresh_start_done(*attempt)?;
                job
            }
            Command::SavepointRestored { job, attempt } => {
                let job = self.existing(job)?;
                job.savepoint_restored(*attempt)?;
                job
            }
            Command::CheckpointCompleted { job, attempt, checkpoint, stats } => {
                let job = self.existing(job)?;
                job.complete(CompletedCheckpoint { checkpoint: *checkpoint, attempt: *attempt, stats: *stats })?;
                job
            }
            Command::Committed { job, attempt, checkpoint } => {
                let job = self.existing(job)?;
                job.commit(*attempt, *checkpoint)?;
                job
            }
            Command::StatusChanged { job, attempt, status, cause, at_ms } => {
                let job = self.existing(job)?;
                job.become_status(*attempt, *status, cause, *at_ms)?;
                job
            }
            Command::StopRequested { job, drain, at_ms } => {
                let job = self.existing(job)?;
                job.request_stop(*drain, *at_ms)?;
                job
            }
            Command::CancelRequested { job, .. } => {
                let job = self.existing(job)?;
                job.request_cancel()?;
                job
            }
            Command::CoordinatorNumbered { node } => {
                self.highest_number = self.highest_number.max(*node);
                return Ok(Response::NOTHING);
            }
            Command::LeaderElected { node, at_ms } => {
                let elections = self.leader.map_or(0, |leader| leader.elections) + 1;
                self.leader = Some(Leader { node: *node, since_ms: *at_ms, elections });
                return Ok(Response::NOTHING);
            }
        };
        Ok(Response::Applied { status: Some(job.status), attempt: job.attempt, checkpoint: job.checkpoint })
    }

    /// Cancels the jobs that were to start over or from a savepoint and had not: in a backup that may be long ago, and what they have
    /// written since is not to be discarded. Says which.
    pub(super) fn forget_to_go_back(&mut self, at_ms: i64) -> Vec<String> {
        let pending = self.jobs.values_mut().filter(|job| job.is_to_go_back());
        let canceled = pending.map(|job| {
            Arc::make_mut(job).forget_to_go_back(at_ms);
            job.name.clone()
        });
        canceled.collect()
    }

    fn submit(&mut self, name: &str, submission: &Submission<'_>) -> Result<&mut Job, Refused> {
        if name.is_empty() {
            return Err((Refusal::Conflict, "a job needs a name".into()));
        }
        if let Some(job) = self.jobs.get_mut(name) {
            Arc::make_mut(job).resubmit(submission)?;
        }
        let job = self.jobs.entry(name.into()).or_insert_with(|| Arc::new(Job::create(name, submission)));
        Ok(Arc::make_mut(job))
    }

    fn existing(&mut self, name: &str) -> Result<&mut Job, Refused> {
        self.jobs
            .get_mut(name)
            .map(Arc::make_mut)
            .ok_or_else(|| (Refusal::UnknownJob, format!("there is no job '{name}'; `weir list` shows all jobs")))
    }

    /// Its stored form.
    ///
    /// # Errors
    /// Never for a catalog that came about by [`Catalog::apply`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&Stored { format_version: FORMAT_VERSION, catalog: self })
            .map_err(|error| EngineError::internal(format!("the catalog of jobs cannot be encoded: {error}")))
    }

    /// From its stored form.
    ///
    /// # Errors
    /// When it is damaged or written by a newer Weir.
    pub fn from_bytes(bytes: &[u8]) -> Result<Catalog> {
        let damaged = |error| EngineError::corrupt(format!("the stored catalog of jobs is damaged: {error}"));
        let StoredVersion { format_version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format_version != FORMAT_VERSION {
            return Err(EngineError::corrupt(format!(
                "the stored catalog of jobs has format version {format_version}; this Weir reads version {FORMAT_VERSION}"
            )));
        }
        let StoredCatalog { catalog } = serde_json::from_slice(bytes).map_err(damaged)?;
        Ok(catalog)
    }
}

#[cfg(test)]
mod tests;
