//! Actions that a user can request of a job, as they leave this crate. Whoever executes one answers on `reply`.

use std::fmt;
use tokio::sync::oneshot;

/// Something that a user asked for.
#[derive(Debug)]
pub enum Action {
    /// End the job at once, as it stands.
    Cancel {
        /// The job's id.
        job: String,
        /// Told when the request is durable, which may be before the job has ended.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// End the job with a last checkpoint.
    Stop {
        /// The job's id.
        job: String,
        /// Let event time go to its end first, so that all open windows fire.
        drain: bool,
        /// Told when the request is durable, which may be before the job has ended.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such job.
    UnknownJob,
    /// The job is in a state in which this makes no sense; the text says in which.
    Conflict(String),
    /// This coordinator cannot do it now, another or a later attempt may; the text says why.
    Unavailable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownJob => f.write_str("there is no such job"),
            Refusal::Conflict(why) | Refusal::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}
