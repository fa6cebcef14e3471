//! The join against a recount of all pairs of rows.

mod recount;
mod state;

use super::*;
use crate::columns::{RECORD_ID, REVISION, WITHDRAWN};
use crate::event_time::event_time_type;
use crate::schema::{Column, ColumnSchema};
use crate::testing::{Emitted, Subtasks};
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMillisecondArray},
    datatypes::{DataType, Int32Type, Int64Type, TimestampMillisecondType},
};
use std::{collections::BTreeMap, sync::Arc};

/// A row of either side: its user, a value, its time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    user: Option<u8>,
    value: Option<i64>,
    at: i64,
}

fn row(user: u8, value: i64, at: i64) -> Row {
    Row { user: Some(user), value: Some(value), at }
}

fn config(matching: Match, before_ms: i64, after_ms: i64, allowed_lateness_ms: i64) -> JoinConfig {
    let column = |name: &str, data_type| Column { name: name.to_owned(), data_type, nullable: true };
    let input = |user: &str, value: &str, time: &str| JoinInput {
        on: vec![user.to_owned()],
        time_column: time.to_owned(),
        kept: ColumnSchema { columns: vec![column(user, DataType::Utf8), column(value, DataType::Int64)] },
    };
    let item = |name: &str, side, column: &str| JoinColumn { name: name.into(), side, column: column.into() };
    JoinConfig {
        left: input("user", "order", "ordered"),
        right: input("visitor", "ad", "clicked"),
        before_ms,
        after_ms,
        allowed_lateness_ms,
        matching,
        select: vec![
            item("user", Side::Left, "user"),
            item("order", Side::Left, "order"),
            item("ordered", Side::Left, "ordered"),
            item("ad", Side::Right, "ad"),
            item("clicked", Side::Right, "clicked"),
        ],
    }
}

fn batch(side: Side, rows: &[Row]) -> RecordBatch {
    let names = match side {
        Side::Left => ["user", "order", "ordered"],
        Side::Right => ["visitor", "ad", "clicked"],
    };
    let users = StringArray::from_iter(rows.iter().map(|row| row.user.map(|user| format!("u{user}"))));
    // A column that nobody has selected, and what comes may be a dictionary.
    let text = arrow::compute::cast(&users, &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)));
    let columns: [(&str, ArrayRef); 4] = [
        (names[1], Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.value)))),
        ("more", Arc::new(Int64Array::from_iter_values((0..rows.len()).map(|row| row as i64)))),
        (names[0], text.unwrap()),
        (
            names[2],
            Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.at)).with_timezone("UTC")),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn subtasks(config: &JoinConfig) -> Subtasks {
    let config = config.clone();
    Subtasks::of_inputs(&[&["user"], &["visitor"]], move |context| {
        Box::new(Join::new(config.clone(), context).unwrap())
    })
}

/// A result as it is read: the left row, and the right one's value and time if it has a match.
type Read = (Row, Option<(Option<i64>, i64)>);

/// What a reader of both ports has, by record.
#[derive(Debug, Default)]
struct Reader {
    matched: BTreeMap<Vec<u8>, (i32, Option<Read>)>,
    unmatched: BTreeMap<Vec<u8>, (i32, Option<Read>)>,
}

impl Reader {
    fn read(&mut self, out: Emitted) {
        for (port, batch) in out {
            let into = match port {
                Port::MAIN => &mut self.matched,
                ports::UNMATCHED => &mut self.unmatched,
                other => panic!("rows on the port {other}"),
            };
            for (id, revision, result) in results(&batch.columns) {
                let before = into.insert(id, (revision, result));
                let before = before.map_or(-1, |before| before.0);
                assert!(before < revision, "revisions rise, and none comes twice: {before}, {revision}");
            }
        }
        let ids = self.matched.keys().filter(|id| self.unmatched.contains_key(*id)).count();
        assert_eq!(ids, 0, "matched and unmatched results can flow together");
    }

    /// What holds in the end, sorted.
    fn holds(&self) -> (Vec<Read>, Vec<Read>) {
        let of = |records: &BTreeMap<Vec<u8>, (i32, Option<Read>)>| {
            let mut held: Vec<Read> = records.values().filter_map(|(_, result)| result.clone()).collect();
            held.sort();
            held
        };
        (of(&self.matched), of(&self.unmatched))
    }
}

/// The record, the revision and the result of each row; none: withdrawn.
fn results(rows: &RecordBatch) -> Vec<(Vec<u8>, i32, Option<Read>)> {
    let column = |name: &str| rows.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
    let time = |name: &str, row| {
        let times = column(name).as_primitive::<TimestampMillisecondType>();
        times.is_valid(row).then(|| times.value(row))
    };
    let int = |name: &str, row| {
        let values = column(name).as_primitive::<Int64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    let user = |row| {
        let users = column("user").as_string::<i32>();
        users.is_valid(row).then(|| users.value(row)[1..].parse().unwrap())
    };
    assert_eq!(column("ordered").data_type(), &event_time_type());
    let read = |row| {
        let left = Row { user: user(row), value: int("order", row), at: time("ordered", row).unwrap() };
        let right = time("clicked", row).map(|at| (int("ad", row), at));
        let withdrawn = column(WITHDRAWN).as_boolean().value(row);
        let id = column(RECORD_ID).as_fixed_size_binary().value(row).to_vec();
        (id, column(REVISION).as_primitive::<Int32Type>().value(row), (!withdrawn).then_some((left, right)))
    };
    (0..rows.num_rows()).map(read).collect()
}
