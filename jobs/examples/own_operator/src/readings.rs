//! The source `readings`: sensors that report once a second, each a split that is read from where it was left. Now and then a sensor
//! is silent for some minutes.
//!
//! A connector knows which splits there are, which are this subtask's, and how to read one from a position on. Event time, watermarks,
//! dead letters, checkpoints and progress are those of every source: [`SourceReader`] sees to them.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir::{
    EngineError, Result,
    arrow::{
        array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray},
        datatypes::DataType,
        record_batch::RecordBatch,
    },
    operator::event_time_type,
    settings::{Column, ColumnSchema, KeyPath, Mistake, Reader},
    source::{
        BoxFuture, Connector, DeadLetter, Location, Nature, OpenedSplit, OperatorContext, RestoredSplit, Source,
        SourceConnector, SourceGiven, SourceKind, SourceReader, SourceSettings, SplitEvent, SplitReader, Total,
    },
};

/// What `connector = "readings"` is.
pub static KIND: SourceKind = SourceKind {
    name: "readings",
    read: |keys| Box::new(Readings::read(keys)),
    stored: |config| Ok(Box::new(Readings::deserialize(config)?)),
    meaning: &["sensors", "readings", "event_time"],
};

/// 2026-01-01 00:00 UTC.
const BEGIN_MS: i64 = 1_767_225_600_000;
/// After so many readings a sensor is silent, one more for each sensor.
const BETWEEN_SILENCES: u64 = 600;
/// How long the first silence is; each is longer by that.
const SILENCE_MS: i64 = 120_000;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    /// How many sensors there are.
    pub sensors: u64,
    /// How often each reports.
    pub readings: u64,
}

impl Readings {
    fn read(keys: &Reader<'_>) -> Self {
        let number = |key: &str, usual| keys.positive_integer(key).unwrap_or(usual);
        Readings { sensors: number("sensors", 4), readings: number("readings", 3600) }
    }
}

impl SourceConnector for Readings {
    fn kind(&self) -> &'static SourceKind {
        &KIND
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn columns(&self, _given: &SourceGiven<'_>, _at: &KeyPath, _mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        let column = |(name, data_type): (&str, DataType)| Column { name: name.into(), data_type, nullable: false };
        let columns = [("sensor", DataType::Utf8), ("at", event_time_type()), ("celsius", DataType::Float64)];
        Some(ColumnSchema { columns: columns.map(column).into() })
    }

    fn never_computes_time(&self) -> Option<(&'static str, &'static str)> {
        Some(("readings have their event time in a column", "at"))
    }

    fn nature(&self) -> Nature {
        Nature::BOUNDED
    }

    fn note(&self) -> String {
        format!("{} readings of each of {} sensors", self.readings, self.sensors)
    }

    fn total(&self) -> Option<Total> {
        Some(Total::Events(self.sensors * self.readings))
    }

    /// It reads nothing from outside, so that any cluster may run it.
    fn locations(&self) -> Result<Vec<Location>> {
        Ok(Vec::new())
    }

    fn build(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<Box<dyn Source>> {
        let sensors = Sensors {
            readings: self.clone(),
            columns: settings.column_names(),
            subtask: context.subtask as u64,
            parallelism: context.parallelism as u64,
        };
        Ok(Box::new(SourceReader::new(settings.reader_settings(), Box::new(sensors), context)))
    }
}

/// The sensors of one subtask.
struct Sensors {
    readings: Readings,
    /// The columns that the job needs.
    columns: Vec<String>,
    subtask: u64,
    parallelism: u64,
}

impl Connector for Sensors {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        let own = (0..self.readings.sensors).filter(|sensor| sensor % self.parallelism == self.subtask);
        let opened = own.map(|sensor| {
            let id = format!("sensor-{sensor}");
            let position = match restored.iter().find(|split| split.id == id) {
                Some(split) => u64::deserialize(&split.position)
                    .map_err(|error| EngineError::corrupt(format!("the position of '{id}' cannot be read: {error}")))?,
                None => 0,
            };
            let columns = self.columns.clone();
            let reader = Sensor { sensor, next: position, end: self.readings.readings, columns };
            Ok(OpenedSplit { name: id.clone(), id, reader: Box::new(reader), newest_before_ms: None, oldest_ms: None })
        });
        let opened: Result<Vec<OpenedSplit>> = opened.collect();
        Box::pin(async { opened })
    }

    fn nature(&self) -> Nature {
        self.readings.nature()
    }
}

/// One sensor, read as a split.
struct Sensor {
    sensor: u64,
    /// The next reading, which is the split's position.
    next: u64,
    end: u64,
    columns: Vec<String>,
}

impl Sensor {
    /// When the n-th reading was taken.
    fn time(&self, n: u64) -> i64 {
        let silences = (n / (BETWEEN_SILENCES + self.sensor)) as i64;
        BEGIN_MS + n as i64 * 1000 + silences * (silences + 1) / 2 * SILENCE_MS
    }

    fn rows(&self, range: std::ops::Range<u64>) -> Result<RecordBatch> {
        let name = format!("sensor-{}", self.sensor);
        let celsius = |n: u64| 18.0 + ((n + 7 * self.sensor) % 90) as f64 / 10.0;
        let columns = self.columns.iter().map(|column| {
            let values: ArrayRef = match column.as_str() {
                "sensor" => Arc::new(StringArray::from_iter_values(range.clone().map(|_| &name))),
                "at" => {
                    let times = range.clone().map(|n| self.time(n));
                    Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
                }
                _ => Arc::new(Float64Array::from_iter_values(range.clone().map(celsius))),
            };
            (column, values)
        });
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}

impl SplitReader for Sensor {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        Box::pin(async move {
            let until = self.end.min(self.next.saturating_add(max_rows as u64));
            if until <= self.next {
                return Ok(SplitEvent::Finished);
            }
            let columns = self.rows(self.next..until)?;
            self.next = until;
            Ok(SplitEvent::Records { columns, dead_letters: Vec::new() })
        })
    }

    fn position(&self) -> serde_json::Value {
        self.next.into()
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let locate = |row: &usize| DeadLetter { offset: *row as i64, reason: String::new(), raw: "a reading".into() };
        rows.iter().map(locate).collect()
    }
}
