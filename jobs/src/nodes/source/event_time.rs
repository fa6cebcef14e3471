//! What a source's `event_time` is: one of its columns, or a column that is computed of them.

use weir_operators::event_time::event_time_type;
use weir_operators::expression::{Expression, type_name};
use weir_operators::schema::{Column, ColumnSchema};
use weir_operators::source::SourceConnector;
use weir_operators::source::computed_time::ComputedTime;

use super::super::check::Check;
use super::definition::{EventTime, Source};
use weir_operators::definition::{KeyPath, Mistake};

/// The name of a computed event time that is given none.
const EVENT_TIME: &str = "event_time";

/// A source's event time.
#[derive(Debug, Clone)]
pub(super) struct SourceTime {
    /// The column.
    pub(super) name: String,
    /// How it is computed, with all columns that can be read; none: it is read.
    pub(super) computed: Option<ComputedTime>,
}

impl SourceTime {
    /// The columns that a source reads for some of those that it gives.
    pub(super) fn read(&self, given: &ColumnSchema) -> Option<ComputedTime> {
        let computed = self.computed.as_ref()?;
        let expression = Expression::new(&computed.expression, &computed.columns.to_arrow()).ok()?;
        let of_expression: Vec<&str> = expression.columns().collect();
        let is_read = |column: &&Column| {
            of_expression.contains(&column.name.as_str())
                || (column.name != self.name && given.column(&column.name).is_some())
        };
        let columns = computed.columns.columns.iter().filter(is_read).cloned().collect();
        Some(ComputedTime { expression: computed.expression.clone(), columns: ColumnSchema { columns } })
    }
}

impl Source {
    /// Finds out what the event time is, and adds it to the columns where it is computed.
    pub(super) fn time(
        &self,
        connector: &dyn SourceConnector,
        columns: &mut ColumnSchema,
        check: &mut Check<'_>,
    ) -> Option<SourceTime> {
        let time = self.event_time.as_ref()?;
        let place = check.path.key("event_time");
        match names_a_column(time, columns) {
            true => column_time(&time.expression, place, columns, check.mistakes),
            false => computed_time(connector, time, place, columns, check.mistakes),
        }
    }
}

/// Whether a column is meant, be it there or not.
fn names_a_column(time: &EventTime, columns: &ColumnSchema) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | ' ');
    time.name.is_none() && (columns.column(&time.expression).is_some() || time.expression.chars().all(plain))
}

fn column_time(name: &str, place: KeyPath, columns: &ColumnSchema, mistakes: &mut Vec<Mistake>) -> Option<SourceTime> {
    match columns.column(name) {
        None => {
            mistakes.push(Mistake::unknown_column(place, name, columns));
            None
        }
        Some(column) if column.data_type != event_time_type() => {
            let message = format!("the event time `{name}` is {}", type_name(&column.data_type));
            let expected =
                "a column of type timestamp, or an SQL expression that gives one, such as to_timestamp_seconds(at)";
            mistakes.push(Mistake::new(place, message).expected(expected));
            None
        }
        Some(_) => Some(SourceTime { name: name.to_owned(), computed: None }),
    }
}

fn computed_time(
    connector: &dyn SourceConnector,
    time: &EventTime,
    place: KeyPath,
    columns: &mut ColumnSchema,
    mistakes: &mut Vec<Mistake>,
) -> Option<SourceTime> {
    let before = mistakes.len();
    let written = if time.name.is_some() { place.key("expression") } else { place.clone() };
    let name = time.name.clone().unwrap_or_else(|| EVENT_TIME.to_owned());
    if let Some((why, expected)) = connector.never_computes_time() {
        mistakes.push(Mistake::new(written.clone(), why).expected(expected));
    }
    let expression = match Expression::new(&time.expression, &columns.to_arrow()) {
        Ok(expression) => expression,
        Err(error) => {
            mistakes.push(Mistake::in_expression(written, &error));
            return None;
        }
    };
    if !ComputedTime::can_be_of(expression.data_type()) {
        let message = format!("the event time is {}", type_name(expression.data_type()));
        let expected = "a timestamp, as of to_timestamp_seconds(at) for a number or to_timestamp(at, '%d/%b/%Y:%H:%M:%S %z') for a text";
        mistakes.push(Mistake::new(written, message).found(&time.expression).expected(expected));
    }
    // A column of that name may be what the time is made of; another one would be hidden without a word.
    if columns.column(&name).is_some() && !expression.columns().any(|column| column == name) {
        let message = format!("there is a column `{name}` already, which the expression does not read");
        let expected = format!("another name: event_time = {{ name = \"...\", expression = \"{}\" }}", time.expression);
        mistakes.push(Mistake::on_key(place, message).expected(expected));
    }
    if mistakes.len() > before {
        return None;
    }
    let computed = ComputedTime { expression: time.expression.clone(), columns: columns.clone() };
    let column = Column { name: name.clone(), data_type: event_time_type(), nullable: true };
    match columns.columns.iter_mut().find(|column| column.name == name) {
        Some(replaced) => *replaced = column,
        None => columns.columns.push(column),
    }
    Some(SourceTime { name, computed: Some(computed) })
}
