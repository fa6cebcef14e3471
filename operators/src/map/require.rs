//! What a map requires of rows: conditions with a name, which is the reason that a row becomes a dead letter for.
//!
//! They are looked at one after the other, each for the rows that have met those before it: so a later one may rely on an
//! earlier one, and a row has one reason, the first.

use super::SelectItem;
use crate::expression::{EvaluatedRows, Expression, RefusedRow, evaluate_rows};
use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::Schema,
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::Result;

/// One condition.
#[derive(Debug)]
pub(super) struct Requirement {
    reason: String,
    pub(super) condition: Expression,
}

impl Requirement {
    /// Those of these items: the name is the reason, the expression the condition.
    ///
    /// # Errors
    /// When a condition is wrong.
    pub(super) fn all(items: &[SelectItem], input: &Schema) -> Result<Vec<Self>> {
        let compile = |item: &SelectItem| {
            let condition = Expression::predicate(&item.expression, input);
            let condition = condition.map_err(|error| error.at(&item.expression))?;
            Ok(Requirement { reason: item.name.clone(), condition })
        };
        items.iter().map(compile).collect()
    }

    /// The rows that don't meet it: the condition is false or null for them, or fails on them.
    ///
    /// # Errors
    /// When it fails whatever is in the rows.
    pub(super) fn refused(&self, rows: &RecordBatch) -> Result<EvaluatedRows<()>> {
        let evaluated = evaluate_rows(rows, |rows| {
            let meets = self.condition.evaluate_predicate(rows);
            let meets: ArrayRef = Arc::new(meets.map_err(|error| error.at(format_args!("require.{}", self.reason)))?);
            Ok(vec![meets])
        })?;
        let judged: Vec<usize> = match evaluated.kept(rows.num_rows()) {
            Some(kept) => kept.values().set_indices().collect(),
            None => (0..rows.num_rows()).collect(),
        };
        let mut refused = evaluated.refused.clone();
        if let Some(meets) = evaluated.columns()?.and_then(|mut columns| columns.pop()) {
            let meets = meets.as_boolean();
            let broken = judged.into_iter().enumerate().filter(|(place, _)| !meets.value(*place));
            refused.extend(broken.map(|(_, row)| RefusedRow { row, reason: self.reason.clone() }));
            refused.sort_by_key(|refused| refused.row);
        }
        Ok(EvaluatedRows { pieces: Vec::new(), refused })
    }
}

#[cfg(test)]
mod tests;
