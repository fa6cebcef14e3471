//! What an operator of the plan is to the steps that prune columns and make the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use serde_json::Value;
use weir_engine::graph::{NodeRole, Remembers};
use weir_operators::map::SelectItem;
use weir_operators::schema::ColumnSchema;
use weir_operators::source::computed_time::ComputedTime;

/// Names of columns.
pub(crate) type Names = BTreeSet<String>;

/// An operator of the plan.
pub(crate) trait Operator: Debug {
    /// The columns that it needs of its input, where these are needed of its main output.
    fn needs(&self, _output: &Names, given: &ColumnSchema) -> Names {
        given.names().map(str::to_owned).collect()
    }

    /// The same of one of its inputs, if it has several.
    fn needs_at(&self, _input: usize, output: &Names, given: &ColumnSchema) -> Names {
        self.needs(output, given)
    }

    /// What its main output holds, given what comes in; nothing for sinks.
    fn output(&self, given: &ColumnSchema) -> ColumnSchema;

    /// The columns around it, where only some are needed of its main output.
    fn narrowed(&self, input: ColumnSchema, _needed: &Names) -> StepColumns {
        StepColumns { output: self.output(&input), input, ..StepColumns::default() }
    }

    /// Whether what comes in are partial results, which go through an exchange whole.
    fn takes_partials(&self) -> bool {
        false
    }

    /// Whether one subtask does all of it.
    fn is_single(&self) -> bool {
        false
    }

    /// What the engine is told.
    fn configuration(&self, columns: &StepColumns) -> Configuration;

    /// What people are told.
    fn note(&self, columns: &StepColumns) -> Note;

    /// Whether people see the columns that it puts out.
    fn shows_columns(&self) -> bool {
        true
    }

    /// What checkpoints are told; none: it stands between the nodes of the definition and follows from them.
    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        Some(Memory::nothing())
    }
}

/// The columns around a step.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepColumns {
    /// What comes in, at the first input.
    pub(crate) input: ColumnSchema,
    /// What its main output holds; empty for sinks.
    pub(crate) output: ColumnSchema,
    /// Of a source whose event time is computed: how, and the columns that are read.
    pub(crate) computed: Option<ComputedTime>,
    /// The items of a map, without those that are not needed.
    pub(crate) select: Option<Vec<SelectItem>>,
    /// The columns that a dedup or filters let through; none: all there are.
    pub(crate) kept: Option<Vec<String>>,
    /// The columns that the edges into each of its inputs carry; none: all there are.
    pub(crate) carried: Vec<Option<Vec<String>>>,
}

/// What the engine is told of an operator.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) role: NodeRole,
    /// The name in the registry of operators.
    pub(crate) kind: &'static str,
    pub(crate) config: Value,
}

impl Configuration {
    /// That of an operator that is neither a source nor a sink.
    pub(crate) fn operator(kind: &'static str, config: Value) -> Self {
        Configuration { role: NodeRole::Operator, kind, config }
    }
}

/// What people are told of an operator.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    /// What it does, in the words of the definition.
    pub(crate) does: String,
    /// What it remembers; none: nothing.
    pub(crate) state: Option<String>,
}

impl Note {
    /// That of an operator that remembers nothing.
    pub(crate) fn of(does: impl Into<String>) -> Self {
        Note { does: does.into(), state: None }
    }

    /// Adds what it remembers.
    pub(crate) fn with_state(self, state: impl Into<String>) -> Self {
        Note { state: Some(state.into()), ..self }
    }
}

/// What an operator remembers, and what says what that means.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) remembers: Remembers,
    /// The settings that say it.
    pub(crate) settings: &'static [&'static str],
    /// Whether the types of the columns in the setting `key` do, too.
    pub(crate) typed_key: bool,
    /// What else does.
    pub(crate) more: BTreeMap<String, String>,
}

impl Memory {
    /// No memory at all.
    pub(crate) fn nothing() -> Self {
        Memory::of(Remembers::Nothing, &[])
    }

    /// Memory that these settings say the meaning of.
    pub(crate) fn of(remembers: Remembers, settings: &'static [&'static str]) -> Self {
        Memory { remembers, settings, typed_key: false, more: BTreeMap::new() }
    }

    /// The same by a key, whose types matter.
    pub(crate) fn with_key(self) -> Self {
        Memory { typed_key: true, ..self }
    }

    /// Adds what is no setting of its own.
    pub(crate) fn with(mut self, name: &str, meaning: String) -> Self {
        self.more.insert(name.to_owned(), meaning);
        self
    }
}

/// These names and more.
pub(crate) fn with(mut names: Names, more: impl IntoIterator<Item = String>) -> Names {
    names.extend(more);
    names
}

/// The columns that are among these names.
pub(crate) fn only(schema: &ColumnSchema, names: &Names) -> ColumnSchema {
    ColumnSchema { columns: schema.columns.iter().filter(|column| names.contains(&column.name)).cloned().collect() }
}

/// Columns around a step that copies rows: it copies those that are needed.
pub(crate) fn copying(operator: &dyn Operator, input: ColumnSchema, needed: &Names) -> StepColumns {
    let kept: Vec<String> = input.names().filter(|name| needed.contains(*name)).map(str::to_owned).collect();
    let kept = (kept.len() < input.columns.len()).then_some(kept);
    let output = match &kept {
        Some(_) => operator.output(&only(&input, needed)),
        None => operator.output(&input),
    };
    StepColumns { input, output, kept, ..StepColumns::default() }
}
