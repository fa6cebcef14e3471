//! Every function, with and without a key: however rows are cut into batches, come late, and lie in checkpoints of so many
//! subtasks, the last result of each window is what one batch of all rows gives, bit for bit.

use super::{Row, Step, batch, steps};
use crate::aggregate::{AggregateCall, AggregateConfig, Function, GlobalAggregate, LocalAggregate, SessionAggregate};
use crate::columns::{RECORD_ID, REVISION, withdrawn};
use crate::testing::Subtasks;
use crate::window::{WindowRule, WindowSpec};
use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray},
    datatypes::{Int32Type, Int64Type},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    element::{Batch, Port},
    operator::OperatorContext,
    testing::OperatorHarness,
};

const KEYS: [&[&str]; 2] = [&[], &["ad", "filter"]];

fn config(key: &[&str], window: WindowSpec, allowed_lateness_ms: i64) -> AggregateConfig {
    use Function::*;
    let call = |output: &str, function, argument: &str, by: &str| AggregateCall {
        by: Some(by.to_owned()).filter(|by| !by.is_empty()),
        ..AggregateCall::new(function, Some(argument.into()), output)
    };
    let part = |output: &str, function, parameter: f64| AggregateCall {
        parameter: Some(parameter),
        ..call(output, function, "v", "at")
    };
    let even = |call: AggregateCall| AggregateCall { filter: Some("even".into()), ..call };
    AggregateConfig {
        key: key.iter().map(ToString::to_string).collect(),
        windows: WindowRule::of(window, allowed_lateness_ms),
        time_column: "at".into(),
        aggregates: vec![
            even(AggregateCall::new(Count, None, "even_rows")),
            even(call("even_sum", Sum, "v", "")),
            call("values", CountDistinct, "v", ""),
            even(call("names", CountDistinct, "name", "")),
            call("least", Min, "name", ""),
            call("most", Max, "name", ""),
            call("var", Var, "v", ""),
            even(call("stddev", StddevPop, "v", "")),
            call("covar", Covar, "v", "filter"),
            call("corr", Corr, "v", "filter"),
            call("all", BoolAnd, "even", ""),
            call("any", BoolOr, "even", ""),
            call("bits", BitXor, "v", ""),
            part("median", PercentileCont, 0.5),
            part("about", ApproxPercentileCont, 0.9),
            call("first", MinBy, "v", "at"),
            even(call("last", MaxBy, "name", "at")),
            call("best", MaxBy, "name", "v"),
            part("list", ArrayAgg, 5.0),
            even(part("set", ArrayAggDistinct, 3.0)),
        ],
        running: None,
    }
}

/// Rows with a name that may be missing, and whether the value is even, where there is one.
fn columns(rows: &[Row], dictionary: bool) -> RecordBatch {
    let plain = batch(rows, dictionary);
    let names: ArrayRef = Arc::new(StringArray::from_iter(
        rows.iter().map(|row| (row.1 != 4).then(|| format!("n{}", row.2.unwrap_or(0).rem_euclid(4)))),
    ));
    let even: ArrayRef = Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.2.map(|value| value % 2 == 0))));
    let schema = plain.schema();
    let fields = schema.fields().iter().map(|field| (field.name().as_str(), field.is_nullable()));
    let columns =
        fields.zip(plain.columns().iter().cloned()).map(|((name, nullable), column)| (name, column, nullable));
    RecordBatch::try_from_iter_with_nullable(columns.chain([("name", names, true), ("even", even, true)])).unwrap()
}

/// Two mappers, what is behind them, and all results.
struct Flow {
    locals: Vec<OperatorHarness>,
    global: Subtasks,
    results: Vec<RecordBatch>,
}

fn window() -> impl Strategy<Value = WindowSpec> {
    prop_oneof![
        (1i64..60).prop_map(|size_ms| WindowSpec::Tumbling { size_ms }),
        (1i64..5, 5i64..30).prop_map(|(n, slide_ms)| WindowSpec::Hopping { size_ms: n * slide_ms, slide_ms }),
    ]
}

impl Flow {
    fn new(config: &AggregateConfig) -> Self {
        let local = |n: usize| {
            let mut local =
                LocalAggregate::new(config.clone(), &OperatorContext::single("job", &format!("local{n}"))).unwrap();
            if n == 1 {
                local.pass_rows_on();
            }
            OperatorHarness::new(Box::new(local))
        };
        let key: Vec<&str> = config.key.iter().map(String::as_str).collect();
        let of = config.clone();
        let global = Subtasks::new(&key, move |context| match of.windows.window.has_slices() {
            false => Box::new(SessionAggregate::new(of.clone(), context).unwrap()),
            true => Box::new(GlobalAggregate::new(of.clone(), context).unwrap()),
        });
        Flow { locals: (0..2).map(local).collect(), global, results: Vec::new() }
    }

    fn note(&mut self, out: Vec<(Port, Batch)>) {
        self.results.extend(out.into_iter().filter(|(port, _)| *port == Port::MAIN).map(|(_, batch)| batch.columns));
    }

    fn merge(&mut self, partials: Vec<(Port, Batch)>) {
        for (_, partial) in partials {
            let out = self.global.process(&partial.columns, true).unwrap();
            self.note(out);
        }
    }

    fn rows(&mut self, local: usize, rows: &[Row], dictionary: bool) {
        let partials = self.locals[local].process(Batch::new(columns(rows, dictionary))).unwrap();
        self.merge(partials);
    }

    fn watermark(&mut self, watermark: i64) {
        for local in 0..self.locals.len() {
            let partials = self.locals[local].watermark(watermark).unwrap();
            self.merge(partials);
        }
        let out = self.global.watermark(watermark).unwrap();
        self.note(out);
    }

    fn barrier(&mut self, parallelism: Option<usize>) {
        for local in 0..self.locals.len() {
            let partials = self.locals[local].barrier().unwrap();
            self.merge(partials);
        }
        let out = match parallelism {
            Some(parallelism) => self.global.restart(parallelism),
            None => self.global.barrier(),
        };
        self.note(out.unwrap());
    }

    /// The highest revision of each record, without those that are withdrawn.
    fn latest(&self) -> BTreeMap<Vec<u8>, RecordBatch> {
        let mut latest: BTreeMap<Vec<u8>, (i32, Option<RecordBatch>)> = BTreeMap::new();
        for results in &self.results {
            let ids = results.column_by_name(RECORD_ID).unwrap().as_fixed_size_binary();
            let revisions = results.column_by_name(REVISION).unwrap().as_primitive::<Int32Type>();
            let revision_at = results.schema_ref().index_of(REVISION).unwrap();
            for row in 0..results.num_rows() {
                let holds = !withdrawn(results).unwrap().value(row);
                let mut values = results.slice(row, 1);
                values.remove_column(revision_at);
                let newest = latest.entry(ids.value(row).to_vec()).or_insert((-1, None));
                assert!(newest.0 < revisions.value(row), "a revision twice");
                *newest = (revisions.value(row), holds.then_some(values));
            }
        }
        latest.into_iter().filter_map(|(id, (_, row))| Some((id, row?))).collect()
    }
}

fn any_window() -> impl Strategy<Value = WindowSpec> {
    prop_oneof![3 => window(), 1 => (1i64..40).prop_map(|gap_ms| WindowSpec::Session { gap_ms })]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_way_of_running_changes_a_bit(
        window in any_window(), lateness in 0i64..80, steps in steps(), keyed in 0usize..2,
    ) {
        let config = config(KEYS[keyed], window, lateness);
        let mut flow = Flow::new(&config);
        let (mut accepted, mut now, mut watermark) = (Vec::<Row>::new(), -120, i64::MIN);
        for step in steps {
            match step {
                Step::Rows(local, rows, dictionary) => {
                    now += 10;
                    let rows: Vec<Row> = rows
                        .into_iter()
                        .map(|row| (now + row.0, row.1, row.2))
                        .filter(|row| !config.windows.is_late(row.0, watermark))
                        .collect();
                    flow.rows(local, &rows, dictionary);
                    accepted.extend(rows);
                }
                Step::Watermark(behind) => {
                    watermark = watermark.max(now.saturating_sub(behind));
                    flow.watermark(watermark);
                }
                Step::Barrier => flow.barrier(None),
                Step::Restart(parallelism) => flow.barrier(Some(parallelism)),
            }
        }
        flow.watermark(i64::MAX);
        let mut reference = Flow::new(&config);
        // The other way round, so that nothing depends on who came first.
        accepted.reverse();
        reference.rows(0, &accepted, false);
        reference.watermark(i64::MAX);
        prop_assert_eq!(flow.latest(), reference.latest());
    }
}

#[test]
fn without_a_key_there_is_one_group() {
    let config = config(&[], WindowSpec::Tumbling { size_ms: 10 }, 0);
    let mut flow = Flow::new(&config);
    flow.rows(0, &[(0, 1, Some(2)), (1, 2, Some(3)), (12, 3, None)], false);
    flow.rows(1, &[(3, 6, Some(4))], true);
    flow.barrier(Some(3));
    flow.watermark(i64::MAX);
    let rows: Vec<_> = flow.latest().into_values().collect();
    assert_eq!(rows.len(), 2, "a result for each window");
    let number = |row: &RecordBatch, name: &str| row.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(0);
    let mut found: Vec<_> = rows.iter().map(|row| (number(row, "values"), number(row, "even_rows"))).collect();
    found.sort_unstable();
    assert_eq!(found, [(0, 0), (3, 2)]);
    let names: Vec<String> = rows[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names[..3], ["record_id", "window_start", "window_end"]);
}
