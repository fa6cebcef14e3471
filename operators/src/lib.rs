//! What runs in the engine: sources, operators and sinks, and the tables and expressions that they are made of.
//!
//! The engine knows a node as a kind and its settings; [`Registry`] makes one from them, and where a cluster confines its jobs
//! [`confinement`] says which. What other crates add is an [`extension`], and [`testing`] is for their tests, too. A click's way through the shipped job:
//! a [`source`] cuts files into records and says of each whether its file has come past it, [`map`] keeps what a condition
//! wants, [`late_gate`] takes out what comes too late for its window, [`dedup`] what was there before, [`filters`] multiplies
//! it by the filters that it matches, [`aggregate`] counts it (before the shuffle and behind it), [`reduce`] ranks the counts, [`over`] sees it with those before it,
//! and a [`sink`] makes them durable, then visible. What could not be read goes to [`dead_letters`]. Before the archive's sink
//! [`hold`] keeps clicks back for a while, so that there are fewer and larger files.
//!
//! What another job has counted comes in again through [`newest_revision`]. [`join`] matches events of two inputs, and [`window_join`] results
//! of two, which it keeps as [`result_rows`].
//!
//! Underneath: [`window`] (which windows an event belongs to), [`event_time`], [`record_id`] (the same in every run),
//! [`columns`] (what every result has), [`expression`] (SQL conditions and columns, compiled once), [`table`] (hash tables
//! over columns, and what of them goes into a checkpoint).
//!
//! Invariant: an operator is synchronous and has no clock: what it emits follows from its input alone. Sources and sinks do
//! the waiting.

pub mod aggregate;
pub mod confinement;
pub mod connectors;
#[cfg(test)]
mod counted_memory;
pub mod dead_letters;
pub mod dedup;
pub mod definition;
pub mod event_time;
pub mod extension;
pub mod filters;
pub mod format;
pub mod hold;
pub mod hour_partition;
pub mod join;
mod kafka_connection;
pub mod late_gate;
mod look;
pub mod lookup;
pub mod map;
pub mod memory_stores;
pub mod moment;
pub mod newest_revision;
pub mod over;
pub mod ports;
pub mod record_id;
pub mod reduce;
pub mod registry;
pub mod result_rows;
pub mod schema;
pub mod sink;
pub mod source;
pub mod table;
pub mod testing;
pub mod window;
pub mod window_count;
pub mod window_join;

pub use extension::Extensions;
pub use registry::Registry;
pub use weir_expression as expression;
pub use weir_store::columns;
