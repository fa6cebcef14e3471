//! The topics of a measurement, clicks that are produced to them, and what is read back.

use crate::child;
use anyhow::{Context, Result, anyhow, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::runtime::Runtime;
use weir_kafka::{
    Cluster, Connection, Isolation, NewRecord, NewTopic, RecordRef, TopicPartition, connect, partition::partition_of,
};

/// How long a topic may be silent that is being read.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster, and who asks it.
pub struct Kafka {
    pub brokers: String,
    pub partitions: i32,
    pub cluster: Arc<dyn Cluster>,
    pub runtime: Runtime,
}

impl Kafka {
    pub fn new(brokers: String, partitions: i32) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let cluster = connect(&Connection { brokers: brokers.clone(), properties: BTreeMap::new() })?;
        Ok(Kafka { brokers, partitions, cluster, runtime })
    }

    /// A new topic, of a name that was never used.
    pub fn topic(&self, what: &str) -> Result<String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{what}-{}-{number}", child::wall_clock_ms());
        let topic =
            NewTopic { name: name.clone(), partitions: self.partitions, replication: None, settings: Vec::new() };
        self.runtime.block_on(self.cluster.create(&topic)).with_context(|| format!("cannot make topic {name}"))?;
        Ok(name)
    }

    /// Reads a topic from its beginning until `each` has had enough. How many records that were.
    pub fn read(&self, topic: &str, mut each: impl FnMut(RecordRef<'_>) -> Result<bool>) -> Result<u64> {
        let mut consumer = self.cluster.consumer(Isolation::Committed)?;
        let mut readers = Vec::new();
        for partition in 0..self.partitions {
            readers.push(consumer.read(&TopicPartition { topic: topic.into(), partition }, 0)?);
        }
        let woken = consumer.woken();
        let mut newest = child::now();
        let (mut read, mut go_on) = (0, Ok(true));
        loop {
            let mut found = 0;
            for reader in &mut readers {
                found += reader.take(4_096, &mut |record| {
                    if matches!(go_on, Ok(true)) {
                        go_on = each(record);
                    }
                })?;
            }
            read += found as u64;
            if found > 0 {
                newest = child::now();
            }
            ensure!(child::now() - newest < PATIENCE, "no record has come to {topic} for {PATIENCE:?}, after {read}");
            match std::mem::replace(&mut go_on, Ok(true)) {
                Ok(true) => {}
                Ok(false) => return Ok(read),
                Err(error) => return Err(error),
            }
            if found == 0 {
                let waited = async { tokio::time::timeout(Duration::from_millis(5), woken.notified()).await };
                // Whether woken or not, it looks again.
                let _ = self.runtime.block_on(waited);
            }
        }
    }
}

/// Clicks on ads as the world clicks them: few ads get most.
pub struct Clicks {
    dice: StdRng,
    ads: Zipf<f64>,
    users: u32,
}

impl Clicks {
    pub fn new(ads: u32) -> Result<Self> {
        let ads = Zipf::new(f64::from(ads), 1.1).map_err(|error| anyhow!("{error}"))?;
        Ok(Clicks { dice: StdRng::seed_from_u64(7), ads, users: 1_000_000 })
    }

    /// The number of the next ad, from 1, and the click as JSON.
    pub fn next(&mut self, time_ms: i64) -> (u32, String) {
        let ad = self.ads.sample(&mut self.dice) as u32;
        let (user, country) =
            (self.dice.random_range(0..self.users), ["USA", "IND", "BRA"][self.dice.random_range(0..3)]);
        let (id, octet) = (self.dice.random::<u64>(), user % 250);
        let click = format!(
            r#"{{"ad_id":"ad{ad}","click_timestamp":{time_ms},"user_id":"user {user}","ip":"10.0.{octet}.7","country":"{country}","event_id":"{id:016x}"}}"#
        );
        (ad, click)
    }
}

/// The key of an ad's clicks.
pub fn key_of(ad: u32) -> String {
    format!("ad{ad}")
}

/// A click, where Java's own producer would put it.
pub fn record<'a>(topic: &'a str, key: &'a str, value: &'a str, partitions: i32) -> NewRecord<'a> {
    let partition = partition_of(key.as_bytes(), partitions);
    NewRecord {
        topic,
        partition,
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        headers: &[],
        timestamp_ms: None,
    }
}
