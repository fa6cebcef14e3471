//! The settings of an over, and the columns that it has for each row.

use crate::aggregate::AggregateCall;
use crate::aggregate::accumulator::{Accumulator, CallTypes};
use crate::map::SelectItem;
use crate::schema::{Column, ColumnSchema};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use weir_engine::{EngineError, Result};

/// Settings of an over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverConfig {
    /// The columns by which rows belong together; none: all do.
    pub key: Vec<String>,
    /// The event-time column.
    pub time_column: String,
    /// The columns that come in and are kept. Rows of the same event time are in the order of their values in these.
    pub input: ColumnSchema,
    /// How far back in event time a row sees others: those later than its own time less this.
    pub within_ms: i64,
    /// Of these, how many at most: the last ones, itself included; none: all of them, and those of its own time that come behind
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// At a watermark *w* no row comes any more with an event time of *w* less this, or an earlier one. At least 1.
    pub lateness_ms: i64,
    /// What is computed of the rows that a row sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<AggregateCall>,
    /// What is read from one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lags: Vec<LagCall>,
    /// The columns that go out, computed of those that came in, of the calls and the lags.
    pub select: Vec<SelectItem>,
    /// Rows go out for which this is true of what goes out; none: all do.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether of rows in succession for which it is true only the first goes out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
}

/// A value of a row before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LagCall {
    /// The column.
    pub argument: String,
    /// How many rows before.
    pub rows: u32,
    /// The column that it is called here.
    pub output: String,
}

impl OverConfig {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// With what was found and what would be right.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(EngineError::definition(what));
        if self.within_ms <= 0 || self.lateness_ms <= 0 {
            return refuse(format!(
                "{} ms before a row, {} ms late: both are positive",
                self.within_ms, self.lateness_ms
            ));
        }
        if self.rows == Some(0) {
            return refuse("a row is one of the rows that it sees: there is at least 1".into());
        }
        if self.once && self.condition.is_none() {
            return refuse("what goes out once has a condition".into());
        }
        match self.lags.iter().find(|lag| lag.rows == 0 || self.rows.is_some_and(|rows| lag.rows >= rows)) {
            Some(lag) => refuse(format!("'{}' is {} rows before, which is none that a row sees", lag.output, lag.rows)),
            None => Ok(()),
        }
    }

    /// What there is for each row before its `select`: the columns that came in, those of the calls and those of the lags.
    ///
    /// # Errors
    /// When a column is missing, or of a type that a function is not defined for.
    pub fn columns(&self) -> Result<ColumnSchema> {
        let mut columns = self.input.clone();
        for call in &self.calls {
            let data_type = self.accumulator(call)?.output_type();
            let nullable = !call.function.counts();
            columns.columns.push(Column { name: call.output.clone(), data_type, nullable });
        }
        for lag in &self.lags {
            let data_type = self.type_of(&lag.argument)?.clone();
            columns.columns.push(Column { name: lag.output.clone(), data_type, nullable: true });
        }
        Ok(columns)
    }

    /// Whether a row sees those of its own event time that come behind it.
    pub(super) fn sees_peers(&self) -> bool {
        self.rows.is_none()
    }

    /// No state yet of one of the calls.
    pub(super) fn accumulator(&self, call: &AggregateCall) -> Result<Accumulator> {
        let of = |name: &Option<String>| name.as_deref().map(|name| self.type_of(name)).transpose();
        Accumulator::new(call, CallTypes { argument: of(&call.argument)?, by: of(&call.by)? })
    }

    fn type_of(&self, name: &str) -> Result<&DataType> {
        let missing = || {
            let found: Vec<&str> = self.input.names().collect();
            EngineError::definition(format!("there is no column '{name}'; the input has {}", found.join(", ")))
        };
        self.input.column(name).map(|column| &column.data_type).ok_or_else(missing)
    }
}
