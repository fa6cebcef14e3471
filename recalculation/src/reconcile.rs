//! Compares what is in the store with a recount of the archive: per window, filter and key; per hour and day where that is
//! how it is kept.

use crate::{
    recount::{Buckets, Recounter, SEPARATOR},
    store::{RolledUp, Store},
};
use serde::Serialize;
use weir_engine::error::{EngineError, Result};
use weir_jobs::recalculation::{CountedTable, StoreTable};
use weir_operators::source::files::{ArchivePart, EventTimeRange};
use weir_store::{
    Grain, HOUR_MS, Value, quoted,
    row::{integer, text_of},
};

/// What is compared.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    /// The job.
    pub job: &'a str,
    /// The tables; those without plain counts are passed over.
    pub tables: &'a [StoreTable],
    /// Where the archive is, for the report.
    pub archive: &'a str,
    /// Its parts, in the order of their hours.
    pub parts: &'a [ArchivePart],
    /// The windows that are compared.
    pub range: EventTimeRange,
    /// Differences beyond so many are counted and not listed.
    pub most_differences: usize,
}

/// What a comparison has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The job.
    pub job: String,
    /// The archive.
    pub archive: String,
    /// The first moment that was compared, in milliseconds; hours and days that are kept as one sum are compared as a whole.
    pub from_ms: i64,
    /// The first that was not any more.
    pub to_ms: i64,
    /// Rows of the archive that were read.
    pub archive_rows: u64,
    /// Of these, duplicates.
    pub duplicates: u64,
    /// Of these, rows that lie in the folder of another hour.
    pub misplaced: u64,
    /// Counts that are the same.
    pub matching: u64,
    /// Counts that are not, or are only on one side.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Tables that were compared.
    pub tables: Vec<String>,
    /// Tables of the job that hold no plain counts, and were not.
    pub not_compared: Vec<String>,
}

/// A count that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The table that it is in, or should be.
    pub table: String,
    /// Start of its window, hour or day, in milliseconds.
    pub start_ms: i64,
    /// Id of the filter; none where the key has none.
    pub filter: Option<String>,
    /// The other values of the key.
    pub key: Vec<String>,
    /// The count in the store; none: there is no such row.
    pub store: Option<i64>,
    /// The count in the archive; none: nothing was to be counted.
    pub archive: Option<i64>,
}

/// Compares.
///
/// # Errors
/// When the store or the archive cannot be read, or the counts cannot be found from the archive alone.
pub async fn reconcile(store: &Store, comparison: &Comparison<'_>) -> Result<Report> {
    let mut report = Report { job: comparison.job.into(), archive: comparison.archive.into(), ..Report::default() };
    (report.from_ms, report.to_ms) = (comparison.range.from_ms, comparison.range.to_ms);
    for table in comparison.tables {
        let (Some(counted), Some(start)) = (&table.counted, &table.windows.start) else {
            report.not_compared.push(table.table.clone());
            continue;
        };
        check_windows(table)?;
        let range = RolledUp::of(store, table).await?.widened(comparison.range, table.windows.size_ms);
        (report.from_ms, report.to_ms) = (report.from_ms.min(range.from_ms), report.to_ms.max(range.to_ms));
        report.tables.push(table.table.clone());
        let mut recounter = Recounter::new(counted.clone())?;
        let mut from_ms = range.from_ms;
        while from_ms < range.to_ms {
            let grain = RolledUp::of(store, table).await?.grain_at(from_ms);
            let span = span(from_ms, range.to_ms, grain, table.windows.size_ms, comparison.parts);
            let place = Place { table, counted, start, grain, span };
            let found = compare_span(store, comparison, &mut recounter, place).await?;
            // What was added up to hours meanwhile is looked at once more.
            if RolledUp::of(store, table).await?.grain_at(from_ms) == grain {
                report.add(found, comparison.most_differences);
                from_ms = span.to_ms;
            }
        }
    }
    if report.tables.is_empty() {
        return Err(EngineError::definition(
            "the job keeps no plain counts in the store, so there is nothing to compare",
        ));
    }
    Ok(report)
}

/// A table's windows must lie side by side, and not across the folders of hours.
fn check_windows(table: &StoreTable) -> Result<()> {
    let windows = &table.windows;
    if windows.size_ms == windows.slide_ms && windows.size_ms > 0 && HOUR_MS % windows.size_ms == 0 {
        return Ok(());
    }
    Err(EngineError::definition(format!(
        "the windows of '{}' overlap or do not divide an hour evenly, so they cannot be recounted hour by hour",
        table.table
    )))
}

/// What is compared at once: an hour, or the day that is kept as one. Where nothing is in the archive, all of that.
fn span(from_ms: i64, to_ms: i64, grain: Grain, window_ms: i64, parts: &[ArchivePart]) -> EventTimeRange {
    let length = grain.length_ms(window_ms).max(HOUR_MS);
    let end = (from_ms - from_ms.rem_euclid(length)).saturating_add(length);
    let next = parts.iter().map(|part| part.hour_ms).find(|hour| hour.saturating_add(HOUR_MS) > from_ms);
    // A stretch without any part is one span, unless how counts are kept changes in it.
    let end = match (grain, next) {
        (Grain::Window, Some(next)) => end.max(next),
        (Grain::Window, None) => to_ms,
        _ => end,
    };
    EventTimeRange { from_ms, to_ms: end.min(to_ms) }
}

/// A part of a table.
#[derive(Clone, Copy)]
struct Place<'a> {
    table: &'a StoreTable,
    counted: &'a CountedTable,
    start: &'a str,
    grain: Grain,
    span: EventTimeRange,
}

async fn compare_span(
    store: &Store,
    comparison: &Comparison<'_>,
    recounter: &mut Recounter,
    place: Place<'_>,
) -> Result<Report> {
    let length_ms = place.grain.length_ms(place.table.windows.size_ms);
    let mut counts = recounter.count(comparison.parts, Buckets { range: place.span, length_ms }).await?;
    let mut report = Report {
        archive_rows: counts.rows,
        duplicates: counts.duplicates,
        misplaced: counts.misplaced,
        ..Report::default()
    };
    let name = place.grain.table(&place.table.table);
    let ids: Vec<&str> = place.counted.filters.iter().map(|(id, _)| id.as_str()).collect();
    let has_filter = place.counted.filter_column.is_some();
    let values = [Value::Integer(place.span.from_ms), Value::Integer(place.span.to_ms)];
    let most = comparison.most_differences;
    store
        .each(&select(place), &values, |row| {
            let (start_ms, count) = (integer(row, 0)?, integer(row, 1)?);
            let mut keys = Vec::with_capacity(place.counted.keys.len());
            for column in 0..place.counted.keys.len() {
                keys.push(text_of(row, column + 2)?.unwrap_or_else(|| crate::recount::NO_VALUE.into()));
            }
            let filter = if has_filter { text_of(row, 2 + keys.len())? } else { None };
            let number = match &filter {
                None => Some(0),
                Some(id) => ids.iter().position(|known| known == id).and_then(|position| u32::try_from(position).ok()),
            };
            let recounted = number.and_then(|number| counts.take(start_ms, number, &keys.join(&SEPARATOR.to_string())));
            let table = name.clone();
            let (store, archive) = (Some(count), recounted);
            report.note(Difference { table, start_ms, filter, key: keys, store, archive }, most);
            Ok(())
        })
        .await?;
    for (start_ms, filter, key, count) in counts.rest() {
        let filter = has_filter.then(|| ids.get(filter as usize).map(|id| (*id).to_owned())).flatten();
        let key = key.split(SEPARATOR).map(str::to_owned).collect();
        let (table, store, archive) = (name.clone(), None, Some(count));
        report.note(Difference { table, start_ms, filter, key, store, archive }, most);
    }
    Ok(report)
}

/// Start, count, key columns, filter. An hour that is being added up is partly still in its minutes.
fn select(place: Place<'_>) -> String {
    let counted = place.counted;
    let (start, count) = (quoted(place.start), quoted(&counted.count));
    let keys =
        counted.keys.iter().map(|(_, column)| quoted(column)).chain(counted.filter_column.as_deref().map(quoted));
    let keys: Vec<String> = keys.collect();
    let keys = keys.join(", ");
    let comma = if keys.is_empty() { "" } else { ", " };
    let from = |grain: Grain, start: &str| {
        let table = quoted(&grain.table(&place.table.table));
        let span = format!("{} >= $1 AND {} < $2", quoted(place.start), quoted(place.start));
        format!("SELECT {start} AS bucket, {count} AS counted{comma}{keys} FROM {table} WHERE {span}")
    };
    let grains = match place.grain {
        Grain::Window => return from(Grain::Window, &start),
        Grain::Hour => vec![Grain::Window, Grain::Hour],
        Grain::Day => vec![Grain::Window, Grain::Hour, Grain::Day],
    };
    let length = place.grain.length_ms(place.table.windows.size_ms);
    let bucket = format!("{start} - ({start} % {length})");
    let all: Vec<String> = grains.into_iter().map(|grain| from(grain, &bucket)).collect();
    format!(
        "SELECT bucket, CAST(sum(counted) AS BIGINT){comma}{keys} FROM ({}) AS kept GROUP BY bucket{comma}{keys}",
        all.join(" UNION ALL ")
    )
}

impl Report {
    /// Whether everything is the same.
    pub fn agrees(&self) -> bool {
        self.differing == 0
    }

    fn add(&mut self, found: Report, most: usize) {
        self.archive_rows += found.archive_rows;
        self.duplicates += found.duplicates;
        self.misplaced += found.misplaced;
        self.matching += found.matching;
        self.differing += found.differing;
        let room = most.saturating_sub(self.differences.len());
        self.differences.extend(found.differences.into_iter().take(room));
    }

    fn note(&mut self, found: Difference, most: usize) {
        if found.store == found.archive {
            self.matching += 1;
            return;
        }
        self.differing += 1;
        if self.differences.len() < most {
            self.differences.push(found);
        }
    }
}
