//! An over as its operator takes it: its calls are taken out of its `select`, and their arguments are columns, computed by a map
//! before it where they are not.

use weir_operators::aggregate::AggregateCall;
use weir_operators::expression::{OverCall, OverItem};
use weir_operators::map::SelectItem;
use weir_operators::over::{LagCall, OverConfig};
use weir_operators::schema::ColumnSchema;

use super::super::aggregate::{Arguments, operators_call};
use super::super::operator::{Names, only};
use super::super::select::{read_by, selected};
use super::definition::Over;
use weir_operators::definition::duration::millis;

/// An over, with its arguments as columns.
#[derive(Debug, Clone)]
pub(super) struct OverStep {
    pub(super) over: Over,
    /// The event-time column.
    pub(super) time: String,
    /// The columns of a row that are kept: all that it needs.
    pub(super) columns: Names,
    calls: Vec<AggregateCall>,
    lags: Vec<LagCall>,
    /// The columns that go out, over those that are kept and those of the calls.
    pub(super) select: Vec<SelectItem>,
    /// What a map before it has to compute; none where all arguments are columns already.
    pub(super) arguments: Option<Vec<SelectItem>>,
}

impl OverStep {
    /// An over of the columns `given`; its items have been checked.
    pub(super) fn new(over: &Over, time: &str, given: &ColumnSchema) -> Self {
        let mut arguments = Arguments::new(given);
        let mut columns: Names = over.key.iter().cloned().chain([time.to_owned()]).collect();
        let (mut calls, mut lags, mut select) = (Vec::new(), Vec::new(), Vec::new());
        for (name, text) in &over.select {
            let Ok(item) = OverItem::parse(name, text) else { continue };
            for (output, call) in item.calls {
                match call {
                    OverCall::Aggregate(mut call) => {
                        arguments.take(&output, &mut call, time);
                        columns.extend(call.expressions().map(str::to_owned));
                        calls.push(operators_call(&output, &call));
                    }
                    OverCall::Lag { argument, rows } => {
                        let argument = arguments.column(argument, || format!("{output}/argument"));
                        columns.insert(argument.clone());
                        lags.push(LagCall { argument, rows, output });
                    }
                }
            }
            select.push(SelectItem { name: name.clone(), expression: item.expression });
        }
        let over = over.clone();
        let arguments = arguments.computed();
        let mut step = OverStep { over, time: time.to_owned(), columns, calls, lags, select, arguments };
        step.columns.extend(step.read_by_select(&step.input(given)));
        step
    }

    /// What comes to its operator, with all arguments as columns.
    pub(super) fn input(&self, given: &ColumnSchema) -> ColumnSchema {
        self.arguments.as_ref().map_or_else(|| given.clone(), |items| selected(items, given))
    }

    /// The columns of the input that the `select` reads itself.
    fn read_by_select(&self, input: &ColumnSchema) -> Vec<String> {
        let all = OverConfig { input: input.clone(), ..self.config(input) };
        let Ok(all) = all.columns() else { return input.names().map(str::to_owned).collect() };
        let read = self.select.iter().flat_map(|item| read_by(&item.expression, &all));
        read.filter(|name| input.column(name).is_some()).collect()
    }

    /// The settings of its operator, of the columns that come in.
    pub(super) fn config(&self, input: &ColumnSchema) -> OverConfig {
        OverConfig {
            key: self.over.key.clone(),
            time_column: self.time.clone(),
            input: only(input, &self.columns),
            within_ms: millis(self.over.within),
            rows: self.over.rows,
            lateness_ms: self.over.lateness_ms(),
            calls: self.calls.clone(),
            lags: self.lags.clone(),
            select: self.select.clone(),
            condition: self.over.condition.clone(),
            once: self.over.once,
        }
    }
}
