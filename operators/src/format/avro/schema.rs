//! The schema of the records that a job sees, and the columns of it.

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow_avro::{
    reader::{Decoder, ReaderBuilder},
    schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore},
};
use serde_json::Value;
use std::sync::Arc;

use super::{names::with_short_names, nested::is_uuid_field};
use crate::format::written::{check::WantedField, settings::short_name};
use crate::source::{
    column_type::{ColumnType, DeclaredColumn, DeclaredSchema},
    field_path::FieldPath,
};

/// What the one schema of a decoder is called. It announces a record, and is seldom found in one.
pub(super) const SCHEMA_ID: u32 = 0xc39a_71e5;

/// Rows that a decoder takes before it wants to be emptied: more than a batch ever has.
pub(super) const MOST_ROWS: usize = i32::MAX as usize;

/// A schema of records.
#[derive(Clone, Debug)]
pub struct RecordSchema {
    text: Arc<str>,
    /// The same with short names.
    short: Arc<str>,
    fields: SchemaRef,
}

impl RecordSchema {
    /// From the JSON of it.
    ///
    /// # Errors
    /// When it is no schema of records, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let short = with_short_names(text)?;
        let fields = decoder(&short, None, None, MOST_ROWS)?.schema();
        Ok(RecordSchema { text: text.into(), short: short.into(), fields })
    }

    /// The JSON of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The JSON of it for arrow-avro.
    pub(super) fn short(&self) -> &str {
        &self.short
    }

    /// The same schema for what writes records of it: UUIDs are what they are written as, texts or sixteen bytes, since arrow-avro
    /// writes them all as texts.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub(super) fn as_written(&self) -> Result<Self, String> {
        let mut schema: Value = serde_json::from_str(&self.text).map_err(|error| format!("it is no JSON: {error}"))?;
        without_uuids(&mut schema);
        RecordSchema::parse(&schema.to_string())
    }

    /// The fields, for those who write them.
    pub(super) fn wanted(&self) -> Result<Vec<WantedField>, String> {
        let field = |(field, read): (&FieldRef, &FieldRef)| WantedField {
            field: field.as_ref().clone(),
            shown: short_name(field.data_type()),
            may_be_absent: field.is_nullable(),
            is_uuid: is_uuid_field(read),
        };
        let written = self.as_written()?;
        Ok(written.fields.fields().iter().zip(self.fields.fields()).map(field).collect())
    }

    /// Whether records that were written with it can be read by another schema.
    ///
    /// # Errors
    /// Why they can't, in words.
    pub fn check_readable_by(&self, read: &RecordSchema) -> Result<(), String> {
        decoder(&self.short, Some(&read.short), None, 1).map(|_| ())
    }

    /// The fields as Arrow has them.
    pub(super) fn fields(&self) -> &Schema {
        &self.fields
    }

    /// How records that have it are recognised by the eight bytes that a single object begins with.
    pub(super) fn fingerprint(&self) -> Option<[u8; 8]> {
        match AvroSchema::new(self.text.to_string()).fingerprint(FingerprintAlgorithm::Rabin) {
            Ok(Fingerprint::Rabin(fingerprint)) => Some(fingerprint.to_le_bytes()),
            _ => None,
        }
    }

    /// A column for each field.
    pub fn columns(&self) -> DeclaredSchema {
        let column = |field: &FieldRef| DeclaredColumn::new(field.name(), natural(field.data_type()));
        DeclaredSchema { columns: self.fields.fields().iter().map(column).collect() }
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// Names the key that is not there, and those that are.
    pub fn field_at(&self, path: &FieldPath) -> Result<&FieldRef, String> {
        let mut fields: &[FieldRef] = self.fields.fields();
        let mut found = Err("the path is empty".to_owned());
        for key in path.keys() {
            let Some(field) = fields.iter().find(|field| field.name() == key) else {
                return Err(no_such_field(key, fields));
            };
            found = Ok(field);
            fields = match field.data_type() {
                DataType::Struct(below) => below,
                _ => &[],
            };
        }
        found
    }
}

fn without_uuids(schema: &mut Value) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(without_uuids),
        Value::Object(keys) => {
            if keys.contains_key("type") && keys.get("logicalType").is_some_and(|logical| logical == "uuid") {
                keys.remove("logicalType");
            }
            keys.values_mut().for_each(without_uuids);
        }
        _ => {}
    }
}

fn no_such_field(key: &str, fields: &[FieldRef]) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    match names.is_empty() {
        true => format!("there is nothing below, so no field `{key}`: only records have fields"),
        false => format!("the schema has no field `{key}` there; the fields are: {}", names.join(", ")),
    }
}

/// A decoder of records that were written with one schema (both of short names), for those that know another: only some fields of that, if it says so.
pub(super) fn decoder(
    written: &str,
    read: Option<&str>,
    fields: Option<&[usize]>,
    most_rows: usize,
) -> Result<Decoder, String> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    let failed = |error: arrow::error::ArrowError| error.to_string();
    store.set(Fingerprint::Id(SCHEMA_ID), AvroSchema::new(written.to_owned())).map_err(failed)?;
    let mut builder = ReaderBuilder::new().with_batch_size(most_rows).with_writer_schema_store(store);
    if let Some(read) = read {
        builder = builder.with_reader_schema(AvroSchema::new(read.to_owned()));
    }
    if let Some(fields) = fields {
        builder = builder.with_projection(fields.to_vec());
    }
    builder.build_decoder().map_err(failed)
}

/// The type of the column that a field becomes where nothing is declared.
fn natural(found: &DataType) -> ColumnType {
    match found {
        DataType::Boolean => ColumnType::Boolean,
        found if found.is_integer() => ColumnType::Integer,
        found if found.is_floating() => ColumnType::Float,
        DataType::Timestamp(..) => ColumnType::Timestamp,
        DataType::Date32 => ColumnType::Date,
        DataType::Decimal128(precision, scale) => match u8::try_from(*scale) {
            Ok(scale) if scale <= *precision => ColumnType::Decimal { precision: *precision, scale },
            _ => ColumnType::String,
        },
        _ => ColumnType::String,
    }
}

/// Whether values of a field can be read as a declared type.
pub fn can_be_read(found: &DataType, wanted: ColumnType) -> bool {
    use ColumnType::{Boolean, Date, Decimal, Float, Integer, String, Timestamp};
    match found {
        DataType::Null => true,
        DataType::Boolean => wanted == Boolean,
        found if found.is_integer() => matches!(wanted, Integer | Float | Timestamp | Decimal { .. }),
        found if found.is_floating() => matches!(wanted, Float | Timestamp | Decimal { .. }),
        DataType::Timestamp(..) => wanted == Timestamp,
        DataType::Date32 => matches!(wanted, Date | Timestamp),
        DataType::Decimal128(..) => matches!(wanted, Integer | Float | Timestamp | Decimal { .. }),
        DataType::Utf8 | DataType::Dictionary(..) => matches!(wanted, String | Timestamp | Date | Decimal { .. }),
        _ => wanted == String,
    }
}
