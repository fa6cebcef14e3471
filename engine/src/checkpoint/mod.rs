//! Checkpoints in open format: where their objects lie, what a manifest says, how they are written, read and removed.
//!
//! The life of a checkpoint: a barrier passes a subtask → its snapshot is written as Parquet ([`state_file`]) beside the
//! processing → the subtask acknowledges with its files → when all have ([`pending`]), the manifest ([`manifest`]) is created in
//! the store ([`store`]): that is the commit point of a job that runs in one process → its committables are committed → older
//! checkpoints are retired ([`retire`]), but for those that are pinned ([`pins`]), which jobs can be started from ([`savepoint`]). Beside all that, the many parts that state is written in become few ([`merge`]).

pub mod committed;
pub mod draft;
pub mod export;
pub mod layout;
pub mod manifest;
pub mod merge;
pub mod pending;
pub mod pins;
pub(crate) mod recent_files;
pub mod retire;
pub mod savepoint;
pub mod segment_ledger;
pub mod split_files;
pub mod staging;
pub mod state_cache;
pub mod state_file;
pub mod store;

pub use layout::Layout;
pub use manifest::Manifest;
pub use savepoint::Savepoint;
pub use staging::Staging;
pub use state_cache::StateCache;
pub use store::{CheckpointStore, Claim, OpenStore};
