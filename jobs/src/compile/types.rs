//! Columns and their types at every output, found by following the data from the sources down.
//!
//! Every expression, key and column name is checked on the way, by the nodes. A node with a mistake has no types, and what stands
//! behind it is not checked any further: its mistakes would be echoes.

use super::Findings;
use super::gates::Gates;
use super::resolve::{Feed, Place, Resolved};
use crate::nodes::types::Types;
use crate::nodes::union::united;
use crate::nodes::{Check, Inputs, Output, filters};
use weir_operators::definition::{KeyPath, Mistake, Severity};

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

    /// What comes in at one input of a node.
    pub(super) fn given_at(&self, place: Place) -> Option<&Types> {
        self.given(place.node)?.get(place.input)
    }

    /// What comes in at the first input of a node.
    pub(super) fn first_given(&self, node: usize) -> Option<&Types> {
        self.given(node)?.first()
    }

    /// What goes out of a node.
    pub(super) fn own(&self, node: usize) -> Option<&Types> {
        self.own[node].as_ref()
    }

    /// Types of an output, as its readers see them: what is on time and what is late are rows as they came to the gates.
    fn of_output(&self, resolved: &Resolved<'_>, gates: &Gates, feed: Feed, reader: &mut Reading<'_>) -> Option<Types> {
        let Some(gated) = feed.output.gated() else {
            return match feed.output {
                Output::DeadLetters => Some(Types::dead_letters()),
                Output::Main => self.own[feed.node].clone(),
                beside => Some(resolved.node(feed.node).body.beside(beside, self.own[feed.node].as_ref()?)),
            };
        };
        if resolved.takes_results(feed.node) {
            let name = &resolved.node(feed.node).name;
            let message = format!("`{name}` aggregates results, which are never late");
            let expected = "an output of the aggregate before";
            reader.mistakes.push(Mistake::new(reader.path.clone(), message).expected(expected));
            return None;
        }
        let at = Place { node: feed.node, input: gated.input };
        if gates.of(at).next().is_none() {
            let name = &resolved.node(feed.node).name;
            let message = format!("what `{name}` reads comes in the order of event time, and is never late");
            let expected = "an output of the `over` before";
            reader.mistakes.push(Mistake::new(reader.path.clone(), message).expected(expected));
            return None;
        }
        let come = gates.of(at).map(|gate| {
            let name = resolved.node(gate.before.node).name.as_str();
            Some((name, self.given_at(gate.before)?.out_of(feed.output)))
        });
        united(&reader.path, &come.collect::<Option<Vec<_>>>()?, reader.mistakes)
    }

    /// What comes in at each input of a node.
    fn of_inputs(
        &self,
        resolved: &Resolved<'_>,
        gates: &Gates,
        index: usize,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Vec<Types>> {
        let node = resolved.node(index);
        let inputs = node.body.inputs().into_iter().zip(&resolved.inputs[index]);
        let of_input = |((key, inputs), feeds): ((&str, &Inputs), &Vec<Feed>)| {
            let mut reader = Reading { path: node.path().key(key), mistakes };
            let come = inputs
                .iter()
                .zip(feeds)
                .map(|(name, feed)| Some((name, self.of_output(resolved, gates, *feed, &mut reader)?)));
            let come = come.collect::<Option<Vec<_>>>()?;
            united(&reader.path, &come, reader.mistakes)
        };
        inputs.map(of_input).collect()
    }
}

/// The input that an output is read by.
struct Reading<'m> {
    path: KeyPath,
    mistakes: &'m mut Vec<Mistake>,
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
        let Some(given) = types.of_inputs(resolved, gates, index, mistakes) else { continue };
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
    let is_filtered = |index: &&usize| resolved.node(**index).body.is_filtered(job) && !resolved.takes_results(**index);
    let filtered = resolved.order.iter().filter(is_filtered);
    let places: Vec<Option<Types>> = filtered.map(|index| types.first_given(*index).cloned()).collect();
    filters::check(job, &places, mistakes);
}
