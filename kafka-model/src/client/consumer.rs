//! Reads partitions: a task for each fetches ahead, within bounds.

use super::error;
use crate::{
    brokers::request::{Behind, Done, Fetched, Record, Refusal, Request},
    caller::Caller,
    conditions::Patience,
    network::{Failure, Network},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};
use tokio::{sync::Notify, task::JoinHandle};
use weir_engine::env::Env;
use weir_kafka::{
    Consumer, Headers, Isolation, KafkaError, KafkaErrorKind, PartitionReader, RecordRef, Result, TopicPartition,
};

/// Reads any number of partitions.
pub(super) struct ModelConsumer {
    network: Network,
    caller: Caller,
    isolation: Isolation,
    woken: Arc<Notify>,
    being_read: Arc<Mutex<BTreeSet<TopicPartition>>>,
}

impl ModelConsumer {
    pub(super) fn new(network: Network, caller: Caller, isolation: Isolation) -> Self {
        ModelConsumer { network, caller, isolation, woken: Arc::default(), being_read: Arc::default() }
    }
}

impl Consumer for ModelConsumer {
    fn read_on(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        leader_epoch: Option<i32>,
    ) -> Result<Box<dyn PartitionReader>> {
        if !self.being_read.lock().insert(partition.clone()) {
            return Err(KafkaError::of(KafkaErrorKind::Refused, format!("{partition} is being read already")));
        }
        let behind = leader_epoch.map(|leader_epoch| Behind { offset, leader_epoch });
        let ready = Arc::new(Mutex::new(Ready { next: offset, behind, position: offset, ..Ready::default() }));
        let fetching = Fetching {
            network: self.network.clone(),
            caller: Caller { connection: self.network.connection(), ..self.caller.clone() },
            of: partition.clone(),
            isolation: self.isolation,
            ready: ready.clone(),
            woken: self.woken.clone(),
        };
        let task = tokio::spawn(fetching.run());
        Ok(Box::new(ModelReader { of: partition.clone(), ready, task, being_read: self.being_read.clone() }))
    }

    fn woken(&self) -> Arc<Notify> {
        self.woken.clone()
    }
}

/// What is fetched and not given out yet.
#[derive(Default)]
struct Ready {
    records: VecDeque<Found>,
    /// Where to fetch on.
    next: i64,
    /// The last record that was fetched.
    behind: Option<Behind>,
    /// What has been given out.
    position: i64,
    end: Option<i64>,
    error: Option<KafkaError>,
    /// Whether the error is the last word.
    is_over: bool,
}

/// A record, with its offset and the epoch of the leader that wrote it.
type Found = (i64, i32, Arc<Record>);

struct Fetching {
    network: Network,
    caller: Caller,
    of: TopicPartition,
    isolation: Isolation,
    ready: Arc<Mutex<Ready>>,
    woken: Arc<Notify>,
}

impl Fetching {
    async fn run(self) {
        let Patience { poll, fetch, ahead, .. } = self.network.patience();
        loop {
            let (next, behind, is_full) = {
                let ready = self.ready.lock();
                (ready.next, ready.behind, ready.records.len() >= ahead)
            };
            if is_full {
                Env::default().sleep(poll).await;
                continue;
            }
            let request = Request::Fetch(self.of.clone(), next, self.isolation, fetch, behind);
            let has_more = match self.network.call(&self.caller, request).await {
                Ok(Done::Fetched(fetched)) => self.take_in(fetched),
                Ok(answer) => {
                    return self.fail(Failure::Refused(Refusal::OffsetOutOfRange), &format!("{answer:?}"), true);
                }
                Err(failure) => {
                    let is_over = matches!(failure, Failure::Refused(_));
                    self.fail(failure, &format!("reading {} at {next}", self.of), is_over);
                    if is_over {
                        return;
                    }
                    false
                }
            };
            if !has_more {
                Env::default().sleep(poll).await;
            }
        }
    }

    /// Whether there was anything.
    fn take_in(&self, fetched: Fetched) -> bool {
        let mut ready = self.ready.lock();
        let has_more = fetched.next > ready.next;
        let is_news = has_more || ready.end != Some(fetched.end);
        let found = fetched.records.iter().map(|(offset, record)| {
            let leader_epoch = fetched.epoch_of(*offset);
            (Behind { offset: offset + 1, leader_epoch }, record.clone())
        });
        for (behind, record) in found {
            ready.records.push_back((behind.offset - 1, behind.leader_epoch, record));
            ready.behind = Some(behind);
        }
        (ready.next, ready.end, ready.error) = (fetched.next, Some(fetched.end), None);
        if ready.records.is_empty() {
            ready.position = ready.next;
        }
        drop(ready);
        if is_news {
            self.woken.notify_one();
        }
        has_more
    }

    fn fail(&self, failure: Failure, doing: &str, is_over: bool) {
        let mut ready = self.ready.lock();
        ready.error = Some(error(failure, KafkaErrorKind::Unavailable, doing.into()));
        ready.is_over = is_over;
        drop(ready);
        self.woken.notify_one();
    }
}

/// Reads one partition.
struct ModelReader {
    of: TopicPartition,
    ready: Arc<Mutex<Ready>>,
    task: JoinHandle<()>,
    being_read: Arc<Mutex<BTreeSet<TopicPartition>>>,
}

impl PartitionReader for ModelReader {
    fn take(&mut self, most: usize, each: &mut dyn FnMut(RecordRef<'_>)) -> Result<usize> {
        let taken: Vec<Found> = {
            let mut ready = self.ready.lock();
            let taken = ready.records.len().min(most);
            let taken: Vec<_> = ready.records.drain(..taken).collect();
            if taken.is_empty() && ready.records.is_empty() {
                let error = if ready.is_over { ready.error.clone() } else { ready.error.take() };
                if let Some(error) = error {
                    return Err(error);
                }
            }
            let last = taken.last().map(|(offset, ..)| offset + 1);
            ready.position = if ready.records.is_empty() { ready.next } else { last.unwrap_or(ready.position) };
            taken
        };
        for (offset, leader_epoch, record) in &taken {
            each(RecordRef {
                offset: *offset,
                leader_epoch: Some(*leader_epoch),
                timestamp_ms: Some(record.timestamp_ms),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: Headers(&|| record.headers.clone()),
            });
        }
        Ok(taken.len())
    }

    fn position(&self) -> i64 {
        self.ready.lock().position
    }

    fn end(&self) -> Option<i64> {
        self.ready.lock().end
    }
}

impl Drop for ModelReader {
    fn drop(&mut self) {
        self.task.abort();
        self.being_read.lock().remove(&self.of);
    }
}
