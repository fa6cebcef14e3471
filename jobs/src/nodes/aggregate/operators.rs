//! The operators that an aggregate becomes: partial values before the exchange, their sums behind it, and the count of windows
//! for the closing table.

use serde_json::{Value, json};
use weir_engine::graph::Remembers;
use weir_operators::columns::WINDOW_END;
use weir_operators::schema::ColumnSchema;
use weir_operators::window::WindowRule;
use weir_operators::window_count::WindowCountConfig;

use super::super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns};
use super::super::window::Window;
use super::definition::Aggregate;
use super::step::AggregateStep;
use weir_operators::definition::duration::show;

/// Partial values of each batch.
#[derive(Debug)]
pub(super) struct LocalAggregate(pub(super) AggregateStep);

impl Operator for LocalAggregate {
    fn needs(&self, _output: &Names, _given: &ColumnSchema) -> Names {
        self.0.reads().collect()
    }

    /// Partials are the operators' own affair: the columns continue in what follows from the input.
    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        given.clone()
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration::operator("local_aggregate", json!(self.0.config()))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        Note::of(format!("partial {}", calls(&self.0)))
    }

    fn shows_columns(&self) -> bool {
        false
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        None
    }
}

/// The values of each key and window.
#[derive(Debug)]
pub(super) struct GlobalAggregate(pub(super) AggregateStep);

impl Operator for GlobalAggregate {
    /// Checked when the types were inferred.
    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        self.0.output(given).unwrap_or_default()
    }

    fn takes_partials(&self) -> bool {
        true
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        let window = self.0.aggregate.window;
        let kind = match (window.are_sessions(), window.is_global()) {
            (true, _) => "session_aggregate",
            (_, true) => "unwindowed_aggregate",
            _ => "global_aggregate",
        };
        Configuration::operator(kind, json!(self.0.config()))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let aggregate = &self.0.aggregate;
        let lateness = show(aggregate.allowed_lateness);
        let per = grouped(aggregate);
        let window = aggregate.window.note();
        if let Window::Global { ttl } = aggregate.window.kind {
            let every =
                aggregate.emit.map_or("with every checkpoint".to_owned(), |every| format!("every {}", show(every)));
            let does = format!("{} {per}, {window}, emitted {every}", calls(&self.0));
            return Note::of(does).with_state(match ttl {
                None if aggregate.key.is_empty() => "one row".to_owned(),
                None => "one row per key, for ever: it grows with the number of keys, and `ttl` in the `window` would bound it"
                    .to_owned(),
                Some(ttl) => format!("one row per key, until twice {} after its last event", show(ttl)),
            });
        }
        let mut does = format!("{} {per}, {window}, allowed lateness {lateness}", calls(&self.0));
        if let (Some(_), Some(every)) = (self.0.running, aggregate.emit) {
            does.push_str(&format!(", running counts every {}", show(every)));
        }
        let kept = if aggregate.is_of_sessions() { "open sessions" } else { "open slices of windows" };
        let kept = if aggregate.key.is_empty() { kept.to_owned() } else { format!("{kept} per key") };
        Note::of(does).with_state(format!("{kept}, until {lateness} after their end"))
    }

    fn memory(&self, config: &Value, input: &ColumnSchema) -> Option<Memory> {
        Some(memory_of(config, input))
    }
}

/// A row for each window of a batch of results.
#[derive(Debug)]
pub(super) struct WindowMarks;

impl Operator for WindowMarks {
    fn needs(&self, _output: &Names, _given: &ColumnSchema) -> Names {
        Names::from([WINDOW_END.to_owned()])
    }

    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        let ends = given.columns.iter().filter(|column| column.name == WINDOW_END);
        ColumnSchema { columns: ends.cloned().collect() }
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration::operator("window_marks", json!({}))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        Note::of("a row for each window of a batch")
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        None
    }
}

/// How many windows there are: a window is a row here, so that one subtask has time for all of them.
#[derive(Debug)]
pub(super) struct WindowCount(pub(super) WindowRule);

impl Operator for WindowCount {
    fn needs(&self, _output: &Names, _given: &ColumnSchema) -> Names {
        Names::from([WINDOW_END.to_owned()])
    }

    fn output(&self, _given: &ColumnSchema) -> ColumnSchema {
        ColumnSchema::default()
    }

    fn is_single(&self) -> bool {
        true
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration::operator("window_count", json!(WindowCountConfig { windows: self.0 }))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        Note::of("counts windows for the summary").with_state("open windows")
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        Some(Memory::of(Remembers::State, &["windows"]))
    }
}

/// What checkpoints are told of groups that are kept.
pub(super) fn memory_of(config: &Value, input: &ColumnSchema) -> Memory {
    let calls = config["aggregates"].as_array().into_iter().flatten();
    let select: Vec<String> = calls.map(|call| call_of(call, input)).collect();
    let meaning = &["key", "window", "offset_ms", "timezone", "allowed_lateness_ms"];
    let memory = Memory::of(Remembers::State, meaning).with_key();
    memory.with("select", select.join(", "))
}

/// By what an aggregate groups, for people.
pub(super) fn grouped(aggregate: &Aggregate) -> String {
    match aggregate.key.as_slice() {
        [] => "over all rows".to_owned(),
        key => format!("per {}", key.join(", ")),
    }
}

/// The calls, for people.
pub(super) fn calls(step: &AggregateStep) -> String {
    step.aggregate.select.iter().map(|(name, call)| format!("{name} = {call}")).collect::<Vec<_>>().join(", ")
}

/// A call by its function and the types of its arguments, not by how these are computed. What is kept of a list depends on its
/// limit; of all else the parameter only says what is read from it.
fn call_of(call: &Value, input: &ColumnSchema) -> String {
    let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let data_type = |key: &str| {
        call[key].as_str().map(|name| match input.column(name) {
            Some(column) => format!("{}", column.data_type),
            None => "?".into(),
        })
    };
    let limit = call["parameter"].as_f64().filter(|_| text("function").starts_with("array_agg"));
    let by = data_type("by").into_iter().chain(limit.map(|limit| limit.to_string()));
    let arguments: Vec<String> = data_type("argument").into_iter().chain(by).collect();
    let arguments = if arguments.is_empty() { "*".to_owned() } else { arguments.join(", ") };
    format!("{} = {}({arguments})", text("output"), text("function"))
}
