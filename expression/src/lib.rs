//! SQL scalar expressions over columns.
//!
//! An [`Expression`] is compiled once against the columns that a definition declares, and evaluated on batches. A
//! declared Utf8 column may come as Utf8, LargeUtf8, Utf8View or a dictionary of these, another one in every batch:
//! the expression is compiled for each combination when it first comes, so that no column is converted on the way in.
//! The result is the same whatever the representation.
//!
//! This crate is the only place that knows DataFusion's planner, which is generic over who provides its functions: all of it is
//! compiled here, once, and nowhere with what runs for each row.

mod aggregate_call;
mod aggregate_function;
mod check;
mod compile;
mod error;
mod functions;
mod over_item;
mod parse;
mod quotes;
mod rows;
mod stack;
#[cfg(test)]
mod tests;

use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::ScalarValue;
use datafusion_sql::sqlparser::ast::Expr as SqlExpr;

pub use aggregate_call::AggregateCall;
pub use aggregate_function::{AggregateFunction, Arguments};
pub use compile::type_name;
pub use error::{EvaluationError, ExpressionError, Position};
pub use functions::{FunctionNote, aggregates, functions};
pub use over_item::{FURTHEST_LAG, OverCall, OverItem};
pub use parse::parse_select_item;
pub use rows::{EvaluatedRows, RefusedRow, evaluate_rows};

use compile::{Compiled, declared_type, is_text};
use stack::on_planner_stack;

/// One SQL scalar expression, ready to be evaluated on batches.
#[derive(Debug)]
pub struct Expression {
    text: String,
    syntax: SqlExpr,
    data_type: DataType,
    nullable: bool,
    /// The columns it reads, as declared, in the declared order.
    fields: Vec<Field>,
    constant: Option<ScalarValue>,
    /// One for each combination of physical types seen so far: a handful at most, so that a list will do.
    variants: Mutex<Vec<Variant>>,
}

/// The expression compiled for certain physical types of the columns it reads.
#[derive(Debug, Clone)]
struct Variant {
    types: Vec<DataType>,
    compiled: Arc<Compiled>,
}

impl Expression {
    /// Compiles `text` against the columns of `schema`, whose text columns are declared as Utf8.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the expression; nothing about it is left to be found when it runs, but for values that
    /// a function or a cast does not take.
    pub fn new(text: &str, schema: &Schema) -> Result<Self, ExpressionError> {
        on_planner_stack(|| Self::compile(text, schema))
    }

    fn compile(text: &str, schema: &Schema) -> Result<Self, ExpressionError> {
        let syntax = parse::parse_expression(text).map_err(|error| quotes::explain(error, text, schema))?;
        let columns = check::columns_read(&syntax, schema).map_err(|error| quotes::explain(error, text, schema))?;
        let fields: Vec<Field> = columns.iter().map(|index| schema.field(*index).clone()).collect();
        let compiled = Compiled::new(&syntax, &Schema::new(fields.clone()))?;
        let types = fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Self {
            text: text.to_owned(),
            syntax,
            data_type: declared_type(&compiled.data_type),
            nullable: compiled.nullable,
            fields,
            constant: compiled.constant().cloned(),
            variants: Mutex::new(vec![Variant { types, compiled: Arc::new(compiled) }]),
        })
    }

    /// Like [`Expression::new`], for an expression that has to be true or false.
    ///
    /// # Errors
    ///
    /// As [`Expression::new`], and [`ExpressionError::Type`] when it yields something else.
    pub fn predicate(text: &str, schema: &Schema) -> Result<Self, ExpressionError> {
        let expression = Self::new(text, schema)?;
        match &expression.data_type {
            DataType::Boolean => Ok(expression),
            DataType::Null => Ok(Self { data_type: DataType::Boolean, ..expression }),
            other => Err(ExpressionError::Type {
                message: format!("a condition is true or false, this is {}", type_name(other)),
            }),
        }
    }

    /// The expression as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of the result; for every kind of text, Utf8.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Whether nulls can come out.
    pub fn nullable(&self) -> bool {
        self.nullable
    }

    /// The names of the columns that it reads, in the order of the schema that it was compiled against.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name().as_str())
    }

    /// Whether it is the constant true, so that filtering by it can be left out.
    pub fn is_constant_true(&self) -> bool {
        self.constant == Some(ScalarValue::Boolean(Some(true)))
    }

    /// Whether it is a column and nothing else, and which one.
    pub fn as_column(&self) -> Option<&str> {
        match &self.syntax {
            SqlExpr::Identifier(name) => Some(&name.value),
            _ => None,
        }
    }

    /// The result for every row of a batch. Text may come out in any physical form of Utf8.
    ///
    /// # Errors
    ///
    /// When the batch lacks a column or has it in another type, or a function does not take a value of a row.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, EvaluationError> {
        let columns = self.read_columns(batch)?;
        if let (Some(_), [column]) = (self.as_column(), columns.as_slice()) {
            return Ok(Arc::clone(column));
        }
        let compiled = self.compiled_for(&columns)?;
        let fields: Vec<Field> = self
            .fields
            .iter()
            .zip(&columns)
            .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let input = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| self.failed(error.to_string()))?;
        // A function that breaks down over a value is no reason for a job to end: the row is to blame, as for any failure.
        let evaluated = catch_unwind(AssertUnwindSafe(|| compiled.evaluate(&input, &self.data_type)));
        let Ok(evaluated) = evaluated else {
            return Err(EvaluationError { is_of_values: true, ..self.failed("a function failed on it".into()) });
        };
        evaluated.map_err(|error| EvaluationError {
            is_of_values: compile::is_of_values(&error),
            ..self.failed(compile::with_advice(&error))
        })
    }

    /// True for the rows for which the expression is true; false where it is false or null. The result has no nulls.
    ///
    /// # Errors
    ///
    /// As [`Expression::evaluate`], and when the expression is not a condition.
    pub fn evaluate_predicate(&self, batch: &RecordBatch) -> Result<BooleanArray, EvaluationError> {
        if let Some(constant) = &self.constant {
            let keep = *constant == ScalarValue::Boolean(Some(true));
            let rows = batch.num_rows();
            let values = if keep { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) };
            return Ok(BooleanArray::new(values, None));
        }
        let array = self.evaluate(batch)?;
        let Some(mask) = array.as_boolean_opt() else {
            return Err(self.failed(format!("a condition is true or false, this is {}", array.data_type())));
        };
        Ok(match mask.nulls() {
            Some(nulls) if nulls.null_count() > 0 => BooleanArray::new(mask.values() & nulls.inner(), None),
            _ => mask.clone(),
        })
    }

    fn read_columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, EvaluationError> {
        let mut columns = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let Some(column) = batch.column_by_name(field.name()) else {
                return Err(self.failed(format!("the batch has no column `{}`", field.name())));
            };
            let same_text = is_text(column.data_type()) && is_text(field.data_type());
            if column.data_type() != field.data_type() && !same_text {
                return Err(self.failed(format!(
                    "column `{}` was declared as {}, but came as {}",
                    field.name(),
                    field.data_type(),
                    column.data_type()
                )));
            }
            columns.push(Arc::clone(column));
        }
        Ok(columns)
    }

    fn compiled_for(&self, columns: &[ArrayRef]) -> Result<Arc<Compiled>, EvaluationError> {
        // A panic elsewhere leaves the list whole: entries are only ever added.
        let mut variants = self.variants.lock();
        let same = |variant: &&Variant| {
            variant.types.len() == columns.len()
                && variant.types.iter().zip(columns).all(|(wanted, column)| wanted == column.data_type())
        };
        if let Some(variant) = variants.iter().find(same) {
            return Ok(Arc::clone(&variant.compiled));
        }
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let fields: Vec<Field> =
            self.fields.iter().zip(&types).map(|(field, t)| field.clone().with_data_type(t.clone())).collect();
        let compiled = on_planner_stack(|| Compiled::new(&self.syntax, &Schema::new(fields)))
            .map_err(|error| self.failed(format!("can't be applied to these columns: {error}")))?;
        let compiled = Arc::new(compiled);
        variants.push(Variant { types, compiled: Arc::clone(&compiled) });
        Ok(compiled)
    }

    fn failed(&self, message: String) -> EvaluationError {
        EvaluationError { place: String::new(), expression: self.text.clone(), message, is_of_values: false }
    }
}
