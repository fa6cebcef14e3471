//! What a test holds of the model: it makes and breaks things, and looks past the network.

use crate::{
    brokers::request::{Done, Produce, Record, Request, Time, Transactional},
    caller::{Caller, WhoAsks},
    client::ModelCluster,
    conditions::{Conditions, Patience},
    network::{Clock, Network, Tell},
};
use std::{fmt, sync::Arc, time::Duration};
use weir_engine::env::Env;
use weir_kafka::{Bounds, Cluster, Isolation, NewRecord, NewTopic, TopicPartition};

/// 2024-01-01 00:00:00 UTC: when the model's own clock begins.
const BEGINNING: Time = Duration::from_secs(1_704_067_200);

/// Brokers, and the way to them. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    network: Network,
    clock: Clock,
}

/// A record that a reader of committed records finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The record.
    pub record: Arc<Record>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

impl Model {
    /// On the clock of the tokio runtime that this is called in.
    pub fn new(seed: u64) -> Self {
        Model::with(seed, Patience::default())
    }

    /// The same, with clients that wait, and take and send at once, as is said.
    pub fn with(seed: u64, patience: Patience) -> Self {
        let began = Env::default().now();
        Model::on(seed, Arc::new(move || BEGINNING + (Env::default().now() - began)), patience, None)
    }

    /// On a clock that somebody else moves.
    pub fn on(seed: u64, clock: Clock, patience: Patience, tell: Option<Tell>) -> Self {
        Model { network: Network::new(seed, clock.clone(), patience, tell), clock }
    }

    /// What a client sees that runs always.
    pub fn cluster(&self) -> Arc<dyn Cluster> {
        self.cluster_of("client")
    }

    /// What a client of a name sees.
    pub fn cluster_of(&self, name: &str) -> Arc<dyn Cluster> {
        let caller = Caller::named(name);
        self.cluster_for(Arc::new(move || caller.clone()))
    }

    /// What clients see that are told apart whenever they ask.
    pub fn cluster_for(&self, who_asks: WhoAsks) -> Arc<dyn Cluster> {
        Arc::new(ModelCluster::new(self.network.clone(), who_asks))
    }

    /// Changes how everything is from now on.
    pub fn set(&self, conditions: Conditions) {
        let now = (self.clock)();
        self.network.with(|state| state.set(now, conditions));
    }

    /// Cuts a client off from the brokers, or lets it reach them again.
    pub fn set_cut(&self, client: &str, is_cut: bool) {
        self.network.with(|state| state.set_cut(client, is_cut));
    }

    /// Serves what has come.
    pub fn serve(&self) {
        self.network.with(|_| ());
    }

    /// Serves all that is under way, however late, and lets transactions that are open time out. Nothing may be asked for after.
    pub fn come_to_rest(&self) {
        self.set(Conditions::default());
        self.network.with(|state| state.serve(Time::MAX));
    }

    /// Makes a topic.
    pub fn create(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.apply(&Request::Create(NewTopic { name: name.into(), partitions, replication: None, settings }));
    }

    /// Removes a topic.
    pub fn delete(&self, topic: &str) {
        self.network.with(|state| state.brokers.delete(topic));
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, topic: &str, partitions: usize) {
        self.network.with(|state| state.brokers.grow(topic, partitions));
    }

    /// Removes what a partition has from an offset on, as an unclean election of its leader does.
    pub fn lose_from(&self, topic: &str, partition: i32, offset: i64) {
        let of = TopicPartition { topic: topic.into(), partition };
        self.network.with(|state| state.brokers.lose_from(&of, offset));
    }

    /// Removes what a partition has below an offset.
    pub fn retain_from(&self, topic: &str, partition: i32, offset: i64) {
        let of = TopicPartition { topic: topic.into(), partition };
        self.network.with(|state| state.brokers.retain_from(&of, offset));
    }

    /// Compacts all topics that are to be, but for the last `active` entries of each partition.
    pub fn compact(&self, active: usize) {
        self.network.with(|state| state.brokers.compact(active));
    }

    /// Appends a record at once.
    pub fn append(&self, record: &NewRecord<'_>) {
        let to = TopicPartition { topic: record.topic.into(), partition: record.partition };
        let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.to_vec())));
        let record = Record {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
            timestamp_ms: record.timestamp_ms.unwrap_or_else(|| self.network.now_ms()),
        };
        self.apply(&Request::Produce(Produce { to, records: vec![Arc::new(record)], transaction: None }));
    }

    /// Somebody, whose transactional id nobody else has, has a transaction open in a partition, until it times out. A topic that is
    /// not there has none.
    pub fn leave_open(&self, id: &str, to: &TopicPartition, timeout: Duration) {
        let Some(Done::Session(session)) = self.apply(&Request::InitProducerId(id.into(), timeout)) else { return };
        self.apply(&Request::AddPartition(id.into(), session, to.clone()));
        let (key, timestamp_ms) = (Some(id.as_bytes().to_vec()), self.network.now_ms());
        let record = Arc::new(Record { key, value: Some(Vec::new()), headers: Vec::new(), timestamp_ms });
        let transaction = Some(Transactional { id: id.into(), session, sequence: 0 });
        self.apply(&Request::Produce(Produce { to: to.clone(), records: vec![record], transaction }));
    }

    /// Where a partition begins and ends; none: there is no such partition.
    pub fn bounds(&self, topic: &str, partition: i32) -> Option<Bounds> {
        match self.apply(&Request::Bounds(TopicPartition { topic: topic.into(), partition })) {
            Some(Done::Bounds(bounds)) => Some(bounds),
            _ => None,
        }
    }

    /// All committed records of a topic, by partition and offset; none: there is no such topic.
    pub fn committed(&self, topic: &str) -> Option<Vec<Written>> {
        let Some(Done::Topic(Some(described))) = self.apply(&Request::Describe(topic.into())) else { return None };
        let mut all = Vec::new();
        for partition in 0..described.partitions {
            let of = TopicPartition { topic: topic.into(), partition };
            let beginning = self.bounds(topic, partition)?.beginning;
            let fetched = self.apply(&Request::Fetch(of, beginning, Isolation::Committed, usize::MAX, None));
            let Some(Done::Fetched(fetched)) = fetched else { return None };
            let written = fetched.records.into_iter();
            all.extend(written.map(|(offset, record)| Written { partition, offset, record }));
        }
        Some(all)
    }

    /// Does something at once, past the network.
    fn apply(&self, request: &Request) -> Option<Done> {
        let now = (self.clock)();
        self.network.with(|state| state.brokers.apply(now, request).0.ok())
    }
}
