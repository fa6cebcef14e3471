//! Running a graph: subtasks, each a loop around one chain of operators, and their driver.
//!
//! [`deployment`] builds and restores subtasks (all of a job's, or those that a worker is given); [`attempt`] drives them:
//! triggers checkpoints, collects acknowledgements, writes manifests, has them committed; [`recovery`] is what a new attempt
//! does first, after [`rewind`] where it starts from a savepoint; [`savepoints`] are asked of a running one. A coordinator and its workers put the three together, in several processes or in one.

#[cfg(test)]
mod age_tests;
pub mod attempt;
mod chain;
pub mod checkpointing;
pub mod deployment;
pub mod observer;
pub mod observers;
pub mod recovery;
mod restore;
pub mod rewind;
pub mod savepoints;
mod subtask;

pub use attempt::{RunOutcome, StopSignal};
pub use checkpointing::{Report, TaskServices};
pub use observer::Observer;
pub use observers::Observers;
pub use savepoints::Savepoints;
pub use subtask::SourceCommand;
