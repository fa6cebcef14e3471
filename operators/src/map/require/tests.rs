//! What is required of rows: which become dead letters, and of which reason.

use crate::{
    map::{Map, MapConfig, ResultRows, SelectItem},
    ports,
    schema::ColumnSchema,
};
use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, StringArray},
    datatypes::{Int32Type, Int64Type},
};
use proptest::prelude::*;
use std::sync::Arc;
use weir_engine::{
    element::{Batch, Port},
    operator::OperatorContext,
    testing::OperatorHarness,
};

fn events(rows: &[(Option<&str>, Option<i64>)]) -> Batch {
    let kinds: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0)));
    let ages: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)));
    Batch::new(RecordBatch::try_from_iter_with_nullable([("kind", kinds, true), ("age", ages, true)]).unwrap())
}

fn config(input: &Batch, condition: Option<&str>, require: &[(&str, &str)]) -> MapConfig {
    let item =
        |(name, expression): &(&str, &str)| SelectItem { name: (*name).into(), expression: (*expression).into() };
    MapConfig {
        input: ColumnSchema::from(input.columns.schema_ref().as_ref()),
        condition: condition.map(Into::into),
        require: require.iter().map(item).collect(),
        select: None,
        results: None,
        table: None,
        splits_running: false,
    }
}

/// The ages of what is kept; reasons and rows of the dead letters, sorted; how many were filtered out.
fn after(config: &MapConfig, batch: Batch) -> (Vec<Option<i64>>, Vec<(String, String)>, u64) {
    let context = OperatorContext::single("job", "map.valid");
    let mut map = OperatorHarness::new(Box::new(Map::new(config, &context).unwrap()));
    let (mut kept, mut letters) = (Vec::new(), Vec::new());
    for (port, batch) in map.process(batch).unwrap() {
        if port == Port::MAIN {
            let ages = batch.columns.column_by_name("age").unwrap();
            kept.extend(ages.as_primitive::<Int64Type>().iter());
            continue;
        }
        assert_eq!(port, ports::DEAD_LETTERS);
        let text = |column: usize, row| batch.columns.column(column).as_string::<i32>().value(row).to_owned();
        letters.extend((0..batch.len()).map(|row| (text(3, row), text(4, row))));
    }
    letters.sort();
    assert_eq!(context.counters.values()["dead_letters"], letters.len() as u64);
    (kept, letters, context.counters.counter("filtered_out").get())
}

const KNOWN: (&str, &str) = ("unknown kind", "kind in ('click', 'impression')");
const YOUNG: (&str, &str) = ("too old", "age < 10");

#[test]
fn a_row_is_a_dead_letter_for_the_first_thing_that_it_does_not_meet() {
    let rows = events(&[
        (Some("click"), Some(1)),
        (Some("bid"), Some(99)),
        (Some("impression"), Some(50)),
        (None, Some(2)),
        (Some("click"), None),
        (Some("impression"), Some(9)),
    ]);
    let (kept, letters, filtered) = after(&config(&rows, None, &[KNOWN, YOUNG]), rows);
    assert_eq!(kept, [Some(1), Some(9)]);
    let letter = |reason: &str, row: &str| (reason.to_owned(), row.to_owned());
    let expected = [
        letter("too old", r#"{"kind":"click","age":null}"#),
        letter("too old", r#"{"kind":"impression","age":50}"#),
        letter("unknown kind", r#"{"kind":"bid","age":99}"#),
        letter("unknown kind", r#"{"kind":null,"age":2}"#),
    ];
    assert_eq!((letters, filtered), (expected.to_vec(), 0));
}

#[test]
fn what_is_filtered_out_need_not_meet_anything() {
    let rows = events(&[(Some("click"), Some(1)), (Some("bid"), Some(99)), (Some("click"), Some(99))]);
    let (kept, letters, filtered) = after(&config(&rows, Some("kind = 'click'"), &[YOUNG]), rows);
    assert_eq!((kept, letters.len(), filtered), (vec![Some(1)], 1, 1));
}

#[test]
fn a_condition_that_fails_says_which_and_later_ones_rely_on_earlier_ones() {
    let rows = events(&[(Some("click"), Some(0)), (Some("click"), Some(4))]);
    let (kept, letters, _) = after(&config(&rows, None, &[("odd", "12 / age > 2")]), rows.clone());
    assert_eq!(kept, [Some(4)]);
    assert!(letters[0].0.starts_with("require.odd: expression `12 / age > 2`: Divide by zero"), "{letters:?}");
    let relying = [("no age", "age <> 0"), ("odd", "12 / age > 2")];
    let (_, letters, _) = after(&config(&rows, None, &relying), rows);
    assert_eq!(letters[0].0, "no age");
}

/// Results as (record, revision, value), withdrawn without one.
fn results(rows: &[(u8, i32, Option<i64>)]) -> Batch {
    let ids = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|row| [row.0; 16])).unwrap();
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("record_id", Arc::new(ids), false),
        ("age", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2))), true),
        ("revision", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.1))), false),
        ("withdrawn", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.2.is_none())))), false),
    ];
    Batch::new(RecordBatch::try_from_iter_with_nullable(columns).unwrap())
}

#[test]
fn a_correction_that_does_not_meet_it_withdraws_what_it_corrects() {
    let rows = results(&[(1, 0, Some(5)), (1, 1, Some(50)), (2, 0, Some(50)), (3, 1, None)]);
    let known = Some(ResultRows { fixed: vec!["record_id".into()], running: false });
    let config = MapConfig { results: known, ..config(&rows, None, &[YOUNG]) };
    let context = OperatorContext::single("job", "map.valid");
    let mut map = OperatorHarness::new(Box::new(Map::new(&config, &context).unwrap()));
    let (mut kept, mut dead) = (Vec::new(), 0);
    for (port, batch) in map.process(rows).unwrap() {
        if port == ports::DEAD_LETTERS {
            dead += batch.len();
            continue;
        }
        let of = |name: &str| batch.columns.column_by_name(name).unwrap();
        let (ids, revisions) = (of("record_id").as_fixed_size_binary(), of("revision").as_primitive::<Int32Type>());
        let ages = of("age").as_primitive::<Int64Type>();
        kept.extend(
            (0..batch.len()).map(|row| (ids.value(row)[0], revisions.value(row), ages.iter().nth(row).unwrap())),
        );
    }
    kept.sort_unstable();
    assert_eq!((kept, dead), (vec![(1, 0, Some(5)), (1, 1, None), (3, 1, None)], 2));
}

proptest! {
    /// Row by row, in the words of the documentation.
    #[test]
    fn every_row_is_kept_or_a_dead_letter(ages in prop::collection::vec(prop::option::of(-3i64..4), 0..40)) {
        let rows: Vec<(Option<&str>, Option<i64>)> = ages.iter().map(|age| (Some("click"), *age)).collect();
        let rows = events(&rows);
        let rules = [("not small", "age <= 2"), ("not one of six", "6 / age >= -6")];
        let (kept, letters, _) = after(&config(&rows, None, &rules), rows);
        let meets = |age: &Option<i64>| age.is_some_and(|age| age <= 2 && age != 0);
        prop_assert_eq!(kept, ages.iter().filter(|age| meets(age)).copied().collect::<Vec<_>>());
        let small = letters.iter().filter(|(reason, _)| reason == "not small").count();
        prop_assert_eq!(small, ages.iter().filter(|age| age.is_none_or(|age| age > 2)).count());
        let divided = letters.iter().filter(|(reason, _)| reason.starts_with("require.not one of six")).count();
        prop_assert_eq!(divided, ages.iter().filter(|age| **age == Some(0)).count());
    }
}
