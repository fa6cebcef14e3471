//! A join of results as it runs.

use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::graph::Remembers;
use weir_operators::columns::WINDOW_END;
use weir_operators::definition::duration::show;
use weir_operators::result_rows::RESULT_COLUMNS;
use weir_operators::schema::ColumnSchema;
use weir_operators::window_join::{JoinType, WindowJoinConfig, WindowJoinInput, columns};

use super::super::super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns};
use super::super::super::window::Windows;
use super::super::sides::Sides;

/// Joins results of two inputs.
#[derive(Debug)]
pub(super) struct WindowJoinOperator {
    pub(super) config: WindowJoinConfig,
    pub(super) window: Windows,
    /// What its inputs read, for people.
    pub(super) left: String,
    pub(super) right: String,
}

impl WindowJoinOperator {
    fn on(&self) -> String {
        Sides::shown_on([&self.config.left.on, &self.config.right.on])
    }
}

impl Operator for WindowJoinOperator {
    /// What is kept of a side is state, whoever reads the results.
    fn needs_at(&self, input: usize, _output: &Names, _given: &ColumnSchema) -> Names {
        let WindowJoinInput { kept, .. } = if input == 0 { &self.config.left } else { &self.config.right };
        kept.names().chain(RESULT_COLUMNS).chain([WINDOW_END]).map(str::to_owned).collect()
    }

    fn output(&self, _given: &ColumnSchema) -> ColumnSchema {
        columns(&self.config)
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration::operator("window_join", json!(self.config))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let kind = match self.config.join_type {
            JoinType::Inner => "inner",
            JoinType::Left => "left",
            JoinType::Right => "right",
            JoinType::Full => "full",
        };
        let on = [String::from("the window"), self.on()].into_iter().filter(|on| !on.is_empty());
        let on = on.collect::<Vec<_>>().join(", ");
        let does = format!("{} {kind} join {} on {on}, {}", self.left, self.right, self.window.note());
        let lateness = Duration::from_millis(self.config.windows.allowed_lateness_ms.unsigned_abs());
        let kept = format!("the newest results of both sides, until {} after their window", show(lateness));
        Note::of(does).with_state(kept)
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        let kept = |input: &WindowJoinInput| {
            let columns = input.kept.columns.iter().map(|column| format!("{} {}", column.name, column.data_type));
            let key = if input.is_single { "one for each" } else { "any number for each" };
            columns.chain([key.to_owned()]).collect::<Vec<_>>().join(", ")
        };
        let settings = &["type", "window", "offset_ms", "timezone", "allowed_lateness_ms"];
        let memory = Memory::of(Remembers::State, settings).with("on", self.on());
        let memory = memory.with("columns of the left", kept(&self.config.left));
        Some(memory.with("columns of the right", kept(&self.config.right)))
    }
}
