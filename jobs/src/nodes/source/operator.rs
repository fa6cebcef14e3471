//! A source as it runs.

use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::graph::{NodeRole, Remembers};
use weir_operators::schema::ColumnSchema;
use weir_operators::source::JumpAfter;

use super::super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns, only};
use super::connector::{Format, SourceConnector};
use super::definition::Source;
use super::event_time::SourceTime;
use weir_operators::definition::duration::{millis, show};

/// A source, the columns that it can give, and its event time among them.
#[derive(Debug)]
pub(super) struct SourceOperator {
    pub(super) source: Source,
    pub(super) columns: ColumnSchema,
    pub(super) time: Option<SourceTime>,
}

impl Operator for SourceOperator {
    fn needs(&self, _output: &Names, _given: &ColumnSchema) -> Names {
        Names::new()
    }

    fn output(&self, _given: &ColumnSchema) -> ColumnSchema {
        self.columns.clone()
    }

    fn narrowed(&self, _input: ColumnSchema, needed: &Names) -> StepColumns {
        let mut needed = needed.clone();
        needed.extend(self.time.iter().map(|time| time.name.clone()));
        let output = only(&self.columns, &needed);
        let computed = self.time.as_ref().and_then(|time| time.read(&output));
        StepColumns { output, computed, ..StepColumns::default() }
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        let source = &self.source;
        let (kind, mut config) = source.connector.configuration();
        config["columns"] = json!(columns.output);
        config["event_time"] = json!(self.time.as_ref().map(|time| &time.name));
        if let Some(computed) = &columns.computed {
            config["computed_time"] = json!(computed);
        }
        config["watermark"] = json!({
            "delay_ms": millis(source.delay),
            "idle_after_ms": source.idle_after.map(millis),
            "max_jump_ms": source.max_jump.map(millis),
            "jump_after": source.jump_after,
            "max_ahead_ms": source.max_ahead.map(millis),
        });
        Configuration { role: NodeRole::Source, kind, config }
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let (source, what) = (&self.source, self.source.connector.note());
        Note::of(match &source.event_time {
            Some(column) if source.connector.is_by_partition() => format!("{what}, event time {column}"),
            Some(column) => {
                let delay = show(source.delay);
                format!("{what}, event time {column}, watermark {delay} behind, {}", ahead_note(source))
            }
            None => what,
        })
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        let settings = &["path", "format", "follow", "by_partition", "range", "partitions", "event_time", "stream"];
        Some(Memory::of(Remembers::State, settings))
    }
}

/// What protects a source's time from wrong clocks.
fn ahead_note(source: &Source) -> String {
    let Some(max_jump) = source.max_jump else {
        return "no max_jump: a date up to a day ahead is believed".into();
    };
    let JumpAfter { rows, span_ms } = source.jump_after.unwrap_or_default();
    let span = show(Duration::from_millis(span_ms.unsigned_abs()));
    let clock = source.max_ahead.map_or(String::new(), |ahead| format!(", max_ahead {}", show(ahead)));
    format!("max_jump {} until {rows} agree over {span}{clock}", show(max_jump))
}

impl SourceConnector {
    /// Its name in the registry of operators, and its settings.
    fn configuration(&self) -> (&'static str, Value) {
        match self {
            SourceConnector::Generator { stream, clicks_per_second } => {
                ("generator", json!({ "stream": stream, "clicks_per_second": clicks_per_second }))
            }
            SourceConnector::Files(files) => {
                let mut config = json!({ "path": files.path, "follow": files.follow });
                let optional = [
                    ("max_line_bytes", files.max_line_bytes),
                    ("batch_rows", files.batch_rows),
                    ("poll_ms", files.poll.map(unsigned_millis)),
                    ("discover_ms", files.discover.map(unsigned_millis)),
                    ("rotation_grace_ms", files.rotation_grace.map(unsigned_millis)),
                ];
                for (key, value) in optional.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                    config[key] = value.into();
                }
                if let Some(copies) = files.copies {
                    config["copies"] = json!(copies);
                }
                if files.by_partition {
                    config["by_partition"] = true.into();
                }
                if files.all_or_nothing {
                    config["all_or_nothing"] = true.into();
                }
                if !files.partitions.columns.is_empty() {
                    config["partitions"] = json!(files.partitions);
                }
                if let Some(range) = &files.range {
                    config["range"] = json!(range);
                }
                match &files.format {
                    Format::ClickLog => config["format"] = "click_log".into(),
                    Format::Csv { schema, delimiter } => {
                        config["format"] = "csv".into();
                        config["schema"] = json!(schema);
                        config["delimiter"] = json!(delimiter);
                    }
                    Format::Json { schema } => {
                        config["format"] = "json".into();
                        config["schema"] = json!(schema);
                    }
                    Format::Parquet { schema } => {
                        config["format"] = "parquet".into();
                        if let Some(schema) = schema {
                            config["schema"] = json!(schema);
                        }
                    }
                }
                ("files", config)
            }
        }
    }

    /// What it reads, for people.
    fn note(&self) -> String {
        match self {
            SourceConnector::Generator { .. } => "generated clicks".to_owned(),
            SourceConnector::Files(files) => {
                let format = match &files.format {
                    Format::ClickLog => "click logs",
                    Format::Csv { .. } => "CSV files",
                    Format::Json { .. } => "JSON lines",
                    Format::Parquet { .. } => "Parquet files",
                };
                let follow = if files.follow { ", followed" } else { "" };
                let by_hour = if files.by_partition { ", an archive by hour" } else { "" };
                let folders: Vec<&str> = files.partitions.columns.iter().map(|column| column.name.as_str()).collect();
                let folders =
                    if folders.is_empty() { String::new() } else { format!(", {} from folders", folders.join(", ")) };
                format!("{format} at {}{follow}{by_hour}{folders}", files.path)
            }
        }
    }
}

fn unsigned_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
