//! A source as it runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use weir_engine::graph::{NodeRole, Remembers};
use weir_operators::definition::duration::show;
use weir_operators::schema::ColumnSchema;
use weir_operators::source::settings::SourceSettings;
use weir_operators::source::{JumpAfter, SourceConnector, WatermarkSettings};

use super::super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns, only};
use super::event_time::SourceTime;

/// A source, the columns that it can give, and its event time among them.
#[derive(Debug)]
pub(super) struct SourceOperator {
    pub(super) connector: Arc<dyn SourceConnector>,
    pub(super) watermark: WatermarkSettings,
    /// The event time, as written.
    pub(super) written_time: Option<String>,
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
        let settings = SourceSettings {
            columns: columns.output.clone(),
            event_time: self.time.as_ref().map(|time| time.name.clone()),
            computed_time: columns.computed.clone(),
            watermark: self.watermark.clone(),
        };
        let (kind, config) = (self.connector.kind().name, settings.beside(self.connector.config()));
        Configuration { role: NodeRole::Source, kind, config }
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let what = self.connector.note();
        Note::of(match &self.written_time {
            Some(column) if self.connector.bounds_time() => format!("{what}, event time {column}"),
            Some(column) => {
                let delay = show(Duration::from_millis(self.watermark.delay_ms.unsigned_abs()));
                format!("{what}, event time {column}, watermark delay {delay}, {}", self.ahead_note())
            }
            None => what,
        })
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        Some(Memory::of(Remembers::State, self.connector.kind().meaning))
    }
}

impl SourceOperator {
    /// What protects its time from wrong clocks.
    fn ahead_note(&self) -> String {
        let shown = |ms: i64| show(Duration::from_millis(ms.unsigned_abs()));
        let Some(max_jump) = self.watermark.max_jump_ms else {
            return "no max_jump: a date up to a day ahead is accepted".into();
        };
        let JumpAfter { rows, span_ms } = self.watermark.jump_after.unwrap_or_default();
        let clock = self.watermark.max_ahead_ms.map_or(String::new(), |ahead| format!(", max_ahead {}", shown(ahead)));
        format!("max_jump {} until {rows} agree over {}{clock}", shown(max_jump), shown(span_ms))
    }
}
