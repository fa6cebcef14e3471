use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::*;

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("ad_id", DataType::Utf8, false),
        Field::new("country", DataType::Utf8, true),
        Field::new("cost", DataType::Int64, true),
        Field::new("click_timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("clickTime", DataType::Utf8, true),
    ])
}

fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Four clicks, the text columns in the given physical types.
fn batch(ad_id: &DataType, country: &DataType) -> RecordBatch {
    let ads: ArrayRef = Arc::new(StringArray::from(vec!["ad001", "", "ad002", "ad001"]));
    let countries: ArrayRef = Arc::new(StringArray::from(vec![Some("USA"), Some("DEU"), None, Some("USA")]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("extra", Arc::new(Int64Array::from(vec![0; 4]))),
        ("cost", Arc::new(Int64Array::from(vec![Some(5), Some(0), None, Some(7)]))),
        ("country", cast(&countries, country).unwrap()),
        ("ad_id", cast(&ads, ad_id).unwrap()),
        (
            "click_timestamp",
            Arc::new(TimestampMillisecondArray::from(vec![0, 59_999, 60_000, 1_646_352_001_000]).with_timezone("UTC")),
        ),
        ("clickTime", Arc::new(StringArray::from(vec!["2022-03-04 00:00:01", "x", "", "1970-01-01"]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
}

fn text_types() -> [DataType; 4] {
    [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View, dictionary()]
}

fn values(text: &str, batch: &RecordBatch) -> Vec<String> {
    let array = Expression::new(text, &schema()).unwrap().evaluate(batch).unwrap();
    (0..array.len()).map(|i| array_value_to_string(&array, i).unwrap()).collect()
}

fn plain() -> RecordBatch {
    batch(&DataType::Utf8, &DataType::Utf8)
}

#[test]
fn every_text_representation_gives_the_same_result() {
    let expressions = [
        "ad_id <> '' and country is not null",
        "country = 'USA'",
        "country in ('USA', 'DEU', 'FRA', 'ITA', 'ESP')",
        "ad_id like 'ad%'",
        "upper(country)",
        "ad_id || '-' || country",
        "coalesce(country, 'none')",
        "case when country = 'USA' then ad_id else country end",
        "substr(ad_id, 3)",
        "length(country)",
        "country",
        "ad_id > country",
        "nullif(ad_id, '')",
        "try_cast(substr(ad_id, 3) as int) + 1",
        "regexp_like(ad_id, '^ad00[1-9]$')",
        "starts_with(country, 'U')",
        "concat(ad_id, country)",
        "country between 'A' and 'M'",
    ];
    for text in expressions {
        let expected = values(text, &plain());
        let expression = Expression::new(text, &schema()).unwrap();
        for ad_id in text_types() {
            for country in text_types() {
                let array = expression.evaluate(&batch(&ad_id, &country)).unwrap();
                let got: Vec<String> = (0..4).map(|i| array_value_to_string(&array, i).unwrap()).collect();
                assert_eq!(got, expected, "{text} over {ad_id} and {country}");
                let declared = expression.data_type();
                assert_eq!(&declared_type(array.data_type()), declared, "{text} over {ad_id} and {country}");
            }
        }
    }
}

#[test]
fn a_predicate_takes_null_for_false() {
    let expression = Expression::predicate("country = 'USA'", &schema()).unwrap();
    for country in text_types() {
        let mask = expression.evaluate_predicate(&batch(&DataType::Utf8, &country)).unwrap();
        assert_eq!(mask, BooleanArray::from(vec![true, false, false, true]));
    }
    let never = Expression::predicate("null", &schema()).unwrap();
    assert_eq!(never.evaluate_predicate(&plain()).unwrap(), BooleanArray::from(vec![false; 4]));
}

#[test]
fn constant_true_is_recognised_and_needs_no_columns() {
    let expression = Expression::predicate("true", &schema()).unwrap();
    assert!(expression.is_constant_true());
    assert_eq!(expression.columns().count(), 0);
    assert_eq!(expression.evaluate_predicate(&plain()).unwrap(), BooleanArray::from(vec![true; 4]));
    assert!(Expression::predicate("1 + 1 = 2", &schema()).unwrap().is_constant_true());
    assert!(!Expression::predicate("cost = cost", &schema()).unwrap().is_constant_true());
}

#[test]
fn results_have_the_declared_types() {
    let type_of = |text: &str| Expression::new(text, &schema()).unwrap().data_type().clone();
    assert_eq!(type_of("cost * 2"), DataType::Int64);
    assert_eq!(type_of("cost * 2.5"), DataType::Float64);
    assert_eq!(type_of("cast(cost as varchar)"), DataType::Utf8);
    assert_eq!(type_of("substr(ad_id, 2)"), DataType::Utf8);
    assert_eq!(type_of("'x'"), DataType::Utf8);
    assert_eq!(
        type_of("date_trunc('minute', click_timestamp)"),
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
    );
    assert!(!Expression::new("ad_id", &schema()).unwrap().nullable());
    assert!(Expression::new("country", &schema()).unwrap().nullable());
}

#[test]
fn functions_and_arithmetic() {
    assert_eq!(values("cost * 2 + 1", &plain()), ["11", "1", "", "15"]);
    assert_eq!(values("extract(hour from click_timestamp)", &plain()), ["0", "0", "0", "0"]);
    assert_eq!(
        values("date_trunc('minute', click_timestamp)", &plain()),
        ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z", "2022-03-04T00:00:00Z"]
    );
    assert_eq!(
        values("try_cast(\"clickTime\" as timestamp)", &plain()),
        ["2022-03-04T00:00:01", "", "", "1970-01-01T00:00:00"]
    );
    // Names are taken as written, quoted or not.
    assert_eq!(values("clickTime", &plain())[1], "x");
}

#[test]
fn columns_are_those_that_are_read_in_the_order_declared() {
    let expression = Expression::new("cost > 1 or (country = 'USA' and cost < 9)", &schema()).unwrap();
    assert_eq!(expression.columns().collect::<Vec<_>>(), ["country", "cost"]);
    assert_eq!(Expression::new("country", &schema()).unwrap().as_column(), Some("country"));
}

fn refusal(text: &str) -> ExpressionError {
    Expression::predicate(text, &schema()).expect_err(text)
}

#[test]
fn mistakes_are_placed_and_named() {
    let ExpressionError::Syntax { message, position } = refusal("country = 'USA' and = true") else {
        panic!("not a syntax error")
    };
    assert_eq!((position.line, position.column), (1, 21), "{message}");

    let ExpressionError::UnknownColumn { name, known, position } = refusal("cost > 0 and\n  contry = 'USA'") else {
        panic!("not an unknown column")
    };
    assert_eq!((name.as_str(), position), ("contry", Some(Position { line: 2, column: 3 })));
    assert!(known.contains(&"country".to_owned()));

    let error = refusal("lowr(country) = 'usa'");
    assert!(
        matches!(&error, ExpressionError::UnknownFunction { name, known, position: Some(Position { line: 1, column: 1 }) }
        if name == "lowr" && known.contains(&"lower".to_owned()))
    );
    assert_eq!(error.render("lowr(country) = 'usa'"), "there is no function `lowr`\n  lowr(country) = 'usa'\n  ^");
}

#[test]
fn type_errors_are_found_when_compiling() {
    for text in [
        "country",
        "cost + 1",
        "click_timestamp and true",
        "ad_id + true",
        "length(cost, cost) = 1",
        "not country = click_timestamp + 1",
    ] {
        let error = refusal(text);
        assert!(matches!(&error, ExpressionError::Type { message } if !message.is_empty()), "{text}: {error:?}");
        assert!(!error.to_string().contains("internal error"), "{error}");
    }
}

#[test]
fn what_has_no_meaning_for_a_row_is_refused() {
    for text in [
        "count(*) > 1",
        "exists (select 1)",
        "cost in (select 1)",
        "(select true)",
        "row_number() over () > 1",
        "now() > click_timestamp",
        "random() < 0.5",
        "current_timestamp > click_timestamp",
        "clicks.cost > 1",
        "cost = $1",
    ] {
        let error = refusal(text);
        assert!(matches!(error, ExpressionError::Unsupported { .. }), "{text}: {error:?}");
    }
}

#[test]
fn syntax_errors_are_refused() {
    for text in
        ["", "   ", "cost >", "cost = 'a", "(cost > 1", "cost > 1; drop table x", "cost > 1 as big", "select 1", "*"]
    {
        let error = refusal(text);
        assert!(!matches!(error, ExpressionError::UnknownColumn { .. }), "{text}: {error:?}");
    }
    assert!(matches!(refusal("cost >"), ExpressionError::Syntax { position: Position { line: 1, column: 7 }, .. }));
}

#[test]
fn what_is_too_long_or_too_deep_is_refused_before_it_exhausts_the_stack() {
    let deep = format!("{}true{}", "(".repeat(10_000), ")".repeat(10_000));
    refusal(&deep);
    let long = vec!["cost > 1"; 5_000].join(" or ");
    refusal(&long);
    let nots = format!("{} true", "not ".repeat(5_000));
    refusal(&nots);
    let longest = vec!["ad_id"; 100].join(" = 'a' or ") + " = 'a'";
    let longest = Expression::predicate(&longest, &schema()).unwrap();
    assert_eq!(longest.evaluate_predicate(&plain()).unwrap().true_count(), 0);
    let deepest = format!("{}ad_id{} = 'a'", "upper(".repeat(20), ")".repeat(20));
    Expression::predicate(&deepest, &schema()).unwrap();
    let list: Vec<String> = (0..1_000).map(|i| format!("'c{i}'")).collect();
    Expression::predicate(&format!("country in ({})", list.join(", ")), &schema()).unwrap();
}

#[test]
fn failures_on_values_say_what_would_avoid_them() {
    let division = Expression::new("10 / cost", &schema()).unwrap();
    let error = division.evaluate(&plain()).unwrap_err();
    assert!(error.message.contains("nullif"), "{error}");
    let conversion = Expression::new("cast(ad_id as int)", &schema()).unwrap();
    let error = conversion.evaluate(&plain()).unwrap_err();
    assert!(error.message.contains("try_cast"), "{error}");
    let format = Expression::new("to_char(click_timestamp, '%Q')", &schema()).unwrap();
    let error = format.evaluate(&plain()).unwrap_err();
    assert!(!error.message.contains("try_cast"), "{error}");
}

#[test]
fn a_batch_without_the_column_or_with_another_type_is_an_error() {
    let expression = Expression::new("cost + 1", &schema()).unwrap();
    let without = plain().project(&[0]).unwrap();
    assert!(expression.evaluate(&without).unwrap_err().message.contains("no column `cost`"));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let other = RecordBatch::try_from_iter([("cost", texts)]).unwrap();
    assert!(expression.evaluate(&other).unwrap_err().message.contains("declared as Int64, but came as Utf8"));
}

#[test]
fn dictionaries_are_not_decoded_by_comparisons() {
    let expression = Expression::predicate("country = 'USA' and ad_id <> ''", &schema()).unwrap();
    let compiled = expression.compiled_for(&[
        cast(&StringArray::from(vec!["a"]), &dictionary()).unwrap(),
        cast(&StringArray::from(vec!["USA"]), &dictionary()).unwrap(),
    ]);
    let plan = format!("{:?}", compiled.unwrap());
    assert!(!plan.contains("CastExpr"), "{plan}");
}

#[test]
fn empty_batches_and_empty_dictionaries() {
    let expression = Expression::predicate("country = 'USA'", &schema()).unwrap();
    let none: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter(Vec::<Option<&str>>::new()));
    let batch = RecordBatch::try_from_iter([("country", none)]).unwrap();
    assert_eq!(expression.evaluate_predicate(&batch).unwrap().len(), 0);
    let nulls: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter(vec![None::<&str>; 3]));
    let batch = RecordBatch::try_from_iter_with_nullable([("country", nulls, true)]).unwrap();
    assert_eq!(expression.evaluate_predicate(&batch).unwrap().true_count(), 0);
}

#[test]
fn aggregate_calls() {
    let call = |text: &str| AggregateCall::parse(text).unwrap();
    assert_eq!(call("count(*)"), AggregateCall::new(AggregateFunction::Count, None));
    assert_eq!(call("COUNT()").argument, None);
    assert_eq!(call("sum(cost * 2)").argument.as_deref(), Some("cost * 2"));
    assert_eq!(call("approx_distinct(user_id)").function, AggregateFunction::ApproxDistinct);
    let of = |function, argument: &str| AggregateCall::new(function, Some(argument.into()));
    let distinct = AggregateCall { distinct: true, ..of(AggregateFunction::Count, "a") };
    assert_eq!(call("count(distinct a)"), distinct);
    let filtered = AggregateCall { filter: Some("b > 1".into()), ..AggregateCall::new(AggregateFunction::Count, None) };
    assert_eq!(call("count(*) filter (where b > 1)"), filtered);
    let by = AggregateCall { by: Some("b + 1".into()), ..of(AggregateFunction::MaxBy, "a") };
    assert_eq!((call("max_by(a, b + 1)"), call("arg_max(a, b + 1)")), (by.clone(), by));
    let part = AggregateCall { parameter: Some(0.95), ..of(AggregateFunction::PercentileCont, "a * 2") };
    assert_eq!(call("percentile_cont(a * 2, 0.95)"), part);
    assert_eq!(call("percentile_cont(0.95) within group (order by a * 2)"), part);
    assert_eq!(call("median(a)").parameter, Some(0.5));
    assert_eq!((call("array_agg(a)").parameter, call("array_agg(a, 10)").parameter), (None, Some(10.0)));
    assert_eq!(
        (call("last(a)").function, call("MEAN(a)").function),
        (AggregateFunction::LastValue, AggregateFunction::Avg)
    );
    for text in ["count(*)", "median(a)", "array_agg(distinct a, 5)", "corr(a, b) filter (where a > 0)"] {
        assert_eq!(call(text).to_string(), text);
    }
    for text in [
        "sum(distinct a)",
        "count(distinct *)",
        "count(a, b)",
        "count(*, a)",
        "corr(a)",
        "max_by(a, b, c)",
        "percentile_cont(a)",
        "percentile_cont(a, 1.5)",
        "percentile_cont(a, -0.5)",
        "percentile_cont(a, b)",
        "percentile_cont(0.5) within group (order by a desc)",
        "median(0.5) within group (order by a)",
        "array_agg(a, 0)",
        "array_agg(a, 1.5)",
        "array_agg(a, 1000000)",
        "array_agg(a order by b)",
        "first_value(a) ignore nulls",
        "mode(a)",
        "sum(*)",
        "sum()",
        "sum(a, b)",
        "sum(a) / 2",
        "a",
        "count(*) over ()",
        "sum(a) as b",
        "",
    ] {
        assert!(AggregateCall::parse(text).is_err(), "{text}");
    }
    assert!(AggregateCall::parse("smu(a)").unwrap_err().candidates().unwrap().1.contains(&"sum".to_owned()));
}

#[test]
fn every_aggregate_is_called_as_it_says() {
    let mut names = std::collections::BTreeSet::new();
    for function in AggregateFunction::all() {
        assert_eq!(AggregateCall::parse(function.call()).unwrap().function, function, "{function}");
        assert!(function.names().iter().all(|name| names.insert(*name)), "{function}: a name twice");
        let json = serde_json_name(function);
        assert_eq!(AggregateFunction::of_name(&json), Some(function), "its name in a graph is the one in a definition");
    }
}

/// The word for it in a graph.
fn serde_json_name(function: AggregateFunction) -> String {
    let mut name = String::new();
    for letter in format!("{function:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[test]
fn select_items() {
    assert_eq!(parse_select_item("ad_id").unwrap(), ("ad_id".into(), Some("ad_id".into())));
    assert_eq!(
        parse_select_item("window_start as click_minute").unwrap(),
        ("window_start".into(), Some("click_minute".into()))
    );
    assert_eq!(parse_select_item("cost * 2").unwrap(), ("cost * 2".into(), None));
    assert!(parse_select_item("a as").is_err());
    assert!(parse_select_item("a as b c").is_err());
}

#[test]
fn a_row_is_refused_if_it_fails_alone_whatever_batch_it_is_in() {
    let schema = Schema::new(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Int64, true)]);
    let numbers = |of: fn(i64) -> Option<i64>| Arc::new((0..40).map(of).collect::<Int64Array>()) as ArrayRef;
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("x", numbers(|row| (row % 7 > 0).then_some(row)), true),
        ("y", numbers(|row| (row % 5 > 0).then_some(row % 3)), true),
    ])
    .unwrap();
    for text in [
        "x / y > 2",
        "y <> 0 and x / y > 2",
        "x < 30 and x / y > 2",
        "x > 38 and x / y > 2",
        "y = 0 or x / y > 2",
        "case when y = 0 then x > 5 else x / y > 2 end",
        "x * 9223372036854775807 > y",
        "coalesce(y, x / (x - 9)) > 0",
        "x > 0",
    ] {
        let expression = Expression::predicate(text, &schema).unwrap();
        let evaluate =
            |rows: &RecordBatch| expression.evaluate_predicate(rows).map(|mask| vec![Arc::new(mask) as ArrayRef]);
        let evaluated = evaluate_rows(&batch, evaluate).unwrap();
        let alone: Vec<_> = (0..batch.num_rows()).map(|row| evaluate(&batch.slice(row, 1))).collect();
        let fails = |row: &usize| alone[*row].is_err();
        let refused: Vec<usize> = evaluated.refused.iter().map(|refused| refused.row).collect();
        assert_eq!(refused, (0..alone.len()).filter(fails).collect::<Vec<_>>(), "{text}");
        let kept = evaluated.kept(alone.len()).map_or(alone.len(), |kept| kept.true_count());
        let values = evaluated.columns().unwrap().unwrap()[0].as_boolean().iter().collect::<Vec<_>>();
        let expected: Vec<Option<bool>> =
            alone.iter().flatten().map(|mask| Some(mask[0].as_boolean().value(0))).collect();
        assert_eq!((values, kept), (expected.clone(), expected.len()), "{text}");
    }
    let constant = Expression::new("x / 0", &schema).unwrap();
    let all = evaluate_rows(&batch.slice(1, 3), |rows| constant.evaluate(rows)).unwrap();
    assert_eq!((all.refused.len(), all.pieces.len()), (3, 0));
}

/// Texts that each have room in a column, and not together, come in several pieces. Nobody reads or copies the large ones.
#[test]
fn what_has_no_room_in_one_column_comes_in_several() {
    let text = |bytes: i32| -> ArrayRef {
        let offsets = OffsetBuffer::new(vec![0, bytes].into());
        Arc::new(BinaryArray::try_new(offsets, Buffer::from(vec![0; bytes as usize]), None).unwrap())
    };
    let lengths = |pieces: &[i32]| {
        let pieces = pieces.iter().map(|bytes| vec![text(*bytes), text(1)]).collect();
        let batches = EvaluatedRows { pieces, refused: Vec::new() }.batches().unwrap();
        batches.iter().map(|columns| columns.iter().map(|column| column.len()).collect()).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(lengths(&[1, 2, i32::MAX, 3]), [[2, 2], [1, 1], [1, 1]]);
    assert_eq!(lengths(&[1 << 30, 1 << 30]), [[1, 1], [1, 1]]);
    assert_eq!(lengths(&[1, 2, 3]), [[3, 3]]);
    assert_eq!(lengths(&[7]), [[1, 1]]);
    assert!(lengths(&[]).is_empty());
}

/// A dictionary holds texts of other rows, too: of its whole file, or of a batch that rows were taken out of.
#[test]
fn texts_that_are_in_no_row_have_no_say() {
    let schema = Schema::new(vec![Field::new("code", DataType::Utf8, true)]);
    let codes = DictionaryArray::<Int32Type>::from_iter([Some("1"), Some("x"), Some("22"), None]);
    let batch = RecordBatch::try_from_iter_with_nullable([("code", Arc::new(codes) as ArrayRef, true)]).unwrap();
    let expression = Expression::new("cast(code as bigint)", &schema).unwrap();
    let evaluate = |rows: &RecordBatch| expression.evaluate(rows).map(|column| vec![column]);
    for (from, rows, refused, values) in [
        (0, 4, vec![1], vec![Some(1), Some(22), None]),
        (2, 2, vec![], vec![Some(22), None]),
        (1, 1, vec![0], vec![]),
        (0, 0, vec![], vec![]),
    ] {
        let evaluated = evaluate_rows(&batch.slice(from, rows), evaluate).unwrap();
        assert_eq!(evaluated.refused.iter().map(|refused| refused.row).collect::<Vec<_>>(), refused);
        let columns = evaluated.columns().unwrap();
        let found =
            columns.iter().flat_map(|columns| columns[0].as_primitive::<Int64Type>().iter()).collect::<Vec<_>>();
        assert_eq!(found, values);
    }
}

proptest! {
    /// Whatever the text: an expression or an error, never a panic; and what compiles has no bad effects when run.
    #[test]
    fn any_text_is_compiled_or_refused(words in proptest::collection::vec(prop_oneof![
        Just("ad_id"), Just("cost"), Just("country"), Just("click_timestamp"), Just("'USA'"), Just("1"), Just("0.5"),
        Just("null"), Just("true"), Just("="), Just("<>"), Just("+"), Just("*"), Just("/"), Just("and"), Just("or"),
        Just("not"), Just("("), Just(")"), Just(","), Just("is"), Just("in"), Just("like"), Just("between"),
        Just("upper"), Just("length"), Just("case"), Just("when"), Just("then"), Just("else"), Just("end"),
        Just("cast"), Just("as"), Just("int"), Just("date_trunc"), Just("'minute'"), Just("interval"), Just("coalesce"),
        Just("extract"), Just("from"), Just("hour"), Just("::"), Just("||"), Just("\""), Just("-"), Just("é"),
    ], 0..12)) {
        let text = words.join(" ");
        if let Ok(expression) = Expression::new(&text, &schema()) {
            let plain = expression.evaluate(&plain());
            let encoded = expression.evaluate(&batch(&dictionary(), &dictionary()));
            prop_assert_eq!(plain.is_ok(), encoded.is_ok(), "{}: {:?} {:?}", text, plain, encoded);
            if let (Ok(a), Ok(b)) = (plain, encoded) {
                for i in 0..4 {
                    prop_assert_eq!(array_value_to_string(&a, i).unwrap(), array_value_to_string(&b, i).unwrap());
                }
            }
        }
    }

    #[test]
    fn arbitrary_characters_are_no_panic(text in ".{0,60}") {
        let _ = Expression::new(&text, &schema()).map_err(|error| error.render(&text));
        let _ = AggregateCall::parse(&text);
        let _ = parse_select_item(&text);
    }
}
