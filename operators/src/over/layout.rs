//! Rows as bytes: what is held of them in memory. The order of the bytes is the order of rows of the same event time.

use crate::hold;
use crate::schema::{Column, ColumnSchema};
use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{Field, Schema},
    row::{Row, RowConverter, Rows, SortField},
};
use std::sync::Arc;
use weir_engine::{EngineError, Result};

/// Whether values of a column can be kept, in memory and as state.
pub fn can_keep(column: &Column) -> bool {
    let is_stored = hold::check(&ColumnSchema { columns: vec![column.clone()] }).is_ok();
    is_stored && RowConverter::supports_fields(&[SortField::new(column.data_type.clone())])
}

/// The columns that are held.
#[derive(Debug)]
pub(super) struct Layout {
    columns: ColumnSchema,
    converter: RowConverter,
}

impl Layout {
    /// # Errors
    /// When there is a column that no row of bytes can have.
    pub(super) fn new(columns: &ColumnSchema) -> Result<Self> {
        let fields = columns.columns.iter().map(|column| SortField::new(column.data_type.clone())).collect();
        let converter = RowConverter::new(fields).map_err(|error| EngineError::definition(error.to_string()))?;
        Ok(Layout { columns: columns.clone(), converter })
    }

    pub(super) fn columns(&self) -> &ColumnSchema {
        &self.columns
    }

    /// Where a column is.
    pub(super) fn position(&self, name: &str) -> Result<usize> {
        let position = self.columns.columns.iter().position(|column| column.name == name);
        position.ok_or_else(|| EngineError::internal(format!("'{name}' is no column that is held")))
    }

    /// The columns of a batch, each as it is declared: a text may come in any representation.
    ///
    /// # Errors
    /// When one is missing, or of another type.
    pub(super) fn declared(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let declared = |column: &Column| -> Result<ArrayRef> {
            let found = rows.column_by_name(&column.name);
            let found = found.ok_or_else(|| EngineError::internal(format!("there is no column '{}'", column.name)))?;
            let is_so = *found.data_type() == column.data_type;
            Ok(if is_so { Arc::clone(found) } else { cast(found, &column.data_type)? })
        };
        self.columns.columns.iter().map(declared).collect()
    }

    /// Declared columns as bytes.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub(super) fn to_rows(&self, columns: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(columns)?)
    }

    /// No rows yet.
    pub(super) fn no_rows(&self, expected: usize) -> Rows {
        self.converter.empty_rows(expected, 0)
    }

    /// Bytes as columns again.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub(super) fn to_columns<'a>(&self, rows: impl Iterator<Item = Row<'a>>) -> Result<Vec<ArrayRef>> {
        let columns = self.converter.convert_rows(rows)?;
        let declared = columns.iter().zip(&self.columns.columns);
        declared.map(|(column, declared)| Ok(cast(column, &declared.data_type)?)).collect()
    }

    /// Columns as a batch.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub(super) fn batch(columns: &ColumnSchema, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let field = |(column, array): (&Column, &ArrayRef)| {
            let nullable = column.nullable || array.null_count() > 0;
            Field::new(&column.name, array.data_type().clone(), nullable)
        };
        let fields: Vec<Field> = columns.columns.iter().zip(&arrays).map(field).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
    }
}
