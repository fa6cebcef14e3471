//! The columns that a `select` computes.

use super::SelectItem;
use crate::expression::{EvaluationError, Expression};
use crate::schema::{Column, ColumnSchema};
use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{Field, Schema},
};
use std::sync::Arc;
use weir_engine::Result;

/// The computed columns, and which of the incoming ones they need.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(super) names: Vec<String>,
    pub(super) expressions: Vec<Expression>,
    pub(super) reads: Vec<String>,
}

impl Selection {
    /// Compiles the expressions against the columns that come in.
    ///
    /// # Errors
    /// When one is wrong.
    pub(crate) fn new(items: &[SelectItem], input: &Schema) -> Result<Self> {
        let compile =
            |item: &SelectItem| Expression::new(&item.expression, input).map_err(|error| error.at(&item.expression));
        let expressions: Vec<Expression> = items.iter().map(compile).collect::<Result<_>>()?;
        let read = |name: &str| expressions.iter().any(|expression| expression.columns().any(|column| column == name));
        let reads = input.fields().iter().map(|field| field.name().clone()).filter(|name| read(name)).collect();
        Ok(Selection { names: items.iter().map(|item| item.name.clone()).collect(), expressions, reads })
    }

    /// The columns that are computed.
    pub(crate) fn columns(&self) -> ColumnSchema {
        let column = |(name, expression): (&String, &Expression)| Column {
            name: name.clone(),
            data_type: expression.data_type().clone(),
            nullable: expression.nullable(),
        };
        ColumnSchema { columns: self.names.iter().zip(&self.expressions).map(column).collect() }
    }

    /// The computed columns of some rows.
    ///
    /// # Errors
    /// When an expression fails on one of them.
    pub(crate) fn evaluate(&self, rows: &RecordBatch) -> std::result::Result<Vec<ArrayRef>, EvaluationError> {
        let named = self.expressions.iter().zip(&self.names);
        named
            .map(|(expression, name)| {
                expression.evaluate(rows).map_err(|error| error.at(format_args!("select.{name}")))
            })
            .collect()
    }

    /// Computed columns as rows.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub(crate) fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let fields: Vec<Field> = self
            .names
            .iter()
            .zip(&self.expressions)
            .zip(&columns)
            .map(|((name, expression), column)| {
                let nullable = expression.nullable() || column.null_count() > 0;
                Field::new(name, column.data_type().clone(), nullable)
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}
