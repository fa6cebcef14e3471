//! A producer without transactions.

use super::{error, kept};
use crate::{
    brokers::request::{Produce, Record, Request},
    caller::Caller,
    network::Network,
};
use futures::{FutureExt, future::BoxFuture};
use std::{collections::BTreeMap, sync::Arc};
use weir_kafka::{KafkaErrorKind, NewRecord, Producer, Result, TopicPartition};

/// Sends what is sent again after a lost answer twice.
pub(super) struct PlainProducer {
    network: Network,
    caller: Caller,
    batches: BTreeMap<TopicPartition, Vec<Arc<Record>>>,
    failed: Option<weir_kafka::KafkaError>,
}

impl PlainProducer {
    pub(super) fn new(network: Network, caller: Caller) -> Self {
        PlainProducer { network, caller, batches: BTreeMap::new(), failed: None }
    }

    async fn deliver(&mut self, to: TopicPartition) -> Result<()> {
        let Some(records) = self.batches.remove(&to) else { return Ok(()) };
        let doing = format!("producing {} records to {to}", records.len());
        let request = Request::Produce(Produce { to, records, transaction: None });
        let answer = self.network.call(&self.caller, request).await;
        answer.map(drop).map_err(|failure| error(failure, KafkaErrorKind::Unavailable, doing))
    }
}

impl Producer for PlainProducer {
    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>> {
        async move {
            let to = TopicPartition { topic: record.topic.into(), partition: record.partition };
            let batch = self.batches.entry(to.clone()).or_default();
            batch.push(kept(&record, &self.network));
            if batch.len() >= self.network.patience().batch
                && let Err(error) = self.deliver(to).await
            {
                self.failed.get_or_insert(error);
            }
            Ok(())
        }
        .boxed()
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            let all: Vec<TopicPartition> = self.batches.keys().cloned().collect();
            for to in all {
                if let Err(error) = self.deliver(to).await {
                    self.failed.get_or_insert(error);
                }
            }
            self.failed.take().map_or(Ok(()), Err)
        }
        .boxed()
    }
}
