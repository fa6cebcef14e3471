//! A join of events as it runs.

use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::graph::Remembers;
use weir_operators::definition::duration::show;
use weir_operators::join::{JoinConfig, JoinInput, Match, columns};
use weir_operators::schema::ColumnSchema;

use super::super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns};
use super::sides::Sides;

/// Matches rows of two inputs.
#[derive(Debug)]
pub(super) struct JoinOperator {
    pub(super) config: JoinConfig,
    /// What its inputs read, for people.
    pub(super) left: String,
    pub(super) right: String,
}

impl JoinOperator {
    fn span(ms: i64) -> String {
        show(Duration::from_millis(ms.unsigned_abs()))
    }

    fn on(&self) -> String {
        Sides::shown_on([&self.config.left.on, &self.config.right.on])
    }
}

impl Operator for JoinOperator {
    /// What is kept of a side tells its rows apart, so it is not for those who read the results to say what that is.
    fn needs_at(&self, input: usize, _output: &Names, _given: &ColumnSchema) -> Names {
        let JoinInput { time_column, kept, .. } = if input == 0 { &self.config.left } else { &self.config.right };
        kept.names().map(str::to_owned).chain([time_column.clone()]).collect()
    }

    fn output(&self, _given: &ColumnSchema) -> ColumnSchema {
        columns(&self.config)
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration::operator("join", json!(self.config))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let JoinConfig { before_ms, after_ms, allowed_lateness_ms, .. } = self.config;
        let which = match self.config.matching {
            Match::Last => "the last",
            Match::First => "the first",
            Match::All => "each",
        };
        let does = format!(
            "{} with {which} of {} of the same {}, {}",
            self.left,
            self.right,
            self.on(),
            match (before_ms, after_ms) {
                (0, 0) => "at the same time".to_owned(),
                (before, 0) => format!("up to {} before", Self::span(before)),
                (0, after) => format!("up to {} after", Self::span(after)),
                (before, after) => format!("from {} before to {} after", Self::span(before), Self::span(after)),
            }
        );
        let late = match allowed_lateness_ms {
            0 => String::new(),
            late => format!(", rows up to {} late", Self::span(late)),
        };
        let kept = format!(
            "left rows for {} of event time, right rows for {}, in buckets",
            Self::span(self.config.left_ttl_ms()),
            Self::span(self.config.right_ttl_ms())
        );
        Note::of(does + &late).with_state(kept)
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        let kept = |input: &JoinInput| {
            let columns = input.kept.columns.iter().map(|column| format!("{} {}", column.name, column.data_type));
            columns.chain([format!("{} as event time", input.time_column)]).collect::<Vec<_>>().join(", ")
        };
        let memory = Memory::of(Remembers::State, &["before_ms", "after_ms", "allowed_lateness_ms", "match"]);
        let memory = memory.with("on", self.on()).with("columns of the left", kept(&self.config.left));
        Some(memory.with("columns of the right", kept(&self.config.right)))
    }
}
