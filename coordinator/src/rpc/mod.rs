//! The doors: workers and users come in here, and wire types are converted here.

mod client_service;
mod date;
mod worker_service;

pub use client_service::ClientService;
pub use date::date;
pub use worker_service::WorkerService;

use tonic::Status;
use weir_engine::{EngineError, ErrorKind};

/// Largest message: graphs, and acknowledgements with many files.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// An error as gRPC says it: whose it is to act.
pub fn to_status(error: &EngineError) -> Status {
    match error.kind {
        ErrorKind::Definition => Status::invalid_argument(&error.message),
        ErrorKind::Fenced => Status::failed_precondition(&error.message),
        ErrorKind::Io | ErrorKind::Disconnected => Status::unavailable(&error.message),
        ErrorKind::Corrupt => Status::data_loss(&error.message),
        ErrorKind::Internal | ErrorKind::Crash => Status::internal(&error.message),
    }
}

/// Whether a secret is the right one, in a time that does not tell how much of it is.
fn is_secret(shown: &str, right: &str) -> bool {
    let (shown, right) = (shown.as_bytes(), right.as_bytes());
    let differences = right
        .iter()
        .enumerate()
        .fold(0, |differences, (index, byte)| differences | (byte ^ shown.get(index).copied().unwrap_or(!byte)));
    differences == 0 && shown.len() == right.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_is_right() {
        assert!(is_secret("", ""));
        assert!(is_secret("abc", "abc"));
        for wrong in ["", "ab", "abd", "abcd", "xbc"] {
            assert!(!is_secret(wrong, "abc"), "{wrong}");
        }
        assert!(!is_secret("x", ""));
    }
}
