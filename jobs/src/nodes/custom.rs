//! `[operator.NAME]`: an operator of another crate, by its `kind`. Its keys, its columns and what it remembers are its own affair.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_engine::graph::Remembers;
use weir_operators::extension::{AnyOperator, OperatorConfig, OperatorGiven, OperatorInput, OperatorSettings, Timing};
use weir_operators::late_gate::LateRule;
use weir_operators::schema::ColumnSchema;
use weir_operators::{Extensions, ports};

use super::check::Check;
use super::inputs::Inputs;
use super::node::Node;
use super::operator::{Configuration, Memory, Note, Operator, StepColumns};
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::types::Types;
use crate::builder::JobBuilder;
use weir_operators::definition::duration::{millis, show};
use weir_operators::definition::{Mistake, Reader};

/// An operator of another crate.
#[derive(Debug, Clone)]
pub struct Custom {
    input: Inputs,
    /// Its settings; none: the definition names no kind that there is.
    operator: Option<Arc<dyn AnyOperator>>,
}

impl Custom {
    /// What these settings make of rows.
    pub fn over(input: impl Into<Inputs>, settings: impl OperatorSettings) -> Self {
        Custom { input: input.into(), operator: Some(Arc::new(settings)) }
    }

    pub(crate) fn read(node: Reader<'_>, extensions: &Extensions) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        if !extensions.has_operators() {
            let mistake = Mistake::on_key(node.path.clone(), "this program has no operators of its own");
            node.note(mistake.expected("a program that adds some, as docs/own-operator.md tells"));
            node.ignore_others();
            return Custom { input, operator: None };
        }
        let Some(kind) = extensions.chosen_operator(&node) else {
            // No other key can be judged, and no column.
            node.ignore_others();
            return Custom { input, operator: None };
        };
        let operator = Some((kind.read)(&node));
        node.finish();
        Custom { input, operator }
    }

    fn timing(&self) -> Timing {
        self.operator.as_ref().map_or(Timing::Timeless, |operator| operator.timing())
    }
}

impl JobBuilder {
    /// Adds an operator of another crate.
    #[must_use]
    pub fn custom(self, name: impl Into<String>, custom: Custom) -> Self {
        self.node(name, Box::new(custom))
    }
}

impl Node for Custom {
    fn kind(&self) -> &'static str {
        "operator"
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        vec![("input", &self.input)]
    }

    fn read_from(&mut self, output: &str) {
        self.input = output.into();
    }

    fn outputs(&self) -> &'static [Output] {
        match self.timing() {
            Timing::Waits { .. } => &[Output::OnTime, Output::Late, Output::DeadLetters],
            Timing::Timeless | Timing::Passes => &[Output::DeadLetters],
        }
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let operator = self.operator.clone()?;
        let given = check.take_given()?;
        match operator.timing() {
            Timing::Waits { .. } => check.needs_event_time(&given),
            _ if given.results.is_some() && !operator.takes_results() => {
                let message =
                    format!("its rows are results, which later revisions correct, and {} takes none", operator.kind());
                let mistake = Mistake::new(check.path.key("input"), message);
                check.mistakes.push(mistake.expected("the name of a source, a map or a dedup before any aggregate"));
            }
            _ => {}
        }
        if !operator.key().is_empty() {
            check.key(operator.key(), &given.main);
        }
        let columns = operator.columns(&as_given(&given), &check.path, check.mistakes)?;
        Some(match operator.timing() {
            Timing::Passes => {
                let is_there = |time: &String| columns.column(time).is_some();
                let event_time = given.event_time.clone().filter(is_there);
                Types { event_time, main: columns, origin: self.kind().to_owned(), results: None, ..given.passed_on() }
            }
            Timing::Timeless | Timing::Waits { .. } => Types::of(columns, self.kind()),
        })
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let (Some(operator), Some(given)) = (self.operator.clone(), planning.given.first()) else { return };
        let key = operator.key().to_vec();
        let is_spread = planning.is_spread(0) || key.is_empty();
        let step = CustomOperator { output: planning.own.main.clone(), time: given.event_time.clone(), operator };
        let (id, from) = (planning.id.clone(), from.concat());
        let step = match is_spread {
            true => planning.forward(id, from, step),
            false => planning.hashed(id, from, key, step),
        };
        planning.output(Output::DeadLetters, vec![(step, ports::DEAD_LETTERS)]);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
    }

    fn late_rule(&self, _input: usize) -> Option<LateRule> {
        match self.timing() {
            Timing::Waits { lateness } => Some(LateRule::Ttl { ttl_ms: lateness_ms(lateness) }),
            Timing::Timeless | Timing::Passes => None,
        }
    }

    fn spread_by(&self, _input: usize) -> Option<&[String]> {
        self.operator.as_ref().map(|operator| operator.key()).filter(|key| !key.is_empty())
    }
}

fn as_given(given: &Types) -> OperatorGiven<'_> {
    OperatorGiven { columns: &given.main, event_time: given.event_time.as_deref() }
}

/// A row as old as the watermark is behind it: a gate lets through what is younger than so much.
fn lateness_ms(lateness: Duration) -> i64 {
    millis(lateness).max(1)
}

#[derive(Debug)]
struct CustomOperator {
    operator: Arc<dyn AnyOperator>,
    time: Option<String>,
    output: ColumnSchema,
}

impl Operator for CustomOperator {
    fn output(&self, _given: &ColumnSchema) -> ColumnSchema {
        self.output.clone()
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        let lateness_ms = match self.operator.timing() {
            Timing::Waits { lateness } => lateness_ms(lateness),
            Timing::Timeless | Timing::Passes => 0,
        };
        let config = OperatorConfig {
            settings: self.operator.to_json(),
            key: self.operator.key().to_vec(),
            input: OperatorInput { columns: columns.input.clone(), event_time: self.time.clone(), lateness_ms },
            output: self.output.clone(),
        };
        Configuration::operator(self.operator.kind(), json!(config))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let late = match self.operator.timing() {
            Timing::Waits { lateness } if !lateness.is_zero() => format!(", up to {} late", show(lateness)),
            _ => String::new(),
        };
        Note { does: format!("{}: {}{late}", self.operator.kind(), self.operator.note()), state: self.operator.state() }
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        if self.operator.state().is_none() {
            return Some(Memory::nothing());
        }
        let memory = Memory::of(Remembers::State, &["key"]).with_key();
        Some(self.operator.meaning().into_iter().fold(memory, |memory, (name, value)| memory.with(name, value)))
    }
}
