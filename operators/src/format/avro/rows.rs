//! Rows become records of a schema, each by itself.

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch, RecordBatchOptions},
    compute::filter_record_batch,
    datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef},
    error::ArrowError,
};
use arrow_avro::{
    schema::{FingerprintStrategy, SCHEMA_METADATA_KEY},
    writer::{
        Encoder, WriterBuilder,
        format::{AvroBinaryFormat, AvroSoeFormat},
    },
};
use std::{collections::HashMap, sync::Arc};
use weir_engine::error::{EngineError, Result};

use super::{nested::is_uuid_field, schema::RecordSchema};
use crate::format::written::{
    WrittenRows,
    fit::{Fitted, fit_rows, held_as},
};

/// The characters of a UUID's text.
const UUID_TEXT: usize = 36;

/// Writes rows by a schema.
pub struct AvroRows {
    fields: Fields,
    /// Of the fitted rows.
    held: SchemaRef,
    encoder: Encoder,
    /// The fields that are texts of UUIDs.
    uuids: Vec<String>,
}

impl AvroRows {
    /// Records of a schema, with the zero byte and the number of the schema before each if it has one.
    ///
    /// # Errors
    /// When there are no columns that its fields could be, in words.
    pub fn new(schema: &RecordSchema, number: Option<u32>) -> std::result::Result<Self, String> {
        let written = schema.as_written()?;
        let fields = written.fields().fields().clone();
        let is_uuid = |field: &&FieldRef| is_uuid_field(field) && is_text(written.fields(), field.name());
        let uuids = schema.fields().fields().iter().filter(is_uuid).map(|field| field.name().clone()).collect();
        let held = |field: &FieldRef| Field::new(field.name(), held_as(field.data_type()), true);
        let metadata = HashMap::from([(SCHEMA_METADATA_KEY.to_owned(), written.short().to_owned())]);
        let held = Schema::new_with_metadata(fields.iter().map(held).collect::<Fields>(), metadata);
        let builder = WriterBuilder::new(held.clone());
        let encoder = match number {
            Some(number) => {
                let strategy = FingerprintStrategy::Id(number);
                builder.with_fingerprint_strategy(strategy).build_encoder::<AvroSoeFormat>()
            }
            None => builder.build_encoder::<AvroBinaryFormat>(),
        };
        let encoder = encoder.map_err(|error| error.to_string())?;
        Ok(AvroRows { fields, held: Arc::new(held), encoder, uuids })
    }

    /// A record for each row.
    ///
    /// # Errors
    /// When a column is of quite another type than its field.
    pub fn encode(&mut self, rows: &RecordBatch) -> Result<WrittenRows> {
        let Fitted { columns, mut refused } = fit_rows(rows, &self.fields)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let fitted = RecordBatch::try_new_with_options(Arc::clone(&self.held), columns, &options)?;
        for name in &self.uuids {
            let texts = fitted.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            for (row, text) in texts.into_iter().flatten().enumerate() {
                if let Some(text) = text.filter(|text| !is_uuid(text)) {
                    refused.entry(row).or_insert_with(|| format!("{name} is {text:?}, and no UUID"));
                }
            }
        }
        let good = |row| !refused.contains_key(&row);
        let fitted = match refused.is_empty() {
            true => fitted,
            false => filter_record_batch(
                &fitted,
                &(0..rows.num_rows()).map(|row| Some(good(row))).collect::<BooleanArray>(),
            )?,
        };
        let mut written = self.encode_fitted(&fitted)?.into_iter();
        let mut row = |row| match refused.remove(&row) {
            Some(reason) => Ok(Err(reason)),
            None => written.next().ok_or_else(|| EngineError::internal("fewer records of Avro than rows")),
        };
        (0..rows.num_rows()).map(&mut row).collect()
    }

    fn encode_fitted(&mut self, rows: &RecordBatch) -> Result<WrittenRows> {
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        self.encoder.encode(rows).map_err(ArrowError::from)?;
        Ok(self.encoder.flush().iter().map(Ok).collect())
    }
}

fn is_text(schema: &Schema, name: &str) -> bool {
    schema.field_with_name(name).is_ok_and(|field| *field.data_type() == DataType::Utf8)
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_TEXT && uuid::Uuid::try_parse(text).is_ok()
}
