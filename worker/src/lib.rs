//! The data plane: slots, subtasks, TCP channels.
//!
//! A worker opens one stream to a coordinator ([`control`]) and executes its commands: it builds and restores the subtasks that
//! it is given, connects them to those on other workers ([`network`]) and runs them ([`attempt_host`]), and it commits what a
//! completed checkpoint has decided ([`commits`]). It decides nothing itself, but for one thing: when no coordinator
//! has led for long, it holds its sources, and later stops its subtasks.
//! One that is to [`leave`] says so, and goes on until the coordinator has moved its subtasks elsewhere and releases it.
//!
//! Invariant: every effect of a subtask carries its attempt; a worker takes on no attempt of a job that is older than one it has
//! been given, and a new one waits for the one that it replaces (one that was canceled may
//! still be ending).

pub mod attempt_host;
mod clock;
pub mod commits;
pub mod config;
pub mod control;
pub mod coordinators;
pub mod hosted_attempts;
mod leave;
pub mod network;
mod told;
mod turns;

pub use config::{WorkerComponents, WorkerSettings};
pub use control::{ControlLink, OpenLink, dialler, root_cause, run, run_with, start_data_plane};
pub use coordinators::Coordinators;
pub use leave::Leave;
