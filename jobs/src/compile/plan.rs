//! The plan: the operators that the spec's nodes become, in the order in which data flows.
//!
//! One node of a definition is one to four operators; what stands between them (gates, filters, exchanges) is put in
//! here. Columns are not pruned yet: see [`super::prune`].

use std::collections::BTreeMap;

use weir_engine::element::Port;
use weir_operators::columns::{WINDOW_END, WITHDRAWN};
use weir_operators::late_gate::LateRule;
use weir_operators::map::{ResultRows, SelectItem};
use weir_operators::ports;
use weir_operators::schema::ColumnSchema;
use weir_operators::sink::sql::TableRule;
use weir_operators::window::WindowRule;

use super::aggregate_step::AggregateStep;
use super::event_time::SourceTime;
use super::gates::{Gates, window_rule};
use super::reduce_step::ReduceStep;
use super::resolve::{Output, Resolved};
use super::roll::{Held, held_before};
use super::running::{is_taker, running_counts};
use super::sql_sink::table_rule;
use super::types::{AllTypes, Types, adds_filters};
use crate::spec::{Aggregate, Dedup, NodeBody, Sink, Source, SourceConnector, Window};

/// An operator of the plan.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// Identity in the graph.
    pub(super) id: String,
    /// Where its rows come from, the same columns from each; none for sources.
    pub(super) inputs: Vec<StepInput>,
    /// What it does.
    pub(super) operator: Operator<'a>,
}

/// An edge of the plan.
#[derive(Debug, Clone)]
pub(super) struct StepInput {
    /// The producing step.
    pub(super) from: usize,
    /// Which of its outputs.
    pub(super) port: Port,
    /// The columns that rows are spread by; none: they stay where they are.
    pub(super) hash: Option<Vec<String>>,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Operator<'a> {
    /// A source, the columns that it can give, and its event time among them.
    Source {
        source: &'a Source,
        columns: ColumnSchema,
        time: Option<SourceTime>,
    },
    Map {
        condition: Option<&'a str>,
        select: Option<Vec<SelectItem>>,
        /// What is known of rows that are results, of which it may withdraw some.
        results: Option<ResultRows>,
        /// Of rows on their way to a table, what it can take.
        table: Option<TableRule>,
    },
    LateGate {
        rule: LateRule,
        time: String,
        /// Against the event time of all subtasks, not of the row's own split.
        merged: bool,
    },
    Dedup {
        dedup: &'a Dedup,
        time: String,
    },
    Filters(&'a [(String, String)]),
    LocalAggregate(AggregateStep<'a>),
    GlobalAggregate(AggregateStep<'a>),
    WindowMarks,
    WindowCount(WindowRule),
    LocalTop(ReduceStep<'a>),
    GlobalTop(ReduceStep<'a>),
    /// Rows on their way to a sink.
    Hold(Held),
    /// A sink, and the columns and the partition column of what it writes.
    Sink {
        sink: &'a Sink,
        written: Types,
    },
}

/// Plans a spec without mistakes.
pub(super) fn plan<'a>(resolved: &Resolved<'a>, gates: &Gates, types: &AllTypes) -> Vec<Step<'a>> {
    let mut planner = Planner { resolved, gates, types, steps: Vec::new(), outputs: BTreeMap::new() };
    for &index in resolved.order.iter().filter(|index| resolved.is_seen(**index)) {
        planner.node(index);
    }
    planner.steps
}

struct Planner<'p, 'a> {
    resolved: &'p Resolved<'a>,
    gates: &'p Gates,
    types: &'p AllTypes,
    steps: Vec<Step<'a>>,
    /// The steps and ports that an output of a node has become.
    outputs: BTreeMap<(usize, Output), Vec<StepOutput>>,
}

/// An output of a step.
type StepOutput = (usize, Port);

impl<'a> Planner<'_, 'a> {
    fn node(&mut self, index: usize) {
        let node = self.resolved.node(index);
        let id = format!("{}.{}", node.body.kind(), node.name);
        let Some(input) = self.resolved.inputs[index] else {
            if let NodeBody::Source(source) = &node.body {
                let Some(types) = &self.types.0[index] else { return };
                let (columns, time) = (types.main.clone(), self.types.1.get(&index).cloned());
                let step = self.push(id, Vec::new(), Operator::Source { source, columns, time });
                self.outputs.insert((index, Output::Main), vec![(step, Port::MAIN)]);
                self.outputs.insert((index, Output::DeadLetters), vec![(step, ports::DEAD_LETTERS)]);
            }
            return;
        };
        let Some(output) = self.outputs.get(&(input.node, input.output)).cloned() else { return };
        let Some(given) = self.types.of_output(self.resolved, self.gates, input.node, input.output) else { return };
        let (from, is_spread) = self.gate(index, output, &given);
        let step = match &node.body {
            NodeBody::Source(_) => return,
            NodeBody::Map(map) => {
                let select = self.types.0[index].as_ref().and_then(|types| types.select.clone());
                let may_withdraw = map.condition.is_some() || select.iter().flatten().any(is_computed);
                let results = given.results.as_ref().filter(|_| may_withdraw).map(|results| results.rows(false));
                let condition = map.condition.as_deref();
                let step = self.forward(id, from, Operator::Map { condition, select, results, table: None });
                self.outputs.insert((index, Output::DeadLetters), vec![(step, ports::DEAD_LETTERS)]);
                step
            }
            NodeBody::Dedup(dedup) => {
                let operator = Operator::Dedup { dedup, time: given.event_time.unwrap_or_default() };
                let step = match is_spread {
                    true => self.forward(id, from, operator),
                    false => self.hashed(id, from, dedup.key.clone(), operator),
                };
                self.outputs.insert((index, Output::DeadLetters), vec![(step, ports::DEAD_LETTERS)]);
                step
            }
            NodeBody::Aggregate(aggregate) => {
                let at = Place { index, id: &id, name: &node.name };
                self.aggregate(at, from, aggregate, &given)
            }
            NodeBody::Reduce(reduce) => {
                // Maps may stand between the two.
                let mut upstream = self.resolved.upstream(index).map(|node| &self.resolved.node(node).body);
                let Some(NodeBody::Aggregate(aggregate)) = upstream.find(|body| !matches!(body, NodeBody::Map(_)))
                else {
                    return;
                };
                self.reduce(&id, from, ReduceStep { reduce, aggregate })
            }
            NodeBody::Sink(sink) => match self.sink(index, id, from, (sink, &given)) {
                Some(step) => step,
                None => return,
            },
        };
        self.outputs.insert((index, Output::Main), vec![(step, Port::MAIN)]);
    }

    fn push(&mut self, id: String, inputs: Vec<StepInput>, operator: Operator<'a>) -> usize {
        self.steps.push(Step { id, inputs, operator });
        self.steps.len() - 1
    }

    fn forward(&mut self, id: String, from: Vec<StepOutput>, operator: Operator<'a>) -> usize {
        let inputs = from.into_iter().map(|(from, port)| StepInput { from, port, hash: None });
        self.push(id, inputs.collect(), operator)
    }

    fn hashed(&mut self, id: String, from: Vec<StepOutput>, key: Vec<String>, operator: Operator<'a>) -> usize {
        let inputs = from.into_iter().map(|(from, port)| StepInput { from, port, hash: Some(key.clone()) });
        self.push(id, inputs.collect(), operator)
    }

    /// Puts the gates in that belong before a node. Returns where the node's rows come from then, and whether they have been
    /// spread by its key already.
    fn gate(&mut self, index: usize, output: Vec<StepOutput>, given: &Types) -> (Vec<StepOutput>, bool) {
        let (Some(point), Some(time)) = (self.gates.before(index), &given.event_time) else { return (output, false) };
        let node = self.resolved.node(index);
        let operator = |merged| Operator::LateGate { rule: point.rule, time: time.clone(), merged };
        let mut last = self.forward(format!("late_gate.{}", node.name), output, operator(false));
        let mut late = vec![(last, ports::LATE)];
        let may_be_silent = self.may_be_silent(index);
        if may_be_silent {
            let key = match &node.body {
                NodeBody::Dedup(dedup) => dedup.key.clone(),
                // Evenly, however often one key comes: counts are spread by key later.
                _ => vec![time.clone()],
            };
            let from = vec![(last, Port::MAIN)];
            last = self.hashed(format!("late_gate.{}.merged", node.name), from, key, operator(true));
            late.push((last, ports::LATE));
        }
        for fed in self.gates.fed_by(index) {
            self.outputs.insert((fed, Output::Late), late.clone());
            self.outputs.insert((fed, Output::OnTime), vec![(last, Port::MAIN)]);
        }
        (vec![(last, Port::MAIN)], may_be_silent)
    }

    /// Whether the source that a node's rows come from goes on without splits that are silent.
    fn may_be_silent(&self, index: usize) -> bool {
        let sources = self.resolved.upstream(index).filter_map(|node| match &self.resolved.node(node).body {
            NodeBody::Source(source) => Some(source),
            _ => None,
        });
        sources.into_iter().any(|source| match &source.connector {
            SourceConnector::Files(files) => files.follow,
            SourceConnector::Generator { clicks_per_second, .. } => {
                clicks_per_second.is_some() && source.idle_after.is_some()
            }
        })
    }

    /// Arguments are computed before the filters copy rows, so that a row that one fails on is a dead letter once, and counted
    /// under no filter.
    fn aggregate(
        &mut self,
        at: Place<'_>,
        mut from: Vec<StepOutput>,
        aggregate: &'a Aggregate,
        given: &Types,
    ) -> usize {
        let Place { index, id, name } = at;
        let mut dead_letters = Vec::new();
        let time = given.event_time.as_deref().unwrap_or_default();
        let mut step = AggregateStep::new(aggregate, time, &given.main);
        if let Some(select) = step.arguments.clone() {
            let operator = Operator::Map { condition: None, select: Some(select), results: None, table: None };
            let map = self.forward(format!("map.{name}.arguments"), from, operator);
            dead_letters.push((map, ports::DEAD_LETTERS));
            from = vec![(map, Port::MAIN)];
        }
        if adds_filters(self.resolved.spec, aggregate) {
            let operator = Operator::Filters(&self.resolved.spec.filters);
            let filters = self.forward(format!("filters.{name}"), from, operator);
            dead_letters.push((filters, ports::DEAD_LETTERS));
            from = vec![(filters, Port::MAIN)];
        }
        let local = self.forward(format!("{id}.local"), from, Operator::LocalAggregate(step.clone()));
        step.running = running_counts(self.resolved, index, aggregate);
        let from = vec![(local, Port::MAIN)];
        let global = self.hashed(id.to_owned(), from, aggregate.key.clone(), Operator::GlobalAggregate(step));
        // Windows whose sum cannot be said.
        dead_letters.push((global, ports::DEAD_LETTERS));
        self.outputs.insert((index, Output::DeadLetters), dead_letters);
        if !matches!(aggregate.window, Window::Session { .. }) {
            let marks =
                self.forward(format!("windows.{name}.local"), vec![(global, Port::MAIN)], Operator::WindowMarks);
            let (from, count) = (vec![(marks, Port::MAIN)], Operator::WindowCount(window_rule(aggregate)));
            self.hashed(format!("windows.{name}"), from, vec![WINDOW_END.into()], count);
        }
        global
    }

    fn reduce(&mut self, id: &str, from: Vec<StepOutput>, step: ReduceStep<'a>) -> usize {
        let local = self.forward(format!("{id}.local"), from, Operator::LocalTop(step));
        let key = step.config().exchange_key();
        self.hashed(id.to_owned(), vec![(local, Port::MAIN)], key, Operator::GlobalTop(step))
    }

    fn sink(
        &mut self,
        index: usize,
        id: String,
        mut from: Vec<StepOutput>,
        (sink, given): (&'a Sink, &Types),
    ) -> Option<usize> {
        let written = self.types.0[index].clone().filter(|_| sink.enabled)?;
        let takes_running = is_taker(self.resolved, index);
        let mut dead_letters = Vec::new();
        if takes_running {
            let running: Vec<StepOutput> = from.iter().map(|(step, _)| (*step, ports::RUNNING)).collect();
            from.extend(running);
        }
        if let Some(select) = &written.select {
            let results = given.results.as_ref().filter(|_| select.iter().any(is_computed));
            let results = results.map(|results| results.rows(takes_running));
            let operator = Operator::Map { condition: None, select: Some(select.clone()), results, table: None };
            let select = self.forward(format!("{id}.select"), from, operator);
            dead_letters.push((select, ports::DEAD_LETTERS));
            from = vec![(select, Port::MAIN)];
        }
        if let Some(rule) = table_rule(sink, &written)
            && (dead_letters.is_empty() || rule.may_refuse(&written.main))
        {
            // Rows that say whether they hold: what is refused of them may have been there before.
            let results = written.results.as_ref().filter(|_| written.main.column(WITHDRAWN).is_some());
            let results = results.map(|results| results.rows(takes_running));
            let operator = Operator::Map { condition: None, select: None, results, table: Some(rule) };
            let table = self.forward(format!("{id}.table"), from, operator);
            dead_letters.push((table, ports::DEAD_LETTERS));
            from = vec![(table, Port::MAIN)];
        }
        if !dead_letters.is_empty() {
            self.outputs.insert((index, Output::DeadLetters), dead_letters);
        }
        if let Some(held) = held_before(self.resolved.spec, sink, &written.main) {
            let hold = self.forward(format!("{id}.hold"), from, Operator::Hold(held));
            from = vec![(hold, Port::MAIN)];
        }
        Some(self.forward(id, from, Operator::Sink { sink, written }))
    }
}

/// A node of the definition.
struct Place<'i> {
    index: usize,
    /// Identity in the graph, such as `aggregate.clicks_per_minute`.
    id: &'i str,
    name: &'i str,
}

/// Whether an item is more than a column, so that it may fail on a row.
fn is_computed(item: &SelectItem) -> bool {
    let column = item.expression.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&item.expression);
    !column.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A column's name as an SQL expression.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
