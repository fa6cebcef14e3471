//! Several outputs that feed one input: rows of the same columns flow together, each as late as it is in its own split.

use weir_operators::columns::RECORD_ID;
use weir_operators::expression::type_name;
use weir_operators::map::SelectItem;
use weir_operators::schema::{Column, ColumnSchema};

use super::map::MapOperator;
use super::operator::{Configuration, Names, Note, Operator, StepColumns};
use super::results::Results;
use super::select::quoted;
use super::types::Types;
use weir_operators::definition::{KeyPath, Mistake};

/// The rows of several outputs, by the names that these are written with; `path` is the key that names them. Nothing, where they
/// are not alike: the first difference of each is a mistake.
pub(crate) fn united(path: &KeyPath, feeds: &[(&str, Types)], mistakes: &mut Vec<Mistake>) -> Option<Types> {
    let ((first_name, first), others) = feeds.split_first()?;
    let mut united = first.clone();
    let mut are_alike = true;
    for (position, (name, types)) in others.iter().enumerate() {
        if feeds[..=position].iter().any(|(other, _)| other == name) {
            let mistake = Mistake::new(path.index(position + 1), format!("`{name}` is named twice"));
            mistakes.push(mistake.expected("each once: its rows would come twice"));
            are_alike = false;
            continue;
        }
        match difference((first_name, first), (name, types)) {
            Some((message, expected)) => {
                mistakes.push(Mistake::new(path.index(position + 1), message).expected(expected));
                are_alike = false;
            }
            None => united = both(&united, types),
        }
    }
    are_alike.then_some(united)
}

/// What makes two outputs no rows of one kind, and what would be right.
fn difference((one_name, one): (&str, &Types), (other_name, other): (&str, &Types)) -> Option<(String, String)> {
    match (&one.results, &other.results) {
        (None, Some(_)) => return Some(events_and_results(one_name, other_name)),
        (Some(_), None) => return Some(events_and_results(other_name, one_name)),
        _ => {}
    }
    if let Some(difference) = of_columns((one_name, &one.main), (other_name, &other.main)) {
        return Some(difference);
    }
    if one.event_time != other.event_time {
        let says = |name: &str, types: &Types| match &types.event_time {
            Some(column) => format!("`{name}` has its event time in `{column}`"),
            None => format!("`{name}` has no event time"),
        };
        let message = format!("{}, and {}", says(one_name, one), says(other_name, other));
        return Some((message, "the same event time in each, such as by a `select` before".into()));
    }
    of_results((one_name, one.results.as_ref()?), (other_name, other.results.as_ref()?))
}

fn events_and_results(events: &str, results: &str) -> (String, String) {
    let message = format!("`{events}` has events, and `{results}` results, which later revisions correct");
    (message, "only events, or only results".into())
}

fn of_columns(
    (one_name, one): (&str, &ColumnSchema),
    (other_name, other): (&str, &ColumnSchema),
) -> Option<(String, String)> {
    let expected = "the same columns in each: a `map` can leave some out, rename them, or make another type of them";
    let lacks = |has: &str, lacks: &str, column: &Column| {
        (format!("`{has}` has a column `{}`, and `{lacks}` has none", column.name), expected.to_owned())
    };
    for column in &one.columns {
        match other.column(&column.name) {
            None => return Some(lacks(one_name, other_name, column)),
            Some(twin) if twin.data_type != column.data_type => {
                let types = (type_name(&column.data_type), type_name(&twin.data_type));
                let message =
                    format!("`{}` is {} in `{one_name}`, and {} in `{other_name}`", column.name, types.0, types.1);
                return Some((message, expected.to_owned()));
            }
            Some(_) => {}
        }
    }
    other.columns.iter().find(|column| one.column(&column.name).is_none()).map(|more| lacks(other_name, one_name, more))
}

/// Readers of results go by their windows.
fn of_results((one_name, one): (&str, &Results), (other_name, other): (&str, &Results)) -> Option<(String, String)> {
    if one.window != other.window || one.counted.allowed_lateness != other.counted.allowed_lateness {
        let message =
            format!("the windows of `{one_name}` and `{other_name}` are not the same, or not as long corrected");
        return Some((message, "results of the same `window` and `allowed_lateness`".into()));
    }
    None
}

/// What is true of the rows of both.
fn both(one: &Types, other: &Types) -> Types {
    let nullable = |column: &Column| {
        let twin = other.main.column(&column.name);
        Column { nullable: column.nullable || twin.is_some_and(|twin| twin.nullable), ..column.clone() }
    };
    Types {
        main: ColumnSchema { columns: one.main.columns.iter().map(nullable).collect() },
        results: one.results.as_ref().zip(other.results.as_ref()).map(|(one, other)| results_of_both(one, other)),
        may_be_silent: one.may_be_silent || other.may_be_silent,
        // They go straight from one aggregate to a sink.
        running: None,
        origin: "union".into(),
        ..one.passed_on()
    }
}

/// Nobody ranks the groups of two aggregates, and of two results with one key and window only the record's id says which is which.
fn results_of_both(one: &Results, other: &Results) -> Results {
    let same = |(name, origin): (&String, &Option<String>)| {
        (other.fixed.get(name) == Some(origin)).then(|| (name.clone(), origin.clone()))
    };
    // What adds up in one of them only does not add up: nothing of this name does.
    let summed = |(name, origin): (&String, &Option<String>)| {
        let agree = one.adds_up(name) == other.adds_up(name);
        (name.clone(), if agree { origin.clone() } else { Some(String::new()) })
    };
    let mut key: Vec<String> = vec![RECORD_ID.to_owned()];
    key.extend(one.key.iter().chain(&other.key).filter(|name| *name != RECORD_ID).cloned());
    key.dedup();
    Results {
        are_groups: false,
        behind_map: one.behind_map || other.behind_map,
        columns: one.columns.iter().map(summed).collect(),
        fixed: one.fixed.iter().filter_map(same).collect(),
        key,
        sessions: one.sessions || other.sessions,
        withdrawable: one.withdrawable || other.withdrawable,
        unsayable: one.unsayable || other.unsayable,
        ..one.clone()
    }
}

/// Makes rows of one output those of a union: its columns, in its order, and null where another output may have null.
#[derive(Debug)]
pub(crate) struct UnionOperator {
    /// The columns of the union.
    pub(crate) columns: ColumnSchema,
}

impl UnionOperator {
    fn map(&self, given: &ColumnSchema, is_needed: impl Fn(&str) -> bool) -> MapOperator {
        let item = |column: &Column| {
            let plain = quoted(&column.name);
            let is_filled = given.column(&column.name).is_some_and(|own| !own.nullable);
            let expression =
                if is_filled && column.nullable { format!("case when true then {plain} end") } else { plain };
            SelectItem { name: column.name.clone(), expression }
        };
        let needed = self.columns.columns.iter().filter(|column| is_needed(&column.name));
        MapOperator::selecting(needed.map(item).collect(), None)
    }
}

impl Operator for UnionOperator {
    fn needs(&self, output: &Names, _given: &ColumnSchema) -> Names {
        output.clone()
    }

    fn output(&self, _given: &ColumnSchema) -> ColumnSchema {
        self.columns.clone()
    }

    fn narrowed(&self, input: ColumnSchema, needed: &Names) -> StepColumns {
        let map = self.map(&input, |name| needed.contains(name));
        map.narrowed(input, needed)
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        MapOperator::selecting(Vec::new(), None).configuration(columns)
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        Note::of("one of several that flow together")
    }
}
