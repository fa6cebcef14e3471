//! What becomes of records, and where reading begins and ends.

use super::{
    fake::{Fake, Lies, record},
    *,
};
use crate::source::column_type::DeclaredColumn;

fn numbered(numbers: std::ops::Range<i64>) -> Vec<Lies> {
    numbers.map(|n| record(1_000 * n, &format!("{{\"n\":{n}}}"))).collect()
}

fn with_key(key: &[u8], value: Option<&str>) -> Lies {
    let headers = vec![("trace".to_owned(), Some(b"t-1".to_vec()))];
    Lies::Record { timestamp_ms: 5, key: Some(key.into()), value: value.map(Into::into), headers }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_read_ends_where_the_topic_ended_at_the_start_even_after_a_restart() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 2)]);
    fake.put("t", 0, numbered(0..100));
    fake.put("t", 1, [record(0, "{\"n\":100}"), Lies::Marker]);
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers()).end(End::Latest);
    let mut first = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    let positions = first.positions();
    fake.put("t", 0, numbered(200..300));
    fake.put("t", 1, numbered(300..400));
    let mut second = Running::begin(&config, context(0, 1), positions).await.unwrap();
    for running in [&mut first, &mut second] {
        let read = running.read_what_there_is().await.unwrap();
        let mut found = read.numbers();
        found.sort_unstable();
        assert!(read.ended && found == (0..101).collect::<Vec<_>>(), "{found:?}");
    }
    let finished = second.positions();
    let mut third = Running::begin(&config, context(0, 1), finished).await.unwrap();
    assert!(third.read_what_there_is().await.unwrap().ended && third.read.rows.is_empty(), "nothing is read twice");
}

#[tokio::test(start_paused = true)]
async fn an_open_transaction_is_not_a_part_of_what_there_is() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    fake.put("t", 0, numbered(0..10));
    fake.change("t", 0, |log| log.open_from = Some(7));
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers());
    let mut bounded = Running::begin(&config.clone().end(End::Latest), context(0, 1), Vec::new()).await.unwrap();
    assert_eq!(bounded.read_what_there_is().await.unwrap().numbers(), (0..7).collect::<Vec<_>>());
    let mut newest = Running::begin(&config.clone().start(Start::Latest), context(0, 1), Vec::new()).await.unwrap();
    assert!(newest.read_what_there_is().await.unwrap().rows.is_empty());
    fake.change("t", 0, |log| log.open_from = None);
    assert_eq!(newest.read_what_there_is().await.unwrap().numbers(), [7, 8, 9], "it was not decided at the start");
}

#[tokio::test(start_paused = true)]
async fn reading_begins_where_the_definition_says() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    fake.put("t", 0, numbered(0..10));
    fake.change("t", 0, |log| log.beginning = 2);
    let place = weir_kafka::TopicPartition { topic: "t".into(), partition: 0 };
    fake.0.lock().groups.insert(("g".into(), place), 5);
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers());
    for (start, group, first) in [
        (Start::Earliest, "g", 2),
        (Start::Latest, "g", 10),
        (Start::At(3_500), "g", 4),
        (Start::At(99_000), "g", 10),
        (Start::Group, "g", 5),
        (Start::Group, "another", 2),
    ] {
        let config = KafkaConfig { group: Some(group.into()), ..config.clone() }.start(start);
        let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
        let found = running.read_what_there_is().await.unwrap().numbers();
        assert_eq!(found, (first..10).collect::<Vec<_>>(), "{start:?} {group}");
    }
    fake.change("t", 0, |log| log.beginning = 6);
    let config = KafkaConfig { group: Some("g".into()), ..config }.start(Start::Group);
    let error = Running::begin(&config, context(0, 1), Vec::new()).await.err().expect("what it noted is gone");
    assert!(error.message.contains("the record at offset 5 of t-0 is gone"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_row_is_a_dead_letter_at_its_offset_and_a_tombstone_is_counted() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    fake.put(
        "t",
        0,
        [
            with_key(b"a", Some("{\"n\":0}")),
            with_key(b"b", None),
            with_key(b"c", Some("no JSON")),
            Lies::Marker,
            with_key(b"\xff", Some("{\"n\":4}")),
            with_key(b"d", Some("{\n  \"n\": 5\n}\n")),
            with_key(b"e", Some(&"x".repeat(100))),
            with_key(b"f", Some("")),
            with_key(b"g", Some("{\"n\":8}")),
        ],
    );
    let mut config = KafkaConfig::topics(brokers, ["t"])
        .format(numbers())
        .metadata("key", Metadata::Key)
        .metadata("at", Metadata::Offset)
        .metadata("trace", Metadata::Header("trace".into()));
    config.format.max_line_bytes = Some(50);
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    running.read_what_there_is().await.unwrap();
    let read = &running.read;
    assert_eq!(read.numbers(), [0, 5, 8]);
    let rows = arrow::compute::concat_batches(&read.rows[0].schema(), &read.rows).unwrap();
    let names: Vec<&str> = rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["n", "at", "key", "trace"]);
    assert_eq!(rows.column(1).as_primitive::<Int64Type>().values(), &[0, 5, 8]);
    assert_eq!(rows.column(2).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "d", "g"]);
    assert!(rows.column(3).as_string::<i32>().iter().all(|trace| trace == Some("t-1")));
    let told: Vec<(i64, &str)> =
        read.dead_letters.iter().map(|(_, offset, reason, _)| (*offset, reason.as_str())).collect();
    assert_eq!(told.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [2, 4, 6, 7]);
    for ((_, reason), part) in told.iter().zip(["JSON", "the key is not UTF-8", "at most 50 are allowed", "is empty"]) {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(read.dead_letters.iter().all(|(split, ..)| split == "t-0"));
    assert_eq!((read.dead_letters[0].3.as_str(), read.dead_letters[1].3.as_str()), ("no JSON", "{\"n\":4}"));
    let counted = running.context.counters.values();
    assert_eq!((counted["tombstones"], counted["dead_letters"], counted["events_in"]), (1, 4, 7));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_refused_later_is_found_again_with_its_offset_and_value() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    let year = 365 * 86_400_000;
    fake.put("t", 0, (0..5).map(|n| record(40 * year + n, &format!("{{\"n\":{n}}}"))));
    fake.put("t", 0, [record(0, "bad"), record(400 * year, "{\"n\":6}"), record(40 * year + 7, "{\"n\":7}")]);
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers()).metadata("at", Metadata::Timestamp);
    let settings = SourceSettings { event_time: Some("at".into()), ..settings_of(&config) };
    let mut running = Running::with(&config, &settings, context(0, 1), Vec::new()).await.unwrap();
    let read = running.read_what_there_is().await.unwrap();
    assert_eq!(read.numbers(), [0, 1, 2, 3, 4, 7]);
    let offsets: Vec<i64> = read.dead_letters.iter().map(|letter| letter.1).collect();
    assert_eq!((offsets, read.dead_letters[1].3.as_str()), (vec![5, 6], "{\"n\":6}"));
    assert!(read.dead_letters[1].2.contains("not between 1970 and 2199"), "{:?}", read.dead_letters[1]);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_csv_has_the_declared_columns_in_their_order() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    fake.put(
        "t",
        0,
        [record(0, "x;1"), record(0, "y;2\r\n"), record(0, "\"two\nlines\";3"), record(0, "z;4;5"), record(0, "n")],
    );
    let schema = DeclaredSchema {
        columns: vec![DeclaredColumn::new("name", ColumnType::String), DeclaredColumn::new("n", ColumnType::Integer)],
    };
    let config = KafkaConfig::topics(brokers, ["t"]).format(Format::Csv { schema, delimiter: ';' });
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    let read = running.read_what_there_is().await.unwrap();
    assert_eq!(read.numbers(), [1, 2, 3]);
    assert_eq!(read.dead_letters.iter().map(|letter| letter.1).collect::<Vec<_>>(), [3, 4]);
}

/// Reads some of several partitions, takes the positions at any moment, and goes on with another number of subtasks: each
/// record comes out once.
#[tokio::test(start_paused = true)]
async fn each_record_comes_out_once_wherever_it_is_stopped_and_whoever_goes_on() {
    for stopped_after in 0..12 {
        let (fake, _provided, brokers) = Fake::with(&[("a", 3), ("b", 2)]);
        let mut number = 0;
        for (topic, partition) in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)] {
            for _ in 0..40 {
                let lies = match number % 7 {
                    0 => vec![Lies::Marker, record(0, &format!("{{\"n\":{number}}}"))],
                    1 => vec![record(0, "bad"), record(0, &format!("{{\"n\":{number}}}"))],
                    _ => vec![record(0, &format!("{{\"n\":{number}}}"))],
                };
                fake.put(topic, partition, lies);
                number += 1;
            }
        }
        let config = KafkaConfig::topics(brokers, ["a", "b"]).format(numbers());
        let (mut found, mut letters, mut positions) = (Vec::new(), 0, Vec::new());
        for subtask in 0..2 {
            let mut running = Running::begin(&config, context(subtask, 2), Vec::new()).await.unwrap();
            for _ in 0..stopped_after {
                let _ = tokio::time::timeout(Duration::from_millis(200), running.read_one()).await;
            }
            positions.extend(running.positions());
            found.extend(running.read.numbers());
            letters += running.read.dead_letters.len();
        }
        assert_eq!(positions.len(), 5);
        for subtask in 0..3 {
            let mut running = Running::begin(&config, context(subtask, 3), positions.clone()).await.unwrap();
            let read = running.read_what_there_is().await.unwrap();
            found.extend(read.numbers());
            letters += read.dead_letters.len();
        }
        found.sort_unstable();
        assert_eq!(found, (0..number).collect::<Vec<_>>(), "stopped after {stopped_after}");
        assert_eq!(letters, (0..number).filter(|number| number % 7 == 1).count());
    }
}
