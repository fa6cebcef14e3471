//! The gRPC services for workers and users, and the conversion of wire types.

mod client_service;
mod date;
mod worker_service;

pub use client_service::ClientService;
pub use date::date;
pub use worker_service::WorkerService;

use tonic::Status;
use weir_engine::{EngineError, ErrorKind};

/// An error as gRPC says it: whose it is to act.
pub fn to_status(error: &EngineError) -> Status {
    match error.kind {
        ErrorKind::Definition => Status::invalid_argument(&error.message),
        ErrorKind::Fenced => Status::failed_precondition(&error.message),
        ErrorKind::Io | ErrorKind::Unavailable | ErrorKind::Disconnected => Status::unavailable(&error.message),
        ErrorKind::Corrupt => Status::data_loss(&error.message),
        ErrorKind::Internal | ErrorKind::Crash => Status::internal(&error.message),
    }
}
