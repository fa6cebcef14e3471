//! Failures and their exit codes. The only copy of the table of exit codes.

use std::process::ExitCode;
use weir_engine::{EngineError, ErrorKind};
use weir_jobs::Refusal;

/// Why a command did not do what was asked. [`Refused`](Failure::Refused) and [`Mistakes`](Failure::Mistakes) are told with 2: nothing was started. Whoever
/// has started something maps its failures through [`once_started`](Failure::once_started).
#[derive(Debug)]
pub enum Failure {
    /// The definition has mistakes, and nothing was started.
    Mistakes(Refusal),
    /// The definition or an argument is wrong, and nothing was started; the text says all of it.
    Refused(String),
    /// It was tried and failed.
    Failed(String),
    /// Another process took the job over.
    Replaced(String),
    /// What was compared is not the same.
    Differs(String),
    /// What was to be compared could not be.
    NotCompared(String),
}

/// `weir` was told twice to stop: nothing was finished, nothing is lost.
pub const EXIT_ABORTED: i32 = 130;

impl Failure {
    /// An argument is wrong.
    pub fn refused(message: impl Into<String>) -> Self {
        Failure::Refused(message.into())
    }

    /// It was tried and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Failure::Failed(message.into())
    }

    /// The same once something was started: then an error in a definition is not reported as if nothing had been.
    pub fn once_started(self) -> Self {
        match self {
            Failure::Mistakes(refusal) => Failure::Failed(refusal.to_string()),
            Failure::Refused(message) => Failure::Failed(message),
            other => other,
        }
    }

    /// Tells the user.
    pub fn show(&self) {
        match self {
            // It says "error" at each mistake.
            Failure::Mistakes(refusal) => eprintln!("{refusal}"),
            Failure::Refused(message) | Failure::Failed(message) | Failure::NotCompared(message) => {
                eprintln!("error: {message}");
            }
            Failure::Differs(message) => eprintln!("{message}"),
            Failure::Replaced(message) => eprintln!("error: replaced by another process: {message}"),
        }
    }

    /// 1 failed, or compared and not the same; 2 wrong definition or arguments, 3 replaced by another process, 4 not compared.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Failed(_) | Failure::Differs(_) => 1,
            Failure::Mistakes(_) | Failure::Refused(_) => 2,
            Failure::Replaced(_) => 3,
            Failure::NotCompared(_) => 4,
        })
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error.kind {
            ErrorKind::Definition => Failure::Refused(error.message),
            ErrorKind::Fenced => Failure::Replaced(error.message),
            ErrorKind::Internal => Failure::Failed(format!("a bug in weir, not in your job: {}", error.message)),
            ErrorKind::Io
            | ErrorKind::Unavailable
            | ErrorKind::Corrupt
            | ErrorKind::Disconnected
            | ErrorKind::Crash => Failure::Failed(error.message),
        }
    }
}

impl From<weir_local::Failed> for Failure {
    fn from(failed: weir_local::Failed) -> Self {
        let failure = Failure::from(failed.error);
        if failed.has_started { failure.once_started() } else { failure }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Mistakes(refusal)
    }
}
