//! What a definition says of a Kafka sink, and what is wrong with it.

use super::*;
use crate::{
    definition::testing::read,
    schema::{Column, ColumnSchema},
    sink::{SinkResults, SinkWindows},
};
use arrow::datatypes::DataType;
use serde_json::{Value, json};
use std::time::Duration;

fn columns() -> ColumnSchema {
    let columns = [
        ("record_id", DataType::FixedSizeBinary(16)),
        ("ad_id", DataType::Utf8),
        ("count", DataType::Int64),
        ("revision", DataType::Int32),
    ];
    let column = |(name, data_type): (&str, DataType)| Column { name: name.into(), data_type, nullable: true };
    ColumnSchema { columns: columns.into_iter().map(column).collect() }
}

fn counted() -> SinkResults {
    SinkResults {
        fixed: Default::default(),
        key: vec!["ad_id".into()],
        sessions: false,
        withdrawable: false,
        unsayable: false,
        windows: SinkWindows::SideBySide,
        window: Duration::from_secs(60),
        allowed_lateness: Duration::ZERO,
        not_sums: Vec::new(),
    }
}

fn settings(more: Value) -> (KafkaSinkSettings, Vec<String>) {
    let mut keys = json!({ "brokers": "a:9092", "topic": "counts" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read(keys, KafkaSinkSettings::read)
}

fn config_of(settings: &KafkaSinkSettings, results: Option<&SinkResults>) -> KafkaSinkConfig {
    let columns = columns();
    let given = SinkGiven { columns: &columns, event_time: None, results, has_select: false };
    let job = SinkJob { running: false, filters: &[], archive_held_ms: 0 };
    KafkaSinkConfig::from_json(&settings.config(&given, &job)).unwrap()
}

fn told(more: Value) -> Vec<String> {
    let (settings, mut told) = settings(more);
    let columns = columns();
    let given = SinkGiven { columns: &columns, event_time: None, results: None, has_select: false };
    let mut mistakes = Vec::new();
    settings.check(&given, &KeyPath::default(), &mut mistakes);
    told.extend(mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)));
    told
}

#[test]
fn what_is_not_said_is_as_documented() {
    let (settings, wrong) = settings(json!({}));
    assert_eq!(wrong, [""; 0]);
    assert_eq!(settings, KafkaSinkSettings::topic("a:9092", "counts"));
    let config = config_of(&settings, Some(&counted()));
    assert_eq!((config.key, config.results), (vec!["record_id".to_owned()], true));
    assert_eq!((config.delivery, config.transaction_timeout_ms), (Delivery::ExactlyOnce, 30_000));
    let config = config_of(&settings, None);
    assert_eq!((config.key.len(), config.results), (0, false));
    assert_eq!(config_of(&settings.clone().key([""; 0]), Some(&counted())).key, [""; 0]);
    assert!(!settings.takes_running() && settings.keeps_revisions());
}

#[test]
fn what_is_said_is_kept() {
    let (settings, wrong) = settings(json!({
        "format": "json", "key": ["ad_id", "count"], "partition_by": "key", "delivery": "at_least_once",
        "transaction_timeout": "5s", "progress_topic": "p", "rejected_topic": "r",
    }));
    assert_eq!(wrong, [""; 0]);
    let config = config_of(&settings, Some(&counted()));
    assert_eq!((config.key, config.delivery), (vec!["ad_id".to_owned(), "count".into()], Delivery::AtLeastOnce));
    assert_eq!((config.progress_topic.as_deref(), config.rejected_topic.as_deref()), (Some("p"), Some("r")));
    assert_eq!(config.transaction_timeout_ms, 5_000);
    assert_eq!(settings.note(), "the topic counts at a:9092, key ad_id, count, at least once");
}

#[test]
fn a_schema_of_the_columns_is_a_part_of_the_job() {
    let schema = json!({ "registry": "http://registry:8081", "subject": "counts-value", "register": true });
    let (settings, wrong) = settings(json!({ "format": "avro", "schema": schema }));
    assert_eq!(wrong, [""; 0]);
    assert_eq!(settings.note(), "the topic counts at a:9092, Avro");
    let config = config_of(&settings, Some(&counted()));
    let stored = json!(config)["format"]["avro"].clone();
    let pinned: Value = serde_json::from_str(stored["pinned"].as_str().unwrap()).unwrap();
    assert_eq!((&pinned["name"], &pinned["fields"][2]["type"]), (&json!("counts"), &json!(["null", "long"])));
    assert_eq!(config.locations().unwrap()[1].place.to_string(), "http://registry:8081");
    assert_eq!(told(json!({ "format": "avro" })), ["the key `schema` is missing"]);
    // As it was stored before there was more than one format.
    let old = json!({ "connection": { "brokers": "a:1" }, "topic": "t", "format": "json" });
    assert_eq!(KafkaSinkConfig::from_json(&old).unwrap().format, crate::format::WrittenFormat::Json);
}

#[test]
fn what_is_wrong_is_said_before_a_job_starts() {
    for (more, expected) in [
        (json!({ "topic": "" }), "topic: this names no topic"),
        (json!({ "topic": "a b" }), "topic: this can't be the name of a topic"),
        (json!({ "progress_topic": "" }), "progress_topic: this can't be the name of a topic"),
        (json!({ "rejected_topic": "counts" }), "rejected_topic: this is `topic` already"),
        (json!({ "key": ["ad"] }), "key[0]: there is no column `ad`"),
        (json!({ "key": ["ad_id", "ad_id"] }), "key[1]: `ad_id` is in the key twice"),
        (json!({ "partition_by": "hour" }), "partition_by: there is no partition_by called `hour`"),
        (json!({ "delivery": "at_most_once" }), "delivery: there is no delivery called `at_most_once`"),
        (json!({ "transaction_timeout": "1h" }), "transaction_timeout: brokers or commits don't bear that"),
    ] {
        assert_eq!(told(more), [expected]);
    }
    assert_eq!(read(json!({ "brokers": "a:1" }), KafkaSinkSettings::read).1, ["the key `topic` is missing"]);
}

#[test]
fn a_topic_belongs_to_one_sink_and_is_shown() {
    let owned = |brokers: &str, topic: &str| KafkaSinkSettings::topic(brokers, topic).owns().unwrap();
    assert!(owned("a:1", "t").meets(&owned("a:1", "t")));
    assert!(!owned("a:1", "t").meets(&owned("a:1", "u")) && !owned("a:1", "t").meets(&owned("b:1", "t")));
    let config = config_of(&KafkaSinkSettings::topic("a:1", "t"), None);
    assert_eq!(config.shown().unwrap(), "t at a:1");
    assert_eq!(config.locations().unwrap()[0].place.to_string(), "kafka://a:1");
}
