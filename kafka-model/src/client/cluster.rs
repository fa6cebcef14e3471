//! A cluster, as a client sees it.

use super::{consumer::ModelConsumer, error, producer::PlainProducer, transactional::ModelTransactional};
use crate::{
    brokers::request::{Done, Request},
    caller::{Caller, WhoAsks},
    network::Network,
};
use futures::{FutureExt, future::BoxFuture};
use std::{fmt, time::Duration};
use weir_kafka::{
    Bounds, Cluster, Consumer, Isolation, KafkaError, KafkaErrorKind, NewTopic, Producer, Result, Topic,
    TopicPartition, TransactionalProducer,
};

/// The model behind the trait.
pub struct ModelCluster {
    network: Network,
    who_asks: WhoAsks,
}

impl ModelCluster {
    /// For whoever asks.
    pub(crate) fn new(network: Network, who_asks: WhoAsks) -> Self {
        ModelCluster { network, who_asks }
    }

    fn caller(&self) -> Caller {
        Caller { connection: self.network.connection(), ..(self.who_asks)() }
    }

    async fn ask(&self, request: Request, of: &str) -> Result<Done> {
        let name = request.name();
        let answer = self.network.call(&self.caller(), request).await;
        answer.map_err(|failure| error(failure, KafkaErrorKind::Unavailable, format!("{name} of {of}")))
    }
}

impl fmt::Debug for ModelCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelCluster").finish_non_exhaustive()
    }
}

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

fn odd<T>(answer: Done) -> Result<T> {
    Err(KafkaError::of(KafkaErrorKind::Refused, format!("the model answered {answer:?}")))
}

impl Cluster for ModelCluster {
    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        async {
            match self.ask(Request::Topics, "the cluster").await? {
                Done::Topics(topics) => Ok(topics),
                answer => odd(answer),
            }
        }
        .boxed()
    }

    fn describe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<Topic>>> {
        async move {
            match self.ask(Request::Describe(topic.into()), topic).await? {
                Done::Topic(topic) => Ok(topic),
                answer => odd(answer),
            }
        }
        .boxed()
    }

    fn create<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<()>> {
        async move { self.ask(Request::Create(topic.clone()), &topic.name).await.map(drop) }.boxed()
    }

    fn bounds<'a>(&'a self, topic: &'a str, number: i32) -> BoxFuture<'a, Result<Bounds>> {
        async move {
            let of = partition(topic, number);
            match self.ask(Request::Bounds(of.clone()), &of.to_string()).await? {
                Done::Bounds(bounds) => Ok(bounds),
                answer => odd(answer),
            }
        }
        .boxed()
    }

    fn offset_at<'a>(&'a self, topic: &'a str, number: i32, time_ms: i64) -> BoxFuture<'a, Result<Option<i64>>> {
        async move {
            let of = partition(topic, number);
            match self.ask(Request::OffsetAt(of.clone(), time_ms), &of.to_string()).await? {
                Done::Offset(offset) => Ok(offset),
                answer => odd(answer),
            }
        }
        .boxed()
    }

    fn group_offsets<'a>(
        &'a self,
        group: &'a str,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>>> {
        async move {
            match self.ask(Request::GroupOffsets(group.into(), partitions.to_vec()), group).await? {
                Done::Offsets(offsets) => Ok(offsets),
                answer => odd(answer),
            }
        }
        .boxed()
    }

    fn set_group_offsets<'a>(
        &'a self,
        group: &'a str,
        offsets: &'a [(TopicPartition, i64)],
    ) -> BoxFuture<'a, Result<()>> {
        async move { self.ask(Request::SetGroupOffsets(group.into(), offsets.to_vec()), group).await.map(drop) }.boxed()
    }

    fn consumer(&self, isolation: Isolation) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(ModelConsumer::new(self.network.clone(), self.caller(), isolation)))
    }

    fn transactional(&self, id: &str, timeout: Duration) -> Result<Box<dyn TransactionalProducer>> {
        Ok(Box::new(ModelTransactional::new(self.network.clone(), self.caller(), id, timeout)))
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        Ok(Box::new(PlainProducer::new(self.network.clone(), self.caller())))
    }
}
