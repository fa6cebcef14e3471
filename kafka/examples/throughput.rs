//! How fast records go into a topic and out of it, through the door and by a bare loop on rdkafka, on an Apache Kafka of its own:
//! `cargo run --release -p weir-kafka --example throughput [RECORDS]`.
#![allow(clippy::disallowed_methods, reason = "it measures real time")]
#![allow(clippy::unwrap_used, reason = "whoever measures sees what is wrong")]

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use weir_kafka::{Cluster, Connection, Isolation, NewRecord, NewTopic, TopicPartition, connect};
use weir_test_support::kafka_server::KafkaServer;

const VALUE: &[u8] = &[b'x'; 70];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let count: u64 = std::env::args().nth(1).map_or(2_000_000, |count| count.parse().unwrap());
    let server = KafkaServer::start_to_measure().unwrap().unwrap();
    let cluster = connect(&Connection { brokers: server.brokers(), properties: BTreeMap::new() }).unwrap();
    for topic in ["bare", "door", "transactions"] {
        let new = NewTopic { name: topic.into(), partitions: 1, replication: Some(1), settings: Vec::new() };
        cluster.create(&new).await.unwrap();
    }
    for _ in 0..2 {
        measure("produce, bare", count, async { produce_bare(&server.brokers(), count) }).await;
        measure("produce, door", count, produce(cluster.as_ref(), count)).await;
        measure("produce, transactions of 50,000", count, transactions(cluster.as_ref(), count)).await;
    }
    for _ in 0..3 {
        measure("consume, bare", count, async { consume_bare(&server.brokers(), count) }).await;
        measure("consume, door", count, consume(cluster.as_ref(), "door", count)).await;
        measure("consume, door, transactions", count, consume(cluster.as_ref(), "transactions", count)).await;
    }
}

async fn measure(what: &str, count: u64, work: impl Future<Output = ()>) {
    let begun = Instant::now();
    work.await;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{what:32} {seconds:6.2} s {:10.0} records/s", count as f64 / seconds);
}

fn record<'a>(topic: &'a str, key: &'a str) -> NewRecord<'a> {
    NewRecord { topic, partition: 0, key: Some(key.as_bytes()), value: Some(VALUE), headers: &[], timestamp_ms: None }
}

async fn produce(cluster: &dyn Cluster, count: u64) {
    let mut producer = cluster.producer().unwrap();
    for n in 0..count {
        producer.send(record("door", &format!("ad{:06}", n % 10_000))).await.unwrap();
    }
    producer.flush().await.unwrap();
}

async fn transactions(cluster: &dyn Cluster, count: u64) {
    let mut producer = cluster.transactional("id", Duration::from_secs(60)).unwrap();
    producer.init().await.unwrap();
    for first in (0..count).step_by(50_000) {
        producer.begin().unwrap();
        for n in first..(first + 50_000).min(count) {
            producer.send(record("transactions", &format!("ad{:06}", n % 10_000))).await.unwrap();
        }
        producer.commit().await.unwrap();
    }
}

fn produce_bare(brokers: &str, count: u64) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("delivery.report.only.error", "true")
        .create()
        .unwrap();
    for n in 0..count {
        let key = format!("ad{:06}", n % 10_000);
        let mut record = BaseRecord::to("bare").partition(0).key(&key).payload(VALUE);
        while let Err((_, full)) = producer.send(record) {
            producer.poll(Duration::from_millis(5));
            record = full;
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

async fn consume(cluster: &dyn Cluster, topic: &str, count: u64) {
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let woken = consumer.woken();
    let mut reader = consumer.read(&TopicPartition { topic: topic.into(), partition: 0 }, 0).unwrap();
    let (mut records, mut bytes) = (0, 0);
    while records < count {
        let taken = reader.take(8_192, &mut |record| bytes += record.value.map_or(0, <[u8]>::len)).unwrap();
        records += taken as u64;
        if taken == 0 {
            woken.notified().await;
        }
    }
    assert_eq!(bytes as u64, records * VALUE.len() as u64);
}

fn consume_bare(brokers: &str, count: u64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset("bare", 0, Offset::Offset(0)).unwrap();
    consumer.assign(&assignment).unwrap();
    let (mut records, mut bytes) = (0, 0);
    while records < count {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        bytes += message.unwrap().payload().map_or(0, <[u8]>::len);
        records += 1;
    }
    assert_eq!(bytes as u64, records * VALUE.len() as u64);
}
