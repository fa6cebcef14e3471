//! Aggregation over windows, in two steps.
//!
//! [`LocalAggregate`] stands before the exchange and makes *partials*: one row per key and slice of event time, with the
//! state of every aggregate. It is what spreads a key with half of all events over all mappers. [`GlobalAggregate`]
//! comes after it, merges partials into keyed state and emits when windows close; [`SessionAggregate`] does so for
//! sessions, whose bounds depend on the data, and [`UnwindowedAggregate`] has one result per key.
//!
//! A partial has the key columns, `slice_start` (of a session, or where a key is forgotten: the event time), the states of the aggregates, and
//! `input_rows` unless a `count(*)` says the same. An output row has `record_id`, the key columns, `window_start`,
//! `window_end`, the aggregates, `revision` and `withdrawn`.
//!
//! Of windows that are still open the global aggregate emits *running counts* if configured to: in the same columns, on a
//! port of their own, at barriers, with revisions below zero. They change nothing of what it emits when a window closes.
//!
//! [`ResultAggregate`] aggregates results of another aggregate, of which it keeps the newest revisions.
//!
//! Sums are exact: of integers in 128 bits, of decimals in 256, of floats as an exact sum of two doubles or more, rounded when
//! they are emitted. All other states are functions of the set of rows, too, as [`accumulator`] says of each. So no result
//! depends on the order in which rows come.

pub(crate) mod accumulator;
mod codes;
mod config;
mod emission;
mod global;
mod groups;
mod lives;
mod lives_state;
mod local;
mod over_results;
mod running;
mod session;
mod session_state;
mod session_store;
mod slice;
mod state;
mod unwindowed;

/// The values that a list has where its call does not say how many.
pub const LISTED: usize = accumulator::LISTED;
/// The values that a call of a list may ask for at most.
pub const MOST_LISTED: usize = accumulator::MOST_LISTED;

pub use config::{
    AggregateCall, AggregateConfig, Function, RunningCounts, is_defined, may_be_unsayable, output_schema,
};
pub use global::GlobalAggregate;
pub use local::LocalAggregate;
pub use over_results::ResultAggregate;
pub use session::SessionAggregate;
pub(crate) use state::time_in;
pub use unwindowed::UnwindowedAggregate;

#[cfg(test)]
mod tests;
