//! An aggregate as its operators take it: its arguments are columns, computed by a map before it where they are not.

use weir_engine::Result;
use weir_operators::aggregate::{self, AggregateConfig, RunningCounts, output_schema};
use weir_operators::expression::AggregateCall;
use weir_operators::filters::FILTER_ID;
use weir_operators::map::SelectItem;
use weir_operators::schema::ColumnSchema;

use super::super::select::quoted;
use super::call::{function, goes_by_time};
use super::definition::Aggregate;

/// The suffixes of the names of columns that hold arguments; no definition can name such a column by chance.
const ARGUMENT: &str = "/argument";
const BY: &str = "/by";
const FILTER: &str = "/filter";

/// An aggregate, with its arguments as columns.
#[derive(Debug, Clone)]
pub(super) struct AggregateStep {
    pub(super) aggregate: Aggregate,
    /// The event-time column.
    pub(super) time: String,
    /// Output column and call; its expressions are columns' names.
    pub(super) calls: Vec<(String, AggregateCall)>,
    /// What a map before it has to compute; none where all arguments are columns already.
    pub(super) arguments: Option<Vec<SelectItem>>,
    /// When it emits running counts; none: they are not read.
    pub(super) running: Option<RunningCounts>,
}

impl AggregateStep {
    /// An aggregate over the columns `given`; its calls have been checked. Its filters may be still to come.
    pub(super) fn new(aggregate: &Aggregate, time: &str, given: &ColumnSchema) -> Self {
        let mut arguments = Arguments::new(given);
        let mut calls = Vec::with_capacity(aggregate.select.len());
        for (output, text) in &aggregate.select {
            let Ok(mut call) = AggregateCall::parse(text) else { continue };
            arguments.take(output, &mut call, time);
            calls.push((output.clone(), call));
        }
        AggregateStep {
            aggregate: aggregate.clone(),
            time: time.to_owned(),
            calls,
            arguments: arguments.computed(),
            running: None,
        }
    }

    /// The settings of its operators.
    pub(super) fn config(&self) -> AggregateConfig {
        AggregateConfig {
            key: self.aggregate.key.clone(),
            windows: self.aggregate.window_rule(),
            time_column: self.time.clone(),
            aggregates: self.calls.iter().map(|(output, call)| operators_call(output, call)).collect(),
            running: self.running,
        }
    }

    /// The columns it needs.
    pub(super) fn reads(&self) -> impl Iterator<Item = String> + '_ {
        let arguments = self.calls.iter().flat_map(|(_, call)| call.expressions().map(str::to_owned));
        self.aggregate.key.iter().cloned().chain([self.time.clone()]).chain(arguments)
    }

    /// Whether a result may be one that its type does not hold.
    pub(super) fn may_be_unsayable(&self, output: &ColumnSchema) -> bool {
        self.calls.iter().any(|(name, call)| {
            let column = output.column(name);
            column.is_some_and(|column| aggregate::may_be_unsayable(function(call), &column.data_type))
        })
    }

    /// What it emits, from what comes in with all arguments as columns.
    ///
    /// # Errors
    /// The operators' own, when they refuse their settings.
    pub(super) fn output(&self, input: &ColumnSchema) -> Result<ColumnSchema> {
        Ok(ColumnSchema::from(&output_schema(&input.to_arrow(), &self.config())?))
    }
}

/// A call of columns, as operators take it.
pub(in crate::nodes) fn operators_call(output: &str, call: &AggregateCall) -> aggregate::AggregateCall {
    aggregate::AggregateCall {
        by: call.by.clone(),
        parameter: call.parameter,
        filter: call.filter.clone(),
        ..aggregate::AggregateCall::new(function(call), call.argument.clone(), output)
    }
}

/// The arguments of calls as columns: those of the input, and those that a map computes before.
#[derive(Debug)]
pub(in crate::nodes) struct Arguments<'a> {
    given: &'a ColumnSchema,
    computed: Vec<SelectItem>,
}

impl<'a> Arguments<'a> {
    /// None yet, over these columns.
    pub(in crate::nodes) fn new(given: &'a ColumnSchema) -> Self {
        Arguments { given, computed: Vec::new() }
    }

    /// Makes the arguments of a call columns' names. Rows are chosen and sorted by `time` where the function says so.
    pub(in crate::nodes) fn take(&mut self, output: &str, call: &mut AggregateCall, time: &str) {
        for (expression, suffix) in [(&mut call.argument, ARGUMENT), (&mut call.by, BY), (&mut call.filter, FILTER)] {
            if let Some(text) = expression.take() {
                *expression = Some(self.column(text, || format!("{output}{suffix}")));
            }
        }
        if goes_by_time(call) {
            call.by = Some(time.to_owned());
        }
    }

    /// The column of an expression: of the input, or a computed one with a name of its own.
    pub(in crate::nodes) fn column(&mut self, text: String, name: impl Fn() -> String) -> String {
        as_column(&text, self.given).unwrap_or_else(|| {
            self.computed.push(SelectItem { name: name(), expression: text });
            name()
        })
    }

    /// What a map before has to compute: these, beside all columns of the input. None where it has nothing to.
    pub(in crate::nodes) fn computed(self) -> Option<Vec<SelectItem>> {
        let column = |name: &str| SelectItem { name: name.to_owned(), expression: quoted(name) };
        let given = self.given.names().map(column);
        (!self.computed.is_empty()).then(|| given.chain(self.computed).collect())
    }
}

/// The column that an expression is, if it is one and nothing else.
fn as_column(expression: &str, given: &ColumnSchema) -> Option<String> {
    let name = expression.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(expression);
    if name == FILTER_ID {
        return Some(FILTER_ID.to_owned());
    }
    given.column(name).map(|column| column.name.clone())
}
