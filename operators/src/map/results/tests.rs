//! Maps of results against the rule that they keep: what holds in the end is what a map of the last rows alone would keep.

use super::*;
use crate::{
    map::{Map, MapConfig, SelectItem},
    ports,
    schema::ColumnSchema,
    sink::sql::{Dialect, TableRule},
};
use arrow::{
    array::{FixedSizeBinaryArray, Int32Array, Int64Array, StringArray},
    datatypes::{DataType, Int64Type},
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use weir_engine::{element::Port, operator::OperatorContext, testing::OperatorHarness};

/// A result: record, revision, count; without a count, that it holds no longer.
type Row = (u8, i32, Option<i64>);

fn batch(rows: &[Row]) -> Batch {
    let ids = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|row| [row.0; 16])).unwrap();
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("record_id", Arc::new(ids), false),
        ("ad", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("ad{}", row.0)))), true),
        ("n", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2))), true),
        ("revision", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.1))), false),
        ("withdrawn", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.2.is_none())))), false),
    ];
    Batch::new(RecordBatch::try_from_iter_with_nullable(columns).unwrap())
}

fn config(condition: Option<&str>, select: &[(&str, &str)], running: bool) -> MapConfig {
    let item =
        |(name, expression): &(&str, &str)| SelectItem { name: (*name).into(), expression: (*expression).into() };
    let fixed = vec!["record_id".into(), "ad".into()];
    MapConfig {
        input: ColumnSchema::from(batch(&[(0, 0, None)]).columns.schema_ref().as_ref()),
        condition: condition.map(Into::into),
        require: vec![],
        select: (!select.is_empty()).then(|| select.iter().map(item).collect()),
        results: Some(ResultRows { fixed, running }),
        table: None,
        splits_running: false,
    }
}

/// The same with running counts that have a port of their own.
fn splitting(config: MapConfig) -> MapConfig {
    MapConfig { splits_running: true, ..config }
}

fn map(config: &MapConfig) -> OperatorHarness {
    OperatorHarness::new(Box::new(Map::new(config, &OperatorContext::single("job", "map.m")).unwrap()))
}

/// What goes on as (record, revision, value), and how many dead letters there are.
fn after(config: &MapConfig, column: &str, batches: &[&[Row]]) -> (Vec<Row>, usize) {
    let (rows, dead) = on_ports(config, column, batches);
    (rows.into_iter().map(|(_, row)| row).collect(), dead)
}

/// The same with the port of each row.
fn on_ports(config: &MapConfig, column: &str, batches: &[&[Row]]) -> (Vec<(Port, Row)>, usize) {
    let (mut rows, mut dead, mut schemas) = (Vec::new(), 0, Vec::new());
    let mut map = map(config);
    for given in batches {
        for (port, out) in map.process(batch(given)).unwrap() {
            if port == ports::DEAD_LETTERS {
                dead += out.len();
                continue;
            }
            schemas.push(out.columns.schema());
            let of = |name: &str| out.columns.column_by_name(name).unwrap();
            let (ids, values) = (of("record_id").as_fixed_size_binary(), of(column).as_primitive::<Int64Type>());
            for row in 0..out.len() {
                let value = values.is_valid(row).then(|| values.value(row));
                assert_eq!(of("withdrawn").as_boolean().value(row), value.is_none());
                rows.push((port, (ids.value(row)[0], of("revision").as_primitive::<Int32Type>().value(row), value)));
            }
        }
    }
    assert!(schemas.windows(2).all(|pair| pair[0] == pair[1]), "one schema, whatever goes on: {schemas:?}");
    (rows, dead)
}

#[test]
fn a_correction_that_refutes_withdraws() {
    let large = config(Some("n > 3"), &[], false);
    let rows: &[Row] =
        &[(1, 0, Some(5)), (2, 0, Some(2)), (1, 1, Some(2)), (2, 1, Some(1)), (1, 2, Some(4)), (3, 1, None)];
    let (kept, dead) = after(&large, "n", &[rows]);
    assert_eq!((kept, dead), (vec![(1, 0, Some(5)), (1, 2, Some(4)), (1, 1, None), (2, 1, None), (3, 1, None)], 0));
}

#[test]
fn with_running_counts_a_first_result_may_have_others_before_it() {
    let rows: &[Row] = &[(1, i32::MIN + 2, Some(5)), (1, 0, Some(1))];
    let (kept, _) = after(&config(Some("12 / n < 4"), &[], true), "n", &[rows]);
    assert_eq!(kept, [(1, i32::MIN + 2, Some(5)), (1, 0, None)]);
}

#[test]
fn readers_of_results_alone_hear_of_nothing_that_only_others_have_seen() {
    let (main, running) = (Port::MAIN, ports::RUNNING);
    let large = splitting(config(Some("n > 3"), &[], true));
    let early = i32::MIN + 1;
    let rows: &[Row] = &[(1, early, Some(5)), (2, early, Some(5)), (1, 0, Some(2)), (2, 0, Some(6)), (1, 1, Some(3))];
    let (kept, _) = on_ports(&large, "n", &[rows]);
    let expected = [
        (main, (2, 0, Some(6))),
        (running, (1, early, Some(5))),
        (running, (2, early, Some(5))),
        (main, (1, 1, None)),
        (running, (1, 0, None)),
    ];
    assert_eq!(kept, expected);
    // Without anything to withdraw they are told apart all the same.
    let all = MapConfig { results: None, ..splitting(config(None, &[], true)) };
    let (kept, _) = on_ports(&all, "n", &[rows]);
    assert_eq!(kept.iter().filter(|(port, _)| *port == running).count(), 2);
}

#[test]
fn what_fails_is_a_dead_letter_and_withdrawn() {
    let select = [
        ("record_id", "record_id"),
        ("ad", "upper(ad)"),
        ("x", "12 / n"),
        ("revision", "revision"),
        ("withdrawn", "withdrawn"),
    ];
    let failing = config(None, &select, false);
    let (kept, dead) =
        after(&failing, "x", &[&[(1, 0, Some(3)), (2, 0, Some(0))], &[(1, 1, Some(0)), (2, 1, Some(6))]]);
    assert_eq!((kept, dead), (vec![(1, 0, Some(4)), (2, 1, Some(2)), (1, 1, None)], 2));
    // What follows from the key stays with what is withdrawn.
    let out = map(&failing).process(batch(&[(1, 1, None)])).unwrap();
    assert_eq!(out[0].1.columns.column_by_name("ad").unwrap().as_string::<i32>().value(0), "AD1");
}

#[test]
fn a_table_hears_nothing_of_what_it_could_never_take() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = |needed: &[&str]| TableRule {
        table: "t".into(),
        dialect: Dialect::Sqlite,
        needed: names(needed),
        key: names(needed),
        indexes: vec![],
    };
    let rows: &[Row] = &[(1, 0, Some(5)), (1, 1, None), (2, 1, None)];
    let table = |needed: &[&str]| MapConfig { table: Some(rule(needed)), ..config(None, &[], false) };
    // Withdrawn rows have a null in `n` here.
    assert_eq!(after(&table(&["n"]), "n", &[rows]), (vec![(1, 0, Some(5))], 0));
    assert_eq!(after(&table(&["ad"]), "n", &[rows]), (rows.to_vec(), 0));
    // A correction without a key is a dead letter, and what it corrects was one, too.
    let mut columns = batch(&[(1, 1, Some(5)), (2, 1, Some(6))]).columns;
    let ads: ArrayRef = Arc::new(StringArray::from(vec![None, Some("ad2")]));
    let mut all = columns.columns().to_vec();
    all[1] = ads;
    columns = RecordBatch::try_new(columns.schema(), all).unwrap();
    let out = map(&table(&["ad"])).process(Batch::new(columns)).unwrap();
    let rows_on =
        |port: Port| out.iter().filter(|(found, _)| *found == port).map(|(_, batch)| batch.len()).sum::<usize>();
    assert_eq!((rows_on(Port::MAIN), rows_on(ports::DEAD_LETTERS)), (1, 1));
}

#[test]
fn a_condition_on_the_key_withdraws_nothing_that_it_never_let_through() {
    let (kept, _) = after(
        &config(Some("ad = 'ad1'"), &[], false),
        "n",
        &[&[(1, 0, Some(5)), (2, 0, Some(5)), (1, 1, Some(6)), (2, 1, Some(6)), (1, 2, None), (2, 2, None)]],
    );
    assert_eq!(kept, [(1, 0, Some(5)), (1, 1, Some(6)), (1, 2, None)]);
    // A record for which what follows from the key fails has never gone on, and is not withdrawn either.
    let select = [
        ("record_id", "record_id"),
        ("k", "12 / (length(ad) - 3)"),
        ("n", "n"),
        ("revision", "revision"),
        ("withdrawn", "withdrawn"),
    ];
    let (kept, dead) = after(&config(None, &select, false), "n", &[&[(1, 0, Some(5)), (1, 1, Some(6)), (1, 2, None)]]);
    assert_eq!((kept, dead), (vec![], 2));
}

#[test]
fn results_that_are_left_out_are_no_events() {
    let context = OperatorContext::single("job", "map.m");
    let mut map = OperatorHarness::new(Box::new(Map::new(&config(Some("n > 3"), &[], false), &context).unwrap()));
    map.process(batch(&[(1, 0, Some(1)), (1, 1, Some(2))])).unwrap();
    assert_eq!(context.counters.counter("filtered_out").get(), 0);
    assert_eq!(context.counters.counter("results_left_out").get(), 2);
}

#[test]
fn types_come_as_they_are_declared() {
    let declared = config(Some("n > 3"), &[], false).input;
    let out = map(&config(Some("n > 3"), &[], false)).process(batch(&[(1, 1, Some(1))])).unwrap();
    for (found, declared) in out[0].1.columns.schema().fields().iter().zip(&declared.columns) {
        assert_eq!((found.name(), found.data_type()), (&declared.name, &declared.data_type));
    }
    assert_eq!(declared.columns[2].data_type, DataType::Int64);
}

/// The rows of the highest revisions that hold.
fn holding(rows: &[Row]) -> BTreeMap<u8, i64> {
    let mut newest: BTreeMap<u8, (i32, Option<i64>)> = BTreeMap::new();
    for (record, revision, value) in rows {
        let held = newest.entry(*record).or_insert((*revision, *value));
        if *revision >= held.0 {
            *held = (*revision, *value);
        }
    }
    newest.into_iter().filter_map(|(record, (_, value))| Some((record, value?))).collect()
}

proptest! {
    #[test]
    fn what_holds_in_the_end_depends_on_the_last_rows_alone(
        values in prop::collection::vec((0u8..6, prop::option::weighted(0.8, -3i64..6)), 0..60),
        cuts in prop::collection::vec(1usize..9, 1..30),
        running in any::<bool>(),
    ) {
        let mut revisions: BTreeMap<u8, i32> = BTreeMap::new();
        let mut rows: Vec<Row> = Vec::new();
        for (record, value) in values {
            let next = revisions.entry(record).and_modify(|revision| *revision += 1).or_insert(if running { -2 } else { 0 });
            // What was never there is not withdrawn.
            let value = if *next == 0 && !running { value.or(Some(0)) } else { value };
            rows.push((record, *next, value));
        }
        let mut batches: Vec<&[Row]> = Vec::new();
        let (mut rest, mut cuts) = (rows.as_slice(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            batches.push(batch);
            rest = after;
        }
        let select = [("record_id", "record_id"), ("n", "12 / n"), ("revision", "revision"), ("withdrawn", "withdrawn")];
        let (kept, _) = after(&config(Some("n <> 2 or n is null"), &select, running), "n", &batches);
        let expected: BTreeMap<u8, i64> =
            holding(&rows).into_iter().filter(|(_, n)| *n != 2 && *n != 0).map(|(record, n)| (record, 12 / n)).collect();
        prop_assert_eq!(holding(&kept), expected.clone());
        // Readers of both ports see the same; readers of results alone, what holds of results alone.
        let split = splitting(config(Some("n <> 2 or n is null"), &select, running));
        let (kept, _) = on_ports(&split, "n", &batches);
        let of = |wanted: fn(Port) -> bool| -> Vec<Row> {
            kept.iter().filter(|(port, _)| wanted(*port)).map(|(_, row)| *row).collect()
        };
        prop_assert_eq!(holding(&of(|_| true)), expected);
        let results: Vec<Row> = rows.iter().copied().filter(|(_, revision, _)| *revision >= 0).collect();
        let expected: BTreeMap<u8, i64> =
            holding(&results).into_iter().filter(|(_, n)| *n != 2 && *n != 0).map(|(record, n)| (record, 12 / n)).collect();
        prop_assert_eq!(holding(&of(|port| port == Port::MAIN)), expected);
    }
}
