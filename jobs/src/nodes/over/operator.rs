//! The operator that an over becomes.

use serde_json::{Value, json};
use weir_engine::graph::Remembers;
use weir_operators::schema::ColumnSchema;

use super::super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns, only};
use super::step::OverStep;
use weir_operators::definition::duration::show;

/// What says what its state means.
const MEANING: &[&str] = &["key", "within_ms", "rows", "lateness_ms", "once"];
/// The same where it is remembered of which rows the condition was true.
const MEANING_ONCE: &[&str] = &["key", "within_ms", "rows", "lateness_ms", "once", "where"];

/// Rows, and what those before them say.
#[derive(Debug)]
pub(super) struct OverOperator {
    pub(super) step: OverStep,
    pub(super) output: ColumnSchema,
}

impl OverOperator {
    fn seen(&self) -> String {
        let over = &self.step.over;
        let of = if over.key.is_empty() { "all rows".to_owned() } else { format!("rows of {}", over.key.join(", ")) };
        let last = over.rows.map_or(String::new(), |rows| format!("the last {rows} "));
        format!("{last}{of} within {}", show(over.within))
    }
}

impl Operator for OverOperator {
    /// Rows of the same event time are in the order of all their columns: whoever reads only some of them is told the same.
    fn needs(&self, _output: &Names, _given: &ColumnSchema) -> Names {
        self.step.columns.clone()
    }

    fn output(&self, _given: &ColumnSchema) -> ColumnSchema {
        self.output.clone()
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        Configuration::operator("over", json!(self.step.config(&columns.input)))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let over = &self.step.over;
        let item = |(name, text): &(String, String)| {
            if text.trim_matches('"') == name { name.clone() } else { format!("{name} = {text}") }
        };
        let items: Vec<String> = over.select.iter().map(item).collect();
        let mut does = format!("{} over {}", items.join(", "), self.seen());
        if let Some(condition) = &over.condition {
            does.push_str(&format!("; where {condition}"));
        }
        if over.once {
            does.push_str(", once in succession");
        }
        if !over.allowed_lateness.is_zero() {
            does.push_str(&format!(", allowed lateness {}", show(over.allowed_lateness)));
        }
        Note::of(does).with_state(format!("the {}", self.seen()))
    }

    fn memory(&self, _config: &Value, input: &ColumnSchema) -> Option<Memory> {
        let meaning = if self.step.over.once { MEANING_ONCE } else { MEANING };
        let kept = only(input, &self.step.columns);
        let columns: Vec<String> =
            kept.columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        Some(Memory::of(Remembers::State, meaning).with_key().with("columns", columns.join(", ")))
    }
}
