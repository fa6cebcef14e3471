//! The plan: the operators that the spec's nodes become, in the order in which data flows.
//!
//! Nodes say which operators they are; the gates between them are put in here. Columns are not pruned yet: see [`super::prune`].

use std::collections::BTreeMap;

use weir_engine::element::Port;
use weir_operators::ports;

use super::gates::Gates;
use super::resolve::{Feed, Resolved};
use super::types::AllTypes;
use crate::nodes::Output;
use crate::nodes::late_gate::LateGate;
use crate::nodes::planning::{Planning, Step, StepOutput, push};
use crate::nodes::types::Types;
use crate::nodes::union::UnionOperator;

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
        let (from, is_spread) = self.gate(index, from);
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
            let is_of_gates = |feed: &Feed| matches!(feed.output, Output::Late | Output::OnTime);
            let is_of_several = |feed: &Feed| is_of_gates(feed) && self.gates.of(feed.node).count() > 1;
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

    /// Puts the gates in that belong before a node. Returns where the node's rows come from then, and whether they have been
    /// spread by its key already.
    fn gate(&mut self, index: usize, from: Vec<Vec<StepOutput>>) -> (Vec<Vec<StepOutput>>, bool) {
        let (Some(point), Some(given)) = (self.gates.before(index), self.types.first_given(index)) else {
            return (from, false);
        };
        let Some(time) = &given.event_time else { return (from, false) };
        let node = self.resolved.node(index);
        let operator = |merged| Box::new(LateGate { rule: point.rule, time: time.clone(), merged });
        let id = format!("late_gate.{}", node.name);
        let mut last = push(&mut self.steps, id, from.concat(), None, operator(false));
        let mut late = vec![(last, ports::LATE)];
        if given.may_be_silent {
            // Where there is no key yet: evenly, however often one key comes.
            let key = node.body.spread_by().map_or_else(|| vec![time.clone()], <[String]>::to_vec);
            let (id, from) = (format!("late_gate.{}.merged", node.name), vec![(last, Port::MAIN)]);
            last = push(&mut self.steps, id, from, Some(key), operator(true));
            late.push((last, ports::LATE));
        }
        let on_time = (last, Port::MAIN);
        for fed in self.gates.fed_by(index) {
            self.outputs.entry((fed, Output::Late)).or_default().extend(&late);
            self.outputs.entry((fed, Output::OnTime)).or_default().push(on_time);
        }
        (vec![vec![on_time]], given.may_be_silent)
    }
}
