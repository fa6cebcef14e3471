//! The control plane: jobs, placement, checkpoints, the replicated metadata, REST and the web page.
//!
//! What is decided for good goes through [`metadata`], a pure catalog behind Raft. What is only true now (which workers are
//! there, who has acknowledged what) lives in [`workers`] and in the [`job`] supervisors of the coordinator that leads. It sees
//! an operator as a name and a configuration: workers build it, and workers execute commits.
//!
//! A coordinator that does not lead shows what the leader shows, and passes on what users ask for ([`leader`]).
//!
//! The life of a submission: [`rpc`] takes it → the catalog records it → [`coordinator`] gives it a supervisor → the
//! [`scheduler`] finds slots → an attempt is claimed, recovered, deployed and driven ([`job::attempt`]) → the catalog records
//! each checkpoint, and the end. [`publish`] describes all this on the [`status`] board, which [`http`] shows.

pub mod announce;
pub mod config;
pub mod coordinator;
mod door;
pub mod http;
pub mod job;
mod leader;
pub mod metadata;
pub mod publish;
pub mod rpc;
pub mod scheduler;
pub mod status;
pub mod workers;

pub use config::{Admit, CoordinatorComponents, CoordinatorSettings, RestartPolicy};
pub use coordinator::Coordinator;
pub use weir_engine::checkpoint::OpenStore;
