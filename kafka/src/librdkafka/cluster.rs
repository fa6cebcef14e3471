//! A cluster behind librdkafka.

use super::{
    ask::blocking, configuration::Role, consumer::Reading, groups, native::Native, offsets, producer::Writing, topics,
    transactional::Transactions,
};
use crate::{
    cluster::{Bounds, Cluster, Isolation, NewTopic, Topic, TopicPartition},
    connection::Connection,
    consumer::Consumer,
    error::Result,
    producer::{Producer, TransactionalProducer},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// A cluster that librdkafka connects to. One handle asks; each consumer and producer is a handle of its own.
#[derive(Debug)]
pub(crate) struct Librdkafka {
    connection: Connection,
    questions: Arc<Native>,
    groups: Mutex<HashMap<String, Arc<Native>>>,
}

impl Librdkafka {
    /// Nothing is asked for yet.
    pub(crate) fn open(connection: &Connection) -> Result<Self> {
        let questions = Native::open(connection, &Role::Questions)?;
        Ok(Librdkafka { connection: connection.clone(), questions, groups: Mutex::default() })
    }

    /// The handle for a consumer group: a job has one, for as long as it runs.
    fn group(&self, name: &str) -> Result<Arc<Native>> {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.get(name) {
            return Ok(group.clone());
        }
        let group = Native::open(&self.connection, &Role::Group(name.into()))?;
        groups.insert(name.into(), group.clone());
        Ok(group)
    }

    /// Asks on a thread for calls that wait.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Native) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let client = self.questions.clone();
        Box::pin(blocking(move || question(&client)))
    }
}

impl Cluster for Librdkafka {
    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.ask(topics::names)
    }

    fn describe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<Topic>>> {
        let topic = topic.to_owned();
        self.ask(move |client| topics::describe(client, &topic))
    }

    fn create<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<()>> {
        let topic = topic.clone();
        self.ask(move |client| topics::create(client, &topic))
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Bounds>> {
        let partition = TopicPartition { topic: topic.into(), partition };
        self.ask(move |client| offsets::bounds(client, &partition))
    }

    fn offset_at<'a>(&'a self, topic: &'a str, partition: i32, time_ms: i64) -> BoxFuture<'a, Result<Option<i64>>> {
        let partition = TopicPartition { topic: topic.into(), partition };
        self.ask(move |client| offsets::at(client, &partition, time_ms))
    }

    fn group_offsets<'a>(
        &'a self,
        group: &'a str,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>>> {
        let (client, group, partitions) = (self.group(group), group.to_owned(), partitions.to_vec());
        Box::pin(blocking(move || groups::offsets(&*client?, &group, &partitions)))
    }

    fn set_group_offsets<'a>(
        &'a self,
        group: &'a str,
        offsets: &'a [(TopicPartition, i64)],
    ) -> BoxFuture<'a, Result<()>> {
        let (client, group, offsets) = (self.group(group), group.to_owned(), offsets.to_vec());
        Box::pin(blocking(move || groups::set_offsets(&*client?, &group, &offsets)))
    }

    fn consumer(&self, isolation: Isolation) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(Reading::new(Native::open(&self.connection, &Role::Reading(isolation))?)?))
    }

    fn transactional(&self, id: &str, timeout: Duration) -> Result<Box<dyn TransactionalProducer>> {
        let role = Role::Transactions { id: id.into(), timeout };
        Ok(Box::new(Transactions::new(Native::open(&self.connection, &role)?, id, timeout)))
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        Ok(Box::new(Writing::open(&self.connection)?))
    }
}
