//! The client against Apache Kafka itself: first look.

use std::{collections::BTreeMap, time::Duration};
use weir_kafka::*;
use weir_test_support::kafka_server::KafkaServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_look() {
    let begun = std::time::Instant::now();
    let Some(server) = KafkaServer::start().unwrap() else { return };
    println!("started {:?}", begun.elapsed());
    let cluster = connect(&Connection { brokers: server.brokers(), properties: BTreeMap::new() }).unwrap();
    let t = |what: &str| println!("{what} {:?}", begun.elapsed());
    println!("{:?}", cluster.topics().await);
    t("topics");
    println!("{:?}", cluster.describe("clicks").await);
    t("describe none");
    let new = NewTopic { name: "clicks".into(), partitions: 3, replication: None, settings: vec![] };
    println!("{:?}", cluster.create(&new).await);
    t("create");
    println!("{:?}", cluster.create(&new).await);
    t("create again");
    println!("{:?}", cluster.describe("clicks").await);
    t("describe");
    println!("{:?}", cluster.bounds("clicks", 0).await);
    t("bounds");
    println!("{:?}", cluster.bounds("clicks", 7).await);
    t("bounds no partition");
    println!("{:?}", cluster.bounds("other", 7).await);
    t("bounds no topic");
    let mut p = cluster.transactional("id", Duration::from_secs(20)).unwrap();
    println!("{:?}", p.init().await);
    t("init");
    for round in 0..3 {
        println!("{:?}", p.begin());
        for n in 0..1000 {
            let key = format!("{n}");
            p.send(NewRecord {
                topic: "clicks",
                partition: 0,
                key: Some(key.as_bytes()),
                value: Some(b"hello"),
                headers: &[("a", b"b")],
                timestamp_ms: None,
            })
            .await
            .unwrap();
        }
        println!("{:?}", p.commit().await);
        t(&format!("commit {round}"));
    }
    println!("{:?}", cluster.bounds("clicks", 0).await);
    t("bounds");
    let mut c = cluster.consumer(Isolation::Committed).unwrap();
    let woken = c.woken();
    let mut r = c.read(&TopicPartition { topic: "clicks".into(), partition: 0 }, 0).unwrap();
    t("reading");
    let mut n = 0;
    while r.position() < 3003 {
        let taken = r.take(1000, &mut |record| {
            n += 1;
            if record.offset == 5 {
                println!("{record:?}")
            }
        });
        println!("{taken:?} {} {:?}", r.position(), r.end());
        t("taken");
        if taken == Ok(0) && r.position() < 3003 {
            woken.notified().await
        }
    }
    assert_eq!(n, 3000);
    drop(r);
    t("dropped");
    let tp = TopicPartition { topic: "clicks".into(), partition: 0 };
    println!("{:?}", cluster.group_offsets("g", &[tp.clone()]).await);
    t("group");
    println!("{:?}", cluster.set_group_offsets("g", &[(tp.clone(), 17)]).await);
    t("group set");
    println!("{:?}", cluster.group_offsets("g", &[tp.clone()]).await);
    t("group");
    println!("{:?}", cluster.offset_at("clicks", 0, 17).await);
    t("at");
    println!("{:?}", cluster.offset_at("clicks", 0, 99999999999999).await);
    t("at");
    drop(c);
    t("dropped consumer");
    drop(p);
    t("dropped producer");
}
