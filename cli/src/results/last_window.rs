//! The last window of a job's results, read back from its committed files: what a run shows at its end.
//!
//! Shown is the first files sink behind a `reduce`, else the first behind an `aggregate`, when its files are on this machine
//! and not too many. Of several revisions of a record the highest counts, unless it is withdrawn.

use crate::{failure::Failure, text};
use arrow::{
    array::{Array, AsArray, RecordBatch, TimestampMillisecondArray, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::{DataType, Int64Type, TimestampMillisecondType},
    util::display::{ArrayFormatter, FormatOptions},
};
use serde::Serialize;
use std::collections::HashMap;
use weir_engine::graph::{JobGraph, Node, NodeRole};
use weir_jobs::Job;
use weir_operators::{
    columns::{FILTER_ID, RANK, RECORD_ID, REVISION, WITHDRAWN},
    connectors::stored_sink,
    sink::{
        FilesHere,
        files::rows_of_file,
        read_back::{is_withdrawn, revisions, shown_schema},
    },
};

/// Files beyond this size are not read back: the end of a run is no place to wait.
const MOST_BYTES: u64 = 64 << 20;
/// Rows shown.
const MOST_ROWS: usize = 10;
/// Windows that are looked at for one of which something holds.
const MOST_WINDOWS: usize = 16;

/// Rows of the last window.
#[derive(Clone, Debug, Serialize)]
pub struct LastResults {
    /// The sink that they were read back from.
    pub sink: String,
    /// The window's time, as stated in its rows.
    pub window: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows, best first.
    pub rows: Vec<Vec<String>>,
    /// Rows of that window (and filter) in all.
    pub of: usize,
}

impl LastResults {
    /// What the rows are.
    pub fn title(&self) -> String {
        let first = if self.rows.len() < self.of {
            format!(", the first {} of {}", self.rows.len(), self.of)
        } else {
            String::new()
        };
        format!("{} of the last window, {}{first}", self.sink.replace('_', " "), self.window)
    }

    /// As a table for people.
    pub fn as_text(&self) -> String {
        let lines = text::table(&self.columns, &self.rows);
        lines.lines().map(|line| format!(" {line}\n")).collect::<String>().trim_end().to_string()
    }
}

/// Reads the last window back; none when there is nothing to show.
pub fn last_results(job: &Job) -> Result<Option<LastResults>, Failure> {
    let Some((sink, FilesHere { folder, files })) = shown_sink(&job.graph) else { return Ok(None) };
    let name = sink.id.strip_prefix("sink.").unwrap_or(&sink.id);
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!(
            "the results are committed, but cannot be read back from '{}': {error}",
            folder.display()
        ))
    };
    let files = files.map_err(|error| failed(&error))?;
    let size: u64 = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|meta| meta.len()).sum();
    if files.is_empty() || size > MOST_BYTES {
        return Ok(None);
    }
    let Some((_, columns)) = job.sink(name) else { return Ok(None) };
    let mut batches = Vec::new();
    for file in &files {
        let content = std::fs::read(file).map_err(|error| failed(&error))?;
        let rows = rows_of_file(&file.display().to_string(), content.into(), columns);
        batches.extend(rows.map_err(|error| failed(&error))?);
    }
    let all = concat_batches(&shown_schema(columns), &batches).map_err(|error| failed(&error))?;
    last_window(name, &all).map_err(|error| failed(&error))
}

/// The sink whose rows are worth showing, and its files on this machine.
fn shown_sink(graph: &JobGraph) -> Option<(&Node, FilesHere)> {
    let producer = |index: usize| graph.edges.iter().find(|edge| edge.to == index).map(|edge| (edge.from, edge.port));
    let behind = |index: usize, prefix: &str| {
        let (mut from, mut port) = producer(index)?;
        for own in [".hold", ".select"] {
            if graph.nodes[from].id.ends_with(own) {
                (from, port) = producer(from)?;
            }
        }
        (port == weir_engine::element::Port::MAIN && graph.nodes[from].id.starts_with(prefix)).then_some(())
    };
    ["reduce.", "aggregate."].into_iter().find_map(|prefix| {
        graph.nodes.iter().enumerate().find_map(|(index, node)| {
            let is_worth = node.role == NodeRole::Sink && behind(index, prefix).is_some();
            let files = stored_sink(node).ok().filter(|_| is_worth)?.files_here(&graph.name, &node.id)?;
            Some((node, files))
        })
    })
}

/// The rows of the latest window, newest revisions only, best first, of the first filter.
fn last_window(sink: &str, rows: &RecordBatch) -> arrow::error::Result<Option<LastResults>> {
    let is_time = |index: &usize| {
        matches!(rows.column(*index).data_type(), DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _))
    };
    let Some(time) = (0..rows.num_columns()).find(is_time) else { return Ok(None) };
    // The start of the window and, beside it, the end; what else is a time is a value.
    let times: Vec<usize> = (time..rows.num_columns()).take(2).take_while(is_time).collect();
    let starts = rows.column(time).as_primitive::<TimestampMillisecondType>();
    let Some(mut kept) = latest_holding(rows, starts) else { return Ok(None) };
    let options = FormatOptions::default()
        .with_null("")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M"));
    let cell = |column: usize, row: u32| -> arrow::error::Result<String> {
        Ok(ArrayFormatter::try_new(rows.column(column), &options)?.value(row as usize).to_string())
    };
    let filter = rows.schema().index_of(FILTER_ID).ok();
    if let Some(filter) = filter {
        let mut ids = kept.iter().map(|row| cell(filter, *row)).collect::<arrow::error::Result<Vec<_>>>()?;
        ids.sort();
        if let Some(first) = ids.first() {
            let matches = kept
                .iter()
                .map(|row| Ok(cell(filter, *row)? == *first))
                .collect::<arrow::error::Result<Vec<bool>>>()?;
            kept = kept.into_iter().zip(matches).filter_map(|(row, same)| same.then_some(row)).collect();
        }
    }
    sort(rows, &mut kept);
    let of = kept.len();
    kept.truncate(MOST_ROWS);
    let shown = take_record_batch(rows, &UInt32Array::from(kept))?;
    let window: Vec<String> = times
        .iter()
        .map(|column| Ok(ArrayFormatter::try_new(shown.column(*column), &options)?.value(0).to_string()))
        .collect::<arrow::error::Result<_>>()?;
    let columns: Vec<usize> = (0..shown.num_columns())
        .filter(|index| {
            !times.contains(index)
                && ![RECORD_ID, REVISION, WITHDRAWN].contains(&shown.schema().field(*index).name().as_str())
        })
        .collect();
    let formatters: Vec<ArrayFormatter<'_>> = columns
        .iter()
        .map(|index| ArrayFormatter::try_new(shown.column(*index), &options))
        .collect::<arrow::error::Result<_>>()?;
    Ok(Some(LastResults {
        sink: sink.into(),
        window: format!("{} UTC", window.join(" to ")),
        columns: columns.iter().map(|index| shown.schema().field(*index).name().clone()).collect(),
        rows: (0..shown.num_rows())
            .map(|row| formatters.iter().map(|cell| cell.value(row).to_string()).collect())
            .collect(),
        of,
    }))
}

/// Indices of the rows of the latest window that has any which hold; none where that is far back.
fn latest_holding(rows: &RecordBatch, starts: &TimestampMillisecondArray) -> Option<Vec<u32>> {
    let mut before = i64::MAX;
    for _ in 0..MOST_WINDOWS {
        let latest = starts.iter().flatten().filter(|start| *start < before).max()?;
        let kept = newest_revisions(rows, &|row| starts.is_valid(row) && starts.value(row) == latest);
        if !kept.is_empty() {
            return Some(kept);
        }
        before = latest;
    }
    None
}

/// Indices of the rows that `wanted` keeps, each record's highest revision only, if that one holds.
fn newest_revisions(rows: &RecordBatch, wanted: &dyn Fn(usize) -> bool) -> Vec<u32> {
    let ids = rows.column_by_name(RECORD_ID).and_then(|column| column.as_string_opt::<i32>());
    let wanted_rows = (0..rows.num_rows()).filter(|row| wanted(*row));
    let (Some(ids), Some(revisions)) = (ids, revisions(rows)) else {
        return wanted_rows.map(|row| row as u32).collect();
    };
    let mut newest: HashMap<&str, usize> = HashMap::new();
    for row in wanted_rows {
        let held = newest.entry(ids.value(row)).or_insert(row);
        if revisions.value(row) > revisions.value(*held) {
            *held = row;
        }
    }
    let holds = |row: &usize| !is_withdrawn(rows, *row);
    let mut kept: Vec<u32> = newest.into_values().filter(holds).map(|row| row as u32).collect();
    kept.sort_unstable();
    kept
}

/// By rank where there is one, else by the first whole number, largest first.
fn sort(rows: &RecordBatch, kept: &mut [u32]) {
    let integers = |column: &dyn Array| -> Option<Vec<i64>> {
        let column = arrow::compute::cast(column, &DataType::Int64).ok()?;
        Some(column.as_primitive::<Int64Type>().iter().map(Option::unwrap_or_default).collect())
    };
    if let Some(ranks) = rows.column_by_name(RANK).and_then(|column| integers(column)) {
        kept.sort_by_key(|row| ranks[*row as usize]);
        return;
    }
    let schema = rows.schema();
    let mut fields = schema.fields().iter().enumerate();
    let by = fields.find(|(_, field)| field.data_type().is_integer() && field.name() != REVISION);
    if let Some(values) = by.and_then(|(index, _)| integers(rows.column(index))) {
        kept.sort_by_key(|row| std::cmp::Reverse(values[*row as usize]));
    }
}
