//! The brokers: a pure state machine, which is told what is asked for at which moment, and says what is to follow.
//!
//! One broker stands for all of them: what is acknowledged is not lost, unless a test [says so](Brokers::lose_from). Topics come and go by name; one that was deleted and made
//! anew has another id, and begins at offset 0.
//!
//! Reading order: [`request`], [`log`], [`coordinator`].

pub mod coordinator;
pub mod log;
pub mod request;

use coordinator::{Coordinator, Marker};
use log::Log;
use request::{Answer, Done, Groups, Produce, Refusal, Request, Time};
use std::collections::BTreeMap;
use weir_kafka::{NewTopic, Topic, TopicPartition};

/// The default of `max.message.bytes`.
const MAX_MESSAGE_BYTES: usize = 1_048_588;

/// All that the brokers know.
#[derive(Debug, Default)]
pub struct Brokers {
    topics: BTreeMap<String, Kept>,
    made: u64,
    coordinator: Coordinator,
    groups: Groups,
}

/// A topic.
#[derive(Debug)]
struct Kept {
    id: String,
    max_message_bytes: usize,
    is_compacted: bool,
    logs: Vec<Log>,
}

impl Brokers {
    /// Does what is asked for; the markers are to be [written](Self::write) some time later, each by itself.
    pub fn apply(&mut self, now: Time, request: &Request) -> (Answer, Vec<Marker>) {
        match request {
            Request::InitProducerId(id, timeout) => {
                let (session, markers) = self.coordinator.init(now, id, *timeout);
                (session.map(Done::Session), markers)
            }
            Request::EndTransaction(id, session, commits) => match self.coordinator.end(now, id, *session, *commits) {
                Ok(markers) => (Ok(Done::Done), markers),
                Err(refusal) => (Err(refusal), Vec::new()),
            },
            request => (self.answer(now, request), Vec::new()),
        }
    }

    fn answer(&mut self, now: Time, request: &Request) -> Answer {
        match request {
            Request::Topics => Ok(Done::Topics(self.topics.keys().cloned().collect())),
            Request::Describe(topic) => Ok(Done::Topic(self.topics.get(topic).map(Kept::described))),
            Request::Create(topic) => self.create(topic),
            Request::Bounds(of) => Ok(Done::Bounds(self.log(of)?.bounds())),
            Request::OffsetAt(of, time_ms) => Ok(Done::Offset(self.log(of)?.offset_at(*time_ms))),
            Request::GroupOffsets(group, partitions) => {
                let of = |partition: &TopicPartition| self.groups.get(&(group.clone(), partition.clone())).copied();
                Ok(Done::Offsets(partitions.iter().map(of).collect()))
            }
            Request::SetGroupOffsets(group, offsets) => {
                let noted = offsets.iter().map(|(partition, offset)| ((group.clone(), partition.clone()), *offset));
                self.groups.extend(noted);
                Ok(Done::Done)
            }
            Request::AddPartition(id, session, partition) => {
                self.log(partition)?;
                self.coordinator.add(now, id, *session, partition.clone()).map(|()| Done::Done)
            }
            Request::Produce(produce) => self.produce(now, produce),
            Request::Fetch(of, offset, isolation, most, behind) => {
                let log = self.log(of)?;
                match behind.is_none_or(|behind| log.holds(behind)) {
                    true => log.fetch(*offset, *isolation, *most).map(Done::Fetched),
                    false => Err(Refusal::LogTruncation),
                }
            }
            Request::InitProducerId(..) | Request::EndTransaction(..) => Err(Refusal::InvalidTransactionState),
        }
    }

    fn produce(&mut self, now: Time, produce: &Produce) -> Answer {
        let topic = self.topics.get_mut(&produce.to.topic).ok_or(Refusal::UnknownTopicOrPartition)?;
        if produce.records.iter().any(|record| record.bytes() > topic.max_message_bytes) {
            return Err(Refusal::MessageTooLarge);
        }
        if topic.is_compacted && produce.records.iter().any(|record| record.key.is_none()) {
            return Err(Refusal::InvalidRecord);
        }
        let log = usize::try_from(produce.to.partition).ok().and_then(|at| topic.logs.get_mut(at));
        let log = log.ok_or(Refusal::UnknownTopicOrPartition)?;
        let Some(by) = &produce.transaction else {
            log.append_plain(&produce.records);
            return Ok(Done::Done);
        };
        if !log.is_open(by.session) {
            self.coordinator.verify(now, &by.id, by.session, &produce.to)?;
        }
        log.append(by.session, by.sequence, &produce.records).map(|()| Done::Done)
    }

    fn create(&mut self, topic: &NewTopic) -> Answer {
        if self.topics.contains_key(&topic.name) {
            return Ok(Done::Done);
        }
        if topic.partitions < 1 || topic.name.is_empty() {
            return Err(Refusal::InvalidTopic);
        }
        let setting = |name| topic.settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        self.made += 1;
        let kept = Kept {
            id: format!("topic-id-{}", self.made),
            max_message_bytes: setting("max.message.bytes")
                .map_or(Ok(MAX_MESSAGE_BYTES), str::parse)
                .map_err(|_| Refusal::InvalidTopic)?,
            is_compacted: setting("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
            logs: (0..topic.partitions).map(|_| Log::default()).collect(),
        };
        self.topics.insert(topic.name.clone(), kept);
        Ok(Done::Done)
    }

    /// Writes a marker.
    pub fn write(&mut self, now: Time, marker: &Marker) {
        if let Some(log) = self.log_mut(&marker.to) {
            log.end_transaction(marker.session, marker.commits);
        }
        self.coordinator.written(now, &marker.id, &marker.to);
    }

    /// When the next transaction has been open for too long.
    pub fn next_timeout(&self) -> Option<Time> {
        self.coordinator.next_timeout()
    }

    /// Aborts what has been open for too long.
    pub fn time_out(&mut self, now: Time) -> Vec<Marker> {
        self.coordinator.time_out(now)
    }

    /// Removes a topic with all that is in it.
    pub fn delete(&mut self, topic: &str) {
        self.topics.remove(topic);
        self.groups.retain(|(_, of), _| of.topic != topic);
    }

    /// Gives a topic more partitions.
    pub fn grow(&mut self, topic: &str, partitions: usize) {
        if let Some(topic) = self.topics.get_mut(topic) {
            let most = topic.logs.len().max(partitions);
            topic.logs.resize_with(most, Log::default);
        }
    }

    /// Removes what a partition has from an offset on, as an unclean election of its leader does.
    pub fn lose_from(&mut self, of: &TopicPartition, offset: i64) {
        if let Some(log) = self.log_mut(of) {
            log.lose_from(offset);
        }
    }

    /// Removes what a partition has below an offset, as retention does.
    pub fn retain_from(&mut self, of: &TopicPartition, offset: i64) {
        if let Some(log) = self.log_mut(of) {
            log.retain_from(offset);
        }
    }

    /// Compacts all topics that are to be, but for the last `active` entries of each partition.
    pub fn compact(&mut self, active: usize) {
        let compacted = self.topics.values_mut().filter(|topic| topic.is_compacted);
        compacted.flat_map(|topic| &mut topic.logs).for_each(|log| log.compact(active));
    }

    /// The log of a partition.
    pub fn log(&self, of: &TopicPartition) -> Result<&Log, Refusal> {
        let topic = self.topics.get(&of.topic).ok_or(Refusal::UnknownTopicOrPartition)?;
        let log = usize::try_from(of.partition).ok().and_then(|at| topic.logs.get(at));
        log.ok_or(Refusal::UnknownTopicOrPartition)
    }

    fn log_mut(&mut self, of: &TopicPartition) -> Option<&mut Log> {
        self.topics.get_mut(&of.topic)?.logs.get_mut(usize::try_from(of.partition).ok()?)
    }
}

impl Kept {
    fn described(&self) -> Topic {
        let partitions = self.logs.len() as i32;
        let (max_message_bytes, is_compacted) = (self.max_message_bytes, self.is_compacted);
        Topic { id: Some(self.id.clone()), partitions, max_message_bytes, is_compacted }
    }
}
