//! The client: what code under test sees of the model, the traits of `weir_kafka`.

mod cluster;
mod consumer;
mod producer;
mod transactional;

use crate::{
    brokers::request::{Record, Refusal},
    network::{Failure, Network},
};
pub use cluster::ModelCluster;
use std::sync::Arc;
use weir_kafka::{KafkaError, KafkaErrorKind, NewRecord};

/// An error, as the trait says what can be done about it. `silence`: what it means that nobody has answered.
fn error(failure: Failure, silence: KafkaErrorKind, doing: String) -> KafkaError {
    let Failure::Refused(refusal) = failure else {
        return KafkaError::of(silence, format!("{doing}: the brokers do not answer"));
    };
    let kind = match refusal {
        Refusal::ConcurrentTransactions => KafkaErrorKind::Unavailable,
        Refusal::ProducerFenced
        | Refusal::InvalidProducerEpoch
        | Refusal::InvalidProducerIdMapping
        | Refusal::InvalidTransactionState
        | Refusal::OutOfOrderSequence => KafkaErrorKind::Fenced,
        Refusal::UnknownTopicOrPartition => KafkaErrorKind::NotFound,
        Refusal::OffsetOutOfRange => KafkaErrorKind::OutOfRange,
        Refusal::LogTruncation => KafkaErrorKind::Truncated,
        Refusal::MessageTooLarge => KafkaErrorKind::TooLarge,
        Refusal::InvalidTransactionTimeout | Refusal::InvalidTopic | Refusal::InvalidRecord => KafkaErrorKind::Refused,
    };
    KafkaError::of(kind, format!("{doing}: {refusal:?}"))
}

/// A record to be written, on its own.
fn kept(record: &NewRecord<'_>, network: &Network) -> Arc<Record> {
    let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.to_vec())));
    Arc::new(Record {
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: headers.collect(),
        timestamp_ms: record.timestamp_ms.unwrap_or_else(|| network.now_ms()),
    })
}
