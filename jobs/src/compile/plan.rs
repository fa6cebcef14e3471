//! The plan: the operators that the spec's nodes become, in the order in which data flows.
//!
//! Nodes say which operators they are; the gates between them are put in here. Columns are not pruned yet: see [`super::prune`].

use std::collections::BTreeMap;

use weir_engine::element::Port;

use super::gates::Gates;
use super::resolve::{Feed, Resolved};
use super::types::AllTypes;
use crate::nodes::Output;
use crate::nodes::late_gate::LateGate;
use crate::nodes::planning::{Planning, Step, StepOutput, push};

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
        let from: Option<Vec<Vec<StepOutput>>> =
            self.resolved.inputs[index].iter().map(|feeds| self.feeding(feeds)).collect();
        let Some(from) = from.filter(|_| node.body.is_enabled()) else { return };
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

    /// What an input reads; nothing, where nothing comes out of what it names.
    fn feeding(&self, feeds: &[Feed]) -> Option<Vec<StepOutput>> {
        let steps: Vec<StepOutput> =
            feeds.iter().filter_map(|feed| self.outputs.get(&(feed.node, feed.output))).flatten().copied().collect();
        (!steps.is_empty()).then_some(steps)
    }

    /// Whether a reader takes running counts.
    fn running_wanted(&self, index: usize) -> bool {
        let main = Feed { node: index, output: Output::Main };
        self.resolved.readers(main).any(|reader| self.resolved.node(reader).body.takes_running())
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
        let mut late = vec![(last, Port::Late)];
        if given.may_be_silent {
            // Where there is no key yet: evenly, however often one key comes.
            let key = node.body.spread_by().map_or_else(|| vec![time.clone()], <[String]>::to_vec);
            let (id, from) = (format!("late_gate.{}.merged", node.name), vec![(last, Port::Main)]);
            last = push(&mut self.steps, id, from, Some(key), operator(true));
            late.push((last, Port::Late));
        }
        let on_time = (last, Port::Main);
        for fed in self.gates.fed_by(index) {
            self.outputs.entry((fed, Output::Late)).or_default().extend(&late);
            self.outputs.entry((fed, Output::OnTime)).or_default().push(on_time);
        }
        (vec![vec![on_time]], given.may_be_silent)
    }
}
