//! A node being planned: the operators that it becomes, one after the other.
//!
//! One node of a definition is one to five operators. Columns are not pruned yet.

use std::collections::BTreeMap;

use weir_engine::element::Port;

use super::operator::Operator;
use super::output::Output;
use super::types::Types;
use crate::settings::JobSettings;

/// An operator of the plan, and where it stands.
#[derive(Debug)]
pub(crate) struct Step {
    /// Identity in the graph.
    pub(crate) id: String,
    /// Where its rows come from, the same columns from each that feeds one input; none for sources.
    pub(crate) inputs: Vec<StepInput>,
    /// What it does.
    pub(crate) operator: Box<dyn Operator>,
}

/// An edge of the plan.
#[derive(Debug, Clone)]
pub(crate) struct StepInput {
    /// The producing step.
    pub(crate) from: usize,
    /// Which of its outputs.
    pub(crate) port: Port,
    /// Which input of the step takes it, from 0.
    pub(crate) input: usize,
    /// The columns that rows are spread by; none: they stay where they are.
    pub(crate) hash: Option<Vec<String>>,
}

/// An output of a step.
pub(crate) type StepOutput = (usize, Port);

/// One node being planned.
pub(crate) struct Planning<'p> {
    /// The settings of the whole job.
    pub(crate) job: &'p JobSettings,
    /// The node's name.
    pub(crate) name: &'p str,
    /// Its identity in the graph, such as `aggregate.clicks_per_minute`.
    pub(crate) id: String,
    /// What comes in, at each input.
    pub(crate) given: Vec<Types>,
    /// What goes out.
    pub(crate) own: &'p Types,
    /// Whether the rows of each input have been spread by its key already.
    pub(crate) is_spread: Vec<bool>,
    /// Whether a reader takes running counts.
    pub(crate) running_wanted: bool,
    /// How long rows may be held back from an archive of the job, in milliseconds of event time.
    pub(crate) archive_held_ms: i64,
    /// The plan so far.
    pub(crate) steps: &'p mut Vec<Step>,
    /// What its outputs have become.
    pub(crate) outputs: BTreeMap<Output, Vec<StepOutput>>,
}

impl Step {
    /// Number of its inputs; sources have none.
    pub(crate) fn inputs_count(&self) -> usize {
        self.inputs.iter().map(|edge| edge.input + 1).max().unwrap_or(0)
    }

    /// The edges into one of its inputs.
    pub(crate) fn edges_into(&self, input: usize) -> impl Iterator<Item = &StepInput> {
        self.inputs.iter().filter(move |edge| edge.input == input)
    }
}

impl Planning<'_> {
    /// Whether the rows of an input have been spread by its key already.
    pub(crate) fn is_spread(&self, input: usize) -> bool {
        self.is_spread.get(input).copied().unwrap_or(false)
    }

    /// Adds an operator that takes rows where they are.
    pub(crate) fn forward(&mut self, id: String, from: Vec<StepOutput>, operator: impl Operator + 'static) -> usize {
        push(self.steps, id, from, None, Box::new(operator))
    }

    /// Adds an operator that rows are spread over by a key.
    pub(crate) fn hashed(
        &mut self,
        id: String,
        from: Vec<StepOutput>,
        key: Vec<String>,
        operator: impl Operator + 'static,
    ) -> usize {
        push(self.steps, id, from, Some(key), Box::new(operator))
    }

    /// Adds an operator of several inputs, each with what feeds it and the key that its rows are spread by.
    pub(crate) fn joined(
        &mut self,
        id: String,
        inputs: impl IntoIterator<Item = (Vec<StepOutput>, Vec<String>)>,
        operator: impl Operator + 'static,
    ) -> usize {
        let edges = |(input, (from, key)): (usize, (Vec<StepOutput>, Vec<String>))| {
            let edge = move |(from, port)| StepInput { from, port, input, hash: Some(key.clone()) };
            from.into_iter().map(edge)
        };
        let inputs = inputs.into_iter().enumerate().flat_map(edges).collect();
        self.steps.push(Step { id, inputs, operator: Box::new(operator) });
        self.steps.len() - 1
    }

    /// Says what an output of the node has become.
    pub(crate) fn output(&mut self, output: Output, become_: Vec<StepOutput>) {
        self.outputs.insert(output, become_);
    }
}

/// Adds an operator to a plan.
pub(crate) fn push(
    steps: &mut Vec<Step>,
    id: String,
    from: Vec<StepOutput>,
    hash: Option<Vec<String>>,
    operator: Box<dyn Operator>,
) -> usize {
    let inputs = from.into_iter().map(|(from, port)| StepInput { from, port, input: 0, hash: hash.clone() });
    steps.push(Step { id, inputs: inputs.collect(), operator });
    steps.len() - 1
}
