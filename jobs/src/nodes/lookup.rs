//! `[lookup.NAME]`: adds what a table or a service outside knows about each row. Who is asked, and how, is the operator's own affair.

use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_engine::graph::{NodeRole, Remembers};
use weir_operators::definition::{KeyPath, Mistake, Reader};
use weir_operators::lookup::{KIND, LookupSettings, OnFailure};
use weir_operators::ports;
use weir_operators::schema::ColumnSchema;

use super::check::Check;
use super::found::Found;
use super::inputs::Inputs;
use super::node::Node;
use super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns, only, with};
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::types::Types;
use crate::builder::JobBuilder;
use weir_operators::definition::duration::show;

/// Adds what a table or a service outside knows about each row.
#[derive(Debug, Clone)]
pub struct Lookup {
    input: Inputs,
    settings: LookupSettings,
}

impl Lookup {
    /// What these settings say, about the rows of a node.
    pub fn over(input: impl Into<Inputs>, settings: LookupSettings) -> Self {
        Lookup { input: input.into(), settings }
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        let settings = LookupSettings::read(&node);
        node.finish();
        Lookup { input, settings }
    }
}

impl JobBuilder {
    /// Adds a lookup.
    #[must_use]
    pub fn lookup(self, name: impl Into<String>, lookup: Lookup) -> Self {
        self.node(name, Box::new(lookup))
    }
}

impl Node for Lookup {
    fn kind(&self) -> &'static str {
        "lookup"
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        vec![("input", &self.input)]
    }

    fn read_from(&mut self, output: &str) {
        self.input = output.into();
    }

    fn outputs(&self) -> &'static [Output] {
        &[Output::DeadLetters]
    }

    fn look(&self, path: &KeyPath, runs_here: bool) -> Found {
        let mut found = Found::default();
        self.settings.check_secrets(runs_here, path, &mut found.mistakes);
        found
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let given = check.take_given()?;
        if given.results.is_some() {
            let message =
                "its rows are results, which later revisions correct, and a revision may be answered differently";
            let mistake = Mistake::new(check.path.key("input"), message);
            check.mistakes.push(mistake.expected("the name of a source, a map or a dedup before any aggregate"));
            return None;
        }
        for column in self.settings.key() {
            let place = self.settings.key_path(&check.path, &column);
            check.key_column(place, &column, &given.main);
        }
        let main = self.settings.check(&given.main, &check.path, check.mistakes)?;
        Some(Types { main, origin: self.kind().to_owned(), ..given.passed_on() })
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let operator = LookupOperator { settings: self.settings.clone() };
        // Equal keys come together: they are asked about once, and what is remembered is where they come, at any parallelism.
        let step = planning.hashed(planning.id.clone(), from.concat(), self.settings.key(), operator);
        planning.output(Output::DeadLetters, vec![(step, ports::DEAD_LETTERS)]);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
    }
}

#[derive(Debug)]
struct LookupOperator {
    settings: LookupSettings,
}

impl LookupOperator {
    fn is_added(&self, name: &str) -> bool {
        self.settings.added().column(name).is_some()
    }
}

impl Operator for LookupOperator {
    fn needs(&self, output: &Names, _given: &ColumnSchema) -> Names {
        let of_input = output.iter().filter(|name| !self.is_added(name)).cloned().collect();
        with(of_input, self.settings.key())
    }

    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        self.settings.output(given)
    }

    fn narrowed(&self, input: ColumnSchema, needed: &Names) -> StepColumns {
        let output = only(&self.settings.output(&input), needed);
        // All of them are named, too: the added columns are a JSON map in the configuration, which does not keep their order.
        let kept = Some(output.names().map(str::to_owned).collect());
        StepColumns { input, output, kept, ..StepColumns::default() }
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        let config = self.settings.config(columns.input.clone(), columns.kept.clone());
        Configuration { role: NodeRole::Lookup, kind: KIND, config: json!(config) }
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let remembered = self.settings.remembers().map_or_else(String::new, |cache| {
            let ttl = std::time::Duration::from_millis(cache.ttl_ms.unsigned_abs());
            format!(", and up to {} answers for {}", cache.size, show(ttl))
        });
        let waits = match self.settings.failure() {
            OnFailure::Fail => ", waits for answers",
            OnFailure::DeadLetter | OnFailure::Null => "",
        };
        Note::of(format!("looks up {}{waits}", self.settings.note()))
            .with_state(format!("rows that wait for an answer{remembered}"))
    }

    fn memory(&self, _config: &Value, input: &ColumnSchema) -> Option<Memory> {
        let text = |columns: &ColumnSchema| {
            let shown = columns.columns.iter().map(|column| format!("{} {}", column.name, column.data_type));
            shown.collect::<Vec<_>>().join(", ")
        };
        let memory = Memory::of(Remembers::Rows, &[]).with("columns", text(input));
        Some(memory.with("schema", text(&self.settings.added())).with("on", self.settings.key().join(", ")))
    }
}
