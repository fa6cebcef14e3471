//! Kafka's topics as a source: a partition is a split, its position the offset of the next record.
//!
//! Reading order: `config` and `read` (what a definition says), `metadata` (columns that are not in the value), `position` (what a
//! checkpoint keeps, and whether it can be continued), `start` (where a partition begins), `partition` (how one is read), `look`
//! (what comes while the job runs), `away` (brokers that are waited for), `progress` and `group` (what others see of it), `splits` (which partitions a subtask has), `connector`.
//!
//! Invariants: a partition belongs to one subtask, by its topic and number alone; only what is committed is read; a position that
//! cannot be continued is an error that says so, and is never replaced by another one. Whether a record is a row or a dead letter
//! follows from the record alone. Nothing is read from a consumer group but where a definition begins (`start = "group"`).

mod away;
mod config;
mod connector;
mod group;
mod look;
mod metadata;
mod partition;
mod position;
mod progress;
mod read;
mod splits;
mod start;
#[cfg(test)]
mod tests;

pub use crate::kafka_connection::KafkaConnection;
pub use config::{DISCOVER_INTERVAL, End, KafkaConfig, Start};
pub use connector::KIND;
pub use metadata::Metadata;
