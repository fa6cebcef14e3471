//! The configuration of an aggregate, and the columns that it produces.

use super::accumulator::Accumulator;
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
    /// Smallest number, date or timestamp, of the argument's type.
    Min,
    /// Largest number, date or timestamp, of the argument's type.
    Max,
    /// Mean of numbers, Float64.
    Avg,
    /// About how many distinct values, within 1.6 %. Int64.
    ApproxDistinct,
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
        }
        Ok(())
    }

    /// The aggregate that counts all rows, if there is one: partials then need no column of their own for that.
    pub(super) fn row_count(&self) -> Option<usize> {
        self.aggregates.iter().position(|call| call.function == Function::Count && call.argument.is_none())
    }
}

/// What a partial counts its rows with when the settings have no `count(*)`.
pub(super) fn row_count_call() -> AggregateCall {
    AggregateCall { function: Function::Count, argument: None, output: INPUT_ROWS.into() }
}

/// Whether a function is defined for values of a type.
pub fn is_defined(function: Function, of: &DataType) -> bool {
    let call = AggregateCall { function, argument: Some("argument".into()), output: "output".into() };
    Accumulator::new(&call, Some(of)).is_ok()
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
        let argument = call.argument.as_deref().map(column).transpose()?;
        results.push((call, Accumulator::new(call, argument.map(Field::data_type))?.output_type()));
    }
    // What is withdrawn has no values.
    let withdrawable = matches!(config.windows.window, WindowSpec::Session { .. })
        || results.iter().any(|(call, output)| may_be_unsayable(call.function, output));
    for (call, output) in results {
        let nullable = withdrawable || !matches!(call.function, Function::ApproxDistinct | Function::Count);
        fields.push(Field::new(&call.output, output, nullable));
    }
    fields.extend([revision_field(), withdrawn_field()]);
    Ok(Schema::new(fields))
}
