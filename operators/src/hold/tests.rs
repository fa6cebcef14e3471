//! A hold by hand, and over random streams, crashes and rescales.

use super::*;
use crate::testing::Subtasks;
use arrow::{
    array::{ArrayRef, AsArray, Int64Array, StringArray, TimestampSecondArray},
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::testing::OperatorHarness;

const TIME_MS: i64 = 1_000;
const BARRIERS: u64 = 3;

fn columns() -> ColumnSchema {
    let fields = [
        Field::new("n", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("key_group", DataType::Timestamp(TimeUnit::Second, None), true),
    ];
    ColumnSchema::from(&Schema::new(fields.to_vec()))
}

fn config(bytes: usize) -> HoldConfig {
    HoldConfig { columns: columns(), time_ms: TIME_MS, barriers: BARRIERS, bytes }
}

fn hold(bytes: usize) -> OperatorHarness {
    OperatorHarness::new(Box::new(Hold::new(config(bytes), &OperatorContext::single("job", "hold")).unwrap()))
}

/// Rows of these numbers, and a text each that is missing for every third.
fn rows(numbers: &[i64]) -> RecordBatch {
    let text = |n: &i64| (n % 3 != 0).then(|| format!("text {n}"));
    let texts: ArrayRef = Arc::new(numbers.iter().map(text).collect::<StringArray>());
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(numbers.to_vec()));
    let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    RecordBatch::try_from_iter([("n", numbers), ("text", texts), ("key_group", seconds)]).unwrap()
}

fn numbers(outputs: &[(Port, Batch)]) -> Vec<i64> {
    assert!(outputs.iter().all(|(port, _)| *port == Port::MAIN));
    let of = |batch: &Batch| batch.columns.column(0).as_primitive::<Int64Type>().values().to_vec();
    outputs.iter().flat_map(|(_, batch)| of(batch)).collect()
}

#[test]
fn rows_go_when_event_time_has_gone_on() {
    let mut hold = hold(1 << 20);
    hold.watermark(500).unwrap();
    assert!(hold.process(Batch::new(rows(&[1]))).unwrap().is_empty());
    hold.watermark(1_499).unwrap();
    assert!(hold.process(Batch::new(rows(&[2]))).unwrap().is_empty());
    assert!(hold.barrier().unwrap().is_empty(), "999 ms");
    assert!(hold.watermark(1_500).unwrap().is_empty(), "a file of its own is begun at a barrier only");
    assert_eq!(numbers(&hold.barrier().unwrap()), [1, 2]);
    assert!(hold.segments().is_empty());
}

#[test]
fn rows_go_after_some_barriers_where_time_stands_still() {
    let mut hold = hold(1 << 20);
    hold.watermark(500).unwrap();
    assert!(hold.barrier().unwrap().is_empty() && hold.barrier().unwrap().is_empty());
    for n in 1..=3 {
        hold.process(Batch::new(rows(&[n]))).unwrap();
        let passed = numbers(&hold.barrier().unwrap());
        assert_eq!(passed, if n < 3 { vec![] } else { vec![1, 2, 3] }, "barrier {n}");
    }
    hold.process(Batch::new(rows(&[4]))).unwrap();
    assert!(hold.barrier().unwrap().is_empty(), "it is counted anew");
    assert_eq!(numbers(&hold.last_barrier().unwrap()), [4], "nothing is held back at the end");
}

#[test]
fn before_there_is_any_time_nothing_is_known_to_be_young() {
    let mut hold = hold(1 << 20);
    hold.process(Batch::new(rows(&[1]))).unwrap();
    assert!(hold.barrier().unwrap().is_empty());
    hold.watermark(500).unwrap();
    assert_eq!(numbers(&hold.barrier().unwrap()), [1]);
}

#[test]
fn what_is_enough_goes_at_once_and_the_rest_until_the_barrier_with_it() {
    let one = Batch::new(rows(&[1])).bytes();
    let mut hold = hold(2 * one);
    assert!(hold.process(Batch::new(rows(&[1]))).unwrap().is_empty());
    assert_eq!(numbers(&hold.process(Batch::new(rows(&[2]))).unwrap()), [1, 2]);
    assert_eq!(numbers(&hold.process(Batch::new(rows(&[3]))).unwrap()), [3]);
    assert!(hold.barrier().unwrap().is_empty());
    assert!(hold.segments().is_empty(), "nothing is stored twice");
    assert!(hold.process(Batch::new(rows(&[4]))).unwrap().is_empty());
}

/// A checkpoint writes the rows that are new.
#[test]
fn state_grows_by_what_comes() {
    let mut operator = Hold::new(config(1 << 20), &OperatorContext::single("job", "hold")).unwrap();
    let mut out = Collector::default();
    let mut barrier = |operator: &mut Hold, number| {
        let checkpoint = CheckpointId(number);
        operator.prepare_snapshot(Barrier { checkpoint, last: false }, &mut out).unwrap();
        let mut segments = operator.snapshot(checkpoint).unwrap().segments;
        segments.pop().map(|segment| match segment.change {
            Change::Unchanged => ("unchanged", 0),
            Change::Append(rows) => ("append", rows.into_batches().unwrap().iter().map(RecordBatch::num_rows).sum()),
            Change::Replace(rows) => ("replace", rows.into_batches().unwrap().iter().map(RecordBatch::num_rows).sum()),
        })
    };
    let mut none = Collector::default();
    operator.watermark(0, &mut none).unwrap();
    operator.process(0, Batch::new(rows(&[1, 2])), &mut none).unwrap();
    assert_eq!(barrier(&mut operator, 1), Some(("replace", 2)));
    operator.process(0, Batch::new(rows(&[3])), &mut none).unwrap();
    assert_eq!(barrier(&mut operator, 2), Some(("append", 1)));
    operator.watermark(TIME_MS, &mut none).unwrap();
    operator.process(0, Batch::new(rows(&[4])), &mut none).unwrap();
    assert_eq!(barrier(&mut operator, 3), None, "all has gone");
    operator.process(0, Batch::new(rows(&[5])), &mut none).unwrap();
    assert_eq!(barrier(&mut operator, 4), Some(("replace", 1)), "what has gone does not come again");
    assert_eq!(barrier(&mut operator, 5), Some(("unchanged", 0)));
}

#[test]
fn all_columns_survive_in_whatever_form_they_came() {
    let mut before = hold(1 << 20);
    before.process(Batch::new(rows(&[1, 2, 3]))).unwrap();
    before.barrier().unwrap();
    let plain = rows(&[4, 5, 6]);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let texts = arrow::compute::cast(plain.column(1), &dictionary).unwrap();
    let of = [("n", plain.column(0).clone()), ("text", texts), ("key_group", plain.column(2).clone())];
    before.process(Batch::new(RecordBatch::try_from_iter(of).unwrap())).unwrap();
    before.barrier().unwrap();
    let (_, stored) = &before.segments()[SEGMENT][0];
    let names: Vec<&str> = stored.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["n", "text", "key_group", "key_group_"]);
    assert_eq!(stored.column(3).as_primitive::<Int32Type>().values(), &[0, 0, 0]);

    let all = KeyGroupRange::all(weir_engine::key_group::DEFAULT_MAX_PARALLELISM);
    let operator = Hold::new(config(1 << 20), &OperatorContext::single("job", "hold")).unwrap();
    let mut after = OperatorHarness::restored(Box::new(operator), all, &[before.segments().clone()]).unwrap();
    let outputs = after.barrier().unwrap();
    assert_eq!(numbers(&outputs), [1, 2, 3, 4, 5, 6], "how long they have been held is not known any more");
    assert!(after.segments().is_empty());
    let expected = rows(&[1, 2, 3, 4, 5, 6]);
    let found: Vec<&RecordBatch> = outputs.iter().map(|(_, batch)| &batch.columns).collect();
    let found = arrow::compute::concat_batches(&found[0].schema(), found).unwrap();
    assert_eq!(found.columns(), expected.columns());
    assert!(!found.schema_ref().field(0).is_nullable() && found.schema_ref().field(1).is_nullable());
}

#[test]
fn what_cannot_be_state_is_refused_at_once() {
    let mut config = config(1);
    config.columns.columns[1].data_type = DataType::LargeBinary;
    let refused = Hold::new(config, &OperatorContext::single("job", "sink.raw.hold")).unwrap_err().message;
    assert!(refused.contains("text") && refused.contains("sink.raw.hold"), "{refused}");
    let damaged = Hold::new(self::config(1), &OperatorContext::single("job", "hold"))
        .unwrap()
        .restore(SEGMENT, &rows(&[1]), KeyGroupRange::all(128))
        .unwrap_err();
    assert_eq!(damaged.kind, weir_engine::ErrorKind::Corrupt);
}

#[derive(Debug, Clone)]
enum Step {
    Rows(usize),
    Watermark(i64),
    Barrier,
    Crash(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..40).prop_map(Step::Rows),
        3 => (0i64..700).prop_map(Step::Watermark),
        3 => Just(Step::Barrier),
        1 => (1usize..5).prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 0..60)
}

/// What is seen of a run from outside.
#[derive(Default)]
struct Seen {
    /// Rows that went on before the last barrier; and since then.
    durable: Vec<i64>,
    recent: Vec<i64>,
    /// The watermark at which each row came, if it came in this attempt.
    came_at: BTreeMap<i64, Option<i64>>,
    /// Rows that came since the last barrier: after a crash they come again.
    unsaved: Vec<i64>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_goes_on_once_and_none_is_held_for_longer_than_said(steps in steps(), bytes in 500usize..20_000) {
        let config = config(bytes);
        let make = move |context: &OperatorContext| -> Box<dyn Operator> {
            Box::new(Hold::new(config.clone(), context).unwrap())
        };
        let mut subtasks = Subtasks::new(&["n"], make);
        let (mut seen, mut count, mut watermark) = (Seen::default(), 0i64, i64::MIN);
        for step in steps {
            match step {
                Step::Rows(more) => {
                    let new: Vec<i64> = (count..count + more as i64).collect();
                    count += more as i64;
                    seen.unsaved.extend(&new);
                    seen.came_at.extend(new.iter().map(|n| (*n, Some(watermark))));
                    seen.recent.extend(numbers(&subtasks.process(&rows(&new), false).unwrap()));
                }
                Step::Watermark(more) => {
                    watermark = watermark.max(0) + more;
                    seen.recent.extend(numbers(&subtasks.watermark(watermark).unwrap()));
                }
                Step::Barrier => {
                    seen.recent.extend(numbers(&subtasks.barrier().unwrap()));
                    seen.durable.append(&mut seen.recent);
                    seen.unsaved.clear();
                    for (row, came_at) in &seen.came_at {
                        let young = came_at.is_some_and(|came_at| watermark.saturating_sub(came_at) < TIME_MS);
                        prop_assert!(young || seen.durable.contains(row), "{row} came at {came_at:?}, now {watermark}");
                    }
                }
                Step::Crash(parallelism) => {
                    subtasks.crash(parallelism).unwrap();
                    watermark = i64::MIN;
                    seen.recent.clear();
                    seen.came_at.values_mut().for_each(|came_at| *came_at = None);
                    let again = seen.unsaved.clone();
                    seen.came_at.extend(again.iter().map(|n| (*n, Some(watermark))));
                    seen.recent.extend(numbers(&subtasks.process(&rows(&again), false).unwrap()));
                }
            }
        }
        seen.recent.extend(numbers(&subtasks.restart(1).unwrap()));
        seen.durable.append(&mut seen.recent);
        seen.durable.sort_unstable();
        prop_assert_eq!(seen.durable, (0..count).collect::<Vec<_>>());
    }
}

/// Few rows of many keep no more in memory than themselves, whatever they share their texts and buffers with.
#[test]
fn what_is_held_takes_the_memory_of_its_rows() {
    let texts: Vec<String> = (0..10_000).map(|n| format!("a text of some length, as there are many of: {n}")).collect();
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    let of = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let texts = arrow::compute::cast(&texts, &of).unwrap();
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from_iter_values(0..10_000));
    let all: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let all = RecordBatch::try_from_iter([("n", all), ("text", texts), ("key_group", seconds)]).unwrap();
    let mut config = config(1 << 20);
    config.barriers = u64::MAX;
    let mut operator = Hold::new(config, &OperatorContext::single("job", "hold")).unwrap();
    let mut out = Collector::default();
    operator.watermark(0, &mut out).unwrap();
    for n in 0..1_000 {
        operator.process(0, Batch::new(all.slice(n * 10, 1)), &mut out).unwrap();
        if n % 3 == 0 {
            let barrier = Barrier::new(CheckpointId(n as u64));
            operator.prepare_snapshot(barrier, &mut out).unwrap();
            operator.snapshot(barrier.checkpoint).unwrap();
        }
    }
    assert!(operator.held.len() <= 2 * GATHERED, "{} batches", operator.held.len());
    let memory: usize = operator.held.iter().map(|held| held.rows.get_array_memory_size()).sum();
    assert!(memory < 300_000, "{memory} bytes for a thousand rows");
    assert!((40_000..200_000).contains(&operator.bytes), "{} bytes counted", operator.bytes);
    operator.prepare_snapshot(Barrier { checkpoint: CheckpointId(2_000), last: true }, &mut out).unwrap();
    let passed: Vec<i64> = numbers(&out.drain());
    assert_eq!(passed, (0..1_000).map(|n| n * 10).collect::<Vec<i64>>(), "in the order in which they came");
}
