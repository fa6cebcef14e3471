//! Revisions against a reader that keeps the highest of each record, whatever is repeated, overtaken or restored.

use super::*;
use crate::columns::{REVISION, WITHDRAWN};
use crate::testing::Subtasks;
use arrow::{
    array::{Array, AsArray, Int64Array, StringArray},
    datatypes::{Int32Type, Int64Type, TimestampMillisecondType},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use weir_engine::testing::OperatorHarness;

const MINUTE: i64 = 60_000;
const LATENESS: i64 = 5;

/// A row of a topic: ad, the id that another job gave it, the minute of its window, its revision, its count; none: withdrawn.
type Row = (u8, u8, i64, i64, Option<i64>);

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("ad", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("ad{}", row.0)))), true),
        ("record_id", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("id-{}", row.1)))), true),
        (
            "minute",
            Arc::new(
                TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.2 * MINUTE)).with_timezone("UTC"),
            ),
            true,
        ),
        ("count", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.4))), true),
        ("revision", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3))), true),
        ("gone", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.4.is_none())))), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn config() -> NewestRevisionConfig {
    NewestRevisionConfig {
        key: vec!["ad".into()],
        record_id: "record_id".into(),
        revision: "revision".into(),
        withdrawn: Some("gone".into()),
        time_column: "minute".into(),
        windows: WindowRule::of(WindowSpec::Tumbling { size_ms: MINUTE }, LATENESS * MINUTE),
        output: vec!["ad".into(), "count".into()],
    }
}

fn operator(context: &OperatorContext) -> Box<dyn Operator> {
    Box::new(NewestRevision::new(config(), context).unwrap())
}

/// A record that goes out: its id, its ad, its minute.
type Record = ([u8; 16], String, i64);

/// A revision, and the count; none: withdrawn.
type Version = (i32, Option<i64>);

/// What goes out, in this order of columns.
fn read(out: Vec<(Port, Batch)>) -> Vec<(Record, Version)> {
    let mut rows = Vec::new();
    for (port, batch) in out {
        assert_eq!(port, Port::MAIN);
        let of = &batch.columns;
        let names: Vec<&str> = of.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, [RECORD_ID, "ad", WINDOW_START, WINDOW_END, "count", REVISION, WITHDRAWN]);
        let time = |column: usize, row| of.column(column).as_primitive::<TimestampMillisecondType>().value(row);
        for row in 0..batch.len() {
            assert_eq!(time(3, row), time(2, row) + MINUTE);
            let counts = of.column(4).as_primitive::<Int64Type>();
            let count = counts.is_valid(row).then(|| counts.value(row));
            assert_eq!(of.column(6).as_boolean().value(row), count.is_none());
            let id = of.column(0).as_fixed_size_binary().value(row).try_into().unwrap();
            let ad = of.column(1).as_string::<i32>().value(row).to_owned();
            let revision = of.column(5).as_primitive::<Int32Type>().value(row);
            rows.push(((id, ad, time(2, row) / MINUTE), (revision, count)));
        }
    }
    rows
}

#[derive(Debug, Clone)]
enum Step {
    Rows(Vec<Row>),
    Restart(usize),
    Barrier,
    Later,
}

/// Rows of few records, so that they repeat and overtake one another. The count follows from the record and the revision, as it
/// does for a job that gives each revision once.
fn step() -> impl Strategy<Value = Step> {
    let row = (0u8..2, 0u8..3, 0i64..6, -2i64..5).prop_map(|(ad, id, minute, revision)| {
        let count = (revision % 3 != 2).then_some(i64::from(ad) * 100 + i64::from(id) * 10 + revision);
        (ad, id, minute, revision, count)
    });
    prop_oneof![
        6 => prop::collection::vec(row, 1..8).prop_map(Step::Rows),
        1 => (1usize..4).prop_map(Step::Restart),
        1 => Just(Step::Barrier),
        1 => Just(Step::Later),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]
    #[test]
    fn readers_have_the_highest_revision_of_each_record_and_each_once(steps in prop::collection::vec(step(), 0..60)) {
        let mut subtasks = Subtasks::new(&["ad", "record_id"], operator);
        let mut passed: BTreeMap<Record, Version> = BTreeMap::new();
        let mut expected: BTreeMap<(String, u8, i64), Version> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            let out = match &step {
                Step::Rows(rows) => {
                    let rows: Vec<Row> = rows.iter().map(|(ad, id, minute, revision, count)| (*ad, *id, now + minute, *revision, *count)).collect();
                    for (ad, id, minute, revision, count) in rows.iter().filter(|row| row.3 >= 0) {
                        let known = expected.entry((format!("ad{ad}"), *id, *minute)).or_insert((-1, None));
                        if i64::from(known.0) < *revision {
                            *known = (*revision as i32, *count);
                        }
                    }
                    subtasks.process(&batch(&rows), false).unwrap()
                }
                Step::Restart(parallelism) => subtasks.restart(*parallelism).unwrap(),
                Step::Barrier => subtasks.barrier().unwrap(),
                // No row is older than what is remembered: a gate sees to that.
                Step::Later => {
                    now += 1;
                    subtasks.watermark((now - 1 + LATENESS) * MINUTE).unwrap()
                }
            };
            for (record, version) in read(out) {
                let known = passed.insert(record, version);
                prop_assert!(known.is_none_or(|known| known.0 < version.0), "{version:?} after {known:?}");
            }
        }
        let by_record = |ad: &String, minute: i64| -> Vec<Version> {
            let of = |record: &&Record| record.1 == *ad && record.2 == minute;
            let mut found: Vec<_> = passed.keys().filter(of).map(|key| passed[key]).collect();
            found.sort_unstable();
            found
        };
        let groups: BTreeSet<(String, i64)> = expected.keys().map(|(ad, _, minute)| (ad.clone(), *minute)).collect();
        for (ad, minute) in groups {
            let mut wanted: Vec<_> = expected.iter().filter(|(key, _)| key.0 == ad && key.2 == minute).map(|(_, row)| *row).collect();
            wanted.sort_unstable();
            prop_assert_eq!(by_record(&ad, minute), wanted);
        }
        prop_assert_eq!(passed.len(), expected.len());
    }
}

#[test]
fn one_id_is_a_record_for_each_key_window_and_reader() {
    let ids = |operator: &str, rows: &[Row]| -> BTreeSet<[u8; 16]> {
        let context = OperatorContext::single("job", operator);
        let mut harness = OperatorHarness::new(Box::new(NewestRevision::new(config(), &context).unwrap()));
        read(harness.process(Batch::new(batch(rows))).unwrap()).into_iter().map(|(record, _)| record.0).collect()
    };
    let rows = [(0, 7, 1, 0, Some(1)), (1, 7, 1, 0, Some(1)), (0, 7, 2, 0, Some(1)), (0, 8, 1, 0, Some(1))];
    let east = ids("results.east", &rows);
    assert_eq!(east.len(), 4);
    assert_eq!(ids("results.east", &rows), east, "the same in every run");
    assert!(ids("results.west", &rows).is_disjoint(&east), "two regions may run the same job");
    assert!(east.iter().all(|id| uuid::Uuid::from_bytes(*id).get_version_num() == 8));
}

#[test]
fn what_says_not_which_revision_it_is_is_a_dead_letter() {
    let rows =
        batch(&[(0, 0, 0, 0, Some(1)), (0, 1, 0, 1 << 40, Some(2)), (0, 2, 0, 0, Some(3)), (0, 3, 0, 0, Some(4))]);
    let mut columns = rows.columns().to_vec();
    columns[1] = Arc::new(StringArray::from(vec![None, Some("b"), Some("c"), Some("d")]));
    columns[5] = Arc::new(BooleanArray::from(vec![Some(false), Some(false), None, Some(false)]));
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let context = OperatorContext::single("job", "results.east");
    let mut harness = OperatorHarness::new(operator(&context));
    let (mut kept, mut letters) = (0, Vec::new());
    for (port, batch) in harness.process(Batch::new(rows)).unwrap() {
        if port == Port::MAIN {
            kept += batch.len();
            continue;
        }
        assert_eq!(port, ports::DEAD_LETTERS);
        letters.extend(batch.columns.column(3).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    assert_eq!(kept, 1);
    let expected = [
        "record_id is null, so the row is no result",
        "revision is 1099511627776: revisions have 32 bits",
        "gone is null, so it is not known whether the result holds",
    ];
    assert_eq!(letters, expected);
}

#[test]
fn windows_are_forgotten_and_corrections_do_not_add_up_in_state() {
    let context = OperatorContext::single("job", "results.east");
    let mut harness = OperatorHarness::new(operator(&context));
    for revision in 0..20_000 {
        harness.process(Batch::new(batch(&[(0, 0, 3, revision, Some(revision))]))).unwrap();
        if revision % 500 == 0 {
            harness.barrier().unwrap();
        }
    }
    harness.barrier().unwrap();
    let stored: usize = harness.segments().values().flatten().map(|(_, rows)| rows.num_rows()).sum();
    assert!((1..6_000).contains(&stored), "{stored} rows of one record");
    harness.watermark((4 + LATENESS) * MINUTE).unwrap();
    harness.barrier().unwrap();
    assert!(harness.segments().is_empty(), "the window is over");
    let late = harness.process(Batch::new(batch(&[(0, 0, 3, 30_000, Some(1))]))).unwrap();
    assert_eq!(late.iter().map(|(port, batch)| (*port, batch.len())).collect::<Vec<_>>(), [(ports::LATE, 1)]);
}
