//! The statements that replace the rows of a table with those of its shadow table.

use super::ShadowedTable;
use weir_engine::error::{EngineError, Result};
use weir_operators::source::files::EventTimeRange;
use weir_store::{Grain, quoted, quoted_list};

/// A part of a table that is kept in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub grain: Grain,
    pub span: EventTimeRange,
}

/// For windows that lie side by side: what removes those that start in `[$1, $2)`, and what inserts the new ones.
pub(super) fn windows(one: &ShadowedTable, part: &Part) -> (Vec<String>, String) {
    let table = &one.table;
    let start = quoted(table.windows.start.as_deref().unwrap_or_default());
    let span = format!("{start} >= $1 AND {start} < $2");
    let delete = |grain: Grain| format!("DELETE FROM {} WHERE {span}", quoted(&grain.table(&table.table)));
    let columns = quoted_list(&table.columns);
    let (shadow, into) = (quoted(&one.shadow), quoted(&part.grain.table(&table.table)));
    if part.grain == Grain::Window {
        let insert = format!("INSERT INTO {into} ({columns}) SELECT {columns} FROM {shadow} WHERE {span}");
        return (vec![delete(Grain::Window)], insert);
    }
    let length = part.grain.length_ms(table.windows.size_ms);
    // Event times are not negative, so that what a division leaves is not either.
    let bucket = format!("{start} - ({start} % {length})");
    let is_key = |column: &String| table.key.contains(column) && Some(column) != table.windows.start.as_ref();
    let value = |column: &String| {
        let name = quoted(column);
        if Some(column) == table.windows.start.as_ref() {
            bucket.clone()
        } else if table.sums.contains(column) {
            format!("CAST(sum({name}) AS BIGINT)")
        } else if is_key(column) {
            name
        } else {
            format!("max({name})")
        }
    };
    let values: Vec<String> = table.columns.iter().map(value).collect();
    let group: Vec<String> =
        table.columns.iter().filter(|column| is_key(column)).map(|column| quoted(column)).collect();
    let group = std::iter::once(bucket.clone()).chain(group).collect::<Vec<_>>().join(", ");
    let insert = format!(
        "INSERT INTO {into} ({columns}) SELECT {} FROM {shadow} WHERE {span} GROUP BY {group}",
        values.join(", ")
    );
    // An event is in exactly one of the tables, and what is being added up is partly in finer ones.
    let finer = match part.grain {
        Grain::Day => vec![Grain::Window, Grain::Hour, Grain::Day],
        _ => vec![Grain::Window, Grain::Hour],
    };
    (finer.into_iter().map(delete).collect(), insert)
}

/// For windows that overlap: what removes those that overlap `[$1, $2)`; and, with values of its own, what inserts the new ones
/// that end in `($1, $2]` and do not start before `$3`.
pub(super) fn overlapping(one: &ShadowedTable) -> Result<(String, String)> {
    let (start, end) = begin_and_end(one)?;
    let (table, shadow, columns) = (quoted(&one.table.table), quoted(&one.shadow), quoted_list(&one.table.columns));
    let delete = format!("DELETE FROM {table} WHERE {end} > $1 AND {start} < $2 AND {end} <= $3");
    let insert = format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM {shadow} WHERE {end} > $1 AND {end} <= $2 AND {start} >= $3"
    );
    Ok((delete, insert))
}

/// What is the start of a row's window, and what is its end.
fn begin_and_end(one: &ShadowedTable) -> Result<(String, String)> {
    let windows = &one.table.windows;
    let size = windows.size_ms;
    match (&windows.start, &windows.end) {
        (Some(start), Some(end)) => Ok((quoted(start), quoted(end))),
        (Some(start), None) => Ok((quoted(start), format!("({} + {size})", quoted(start)))),
        (None, Some(end)) => Ok((format!("({} - {size})", quoted(end)), quoted(end))),
        (None, None) => {
            Err(EngineError::definition(format!("'{}' does not say which window a row is of", one.table.table)))
        }
    }
}

/// For windows that overlap: what finds one that has ended at `$1`, and one that does not start before it.
pub(super) fn overlapping_outside(one: &ShadowedTable) -> Result<[String; 2]> {
    let ((start, end), table) = (begin_and_end(one)?, quoted(&one.table.table));
    Ok([(&end, "<="), (&start, ">=")]
        .map(|(at, side)| format!("SELECT {at} FROM {table} WHERE {at} {side} $1 LIMIT 1")))
}

/// What finds a row before `$1`, and one that is not before it.
pub(super) fn outside(one: &ShadowedTable, grain: Grain) -> Option<[String; 2]> {
    let (start, table) = (quoted(one.table.windows.start.as_deref()?), quoted(&grain.table(&one.table.table)));
    Some(["<", ">="].map(|side| format!("SELECT {start} FROM {table} WHERE {start} {side} $1 LIMIT 1")))
}

/// How many rows the windows that start in `[$1, $2)` have, old and new.
pub(super) fn rows_by_window(one: &ShadowedTable) -> Option<String> {
    let start = quoted(one.table.windows.start.as_deref()?);
    let counted = |table: &str| {
        format!(
            "SELECT {start} AS start, count(*) AS n FROM {} WHERE {start} >= $1 AND {start} < $2 GROUP BY {start}",
            quoted(table)
        )
    };
    Some(format!("{} UNION ALL {}", counted(&one.table.table), counted(&one.shadow)))
}
