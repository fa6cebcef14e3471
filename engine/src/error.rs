//! The one error type of the runtime: what caused it, and what can be done about it.

use crate::{availability, element::Origin};
use std::fmt;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The definition or a setting is wrong; starting again changes nothing.
    Definition,
    /// Input, output or storage refused (missing file, no permission, wrong credentials). Starting again may help.
    Io,
    /// Input, output or storage cannot be used for now (away, overloaded, full, read-only, too many open files): waiting heals it.
    Unavailable,
    /// Stored state is damaged or does not fit; refused rather than guessed.
    Corrupt,
    /// Another owner took the job over; this one must stop.
    Fenced,
    /// Something that this one depends on is gone: an echo, the cause is elsewhere.
    Disconnected,
    /// A broken invariant of ours.
    Internal,
    /// A crash that a test asked for at a named point.
    Crash,
}

/// What failed, with which input, where, and what would be right.
#[derive(Clone, Debug)]
pub struct EngineError {
    /// Who has to act.
    pub kind: ErrorKind,
    /// The whole sentence, causes included.
    pub message: String,
    /// The records that were being processed, where that is known.
    pub origin: Option<Box<Origin>>,
}

/// Result of anything in the runtime.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

impl EngineError {
    /// The definition or a setting is wrong.
    pub fn definition(message: impl Into<String>) -> Self {
        EngineError::of(ErrorKind::Definition, message)
    }

    /// Input, output or storage refused.
    pub fn io(message: impl Into<String>) -> Self {
        EngineError::of(ErrorKind::Io, message)
    }

    /// Input, output or storage cannot be used for now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        EngineError::of(ErrorKind::Unavailable, message)
    }

    /// Input, output or storage refused or cannot be used for now, as the cause [says](availability::kind_of). The message should
    /// contain it.
    pub fn caused_by(cause: &(dyn std::error::Error + 'static), message: impl Into<String>) -> Self {
        EngineError::of(availability::kind_of(cause), message)
    }

    /// Stored state is damaged.
    pub fn corrupt(message: impl Into<String>) -> Self {
        EngineError::of(ErrorKind::Corrupt, message)
    }

    /// Another owner took over.
    pub fn fenced(message: impl Into<String>) -> Self {
        EngineError::of(ErrorKind::Fenced, message)
    }

    /// Something that this one depends on is gone.
    pub fn disconnected(message: impl Into<String>) -> Self {
        EngineError::of(ErrorKind::Disconnected, message)
    }

    /// A broken invariant of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        EngineError::of(ErrorKind::Internal, message)
    }

    /// The same error, about these records.
    pub fn with_origin(mut self, origin: &Origin) -> Self {
        if self.origin.is_none() {
            self.message = format!("{origin}: {}", self.message);
            self.origin = Some(Box::new(origin.clone()));
        }
        self
    }

    /// An error of a kind.
    pub fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        EngineError { kind, message: message.into(), origin: None }
    }

    /// The same error, with what was being done in front.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {}

impl From<arrow::error::ArrowError> for EngineError {
    fn from(error: arrow::error::ArrowError) -> Self {
        EngineError::internal(format!("column kernel: {error}"))
    }
}

impl From<object_store::Error> for EngineError {
    fn from(error: object_store::Error) -> Self {
        EngineError::caused_by(&error, error.to_string())
    }
}

impl From<std::io::Error> for EngineError {
    fn from(error: std::io::Error) -> Self {
        EngineError::caused_by(&error, error.to_string())
    }
}
