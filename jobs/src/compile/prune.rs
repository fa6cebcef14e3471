//! Which columns each step of a plan really has: only those that something downstream needs.
//!
//! Backwards: what every output must hold. Forwards: what it then does hold, in order and with types. A source reads
//! only needed columns, a map computes only needed ones, and an exchange carries only needed ones.

use weir_operators::ports;
use weir_operators::schema::ColumnSchema;

use crate::nodes::operator::{Names, StepColumns, only};
use crate::nodes::planning::Step;
use crate::nodes::types::dead_letter_schema;

/// The columns around every step of the plan.
pub(super) fn prune(steps: &[Step]) -> Vec<StepColumns> {
    let full = full_outputs(steps);
    let needs = needs(steps, &full);
    let mut columns: Vec<StepColumns> = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        columns.push(columns_of(index, step, &columns, &needs));
    }
    columns
}

/// Backwards: for each step, what it needs of each of its inputs and what is needed of its main output.
struct Needs {
    inputs: Vec<Vec<Names>>,
    output: Vec<Names>,
}

fn needs(steps: &[Step], full: &[ColumnSchema]) -> Needs {
    let mut needs = Needs { inputs: vec![Vec::new(); steps.len()], output: vec![Names::new(); steps.len()] };
    // What a gate's late rows must hold: they are rows of its input.
    let mut late = vec![Names::new(); steps.len()];
    for (index, step) in steps.iter().enumerate().rev() {
        for input in 0..step.inputs_count() {
            let given = given_columns(step, input, full);
            let mut needed = step.operator.needs_at(input, &needs.output[index], &given);
            needed.extend(late[index].iter().cloned());
            for edge in step.edges_into(input) {
                match edge.port {
                    ports::LATE => late[edge.from].extend(needed.iter().cloned()),
                    ports::DEAD_LETTERS => {}
                    _ => needs.output[edge.from].extend(needed.iter().cloned()),
                }
            }
            needs.inputs[index].push(needed);
        }
    }
    needs
}

/// The columns of an input of a step before pruning.
fn given_columns(step: &Step, input: usize, full: &[ColumnSchema]) -> ColumnSchema {
    match step.edges_into(input).next() {
        None => ColumnSchema::default(),
        Some(edge) if edge.port == ports::DEAD_LETTERS => dead_letter_schema(),
        // Late rows are rows of the gate's input, which a gate does not change.
        Some(edge) => full[edge.from].clone(),
    }
}

/// The columns of all main outputs before pruning.
fn full_outputs(steps: &[Step]) -> Vec<ColumnSchema> {
    let mut full: Vec<ColumnSchema> = Vec::with_capacity(steps.len());
    for step in steps {
        let given = given_columns(step, 0, &full);
        full.push(step.operator.output(&given));
    }
    full
}

fn columns_of(index: usize, step: &Step, before: &[StepColumns], needs: &Needs) -> StepColumns {
    let inputs = (0..step.inputs_count()).map(|input| arriving(step, input, before, &needs.inputs[index]));
    let (arriving, carried): (Vec<ColumnSchema>, Vec<_>) = inputs.unzip();
    // What comes in at further inputs is what their operator has asked for.
    let first = arriving.into_iter().next().unwrap_or_default();
    StepColumns { carried, ..step.operator.narrowed(first, &needs.output[index]) }
}

/// The columns that come in at an input of a step, and those that the edges into it carry, if not all there are.
fn arriving(
    step: &Step,
    input: usize,
    before: &[StepColumns],
    needed: &[Names],
) -> (ColumnSchema, Option<Vec<String>>) {
    let Some(edge) = step.edges_into(input).next() else { return (ColumnSchema::default(), None) };
    let arriving = match edge.port {
        ports::DEAD_LETTERS => dead_letter_schema(),
        ports::LATE => before[edge.from].input.clone(),
        _ => before[edge.from].output.clone(),
    };
    let kept = only(&arriving, &needed[input]);
    if edge.hash.is_none() || step.operator.takes_partials() || kept.columns.len() == arriving.columns.len() {
        return (arriving, None);
    }
    let carried = Some(kept.names().map(str::to_owned).collect());
    (kept, carried)
}
