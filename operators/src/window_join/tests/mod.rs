//! The join of results against a recount of all pairs of the results that hold.

mod recount;
mod state;

use super::*;
use crate::columns::{RECORD_ID, REVISION, WINDOW_END, WITHDRAWN};
use crate::event_time::event_time_type;
use crate::join::Side;
use crate::schema::{Column, ColumnSchema};
use crate::table::hash_column;
use crate::testing::{Emitted, Subtasks};
use crate::window::{WindowRule, WindowSpec};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMillisecondArray},
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimestampMillisecondType},
};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::element::Port;

const MINUTE: i64 = 60_000;
const LATENESS: i64 = 12;

/// A row of a result of either side: its ad, what else is in its key, the end of its window in minutes, its revision, and its value;
/// none: withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    ad: Option<u8>,
    more: u8,
    end: i64,
    revision: i32,
    value: Option<i64>,
}

/// The names of a side's columns: those of `on`, of the rest of the key, and of the value.
fn names(side: Side) -> [&'static str; 3] {
    match side {
        Side::Left => ["ad", "page", "clicks"],
        Side::Right => ["shown", "site", "views"],
    }
}

fn config(join_type: JoinType, window: WindowSpec, single: [bool; 2]) -> WindowJoinConfig {
    let column = |name: &str, data_type| Column { name: name.to_owned(), data_type, nullable: true };
    let input = |side: Side| {
        let [ad, more, value] = names(side);
        let columns = vec![column(ad, DataType::Utf8), column(more, DataType::Int64), column(value, DataType::Int64)];
        let is_single = single[side as usize];
        WindowJoinInput { on: vec![ad.to_owned()], is_single, kept: ColumnSchema { columns } }
    };
    let item = |name: &str, side: Side, column: &str, is_fixed: bool| WindowJoinColumn {
        name: name.into(),
        side,
        column: column.into(),
        is_fixed,
    };
    WindowJoinConfig {
        left: input(Side::Left),
        right: input(Side::Right),
        join_type,
        windows: WindowRule::of(window, LATENESS * MINUTE),
        select: vec![
            item("ad", Side::Right, "shown", true),
            item("page", Side::Left, "page", !single[0]),
            item("site", Side::Right, "site", !single[1]),
            item("clicks", Side::Left, "clicks", false),
            item("views", Side::Right, "views", false),
        ],
    }
}

fn tumbling() -> WindowSpec {
    WindowSpec::Tumbling { size_ms: 5 * MINUTE }
}

fn batch(side: Side, rows: &[Row]) -> RecordBatch {
    let ids = rows.iter().map(|row| {
        let mut id = [0; 16];
        id[..3].copy_from_slice(&[side as u8 + 1, row.ad.map_or(255, |ad| ad), row.more]);
        id[8..].copy_from_slice(&row.end.to_le_bytes());
        u128::from_le_bytes(id)
    });
    let ids = hash_column(ids.collect()).unwrap();
    let ads = StringArray::from_iter(rows.iter().map(|row| row.ad.map(|ad| format!("ad{ad}"))));
    // What comes may be a dictionary, and there are columns that nobody has selected.
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let ads = arrow::compute::cast(&ads, &text).unwrap();
    let [ad, more, value] = names(side);
    let ends =
        TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.end * MINUTE)).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 7] = [
        (value, Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.value)))),
        (RECORD_ID, ids),
        (ad, ads),
        (WINDOW_END, Arc::new(ends)),
        (more, Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::from(row.more))))),
        (REVISION, Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.revision)))),
        (WITHDRAWN, Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.value.is_none()))))),
    ];
    let field = |(name, column): &(&str, ArrayRef)| {
        Field::new(*name, column.data_type().clone(), *name == ad || *name == value)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

/// What tells a result from another: the end of its window in minutes, its ad, and what else is in the keys of both sides.
type Key = (i64, Option<String>, Option<i64>, Option<i64>);

/// A result as it is read, and the values of both sides if it holds.
type Read = (Key, Option<[Option<i64>; 2]>);

/// What a reader has, by record.
#[derive(Debug, Default)]
struct Reader(BTreeMap<Vec<u8>, (i32, Read)>);

impl Reader {
    fn read(&mut self, out: Emitted, single: [bool; 2]) {
        for (port, batch) in out {
            assert_eq!(port, Port::MAIN);
            for (id, revision, read) in results(&batch.columns) {
                let before = self.0.insert(id, (revision, read.clone()));
                let last = before.as_ref().map_or(-1, |before| before.0);
                assert_eq!(last + 1, revision, "each revision comes once, in order: {read:?}");
                let fixed = |((end, ad, page, site), _): &Read| {
                    (*end, ad.clone(), page.filter(|_| !single[0]), site.filter(|_| !single[1]))
                };
                assert!(before.is_none_or(|before| fixed(&before.1) == fixed(&read)), "what identifies it stays");
            }
        }
    }

    /// What holds, sorted.
    fn holds(&self) -> Vec<(Key, [Option<i64>; 2])> {
        let holds = self.0.values().filter_map(|(_, (key, values))| Some((key.clone(), (*values)?)));
        let mut held: Vec<_> = holds.collect();
        held.sort();
        held
    }
}

/// The record, the revision and the result of each row.
fn results(rows: &RecordBatch) -> Vec<(Vec<u8>, i32, Read)> {
    let column = |name: &str| rows.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
    let int = |name: &str, row| {
        let values = column(name).as_primitive::<Int64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    let read = |row| {
        let ads = column("ad").as_string::<i32>();
        let end = column(WINDOW_END).as_primitive::<TimestampMillisecondType>().value(row) / MINUTE;
        let ad = ads.is_valid(row).then(|| ads.value(row).to_owned());
        let values = [int("clicks", row), int("views", row)];
        let withdrawn = column(WITHDRAWN).as_boolean().value(row);
        assert!(!withdrawn || values == [None, None], "what is withdrawn has no values");
        let read = ((end, ad, int("page", row), int("site", row)), (!withdrawn).then_some(values));
        let id = column(RECORD_ID).as_fixed_size_binary().value(row).to_vec();
        (id, column(REVISION).as_primitive::<Int32Type>().value(row), read)
    };
    assert_eq!(column("window_start").data_type(), &event_time_type());
    (0..rows.num_rows()).map(read).collect()
}

fn subtasks(config: &WindowJoinConfig) -> Subtasks {
    let config = config.clone();
    Subtasks::of_inputs(&[&["ad"], &["shown"]], move |context| {
        Box::new(WindowJoin::new(config.clone(), context).unwrap())
    })
}
