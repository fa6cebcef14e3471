//! Groups of results against a recount of the results that hold in the end.

use super::*;
use crate::aggregate::{AggregateCall, Function};
use crate::columns::{RECORD_ID, REVISION, WINDOW_END, WITHDRAWN};
use crate::event_time::event_time_type;
use crate::testing::Subtasks;
use crate::window::{WindowRule, WindowSpec};
use arrow::{
    array::{ArrayRef, AsArray, FixedSizeBinaryArray, Int32Array, Int64Array, StringArray, TimestampMillisecondArray},
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimestampMillisecondType},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

const MINUTE: i64 = 60_000;
const LATENESS: i64 = 12;

/// A row of a result: its record, its key, the end of its window in minutes, its revision, and its value; none: withdrawn.
type Row = (u8, u8, i64, i32, Option<i64>);

fn batch(rows: &[Row]) -> RecordBatch {
    let ids: Vec<[u8; 16]> = rows.iter().map(|row| [row.0; 16]).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_from_iter(ids.iter()).unwrap()),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("ad{}", row.1)))),
        Arc::new(
            TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.2 * MINUTE)).with_timezone("UTC"),
        ),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.4))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.3))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.4.is_none())))),
    ];
    let schema = Schema::new(vec![
        Field::new(RECORD_ID, DataType::FixedSizeBinary(16), false),
        Field::new("ad", DataType::Utf8, false),
        Field::new(WINDOW_END, event_time_type(), false),
        Field::new("clicks", DataType::Int64, true),
        Field::new(REVISION, DataType::Int32, false),
        Field::new(WITHDRAWN, DataType::Boolean, false),
    ]);
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn config(window: WindowSpec) -> AggregateConfig {
    let call = |function, argument: Option<&str>, output: &str| {
        AggregateCall::new(function, argument.map(str::to_owned), output)
    };
    AggregateConfig {
        key: vec!["ad".into()],
        windows: WindowRule::of(window, LATENESS * MINUTE),
        time_column: WINDOW_END.into(),
        aggregates: vec![
            call(Function::Count, None, "results"),
            call(Function::Sum, Some("clicks"), "clicks"),
            call(Function::Max, Some("clicks"), "most"),
        ],
        running: None,
    }
}

fn subtasks(window: WindowSpec) -> Subtasks {
    let config = config(window);
    Subtasks::new(&["ad"], move |context| Box::new(ResultAggregate::new(config.clone(), context).unwrap()))
}

/// A key, and a window in minutes.
type Group = (String, i64, i64);

/// A revision of a group, and its values if it holds.
type Read = (i32, Group, Option<[i64; 3]>);

/// What a reader has, by record.
#[derive(Default)]
struct Reader(BTreeMap<Vec<u8>, Read>);

impl Reader {
    fn read(&mut self, out: Vec<(Port, Batch)>) {
        for (port, batch) in out {
            assert_eq!(port, Port::MAIN);
            let rows = &batch.columns;
            let int = |name: &str, row| rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row);
            let time = |name: &str, row| {
                rows.column_by_name(name).unwrap().as_primitive::<TimestampMillisecondType>().value(row) / MINUTE
            };
            for row in 0..batch.len() {
                let id = rows.column_by_name(RECORD_ID).unwrap().as_fixed_size_binary().value(row).to_vec();
                let revision = rows.column_by_name(REVISION).unwrap().as_primitive::<Int32Type>().value(row);
                let ad = rows.column_by_name("ad").unwrap().as_string::<i32>().value(row).to_owned();
                let group = (ad, time("window_start", row), time(WINDOW_END, row));
                let withdrawn = rows.column_by_name(WITHDRAWN).unwrap().as_boolean().value(row);
                let values = (!withdrawn).then(|| [int("results", row), int("clicks", row), int("most", row)]);
                let before = self.0.insert(id, (revision, group, values));
                assert!(before.is_none_or(|before| before.0 < revision), "revisions rise, and none comes twice");
            }
        }
    }

    fn holds(&self) -> BTreeMap<Group, [i64; 3]> {
        self.0.values().filter_map(|(_, group, values)| Some((group.clone(), (*values)?))).collect()
    }
}

/// The windows, in minutes, that an event a moment before `end` is in.
fn windows(size: i64, slide: i64, end: i64) -> impl Iterator<Item = (i64, i64)> {
    (end - size - slide..=end)
        .filter(move |start| start.rem_euclid(slide) == 0 && *start < end && end <= *start + size)
        .map(move |start| (start, start + size))
}

fn recount(rows: &[Row], size: i64, slide: i64) -> BTreeMap<Group, [i64; 3]> {
    let mut newest: BTreeMap<u8, &Row> = BTreeMap::new();
    for row in rows {
        let known = newest.entry(row.0).or_insert(row);
        if known.3 < row.3 {
            *known = row;
        }
    }
    let mut groups = BTreeMap::new();
    for (_, key, end, _, value) in newest.into_values() {
        let Some(value) = value else { continue };
        for (start, end) in windows(size, slide, *end) {
            let group = groups.entry((format!("ad{key}"), start, end)).or_insert([0, 0, i64::MIN]);
            *group = [group[0] + 1, group[1] + value, group[2].max(*value)];
        }
    }
    groups
}

#[derive(Debug, Clone)]
enum Step {
    Restart(usize),
    Barrier,
    Nothing,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![1 => (1usize..4).prop_map(Step::Restart), 2 => Just(Step::Barrier), 3 => Just(Step::Nothing)]
}

/// A record: its key, its end, its values, and how long after its end each of its corrections comes.
fn record() -> impl Strategy<Value = (u8, i64, Vec<(Option<i64>, i64)>)> {
    let version = (prop_oneof![1 => Just(None), 4 => (-5i64..100).prop_map(Some)], 0..LATENESS);
    (0u8..3, 1i64..40, prop::collection::vec(version, 1..4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn groups_of_results_are_those_of_a_recount(
        records in prop::collection::vec(record(), 0..60),
        steps in prop::collection::vec(step(), 60),
        (slides, slide) in (1i64..4, prop_oneof![Just(5i64), Just(7)]),
        twice in any::<bool>(),
    ) {
        let (size, slide_ms) = (slides * slide, slide * MINUTE);
        let window = match slides {
            1 => WindowSpec::Tumbling { size_ms: slide_ms },
            _ => WindowSpec::Hopping { size_ms: size * MINUTE, slide_ms },
        };
        // By the minute in which they come.
        let mut coming: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
        for (id, (key, end, versions)) in (0u8..).zip(&records) {
            let mut at = *end;
            for (revision, (value, after)) in (0..).zip(versions) {
                at = if revision == 0 { *end } else { at.max(end + after) };
                coming.entry(at).or_default().push((id, *key, *end, revision, *value));
            }
        }
        let (mut subtasks, mut reader, mut all) = (subtasks(window), Reader::default(), Vec::new());
        for (minute, step) in (1..60).zip(&steps) {
            for rows in coming.get(&minute).into_iter().flat_map(|rows| rows.chunks(3)) {
                reader.read(subtasks.process(&batch(rows), false).unwrap());
                if twice {
                    reader.read(subtasks.process(&batch(rows), true).unwrap());
                }
                all.extend_from_slice(rows);
            }
            match step {
                Step::Restart(parallelism) => reader.read(subtasks.restart(*parallelism).unwrap()),
                Step::Barrier => reader.read(subtasks.barrier().unwrap()),
                Step::Nothing => {}
            }
            reader.read(subtasks.watermark(minute * MINUTE).unwrap());
        }
        reader.read(subtasks.watermark(i64::MAX).unwrap());
        prop_assert_eq!(reader.holds(), recount(&all, size, slide));
    }
}

#[test]
fn many_corrections_of_one_result_do_not_add_up_in_state() {
    let mut subtasks = subtasks(WindowSpec::Tumbling { size_ms: 5 * MINUTE });
    let mut reader = Reader::default();
    for revision in 0..20_000 {
        subtasks.process(&batch(&[(1, 0, 3, revision, Some(i64::from(revision)))]), false).unwrap();
        if revision % 1_000 == 0 {
            reader.read(subtasks.barrier().unwrap());
        }
    }
    reader.read(subtasks.restart(2).unwrap());
    reader.read(subtasks.watermark(i64::MAX).unwrap());
    assert_eq!(reader.holds(), BTreeMap::from([(("ad0".into(), 0, 5), [1, 19_999, 19_999])]));
}

#[test]
fn a_group_whose_results_are_all_withdrawn_is_withdrawn_and_comes_back() {
    let mut subtasks = subtasks(WindowSpec::Tumbling { size_ms: 5 * MINUTE });
    let mut reader = Reader::default();
    let mut step = |rows: &[Row], watermark| {
        reader.read(subtasks.process(&batch(rows), false).unwrap());
        reader.read(subtasks.watermark(watermark * MINUTE).unwrap());
        (reader.0.values().map(|(revision, ..)| *revision).next(), reader.holds().into_values().next())
    };
    assert_eq!(step(&[(1, 0, 3, 0, Some(7))], 5), (Some(0), Some([1, 7, 7])));
    assert_eq!(step(&[(1, 0, 3, 1, None)], 6), (Some(1), None));
    assert_eq!(step(&[(2, 0, 4, 0, Some(5))], 7), (Some(2), Some([1, 5, 5])));
    assert_eq!(step(&[(2, 0, 4, 0, Some(5))], 8), (Some(2), Some([1, 5, 5])), "nothing new");
}
