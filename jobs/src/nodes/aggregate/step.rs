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
        let column = |name: &str| SelectItem { name: name.to_owned(), expression: quoted(name) };
        let mut items: Vec<SelectItem> = given.names().map(column).collect();
        let mut calls = Vec::with_capacity(aggregate.select.len());
        let mut computes = false;
        for (output, text) in &aggregate.select {
            let Ok(mut call) = AggregateCall::parse(text) else { continue };
            let parts = [(&mut call.argument, ARGUMENT), (&mut call.by, BY), (&mut call.filter, FILTER)];
            for (expression, suffix) in parts {
                let Some(text) = expression.take() else { continue };
                *expression = Some(as_column(&text, given).unwrap_or_else(|| {
                    computes = true;
                    let name = format!("{output}{suffix}");
                    items.push(SelectItem { name: name.clone(), expression: text });
                    name
                }));
            }
            if goes_by_time(&call) {
                call.by = Some(time.to_owned());
            }
            calls.push((output.clone(), call));
        }
        AggregateStep {
            aggregate: aggregate.clone(),
            time: time.to_owned(),
            calls,
            arguments: computes.then_some(items),
            running: None,
        }
    }

    /// The settings of its operators.
    pub(super) fn config(&self) -> AggregateConfig {
        let call = |(output, call): &(String, AggregateCall)| aggregate::AggregateCall {
            by: call.by.clone(),
            parameter: call.parameter,
            filter: call.filter.clone(),
            ..aggregate::AggregateCall::new(function(call), call.argument.clone(), output.clone())
        };
        AggregateConfig {
            key: self.aggregate.key.clone(),
            windows: self.aggregate.window_rule(),
            time_column: self.time.clone(),
            aggregates: self.calls.iter().map(call).collect(),
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

/// The column that an expression is, if it is one and nothing else.
fn as_column(expression: &str, given: &ColumnSchema) -> Option<String> {
    let name = expression.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(expression);
    if name == FILTER_ID {
        return Some(FILTER_ID.to_owned());
    }
    given.column(name).map(|column| column.name.clone())
}
