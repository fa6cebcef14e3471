//! An over against a recount of all rows, over random batches, watermarks, barriers, crashes and rescales; its limits, and what
//! its checkpoints cost.

use super::*;
use crate::aggregate::{AggregateCall, Function};
use crate::map::SelectItem;
use crate::schema::{Column, ColumnSchema};
use crate::testing::{Emitted, Subtasks};
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray},
    datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimestampMillisecondType},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use weir_engine::{element::Port, testing::OperatorHarness};

/// User, event time in milliseconds, amount.
type Row = (Option<u8>, i64, Option<i64>);

const WITHIN: i64 = 5_000;

fn columns() -> ColumnSchema {
    ColumnSchema::from(&Schema::new(vec![
        Field::new("user", DataType::Utf8, true),
        Field::new("at", crate::event_time::event_time_type(), false),
        Field::new("amount", DataType::Int64, true),
    ]))
}

fn config(key: &[&str], rows: Option<u32>, lateness_ms: i64) -> OverConfig {
    let call = |function, output: &str| AggregateCall::new(function, Some("amount".into()), output);
    let select = [
        ("user", "\"user\""),
        ("at", "at"),
        ("amount", "amount"),
        ("n", "\"n/1\""),
        ("total", "\"total/1\""),
        ("least", "\"least/1\""),
        ("mean", "\"mean/1\""),
        ("kinds", "\"kinds/1\""),
        ("change", "amount - \"change/1\""),
        ("second", "\"second/1\""),
    ];
    let reach = rows.map_or(2, |rows| (rows - 1).clamp(1, 2));
    OverConfig {
        key: key.iter().map(ToString::to_string).collect(),
        time_column: "at".into(),
        input: columns(),
        within_ms: WITHIN,
        rows,
        lateness_ms,
        calls: vec![
            AggregateCall::new(Function::Count, None, "n/1"),
            call(Function::Sum, "total/1"),
            call(Function::Min, "least/1"),
            call(Function::Avg, "mean/1"),
            call(Function::CountDistinct, "kinds/1"),
        ],
        lags: vec![
            LagCall { argument: "amount".into(), rows: 1, output: "change/1".into() },
            LagCall { argument: "amount".into(), rows: reach, output: "second/1".into() },
        ],
        select: select
            .iter()
            .map(|(name, text)| SelectItem { name: (*name).into(), expression: (*text).into() })
            .collect(),
        condition: None,
        once: false,
    }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let users: StringArray = rows.iter().map(|row| row.0.map(|user| format!("user{user}"))).collect();
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC");
    let amounts: Int64Array = rows.iter().map(|row| row.2).collect();
    let columns: [(&str, ArrayRef, bool); 3] =
        [("user", Arc::new(users), true), ("at", Arc::new(times), false), ("amount", Arc::new(amounts), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// A row that goes out: itself, and the columns of its calls, nulls as such.
type Told = (Row, [Option<i64>; 6], Option<String>);

fn told(outputs: &Emitted) -> Vec<Told> {
    let mut told = Vec::new();
    for (_, batch) in outputs.iter().filter(|output| output.0 == Port::MAIN) {
        let column = |name: &str| batch.columns.column_by_name(name).unwrap();
        let integer = |name: &str, row: usize| {
            let column = batch.columns.column_by_name(name)?.as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        let (users, means) = (column("user").as_string::<i32>(), column("mean").as_primitive::<Float64Type>());
        for row in 0..batch.len() {
            let user = users.is_valid(row).then(|| users.value(row).strip_prefix("user").unwrap().parse().unwrap());
            let at = column("at").as_primitive::<TimestampMillisecondType>().value(row);
            let values = ["n", "total", "least", "change", "second", "kinds"].map(|name| integer(name, row));
            let mean = means.is_valid(row).then(|| format!("{:.6}", means.value(row)));
            told.push(((user, at, integer("amount", row)), values, mean));
        }
    }
    told
}

/// What every row sees, counted again from all rows.
fn recounted(all: &[Row], config: &OverConfig, at_least: Option<i64>, once: bool) -> Vec<Told> {
    let mut of_keys: BTreeMap<Option<u8>, Vec<Row>> = BTreeMap::new();
    for row in all {
        of_keys.entry(if config.key.is_empty() { None } else { row.0 }).or_default().push(*row);
    }
    let mut expected = Vec::new();
    for rows in of_keys.values_mut() {
        rows.sort_by_key(|(user, at, amount)| (*at, *user, *amount));
        let mut held_before: Option<(i64, bool)> = None;
        for (position, row) in rows.iter().enumerate() {
            let is_near = |other: &Row| row.1 - other.1 < WITHIN;
            let seen: Vec<Row> = match config.rows {
                None => rows.iter().filter(|other| other.1 <= row.1 && is_near(other)).copied().collect(),
                Some(most) => {
                    let before = &rows[..=position];
                    let last = &before[before.len().saturating_sub(most as usize)..];
                    last.iter().filter(|other| is_near(other)).copied().collect()
                }
            };
            let amounts: Vec<i64> = seen.iter().filter_map(|row| row.2).collect();
            let sum = (!amounts.is_empty()).then(|| amounts.iter().sum::<i64>());
            let before = |back: usize| {
                position.checked_sub(back).map(|position| rows[position]).filter(is_near).and_then(|row| row.2)
            };
            let change = row.2.zip(before(1)).map(|(now, before)| now - before);
            let second = before(config.lags[1].rows as usize);
            let mean = sum.map(|sum| format!("{:.6}", sum as f64 / amounts.len() as f64));
            let holds = at_least.is_none_or(|least| seen.len() as i64 >= least);
            let goes_on = held_before.is_some_and(|(at, held)| held && row.1 - at < WITHIN);
            held_before = Some((row.1, holds));
            if holds && !(once && goes_on) {
                let kinds = Some(amounts.iter().collect::<BTreeSet<_>>().len() as i64);
                let values = [Some(seen.len() as i64), sum, amounts.iter().min().copied(), change, second, kinds];
                expected.push((*row, values, mean));
            }
        }
    }
    expected.sort();
    expected
}

/// Of an over that lets so many bytes go out together.
fn subtasks(config: &OverConfig, most_bytes: usize) -> Subtasks {
    let key: Vec<&str> = config.key.iter().map(String::as_str).collect();
    let made = config.clone();
    Subtasks::new(&key, move |context| {
        let mut over = Over::new(made.clone(), context).unwrap();
        over.most_bytes = most_bytes;
        Box::new(over)
    })
}

#[derive(Debug, Clone)]
enum Step {
    Rows(Vec<Row>),
    Watermark(i64),
    Barrier,
    Restart(usize),
    Crash(usize),
}

/// Event times run ahead by about a second a batch and scatter over eight; many are equal.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (prop::option::weighted(0.9, 0u8..3), 0i64..80, prop::option::weighted(0.8, -3i64..4));
    let row = row.prop_map(|(user, tenths, amount)| (user, tenths * 100, amount));
    let step = prop_oneof![
        6 => prop::collection::vec(row, 0..25).prop_map(Step::Rows),
        5 => (0i64..9_000).prop_map(Step::Watermark),
        2 => Just(Step::Barrier),
        1 => (1usize..4).prop_map(Step::Restart),
        1 => (1usize..4).prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 0..40)
}

/// Subtasks that are driven by steps, and all that is known of what went in and came out.
struct Driven {
    subtasks: Subtasks,
    lateness: i64,
    watermark: i64,
    on_time: Vec<Row>,
    late: usize,
    out: Vec<Told>,
    late_out: usize,
    /// Since the last barrier, for the next crash.
    since: Vec<Step>,
    /// What was known at the last barrier: the watermark, the rows on time, the late ones, and what had come out.
    at_barrier: (i64, usize, usize, usize, usize),
}

impl Driven {
    fn new(config: &OverConfig, most_bytes: usize) -> Self {
        Driven {
            subtasks: subtasks(config, most_bytes),
            lateness: config.lateness_ms,
            watermark: i64::MIN,
            on_time: Vec::new(),
            late: 0,
            out: Vec::new(),
            late_out: 0,
            since: Vec::new(),
            at_barrier: (i64::MIN, 0, 0, 0, 0),
        }
    }

    fn take(&mut self, outputs: &Emitted) {
        self.out.extend(told(outputs));
        let late = outputs.iter().filter(|output| output.0 == ports::LATE);
        self.late_out += late.map(|(_, batch)| batch.len()).sum::<usize>();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Rows(rows) => {
                let is_late = |row: &Row| row.1.saturating_add(self.lateness) <= self.watermark;
                self.late += rows.iter().filter(|row| is_late(row)).count();
                self.on_time.extend(rows.iter().filter(|row| !is_late(row)));
                let outputs = self.subtasks.process(&batch(rows), rows.len() % 2 == 0).unwrap();
                self.take(&outputs);
            }
            Step::Watermark(watermark) => {
                self.watermark = self.watermark.max(*watermark);
                let outputs = self.subtasks.watermark(self.watermark).unwrap();
                self.take(&outputs);
            }
            Step::Barrier => {
                let outputs = self.subtasks.barrier().unwrap();
                assert!(outputs.is_empty());
            }
            Step::Restart(parallelism) => {
                let outputs = self.subtasks.restart(*parallelism).unwrap();
                assert!(outputs.is_empty(), "what was answered is not answered again");
            }
            Step::Crash(parallelism) => {
                let (on_time, late, out, late_out);
                (self.watermark, on_time, late, out, late_out) = self.at_barrier;
                self.on_time.truncate(on_time);
                self.out.truncate(out);
                (self.late, self.late_out) = (late, late_out);
                if self.subtasks.checkpoint().0 == 0 {
                    return; // Nothing was stored: it is as if nothing had been.
                }
                self.subtasks.crash(*parallelism).unwrap();
            }
        }
        let known = (self.watermark, self.on_time.len(), self.late, self.out.len(), self.late_out);
        match step {
            Step::Barrier | Step::Restart(_) => (self.since, self.at_barrier) = (Vec::new(), known),
            Step::Rows(_) | Step::Watermark(_) => self.since.push(step.clone()),
            Step::Crash(_) => {
                for step in std::mem::take(&mut self.since) {
                    self.step(&step);
                }
            }
        }
    }
}

fn key_and_rows() -> impl Strategy<Value = (&'static [&'static str], Option<u32>)> {
    let keys: [&'static [&'static str]; 3] = [&["user"], &["user"], &[]];
    (prop::sample::select(keys.to_vec()), prop::option::of(2u32..6))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_row_is_told_what_a_recount_tells(
        steps in steps(),
        (key, rows) in key_and_rows(),
        lateness in prop::sample::select(vec![1i64, 700, 3_000]),
        at_least in prop::option::of(1i64..6),
        once in any::<bool>(),
        most_bytes in prop::sample::select(vec![1, 1 << 10, MOST_BYTES]),
    ) {
        let once = once && at_least.is_some();
        let condition = at_least.map(|least| format!("n >= {least}"));
        let config = OverConfig { condition, once, ..config(key, rows, lateness) };
        let mut driven = Driven::new(&config, most_bytes);
        let mut now = 0;
        driven.step(&Step::Barrier);
        for step in &steps {
            let step = match step {
                Step::Rows(rows) => {
                    now += 1_000;
                    Step::Rows(rows.iter().map(|(user, at, amount)| (*user, now + at, *amount)).collect())
                }
                Step::Watermark(behind) => Step::Watermark(now + 2_000 - behind),
                other => other.clone(),
            };
            driven.step(&step);
        }
        driven.step(&Step::Watermark(i64::MAX));
        driven.out.sort();
        prop_assert_eq!(driven.late_out, driven.late);
        prop_assert_eq!(driven.out, recounted(&driven.on_time, &config, at_least, once));
    }
}

fn harness(config: &OverConfig) -> (OperatorHarness, OperatorContext) {
    let context = OperatorContext::single("job", "over.recent");
    (OperatorHarness::new(Box::new(Over::new(config.clone(), &context).unwrap())), context)
}

#[test]
fn rows_go_out_when_their_time_has_passed_and_are_not_behind() {
    let config = config(&["user"], None, 300);
    let over = Over::new(config.clone(), &OperatorContext::single("job", "over.recent")).unwrap();
    assert_eq!([i64::MIN, 1_000, i64::MAX].map(|time| over.watermark_behind(time)), [i64::MIN, 701, i64::MAX]);
    let (mut over, context) = harness(&config);
    let rows = [(Some(1), 700, None), (Some(1), 701, None), (Some(1), 699, None)];
    assert!(over.process(Batch::new(batch(&rows))).unwrap().is_empty());
    let times = |outputs: Emitted| told(&outputs).iter().map(|told| told.0.1).collect::<Vec<_>>();
    assert_eq!(times(over.watermark(1_000).unwrap()), [699, 700], "a row of 701 could still be joined by others");
    let late = over.process(Batch::new(batch(&[(Some(1), 700, None)]))).unwrap();
    assert_eq!((late.len(), late[0].0, context.counters.values()["late"]), (1, ports::LATE, 1));
    assert_eq!(times(over.watermark(1_001).unwrap()), [701]);
}

#[test]
fn more_than_three_within_ten_seconds_once_a_burst() {
    let config = OverConfig { condition: Some("n > 3".into()), once: true, ..config(&["user"], None, 1) };
    let (mut over, context) = harness(&config);
    let clicks = |times: &[i64]| batch(&times.iter().map(|at| (Some(1), *at, Some(0))).collect::<Vec<_>>());
    // Four within five seconds; one more, of the same burst; then so late that it begins anew, with three of one time.
    over.process(Batch::new(clicks(&[0, 1_000, 2_000, 3_000, 4_000, 12_000, 12_500, 12_500, 12_500]))).unwrap();
    let out = told(&over.watermark(i64::MAX).unwrap());
    let firsts: Vec<(i64, Option<i64>)> = out.iter().map(|told| (told.0.1, told.1[0])).collect();
    assert_eq!(firsts, [(3_000, Some(4)), (12_500, Some(4))]);
    assert_eq!(context.counters.values()["filtered_out"], 7);
}

#[test]
fn a_sum_that_does_not_fit_and_a_failing_expression_are_dead_letters_of_their_rows() {
    let mut config = config(&["user"], None, 1);
    config.select.push(SelectItem { name: "share".into(), expression: "10 / (amount - 7)".into() });
    let (mut over, _) = harness(&config);
    let rows =
        [(Some(1), 0, Some(i64::MAX)), (Some(1), 10, Some(1)), (Some(2), 20, Some(7)), (Some(1), 9_000, Some(2))];
    over.process(Batch::new(batch(&rows))).unwrap();
    let out = over.watermark(i64::MAX).unwrap();
    let kept: Vec<i64> = told(&out).iter().map(|told| told.0.1).collect();
    assert_eq!(kept, [0, 9_000]);
    let letters = &out.iter().find(|output| output.0 == ports::DEAD_LETTERS).unwrap().1.columns;
    let text = |column: usize, row| letters.column(column).as_string::<i32>().value(row);
    assert!(text(3, 0).contains("'total'"), "{}", text(3, 0));
    assert!(text(3, 1).contains("select.share") && text(4, 1).contains("\"user2\""), "{} {}", text(3, 1), text(4, 1));
}

/// A column has room for 2 GiB, however long texts become by what is selected. All rows here see each other, so they are one group.
#[test]
fn rows_with_long_texts_go_out_in_several_batches() {
    let mut config = OverConfig { condition: Some("n = 10".into()), ..config(&[], None, 1) };
    let text = "x".repeat(300);
    config.select.push(SelectItem { name: "text".into(), expression: format!("\"user\" || '{text}'") });
    let mut over = Over::new(config, &OperatorContext::single("job", "over.recent")).unwrap();
    over.most_bytes = 1 << 10;
    let mut over = OperatorHarness::new(Box::new(over));
    let rows: Vec<Row> = (0..10u8).map(|n| (Some(n), 0, Some(i64::from(n)))).collect();
    over.process(Batch::new(batch(&rows))).unwrap();
    let out = over.watermark(i64::MAX).unwrap();
    let texts = |(_, batch): &(Port, Batch)| {
        let texts = batch.columns.column_by_name("text").unwrap().as_string::<i32>();
        texts.iter().map(|text| text.unwrap().to_owned()).collect::<Vec<_>>()
    };
    let seen: Vec<Vec<String>> = out.iter().map(texts).collect();
    assert!(seen.len() >= 4 && seen.iter().all(|texts| texts.len() <= 3), "{:?}", seen);
    assert_eq!(seen.concat(), (0..10).map(|n| format!("user{n}{text}")).collect::<Vec<_>>());
    assert!(told(&out).iter().all(|told| told.1[0] == Some(10)), "each is told of all");
}

/// The results of calls are as long as what they are taken from.
#[test]
fn long_results_of_calls_go_out_in_several_batches() {
    let mut config = config(&[], None, 1);
    let text = Column { name: "text".into(), data_type: DataType::Utf8, nullable: true };
    config.input.columns.push(text);
    config.calls.push(AggregateCall::new(Function::Max, Some("text".into()), "longest/1"));
    config.select.push(SelectItem { name: "longest".into(), expression: "\"longest/1\"".into() });
    let mut over = Over::new(config, &OperatorContext::single("job", "over.recent")).unwrap();
    over.most_bytes = 1 << 10;
    let mut over = OperatorHarness::new(Box::new(over));
    let rows: Vec<Row> = (0..10).map(|n| (Some(n), 0, None)).collect();
    let (schema, mut columns, _) = batch(&rows).into_parts();
    let long = "x".repeat(300);
    columns.push(Arc::new(StringArray::from_iter((0..10).map(|n| (n == 5).then_some(long.as_str())))));
    let names = schema.fields().iter().map(|field| field.name().as_str()).chain(["text"]);
    over.process(Batch::new(RecordBatch::try_from_iter(names.zip(columns)).unwrap())).unwrap();
    let mut sizes = Vec::new();
    for (_, batch) in over.watermark(i64::MAX).unwrap() {
        let longest = batch.columns.column_by_name("longest").unwrap().as_string::<i32>();
        assert!(longest.iter().all(|longest| longest == Some(long.as_str())));
        sizes.push(batch.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 10);
    assert!(sizes.len() >= 4, "{sizes:?}");
}

/// A hundred thousand rows that all see each other: for each only a few states are merged, however many it sees.
#[test]
fn a_row_costs_the_same_however_many_it_sees() {
    let mut config = config(&["user"], None, 1);
    config.calls.retain(|call| call.function != Function::CountDistinct);
    config.select.retain(|item| item.name != "kinds");
    let (mut over, _) = harness(&config);
    let rows: Vec<Row> = (0..100_000).map(|n| (Some(1), n / 40, Some(n % 1_000))).collect();
    let mut seen = 0;
    for (number, rows) in rows.chunks(1_000).enumerate() {
        over.process(Batch::new(batch(rows))).unwrap();
        let out = told(&over.watermark(number as i64 * 25).unwrap());
        seen = out.iter().filter_map(|told| told.1[0]).max().unwrap_or(seen).max(seen);
    }
    let out = told(&over.watermark(i64::MAX).unwrap());
    assert_eq!(out.iter().filter_map(|told| told.1[0]).max(), Some(100_000));
    assert!(seen >= 98_000);
}

#[test]
fn what_keeps_every_value_is_computed_of_so_many_rows() {
    let (mut over, _) = harness(&config(&["user"], None, 1));
    let most = MOST_ANEW as i64;
    let rows: Vec<Row> = (0..=most).map(|n| (Some(1), n / 40, Some(n))).collect();
    over.process(Batch::new(batch(&rows))).unwrap();
    let out = over.watermark(i64::MAX).unwrap();
    let refused: usize = out.iter().filter(|output| output.0 == ports::DEAD_LETTERS).map(|(_, rows)| rows.len()).sum();
    assert_eq!((told(&out).len(), refused), (MOST_ANEW, 1), "the last row sees one too many");
}

#[test]
fn a_checkpoint_writes_what_came_since_the_last_and_state_goes_with_time() {
    let (mut over, _) = harness(&config(&["user"], None, 1));
    let stored = |over: &OperatorHarness| {
        let rows = over.segments().iter().filter(|(name, _)| name.starts_with("rows-"));
        rows.map(|(_, parts)| parts.iter().map(|(_, rows)| rows.num_rows()).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    over.process(Batch::new(batch(&[(Some(1), 100, None), (Some(2), 200, None)]))).unwrap();
    over.barrier().unwrap();
    over.process(Batch::new(batch(&[(Some(1), 300, None), (Some(1), 4_000, None)]))).unwrap();
    over.barrier().unwrap();
    assert_eq!(stored(&over), [vec![2, 1], vec![1]], "appended, and a piece of its own");
    over.watermark(5_301).unwrap();
    over.barrier().unwrap();
    assert_eq!(stored(&over), [vec![1]], "nobody sees the first piece any more");
    over.watermark(20_000).unwrap();
    over.barrier().unwrap();
    assert_eq!(over.segments().keys().collect::<Vec<_>>(), ["progress"]);
}

/// Of a thousand rows a second only the last three are seen: neither memory nor state grows with the others.
#[test]
fn rows_that_nobody_sees_for_their_number_are_let_go() {
    let (mut over, _) = harness(&OverConfig { within_ms: 1_000_000_000, ..config(&["user"], Some(3), 1) });
    let mut most = 0;
    for second in 0..60 {
        let rows: Vec<Row> = (0..1_000).map(|n| (Some(1), second * 1_000 + n, Some(n))).collect();
        over.process(Batch::new(batch(&rows))).unwrap();
        over.watermark(second * 1_000 + 900).unwrap();
        over.barrier().unwrap();
        let stored: usize = over.segments().values().flatten().map(|(_, rows)| rows.num_rows()).sum();
        most = most.max(stored);
    }
    assert!(most < 1_500, "{most} rows are stored, and some 100 are of use");
    let out = told(&over.watermark(i64::MAX).unwrap());
    assert_eq!((out.len(), out.last().unwrap().1[0]), (100, Some(3)));
}
