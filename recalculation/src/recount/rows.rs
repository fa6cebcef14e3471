//! What is done with rows before they are counted: conditions, computed columns, duplicates, filters.

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions},
    compute::{cast, filter_record_batch},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    row::{RowConverter, SortField},
};
use std::{collections::HashSet, sync::Arc};
use weir_engine::error::{EngineError, Result};
use weir_jobs::recalculation::{CountedTable, RecountStep};
use weir_operators::dedup::NullKey;
use weir_operators::expression::{EvaluationError, Expression, ExpressionError, evaluate_rows};
use xxhash_rust::xxh3::xxh3_128;

/// What a key has where a value is missing.
pub(crate) const NO_VALUE: &str = "\u{2400}";

/// The steps and filters of a table, for rows with certain columns.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The columns that come in.
    schema: SchemaRef,
    steps: Vec<Step>,
    filters: Vec<Expression>,
}

#[derive(Debug)]
enum Step {
    Keep(Box<Expression>),
    Compute(Vec<(String, Expression)>),
    Unique(Vec<String>, NullKey),
}

/// Text as Utf8, times in milliseconds UTC: the types that a definition knows.
pub(super) fn logical(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let wanted = match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => DataType::Utf8,
            DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            other => other.clone(),
        };
        columns.push(cast(column, &wanted)?);
        fields.push(Field::new(field.name(), wanted, true));
    }
    table(fields, columns, batch.num_rows())
}

fn table(fields: Vec<Field>, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

impl Compiled {
    /// Compiles for rows like these.
    pub(super) fn new(counted: &CountedTable, batch: &RecordBatch) -> Result<Self> {
        let mut schema = batch.schema();
        let mut steps = Vec::with_capacity(counted.steps.len());
        for step in &counted.steps {
            steps.push(match step {
                RecountStep::Keep(condition) => Step::Keep(Box::new(
                    Expression::predicate(condition, &schema).map_err(|error| wrong(condition, &error))?,
                )),
                RecountStep::Compute(items) => {
                    let compile = |(name, text): (&String, &String)| {
                        let compiled = Expression::new(text, &schema).map_err(|error| wrong(text, &error))?;
                        Ok((name.clone(), compiled))
                    };
                    let items = items.iter().map(|item| compile((&item.name, &item.expression)));
                    let items = items.collect::<Result<Vec<_>>>()?;
                    let field = |(name, item): &(String, Expression)| Field::new(name, item.data_type().clone(), true);
                    schema = Arc::new(Schema::new(items.iter().map(field).collect::<Vec<_>>()));
                    Step::Compute(items)
                }
                RecountStep::Unique { key, null_key, .. } => Step::Unique(key.clone(), *null_key),
            });
        }
        let filter = |(_, condition): &(String, String)| {
            Expression::predicate(condition, &schema).map_err(|error| wrong(condition, &error))
        };
        let filters = counted.filters.iter().map(filter).collect::<Result<_>>()?;
        Ok(Compiled { schema: batch.schema(), steps, filters })
    }

    /// Whether it was compiled for such rows.
    pub(super) fn fits(&self, batch: &RecordBatch) -> bool {
        self.schema == batch.schema()
    }

    /// The rows that are left after all steps, and how many were looked up among those that were `seen`: a set for each step.
    pub(super) fn run(&self, mut batch: RecordBatch, seen: &mut [HashSet<u128>]) -> Result<(RecordBatch, usize)> {
        let mut asked = 0;
        for (step, seen) in self.steps.iter().zip(seen) {
            batch = match step {
                Step::Keep(condition) => {
                    let Some((batch, mask)) = evaluated(batch.clone(), &[condition.as_ref()])? else {
                        return Ok((batch.slice(0, 0), asked));
                    };
                    filter_record_batch(&batch, mask[0].as_boolean())?
                }
                Step::Compute(items) => compute(&batch, items)?,
                Step::Unique(key, null_key) => {
                    let (left, looked_up) = unique(&batch, key, *null_key, seen)?;
                    asked += looked_up;
                    left
                }
            };
        }
        Ok((batch, asked))
    }

    /// The rows that every filter can judge, and which of them match each; none: there are none. Without filters everything
    /// matches the only one.
    pub(super) fn filters(&self, batch: &RecordBatch) -> Result<Option<(RecordBatch, Vec<BooleanArray>)>> {
        if self.filters.is_empty() {
            let all = BooleanArray::from(vec![true; batch.num_rows()]);
            return Ok(Some((batch.clone(), vec![all])));
        }
        let filters: Vec<&Expression> = self.filters.iter().collect();
        let judged = evaluated(batch.clone(), &filters)?;
        Ok(judged.map(|(batch, masks)| (batch, masks.iter().map(|mask| mask.as_boolean().clone()).collect())))
    }
}

/// The rows that no condition fails on, and what each condition says of them.
fn evaluated(batch: RecordBatch, conditions: &[&Expression]) -> Result<Option<(RecordBatch, Vec<ArrayRef>)>> {
    let judge = |rows: &RecordBatch| -> Result<Vec<ArrayRef>, EvaluationError> {
        conditions.iter().map(|condition| Ok(Arc::new(condition.evaluate_predicate(rows)?) as ArrayRef)).collect()
    };
    let evaluated = evaluate_rows(&batch, judge)?;
    let batch = match evaluated.kept(batch.num_rows()) {
        Some(kept) => filter_record_batch(&batch, &kept)?,
        None => batch,
    };
    Ok(evaluated.columns()?.map(|masks| (batch, masks)))
}

fn compute(batch: &RecordBatch, items: &[(String, Expression)]) -> Result<RecordBatch> {
    let evaluate = |rows: &RecordBatch| -> Result<Vec<ArrayRef>, EvaluationError> {
        items.iter().map(|(_, item)| item.evaluate(rows)).collect()
    };
    let evaluated = evaluate_rows(batch, evaluate)?;
    let rows = batch.num_rows() - evaluated.refused.len();
    let columns = match evaluated.columns()? {
        Some(columns) => columns,
        None => evaluate(&batch.slice(0, 0))?,
    };
    let field =
        |((name, _), column): (&(String, Expression), &ArrayRef)| Field::new(name, column.data_type().clone(), true);
    let fields = items.iter().zip(&columns).map(field).collect();
    logical(&table(fields, columns, rows)?)
}

/// The rows whose key was not seen before, and how many were looked up. Of keys a hash is kept, of 128 bits. A row with a null
/// in its key is like no other.
fn unique(
    batch: &RecordBatch,
    key: &[String],
    null_key: NullKey,
    seen: &mut HashSet<u128>,
) -> Result<(RecordBatch, usize)> {
    let columns = key.iter().map(|name| Ok(super::column(batch, name)?.clone())).collect::<Result<Vec<_>>>()?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut looked_up = 0;
    let mut is_new = |(number, row): (usize, arrow::row::Row<'_>)| {
        if columns.iter().any(|column| column.is_null(number)) {
            return Some(null_key == NullKey::Pass);
        }
        looked_up += 1;
        Some(seen.insert(xxh3_128(row.as_ref())))
    };
    let new: BooleanArray = rows.iter().enumerate().map(&mut is_new).collect();
    Ok((filter_record_batch(batch, &new)?, looked_up))
}

fn wrong(expression: &str, error: &ExpressionError) -> EngineError {
    EngineError::definition(format!("`{expression}` cannot be applied to the rows of the archive: {error}"))
}
