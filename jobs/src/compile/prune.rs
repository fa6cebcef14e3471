//! Which columns each step of a plan really has: only those that something behind it needs.
//!
//! Backwards: what every output must hold. Forwards: what it then does hold, in order and with types. A source reads
//! only needed columns, a map computes only needed ones, and an exchange carries only needed ones.

use std::collections::BTreeSet;

use weir_operators::columns::{REVISION, WINDOW_END, WITHDRAWN};
use weir_operators::expression::Expression;
use weir_operators::filters::FILTER_ID;
use weir_operators::map::{ResultRows, SelectItem};
use weir_operators::ports;
use weir_operators::schema::{Column, ColumnSchema};
use weir_operators::source::computed_time::ComputedTime;

use super::plan::{Operator, Step, quoted};
use super::results::with_null_values;
use super::sources::dead_letter_schema;

/// The columns around a step.
#[derive(Debug, Clone, Default)]
pub(super) struct StepColumns {
    /// What comes in.
    pub(super) input: ColumnSchema,
    /// What its main output holds; empty for sinks.
    pub(super) output: ColumnSchema,
    /// Of a source whose event time is computed: how, and the columns that are read.
    pub(super) computed: Option<ComputedTime>,
    /// The items of a map, those that nobody needs left out.
    pub(super) select: Option<Vec<SelectItem>>,
    /// The columns that a dedup or filters let through; none: all there are.
    pub(super) kept: Option<Vec<String>>,
    /// The columns that the edge into it carries; none: all there are.
    pub(super) carried: Option<Vec<String>>,
}

type Names = BTreeSet<String>;

/// The columns around every step of the plan.
pub(super) fn prune(steps: &[Step<'_>]) -> Vec<StepColumns> {
    let full = full_outputs(steps);
    let needs = needs(steps, &full);
    let mut columns: Vec<StepColumns> = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        columns.push(columns_of(index, step, &columns, &full, &needs));
    }
    columns
}

/// Backwards: for each step, what it needs of its input and what is needed of its main output.
struct Needs {
    input: Vec<Names>,
    output: Vec<Names>,
}

fn needs(steps: &[Step<'_>], full: &[ColumnSchema]) -> Needs {
    let mut needs = Needs { input: vec![Names::new(); steps.len()], output: vec![Names::new(); steps.len()] };
    // What a gate's late rows must hold: they are rows of its input.
    let mut late = vec![Names::new(); steps.len()];
    for (index, step) in steps.iter().enumerate().rev() {
        let given = given_columns(step, full);
        let mut input = needed_input(step, &needs.output[index], &given);
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
fn given_columns(step: &Step<'_>, full: &[ColumnSchema]) -> ColumnSchema {
    match step.inputs.first() {
        None => ColumnSchema::default(),
        Some(edge) if edge.port == ports::DEAD_LETTERS => dead_letter_schema(),
        // Late rows are rows of the gate's input, which a gate does not change.
        Some(edge) => full[edge.from].clone(),
    }
}

fn needed_input(step: &Step<'_>, output: &Names, given: &ColumnSchema) -> Names {
    let all = || given.names().map(str::to_owned).collect::<Names>();
    match &step.operator {
        Operator::Source { .. } => Names::new(),
        Operator::Sink { .. }
        | Operator::Hold(_)
        | Operator::GlobalAggregate(_)
        | Operator::LocalTop(_)
        | Operator::GlobalTop(_) => all(),
        Operator::WindowMarks | Operator::WindowCount(_) => Names::from([WINDOW_END.to_owned()]),
        Operator::Map { condition, select, results, .. } => {
            let mut needed = match select {
                None => output.clone(),
                Some(items) => items
                    .iter()
                    .filter(|item| output.contains(&item.name))
                    .flat_map(|item| read_by(&item.expression, given))
                    .collect(),
            };
            needed.extend(condition.iter().flat_map(|condition| read_by(condition, given)));
            if results.is_some() {
                needed.extend([REVISION, WITHDRAWN].map(str::to_owned));
            }
            needed
        }
        Operator::LateGate { time, .. } => with(output.clone(), [time.clone()]),
        Operator::Dedup { dedup, time } => with(with(output.clone(), dedup.key.iter().cloned()), [time.clone()]),
        Operator::Filters(filters) => {
            let mut needed = output.clone();
            needed.remove(FILTER_ID);
            with(needed, filters.iter().flat_map(|(_, condition)| read_by(condition, given)))
        }
        Operator::LocalAggregate(step) => step.reads().collect(),
    }
}

fn with(mut names: Names, more: impl IntoIterator<Item = String>) -> Names {
    names.extend(more);
    names
}

/// The columns that an expression reads; it has been compiled before, so that a failure cannot be its own.
fn read_by(expression: &str, given: &ColumnSchema) -> Vec<String> {
    match Expression::new(expression, &given.to_arrow()) {
        Ok(expression) => expression.columns().map(str::to_owned).collect(),
        Err(_) => given.names().map(str::to_owned).collect(),
    }
}

/// The columns of all main outputs before pruning.
fn full_outputs(steps: &[Step<'_>]) -> Vec<ColumnSchema> {
    let mut full: Vec<ColumnSchema> = Vec::with_capacity(steps.len());
    for step in steps {
        let given = given_columns(step, &full);
        full.push(output_columns(&step.operator, &given));
    }
    full
}

/// What a step's main output holds, given what comes in.
fn output_columns(operator: &Operator<'_>, given: &ColumnSchema) -> ColumnSchema {
    match operator {
        Operator::Source { columns, .. } => columns.clone(),
        Operator::WindowMarks => {
            let ends = given.columns.iter().filter(|column| column.name == WINDOW_END);
            ColumnSchema { columns: ends.cloned().collect() }
        }
        Operator::Sink { .. } | Operator::WindowCount(_) => ColumnSchema::default(),
        Operator::Map { select: Some(items), results, .. } => {
            map_output(selected(items, given), results.as_ref(), given)
        }
        Operator::Map { select: None, results: Some(results), .. } => map_output(given.clone(), Some(results), given),
        Operator::Map { select: None, .. } | Operator::LateGate { .. } | Operator::Dedup { .. } | Operator::Hold(_) => {
            given.clone()
        }
        Operator::Filters(_) => {
            let mut columns = given.columns.clone();
            columns.push(Column {
                name: FILTER_ID.into(),
                data_type: arrow::datatypes::DataType::Utf8,
                nullable: false,
            });
            ColumnSchema { columns }
        }
        // Partials are the operators' own affair: the columns go on in what follows from the input.
        Operator::LocalAggregate(_) | Operator::LocalTop(_) => given.clone(),
        // Checked when the types were inferred.
        Operator::GlobalAggregate(step) => step.output(given).unwrap_or_default(),
        Operator::GlobalTop(step) => step.output(given).unwrap_or_default(),
    }
}

/// What a map lets through: of results, withdrawn ones too, which have no values.
fn map_output(columns: ColumnSchema, results: Option<&ResultRows>, given: &ColumnSchema) -> ColumnSchema {
    let Some(results) = results else { return columns };
    let is_fixed = |name: &str| given.column(name).is_some() && results.fixed.iter().any(|fixed| fixed == name);
    with_null_values(columns, is_fixed)
}

pub(super) fn selected(items: &[SelectItem], given: &ColumnSchema) -> ColumnSchema {
    let arrow = given.to_arrow();
    let column = |item: &SelectItem| {
        let expression = Expression::new(&item.expression, &arrow).ok()?;
        let (data_type, nullable) = (expression.data_type().clone(), expression.nullable());
        Some(Column { name: item.name.clone(), data_type, nullable })
    };
    ColumnSchema { columns: items.iter().filter_map(column).collect() }
}

fn columns_of(
    index: usize,
    step: &Step<'_>,
    before: &[StepColumns],
    full: &[ColumnSchema],
    needs: &Needs,
) -> StepColumns {
    let only = |schema: &ColumnSchema, names: &Names| ColumnSchema {
        columns: schema.columns.iter().filter(|column| names.contains(&column.name)).cloned().collect(),
    };
    let Some(edge) = step.inputs.first() else {
        let mut needed = needs.output[index].clone();
        let Operator::Source { time: Some(time), .. } = &step.operator else {
            return StepColumns { output: only(&full[index], &needed), ..StepColumns::default() };
        };
        needed.insert(time.name.clone());
        let output = only(&full[index], &needed);
        return StepColumns { computed: time.read(&output), output, ..StepColumns::default() };
    };
    let arriving = match edge.port {
        ports::DEAD_LETTERS => dead_letter_schema(),
        ports::LATE => before[edge.from].input.clone(),
        _ => before[edge.from].output.clone(),
    };
    let from_partials = matches!(step.operator, Operator::GlobalAggregate(_) | Operator::GlobalTop(_));
    let mut carried = None;
    let mut input = arriving;
    if edge.hash.is_some() && !from_partials {
        let kept = only(&input, &needs.input[index]);
        if kept.columns.len() < input.columns.len() {
            carried = Some(kept.names().map(str::to_owned).collect());
            input = kept;
        }
    }
    let select: Option<Vec<SelectItem>> = match &step.operator {
        Operator::Map { select: Some(items), .. } => {
            Some(items.iter().filter(|item| needs.output[index].contains(&item.name)).cloned().collect())
        }
        // What only the condition reads does not have to be copied with the rows that are kept.
        Operator::Map { select: None, .. } if input.names().any(|name| !needs.output[index].contains(name)) => {
            let kept = only(&input, &needs.output[index]);
            Some(kept.names().map(|name| SelectItem { name: name.into(), expression: quoted(name) }).collect())
        }
        _ => None,
    };
    let kept = kept_columns(&step.operator, &input, &needs.output[index]);
    let output = match (&select, &kept) {
        (Some(items), _) => match &step.operator {
            Operator::Map { results, .. } => map_output(selected(items, &input), results.as_ref(), &input),
            _ => selected(items, &input),
        },
        (None, Some(kept)) => output_columns(&step.operator, &only(&input, &kept.iter().cloned().collect())),
        (None, None) => output_columns(&step.operator, &input),
    };
    StepColumns { input, output, computed: None, select, kept, carried }
}

/// The columns that a step which copies rows should copy, if not all.
fn kept_columns(operator: &Operator<'_>, input: &ColumnSchema, needed: &Names) -> Option<Vec<String>> {
    if !matches!(operator, Operator::Dedup { .. } | Operator::Filters(_)) {
        return None;
    }
    let kept: Vec<String> = input.names().filter(|name| needed.contains(*name)).map(str::to_owned).collect();
    (kept.len() < input.columns.len()).then_some(kept)
}
