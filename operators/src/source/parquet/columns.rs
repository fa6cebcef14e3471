//! Which columns of a file are read, as which Arrow types, and what they become.
//!
//! The types that a job sees are few: text is Utf8, every timestamp is in milliseconds UTC (one without a zone is taken
//! for UTC), every decimal of up to 38 digits is of 128 bits, and a dictionary of anything but text is what is in it. A column
//! that is asked for as another type than the file has is adapted, and one that the file lacks is null. How text is held in
//! memory is free: where all pages of a column chunk are dictionary-encoded it stays a
//! dictionary, so that each distinct text is hashed once and not once a row; where they are not it is a view into the page,
//! which spares the copy.

use super::adapt::{adapt, can_adapt, is_text};
use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
    util::display::array_value_to_string,
};
use parquet::{
    arrow::ProjectionMask,
    basic::Encoding,
    file::metadata::{ColumnChunkMetaData, RowGroupMetaData},
    schema::types::SchemaDescriptor,
};
use std::sync::Arc;

/// The schema of a file's columns, with text as Utf8 whatever its writer held it in: equal files of different writers must
/// not differ.
pub(super) fn stored_schema(written: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match is_text(field.data_type()) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        false => field.clone(),
    };
    let fields: Vec<Arc<Field>> = written.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, written.metadata().clone()))
}

/// The type that a job sees of a column of type `stored`.
pub(super) fn logical_type(stored: &DataType) -> DataType {
    match stored {
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale) if *precision <= DECIMAL128_MAX_PRECISION => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Date64 => DataType::Date32,
        DataType::Float16 => DataType::Float32,
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Dictionary(_, values) if !is_text(values) => logical_type(values),
        other => other.clone(),
    }
}

/// The schema that a job sees of a file.
pub(super) fn logical_schema(stored: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        // A timestamp beyond what milliseconds can express becomes null.
        let logical = logical_type(field.data_type());
        let nullable = field.is_nullable() || logical != *field.data_type();
        Field::new(field.name(), logical, nullable)
    };
    Arc::new(Schema::new(stored.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The requested columns, found in one file.
#[derive(Clone, Debug)]
pub(super) struct RequestedColumns {
    /// Positions among the file's top-level columns, in the requested order; none of a column that the file lacks.
    positions: Vec<Option<usize>>,
    /// What the job sees, in the requested order.
    fields: Vec<Field>,
}

/// Rows as they were asked for.
#[derive(Debug)]
pub(super) struct Arranged {
    pub(super) rows: RecordBatch,
    /// Rows with a value that does not fit the type that it was asked for as, and why; in rising order.
    pub(super) refused: Vec<(usize, String)>,
}

impl RequestedColumns {
    /// Finds the columns of `requested` in the file.
    ///
    /// # Errors
    /// When one is missing that must have values, or is of a type that cannot be read as the requested one: in words.
    pub(super) fn find(logical: &Schema, requested: &Schema) -> Result<Self, String> {
        let mut positions = Vec::new();
        let mut fields = Vec::new();
        for wanted in requested.fields() {
            let position = logical.index_of(wanted.name()).ok();
            let mut field = wanted.as_ref().clone();
            match position.map(|position| logical.field(position)) {
                None if !wanted.is_nullable() => {
                    let found: Vec<&str> = logical.fields().iter().map(|field| field.name().as_str()).collect();
                    let found = found.join(", ");
                    return Err(format!("there is no column '{}'; the columns found are: {found}", wanted.name()));
                }
                None => {}
                Some(found) if !can_adapt(found.data_type(), wanted.data_type()) => {
                    let (name, found, wanted) = (wanted.name(), found.data_type(), wanted.data_type());
                    return Err(format!("column '{name}' is {found}, but {wanted} is wanted"));
                }
                // A value that does not fit becomes null.
                Some(found) if found.is_nullable() || found.data_type() != wanted.data_type() => {
                    field.set_nullable(true)
                }
                Some(found) => field.set_nullable(found.is_nullable()),
            }
            positions.push(position);
            fields.push(field);
        }
        Ok(RequestedColumns { positions, fields })
    }

    /// The requested columns that the file lacks.
    pub(super) fn missing(&self) -> Vec<&str> {
        let missing = self.positions.iter().zip(&self.fields).filter(|(position, _)| position.is_none());
        missing.map(|(_, field)| field.name().as_str()).collect()
    }

    fn in_file(&self) -> impl Iterator<Item = usize> {
        self.positions.iter().filter_map(|position| *position)
    }

    /// What a decoder must read.
    pub(super) fn mask(&self, schema: &SchemaDescriptor) -> ProjectionMask {
        ProjectionMask::roots(schema, self.in_file())
    }

    /// The file's schema with the text columns as this row group is best held in memory.
    pub(super) fn decoded_schema(
        &self,
        stored: &Schema,
        schema: &SchemaDescriptor,
        group: &RowGroupMetaData,
    ) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = stored.fields().to_vec();
        for position in self.in_file() {
            let field = &stored.fields()[position];
            if *field.data_type() == DataType::Utf8 {
                let leaf = (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == position);
                let dictionary = leaf.is_some_and(|leaf| only_dictionary_pages(group.column(leaf)));
                let held = if dictionary { text_dictionary() } else { PLAIN_TEXT };
                fields[position] = Arc::new(field.as_ref().clone().with_data_type(held));
            }
        }
        Arc::new(Schema::new_with_metadata(fields, stored.metadata().clone()))
    }

    /// The requested columns, in their order and of their types, from what was decoded (in the file's order).
    pub(super) fn arrange(&self, decoded: &RecordBatch) -> Result<Arranged, ArrowError> {
        let mut in_file_order: Vec<usize> = self.in_file().collect();
        in_file_order.sort_unstable();
        in_file_order.dedup();
        let rows = decoded.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.positions.len());
        let mut fields: Vec<Field> = Vec::with_capacity(self.positions.len());
        let mut refused = Vec::new();
        for (position, field) in self.positions.iter().zip(&self.fields) {
            let column = match position {
                None => new_null_array(field.data_type(), rows),
                Some(position) => {
                    let found = decoded.column(in_file_order.partition_point(|other| other < position));
                    let column = adapt(found, field.data_type()).map_err(ArrowError::CastError)?;
                    // A timestamp beyond what milliseconds can express is null without a word.
                    let may_not_fit =
                        !Arc::ptr_eq(found, &column) && !matches!(found.data_type(), DataType::Timestamp(_, _));
                    if may_not_fit && column.null_count() > 0 {
                        refuse_new_nulls(found, &column, field, &mut refused);
                    }
                    column
                }
            };
            fields.push(field.clone().with_data_type(column.data_type().clone()));
            columns.push(column);
        }
        refused.sort_by_key(|(row, _)| *row);
        refused.dedup_by_key(|(row, _)| *row);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
        Ok(Arranged { rows, refused })
    }
}

/// Rows whose value is null only since it did not fit.
fn refuse_new_nulls(found: &ArrayRef, column: &ArrayRef, field: &Field, refused: &mut Vec<(usize, String)>) {
    let nulls = found.logical_nulls();
    let was_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    for row in (0..column.len()).filter(|row| column.is_null(*row) && !was_null(*row)) {
        let value = array_value_to_string(found, row).unwrap_or_default();
        let (name, wanted) = (field.name(), field.data_type());
        refused.push((row, format!("{name} is {value} in the file, which is no {wanted}")));
    }
}

/// How text without a dictionary is held.
const PLAIN_TEXT: DataType = DataType::Utf8View;

fn text_dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Whether a column chunk's writer never fell back to plain pages.
fn only_dictionary_pages(column: &ColumnChunkMetaData) -> bool {
    if let Some(mask) = column.page_encoding_stats_mask() {
        return mask.is_only(Encoding::RLE_DICTIONARY) || mask.is_only(Encoding::PLAIN_DICTIONARY);
    }
    // Without page statistics only the old name of the encoding tells: beside the new one PLAIN is always listed, since the
    // dictionary page itself is plain.
    let encodings: Vec<Encoding> = column.encodings().collect();
    encodings.contains(&Encoding::PLAIN_DICTIONARY)
        && encodings.iter().all(|encoding| {
            #[expect(deprecated, reason = "old writers list BIT_PACKED for levels")]
            let levels = matches!(encoding, Encoding::RLE | Encoding::BIT_PACKED);
            levels || *encoding == Encoding::PLAIN_DICTIONARY
        })
}
