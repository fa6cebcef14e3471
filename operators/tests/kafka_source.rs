//! The Kafka source on Apache Kafka itself.

use arrow::{array::AsArray, datatypes::Int64Type};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use weir_engine::{
    env::Env,
    operator::{OperatorContext, Source, SourceEvent, SplitState},
};
use weir_kafka::{Cluster, Connection, NewRecord, NewTopic};
use weir_operators::{
    definition::KeyPath,
    format::Format,
    schema::ColumnSchema,
    source::{
        SourceConnector, SourceGiven, WatermarkSettings,
        column_type::{ColumnType, DeclaredSchema},
        kafka::{End, KafkaConfig, Metadata, Start},
        settings::SourceSettings,
    },
};
use weir_test_support::kafka_server::KafkaServer;

const PARTITIONS: i32 = 3;

fn cluster(server: &KafkaServer) -> Arc<dyn Cluster> {
    weir_kafka::connect(&Connection { brokers: server.brokers(), properties: BTreeMap::new() }).expect("a client")
}

async fn make(cluster: &dyn Cluster, topic: &str) {
    let new = NewTopic { name: topic.into(), partitions: PARTITIONS, replication: Some(1), settings: Vec::new() };
    cluster.create(&new).await.expect("a topic");
}

/// Writes numbers in a transaction, which is committed or not.
async fn write(cluster: &dyn Cluster, topic: &str, numbers: std::ops::Range<i64>, commit: bool) {
    let mut producer = cluster.transactional(&format!("writer-{topic}"), Duration::from_secs(60)).expect("a producer");
    producer.init().await.expect("initialised");
    producer.begin().expect("begun");
    for number in numbers {
        let (value, key) = (format!("{{\"n\":{number}}}"), format!("k{number}"));
        let record = NewRecord {
            topic,
            partition: (number % i64::from(PARTITIONS)) as i32,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &[("trace", b"t-1")],
            timestamp_ms: Some(1_646_352_000_000 + number),
        };
        producer.send(record).await.expect("sent");
    }
    match commit {
        true => producer.commit().await.expect("committed"),
        false => producer.abort().await.expect("aborted"),
    }
    // The markers follow a moment after the answer: until then, what was written is not read, nor is it the end.
    for partition in 0..PARTITIONS {
        loop {
            let bounds = cluster.bounds(topic, partition).await.expect("bounds");
            if bounds.stable_end == bounds.end {
                break;
            }
            Env::default().sleep(Duration::from_millis(20)).await;
        }
    }
}

fn config(server: &KafkaServer, topic: &str) -> KafkaConfig {
    let schema = DeclaredSchema::new([("n", ColumnType::Integer)]);
    KafkaConfig::topics(server.brokers(), [topic]).format(Format::Json { schema })
}

struct Running {
    source: Box<dyn Source>,
    context: OperatorContext,
    numbers: Vec<i64>,
}

impl Running {
    async fn begin(config: &KafkaConfig, subtask: usize, parallelism: usize, splits: Vec<SplitState>) -> Self {
        let context = OperatorContext { subtask, parallelism, ..OperatorContext::single("job", "source.clicks") };
        let watermark = WatermarkSettings::default();
        let given = SourceGiven { has_event_time: false, watermark: &watermark, looked: None };
        let columns: ColumnSchema = config.columns(&given, &KeyPath::default(), &mut Vec::new()).expect("columns");
        let settings = SourceSettings { columns, event_time: None, computed_time: None, watermark };
        let mut source = config.build(&settings, &context).expect("a source");
        source.restore(splits).await.expect("opened");
        Running { source, context, numbers: Vec::new() }
    }

    /// `false`: it has ended.
    async fn step(&mut self) -> bool {
        match self.source.next().await.expect("an event") {
            SourceEvent::Rows(_, batch) => {
                let numbers = batch.columns.column_by_name("n").expect("n").as_primitive::<Int64Type>();
                self.numbers.extend(numbers.values());
            }
            SourceEvent::EndOfInput => return false,
            SourceEvent::Watermark(_) | SourceEvent::Idle => {}
        }
        true
    }

    async fn read_to_the_end(&mut self) {
        let all = async { while self.step().await {} };
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("it ends");
    }

    async fn read_until_there_are(&mut self, count: usize) {
        let enough = async {
            while self.numbers.len() < count {
                self.step().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), enough).await.expect("they come");
    }
}

fn sorted(mut numbers: Vec<i64>) -> Vec<i64> {
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_read_once_to_the_end_of_the_first_start() {
    let Some(server) = KafkaServer::shared().expect("a broker") else { return };
    let (cluster, topic) = (cluster(&server), server.new_name("bounded"));
    make(cluster.as_ref(), &topic).await;
    write(cluster.as_ref(), &topic, 0..600, true).await;
    write(cluster.as_ref(), &topic, 10_000..10_300, false).await;
    write(cluster.as_ref(), &topic, 600..900, true).await;
    write(cluster.as_ref(), &topic, 20_000..20_300, false).await;
    let config =
        config(&server, &topic).end(End::Latest).metadata("at", Metadata::Timestamp).metadata("key", Metadata::Key);
    let (mut found, mut positions) = (Vec::new(), Vec::new());
    for subtask in 0..2 {
        let mut running = Running::begin(&config, subtask, 2, Vec::new()).await;
        for _ in 0..subtask {
            running.step().await;
        }
        positions.extend(running.source.snapshot().expect("positions"));
        found.extend(running.numbers);
    }
    write(cluster.as_ref(), &topic, 900..1_000, true).await;
    for subtask in 0..3 {
        let mut running = Running::begin(&config, subtask, 3, positions.clone()).await;
        running.read_to_the_end().await;
        found.extend(running.numbers);
    }
    assert_eq!(sorted(found), (0..900).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_read_at_once_and_so_are_topics_that_come() {
    let Some(server) = KafkaServer::shared().expect("a broker") else { return };
    let (cluster, name) = (cluster(&server), server.new_name("live"));
    let first = format!("{name}-a");
    make(cluster.as_ref(), &first).await;
    write(cluster.as_ref(), &first, 0..3, true).await;
    let mut config = config(&server, &first).start(Start::Latest);
    (config.topics, config.pattern, config.discover_ms) = (Vec::new(), Some(format!("{name}-*")), Some(500));
    let mut running = Running::begin(&config, 0, 1, Vec::new()).await;
    // The first fetches are on their way.
    let _ = tokio::time::timeout(Duration::from_secs(2), async { while running.step().await {} }).await;
    let (env, mut waits) = (Env::default(), Vec::new());
    for round in 0..8_i64 {
        write(cluster.as_ref(), &first, 10 + round..11 + round, true).await;
        let began = env.now();
        running.read_until_there_are(round as usize + 1).await;
        waits.push(env.now() - began);
    }
    waits.sort_unstable();
    assert!(waits[4] < Duration::from_millis(500), "{waits:?}");
    assert_eq!(sorted(running.numbers.clone()), (10..18).collect::<Vec<_>>(), "only what is new");
    let second = format!("{name}-b");
    make(cluster.as_ref(), &second).await;
    write(cluster.as_ref(), &second, 100..110, true).await;
    running.read_until_there_are(18).await;
    assert_eq!(sorted(running.numbers.split_off(8)), (100..110).collect::<Vec<_>>(), "from its beginning");
    running.source.snapshot().expect("positions");
    let lags = running.context.lags.now();
    assert!(!lags.is_empty() && lags.values().all(|lag| lag.records <= 1), "{lags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_is_waited_for_and_nothing_is_lost() {
    let Some(mut server) = KafkaServer::start().expect("a broker") else { return };
    let topic = "killed";
    make(cluster(&server).as_ref(), topic).await;
    write(cluster(&server).as_ref(), topic, 0..100, true).await;
    let mut config = config(&server, topic);
    config.discover_ms = Some(500);
    let mut running = Running::begin(&config, 0, 1, Vec::new()).await;
    running.read_until_there_are(100).await;
    server.kill().expect("killed");
    let (env, began) = (Env::default(), Env::default().now());
    while running.context.waits.now().is_empty() {
        assert!(env.now() - began < Duration::from_secs(60), "it says that it waits");
        let _ = tokio::time::timeout(Duration::from_millis(200), running.step()).await;
    }
    assert!(running.context.waits.now()["source.clicks"].cause.starts_with("Kafka: "));
    server.restart().expect("started again");
    write(cluster(&server).as_ref(), topic, 100..200, true).await;
    running.read_until_there_are(200).await;
    assert_eq!(sorted(running.numbers.clone()), (0..200).collect::<Vec<_>>());
    assert!(running.context.waits.now().is_empty());
}
