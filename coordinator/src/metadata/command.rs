//! The decisions about jobs: the commands that are replicated, and their outcomes.
//!
//! A command carries everything that its effect depends on; times are for people and decide nothing. Its JSON is a stored
//! format: within [`FORMAT_VERSION`](super::catalog::FORMAT_VERSION) variants and fields are added, never changed.

use super::job_status::JobStatus;
use serde::{Deserialize, Serialize};
use std::fmt;
use weir_engine::{
    EngineError,
    hidden::Hidden,
    ids::{Attempt, CheckpointId},
};

/// One decision. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A user submits a job. One of the same name that is not over refuses; one that FAILED or was CANCELED resumes from
    /// its newest checkpoint, unless `fresh`; one that FINISHED can only be started over.
    Submit {
        /// Its name, which is its identity.
        job: String,
        /// The checked job graph.
        graph: Hidden<serde_json::Value>,
        /// Fingerprint of the definition: a checkpoint of another one does not fit.
        fingerprint: String,
        /// The definition as the user wrote it, for people.
        definition: Hidden<String>,
        /// Forget the job's checkpoints and whatever it has written, and start over.
        fresh: bool,
        /// Go on from another checkpoint than the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_savepoint: Option<FromSavepoint>,
        /// When.
        at_ms: i64,
    },
    /// A new incarnation begins; everything of the ones before is refused from here on.
    AttemptStarted {
        /// Which job.
        job: String,
        /// Above all before it.
        attempt: Attempt,
        /// When.
        at_ms: i64,
    },
    /// What a fresh submission asked to forget is gone. Until then no checkpoint completes.
    FreshStartDone {
        /// Which job.
        job: String,
        /// Who removed it.
        attempt: Attempt,
    },
    /// What the submission wanted to go on from is what the job goes on from: its newest checkpoint.
    SavepointRestored {
        /// Which job.
        job: String,
        /// Who saw to it.
        attempt: Attempt,
    },
    /// A checkpoint is complete: its manifest is in the storage. From here on its commits are decided.
    CheckpointCompleted {
        /// Which job.
        job: String,
        /// Who completes it (or adopts it from an attempt before).
        attempt: Attempt,
        /// Above all before it.
        checkpoint: CheckpointId,
        /// For people, and whether it was the last.
        stats: CheckpointStats,
    },
    /// Everything that a checkpoint decided is visible.
    Committed {
        /// Which job.
        job: String,
        /// Who has seen to it.
        attempt: Attempt,
        /// Not above the newest completed one.
        checkpoint: CheckpointId,
    },
    /// The job goes from one state to the next.
    StatusChanged {
        /// Which job.
        job: String,
        /// The job's current attempt; none before the first.
        attempt: Option<Attempt>,
        /// Where to.
        status: JobStatus,
        /// Why, in a sentence.
        cause: String,
        /// When.
        at_ms: i64,
    },
    /// A user wants the job to take a last checkpoint, commit it, and end.
    StopRequested {
        /// Which job.
        job: String,
        /// Let event time go to its end first, so that all open windows fire.
        drain: bool,
        /// When.
        at_ms: i64,
    },
    /// A user wants the job to end now.
    CancelRequested {
        /// Which job.
        job: String,
        /// When.
        at_ms: i64,
    },
    /// A coordinator has a number, which no other one ever gets.
    CoordinatorNumbered {
        /// The number; all below it are taken, too.
        node: u64,
    },
    /// A coordinator leads. Its own first entry: once it is applied, so is everything that was decided before.
    LeaderElected {
        /// Which one.
        node: u64,
        /// When.
        at_ms: i64,
    },
}

/// What a job is to go on from, instead of its newest checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromSavepoint {
    /// A checkpoint's manifest, or a storage.
    pub url: String,
    /// As what.
    pub mode: SavepointMode,
}

/// As what a job goes on from a savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavepointMode {
    /// As itself, unless its sinks show later results.
    Resume,
    /// As itself; later results may come a second time.
    Rewind,
    /// As another job with the same state, whose sinks have nothing yet.
    Fork,
}

/// Facts of a completed checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStats {
    /// Bytes that it wrote.
    pub bytes: u64,
    /// Milliseconds from its trigger to its manifest.
    pub duration_ms: u64,
    /// When it was complete, milliseconds since the epoch.
    pub completed_at_ms: i64,
    /// Nothing comes after it: the input has ended, or the job was stopped.
    pub last: bool,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It is done. How its job stands now; nothing for a command without a job.
    Applied {
        /// Where the job stands.
        status: Option<JobStatus>,
        /// The job's newest attempt.
        attempt: Option<Attempt>,
        /// The job's newest completed checkpoint.
        checkpoint: Option<CheckpointId>,
    },
    /// Nothing changed.
    Refused {
        /// Who has to act.
        refusal: Refusal,
        /// What was asked, what stands against it, and what would be right.
        reason: String,
    },
}

impl Response {
    /// Done, without a job.
    pub(crate) const NOTHING: Response = Response::Applied { status: None, attempt: None, checkpoint: None };

    /// The same, a refusal being an error of the fitting kind.
    ///
    /// # Errors
    /// When the command was refused.
    pub fn into_result(self) -> Result<Response, EngineError> {
        match self {
            Response::Refused { refusal, reason } => Err(refusal.error(reason)),
            applied => Ok(applied),
        }
    }
}

/// Why a command is refused: who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no such job: the user's to correct.
    UnknownJob,
    /// The job stands where this cannot be asked of it: the user's to correct.
    Conflict,
    /// It comes from an attempt that is over: its sender must stop.
    Stale,
    /// The driver of the job has lost track of it: a broken invariant of ours.
    OutOfOrder,
}

impl Refusal {
    fn error(self, reason: String) -> EngineError {
        match self {
            Refusal::UnknownJob | Refusal::Conflict => EngineError::definition(reason),
            Refusal::Stale => EngineError::fenced(reason),
            Refusal::OutOfOrder => EngineError::internal(reason),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Submit { job, fresh, .. } => write!(f, "submit '{job}'{}", if *fresh { " afresh" } else { "" }),
            Command::AttemptStarted { job, attempt, .. } => write!(f, "begin attempt {attempt} of '{job}'"),
            Command::FreshStartDone { job, attempt } => write!(f, "fresh start of '{job}' done by attempt {attempt}"),
            Command::SavepointRestored { job, attempt } => {
                write!(f, "savepoint of '{job}' restored by attempt {attempt}")
            }
            Command::CheckpointCompleted { job, attempt, checkpoint, .. } => {
                write!(f, "complete checkpoint {checkpoint} of '{job}' by attempt {attempt}")
            }
            Command::Committed { job, attempt, checkpoint } => {
                write!(f, "checkpoint {checkpoint} of '{job}' committed by attempt {attempt}")
            }
            Command::StatusChanged { job, status, .. } => write!(f, "'{job}' becomes {status}"),
            Command::StopRequested { job, drain, .. } => {
                write!(f, "stop '{job}'{}", if *drain { ", drained" } else { "" })
            }
            Command::CancelRequested { job, .. } => write!(f, "cancel '{job}'"),
            Command::CoordinatorNumbered { node } => write!(f, "give a coordinator the number {node}"),
            Command::LeaderElected { node, .. } => write!(f, "coordinator {node} leads"),
        }
    }
}
