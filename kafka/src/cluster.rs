//! A cluster: its topics, and who reads and writes them.

use crate::{
    consumer::Consumer,
    error::Result,
    producer::{Producer, TransactionalProducer},
};
use futures::future::BoxFuture;
use std::{fmt, time::Duration};

/// A Kafka cluster. Everything that waits is bounded in time by the client, and fails as
/// [unavailable](crate::error::KafkaErrorKind::Unavailable) then.
pub trait Cluster: fmt::Debug + Send + Sync {
    /// The names of all topics that may be seen, in order, without those that Kafka keeps for itself.
    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// What a topic is; none: there is none of that name.
    fn describe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<Topic>>>;

    /// Makes a topic. One of that name that there is already is no error, whatever its settings.
    fn create<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<()>>;

    /// Where a partition begins and ends.
    fn bounds<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Bounds>>;

    /// The offset of the first record at or after a time, in milliseconds since the epoch; none: there is none so far.
    fn offset_at<'a>(&'a self, topic: &'a str, partition: i32, time_ms: i64) -> BoxFuture<'a, Result<Option<i64>>>;

    /// What a consumer group has noted as its next offset of each of these partitions.
    fn group_offsets<'a>(
        &'a self,
        group: &'a str,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>>>;

    /// Notes the next offsets of a consumer group that nobody is a member of: for those who watch its lag.
    fn set_group_offsets<'a>(
        &'a self,
        group: &'a str,
        offsets: &'a [(TopicPartition, i64)],
    ) -> BoxFuture<'a, Result<()>>;

    /// What reads partitions. Nothing is asked for yet.
    fn consumer(&self, isolation: Isolation) -> Result<Box<dyn Consumer>>;

    /// A producer of transactions. Nothing is asked for yet, and no other one is fenced.
    ///
    /// `timeout` is how long the broker leaves a transaction open.
    fn transactional(&self, id: &str, timeout: Duration) -> Result<Box<dyn TransactionalProducer>>;

    /// A producer without transactions. What is sent again after a time-out may be there twice.
    fn producer(&self) -> Result<Box<dyn Producer>>;
}

/// What a topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Tells it from one of the same name that was there before or comes after. None: the brokers are too old to say.
    pub id: Option<String>,
    /// How many partitions it has.
    pub partitions: i32,
    /// The largest batch of records that it takes (`max.message.bytes`).
    pub max_message_bytes: usize,
    /// Whether it keeps the newest record of each key (`cleanup.policy`), and so takes none without a key. No, where we may not ask.
    pub is_compacted: bool,
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// On how many brokers each of these is; none: as the cluster has it.
    pub replication: Option<i16>,
    /// Its settings, by Kafka's names.
    pub settings: Vec<(String, String)>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a partition begins and ends, in offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest record that there still is.
    pub beginning: i64,
    /// The first offset that is not decided: a transaction that has begun before is open. What is read committed ends here.
    pub stable_end: i64,
    /// The offset that the next record gets (the high watermark).
    pub end: i64,
}

/// What is read of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// What is committed, up to the first open transaction.
    Committed,
    /// Everything, aborted records as well.
    Uncommitted,
}
