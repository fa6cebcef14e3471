//! The operator `pauses`: emits a row for each time that a key was silent for long, from one event to the next.
//!
//! Events come in whatever order files and networks bring them, from many places at once. So it keeps the times of each key
//! until the watermark says that no earlier one can come, and looks at them in their order then: what it emits follows from the
//! input alone, however wide the job runs and however often it is restarted.

use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use weir::{
    EngineError, Result,
    arrow::{
        array::{ArrayRef, AsArray, BooleanArray, Float64Array, StringArray, TimestampMillisecondArray},
        compute::cast,
        datatypes::{DataType, TimestampMillisecondType},
        record_batch::RecordBatch,
    },
    operator::{
        Batch, Change, CheckpointId, Collector, KeyGroupRange, KeyHasher, Operator, OperatorContext, OperatorGiven,
        OperatorInput, OperatorSettings, Port, RefusedRow, RefusedRows, Segment, Snapshot, StateRows, Timing,
        event_time_type, event_times, key_group_of,
    },
    settings::{Column, ColumnSchema, KeyPath, Mistake, Reader, duration},
};

/// The settings, as `[operator.NAME]` has them:
///
/// ```toml
/// kind = "pauses"
/// input = "readings"
/// key = ["sensor"]
/// longer_than = "5m"
/// at_most = "1d"              # a longer one is an end, and the key is forgotten
/// allowed_lateness = "1m"     # how late events may be, which is how long it waits for them
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pauses {
    /// The column whose values are looked at one by one.
    pub key: Vec<String>,
    /// The shortest pause that is told of, in milliseconds.
    pub longer_than_ms: i64,
    /// The longest one.
    pub at_most_ms: i64,
    /// How late events may be.
    pub allowed_lateness_ms: i64,
}

impl OperatorSettings for Pauses {
    const KIND: &'static str = "pauses";
    const MEANING: &'static [&'static str] = &["at_most_ms"];

    fn read(keys: &Reader<'_>) -> Self {
        keys.require("key", "[\"sensor\"]");
        keys.require("longer_than", "\"5m\"");
        let span = |key: &str| keys.positive_duration(key).map(duration::millis);
        Pauses {
            key: keys.texts("key").unwrap_or_default(),
            longer_than_ms: span("longer_than").unwrap_or_default(),
            at_most_ms: span("at_most").unwrap_or(24 * 60 * 60 * 1000),
            allowed_lateness_ms: keys.duration("allowed_lateness").map(duration::millis).unwrap_or_default(),
        }
    }

    fn columns(&self, given: &OperatorGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        let [key] = self.key.as_slice() else {
            let mistake = Mistake::new(at.key("key"), "pauses are those of one column");
            mistakes.push(mistake.found(format!("{:?}", self.key)).expected("[\"sensor\"]"));
            return None;
        };
        if given.columns.column(key)?.data_type != DataType::Utf8 {
            let mistake = Mistake::new(at.key("key").index(0), format!("`{key}` is no text"));
            mistakes.push(mistake.expected("a column with texts; a `map` can convert it"));
        }
        if self.at_most_ms < self.longer_than_ms {
            let mistake = Mistake::new(at.key("at_most"), "no pause is that short and longer than `longer_than`");
            mistakes.push(mistake.expected(format!("at least {} ms", self.longer_than_ms)));
        }
        let column = |name: &str, data_type| Column { name: name.into(), data_type, nullable: false };
        let columns = vec![
            column(key, DataType::Utf8),
            column("silent_from", event_time_type()),
            column("silent_until", event_time_type()),
            column("seconds", DataType::Float64),
        ];
        Some(ColumnSchema { columns })
    }

    fn key(&self) -> &[String] {
        &self.key
    }

    fn timing(&self) -> Timing {
        Timing::Waits { lateness: Duration::from_millis(self.allowed_lateness_ms.unsigned_abs()) }
    }

    fn note(&self) -> String {
        let span = |ms: i64| duration::show(Duration::from_millis(ms.unsigned_abs()));
        format!("{} silent for {} to {}", self.key.join(", "), span(self.longer_than_ms), span(self.at_most_ms))
    }

    fn state(&self) -> Option<String> {
        Some("the last event of each key, and those that may not be in order yet".into())
    }

    fn build(&self, input: &OperatorInput, context: &OperatorContext) -> Result<Box<dyn Operator>> {
        let time = input.event_time.clone();
        Ok(Box::new(PausesOperator {
            settings: self.clone(),
            time: time.ok_or_else(|| EngineError::definition("pauses are between events with a time"))?,
            input: input.clone(),
            max_parallelism: context.max_parallelism,
            keys: BTreeMap::new(),
            changed: false,
            refused: RefusedRows::new(context),
        }))
    }
}

/// What is known of a key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// The newest event that was looked at.
    last: Option<i64>,
    /// Events that were not.
    waiting: BTreeSet<i64>,
}

/// One subtask's instance.
struct PausesOperator {
    settings: Pauses,
    /// The column with the time of an event.
    time: String,
    input: OperatorInput,
    max_parallelism: u16,
    /// Keys in an order of their own: what is emitted is in the same order every time.
    keys: BTreeMap<String, Seen>,
    /// Since the last checkpoint.
    changed: bool,
    refused: RefusedRows,
}

impl Operator for PausesOperator {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let keys = texts(&batch.columns, &self.settings.key[0])?;
        let times = event_times(&batch.columns, &self.time)?;
        let mut refused = Vec::new();
        for (row, (key, time)) in keys.iter().zip(times.iter()).enumerate() {
            match key {
                Some(key) => {
                    self.keys.entry(key.to_owned()).or_default().waiting.insert(*time);
                }
                None => refused.push(RefusedRow { row, reason: format!("`{}` is null", self.settings.key[0]) }),
            }
        }
        self.changed = true;
        self.refused.emit(&batch.columns, &refused, out)
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        let complete = self.input.complete_until(watermark);
        let (shortest, longest) = (self.settings.longer_than_ms, self.settings.at_most_ms);
        let mut pauses = Vec::new();
        for (key, seen) in &mut self.keys {
            while let Some(time) = seen.waiting.first().copied().filter(|time| *time <= complete) {
                seen.waiting.pop_first();
                if let Some(last) = seen.last.filter(|last| (shortest..=longest).contains(&(time - last))) {
                    pauses.push((key.clone(), last, time));
                }
                seen.last = Some(time);
                self.changed = true;
            }
        }
        let known = self.keys.len();
        self.keys.retain(|_, seen| {
            !seen.waiting.is_empty() || seen.last.is_some_and(|last| last.saturating_add(longest) >= complete)
        });
        self.changed |= self.keys.len() < known;
        if !pauses.is_empty() {
            out.emit(Port::MAIN, Batch::new(rows(&self.settings.key[0], &pauses)?));
        }
        Ok(())
    }

    /// One segment, written anew at each checkpoint in which something has changed. The rows are made beside the processing.
    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        if self.keys.is_empty() {
            return Ok(Snapshot::default());
        }
        let change = match std::mem::take(&mut self.changed) {
            false => Change::Unchanged,
            true => {
                let (column, keys) = (self.settings.key[0].clone(), self.keys.clone());
                Change::Replace(StateRows::deferred(move || Ok(vec![stored(&column, &keys)?])))
            }
        };
        Ok(Snapshot { segments: vec![Segment { id: SEGMENT.into(), change }] })
    }

    /// The rows may be those of several subtasks of before: a key is ours if its key group is.
    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if segment != SEGMENT {
            return Err(EngineError::corrupt(format!("segment '{segment}' is no state of pauses")));
        }
        let hashes = KeyHasher::new(self.settings.key.clone()).hash(rows)?;
        let keys = texts(rows, &self.settings.key[0])?;
        let missing = || EngineError::corrupt("the state of pauses lacks a column");
        let column = |name: &str| rows.column_by_name(name).ok_or_else(missing);
        let times = column(TIME)?.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(missing)?;
        let waiting = column(WAITING)?.as_boolean_opt().ok_or_else(missing)?;
        let is_own = |hash: u128| key_groups.contains(key_group_of(hash, self.max_parallelism));
        for (row, _) in hashes.iter().enumerate().filter(|(_, hash)| is_own(**hash)) {
            let seen = self.keys.entry(keys.value(row).to_owned()).or_default();
            match waiting.value(row) {
                true => _ = seen.waiting.insert(times.value(row)),
                false => seen.last = Some(times.value(row)),
            }
        }
        // What was stored may be another subtask's, too.
        self.changed = true;
        Ok(())
    }
}

const SEGMENT: &str = "keys";
const TIME: &str = "time";
const WAITING: &str = "waiting";

/// A column of texts, which may come as a dictionary or in another representation.
fn texts(rows: &RecordBatch, name: &str) -> Result<StringArray> {
    let column =
        rows.column_by_name(name).ok_or_else(|| EngineError::internal(format!("there is no column '{name}'")))?;
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Pauses as they are emitted: key, from when, until when.
fn rows(key: &str, pauses: &[(String, i64, i64)]) -> Result<RecordBatch> {
    let columns: [(&str, ArrayRef); 4] = [
        (key, Arc::new(StringArray::from_iter_values(pauses.iter().map(|(key, ..)| key)))),
        ("silent_from", times(pauses.iter().map(|(_, from, _)| *from))),
        ("silent_until", times(pauses.iter().map(|(_, _, until)| *until))),
        (
            "seconds",
            Arc::new(Float64Array::from_iter_values(
                pauses.iter().map(|(_, from, until)| (until - from) as f64 / 1000.0),
            )),
        ),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// The state as rows: a row for each time of each key. Any Parquet reader opens it.
fn stored(key: &str, keys: &BTreeMap<String, Seen>) -> Result<RecordBatch> {
    let mut times_of = Vec::new();
    for (key, seen) in keys {
        times_of.extend(seen.last.iter().map(|time| (key, *time, false)));
        times_of.extend(seen.waiting.iter().map(|time| (key, *time, true)));
    }
    let each = || times_of.iter();
    let columns: [(&str, ArrayRef); 3] = [
        (key, Arc::new(StringArray::from_iter_values(each().map(|(key, ..)| key)))),
        (TIME, times(each().map(|(_, time, _)| *time))),
        (WAITING, Arc::new(BooleanArray::from_iter(each().map(|(.., waiting)| Some(*waiting))))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}
