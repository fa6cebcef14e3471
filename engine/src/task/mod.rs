//! Running a graph: subtasks, each a loop around one chain of operators, and the runner that drives a whole job in one process.
//!
//! [`local_runner::run`] claims an attempt, finishes what the last one had decided ([`recovery`]), builds every subtask
//! (`deployment`), restores it, starts it, and then does what a coordinator does: triggers checkpoints, collects their
//! acknowledgements, writes manifests, commits.

mod chain;
mod checkpointing;
mod deployment;
pub mod local_runner;
pub mod observer;
pub mod recovery;
mod restore;
mod subtask;

pub use local_runner::{RunOutcome, RunSettings, StopSignal, run};
pub use observer::Observer;
