//! The columns of an output and what is known of its rows.

use std::time::Duration;

use weir_operators::dead_letters;
use weir_operators::map::SelectItem;
use weir_operators::schema::ColumnSchema;
use weir_operators::source::computed_time::ComputedTime;

use super::output::Output;
use super::results::Results;
use weir_operators::definition::KeyPath;

/// What a node emits.
#[derive(Debug, Clone)]
pub(crate) struct Types {
    /// Columns of the main output; of a sink, the columns it writes.
    pub(crate) main: ColumnSchema,
    /// The column that says when a row happened, where rows are still events.
    pub(crate) event_time: Option<String>,
    /// Of a source, how that is computed; none: it is read.
    pub(crate) computed_time: Option<ComputedTime>,
    /// Where the event time was lost on the way, and how it is kept, for people.
    pub(crate) time_lost: Option<TimeLost>,
    /// The items of a map, or of a sink's `select`.
    pub(crate) select: Option<Vec<SelectItem>>,
    /// What is known of rows that are results, which later revisions correct; none: they are events.
    pub(crate) results: Option<Results>,
    /// How often running counts come beside the results, if they do.
    pub(crate) running: Option<Duration>,
    /// Whether a split of the source may be silent, so that time goes on without it.
    pub(crate) may_be_silent: bool,
    /// What they came out of, maps left out, for people.
    pub(crate) origin: String,
}

/// What has become of the event time in a `select`.
#[derive(Debug, Clone)]
pub(crate) struct TimeLost {
    /// The node.
    pub(crate) node: KeyPath,
    /// The column that it was.
    pub(crate) column: String,
    /// What is computed of it, or under its name, if anything is: a name and an expression.
    pub(crate) computed: Option<(String, String)>,
}

impl Types {
    /// Rows of these columns of which nothing else is known, out of such a node.
    pub(crate) fn of(main: ColumnSchema, origin: &str) -> Self {
        Types {
            main,
            event_time: None,
            computed_time: None,
            time_lost: None,
            select: None,
            results: None,
            running: None,
            may_be_silent: false,
            origin: origin.to_owned(),
        }
    }

    /// Dead letters.
    pub(crate) fn dead_letters() -> Self {
        Types::of(dead_letter_schema(), &output_name(Output::DeadLetters))
    }

    /// The same rows, behind a node that passes them on.
    pub(crate) fn passed_on(&self) -> Self {
        Types { select: None, computed_time: None, running: None, ..self.clone() }
    }

    /// Those of these rows that a gate sends to one of its outputs.
    pub(crate) fn out_of(&self, output: Output) -> Self {
        Types { origin: output_name(output), ..self.passed_on() }
    }
}

fn output_name(output: Output) -> String {
    format!("`{}` output", output.name())
}

/// The columns of an output `dead_letters`.
pub(crate) fn dead_letter_schema() -> ColumnSchema {
    ColumnSchema::from(dead_letters::dead_letter_schema().as_ref())
}
