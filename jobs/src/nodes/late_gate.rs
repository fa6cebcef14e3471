//! The gate that decides which rows are late: an operator that no definition names, before the nodes that mind.

use serde_json::{Value, json};
use weir_engine::graph::Remembers;
use weir_operators::late_gate::{LateGateConfig, LateRule};
use weir_operators::schema::ColumnSchema;
use weir_operators::window::{WindowRule, WindowSpec};

use super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns, with};
use weir_operators::definition::duration::show;

/// A gate for late rows.
#[derive(Debug)]
pub(crate) struct LateGate {
    pub(crate) rule: LateRule,
    pub(crate) time: String,
    /// Against the event time of all subtasks, not of the row's own split.
    pub(crate) merged: bool,
}

impl Operator for LateGate {
    fn needs(&self, output: &Names, _given: &ColumnSchema) -> Names {
        with(output.clone(), [self.time.clone()])
    }

    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        given.clone()
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        let config = LateGateConfig { rule: self.rule, time_column: self.time.clone() };
        Configuration::operator(if self.merged { "merged_late_gate" } else { "late_gate" }, json!(config))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let span = |ms: i64| show(std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        let does = match self.rule {
            LateRule::Window(rule) if rule.takes_all() => "late: nothing, there are no windows".to_owned(),
            LateRule::Window(WindowRule { window: WindowSpec::Global { ttl_ms: Some(ttl_ms) }, .. }) => {
                format!("late: {} or more behind", span(ttl_ms))
            }
            LateRule::Window(rule) => {
                format!("late: {} or more behind the end of its last window", span(rule.allowed_lateness_ms))
            }
            LateRule::Ttl { ttl_ms } => format!("late: {} or more behind", span(ttl_ms)),
            LateRule::Row { allowed_lateness_ms: 0 } => "late: behind at all".to_owned(),
            LateRule::Row { allowed_lateness_ms } => format!("late: more than {} behind", span(allowed_lateness_ms)),
        };
        match self.merged {
            false => Note::of(does),
            true => {
                Note::of(format!("{does}, of files that were silent")).with_state("how far event time has advanced")
            }
        }
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        self.merged.then(|| Memory::of(Remembers::State, &[]))
    }
}
