//! A producer of transactions, as librdkafka's: without KIP-890.
//!
//! What was sent and not answered within its patience may be done, or come later. This client does not stop whoever goes on with it
//! then, in the same epoch: the trait forbids that, and who does it anyway is to be found out. Nor whoever goes on with it after a
//! commit for which it had to ask more than once.

use super::{error, kept};
use crate::{
    brokers::request::{Done, Produce, Record, Request, Session, Transactional},
    caller::Caller,
    network::{Failure, Network},
};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use weir_kafka::{KafkaError, KafkaErrorKind, NewRecord, Result, TopicPartition, TransactionalProducer};

/// Writes transactions, one after another.
pub(super) struct ModelTransactional {
    network: Network,
    caller: Caller,
    id: String,
    timeout: Duration,
    session: Option<Session>,
    is_open: bool,
    /// Partitions of this transaction that the coordinator knows.
    added: BTreeSet<TopicPartition>,
    /// By partition: the number of the next record. Never given twice.
    sequences: BTreeMap<TopicPartition, i32>,
    batches: BTreeMap<TopicPartition, Vec<Arc<Record>>>,
    /// Why what was handed over is not there.
    failed: Option<KafkaError>,
    may_have_repeated: bool,
}

impl ModelTransactional {
    pub(super) fn new(network: Network, caller: Caller, id: &str, timeout: Duration) -> Self {
        ModelTransactional {
            network,
            caller,
            id: id.into(),
            timeout,
            session: None,
            is_open: false,
            added: BTreeSet::new(),
            sequences: BTreeMap::new(),
            batches: BTreeMap::new(),
            failed: None,
            may_have_repeated: false,
        }
    }

    fn refused(&self, what: &str) -> KafkaError {
        KafkaError::of(KafkaErrorKind::Refused, format!("transactional id {}: {what}", self.id))
    }

    fn session(&self) -> Result<Session> {
        self.session.ok_or_else(|| self.refused("it is not initialised"))
    }

    /// How many requests were not answered before one was.
    async fn ask(&self, request: Request) -> Result<u32, KafkaError> {
        let doing = match &request {
            Request::AddPartition(_, _, to) | Request::Produce(Produce { to, .. }) => {
                format!("transactional id {}: {} {to}", self.id, request.name())
            }
            _ => format!("transactional id {}: {}", self.id, request.name()),
        };
        let mut unanswered = 0;
        let answer: Result<Done, Failure> = self.network.call_counting(&self.caller, request, &mut unanswered).await;
        answer.map(|_| unanswered).map_err(|failure| error(failure, KafkaErrorKind::Unknown, doing))
    }

    /// Sends what is held back for a partition, and waits until it is there.
    async fn deliver(&mut self, to: TopicPartition) -> Result<()> {
        let session = self.session()?;
        let Some(records) = self.batches.remove(&to) else { return Ok(()) };
        if !self.added.contains(&to) {
            // Even if nothing is known of it, it may be part of the transaction.
            self.added.insert(to.clone());
            self.ask(Request::AddPartition(self.id.clone(), session, to.clone())).await?;
        }
        let next = self.sequences.entry(to.clone()).or_default();
        let sequence = *next;
        *next += records.len() as i32;
        let transaction = Some(Transactional { id: self.id.clone(), session, sequence });
        self.ask(Request::Produce(Produce { to, records, transaction })).await.map(drop)
    }

    async fn deliver_all(&mut self) -> Result<()> {
        let all: Vec<TopicPartition> = self.batches.keys().cloned().collect();
        for to in all {
            self.deliver(to).await?;
        }
        Ok(())
    }

    async fn end(&mut self, commits: bool) -> Result<()> {
        let session = self.session()?;
        if !self.added.is_empty() {
            self.may_have_repeated = true;
            let unanswered = self.ask(Request::EndTransaction(self.id.clone(), session, commits)).await?;
            self.may_have_repeated = unanswered > 0;
        }
        self.added.clear();
        self.is_open = false;
        Ok(())
    }
}

impl TransactionalProducer for ModelTransactional {
    fn init(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            let request = Request::InitProducerId(self.id.clone(), self.timeout);
            let answer = self.network.call(&self.caller, request).await;
            let doing = format!("transactional id {}: init", self.id);
            match answer.map_err(|failure| error(failure, KafkaErrorKind::Unavailable, doing))? {
                Done::Session(session) => self.session = Some(session),
                answer => return Err(self.refused(&format!("the model answered {answer:?}"))),
            }
            (self.is_open, self.may_have_repeated) = (false, false);
            self.failed = None;
            self.added.clear();
            self.sequences.clear();
            self.batches.clear();
            Ok(())
        }
        .boxed()
    }

    fn begin(&mut self) -> Result<()> {
        self.session()?;
        if self.is_open {
            return Err(self.refused("a transaction is open already"));
        }
        self.is_open = true;
        Ok(())
    }

    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>> {
        async move {
            if !self.is_open {
                return Err(self.refused("no transaction is open"));
            }
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let to = TopicPartition { topic: record.topic.into(), partition: record.partition };
            let batch = self.batches.entry(to.clone()).or_default();
            batch.push(kept(&record, &self.network));
            if batch.len() < self.network.patience().batch {
                return Ok(());
            }
            let delivered = self.deliver(to).await;
            delivered.inspect_err(|error| self.failed = Some(error.clone()))
        }
        .boxed()
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            if !self.is_open {
                return Err(self.refused("no transaction is open"));
            }
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let delivered = self.deliver_all().await;
            delivered.inspect_err(|error| self.failed = Some(error.clone()))?;
            self.end(true).await
        }
        .boxed()
    }

    fn may_have_repeated(&self) -> bool {
        self.may_have_repeated
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            self.batches.clear();
            self.end(false).await?;
            self.failed = None;
            Ok(())
        }
        .boxed()
    }
}
