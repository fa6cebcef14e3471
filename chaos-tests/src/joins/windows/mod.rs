//! Joins of counts: of orders and clicks per user, shop and window.

mod mutants;
mod oracle;

use super::workload::Workload;
use super::{LATENESS_MS, difference, sink};
use crate::results::held::{column, newest};
use anyhow::{Context, Result, ensure};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Int64Type, TimestampMillisecondType},
};
use std::path::Path;

pub use mutants::{WindowJoinMutant, WindowJoinMutants};

/// Windows lie side by side.
const WINDOW_MS: i64 = 10_000;

/// Orders of windows with more of them are left out: late ones withdraw such counts.
const FEW: i64 = 2;

/// The name, the right side, and the type of each join. The right side of the last has any number of rows for one of the left.
const JOINS: [(&str, &str, &str); 5] = [
    ("inner", "clicked", "inner"),
    ("left", "clicked", "left"),
    ("right", "clicked", "right"),
    ("full", "clicked", "full"),
    ("each", "clicked_each", "left"),
];

/// The start of a window, a user, a shop, and the name of the click where each has a count of its own; then how many orders there are,
/// and how many clicks.
type Counted = ((i64, Option<String>, Option<i64>, Option<String>), [Option<i64>; 2]);

/// The nodes behind the sources.
pub(super) fn nodes(folder: &Path) -> String {
    let aggregate = |name: &str, input: &str, key: &str| {
        format!(
            "[aggregate.{name}]\ninput = \"{input}\"\nkey = [{key}]\n\
             window = {{ tumbling = \"{WINDOW_MS}ms\", allowed_lateness = \"{LATENESS_MS}ms\" }}\n\
             select = {{ n = \"count(*)\" }}\n"
        )
    };
    let join = |(name, right, kind): (&str, &str, &str)| {
        let click = if right == "clicked_each" { ", click = \"right.click\"" } else { "" };
        format!(
            "[join.{name}]\nleft = \"few\"\nright = \"{right}\"\non = {{ user = \"visitor\", shop = \"shop\" }}\n\
             type = \"{kind}\"\nselect = {{ user = \"left.user\", shop = \"right.shop\", orders = \"left.n\", clicks = \"right.n\"{click} }}\n{}",
            sink(folder, name, name)
        )
    };
    aggregate("ordered", "orders", "\"user\", \"shop\"")
        + &aggregate("clicked", "clicks", "\"visitor\", \"shop\"")
        + &aggregate("clicked_each", "clicks", "\"visitor\", \"shop\", \"click\"")
        + &format!("[map.few]\ninput = \"ordered\"\nwhere = \"n <= {FEW}\"\n")
        + &JOINS.map(join).concat()
}

pub(super) fn check(out: &Path, workload: &Workload) -> Result<()> {
    for (name, right, kind) in JOINS {
        let expected = oracle::recount(workload, right == "clicked_each", kind);
        let found = newest(&out.join(name), counted)?;
        ensure!(found == expected, "`{name}`: {}", difference(&found, &expected));
    }
    Ok(())
}

fn counted(batch: &RecordBatch, row: usize) -> Result<Counted> {
    let text = |name: &str| -> Result<Option<String>> {
        let texts = column(batch, name)?.as_string::<i32>();
        Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
    };
    let number = |name: &str| -> Result<Option<i64>> {
        let numbers = arrow::compute::cast(column(batch, name)?, &DataType::Int64)?;
        Ok(numbers.is_valid(row).then(|| numbers.as_primitive::<Int64Type>().value(row)))
    };
    let starts = column(batch, "window_start")?.as_primitive_opt::<TimestampMillisecondType>();
    let start = starts.context("no times in window_start")?.value(row);
    let click = if batch.column_by_name("click").is_some() { text("click")? } else { None };
    Ok(((start, text("user")?, number("shop")?, click), [number("orders")?, number("clicks")?]))
}
