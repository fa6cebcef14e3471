//! The dataflow runtime.
//!
//! Rows flow in Arrow batches through a graph of operators, split over parallel subtasks; barriers flow among them and cut
//! the stream into checkpoints. This room knows batches, channels, barriers, state, checkpoints and time. It knows no
//! cluster, no connector and no SQL.
//!
//! The life of a record: a [`Source`](operator::Source) makes a [`Batch`](element::Batch) → the chain of
//! [`Operator`](operator::Operator)s fused with it → a partitioner splits it by key group into channels → an input gate of
//! another subtask → its chain → a [`Sink`](operator::Sink).
//!
//! Reading order: [`element`] (what flows), [`operator`] (the contracts), [`graph`] (what is connected to what),
//! [`key_group`] and [`hash`] (who owns a key), [`state`] (what is kept),
//! [`parquet_pages`] (how rows become files without an encoder).

pub mod align;
pub mod availability;
pub mod channel;
pub mod checkpoint;
pub mod disk;
pub mod element;
pub mod env;
pub mod error;
pub mod graph;
pub mod hash;
pub mod hidden;
pub mod ids;
pub mod key_group;
pub mod object_storage;
pub mod operator;
pub mod panics;
pub mod parquet_pages;
pub mod patient_store;
pub mod rate;
pub mod retry;
pub mod secrets;
pub mod state;
pub mod task;
pub mod testing;
pub mod wire;

pub use error::{EngineError, ErrorKind, Result};
