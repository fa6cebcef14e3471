//! Local and global aggregates together against a list of rows, over random batches, watermarks, barriers and rescales.

mod functions;

use super::*;
use crate::event_time::event_times;
use crate::ports;
use crate::testing::Subtasks;
use crate::window::tests::{rule, windows_of};
use crate::window::{WindowRule, WindowSpec};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, StringArray, TimestampMillisecondArray,
    },
    datatypes::{DataType, Float64Type, Int32Type, Int64Type},
    record_batch::RecordBatch,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};
use weir_engine::{
    element::{Batch, Port},
    operator::{Collector, Operator, OperatorContext},
    testing::OperatorHarness,
};

/// Event time, key, value.
pub(super) type Row = (i64, u8, Option<i64>);

pub(super) fn config(window: WindowSpec, allowed_lateness_ms: i64) -> AggregateConfig {
    let call =
        |function, argument: Option<&str>, output: &str| AggregateCall::new(function, argument.map(Into::into), output);
    AggregateConfig {
        key: vec!["ad".into(), "filter".into()],
        windows: WindowRule::of(window, allowed_lateness_ms),
        time_column: "at".into(),
        aggregates: vec![
            call(Function::Count, None, "n"),
            call(Function::Count, Some("v"), "present"),
            call(Function::Sum, Some("v"), "sum"),
            call(Function::Min, Some("v"), "min"),
            call(Function::Max, Some("v"), "max"),
            call(Function::Avg, Some("v"), "avg"),
            call(Function::ApproxDistinct, Some("v"), "distinct"),
        ],
        running: None,
    }
}

/// As a Parquet reader's: the same for many batches. `ad3` is in it twice.
static DICTIONARIES: LazyLock<(ArrayRef, ArrayRef)> = LazyLock::new(|| {
    let names = ["ad0", "ad1", "ad2", "ad3", "ad4", "ad3", "ad6"];
    (Arc::new(StringArray::from(names.to_vec())), Arc::new(Int64Array::from(vec![0, 1])))
});

pub(super) fn batch(rows: &[Row], dictionary: bool) -> RecordBatch {
    let ads = rows.iter().map(|row| (row.1 != 5).then(|| format!("ad{}", row.1)));
    let filters = rows.iter().map(|row| i64::from(row.1 % 2));
    let (ads, filters): (ArrayRef, ArrayRef) = if dictionary {
        let codes = Int32Array::from_iter(rows.iter().map(|row| (row.1 != 5).then_some(i32::from(row.1))));
        let filters = Int32Array::from_iter_values(filters.map(|filter| filter as i32));
        let (names, numbers) = &*DICTIONARIES;
        (
            Arc::new(DictionaryArray::try_new(codes, Arc::clone(names)).unwrap()),
            Arc::new(DictionaryArray::try_new(filters, Arc::clone(numbers)).unwrap()),
        )
    } else {
        (Arc::new(StringArray::from_iter(ads)), Arc::new(Int64Array::from_iter_values(filters)))
    };
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.0)).with_timezone("UTC");
    let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2)));
    RecordBatch::try_from_iter_with_nullable([
        ("ad", ads, true),
        ("filter", filters, false),
        ("at", Arc::new(times) as ArrayRef, false),
        ("v", values, true),
    ])
    .unwrap()
}

/// What an output row says of its values: rows, values, sum, smallest, largest, mean, distinct.
pub(super) type Result7 = (i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<f64>, i64);

pub(super) fn expected(values: &[Option<i64>]) -> Result7 {
    let present: Vec<i64> = values.iter().flatten().copied().collect();
    let sum: i64 = present.iter().sum();
    let some = !present.is_empty();
    (
        values.len() as i64,
        present.len() as i64,
        some.then_some(sum),
        present.iter().min().copied(),
        present.iter().max().copied(),
        some.then(|| sum as f64 / present.len() as f64),
        present.iter().collect::<BTreeSet<_>>().len() as i64,
    )
}

/// The values of each window and key.
pub(super) type Windows = BTreeMap<((i64, i64), Option<String>), Vec<Option<i64>>>;

/// One row of results.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Output {
    pub(super) id: Vec<u8>,
    pub(super) ad: Option<String>,
    pub(super) window: (i64, i64),
    pub(super) result: Option<Result7>,
    pub(super) revision: i32,
}

pub(super) fn outputs(batches: &[(Port, Batch)]) -> Vec<Output> {
    outputs_of(Port::MAIN, batches)
}

fn outputs_of(wanted: Port, batches: &[(Port, Batch)]) -> Vec<Output> {
    let mut rows = Vec::new();
    for (_, batch) in batches.iter().filter(|(port, _)| *port == wanted) {
        let columns = &batch.columns;
        let column = |name: &str| columns.column_by_name(name).unwrap();
        let integer = |name: &str, row: usize| {
            let values = column(name).as_primitive::<Int64Type>();
            values.is_valid(row).then(|| values.value(row))
        };
        // Without windows there are none.
        let times = |name: &str, row: usize| {
            columns.column_by_name(name).map_or(0, |_| event_times(columns, name).unwrap()[row])
        };
        for row in 0..columns.num_rows() {
            let ads = column("ad").as_string::<i32>();
            let mean = column("avg").as_primitive::<Float64Type>();
            let count = integer("n", row);
            assert_eq!(count.is_none(), column("withdrawn").as_boolean().value(row), "what holds has a count");
            rows.push(Output {
                id: column("record_id").as_fixed_size_binary().value(row).to_vec(),
                ad: ads.is_valid(row).then(|| ads.value(row).to_string()),
                window: (times("window_start", row), times("window_end", row)),
                result: count.map(|count| {
                    let average = mean.is_valid(row).then(|| mean.value(row));
                    let (present, distinct) = (integer("present", row).unwrap(), integer("distinct", row).unwrap());
                    (count, present, integer("sum", row), integer("min", row), integer("max", row), average, distinct)
                }),
                revision: column("revision").as_primitive::<Int32Type>().value(row),
            });
        }
    }
    rows
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Rows(usize, Vec<Row>, bool),
    Watermark(i64),
    Barrier,
    Restart(usize),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || prop::option::weighted(0.8, -5i64..6);
    let rows = prop_oneof![
        prop::collection::vec((0i64..100, 0u8..7, value()), 0..30),
        // Without null keys, so that dictionaries are grouped by their codes.
        prop::collection::vec((0i64..100, 0u8..5, value()), 0..30),
    ];
    let step = prop_oneof![
        6 => (0usize..2, rows, any::<bool>()).prop_map(|(at, rows, d)| Step::Rows(at, rows, d)),
        3 => (0i64..70).prop_map(Step::Watermark),
        1 => Just(Step::Barrier),
        1 => (1usize..4).prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..30)
}

/// Two mappers and the global aggregate behind them.
pub(super) struct Pipeline {
    locals: Vec<OperatorHarness>,
    pub(super) global: Subtasks,
    pub(super) emitted: Vec<Output>,
    /// Running counts, each with the number of results that had been emitted before it.
    pub(super) running: Vec<(usize, Output)>,
}

impl Pipeline {
    pub(super) fn new(config: &AggregateConfig, passing: bool) -> Self {
        let local = |n: usize| {
            let mut local =
                LocalAggregate::new(config.clone(), &OperatorContext::single("job", &format!("local{n}"))).unwrap();
            if passing && n == 0 {
                local.pass_rows_on();
            }
            OperatorHarness::new(Box::new(local))
        };
        let global_config = config.clone();
        let window = config.windows.window;
        let global = Subtasks::new(&["ad", "filter"], move |context| match window {
            WindowSpec::Session { .. } => Box::new(SessionAggregate::new(global_config.clone(), context).unwrap()),
            WindowSpec::Global { .. } => Box::new(UnwindowedAggregate::new(global_config.clone(), context).unwrap()),
            _ => Box::new(GlobalAggregate::new(global_config.clone(), context).unwrap()),
        });
        Pipeline { locals: (0..2).map(local).collect(), global, emitted: Vec::new(), running: Vec::new() }
    }

    fn merge(&mut self, partials: Vec<(Port, Batch)>, carry: bool) {
        for (_, batch) in partials {
            let out = self.global.process(&batch.columns, carry).unwrap();
            self.emitted.extend(outputs(&out));
        }
    }

    pub(super) fn run(&mut self, step: &Step, now: i64, watermark: i64) {
        match step {
            Step::Rows(at, rows, flag) => {
                let rows: Vec<Row> = rows.iter().map(|row| (now + row.0, row.1, row.2)).collect();
                let partials = self.locals[*at].process(Batch::new(batch(&rows, *flag))).unwrap();
                self.merge(partials, *flag);
            }
            Step::Watermark(_) => {
                for at in 0..2 {
                    let partials = self.locals[at].watermark(watermark).unwrap();
                    self.merge(partials, true);
                }
                let out = self.global.watermark(watermark).unwrap();
                self.emitted.extend(outputs(&out));
            }
            Step::Barrier | Step::Restart(_) => {
                for at in 0..2 {
                    let partials = self.locals[at].barrier().unwrap();
                    self.merge(partials, false);
                }
                let out = match step {
                    Step::Restart(parallelism) => self.global.restart(*parallelism),
                    _ => self.global.barrier(),
                };
                let out = out.unwrap();
                self.emitted.extend(outputs(&out));
                let before = self.emitted.len();
                self.running.extend(outputs_of(ports::RUNNING, &out).into_iter().map(|output| (before, output)));
            }
        }
    }
}

/// Runs the steps, with rows that the late gate would let pass, and gives back what was emitted, the accepted rows and the
/// last watermark. `check` is called after every watermark.
pub(super) fn drive(
    config: &AggregateConfig,
    steps: Vec<Step>,
    passing: bool,
    mut check: impl FnMut(&Pipeline, &[Row], i64) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut pipeline = Pipeline::new(config, passing);
    let (mut accepted, mut now, mut watermark) = (Vec::new(), -120, i64::MIN);
    for mut step in steps.into_iter().chain([Step::Watermark(i64::MIN)]) {
        match &mut step {
            Step::Rows(_, rows, _) => {
                now += 10;
                rows.retain(|row| !config.windows.is_late(now + row.0, watermark));
                accepted.extend(rows.iter().map(|row| (now + row.0, row.1, row.2)));
            }
            Step::Watermark(behind) => watermark = watermark.max(now.saturating_sub(*behind)),
            _ => {}
        }
        pipeline.run(&step, now, watermark);
        if matches!(step, Step::Watermark(_)) {
            check(&pipeline, &accepted, watermark)?;
        }
    }
    prop_assert_eq!(pipeline.global.counter("events_counted"), accepted.len() as u64);
    prop_assert_eq!(pipeline.global.counter("late"), 0);
    Ok(())
}

/// The highest revision of every record; every revision must have come exactly once, in order.
pub(super) fn latest(emitted: &[Output]) -> Result<BTreeMap<Vec<u8>, Output>, TestCaseError> {
    let mut latest: BTreeMap<Vec<u8>, Output> = BTreeMap::new();
    for output in emitted {
        let expected = latest.get(&output.id).map_or(0, |before| before.revision + 1);
        prop_assert_eq!(output.revision, expected, "{:?}", output);
        latest.insert(output.id.clone(), output.clone());
    }
    Ok(latest)
}

fn key_name(key: u8) -> Option<String> {
    (key != 5).then(|| format!("ad{key}"))
}

/// Windows with slices, of sizes that events come in.
pub(super) fn sliced() -> impl Strategy<Value = WindowRule> {
    let few = |rule: &WindowRule| rule.window.has_slices() && rule.window.windows_per_event() < 12;
    rule().prop_filter("windows with slices, not too many", few)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn windows_hold_what_a_list_of_rows_holds(windows in sliced(), lateness in 0i64..80, steps in steps(), passing in any::<bool>()) {
        let windows = WindowRule { allowed_lateness_ms: lateness, ..windows };
        let config = AggregateConfig { windows, ..config(windows.window, lateness) };
        drive(&config, steps, passing, |pipeline, rows, watermark| {
            let mut model: Windows = BTreeMap::new();
            for (time, key, value) in rows {
                for bounds in windows_of(windows, *time).into_iter().filter(|bounds| bounds.1 <= watermark) {
                    model.entry((bounds, key_name(*key))).or_default().push(*value);
                }
            }
            let latest = latest(&pipeline.emitted)?;
            let found: BTreeMap<_, _> = latest.values().map(|output| ((output.window, output.ad.clone()), output.result.unwrap())).collect();
            let model: BTreeMap<_, _> = model.into_iter().map(|(key, values)| (key, expected(&values))).collect();
            prop_assert_eq!(found.len(), latest.len(), "one record per key and window");
            prop_assert_eq!(found, model);
            Ok(())
        })?;
    }
}

#[test]
fn rows_for_a_window_that_is_over_go_to_the_late_port() {
    let config = config(WindowSpec::Tumbling { size_ms: 10 }, 5);
    let mut pipeline = Pipeline::new(&config, true);
    pipeline.run(&Step::Rows(0, vec![(0, 1, None)], false), 0, 0);
    pipeline.run(&Step::Watermark(0), 0, 15);
    assert_eq!(pipeline.emitted.len(), 1);
    pipeline.run(&Step::Rows(0, vec![(1, 1, None), (2, 1, None), (11, 1, None)], false), 0, 0);
    assert_eq!(pipeline.global.counter("late"), 2);
    assert_eq!(pipeline.global.counter("events_counted"), 2);
    pipeline.run(&Step::Watermark(0), 0, i64::MAX);
    assert_eq!(pipeline.emitted.len(), 2, "the window that is over is not emitted again");
}

#[test]
fn results_have_the_columns_that_were_promised() {
    let config = config(WindowSpec::Tumbling { size_ms: 10 }, 0);
    for dictionary in [false, true] {
        let input = batch(&[(3, 1, Some(1))], dictionary);
        let promised = output_schema(input.schema_ref(), &config).unwrap();
        let mut local = OperatorHarness::new(Box::new(
            LocalAggregate::new(config.clone(), &OperatorContext::single("job", "local")).unwrap(),
        ));
        let mut global = Subtasks::new(&["ad", "filter"], {
            let config = config.clone();
            move |context| Box::new(GlobalAggregate::new(config.clone(), context).unwrap())
        });
        assert!(local.process(Batch::new(input)).unwrap().is_empty());
        for (_, partial) in local.watermark(10).unwrap() {
            assert!(partial.key_hashes_of(&config.key).is_some());
            global.process(&partial.columns, false).unwrap();
        }
        let results = global.watermark(10).unwrap();
        let found = results[0].1.columns.schema();
        let types = |schema: &arrow::datatypes::Schema| -> Vec<(String, DataType)> {
            schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        assert_eq!(types(&found), types(&promised));
    }
}

#[test]
fn every_type_of_argument_goes_through_its_states() {
    use arrow::array::*;
    let columns: Vec<(ArrayRef, i64)> = vec![
        (Arc::new(Int8Array::from(vec![Some(3), None, Some(-4)])), 2),
        (Arc::new(UInt64Array::from(vec![u64::MAX / 4, 1, 1])), 2),
        (Arc::new(Float32Array::from(vec![Some(-1.5), Some(2.5), None])), 2),
        (Arc::new(Float64Array::from(vec![f64::MIN, -0.0, 7.25])), 3),
        (Arc::new(Date32Array::from(vec![-1, 20_000, 20_000])), 2),
        (Arc::new(Time32MillisecondArray::from(vec![7, 5, 7])), 2),
        (Arc::new(Decimal128Array::from(vec![Some(150), None, Some(-150)])), 2),
        (Arc::new(DurationNanosecondArray::from(vec![-7, 5, 7])), 3),
        (Arc::new(TimestampMicrosecondArray::from(vec![Some(5), None, Some(-5)])), 2),
    ];
    for (values, distinct) in columns {
        let data_type = values.data_type().clone();
        let argument = |output: &str, function| AggregateCall::new(function, Some("v".into()), output);
        let mut config = config(WindowSpec::Tumbling { size_ms: 10 }, 0);
        config.aggregates = vec![argument("min", Function::Min), argument("max", Function::Max)];
        config.aggregates.push(argument("distinct", Function::ApproxDistinct));
        if data_type.is_numeric() {
            config.aggregates.extend([argument("sum", Function::Sum), argument("avg", Function::Avg)]);
        }
        let plain = batch(&[(1, 1, None), (2, 1, None), (3, 1, None)], false);
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (field, column) in plain.schema().fields().iter().zip(plain.columns()) {
            let column = if field.name() == "v" { &values } else { column };
            columns.push((field.name().clone(), Arc::clone(column)));
        }
        let input = RecordBatch::try_from_iter(columns).unwrap();
        let mut results = Vec::new();
        for passing in [false, true] {
            let mut local = LocalAggregate::new(config.clone(), &OperatorContext::single("job", "l")).unwrap();
            if passing {
                local.pass_rows_on();
            }
            let mut local = OperatorHarness::new(Box::new(local));
            let mut global = Subtasks::new(&["ad", "filter"], {
                let config = config.clone();
                move |context| Box::new(GlobalAggregate::new(config.clone(), context).unwrap())
            });
            let mut partials = local.process(Batch::new(input.clone())).unwrap();
            partials.extend(local.watermark(10).unwrap());
            for (_, partial) in partials {
                global.process(&partial.columns, false).unwrap();
            }
            global.restart(2).unwrap();
            results.push(global.watermark(10).unwrap()[0].1.columns.clone());
        }
        assert_eq!(results[0], results[1], "{data_type}");
        let result = &results[0];
        let smallest = result.column_by_name("min").unwrap();
        let largest = result.column_by_name("max").unwrap();
        assert_eq!((smallest.data_type(), largest.data_type()), (&data_type, &data_type));
        let options = Some(arrow::compute::SortOptions { descending: false, nulls_first: false });
        let sorted = arrow::compute::sort(&values, options).unwrap();
        let present = values.len() - values.null_count();
        assert_eq!((smallest, largest), (&sorted.slice(0, 1), &sorted.slice(present - 1, 1)), "{data_type}");
        let estimate = result.column_by_name("distinct").unwrap().as_primitive::<Int64Type>().value(0);
        assert_eq!(estimate, distinct, "{data_type}");
    }
}

#[test]
fn a_sum_that_does_not_fit_is_a_dead_letter_and_not_a_wrong_number() {
    let config = config(WindowSpec::Tumbling { size_ms: 10 }, 0);
    let mut pipeline = Pipeline::new(&config, false);
    let big = Step::Rows(0, vec![(0, 1, Some(i64::MAX)), (0, 1, Some(1)), (0, 1, Some(-1))], false);
    pipeline.run(&big, 0, 0);
    pipeline.run(&Step::Watermark(0), 0, 10);
    assert_eq!(pipeline.emitted[0].result.unwrap().2, Some(i64::MAX), "exact, in whatever order");
    let more = Step::Rows(0, vec![(10, 1, Some(i64::MAX)), (10, 1, Some(1))], false);
    pipeline.run(&more, 0, 0);
    pipeline.run(&Step::Barrier, 0, 0);
    let out = pipeline.global.watermark(20).unwrap();
    let of = |port: Port| &out.iter().find(|(found, _)| *found == port).unwrap().1.columns;
    let text = |column: &str| of(ports::DEAD_LETTERS).column_by_name(column).unwrap().as_string::<i32>().value(0);
    assert!(text("reason").contains("'sum'") && text("reason").contains("9223372036854775808"), "{}", text("reason"));
    assert!(text("raw").contains("\"window_start\":\"1970-01-01T00:00:00.010Z\""), "{}", text("raw"));
    let main = of(Port::MAIN);
    assert!(crate::columns::withdrawn(main).unwrap().value(0), "whoever has an earlier one must hear it");
    assert!(main.column_by_name("sum").unwrap().is_null(0));
}

#[test]
fn a_step_that_puts_out_many_windows_ends_when_it_is_canceled() {
    let config = config(WindowSpec::Hopping { size_ms: 10_000, slide_ms: 1 }, 0);
    let context = OperatorContext::single("job", "operator");
    let mut local = OperatorHarness::new(Box::new(
        LocalAggregate::new(config.clone(), &OperatorContext::single("job", "operator.local")).unwrap(),
    ));
    let mut global = OperatorHarness::new(Box::new(GlobalAggregate::new(config, &context).unwrap()));
    local.process(Batch::new(batch(&[(0, 1, Some(1))], false))).unwrap();
    for (_, partials) in local.watermark(10).unwrap() {
        global.process(partials).unwrap();
    }
    assert_eq!(global.watermark(3).unwrap().len(), 3, "a batch for each window");
    context.canceled.set();
    assert!(global.watermark(20_000).unwrap_err().message.contains("canceled"));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let good = config(WindowSpec::Tumbling { size_ms: 10 }, 0);
    let refused = |change: fn(&mut AggregateConfig)| {
        let mut config = good.clone();
        change(&mut config);
        config.validate().unwrap_err().message
    };
    assert!(refused(|config| config.aggregates[1].output = "n".into()).contains("two columns"));
    assert!(refused(|config| config.aggregates[1].output = "revision".into()).contains("choose another name"));
    assert!(refused(|config| config.aggregates.clear()).contains("count(*)"));
    assert!(refused(|config| config.aggregates[2].argument = None).contains("needs an argument"));
    let input = batch(&[], false);
    let schema = |change: fn(&mut AggregateConfig)| {
        let mut config = good.clone();
        change(&mut config);
        output_schema(input.schema_ref(), &config).unwrap_err().message
    };
    assert!(schema(|config| config.aggregates[2].argument = Some("ad".into())).contains("cast it to BIGINT"));
    assert!(schema(|config| config.aggregates[3].function = Function::BoolAnd).contains("truth values"));
    assert!(refused(|config| config.aggregates[3].function = Function::MaxBy).contains("two columns"));
    assert!(refused(|config| config.aggregates[3].function = Function::PercentileCont).contains("from 0 to 1"));
    assert!(schema(|config| config.aggregates[3].filter = Some("v".into())).contains("no truth value"));
    assert!(schema(|config| config.key = vec!["ads".into()]).contains("the input has ad, filter, at, v"));
}

/// The sessions of a list of rows: key, bounds, values.
fn sessions(rows: &[Row], gap: i64) -> Windows {
    let mut by_key: BTreeMap<u8, Vec<(i64, Option<i64>)>> = BTreeMap::new();
    for (time, key, value) in rows {
        by_key.entry(*key).or_default().push((*time, *value));
    }
    let mut sessions = BTreeMap::new();
    for (key, mut events) in by_key {
        events.sort_unstable();
        for session in events.chunk_by(|one, next| next.0 - one.0 < gap) {
            let bounds = (session[0].0, session[session.len() - 1].0 + gap);
            sessions.insert((bounds, key_name(key)), session.iter().map(|event| event.1).collect());
        }
    }
    sessions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sessions_hold_what_a_list_of_rows_holds(gap_ms in 1i64..40, lateness in 0i64..80, steps in steps()) {
        let config = config(WindowSpec::Session { gap_ms }, lateness);
        drive(&config, steps, false, |pipeline, rows, watermark| {
            let model: BTreeMap<_, _> = sessions(rows, gap_ms)
                .into_iter()
                .filter(|((bounds, _), _)| bounds.1 <= watermark)
                .map(|(key, values)| (key, expected(&values)))
                .collect();
            let latest = latest(&pipeline.emitted)?;
            // What was withdrawn is no session of the model.
            let found: BTreeMap<_, _> = latest
                .values()
                .filter_map(|output| Some(((output.window, output.ad.clone()), output.result?)))
                .collect();
            prop_assert_eq!(found, model);
            Ok(())
        })?;
    }
}

#[test]
fn a_session_that_grows_takes_its_earlier_record_back() {
    let config = config(WindowSpec::Session { gap_ms: 10 }, 100);
    let mut pipeline = Pipeline::new(&config, false);
    let rows = |rows: &[Row]| Step::Rows(0, rows.to_vec(), false);
    pipeline.run(&rows(&[(0, 1, Some(1)), (15, 1, Some(2))]), 0, 0);
    pipeline.run(&Step::Watermark(0), 0, 30);
    assert_eq!(pipeline.emitted.len(), 2);
    pipeline.run(&rows(&[(7, 1, Some(3))]), 0, 0);
    pipeline.run(&Step::Restart(3), 0, 0);
    let after: Vec<_> =
        pipeline.emitted[2..].iter().map(|o| (o.window, o.revision, o.result.map(|result| result.0))).collect();
    assert_eq!(after, vec![((15, 25), 1, None), ((0, 10), 1, None), ((0, 25), 0, Some(3))]);
    pipeline.run(&rows(&[(8, 1, Some(3))]), 0, 0);
    pipeline.run(&Step::Watermark(0), 0, 31);
    let last = &pipeline.emitted[5];
    assert_eq!((last.window, last.revision, last.result.unwrap().0), ((0, 25), 1, 4));
}

#[test]
fn a_first_result_is_no_correction_however_late_it_comes() {
    let config = config(WindowSpec::Tumbling { size_ms: 10 }, 100);
    let mut pipeline = Pipeline::new(&config, false);
    let mut corrections_after = |rows: &[Row], watermark: i64| {
        pipeline.run(&Step::Rows(0, rows.to_vec(), false), 0, 0);
        pipeline.run(&Step::Watermark(0), 0, watermark);
        (pipeline.emitted.last().map(|output| output.revision), pipeline.global.counter("corrections"))
    };
    assert_eq!(corrections_after(&[(0, 1, Some(1))], 10), (Some(0), 0));
    assert_eq!(corrections_after(&[(1, 2, Some(1))], 11), (Some(0), 0), "another key's first");
    assert_eq!(corrections_after(&[(2, 2, Some(1))], 12), (Some(1), 1));
}

#[test]
fn keys_without_sessions_are_forgotten() {
    let config = config(WindowSpec::Session { gap_ms: 10 }, 0);
    let mut pipeline = Pipeline::new(&config, false);
    for round in 0..40i64 {
        // `filter` is part of the key, so numbers make keys.
        let times = TimestampMillisecondArray::from_iter_values((0..100).map(|n| round * 100 + n)).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 4] = [
            ("ad", Arc::new(StringArray::from_iter_values((0..100).map(|n| format!("ad{round}-{n}"))))),
            ("filter", Arc::new(Int64Array::from_value(round, 100))),
            ("at", Arc::new(times)),
            ("v", Arc::new(Int64Array::from_value(1, 100))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut local = LocalAggregate::new(config.clone(), &OperatorContext::single("job", "l")).unwrap();
        let mut partials = Collector::default();
        Operator::process(&mut local, 0, Batch::new(rows), &mut partials).unwrap();
        for (_, partial) in partials.drain() {
            pipeline.global.process(&partial.columns, false).unwrap();
        }
        let out = pipeline.global.watermark(round * 100).unwrap();
        pipeline.emitted.extend(outputs(&out));
    }
    let out = pipeline.global.watermark(i64::MAX).unwrap();
    pipeline.emitted.extend(outputs(&out));
    let names: BTreeSet<_> = pipeline.emitted.iter().map(|output| output.ad.clone()).collect();
    assert_eq!((names.len(), pipeline.emitted.len()), (4000, 4000));
}
