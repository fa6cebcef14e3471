//! Every function over every type: its states lie in checkpoints and merge to the whole, in whatever order.

use super::super::config::Function;
use super::*;
use arrow::{
    array::{
        Array, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMillisecondArray, new_null_array,
    },
    datatypes::{Float64Type, Int64Type, IntervalUnit, Schema, TimeUnit},
};
use proptest::prelude::*;
use weir_engine::parquet_pages::parquet_schema;

fn call(function: Function) -> AggregateCall {
    let column = || Some("a".to_owned());
    let parameter = match function {
        Function::PercentileCont | Function::ApproxPercentileCont => Some(0.5),
        Function::ArrayAgg | Function::ArrayAggDistinct => Some(3.0),
        _ => None,
    };
    AggregateCall { by: column(), parameter, ..AggregateCall::new(function, column(), "o") }
}

#[test]
fn rounded_sums_of_older_checkpoints_are_read() {
    for (function, expected) in [(Function::Sum, 3.5), (Function::Avg, 3.5 / 4.0)] {
        let call = AggregateCall::new(function, Some("x".into()), "of_x");
        let mut sums = Accumulator::of_states(&call, &[&DataType::Float64, &DataType::Int64]).unwrap();
        sums.resize(1);
        let stored: [ArrayRef; 2] =
            [Arc::new(Float64Array::from(vec![1.5, 2.0])), Arc::new(Int64Array::from(vec![3, 1]))];
        sums.merge(&[0, 0], Rows::All(2), &stored).unwrap();
        let output = sums.output(Rows::All(1), &mut Vec::new()).unwrap();
        assert_eq!(output.as_primitive::<Float64Type>().value(0), expected);
        let types: Vec<DataType> = sums.state_fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(types, [float_sums::FLOAT_SUM_TYPE, DataType::Int64], "and are written as exact ones");
    }
}

const FUNCTIONS: [Function; 25] = [
    Function::Count,
    Function::Sum,
    Function::Min,
    Function::Max,
    Function::Avg,
    Function::ApproxDistinct,
    Function::CountDistinct,
    Function::Var,
    Function::VarPop,
    Function::Stddev,
    Function::StddevPop,
    Function::Covar,
    Function::CovarPop,
    Function::Corr,
    Function::BoolAnd,
    Function::BoolOr,
    Function::BitAnd,
    Function::BitOr,
    Function::BitXor,
    Function::PercentileCont,
    Function::ApproxPercentileCont,
    Function::MinBy,
    Function::MaxBy,
    Function::ArrayAgg,
    Function::ArrayAggDistinct,
];

/// The type of the second argument of a call.
fn by_type(function: Function) -> DataType {
    match function {
        Function::MinBy | Function::MaxBy => DataType::Utf8,
        Function::ArrayAgg => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        _ => DataType::Float64,
    }
}

#[test]
fn states_of_every_type_lie_in_checkpoints_and_come_back() {
    let mut defined = 0;
    for data_type in [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int64,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8,
        DataType::Binary,
        DataType::FixedSizeBinary(3),
        DataType::Date32,
        DataType::Date64,
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        DataType::Time32(TimeUnit::Second),
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(TimeUnit::Millisecond),
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Interval(IntervalUnit::DayTime),
        DataType::Decimal128(10, 0),
        DataType::Decimal128(38, 9),
        DataType::Decimal256(50, 2),
        DataType::Null,
        DataType::List(Arc::new(Field::new("item", DataType::Int64, true))),
    ] {
        for function in FUNCTIONS {
            let (call, by) = (call(function), by_type(function));
            let types = CallTypes { argument: Some(&data_type), by: Some(&by) };
            let Ok(mut accumulator) = Accumulator::new(&call, types) else { continue };
            defined += 1;
            let fields = accumulator.state_fields();
            let schema = Schema::new(fields.clone());
            assert!(parquet_schema(&schema).is_ok(), "{function:?} of {data_type}: {schema}");
            let widths = Accumulator::state_widths(std::slice::from_ref(&call), schema.fields(), 0);
            assert_eq!(widths, [fields.len()], "{function:?} of {data_type}");
            let types: Vec<&DataType> = fields.iter().map(Field::data_type).collect();
            let mut restored = Accumulator::of_states(&call, &types).expect("its own states");
            assert_eq!(restored.output_type(), accumulator.output_type(), "{function:?} of {data_type}");
            // A group without any value, and one with nothing but nulls.
            let columns = CallColumns {
                argument: Some(new_null_array(&data_type, 2)),
                by: Some(new_null_array(&by, 2)),
                filter: None,
            };
            accumulator.resize(2);
            accumulator.update(&[1, 1], Rows::All(2), &columns).expect("nulls");
            let states = accumulator.states(Rows::All(2)).expect("states");
            restored.resize(2);
            restored.merge(&[0, 1], Rows::All(2), &states).expect("merged");
            let output = |accumulator: &Accumulator| accumulator.output(Rows::All(2), &mut Vec::new());
            let (one, other) = (output(&accumulator), output(&restored));
            let one = one.expect("results");
            assert_eq!(one.as_ref(), other.expect("results").as_ref(), "{function:?} of {data_type}");
            assert_eq!(one.data_type(), &accumulator.output_type(), "{function:?} of {data_type}");
        }
    }
    assert!(defined > 200, "{defined}");
}

/// Number, text, event time; and whether a filter lets it through.
type Row = (Option<i32>, Option<String>, i64, Option<bool>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop::option::weighted(0.8, "[ab]{0,2}");
    let row = (prop::option::weighted(0.8, -20i32..20), text, 0i64..4, prop::option::weighted(0.9, any::<bool>()));
    prop::collection::vec(row, 0..40)
}

/// What a call reads of some rows.
fn columns(function: Function, of_texts: bool, filtered: bool, rows: &[Row]) -> CallColumns {
    let floats = || Float64Array::from_iter(rows.iter().map(|row| row.0.map(|n| f64::from(n) * 0.1)));
    let texts = || StringArray::from_iter(rows.iter().map(|row| row.1.as_deref()));
    let argument: ArrayRef = match function {
        Function::BoolAnd | Function::BoolOr => Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.3))),
        Function::BitAnd | Function::BitOr | Function::BitXor => {
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0.map(i64::from))))
        }
        _ if of_texts => Arc::new(texts()),
        _ => Arc::new(floats()),
    };
    let by: ArrayRef = match function {
        Function::MinBy | Function::MaxBy => Arc::new(texts()),
        Function::ArrayAgg => {
            Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.2)).with_timezone("UTC"))
        }
        _ => Arc::new(Float64Array::from_iter(rows.iter().map(|row| Some(row.2 as f64 + 0.3)))),
    };
    let filter = filtered.then(|| BooleanArray::from_iter(rows.iter().map(|row| row.3)));
    CallColumns { argument: Some(argument), by: Some(by), filter }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// All rows at once; and in another order, in parts, through states, groups of others and moves.
    #[test]
    fn any_order_and_any_merges_give_the_same_bits(
        rows in rows(), cut in any::<prop::sample::Index>(), way in 0usize..3, filtered in any::<bool>(),
    ) {
        let mut reversed: Vec<Row> = rows.clone();
        reversed.reverse();
        let parts = reversed.split_at(cut.index(reversed.len() + 1));
        for (function, of_texts) in FUNCTIONS.into_iter().flat_map(|function| [(function, false), (function, true)]) {
            let call = call(function);
            let whole = columns(function, of_texts, filtered, &rows);
            let Ok(empty) = Accumulator::new(&call, CallTypes::of(&whole)) else { continue };
            let updated = |rows: &[Row], group: u32| {
                let mut accumulator = empty.clone();
                accumulator.resize(2);
                let groups = vec![group; rows.len()];
                let columns = columns(function, of_texts, filtered, rows);
                accumulator.update(&groups, Rows::All(rows.len()), &columns).unwrap();
                accumulator
            };
            let expected = updated(&rows, 0);
            let (mut merged, part) = (updated(parts.0, 0), updated(parts.1, 1));
            match way {
                0 => merged.merge(&[0], Rows::Some(&[1]), &part.states(Rows::All(2)).unwrap()).unwrap(),
                1 => merged.merge_groups(&part, Rows::Some(&[1]), &[0]).unwrap(),
                _ => {
                    merged.merge_groups(&part, Rows::All(2), &[0, 1]).unwrap();
                    merged.move_group(1, 0);
                }
            }
            let output = |of: &Accumulator| of.output(Rows::All(2), &mut Vec::new()).unwrap();
            prop_assert_eq!(&output(&merged), &output(&expected), "{:?}", function);
            let states = |of: &Accumulator| of.states(Rows::All(2)).unwrap();
            if !matches!(function, Function::Sum | Function::Avg) && merged.state_fields().len() == 1 {
                prop_assert_eq!(states(&merged), states(&expected), "{:?}", function);
            }
            merged.clear_group(0);
            let cleared = output(&merged);
            prop_assert_eq!(&cleared.slice(0, 1), &cleared.slice(1, 1), "{:?}", function);
        }
    }

    /// Against what each function says it is.
    #[test]
    fn results_are_those_of_a_list_of_values(values in prop::collection::vec(-1_000i64..1_000, 1..60), scale in 0i32..3) {
        let values: Vec<f64> = values.iter().map(|value| *value as f64 / 10f64.powi(scale)).collect();
        let value = |function: Function| {
            let call = call(function);
            let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
            let columns = CallColumns { by: Some(Arc::clone(&column)), argument: Some(column), filter: None };
            let mut accumulator = Accumulator::new(&call, CallTypes::of(&columns)).unwrap();
            accumulator.resize(1);
            accumulator.update(&vec![0; values.len()], Rows::All(values.len()), &columns).unwrap();
            let output = accumulator.output(Rows::All(1), &mut Vec::new()).unwrap();
            let output = output.as_primitive::<Float64Type>();
            output.is_valid(0).then(|| output.value(0))
        };
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() <= 1e-9 * (1.0 + expected.abs());
        prop_assert!(near(value(Function::VarPop), squares / n));
        prop_assert!(near(value(Function::StddevPop), (squares / n).sqrt()));
        prop_assert!(near(value(Function::CovarPop), squares / n));
        match values.len() {
            1 => prop_assert_eq!((value(Function::Var), value(Function::Stddev), value(Function::Corr)), (None, None, None)),
            _ => {
                prop_assert!(near(value(Function::Var), squares / (n - 1.0)));
                prop_assert!(near(value(Function::Covar), squares / (n - 1.0)));
                let varies = values.iter().any(|value| *value != values[0]);
                prop_assert_eq!(value(Function::Corr), varies.then_some(1.0));
            }
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        prop_assert!(near(value(Function::PercentileCont), (low + high) / 2.0));
        let about = value(Function::ApproxPercentileCont).unwrap();
        let (least, most) = (low - low.abs() / 128.0, high + high.abs() / 128.0);
        prop_assert!(least <= about && about <= most, "{} of {:?}", about, sorted);
    }
}

/// The result of a call over values that are all in one group.
fn result_of(call: &AggregateCall, columns: &CallColumns) -> ArrayRef {
    let rows = columns.argument.as_ref().unwrap().len();
    let mut accumulator = Accumulator::new(call, CallTypes::of(columns)).unwrap();
    accumulator.resize(1);
    accumulator.update(&vec![0; rows], Rows::All(rows), columns).unwrap();
    accumulator.output(Rows::All(1), &mut Vec::new()).unwrap()
}

#[test]
fn nothing_cancels_out_of_a_variance() {
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]));
    let columns = CallColumns { argument: Some(values), ..CallColumns::default() };
    let variance =
        |columns: &CallColumns| result_of(&call(Function::Var), columns).as_primitive::<Float64Type>().value(0);
    assert_eq!(variance(&columns), 1.0, "of squares that agree in all digits that a float has");
    let constant: ArrayRef = Arc::new(Float64Array::from(vec![0.1; 7]));
    assert_eq!(variance(&CallColumns { argument: Some(constant), ..CallColumns::default() }), 0.0);
    for special in [f64::NAN, f64::INFINITY, 1e200] {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0, special]));
        assert!(variance(&CallColumns { argument: Some(values), ..CallColumns::default() }).is_nan(), "{special}");
    }
}

#[test]
fn ties_go_by_the_value() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("c"), Some("a"), Some("b"), None]));
    let by: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 1, 0]));
    let columns = CallColumns { argument: Some(texts), by: Some(by), filter: None };
    let text = |function| result_of(&call(function), &columns).as_string::<i32>().value(0).to_owned();
    assert_eq!((text(Function::MinBy), text(Function::MaxBy)), ("a".into(), "c".into()));
}

#[test]
fn a_list_is_in_the_order_of_event_time_and_has_an_end() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(5), None, Some(5), Some(1), Some(9)]));
    let times = TimestampMillisecondArray::from(vec![3, 1, 1, 1, 2, 9]).with_timezone("UTC");
    let columns = CallColumns { argument: Some(values), by: Some(Arc::new(times)), filter: None };
    let list = |function, limit: Option<f64>| {
        let list = result_of(&AggregateCall { parameter: limit, ..call(function) }, &columns);
        list.as_list::<i32>().value(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>()
    };
    let all = [None, Some(5), Some(5), Some(1), Some(7), Some(9)];
    assert_eq!(list(Function::ArrayAgg, None), all);
    assert_eq!(list(Function::ArrayAgg, Some(2.0)), all[..2]);
    assert_eq!(list(Function::ArrayAggDistinct, None), [None, Some(1), Some(5), Some(7), Some(9)]);
    assert_eq!(list(Function::ArrayAggDistinct, Some(3.0)), [None, Some(1), Some(5)]);
}

#[test]
fn an_approximate_percentile_is_near_over_many_decades() {
    let values: Vec<f64> = (0..20_000).map(|n| 1.001f64.powi(n) * 1e-3).collect();
    for part in [0.0, 0.01, 0.5, 0.9, 0.99, 1.0] {
        let columns =
            CallColumns { argument: Some(Arc::new(Float64Array::from(values.clone()))), ..CallColumns::default() };
        let of = |function| {
            let call = AggregateCall { parameter: Some(part), ..call(function) };
            result_of(&call, &columns).as_primitive::<Float64Type>().value(0)
        };
        let (about, exact) = (of(Function::ApproxPercentileCont), of(Function::PercentileCont));
        assert!((about / exact - 1.0).abs() < 0.008, "{part}: {about} for {exact}");
    }
}

#[test]
fn damaged_states_are_refused() {
    use super::{approximate::Histogram, bag::Bag, percentiles::SortedValues};
    let damaged: [&[u8]; 3] = [&[1], &[0, 0, 0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 0, 0, 0, 0xff]];
    for bytes in damaged {
        assert!(Bag::default().merge_bytes(bytes).is_err() && Histogram::default().merge_bytes(bytes).is_err());
        for function in [Function::CountDistinct, Function::ArrayAgg] {
            let types = [&DataType::Binary, &DataType::Int64];
            let width = if function == Function::ArrayAgg { 2 } else { 1 };
            let mut accumulator = Accumulator::of_states(&call(function), &types[..width]).unwrap();
            accumulator.resize(1);
            let states: [ArrayRef; 2] = [Arc::new(BinaryArray::from(vec![bytes])), new_null_array(&DataType::Int64, 1)];
            assert!(accumulator.merge(&[0], Rows::All(1), &states[..width]).is_err(), "{function:?} {bytes:?}");
        }
    }
}
