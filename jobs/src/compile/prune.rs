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

/// Backwards: for each step, what it needs of its input and what is needed of its main output.
struct Needs {
    input: Vec<Names>,
    output: Vec<Names>,
}

fn needs(steps: &[Step], full: &[ColumnSchema]) -> Needs {
    let mut needs = Needs { input: vec![Names::new(); steps.len()], output: vec![Names::new(); steps.len()] };
    // What a gate's late rows must hold: they are rows of its input.
    let mut late = vec![Names::new(); steps.len()];
    for (index, step) in steps.iter().enumerate().rev() {
        let given = given_columns(step, full);
        let mut input = step.operator.needs(&needs.output[index], &given);
        input.extend(late[index].iter().cloned());
        for edge in &step.inputs {
            match edge.port {
                ports::LATE => late[edge.from].extend(input.iter().cloned()),
                ports::DEAD_LETTERS => {}
                _ => needs.output[edge.from].extend(input.iter().cloned()),
            }
        }
        needs.input[index] = input;
    }
    needs
}

/// The columns of a step's input before pruning.
fn given_columns(step: &Step, full: &[ColumnSchema]) -> ColumnSchema {
    match step.inputs.first() {
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
        let given = given_columns(step, &full);
        full.push(step.operator.output(&given));
    }
    full
}

fn columns_of(index: usize, step: &Step, before: &[StepColumns], needs: &Needs) -> StepColumns {
    let needed = &needs.output[index];
    let Some(edge) = step.inputs.first() else { return step.operator.narrowed(ColumnSchema::default(), needed) };
    let arriving = match edge.port {
        ports::DEAD_LETTERS => dead_letter_schema(),
        ports::LATE => before[edge.from].input.clone(),
        _ => before[edge.from].output.clone(),
    };
    let kept = only(&arriving, &needs.input[index]);
    if edge.hash.is_none() || step.operator.takes_partials() || kept.columns.len() == arriving.columns.len() {
        return step.operator.narrowed(arriving, needed);
    }
    let carried = Some(kept.names().map(str::to_owned).collect());
    StepColumns { carried, ..step.operator.narrowed(kept, needed) }
}
