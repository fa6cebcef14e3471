//! Running a graph: subtasks, each a loop around one chain of operators, and what drives them.
//!
//! [`deployment`] builds and restores subtasks (all of a job's, or those that a worker is given); [`attempt`] drives them:
//! triggers checkpoints, collects acknowledgements, writes manifests, has them committed; [`recovery`] is what a new attempt
//! does first. [`local_runner::run`] puts the three together in one process; a cluster puts a network between them.

pub mod attempt;
mod chain;
pub mod checkpointing;
pub mod deployment;
pub mod local_runner;
pub mod observer;
pub mod recovery;
mod restore;
mod subtask;

pub use attempt::{RunOutcome, StopSignal};
pub use checkpointing::{Report, TaskServices};
pub use local_runner::{RunSettings, run};
pub use observer::Observer;
pub use subtask::SourceCommand;
