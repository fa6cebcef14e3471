//! The definition language: what a user writes, checked and compiled to the engine's job graph.
//!
//! Reading order: [`spec`] (what a job is made of), [`JobBuilder`] (how one is put together), `toml` (how a file becomes
//! calls of the builder), `compile` (names → types → plan → graph), [`diagnose`] (how mistakes are told), [`explain`]
//! (how a graph is shown).
//!
//! Invariant: whatever is in a file, [`load`] gives a job that can run or a list of mistakes with their places, and never
//! panics.

mod builder;
mod compile;
pub mod diagnose;
pub mod explain;
mod job;
mod load;
pub mod recalculation;
pub mod spec;
mod sql_sink;
mod toml;

pub use builder::JobBuilder;
pub use diagnose::{Diagnostic, Refusal};
pub use job::{CompileOptions, Job, NodeNote};
pub use load::{load, parse};
pub use spec::{Aggregate, Checkpoint, Compression, Dedup, Format, Map, Reduce, Roll, Sink, Source, Window};
pub use sql_sink::{TableIndex, TableRetention};
pub use weir_operators::definition::{KeyPath, Segment, Severity, duration};
