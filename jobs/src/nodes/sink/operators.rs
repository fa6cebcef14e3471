//! A sink as it runs, and the operator that holds rows back before it.

use serde_json::{Value, json};
use weir_engine::graph::{NodeRole, Remembers};
use weir_operators::hold::HoldRule;
use weir_operators::schema::ColumnSchema;
use weir_operators::sink::{SinkConnector, SinkGiven, SinkJob, SinkKind};

use super::super::operator::{Configuration, Memory, Note, Operator, StepColumns};

/// Rows on their way to a sink.
#[derive(Debug)]
pub(super) struct Hold(pub(super) HoldRule);

impl Operator for Hold {
    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        given.clone()
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        Configuration::operator("hold", json!(self.0.config(columns.input.clone())))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        Note::of(self.0.note()).with_state("the rows that it holds")
    }

    fn memory(&self, _config: &Value, input: &ColumnSchema) -> Option<Memory> {
        let columns: Vec<String> =
            input.columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        Some(Memory::of(Remembers::Rows, &[]).with("columns", columns.join(", ")))
    }
}

/// A sink.
#[derive(Debug)]
pub(super) struct SinkOperator {
    kind: &'static SinkKind,
    config: Value,
    note: String,
}

impl SinkOperator {
    /// Of a connector, for these rows.
    pub(super) fn new(connector: &dyn SinkConnector, rows: &SinkGiven<'_>, job: &SinkJob<'_>) -> Self {
        SinkOperator { kind: connector.kind(), config: connector.config(rows, job), note: connector.note() }
    }
}

impl Operator for SinkOperator {
    fn output(&self, _given: &ColumnSchema) -> ColumnSchema {
        ColumnSchema::default()
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration { role: NodeRole::Sink, kind: self.kind.name, config: self.config.clone() }
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        Note::of(self.note.clone())
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        Some(Memory::of(Remembers::Progress, self.kind.meaning))
    }
}
