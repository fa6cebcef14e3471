//! Held rows as state, and back.

use super::Held;
use crate::schema::{Column, ColumnSchema};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, RecordBatchOptions, new_empty_array},
    compute::{cast, concat, filter_record_batch},
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef},
};
use std::sync::Arc;
use weir_engine::{
    EngineError, Result, key_group::KeyGroupRange, operator::OperatorContext, parquet_pages::parquet_schema,
};

/// The name of the one segment.
pub(super) const SEGMENT: &str = "held";

/// The column behind those of the rows.
const KEY_GROUP: &str = "key_group";

/// The columns of held rows, and of the state they are.
#[derive(Debug, Clone)]
pub(super) struct HeldState {
    columns: ColumnSchema,
    stored: SchemaRef,
}

impl HeldState {
    /// # Errors
    /// When there is a column that state cannot have.
    pub(super) fn new(columns: &ColumnSchema, context: &OperatorContext) -> Result<Self> {
        check(columns).map_err(|error| error.context(&context.operator))?;
        let mut key_group = KEY_GROUP.to_owned();
        while columns.column(&key_group).is_some() {
            key_group.push('_');
        }
        // Whether there are nulls is for the rows to say.
        let own = columns.columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        let fields: Vec<Field> = own.chain([Field::new(key_group, DataType::Int32, false)]).collect();
        Ok(HeldState { columns: columns.clone(), stored: Arc::new(Schema::new(fields)) })
    }

    /// The rows of some batches, each column as it is declared, in memory of their own.
    pub(super) fn gather(&self, held: &[Held]) -> Result<RecordBatch> {
        let rows = held.iter().map(|held| held.rows.num_rows()).sum();
        let gathered = self.columns.columns.iter().enumerate().map(|(at, column)| gathered(column, held, at));
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = gathered.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    /// The same rows, with fields that may be null where the declared ones may, or where they are: as all that is gathered or
    /// restored has them. A sink takes other fields for other columns, which are in another file.
    pub(super) fn declared(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let field = |(column, array): (&Column, &ArrayRef)| {
            Field::new(&column.name, array.data_type().clone(), column.nullable || array.null_count() > 0)
        };
        let fields: Vec<Field> = self.columns.columns.iter().zip(rows.columns()).map(field).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), rows.columns().to_vec(), &options)?)
    }

    /// What a checkpoint stores of rows.
    pub(super) fn store(&self, held: Vec<Held>) -> Result<Vec<RecordBatch>> {
        held.into_iter().map(|held| self.store_batch(&held)).collect()
    }

    fn store_batch(&self, held: &Held) -> Result<RecordBatch> {
        let group: ArrayRef = Arc::new(Int32Array::from_value(i32::from(held.key_group), held.rows.num_rows()));
        let columns = held.rows.columns().iter().chain([&group]);
        // Texts may come in any form, and are stored in one.
        let columns = columns.zip(self.stored.fields()).map(|(column, field)| cast(column, field.data_type()));
        Ok(RecordBatch::try_new(Arc::clone(&self.stored), columns.collect::<Result<_, _>>()?)?)
    }

    /// The rows of a stored batch that belong to these key groups.
    pub(super) fn restore(&self, stored: &RecordBatch, key_groups: KeyGroupRange) -> Result<RecordBatch> {
        let groups = stored.columns().last().and_then(|groups| groups.as_primitive_opt::<Int32Type>());
        let own = self.columns.columns.len();
        let Some(groups) = groups.filter(|_| stored.num_columns() == own + 1) else {
            return Err(EngineError::corrupt(format!("segment '{SEGMENT}': not the columns of rows that are held")));
        };
        let is_own = |group: Option<i32>| {
            group.and_then(|group| u16::try_from(group).ok()).is_some_and(|group| key_groups.contains(group))
        };
        let is_own: BooleanArray = groups.iter().map(|group| Some(is_own(group))).collect();
        let rows = filter_record_batch(stored, &is_own)?;
        let restored = self.columns.columns.iter().zip(rows.columns()).map(|(column, stored)| restored(column, stored));
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = restored.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

/// Whether rows of these columns can be held.
///
/// # Errors
/// Naming the column that cannot.
pub fn check(columns: &ColumnSchema) -> Result<()> {
    parquet_schema(&columns.to_arrow())
        .map(|_| ())
        .map_err(|error| EngineError::definition(format!("rows with such columns cannot be held: {error}")))
}

/// A column of some batches.
fn gathered(column: &Column, held: &[Held], at: usize) -> Result<(Field, ArrayRef)> {
    let mut parts = Vec::with_capacity(held.len() + 1);
    for held in held {
        parts.push(cast(held.rows.column(at), &column.data_type)?);
    }
    // One alone would be shared, not copied.
    parts.push(new_empty_array(&column.data_type));
    let all = concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
    let nullable = column.nullable || all.null_count() > 0;
    Ok((Field::new(&column.name, column.data_type.clone(), nullable), all))
}

/// A column as it flows.
fn restored(column: &Column, stored: &ArrayRef) -> Result<(Field, ArrayRef)> {
    let array = cast(stored, &column.data_type)?;
    let nullable = column.nullable || array.null_count() > 0;
    Ok((Field::new(&column.name, column.data_type.clone(), nullable), array))
}
