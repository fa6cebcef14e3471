//! `weir generate` as a user runs it.

use crate::support::{Workplace, pause, signal};
use std::{collections::BTreeMap, fs, time::Duration};
use weir_kafka::{Cluster, Connection, Isolation, TopicPartition, partition::partition_of};
use weir_test_support::kafka_server::KafkaServer;

#[test]
fn the_same_seed_gives_the_same_files() {
    let place = Workplace::new();
    let arguments = |folder: &'static str, seed: &'static str| {
        ["generate", folder, "--events", "3000", "--partitions", "3", "--broken-share", "0.01", "--seed", seed]
    };
    let report = place.json(&arguments("a", "7"));
    assert_eq!((&report["clicks"], report["files"].as_array().unwrap().len()), (&3000.into(), 3));
    assert!(report["broken_lines"].as_u64() > Some(0) && report["duplicates"].as_u64() > Some(0));
    place.done(&arguments("b", "7"));
    place.done(&arguments("c", "8"));
    let read = |folder: &str| fs::read(place.path(folder).join("part-0000.log")).unwrap();
    assert_eq!(read("a"), read("b"));
    assert_ne!(read("a"), read("c"));
}

#[test]
fn every_format_holds_the_same_clicks() {
    let place = Workplace::new();
    let mut counts = Vec::new();
    for format in ["click_log", "json", "parquet"] {
        place.done(&["generate", format, "--events", "2000", "--ads", "40", "--format", format]);
        let mut arguments = crate::support::ad_click(format, &format!("out-{format}"), &format!("data-{format}"), &[]);
        arguments.extend(["--set".into(), format!("source.clicks.format={format}")]);
        if format == "json" {
            let schema = "source.clicks.schema={ ad_id = \"string\", click_timestamp = \"timestamp\", user_id = \"string\", \
                          ip = \"string\", country = \"string\" }";
            arguments.extend(["--set".into(), schema.into()]);
        }
        place.json(&crate::support::borrowed(&arguments));
        counts.push(place.counts(&format!("out-{format}/counts")));
    }
    assert!(!counts[0].0.is_empty());
    assert_eq!(counts[0], counts[1], "click log and JSON");
    assert_eq!(counts[0], counts[2], "click log and Parquet");
}

#[test]
fn paced_files_grow_by_whole_lines_until_stopped() {
    let place = Workplace::new();
    let child = place.start(&["generate", "clicks", "--rate", "2000", "--endless", "--start", "now"]);
    let log = place.path("clicks/server-0001.log");
    crate::support::wait_until("the log to grow", || fs::metadata(&log).is_ok_and(|log| log.len() > 10_000));
    signal(&child, "INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    let text = fs::read_to_string(log).unwrap();
    assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with("[AdClickEvent] ")));
}

#[test]
fn wrong_arguments_are_refused_with_what_would_be_right() {
    let place = Workplace::new();
    let told = |arguments: &[&str]| place.refused(&[&["generate", "x"], arguments].concat(), 2);
    assert!(told(&["--out-of-orderness", "10"]).contains("\"15s\""));
    assert!(told(&["--start", "yesterday"]).contains("2022-03-04"));
    assert!(told(&["--late-share", "2"]).contains("--late-share 2: must be a share from 0 to 1"));
    assert!(told(&["--event-rate", "0"]).contains("--event-rate 0: must be at least 1"));
    let late = told(&["--late-from", "20m", "--late-to", "1m"]);
    assert!(late.contains("--late-to 1m: must be above --late-from, which is 20m"), "{late}");
    assert!(told(&["--format", "parquet", "--rate", "10"]).contains("Parquet"));
    assert!(told(&["--endless"]).contains("--rate"));
    assert!(told(&["--kafka", "127.0.0.1:1", "--topic", "t"]).contains("FOLDER"));
    assert!(told(&["--topic", "t"]).contains("--topic is for --kafka"));
    assert!(told(&["--property", "a=b"]).contains("--kafka"));
    let told = |arguments: &[&str]| place.refused(&[&["generate", "--kafka", "127.0.0.1:1"], arguments].concat(), 2);
    assert!(told(&[]).contains("--topic"));
    assert!(told(&["--topic", "t", "--format", "parquet"]).contains("click_log or json"));
    assert!(told(&["--topic", "t", "--property", "linger.ms"]).contains("NAME=VALUE"));
    place.done(&["generate", "there", "--events", "10"]);
    assert!(place.refused(&["generate", "there", "--events", "10"], 1).contains("there already"));
}

/// Offset order within a partition, with key and value of each record.
type Records = Vec<(String, String)>;

/// Everything in a topic, by partition.
async fn records(cluster: &dyn Cluster, topic: &str) -> Vec<Records> {
    let partitions = cluster.describe(topic).await.unwrap().expect("the topic has been made").partitions;
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut all = Vec::new();
    for partition in 0..partitions {
        let end = cluster.bounds(topic, partition).await.unwrap().end;
        let mut reader = consumer.read(&TopicPartition { topic: topic.into(), partition }, 0).unwrap();
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let mut records = Records::new();
        crate::support::wait_until("all records", || {
            reader.take(10_000, &mut |record| records.push((text(record.key), text(record.value)))).unwrap();
            reader.position() >= end
        });
        all.push(records);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_holds_the_clicks_of_the_files() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    let (place, brokers, topic) = (Workplace::new(), server.brokers(), server.new_name("clicks"));
    let same = ["--events", "3000", "--partitions", "3", "--seed", "7", "--ads", "50"];
    let to_topic = ["generate", "--kafka", &brokers, "--topic", &topic];
    let report = place.json(&[&to_topic[..], &same].concat());
    assert_eq!((&report["clicks"], &report["partitions"]), (&3000.into(), &3.into()));
    place.done(&[&["generate", "files"], &same[..]].concat());
    let cluster = weir_kafka::connect(&Connection { brokers: brokers.clone(), properties: BTreeMap::new() }).unwrap();
    let by_partition = records(cluster.as_ref(), &topic).await;
    for (partition, records) in by_partition.iter().enumerate() {
        for (key, value) in records {
            assert_eq!(partition_of(key.as_bytes(), 3), partition as i32);
            assert!(value.starts_with(&format!("[AdClickEvent] {key}, ")), "{key}: {value}");
        }
    }
    let mut sent: Vec<String> = by_partition.into_iter().flatten().map(|(_, value)| value).collect();
    let mut written: Vec<String> = (0..3)
        .flat_map(|part| {
            let text = fs::read_to_string(place.path(&format!("files/part-{part:04}.log"))).unwrap();
            text.lines().map(String::from).collect::<Vec<_>>()
        })
        .collect();
    sent.sort();
    written.sort();
    assert_eq!(sent, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_paced_topic_has_all_that_is_reported() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    let (place, brokers, topic) = (Workplace::new(), server.brokers(), server.new_name("paced"));
    let mut child = place.start(&[
        "generate",
        "--kafka",
        &brokers,
        "--topic",
        &topic,
        "--rate",
        "1000",
        "--endless",
        "--format",
        "json",
        "--json",
    ]);
    let cluster = weir_kafka::connect(&Connection { brokers: brokers.clone(), properties: BTreeMap::new() }).unwrap();
    let mut end = 0;
    while end < 500 {
        pause(Duration::from_millis(100));
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        if cluster.describe(&topic).await.unwrap().is_some() {
            end = cluster.bounds(&topic, 0).await.unwrap().end;
        }
    }
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let records: Records = records(cluster.as_ref(), &topic).await.into_iter().flatten().collect();
    assert_eq!(report["clicks"], records.len());
    for (key, value) in records {
        let click: serde_json::Value = serde_json::from_str(&value).unwrap();
        assert_eq!(click["ad_id"], *key);
    }
}
