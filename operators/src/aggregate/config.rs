//! The configuration of an aggregate, and the columns that it produces.

use super::accumulator::{Accumulator, CallTypes, MOST_LISTED};
use super::lives_state::{FIRST_EVENT, LAST_EVENT, VERSION};
use crate::columns::{RECORD_ID, REVISION, WINDOW_END, WINDOW_START, WITHDRAWN, revision_field, withdrawn_field};
use crate::event_time::event_time_type;
use crate::table::plain_key_type;
use crate::window::{WindowRule, WindowSpec};
use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use weir_engine::{EngineError, Result};

/// Settings of a local and a global aggregate: both are given the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateConfig {
    /// The key columns.
    pub key: Vec<String>,
    /// The windows and their lateness.
    #[serde(flatten)]
    pub windows: WindowRule,
    /// The event-time column.
    pub time_column: String,
    /// What is computed, in the order of the output's columns.
    pub aggregates: Vec<AggregateCall>,
    /// Running counts of open windows; none: they are not read. Only a global aggregate of slices emits any. Of the global window,
    /// whose results are all running: how often they are emitted; none: with every checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningCounts>,
}

/// When running counts of open windows are emitted: of what has changed since the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningCounts {
    /// At every checkpoint whose number is a multiple of this, and at the last one of an attempt.
    pub every_checkpoints: u64,
}

/// One aggregate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateCall {
    /// Which.
    pub function: Function,
    /// The column that it is computed of; `None` only for `count(*)`.
    #[serde(default)]
    pub argument: Option<String>,
    /// The second column, of functions of two: what a value is chosen by, or what is correlated. The first and the last of
    /// a list go by event time, so that it is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Of a percentile the part of the values that lie below, from 0 to 1; of a list, how many values it has at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<f64>,
    /// A column of truth values: only rows count in which it is true; none: all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The output column.
    pub output: String,
}

/// What can be computed over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// Rows, or rows where the argument is not null. Int64.
    Count,
    /// Sum of numbers: Int64, Float64, or of decimals one of 38 digits. Null where there was no value. A window whose sum does not
    /// fit has no result: see [`may_be_unsayable`].
    Sum,
    /// Smallest value, of the argument's type; of text by its bytes.
    Min,
    /// Largest value, of the argument's type.
    Max,
    /// Mean of numbers, Float64.
    Avg,
    /// About how many distinct values, within 1.6 %. Int64.
    ApproxDistinct,
    /// How many distinct values, by their 128-bit hashes. Int64.
    CountDistinct,
    /// Variance of a sample, Float64; null for less than two values.
    Var,
    /// Variance of a population, Float64.
    VarPop,
    /// Standard deviation of a sample, Float64; null for less than two values.
    Stddev,
    /// Standard deviation of a population, Float64.
    StddevPop,
    /// Covariance of a sample of pairs, Float64; null for less than two pairs.
    Covar,
    /// Covariance of a population of pairs, Float64.
    CovarPop,
    /// Pearson's correlation of pairs, Float64; null where one of the two does not vary.
    Corr,
    /// Whether all truth values are true.
    BoolAnd,
    /// Whether one of the truth values is true.
    BoolOr,
    /// The bits that all integers have, of the argument's type.
    BitAnd,
    /// The bits that one of the integers has, of the argument's type.
    BitOr,
    /// The bits that an odd number of integers have, of the argument's type.
    BitXor,
    /// The number below which a part of all lie, interpolated. Float64. Keeps all of them.
    PercentileCont,
    /// The same, within 0.8 %. Float64.
    ApproxPercentileCont,
    /// The value where another column is smallest, of the argument's type; among several the smallest.
    MinBy,
    /// The value where another column is largest, of the argument's type; among several the largest.
    MaxBy,
    /// The values by event time, and of the same time by value: the first so many. A list of the argument's type.
    ArrayAgg,
    /// The distinct values in their order: the first so many. A list of the argument's type.
    ArrayAggDistinct,
}

impl Function {
    /// Whether it says how many, so that there is a result even of nothing.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Function::Count | Function::CountDistinct | Function::ApproxDistinct)
    }

    /// Whether it is computed of pairs, so that its call has a second column.
    fn is_of_two(self) -> bool {
        use Function::{ArrayAgg, Corr, Covar, CovarPop, MaxBy, MinBy};
        matches!(self, Covar | CovarPop | Corr | MinBy | MaxBy | ArrayAgg)
    }
}

/// Column of a partial that says which slice it belongs to.
pub(super) const SLICE_START: &str = "slice_start";
/// Column of a partial that says how many rows it stands for.
pub(super) const INPUT_ROWS: &str = "input_rows";
/// Names that partials, outputs or stored state need for themselves.
const RESERVED: [&str; 12] = [
    SLICE_START,
    INPUT_ROWS,
    RECORD_ID,
    WINDOW_START,
    WINDOW_END,
    REVISION,
    WITHDRAWN,
    "key_group",
    "key_hash",
    "emitted",
    "changed",
    "emitted_until",
];
/// The same of the state of a global window.
const RESERVED_OF_LIVES: [&str; 3] = [FIRST_EVENT, LAST_EVENT, VERSION];

impl AggregateConfig {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// With what was found and what would be right.
    pub fn validate(&self) -> Result<()> {
        self.windows.validate()?;
        let mut names = BTreeSet::new();
        for name in self.key.iter().chain(self.aggregates.iter().map(|call| &call.output)) {
            let is_of_lives = self.windows.window.is_global() && RESERVED_OF_LIVES.contains(&name.as_str());
            if RESERVED.contains(&name.as_str()) || is_of_lives {
                return Err(EngineError::definition(format!(
                    "'{name}' is a column that every aggregate has: choose another name"
                )));
            }
            if !names.insert(name) {
                return Err(EngineError::definition(format!("two columns of the aggregate are called '{name}'")));
            }
        }
        if self.running.is_some() && matches!(self.windows.window, WindowSpec::Session { .. }) {
            return Err(EngineError::definition("sessions have no running counts: their bounds are not known yet"));
        }
        if self.aggregates.is_empty() {
            return Err(EngineError::definition(
                "an aggregate computes nothing: select at least one, such as count(*)",
            ));
        }
        for call in &self.aggregates {
            if call.argument.is_none() && call.function != Function::Count {
                return Err(EngineError::definition(format!(
                    "'{}' needs an argument; only count(*) has none",
                    call.output
                )));
            }
            call.validate()?;
        }
        Ok(())
    }

    /// The aggregate that counts all rows, if there is one: partials then need no column of their own for that.
    pub(super) fn row_count(&self) -> Option<usize> {
        let counts_rows =
            |call: &AggregateCall| call.function == Function::Count && call.argument.is_none() && call.filter.is_none();
        self.aggregates.iter().position(counts_rows)
    }
}

impl AggregateCall {
    /// A function of one column, or of none, over all rows.
    pub fn new(function: Function, argument: Option<String>, output: impl Into<String>) -> Self {
        AggregateCall { function, argument, by: None, parameter: None, filter: None, output: output.into() }
    }

    fn validate(&self) -> Result<()> {
        let refuse = |what: &str| Err(EngineError::definition(format!("'{}' {what}", self.output)));
        match self.function {
            Function::PercentileCont | Function::ApproxPercentileCont
                if !self.parameter.is_some_and(|part| (0.0..=1.0).contains(&part)) =>
            {
                refuse("needs the part of the values that lie below, from 0 to 1")
            }
            Function::ArrayAgg | Function::ArrayAggDistinct
                if !self.parameter.is_none_or(|limit| (1.0..=MOST_LISTED as f64).contains(&limit)) =>
            {
                refuse(&format!("may have 1 to {MOST_LISTED} values"))
            }
            function if function.is_of_two() && self.by.is_none() => refuse("needs two columns"),
            _ => Ok(()),
        }
    }

    /// The columns that it reads.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        [&self.argument, &self.by, &self.filter].into_iter().flatten().map(String::as_str)
    }
}

/// What a partial counts its rows with when the settings have no `count(*)`.
pub(super) fn row_count_call() -> AggregateCall {
    AggregateCall::new(Function::Count, None, INPUT_ROWS)
}

/// Whether a function is defined for values of a type and, if it is one of two columns, of a second type.
pub fn is_defined(function: Function, of: &DataType, by: Option<&DataType>) -> bool {
    let column = || Some("column".to_owned());
    let call = AggregateCall { by: column(), ..AggregateCall::new(function, column(), "output") };
    // What a percentile needs, and a list accepts.
    let call = AggregateCall { parameter: Some(1.0), ..call };
    Accumulator::new(&call, CallTypes { argument: Some(of), by }).is_ok()
}

/// Whether a result of this type may be one that its type does not hold, so that its window has none.
pub fn may_be_unsayable(function: Function, output: &DataType) -> bool {
    function == Function::Sum && !output.is_floating()
}

/// The columns with the bounds of windows; the global window has none.
pub(super) fn bounds(config: &AggregateConfig) -> Vec<Field> {
    let names: &[&str] = if config.windows.window.is_global() { &[] } else { &[WINDOW_START, WINDOW_END] };
    names.iter().map(|name| Field::new(*name, event_time_type(), false)).collect()
}

/// The columns of an aggregate's results, from those of its input.
///
/// # Errors
/// When a column is missing, or of a type that the function is not defined for.
pub fn output_schema(input: &Schema, config: &AggregateConfig) -> Result<Schema> {
    config.validate()?;
    let column = |name: &str| {
        input.field_with_name(name).map_err(|_| {
            let found: Vec<&str> = input.fields().iter().map(|field| field.name().as_str()).collect();
            EngineError::definition(format!("there is no column '{name}'; the input has {}", found.join(", ")))
        })
    };
    let mut fields = vec![Field::new(RECORD_ID, DataType::FixedSizeBinary(16), false)];
    for name in &config.key {
        let key = column(name)?;
        fields.push(Field::new(name, plain_key_type(key.data_type()), key.is_nullable()));
    }
    fields.extend(bounds(config));
    let mut results = Vec::with_capacity(config.aggregates.len());
    for call in &config.aggregates {
        let argument = call.argument.as_deref().map(column).transpose()?.map(Field::data_type);
        let by = call.by.as_deref().map(column).transpose()?.map(Field::data_type);
        if let Some(filter) = call.filter.as_deref().map(column).transpose()?
            && *filter.data_type() != DataType::Boolean
        {
            return Err(EngineError::definition(format!("'{}': its filter is no truth value", call.output)));
        }
        results.push((call, Accumulator::new(call, CallTypes { argument, by })?.output_type()));
    }
    // What is withdrawn has no values.
    let withdrawable = matches!(config.windows.window, WindowSpec::Session { .. })
        || results.iter().any(|(call, output)| may_be_unsayable(call.function, output));
    for (call, output) in results {
        let nullable = withdrawable || !call.function.counts();
        fields.push(Field::new(&call.output, output, nullable));
    }
    fields.extend([revision_field(), withdrawn_field()]);
    Ok(Schema::new(fields))
}
