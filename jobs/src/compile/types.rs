//! Columns and their types at every output, found by following the data from the sources down.
//!
//! Every expression, key and column name is checked here. A node with a mistake has no types, and what stands behind it
//! is not checked any further: its mistakes would be echoes.

use std::collections::BTreeMap;

use weir_operators::columns::WINDOW_START;
use weir_operators::event_time::event_time_type;
use weir_operators::expression::Expression;
use weir_operators::filters::FILTER_ID;
use weir_operators::map::SelectItem;
use weir_operators::schema::ColumnSchema;

use super::check::Check;
use super::event_time::{SourceTime, source_time};
use super::gates::Gates;
use super::resolve::{Output, Resolved, path_of};
use super::results::Results;
use super::sources::source_schema;
use crate::spec::{Aggregate, JobSpec, Map, NodeBody, Source};
use weir_operators::definition::KeyPath;
use weir_operators::definition::{Mistake, Severity};

/// What a node puts out.
#[derive(Debug, Clone)]
pub(super) struct Types {
    /// Columns of the main output; of a sink, the columns it writes.
    pub(super) main: ColumnSchema,
    /// The column that says when a row happened, where rows are still events.
    pub(super) event_time: Option<String>,
    /// Where the event time was lost on the way, and how it is kept, for people.
    pub(super) time_lost: Option<TimeLost>,
    /// The items of a map, or of a sink's `select`.
    pub(super) select: Option<Vec<SelectItem>>,
    /// What is known of rows that are results, which later revisions correct; none: they are events.
    pub(super) results: Option<Results>,
}

/// What has become of the event time in a `select`.
#[derive(Debug, Clone)]
pub(super) struct TimeLost {
    /// The node.
    pub(super) node: KeyPath,
    /// The column that it was.
    pub(super) column: String,
    /// What is computed of it, or under its name, if anything is: a name and an expression.
    pub(super) computed: Option<(String, String)>,
}

/// The types of all nodes, none where a node, or one before it, has a mistake; and the event times of sources.
#[derive(Debug)]
pub(super) struct AllTypes(pub(super) Vec<Option<Types>>, pub(super) BTreeMap<usize, SourceTime>);

impl AllTypes {
    /// Types of an output, as its readers see them: what is on time and what is late are rows as they came to the gate.
    pub(super) fn of_output(
        &self,
        resolved: &Resolved<'_>,
        gates: &Gates,
        node: usize,
        output: Output,
    ) -> Option<Types> {
        match output {
            Output::Main => self.0[node].clone(),
            Output::OnTime | Output::Late => {
                let before = resolved.inputs[gates.of(node)?.before]?;
                self.0[before.node].clone()
            }
            Output::DeadLetters => Some(Types {
                main: super::sources::dead_letter_schema(),
                event_time: None,
                time_lost: None,
                select: None,
                results: None,
            }),
        }
    }
}

/// Infers and checks the types of all nodes.
pub(super) fn infer(resolved: &Resolved<'_>, gates: &Gates, mistakes: &mut Vec<Mistake>) -> AllTypes {
    let mut types = AllTypes(vec![None; resolved.spec.nodes.len()], BTreeMap::new());
    for &index in &resolved.order {
        let node = resolved.node(index);
        let path = path_of(node);
        let before = errors(mistakes);
        let inferred = match (&node.body, resolved.inputs[index]) {
            (NodeBody::Source(source), _) => infer_source(source, &path, mistakes).map(|(inferred, time)| {
                types.1.extend(time.map(|time| (index, time)));
                inferred
            }),
            (body, Some(input)) => {
                let Some(given) = types.of_output(resolved, gates, input.node, input.output) else { continue };
                let mut check = Check { spec: resolved.spec, path, given, mistakes };
                match body {
                    NodeBody::Map(map) => check.map(map),
                    NodeBody::Dedup(dedup) => check.dedup(dedup),
                    NodeBody::Aggregate(aggregate) => check.aggregate(aggregate),
                    NodeBody::Reduce(reduce) => check.reduce(reduce, ranked(resolved, index)),
                    NodeBody::Sink(sink) => check.sink(sink),
                    NodeBody::Source(_) => None,
                }
            }
            _ => None,
        };
        if errors(mistakes) == before {
            types.0[index] = inferred;
        }
    }
    check_filters(resolved, gates, &types, mistakes);
    types
}

/// A warning is no reason to know nothing of a node.
fn errors(mistakes: &[Mistake]) -> usize {
    mistakes.iter().filter(|mistake| mistake.severity == Severity::Error).count()
}

/// The aggregate that a reduce ranks the results of, and the maps that these come through; else what it reads.
fn ranked<'a>(resolved: &Resolved<'a>, reduce: usize) -> Result<(&'a Aggregate, Vec<&'a Map>), String> {
    let mut maps = Vec::new();
    let mut at = reduce;
    while let Some(input) = resolved.inputs[at] {
        match (&resolved.node(input.node).body, input.output) {
            (NodeBody::Aggregate(aggregate), Output::Main) => return Ok((aggregate, maps)),
            (NodeBody::Map(map), Output::Main) => maps.push(map),
            (body, Output::Main) => return Err(body.kind().to_owned()),
            (_, output) => return Err(format!("`{}` output", output.name())),
        }
        at = input.node;
    }
    Err("nothing".into())
}

fn infer_source(source: &Source, path: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<(Types, Option<SourceTime>)> {
    let mut main = source_schema(source, path, mistakes)?;
    let time = source_time(source, path, &mut main, mistakes);
    let event_time = time.as_ref().map(|time| time.name.clone());
    Some((Types { main, event_time, time_lost: None, select: None, results: None }, time))
}

/// The types of an aggregate's input: with `filter_id` where the global filters add it.
pub(super) fn adds_filters(spec: &JobSpec, aggregate: &Aggregate) -> bool {
    !spec.filters.is_empty() && aggregate.key.iter().any(|column| column == FILTER_ID)
}

/// The timestamp column whose hour a sink's files are sorted by when none is named.
pub(super) fn partition_column(types: &Types) -> Option<&str> {
    if let Some(event_time) = &types.event_time {
        return Some(event_time);
    }
    let timestamps = || types.main.columns.iter().filter(|column| column.data_type == event_time_type());
    let start = timestamps().find(|column| column.name == WINDOW_START);
    let only = || timestamps().next().filter(|_| timestamps().count() == 1);
    start.or_else(only).map(|column| column.name.as_str())
}

/// Filters are checked once for every place where they are inserted; the same mistake is reported once.
fn check_filters(resolved: &Resolved<'_>, gates: &Gates, types: &AllTypes, mistakes: &mut Vec<Mistake>) {
    let mut used = false;
    let mut found: Vec<Mistake> = Vec::new();
    for &index in &resolved.order {
        let NodeBody::Aggregate(aggregate) = &resolved.node(index).body else { continue };
        if !adds_filters(resolved.spec, aggregate) {
            continue;
        }
        used = true;
        let Some(input) = resolved.inputs[index] else { continue };
        let Some(given) = types.of_output(resolved, gates, input.node, input.output) else { continue };
        for (id, condition) in &resolved.spec.filters {
            if let Err(error) = Expression::predicate(condition, &given.main.to_arrow()) {
                let mistake = Mistake::in_expression(KeyPath::of(["filters", id]), &error);
                if !found.iter().any(|other| other.path == mistake.path) {
                    found.push(mistake);
                }
            }
        }
    }
    if !used && !resolved.spec.filters.is_empty() {
        let message = "no aggregate has `filter_id` in its key, so the filters do nothing";
        found.push(Mistake::warning(KeyPath::of(["filters"]), message));
    }
    mistakes.extend(found);
}

/// A name that no column bears.
pub(super) fn unknown_column(path: KeyPath, name: &str, columns: &ColumnSchema) -> Mistake {
    let names: Vec<&str> = columns.names().collect();
    Mistake::new(path, format!("there is no column `{name}`")).one_of("columns", &names).meant(name, &names)
}
