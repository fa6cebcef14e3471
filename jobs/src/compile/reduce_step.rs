//! A reduce as its operators take it.

use weir_engine::Result;
use weir_operators::reduce::{TopConfig, output_schema};
use weir_operators::schema::ColumnSchema;
use weir_operators::window::WindowRule;

use super::gates::{window_rule, window_spec};
use crate::spec::{Aggregate, Reduce};

/// A reduce, and the aggregate that it ranks.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReduceStep<'a> {
    pub(super) reduce: &'a Reduce,
    pub(super) aggregate: &'a Aggregate,
}

impl ReduceStep<'_> {
    /// The settings of its operators.
    pub(super) fn config(&self) -> TopConfig {
        let slice = window_rule(self.aggregate);
        let window = self.reduce.window.map_or(slice.window, window_spec);
        TopConfig {
            n: self.reduce.n,
            by: self.reduce.by.clone(),
            key: self.aggregate.key.clone(),
            per: self.reduce.per.clone(),
            windows: WindowRule { window, ..slice },
            slice_ms: slice.window.size_ms(),
        }
    }

    /// What it puts out, from what the aggregate does.
    ///
    /// # Errors
    /// The operators' own, when they refuse their settings.
    pub(super) fn output(&self, input: &ColumnSchema) -> Result<ColumnSchema> {
        Ok(ColumnSchema::from(&output_schema(&input.to_arrow(), &self.config())?))
    }
}
