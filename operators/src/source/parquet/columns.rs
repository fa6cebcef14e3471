//! Which columns of a file are read, as which Arrow types, and what they become.
//!
//! The types that a job sees are few: text is Utf8, every timestamp is in milliseconds UTC (one without a zone is taken
//! for UTC), every decimal of up to 38 digits is of 128 bits, and a dictionary of anything but text is what is in it. How text is held in memory is free: where all pages of a column chunk are dictionary-encoded it stays a
//! dictionary, so that each distinct text is hashed once and not once a row; where they are not it is a view into the page,
//! which spares the copy.

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::{CastOptions, cast_with_options},
    datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use parquet::{
    arrow::ProjectionMask,
    basic::Encoding,
    file::metadata::{ColumnChunkMetaData, RowGroupMetaData},
    schema::types::SchemaDescriptor,
};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

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

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
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
    /// Positions among the file's top-level columns, in the requested order.
    positions: Vec<usize>,
    /// What the job sees, in the requested order.
    fields: Vec<Field>,
}

impl RequestedColumns {
    /// Finds the columns of `requested` in the file.
    ///
    /// # Errors
    /// When one is missing or of another type: names the file, the column, and what was found.
    pub(super) fn find(file: &str, logical: &Schema, requested: &Schema) -> Result<Self> {
        let mut positions = Vec::new();
        let mut fields = Vec::new();
        for wanted in requested.fields() {
            let Ok(position) = logical.index_of(wanted.name()) else {
                return Err(EngineError::definition(format!(
                    "{file} has no column '{}'; the columns found are: {}",
                    wanted.name(),
                    logical.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
                )));
            };
            let found = logical.field(position);
            if found.data_type() != wanted.data_type() {
                return Err(EngineError::definition(format!(
                    "{file}: column '{}' is {}, but {} is wanted",
                    wanted.name(),
                    found.data_type(),
                    wanted.data_type()
                )));
            }
            positions.push(position);
            fields.push(found.clone());
        }
        Ok(RequestedColumns { positions, fields })
    }

    /// What a decoder must read.
    pub(super) fn mask(&self, schema: &SchemaDescriptor) -> ProjectionMask {
        ProjectionMask::roots(schema, self.positions.iter().copied())
    }

    /// The file's schema with the text columns as this row group is best held in memory.
    pub(super) fn decoded_schema(
        &self,
        stored: &Schema,
        schema: &SchemaDescriptor,
        group: &RowGroupMetaData,
    ) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = stored.fields().to_vec();
        for position in &self.positions {
            let field = &stored.fields()[*position];
            if *field.data_type() == DataType::Utf8 {
                let leaf = (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == *position);
                let dictionary = leaf.is_some_and(|leaf| only_dictionary_pages(group.column(leaf)));
                let held = if dictionary { text_dictionary() } else { PLAIN_TEXT };
                fields[*position] = Arc::new(field.as_ref().clone().with_data_type(held));
            }
        }
        Arc::new(Schema::new_with_metadata(fields, stored.metadata().clone()))
    }

    /// The requested columns, in their order and of their types, from what was decoded (in the file's order).
    pub(super) fn arrange(&self, decoded: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
        let mut in_file_order = self.positions.clone();
        in_file_order.sort_unstable();
        in_file_order.dedup();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.positions.len());
        let mut fields: Vec<Field> = Vec::with_capacity(self.positions.len());
        for (position, field) in self.positions.iter().zip(&self.fields) {
            let column = decoded.column(in_file_order.partition_point(|other| other < position));
            let held_as_text = is_text(column.data_type()) && is_text(field.data_type());
            let column = match field.data_type() {
                wanted if column.data_type() != wanted && !held_as_text => {
                    cast_with_options(column, wanted, &CastOptions { safe: true, ..CastOptions::default() })?
                }
                _ => column.clone(),
            };
            fields.push(field.clone().with_data_type(column.data_type().clone()));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(decoded.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
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
