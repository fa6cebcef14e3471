//! The source on the model of the brokers: whatever befalls the brokers, the network and the attempts, each committed record comes
//! out once.

use super::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use weir_engine::error::ErrorKind;
use weir_kafka::{NewRecord, provided::provide};
use weir_kafka_model::{Conditions, Model};

const TOPICS: [(&str, i32); 2] = [("clicks-a", 3), ("clicks-b", 2)];
/// What is written after this is written in peace.
const TROUBLED_ROUNDS: u64 = 25;

/// Writes some numbers, in a transaction that is committed, aborted, or left open for a while.
async fn write(model: &Model, dice: &mut StdRng, numbers: std::ops::Range<i64>) {
    let (topic, partitions) = TOPICS[dice.random_range(0..TOPICS.len())];
    let mut producer = model.cluster_of("writer").transactional("writer", Duration::from_secs(5)).expect("a producer");
    let (commits, leaves_open) = (dice.random_bool(0.7), dice.random_bool(0.15));
    let mut targets = Vec::new();
    for number in numbers {
        targets.push((number, dice.random_range(0..partitions)));
    }
    let transaction = async {
        producer.init().await?;
        producer.begin()?;
        for (number, partition) in targets {
            let value = format!("{{\"n\":{number}}}");
            let value = Some(value.as_bytes()).filter(|_| number % 11 != 0);
            let record = NewRecord { topic, partition, key: None, value, headers: &[], timestamp_ms: None };
            producer.send(record).await?;
        }
        match (leaves_open, commits) {
            (true, _) => Ok(()),
            (_, true) => producer.commit().await,
            (_, false) => producer.abort().await,
        }
    };
    // What became of it, the brokers know.
    let _ = transaction.await;
}

fn trouble(dice: &mut StdRng) -> Conditions {
    Conditions {
        is_down: dice.random_bool(0.15),
        is_frozen: dice.random_bool(0.1),
        slowest: Duration::from_millis(dice.random_range(1..200)),
        lose_one_in: [0, 4][dice.random_range(0..2)],
        lose_answer_one_in: [0, 4][dice.random_range(0..2)],
        ..Conditions::default()
    }
}

/// The subtasks of an attempt; none: the brokers did not answer.
async fn attempt(config: &KafkaConfig, parallelism: usize, positions: &[SplitState]) -> Option<Vec<Running>> {
    let mut subtasks = Vec::new();
    for subtask in 0..parallelism {
        match Running::begin(config, context(subtask, parallelism), positions.to_vec()).await {
            Ok(running) => subtasks.push(running),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
                return None;
            }
        }
    }
    Some(subtasks)
}

async fn read_for_a_while(running: &mut Running) {
    let reading = async {
        while !running.read.ended {
            running.read_one().await.expect("nothing is gone");
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(300), reading).await;
}

/// What a reader of committed records finds in the end, tombstones left out.
fn committed(model: &Model) -> Vec<i64> {
    let values = TOPICS.iter().flat_map(|(topic, _)| model.committed(topic).expect("a topic"));
    let number = |value: &[u8]| {
        let value: serde_json::Value = serde_json::from_slice(value).expect("JSON");
        value["n"].as_i64().expect("a number")
    };
    let mut numbers: Vec<i64> = values.filter_map(|written| written.record.value.as_deref().map(number)).collect();
    numbers.sort_unstable();
    numbers
}

/// How many records came out.
async fn run(seed: u64) -> usize {
    let (model, mut dice) = (Model::new(seed), StdRng::seed_from_u64(seed));
    let brokers = format!("model:source-{seed}");
    let _provided = provide(brokers.clone(), model.cluster());
    TOPICS.iter().for_each(|(topic, partitions)| model.create(topic, *partitions, &[]));
    let mut config = KafkaConfig::topics(brokers, TOPICS.map(|(topic, _)| topic)).format(numbers());
    config.discover_ms = Some(1_000);
    // Of complete checkpoints: positions, and what had come out by then.
    let (mut positions, mut found) = (Vec::new(), Vec::new());
    let mut subtasks: Option<Vec<Running>> = None;
    for round in 0..TROUBLED_ROUNDS + 60 {
        let is_troubled = round < TROUBLED_ROUNDS;
        model.set(if is_troubled { trouble(&mut dice) } else { Conditions::default() });
        if round <= TROUBLED_ROUNDS {
            write(&model, &mut dice, round as i64 * 1_000..round as i64 * 1_000 + 40).await;
        }
        if subtasks.is_none() || is_troubled && dice.random_bool(0.3) {
            subtasks = attempt(&config, dice.random_range(1..4), &positions).await;
        }
        let Some(running) = &mut subtasks else { continue };
        for running in running.iter_mut() {
            read_for_a_while(running).await;
        }
        if dice.random_bool(0.6) || !is_troubled {
            positions = running.iter_mut().flat_map(Running::positions).collect();
            for running in running.iter_mut() {
                found.extend(std::mem::take(&mut running.read).numbers());
            }
        }
    }
    found.sort_unstable();
    let expected = committed(&model);
    assert_eq!(found, expected, "seed {seed}");
    found.len()
}

#[test]
fn each_committed_record_comes_out_once_whatever_befalls() {
    let mut all = 0;
    for seed in 0..40 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        all += runtime.expect("a runtime").block_on(run(seed));
    }
    assert!(all > 2_000, "only {all} records were committed");
}

/// Numbers in a partition, past all clients.
fn append(model: &Model, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let value = format!("{{\"n\":{number}}}");
        let value = Some(value.as_bytes());
        model.append(&NewRecord { topic: "t", partition: 0, key: None, value, headers: &[], timestamp_ms: None });
    }
}

/// What a run that begins at positions reads, or why it ends.
async fn read_on(config: &KafkaConfig, positions: &[SplitState]) -> Result<Vec<i64>> {
    let mut running = Running::begin(config, context(0, 1), positions.to_vec()).await?;
    Ok(running.read_what_there_is().await?.numbers())
}

fn is_told(error: &weir_engine::error::EngineError, offset: i64) {
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
    let told = [format!("t-0 was read up to offset {offset}"), "has lost records".into(), "--fresh".into()];
    assert!(told.iter().all(|part| error.message.contains(part)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_has_lost_what_was_read_is_an_error_however_it_has_grown_since() {
    let model = Model::new(1);
    let _provided = provide("model:cut", model.cluster());
    model.create("t", 1, &[]);
    append(&model, 0..10);
    let config = KafkaConfig::topics("model:cut", ["t"]).format(numbers());
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    assert_eq!(running.read_what_there_is().await.unwrap().numbers().len(), 10);
    let positions = running.positions();
    // Another leader that has everything, and markers under it: no harm.
    model.lose_from("t", 0, 10);
    let mut producer = model.cluster().transactional("writer", Duration::from_secs(5)).unwrap();
    producer.init().await.unwrap();
    producer.begin().unwrap();
    let record = NewRecord { topic: "t", partition: 0, key: None, value: None, headers: &[], timestamp_ms: None };
    producer.send(record).await.unwrap();
    producer.abort().await.unwrap();
    assert_eq!(read_on(&config, &positions).await.unwrap(), [0i64; 0]);
    running.read_what_there_is().await.unwrap();
    let behind_markers = running.positions();
    assert_eq!(behind_markers[0].state["position"]["offset"], 12);
    assert_eq!(behind_markers[0].state["position"]["behind"], serde_json::json!({ "offset": 10, "leader_epoch": 0 }));
    append(&model, 10..12);
    assert_eq!(read_on(&config, &behind_markers).await.unwrap(), [10, 11]);
    // One that lacks three of those that were read.
    model.lose_from("t", 0, 7);
    append(&model, 100..110);
    is_told(&running.read_what_there_is().await.unwrap_err(), 14);
    is_told(&read_on(&config, &positions).await.unwrap_err(), 10);
    is_told(&read_on(&config, &behind_markers).await.unwrap_err(), 12);
    // A checkpoint from before epochs were kept says nothing of it.
    let mut old = positions.clone();
    old[0].state["position"].as_object_mut().unwrap().remove("behind").unwrap();
    assert_eq!(read_on(&config, &old).await.unwrap(), (103..110).collect::<Vec<_>>());
}
