//! The definition language: what a user writes, checked and compiled to the engine's job graph.
//!
//! Reading order: `nodes` (what a job is made of: one file a node, with its keys, checks and operators), [`JobBuilder`] (how one
//! is put together), `toml` (how a file becomes calls of the builder), `build` and `compile` (names → types → plan → graph),
//! [`diagnose`] (how mistakes are told), [`explain`] (how a graph is shown).
//!
//! Invariant: whatever is in a file, [`load`] gives a job that can run or a list of mistakes with their places, and never
//! panics.

mod build;
mod builder;
mod compile;
pub mod diagnose;
pub mod explain;
mod job;
mod load;
mod nodes;
pub mod recalculation;
mod settings;
mod spec;
mod store_table;
mod toml;

pub use builder::JobBuilder;
pub use diagnose::{Diagnostic, Refusal};
pub use job::{CompileOptions, Job, NodeNote};
pub use load::{load, parse};
pub use nodes::sink::Sink;
pub use nodes::source::Source;
pub use nodes::*;
pub use settings::Checkpoint;
pub use weir_operators::definition::{KeyPath, Segment, Severity, duration};
pub use weir_operators::{format::Format, sink, source};
