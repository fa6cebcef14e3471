//! What a map does with results that it no longer keeps.
//!
//! A result is corrected by a row of the next revision. If the condition is true for the earlier row and not for the later
//! one, readers of the earlier one must learn that it no longer applies: the later row is passed on as *withdrawn*. Invariant: of
//! each record, the row of the highest revision passed on is made from the highest one that came in, or none was ever passed on.
//! So the final state is the same, whatever was emitted on the way.

use super::{Batch, Selection};
use crate::{
    columns::{REVISION, WITHDRAWN, withdrawn},
    expression::{Expression, evaluate_rows},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, new_null_array},
    buffer::BooleanBuffer,
    compute::not,
    datatypes::{Field, Int32Type, Schema},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{EngineError, Result};

/// What a map has to know of rows that are results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRows {
    /// The columns in which every revision of a record has the same value, such as its id, its key and its window. The others
    /// are values, which corrections change.
    pub fixed: Vec<String>,
    /// Whether running counts are among them, so that a first result may have others before it.
    #[serde(default)]
    pub running: bool,
}

/// Who takes rows, where running counts have readers of their own beside those that take the results alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Each reader, but for running counts.
    ByAll,
    /// They withdraw results: of a first one, only readers of running counts can have seen something before.
    WhereSeen,
}

/// Which rows are for readers of running counts alone.
pub(super) fn is_running(rows: &RecordBatch, taken: Taken) -> Result<BooleanArray> {
    let first = match taken {
        Taken::ByAll => 0,
        Taken::WhereSeen => 1,
    };
    Ok(BooleanArray::from_unary(revisions(rows)?, |revision| revision < first))
}

/// The rule, for one map.
#[derive(Debug)]
pub(super) struct Withdrawals {
    rows: ResultRows,
}

impl Withdrawals {
    pub(super) fn new(rows: ResultRows) -> Self {
        Withdrawals { rows }
    }

    /// Whether a condition may say something else of another revision of a record. If not, one that it turns down was never let
    /// through.
    pub(super) fn may_change(&self, condition: &Expression) -> bool {
        let is_fixed = |name: &str| self.rows.fixed.iter().any(|fixed| fixed == name);
        !condition.columns().all(is_fixed)
    }

    /// Results that hold, and those that hold no longer, each if there are any.
    pub(super) fn part(&self, batch: Batch) -> Result<(Option<Batch>, Option<Batch>)> {
        let withdrawn = withdrawn(&batch.columns)?;
        match withdrawn.true_count() {
            0 => Ok((Some(batch), None)),
            all if all == batch.len() => Ok((None, Some(batch))),
            _ => Ok((Some(batch.filter(&not(withdrawn)?)?), Some(batch.filter(withdrawn)?))),
        }
    }

    /// Of results that are not kept, those of which an earlier one may have been, without their values.
    pub(super) fn withdraw(&self, batch: &Batch) -> Result<Batch> {
        let later = match self.rows.running {
            true => batch.clone(),
            false => batch.filter(&is_later(&batch.columns)?)?,
        };
        let schema = later.columns.schema();
        let rows = later.len();
        let column = |(field, column): (&Arc<Field>, &ArrayRef)| -> ArrayRef {
            match field.name().as_str() {
                WITHDRAWN => Arc::new(BooleanArray::new(BooleanBuffer::new_set(rows), None)),
                name if self.is_carried(name) => Arc::clone(column),
                _ => new_null_array(column.data_type(), rows),
            }
        };
        let columns = schema.fields().iter().zip(later.columns.columns()).map(column).collect();
        let columns = RecordBatch::try_new(Arc::new(self.with_nulls(&schema)), columns)?;
        Ok(later.with_columns(columns))
    }

    /// Of withdrawn results, those that a condition would have let through, if it says the same of all their revisions.
    pub(super) fn let_through(&self, condition: &Expression, batch: Batch) -> Result<Batch> {
        if self.may_change(condition) {
            return Ok(batch);
        }
        let evaluated = evaluate_rows(&batch.columns, |rows| {
            let keep: ArrayRef = Arc::new(condition.evaluate_predicate(rows).map_err(|error| error.at("where"))?);
            Ok(vec![keep])
        })?;
        let batch = evaluated.kept(batch.len()).map_or(Ok(batch.clone()), |kept| batch.filter(&kept))?;
        match evaluated.columns()?.and_then(|mut columns| columns.pop()) {
            Some(keep) => batch.filter(keep.as_boolean()),
            None => Ok(batch.slice(0, 0)),
        }
    }

    /// The columns that are computed of withdrawn results: those that follow from what is fixed; the others are null. A record
    /// for which one of the former fails has never been passed on.
    pub(super) fn select(&self, select: &Selection, batch: &Batch) -> Result<Option<Batch>> {
        let evaluated = evaluate_rows(&batch.columns, |rows| {
            let column = |(expression, name): (&Expression, &String)| match self.follows(expression) {
                true => expression.evaluate(rows).map_err(|error| error.at(format_args!("select.{name}"))),
                false => Ok(new_null_array(expression.data_type(), rows.num_rows())),
            };
            select.expressions.iter().zip(&select.names).map(column).collect()
        })?;
        let batch = evaluated.kept(batch.len()).map_or(Ok(batch.clone()), |kept| batch.filter(&kept))?;
        let Some(columns) = evaluated.columns()? else { return Ok(None) };
        Ok(Some(batch.with_columns(self.nullable(select.batch(columns, batch.len())?, Some(select))?)))
    }

    /// The same rows with every value allowed to be null: one schema for all that a map lets through.
    pub(super) fn nullable(&self, rows: RecordBatch, select: Option<&Selection>) -> Result<RecordBatch> {
        let schema = match select {
            None => self.with_nulls(rows.schema_ref()),
            Some(select) => {
                let fields = rows.schema_ref().fields().iter().zip(&select.expressions);
                let nullable = |(field, expression): (&Arc<Field>, &Expression)| {
                    let nullable = expression.nullable() || !self.follows(expression);
                    Field::clone(field).with_nullable(field.is_nullable() || nullable)
                };
                Schema::new(fields.map(nullable).collect::<Vec<_>>())
            }
        };
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(schema), rows.columns().to_vec(), &options)?)
    }

    fn with_nulls(&self, schema: &Schema) -> Schema {
        let field = |field: &Arc<Field>| match self.is_carried(field.name()) {
            true => Arc::clone(field),
            false => Arc::new(Field::clone(field).with_nullable(true)),
        };
        Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
    }

    /// Whether a withdrawn result has this column, too.
    fn is_carried(&self, name: &str) -> bool {
        name == REVISION || name == WITHDRAWN || self.rows.fixed.iter().any(|fixed| fixed == name)
    }

    /// Whether an expression can be computed of a withdrawn result.
    fn follows(&self, expression: &Expression) -> bool {
        expression.columns().all(|column| self.is_carried(column))
    }
}

/// Which results correct another.
fn is_later(rows: &RecordBatch) -> Result<BooleanArray> {
    Ok(BooleanArray::from_unary(revisions(rows)?, |revision| revision > 0))
}

fn revisions(rows: &RecordBatch) -> Result<&Int32Array> {
    let revisions = rows.column_by_name(REVISION).and_then(|column| column.as_primitive_opt::<Int32Type>());
    revisions
        .ok_or_else(|| EngineError::internal(format!("results without a column '{REVISION}': {}", rows.schema_ref())))
}

#[cfg(test)]
mod tests;
