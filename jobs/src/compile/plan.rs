//! The plan: the operators that the spec's nodes become, in the order in which data flows.
//!
//! Nodes say which operators they are; the gates between them are put in here. Columns are not pruned yet: see [`super::prune`].

use std::collections::BTreeMap;

use weir_engine::element::Port;
use weir_operators::ports;

use super::gates::Gates;
use super::resolve::{Feed, Place, Resolved};
use super::types::AllTypes;
use crate::nodes::late_gate::LateGate;
use crate::nodes::planning::{Planning, Step, StepOutput, push};
use crate::nodes::types::Types;
use crate::nodes::union::UnionOperator;
use crate::nodes::{Gated, Output};

/// Plans a spec without mistakes.
pub(super) fn plan(resolved: &Resolved<'_>, gates: &Gates, types: &AllTypes) -> Vec<Step> {
    let archive_held_ms = resolved.spec.archive_held_ms();
    let mut planner = Planner { resolved, gates, types, archive_held_ms, steps: Vec::new(), outputs: BTreeMap::new() };
    for &index in resolved.order.iter().filter(|index| resolved.is_seen(**index)) {
        planner.node(index);
    }
    planner.steps
}

struct Planner<'p, 'a> {
    resolved: &'p Resolved<'a>,
    gates: &'p Gates,
    types: &'p AllTypes,
    archive_held_ms: i64,
    steps: Vec<Step>,
    /// The steps and ports that an output of a node has become.
    outputs: BTreeMap<(usize, Output), Vec<StepOutput>>,
}

impl Planner<'_, '_> {
    fn node(&mut self, index: usize) {
        let node = self.resolved.node(index);
        let (Some(own), Some(given)) = (self.types.own(index), self.types.given(index)) else { return };
        if !node.body.is_enabled() {
            return;
        }
        let Some(from) = self.feeding(index, given) else { return };
        let places = self.resolved.inputs_of(index);
        let (from, is_spread) = places.zip(from).map(|(at, from)| self.gate(at, from)).unzip();
        let mut planning = Planning {
            job: &self.resolved.spec.settings,
            name: &node.name,
            id: format!("{}.{}", node.body.kind(), node.name),
            given: given.to_vec(),
            own,
            is_spread,
            running_wanted: self.running_wanted(index),
            archive_held_ms: self.archive_held_ms,
            steps: &mut self.steps,
            outputs: BTreeMap::new(),
        };
        node.body.plan(&mut planning, from);
        let outputs = planning.outputs;
        self.outputs.extend(outputs.into_iter().map(|(output, steps)| ((index, output), steps)));
    }

    /// What each input of a node reads; nothing, where nothing comes out of what one names. Where these are several outputs,
    /// each is made one of the union first.
    fn feeding(&mut self, index: usize, given: &[Types]) -> Option<Vec<Vec<StepOutput>>> {
        let mut made = 0;
        let mut from = Vec::with_capacity(given.len());
        for (feeds, given) in self.resolved.inputs[index].iter().zip(given) {
            let come = feeds.iter().filter_map(|feed| self.outputs.get(&(feed.node, feed.output)));
            let mut come: Vec<StepOutput> = come.flatten().copied().collect();
            if come.is_empty() {
                return None;
            }
            let gates_of =
                |feed: &Feed, gated: Gated| self.gates.of(Place { node: feed.node, input: gated.input }).count();
            let is_of_several = |feed: &Feed| feed.output.gated().is_some_and(|gated| gates_of(feed, gated) > 1);
            if feeds.len() > 1 || feeds.iter().any(is_of_several) {
                for output in &mut come {
                    made += 1;
                    *output = self.united(index, made, *output, given);
                }
            }
            from.push(come);
        }
        Some(from)
    }

    /// Puts in what makes an output one of those of a union.
    fn united(&mut self, index: usize, number: usize, output: StepOutput, union: &Types) -> StepOutput {
        let node = self.resolved.node(index);
        let id = format!("union.{}.{}.{number}", node.body.kind(), node.name);
        let operator = Box::new(UnionOperator { columns: union.main.clone() });
        (push(&mut self.steps, id, vec![output], None, operator), Port::MAIN)
    }

    /// Whether a reader takes running counts, or passes them on to one that does.
    fn running_wanted(&self, index: usize) -> bool {
        let main = Feed { node: index, output: Output::Main };
        let takes = |reader: usize| {
            let body = &self.resolved.node(reader).body;
            body.takes_running() || (body.passes_running() && self.running_wanted(reader))
        };
        self.resolved.readers(main).any(takes)
    }

    /// Puts the gates in that belong before an input of a node. Returns where its rows come from then, and whether they have been
    /// spread by its key already.
    fn gate(&mut self, at: Place, from: Vec<StepOutput>) -> (Vec<StepOutput>, bool) {
        let (Some(point), Some(given)) = (self.gates.before(at), self.types.given_at(at)) else {
            return (from, false);
        };
        let Some(time) = &given.event_time else { return (from, false) };
        let node = self.resolved.node(at.node);
        let operator = |merged| Box::new(LateGate { rule: point.rule, time: time.clone(), merged });
        let id = match node.body.inputs().as_slice() {
            [_] => format!("late_gate.{}", node.name),
            several => format!("late_gate.{}.{}", node.name, several[at.input].0),
        };
        let mut last = push(&mut self.steps, id.clone(), from, None, operator(false));
        let mut late = vec![(last, ports::LATE)];
        if given.may_be_silent {
            // Where there is no key yet: evenly, however often one key comes.
            let key = node.body.spread_by(at.input).map_or_else(|| vec![time.clone()], <[String]>::to_vec);
            let (id, from) = (format!("{id}.merged"), vec![(last, Port::MAIN)]);
            last = push(&mut self.steps, id, from, Some(key), operator(true));
            late.push((last, ports::LATE));
        }
        let on_time = (last, Port::MAIN);
        for fed in self.gates.fed_by(at) {
            for output in self.resolved.node(fed.node).body.outputs() {
                let rows = match output.gated() {
                    Some(Gated { input, late: true }) if input == fed.input => late.as_slice(),
                    Some(Gated { input, late: false }) if input == fed.input => &[on_time],
                    _ => continue,
                };
                self.outputs.entry((fed.node, *output)).or_default().extend(rows);
            }
        }
        (vec![on_time], given.may_be_silent)
    }
}
