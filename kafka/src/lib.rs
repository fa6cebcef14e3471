//! The door to Kafka: a narrow client, and what is behind it.
//!
//! Sources and sinks see traits: a [`Cluster`] has topics; a [`Consumer`] reads partitions at offsets; a [`TransactionalProducer`]
//! writes. Behind them is librdkafka (`librdkafka/`), or, in a simulation, a model of a broker that somebody has
//! [provided](provided). Nothing here knows rows, splits or checkpoints.
//!
//! Reading order: [`connection`], [`cluster`], [`record`], [`consumer`], [`producer`], [`error`]; then [`partition`] (which
//! partition a key belongs to).

pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod error;
mod librdkafka;
pub mod partition;
pub mod producer;
pub mod properties;
pub mod provided;
pub mod record;

pub use cluster::{Bounds, Cluster, Isolation, NewTopic, Topic, TopicPartition};
pub use connection::Connection;
pub use consumer::{Consumer, PartitionReader};
pub use error::{KafkaError, KafkaErrorKind, Result};
pub use producer::{Producer, TransactionalProducer};
pub use record::{Headers, NewRecord, RecordRef};
use std::sync::Arc;

/// The cluster that a connection leads to. Nothing is asked for yet.
///
/// # Errors
/// When the properties are none that the client knows.
pub fn connect(connection: &Connection) -> Result<Arc<dyn Cluster>> {
    match provided::provided(&connection.brokers) {
        Some(cluster) => Ok(cluster),
        None => Ok(Arc::new(librdkafka::Librdkafka::open(connection)?)),
    }
}
