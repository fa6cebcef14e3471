//! The operator by itself: rows in, watermarks and barriers in, rows out; in any order, restarted and rescaled.

use own_operator::pauses::Pauses;
use std::sync::Arc;
use weir::{
    arrow::{
        array::{ArrayRef, AsArray, StringArray, TimestampMillisecondArray},
        datatypes::{DataType, TimestampMillisecondType},
        record_batch::RecordBatch,
    },
    operator::{OperatorInput, OperatorSettings, Port, event_time_type},
    settings::{Column, ColumnSchema},
    testing::{Emitted, Subtasks},
};

const MINUTE: i64 = 60_000;

fn pauses() -> Subtasks {
    let settings = Pauses {
        key: vec!["sensor".into()],
        longer_than_ms: 5 * MINUTE,
        at_most_ms: 60 * MINUTE,
        allowed_lateness_ms: MINUTE,
    };
    let column = |(name, data_type): (&str, DataType)| Column { name: name.into(), data_type, nullable: true };
    let columns = [("sensor", DataType::Utf8), ("at", event_time_type())].map(column).into();
    let columns = ColumnSchema { columns };
    let input = OperatorInput { columns, event_time: Some("at".into()), lateness_ms: MINUTE };
    Subtasks::new(&["sensor"], move |context| settings.build(&input, context).unwrap())
}

fn readings(rows: &[(Option<&str>, i64)]) -> RecordBatch {
    let sensors: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|(sensor, _)| *sensor)));
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|(_, minute)| minute * MINUTE));
    RecordBatch::try_from_iter([("sensor", sensors), ("at", Arc::new(times.with_timezone("UTC")) as _)]).unwrap()
}

/// Sensor, from which minute, until which.
fn told(emitted: &Emitted) -> Vec<(String, i64, i64)> {
    let mut told = Vec::new();
    for (_, batch) in emitted.iter().filter(|(port, _)| *port == Port::MAIN) {
        let minutes = |column: usize| batch.columns.column(column).as_primitive::<TimestampMillisecondType>().clone();
        let (sensors, from, until) = (batch.columns.column(0).as_string::<i32>(), minutes(1), minutes(2));
        told.extend(
            (0..batch.len())
                .map(|row| (sensors.value(row).to_owned(), from.value(row) / MINUTE, until.value(row) / MINUTE)),
        );
    }
    told.sort();
    told
}

fn pause(sensor: &str, from: i64, until: i64) -> (String, i64, i64) {
    (sensor.to_owned(), from, until)
}

#[test]
fn a_pause_is_told_of_once_no_earlier_event_can_come() {
    let mut pauses = pauses();
    assert!(pauses.process(&readings(&[(Some("a"), 10), (Some("a"), 0), (Some("b"), 1)]), false).unwrap().is_empty());
    assert!(told(&pauses.watermark(10 * MINUTE).unwrap()).is_empty(), "one at minute 9 may still come");
    assert!(told(&pauses.process(&readings(&[(Some("a"), 5)]), true).unwrap()).is_empty());
    assert_eq!(told(&pauses.watermark(11 * MINUTE).unwrap()), vec![pause("a", 0, 5), pause("a", 5, 10)]);
}

#[test]
fn restarts_and_rescales_change_nothing() {
    let events: Vec<(Option<&str>, i64)> =
        (0..200).map(|n| (Some(["a", "b", "c", "d", "e"][n as usize % 5]), n / 5 * 4 + n % 5 * (n / 20))).collect();
    let run = |restarts: &[(usize, usize)]| {
        let (mut pauses, mut all) = (pauses(), Emitted::new());
        for (place, chunk) in events.chunks(10).enumerate() {
            all.extend(pauses.process(&readings(chunk), place % 2 == 0).unwrap());
            let watermark = chunk.iter().map(|(_, minute)| minute).max().unwrap() * MINUTE;
            all.extend(pauses.watermark(watermark).unwrap());
            if let Some((_, parallelism)) = restarts.iter().find(|(at, _)| *at == place) {
                all.extend(pauses.restart(*parallelism).unwrap());
            }
        }
        all.extend(pauses.watermark(i64::MAX).unwrap());
        told(&all)
    };
    let expected = run(&[]);
    assert!(expected.len() > 20, "{expected:?}");
    for restarts in [&[(3, 1)][..], &[(2, 4), (9, 3)], &[(0, 8), (5, 1), (6, 2), (18, 5)]] {
        assert_eq!(run(restarts), expected, "{restarts:?}");
    }
}

#[test]
fn what_came_after_a_barrier_comes_again_and_counts_once() {
    let mut pauses = pauses();
    pauses.process(&readings(&[(Some("a"), 0), (Some("a"), 10)]), true).unwrap();
    pauses.barrier().unwrap();
    assert_eq!(told(&pauses.watermark(30 * MINUTE).unwrap()), vec![pause("a", 0, 10)]);
    pauses.crash(3).unwrap();
    assert_eq!(told(&pauses.watermark(30 * MINUTE).unwrap()), vec![pause("a", 0, 10)]);
    pauses.restart(2).unwrap();
    assert!(told(&pauses.watermark(40 * MINUTE).unwrap()).is_empty(), "it is in the state that it was told of");
}

#[test]
fn rows_without_a_key_are_dead_letters_and_old_keys_are_forgotten() {
    let mut pauses = pauses();
    let emitted = pauses.process(&readings(&[(None, 1), (Some("a"), 1)]), false).unwrap();
    assert_eq!(
        emitted.iter().map(|(port, batch)| (port.name(), batch.len())).collect::<Vec<_>>(),
        [("dead_letters", 1)]
    );
    assert_eq!(pauses.counter("dead_letters"), 1);
    pauses.watermark(100 * MINUTE).unwrap();
    pauses.process(&readings(&[(Some("a"), 100)]), false).unwrap();
    assert!(told(&pauses.watermark(i64::MAX).unwrap()).is_empty(), "99 minutes are an end, not a pause");
}
