//! Columns and their types at every output, found by following the data from the sources down.
//!
//! Every expression, key and column name is checked on the way, by the nodes. A node with a mistake has no types, and what stands
//! behind it is not checked any further: its mistakes would be echoes.

use super::Findings;
use super::gates::Gates;
use super::resolve::{Feed, Resolved};
use crate::nodes::types::Types;
use crate::nodes::{Check, Output, filters};
use weir_operators::definition::{Mistake, Severity};

/// The types of all nodes.
#[derive(Debug)]
pub(super) struct AllTypes {
    /// For each node, what comes in at each of its inputs; none where it is not known.
    given: Vec<Option<Vec<Types>>>,
    /// For each node, what goes out; none where it, or one before it, has a mistake.
    own: Vec<Option<Types>>,
}

impl AllTypes {
    /// What comes in at each input of a node.
    pub(super) fn given(&self, node: usize) -> Option<&[Types]> {
        self.given[node].as_deref()
    }

    /// What comes in at the first input of a node.
    pub(super) fn first_given(&self, node: usize) -> Option<&Types> {
        self.given(node)?.first()
    }

    /// What goes out of a node.
    pub(super) fn own(&self, node: usize) -> Option<&Types> {
        self.own[node].as_ref()
    }

    /// Types of an output, as its readers see them: what is on time and what is late are rows as they came to the gate.
    fn of_output(&self, gates: &Gates, feed: Feed) -> Option<Types> {
        match feed.output {
            Output::Main => self.own[feed.node].clone(),
            Output::OnTime | Output::Late => {
                let gate = gates.of(feed.node).next()?;
                Some(self.first_given(gate.before)?.out_of(feed.output))
            }
            Output::DeadLetters => Some(Types::dead_letters()),
        }
    }

    fn of_inputs(&self, resolved: &Resolved<'_>, gates: &Gates, node: usize) -> Option<Vec<Types>> {
        let of_input = |feeds: &Vec<Feed>| self.of_output(gates, *feeds.first()?);
        resolved.inputs[node].iter().map(of_input).collect()
    }
}

/// Infers and checks the types of all nodes.
pub(super) fn infer(
    resolved: &Resolved<'_>,
    gates: &Gates,
    findings: &Findings,
    mistakes: &mut Vec<Mistake>,
) -> AllTypes {
    let count = resolved.spec.nodes.len();
    let mut types = AllTypes { given: vec![None; count], own: vec![None; count] };
    let mut beside = Vec::new();
    for &index in &resolved.order {
        let node = resolved.node(index);
        let Some(given) = types.of_inputs(resolved, gates, index) else { continue };
        types.given[index] = Some(given.clone());
        let before = errors(mistakes);
        let (job, found) = (&resolved.spec.settings, &findings[index]);
        let mut check = Check { job, name: &node.name, path: node.path(), given, found, mistakes, beside: &mut beside };
        let own = node.body.check(&mut check);
        if errors(mistakes) == before {
            types.own[index] = own;
        }
    }
    check_filters(resolved, &types, mistakes);
    mistakes.extend(beside);
    types
}

/// A warning is no reason to know nothing of a node.
fn errors(mistakes: &[Mistake]) -> usize {
    mistakes.iter().filter(|mistake| mistake.severity == Severity::Error).count()
}

fn check_filters(resolved: &Resolved<'_>, types: &AllTypes, mistakes: &mut Vec<Mistake>) {
    let job = &resolved.spec.settings;
    let filtered = resolved.order.iter().filter(|index| resolved.node(**index).body.is_filtered(job));
    let places: Vec<Option<Types>> = filtered.map(|index| types.first_given(*index).cloned()).collect();
    filters::check(job, &places, mistakes);
}
