//! Why a run did not end well.

use tonic::{Code, Status};
use weir_engine::error::EngineError;

/// The root cause, and whether anything had been started by then.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// The root cause.
    pub error: EngineError,
    /// Whether the job has run, or has removed what was there before it.
    pub has_started: bool,
}

impl From<EngineError> for Failed {
    /// Nothing had been started.
    fn from(error: EngineError) -> Self {
        Failed { error, has_started: false }
    }
}

impl From<Failed> for EngineError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// The coordinator refused to take the job in.
pub(crate) fn refused(status: &Status) -> Failed {
    let error = match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::PermissionDenied => EngineError::definition(status.message()),
        _ => EngineError::io(format!("the coordinator: {}", status.message())),
    };
    error.into()
}
