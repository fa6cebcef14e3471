//! The durable state of one job, and how a decision changes it.
//!
//! Invariants: attempts only rise, over resubmissions too; completed checkpoints only rise unless the job was started over;
//! `committed <= checkpoint`; a refused decision changes nothing; what comes from another attempt than the newest is refused.

use super::{
    command::{CheckpointStats, FromSavepoint, Refusal, SavepointMode},
    job_status::JobStatus,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use weir_engine::{
    graph::DefinitionRecord,
    hidden::Hidden,
    ids::{Attempt, CheckpointId},
};

/// How many transitions of a job are kept.
pub const TRANSITIONS_KEPT: usize = 50;
/// How many completed checkpoints of a job are remembered.
pub const CHECKPOINTS_KEPT: usize = 50;

/// A refusal with its reason.
pub(super) type Refused = (Refusal, String);

/// One job. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name, which is its identity.
    pub name: String,
    /// The checked job graph.
    pub graph: Hidden<serde_json::Value>,
    /// Fingerprint of its definition.
    pub fingerprint: String,
    /// The definition as the user wrote it.
    pub definition: Hidden<String>,
    /// When it was submitted, the last time.
    pub submitted_at_ms: i64,
    /// How often it was submitted.
    pub submissions: u64,
    /// The user asked for a fresh start and it has not been made yet: checkpoints and output before it are to be removed.
    pub fresh_start_pending: bool,
    /// The graphs of the submissions that it forgets: their sinks are to be emptied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten_graphs: Vec<Hidden<serde_json::Value>>,
    /// What it is to go on from, and does not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_savepoint: Option<FromSavepoint>,
    /// Where it stands.
    pub status: JobStatus,
    /// The newest transitions, oldest first; never empty.
    pub transitions: VecDeque<Transition>,
    /// The newest attempt.
    pub attempt: Option<Attempt>,
    /// When that began.
    pub attempt_started_at_ms: Option<i64>,
    /// How often this submission was restarted.
    pub restarts: u64,
    /// How often it failed since its last completed checkpoint, taken-over ones included. Part of the stored form; shown nowhere,
    /// since the supervisor, who judges what is given up, does not count taken-over ones.
    pub failures_in_a_row: u64,
    /// The newest completed checkpoint: where a restart resumes.
    pub checkpoint: Option<CheckpointId>,
    /// The newest completed checkpoints, oldest first.
    pub checkpoints: VecDeque<CompletedCheckpoint>,
    /// The newest checkpoint whose results are all visible.
    pub committed: Option<CheckpointId>,
    /// A user wants it to stop.
    pub stop: Option<StopRequest>,
    /// A user wants it to end now.
    pub cancel_requested: bool,
}

/// One step of a job from state to state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Where it stood; nothing at its first submission.
    pub from: Option<JobStatus>,
    /// Where it went.
    pub to: JobStatus,
    /// Why.
    pub cause: String,
    /// The newest attempt then.
    pub attempt: Option<Attempt>,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
}

/// A completed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedCheckpoint {
    /// Which one.
    pub checkpoint: CheckpointId,
    /// The attempt that completed it.
    pub attempt: Attempt,
    /// Its facts.
    #[serde(flatten)]
    pub stats: CheckpointStats,
}

/// A user's wish that a job stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// Event time goes to its end first.
    pub drain: bool,
    /// When it was asked, milliseconds since the epoch.
    pub at_ms: i64,
}

/// What a user hands in.
pub(super) struct Submission<'a> {
    pub graph: &'a Hidden<serde_json::Value>,
    pub fingerprint: &'a str,
    pub definition: &'a Hidden<String>,
    pub fresh: bool,
    pub from_savepoint: &'a Option<FromSavepoint>,
    pub at_ms: i64,
}

impl Job {
    /// A job that was not known before.
    pub(super) fn create(name: &str, submission: &Submission<'_>) -> Job {
        let mut job = Job {
            name: name.into(),
            graph: submission.graph.clone(),
            fingerprint: submission.fingerprint.into(),
            definition: submission.definition.clone(),
            submitted_at_ms: submission.at_ms,
            submissions: 1,
            fresh_start_pending: submission.fresh,
            forgotten_graphs: Vec::new(),
            from_savepoint: submission.from_savepoint.clone(),
            status: JobStatus::Created,
            transitions: VecDeque::new(),
            attempt: None,
            attempt_started_at_ms: None,
            restarts: 0,
            failures_in_a_row: 0,
            checkpoint: None,
            checkpoints: VecDeque::new(),
            committed: None,
            stop: None,
            cancel_requested: false,
        };
        job.record(None, JobStatus::Created, "submitted".into(), submission.at_ms);
        job
    }

    /// A job that is over begins again.
    pub(super) fn resubmit(&mut self, submission: &Submission<'_>) -> Result<(), Refused> {
        self.check_resubmission(submission)?;
        let from = self.status;
        let fresh = submission.fresh;
        let former = std::mem::replace(&mut self.graph, submission.graph.clone());
        if fresh && former != self.graph && !self.forgotten_graphs.contains(&former) {
            self.forgotten_graphs.push(former);
        }
        self.fingerprint = submission.fingerprint.into();
        self.definition = submission.definition.clone();
        self.submitted_at_ms = submission.at_ms;
        self.submissions += 1;
        // A fresh start that was asked for before and never made is still owed.
        self.fresh_start_pending |= fresh;
        // One that was wanted before is not any more: the user has said what instead.
        self.from_savepoint.clone_from(submission.from_savepoint);
        self.restarts = 0;
        self.failures_in_a_row = 0;
        self.stop = None;
        self.cancel_requested = false;
        if fresh {
            self.checkpoint = None;
            self.checkpoints.clear();
            self.committed = None;
        }
        let cause = match self.checkpoint {
            _ if fresh => "submitted again, to start over".into(),
            _ if self.from_savepoint.is_some() => "submitted again, to start from a savepoint".into(),
            Some(checkpoint) => format!("submitted again, to resume from checkpoint {checkpoint}"),
            None => "submitted again".into(),
        };
        self.record(Some(from), JobStatus::Created, cause, submission.at_ms);
        Ok(())
    }

    fn check_resubmission(&self, submission: &Submission<'_>) -> Result<(), Refused> {
        let (name, status) = (&self.name, self.status);
        if !status.is_terminal() {
            return Err(conflict(format!(
                "job '{name}' is {status}; cancel or stop it first, or give this one another name"
            )));
        }
        if submission.fresh {
            return Ok(());
        }
        let rewinds = submission.from_savepoint.as_ref().is_some_and(|from| from.mode == SavepointMode::Rewind);
        if status == JobStatus::Finished && !rewinds {
            return Err(conflict(format!(
                "job '{name}' is FINISHED: its results are complete; submit it with --fresh to discard them and start over"
            )));
        }
        // The savepoint says itself what fits it.
        let Some(checkpoint) = self.checkpoint.filter(|_| submission.from_savepoint.is_none()) else { return Ok(()) };
        DefinitionRecord::changes(&self.fingerprint, submission.fingerprint).map(|_| ()).map_err(|why| {
            conflict(format!(
                "checkpoint {checkpoint} of job '{name}' cannot be continued by this definition: {why}. Submit it as it was, with \
                 --fresh to start over, or under another name with other outputs"
            ))
        })
    }

    /// A new incarnation begins.
    pub(super) fn start_attempt(&mut self, attempt: Attempt, at_ms: i64) -> Result<(), Refused> {
        if let Some(newest) = self.attempt.filter(|newest| *newest >= attempt) {
            return Err((
                Refusal::Stale,
                format!("attempt {attempt} of job '{}' cannot begin: attempt {newest} has", self.name),
            ));
        }
        // Before anything of the old attempt may have been replaced, the job has said that it failed.
        if !matches!(self.status, JobStatus::Created | JobStatus::Scheduled | JobStatus::Restarting) {
            return Err(out_of_order(format!(
                "attempt {attempt} of job '{}' cannot begin while the job is {}",
                self.name, self.status
            )));
        }
        self.attempt = Some(attempt);
        self.attempt_started_at_ms = Some(at_ms);
        Ok(())
    }

    /// What a fresh start forgets is gone.
    pub(super) fn fresh_start_done(&mut self, attempt: Attempt) -> Result<(), Refused> {
        self.check_attempt(Some(attempt), "a fresh start")?;
        self.fresh_start_pending = false;
        self.forgotten_graphs.clear();
        Ok(())
    }

    /// Whether it is to start over, or from a savepoint, and nothing says that it has.
    pub(super) fn is_to_go_back(&self) -> bool {
        self.fresh_start_pending || self.from_savepoint.is_some()
    }

    /// Nobody knows whether it has gone back.
    pub(super) fn forget_to_go_back(&mut self, at_ms: i64) {
        let (what, how) = match self.from_savepoint.take() {
            Some(_) => ("start from a savepoint", "--from-savepoint"),
            None => ("start over", "--fresh"),
        };
        self.fresh_start_pending = false;
        self.forgotten_graphs.clear();
        let cause = format!("restored from a backup in which it was to {what}; submit it again, with {how} to do so");
        self.record(Some(self.status), JobStatus::Canceled, cause, at_ms);
    }

    /// What it was to go on from is its newest checkpoint now.
    pub(super) fn savepoint_restored(&mut self, attempt: Attempt) -> Result<(), Refused> {
        self.check_attempt(Some(attempt), "a savepoint")?;
        self.from_savepoint = None;
        Ok(())
    }

    /// A checkpoint is complete.
    pub(super) fn complete(&mut self, completed: CompletedCheckpoint) -> Result<(), Refused> {
        let CompletedCheckpoint { checkpoint, attempt, stats } = completed;
        self.check_attempt(Some(attempt), format_args!("checkpoint {checkpoint}"))?;
        if self.status.is_terminal() {
            return Err(out_of_order(format!(
                "checkpoint {checkpoint} of job '{}' cannot complete: the job is {}",
                self.name, self.status
            )));
        }
        if self.fresh_start_pending {
            return Err(out_of_order(format!(
                "checkpoint {checkpoint} of job '{}' cannot complete: what its fresh start discards still exists",
                self.name
            )));
        }
        if let Some(newest) = self.checkpoint.filter(|newest| *newest >= checkpoint) {
            return Err(out_of_order(format!(
                "checkpoint {checkpoint} of job '{}' cannot complete: checkpoint {newest} has",
                self.name
            )));
        }
        self.checkpoint = Some(checkpoint);
        self.failures_in_a_row = 0;
        self.checkpoints.push_back(CompletedCheckpoint { checkpoint, attempt, stats });
        while self.checkpoints.len() > CHECKPOINTS_KEPT {
            self.checkpoints.pop_front();
        }
        Ok(())
    }

    /// Everything up to a checkpoint is visible. Said twice, it changes nothing.
    pub(super) fn commit(&mut self, attempt: Attempt, checkpoint: CheckpointId) -> Result<(), Refused> {
        self.check_attempt(Some(attempt), format_args!("the commit of checkpoint {checkpoint}"))?;
        if self.checkpoint.is_none_or(|newest| newest < checkpoint) {
            return Err(out_of_order(format!(
                "checkpoint {checkpoint} of job '{}' cannot be committed: it is not complete",
                self.name
            )));
        }
        self.committed = self.committed.max(Some(checkpoint));
        Ok(())
    }

    /// From one state to the next.
    pub(super) fn become_status(
        &mut self,
        attempt: Option<Attempt>,
        status: JobStatus,
        cause: &str,
        at_ms: i64,
    ) -> Result<(), Refused> {
        self.check_attempt(attempt, format_args!("{status} ({cause})"))?;
        if !self.status.may_become(status) {
            return Err(out_of_order(format!(
                "job '{}' is {} and cannot become {status} ({cause})",
                self.name, self.status
            )));
        }
        match status {
            JobStatus::Failing => self.failures_in_a_row += 1,
            JobStatus::Restarting => self.restarts += 1,
            _ => {}
        }
        self.record(Some(self.status), status, cause.into(), at_ms);
        Ok(())
    }

    /// A user wants it to stop. Asked twice, it is the same wish; a cancel is not taken back.
    pub(super) fn request_stop(&mut self, drain: bool, at_ms: i64) -> Result<(), Refused> {
        self.check_not_over("stop")?;
        if self.cancel_requested {
            return Err(conflict(format!("job '{}' is being canceled; it can no longer be stopped", self.name)));
        }
        match self.stop {
            None => self.stop = Some(StopRequest { drain, at_ms }),
            Some(asked) if asked.drain == drain => {}
            Some(asked) => {
                return Err(conflict(format!(
                    "job '{}' is being stopped {} already",
                    self.name,
                    if asked.drain { "with --drain" } else { "without --drain" }
                )));
            }
        }
        Ok(())
    }

    /// A user wants it to end now.
    pub(super) fn request_cancel(&mut self) -> Result<(), Refused> {
        self.check_not_over("cancel")?;
        self.cancel_requested = true;
        Ok(())
    }

    fn check_not_over(&self, doing: &str) -> Result<(), Refused> {
        if self.status.is_terminal() {
            return Err(conflict(format!("job '{}' is {}: there is nothing to {doing}", self.name, self.status)));
        }
        Ok(())
    }

    fn check_attempt(&self, attempt: Option<Attempt>, what: impl std::fmt::Display) -> Result<(), Refused> {
        if attempt == self.attempt {
            return Ok(());
        }
        let of = |attempt: Option<Attempt>| attempt.map_or("no attempt".into(), |number| format!("attempt {number}"));
        let reason = format!("job '{}' is at {}: {what} comes from {}", self.name, of(self.attempt), of(attempt));
        // One that is ahead was never recorded: not a zombie, a mistake of ours.
        Err(if attempt > self.attempt { out_of_order(reason) } else { (Refusal::Stale, reason) })
    }

    fn record(&mut self, from: Option<JobStatus>, to: JobStatus, cause: String, at_ms: i64) {
        self.status = to;
        self.transitions.push_back(Transition { from, to, cause, attempt: self.attempt, at_ms });
        while self.transitions.len() > TRANSITIONS_KEPT {
            self.transitions.pop_front();
        }
    }
}

fn conflict(reason: String) -> Refused {
    (Refusal::Conflict, reason)
}

fn out_of_order(reason: String) -> Refused {
    (Refusal::OutOfOrder, reason)
}
