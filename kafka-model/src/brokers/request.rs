//! What a client asks brokers for, and what they say. Plain data.

use std::{collections::BTreeMap, sync::Arc, time::Duration};
use weir_kafka::{Bounds, Isolation, NewTopic, Topic, TopicPartition};

/// A moment: since the Unix epoch.
pub type Time = Duration;

/// Who writes transactions: a producer id, and how often it was given out. A higher epoch fences all lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// The producer id.
    pub producer: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// A record, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none: a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// When it was produced, in milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl Record {
    /// How many bytes it takes, as far as `max.message.bytes` is concerned.
    pub fn bytes(&self) -> usize {
        let of = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + of(value) + 4).sum();
        // A batch with one record in it.
        70 + of(&self.key) + of(&self.value) + headers
    }
}

/// Some records of one producer, which are appended together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produce {
    /// Where to.
    pub to: TopicPartition,
    /// The records.
    pub records: Vec<Arc<Record>>,
    /// Of a transaction: who writes, and the number of the first record among all that this session has written to the partition.
    pub transaction: Option<Transactional>,
}

/// By whom, and as which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transactional {
    /// The transactional id.
    pub id: String,
    /// Who writes.
    pub session: Session,
    /// The number of the first record.
    pub sequence: i32,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The names of all topics.
    Topics,
    /// What a topic is.
    Describe(String),
    /// A new topic.
    Create(NewTopic),
    /// Where a partition begins and ends.
    Bounds(TopicPartition),
    /// The first record at or after a time, in milliseconds since the epoch.
    OffsetAt(TopicPartition, i64),
    /// The next offsets of a group.
    GroupOffsets(String, Vec<TopicPartition>),
    /// Notes them.
    SetGroupOffsets(String, Vec<(TopicPartition, i64)>),
    /// A session for a transactional id, which fences all before it; how long its transactions may be open.
    InitProducerId(String, Duration),
    /// A partition takes part in the transaction from now on; the first one begins it.
    AddPartition(String, Session, TopicPartition),
    /// Records to be appended.
    Produce(Produce),
    /// Commits, or aborts.
    EndTransaction(String, Session, bool),
    /// Records from an offset on, at most so many; and what was read before them.
    Fetch(TopicPartition, i64, Isolation, usize, Option<Behind>),
}

impl Request {
    /// Whether it is of any consequence when it comes late.
    pub fn changes(&self) -> bool {
        matches!(
            self,
            Request::InitProducerId(..)
                | Request::AddPartition(..)
                | Request::Produce(_)
                | Request::EndTransaction(..)
                | Request::SetGroupOffsets(..)
        )
    }

    /// A word for those who read what happened.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Topics => "topics",
            Request::Describe(_) => "describe",
            Request::Create(_) => "create",
            Request::Bounds(_) => "bounds",
            Request::OffsetAt(..) => "offset at",
            Request::GroupOffsets(..) => "group offsets",
            Request::SetGroupOffsets(..) => "set group offsets",
            Request::InitProducerId(..) => "init",
            Request::AddPartition(..) => "add partition",
            Request::Produce(_) => "produce",
            Request::EndTransaction(_, _, true) => "commit",
            Request::EndTransaction(_, _, false) => "abort",
            Request::Fetch(..) => "fetch",
        }
    }
}

/// A record that was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The offset right behind it.
    pub offset: i64,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: i32,
}

/// What was read of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Records with their offsets.
    pub records: Vec<(i64, Arc<Record>)>,
    /// Where to go on.
    pub next: i64,
    /// The offset that the next record gets.
    pub end: i64,
    /// Leader epochs after the first one, which is 0, with the first offset of each.
    pub epochs: Vec<(i32, i64)>,
}

impl Fetched {
    /// The epoch of the leader that wrote what is at an offset.
    pub fn epoch_of(&self, offset: i64) -> i32 {
        self.epochs.iter().rev().find(|(_, begin)| *begin <= offset).map_or(0, |(epoch, _)| *epoch)
    }
}

/// What brokers say when they have done it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done.
    Done,
    /// To `Topics`.
    Topics(Vec<String>),
    /// To `Describe`.
    Topic(Option<Topic>),
    /// To `Bounds`.
    Bounds(Bounds),
    /// To `OffsetAt`.
    Offset(Option<i64>),
    /// To `GroupOffsets`.
    Offsets(Vec<Option<i64>>),
    /// To `InitProducerId`.
    Session(Session),
    /// To `Fetch`.
    Fetched(Fetched),
}

/// What they say when they have not, by the names of Kafka's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The transaction before is not at its end yet: ask again.
    ConcurrentTransactions,
    /// A newer session has been given out.
    ProducerFenced,
    /// The same, as the log of a partition knows it.
    InvalidProducerEpoch,
    /// The transactional id is unknown (it has expired), or belongs to another producer id.
    InvalidProducerIdMapping,
    /// There is no such transaction to add to or to end.
    InvalidTransactionState,
    /// Records before these are missing.
    OutOfOrderSequence,
    /// No transaction may be open for so long.
    InvalidTransactionTimeout,
    /// There is no such topic or partition.
    UnknownTopicOrPartition,
    /// There is no record at that offset any more, or not yet.
    OffsetOutOfRange,
    /// What was read before is no longer part of the log. (Of Kafka's clients it is the finding, after they have asked where an
    /// epoch ended.)
    LogTruncation,
    /// A record is larger than the topic takes.
    MessageTooLarge,
    /// A record cannot be in such a topic: it has no key, and the topic is compacted.
    InvalidRecord,
    /// There cannot be such a topic.
    InvalidTopic,
}

/// An answer.
pub type Answer = Result<Done, Refusal>;

/// What consumer groups have noted.
pub type Groups = BTreeMap<(String, TopicPartition), i64>;
