//! One way to run a job in one process: a coordinator and its workers, linked by queues.
//!
//! `weir run` and `weir replay` run on it, and so do the tests of whole jobs, so that what a test crashes is what ships.
//!
//! Reading order: [`settings`] (what runs, and what is asked of it), [`OneProcess`] (the parts, and how a job ends), [`run`] and
//! [`run_apart`] (from beginning to end in one call), [`link`] and [`peers`] (what there is between the parts), [`Failed`].

mod failed;
mod link;
mod one_process;
mod peers;
mod run;
pub mod settings;

pub use failed::Failed;
pub use one_process::{OneProcess, Stopper};
pub use run::{run, run_apart};
pub use settings::{Settings, Submission};
