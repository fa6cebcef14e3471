//! The settings of a Kafka sink, as a definition's `[sink.NAME]` has them. What its node keeps of them, with what follows from the
//! columns, is [`KafkaSinkConfig`](super::KafkaSinkConfig).

use super::config::{Delivery, TRANSACTION_TIMEOUT};
use crate::{
    definition::{Kind, Reader},
    format::WrittenFormat,
    kafka_connection::KafkaConnection,
};
use std::time::Duration;

/// The longest that brokers allow unless they are told otherwise, and the shortest that a commit has time in.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(15 * 60);

/// A Kafka sink as defined.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaSinkSettings {
    pub(super) connection: KafkaConnection,
    pub(super) topic: String,
    pub(super) format: WrittenFormat,
    /// The columns of a record's key; none said: `record_id` where rows are results, and none where they are events.
    pub(super) key: Option<Vec<String>>,
    pub(super) delivery: Delivery,
    pub(super) transaction_timeout: Duration,
    pub(super) progress_topic: Option<String>,
    pub(super) rejected_topic: Option<String>,
}

/// How records without a partition of their own are spread.
#[derive(Clone, Copy)]
enum PartitionBy {
    Key,
}

impl KafkaSinkSettings {
    /// A topic at brokers, `HOST:PORT` of some of them.
    pub fn topic(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        KafkaSinkSettings {
            connection: KafkaConnection::to(brokers),
            topic: topic.into(),
            format: WrittenFormat::Json,
            key: None,
            delivery: Delivery::default(),
            transaction_timeout: TRANSACTION_TIMEOUT,
            progress_topic: None,
            rejected_topic: None,
        }
    }

    /// The columns of a record's key; none of them: records have no key.
    #[must_use]
    pub fn key<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.key = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// What is promised of each row.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// The topic for rows that the topic does not take.
    #[must_use]
    pub fn rejected_topic(mut self, topic: impl Into<String>) -> Self {
        self.rejected_topic = Some(topic.into());
        self
    }

    /// Reads the keys of a `[sink.NAME]`.
    pub(super) fn read(keys: &Reader<'_>) -> Self {
        let connection = KafkaConnection::read(keys);
        let topic = keys.required_text("topic", "\"clicks-per-minute\"");
        if matches!(keys.value("topic").map(|value| &value.kind), Some(Kind::Text(text)) if text.is_empty()) {
            keys.refuse("topic", "this names no topic", "the name of a topic");
        }
        let format = WrittenFormat::read(keys);
        let key = keys.texts("key");
        // There is one way so far; it may be written out in definitions so that they stay right when there are more.
        let (Some(PartitionBy::Key) | None) = keys.choice("partition_by", &[("key", PartitionBy::Key)]);
        let deliveries = [("exactly_once", Delivery::ExactlyOnce), ("at_least_once", Delivery::AtLeastOnce)];
        KafkaSinkSettings {
            connection,
            topic,
            format,
            key,
            delivery: keys.choice("delivery", &deliveries).unwrap_or_default(),
            transaction_timeout: read_timeout(keys),
            progress_topic: keys.text("progress_topic"),
            rejected_topic: keys.text("rejected_topic"),
        }
    }
}

fn read_timeout(keys: &Reader<'_>) -> Duration {
    let Some(timeout) = keys.duration("transaction_timeout") else { return TRANSACTION_TIMEOUT };
    if !TIMEOUTS.contains(&timeout) {
        keys.refuse("transaction_timeout", "brokers or commits don't bear that", "from \"1s\" to \"15m\"");
        return TRANSACTION_TIMEOUT;
    }
    timeout
}
