//! What runs in the engine: operators, and the tables and expressions that they are made of.
pub mod aggregate;
pub mod dead_letters;
pub mod dedup;
pub mod event_time;
pub mod expression;
pub mod filters;
pub mod hour_partition;
pub mod late_gate;
pub mod map;
pub mod memory_stores;
pub mod moment;
pub mod postgres_server;
pub mod record_id;
pub mod reduce;
pub mod registry;
pub mod schema;
pub mod sink;
pub mod source;
pub mod table;
#[cfg(test)]
mod testing;
pub mod window;
pub mod window_count;

pub use registry::Registry;
