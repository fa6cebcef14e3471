//! From the fields of records, as Arrow has them, to the columns that a job wants.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    buffer::NullBuffer,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};

use super::{
    nested::{is_uuid_field, json_of, text_of},
    schema::RecordSchema,
};
use crate::format::{rows::Rows, value::Value};
use crate::source::{column_type::DeclaredSchema, field_path::FieldPath};

/// The wanted columns of a schema, and where they are in it.
#[derive(Clone, Debug)]
pub struct ReadColumns {
    columns: Vec<ReadColumn>,
    /// The fields of the record that any of them is in, in rising order.
    fields: Vec<usize>,
}

#[derive(Clone, Debug)]
struct ReadColumn {
    name: String,
    path: FieldPath,
    is_uuid: bool,
}

/// A column of decoded records.
pub(super) struct FoundColumn {
    array: ArrayRef,
    /// Where a record above it is null.
    above: Option<NullBuffer>,
}

impl ReadColumns {
    /// Finds the columns in the schema.
    ///
    /// # Errors
    /// When one is not there; it is not checked whether its values fit.
    pub fn find(schema: &RecordSchema, requested: &DeclaredSchema) -> Result<Self, String> {
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for declared in &requested.columns {
            let path = declared.path.clone().unwrap_or_else(|| FieldPath::of_key(&declared.name));
            let field = schema.field_at(&path).map_err(|problem| format!("column {:?}: {problem}", declared.name))?;
            let first = path.keys().first().and_then(|key| schema.fields().index_of(key).ok());
            fields.extend(first);
            columns.push(ReadColumn { name: declared.name.clone(), path, is_uuid: is_uuid_field(field) });
        }
        fields.sort_unstable();
        fields.dedup();
        Ok(ReadColumns { columns, fields })
    }

    /// The fields of the record that are to be read.
    pub(super) fn fields(&self) -> &[usize] {
        &self.fields
    }

    /// Where the columns are in decoded records.
    pub(super) fn in_batch(&self, batch: &RecordBatch) -> Result<Vec<FoundColumn>, String> {
        self.columns.iter().map(|column| find(batch, column)).collect()
    }

    /// Appends a record to the rows; says what is wrong with it, if it is none.
    #[inline]
    pub(super) fn append(&self, found: &[FoundColumn], record: usize, rows: &mut Rows) -> Result<(), String> {
        let mut text = String::new();
        for ((column, found), builder) in self.columns.iter().zip(found).zip(&mut rows.columns) {
            let value = found.value(record, column.is_uuid, &mut text);
            builder.append(value).map_err(|error| format!("{} {} {error}", column.name, value.for_people()))?;
        }
        Ok(())
    }
}

fn find(batch: &RecordBatch, column: &ReadColumn) -> Result<FoundColumn, String> {
    let mut found: Option<ArrayRef> = None;
    let mut above = None;
    for key in column.path.keys() {
        let next = match &found {
            None => batch.column_by_name(key),
            Some(array) => {
                above = NullBuffer::union(above.as_ref(), array.nulls());
                array.as_struct_opt().and_then(|record| record.column_by_name(key))
            }
        };
        found = Some(next.ok_or_else(|| format!("column {:?} is not in the records", column.name))?.clone());
    }
    let array = found.ok_or_else(|| format!("column {:?} has no path", column.name))?;
    Ok(FoundColumn { array, above })
}

impl FoundColumn {
    /// The value of a record; `text` holds what has to be put together for it.
    #[inline]
    fn value<'a>(&'a self, row: usize, is_uuid: bool, text: &'a mut String) -> Value<'a> {
        let array = &self.array;
        if array.is_null(row) || self.above.as_ref().is_some_and(|above| above.is_null(row)) {
            return Value::Null;
        }
        match array.data_type() {
            DataType::Null => Value::Null,
            DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row)),
            DataType::Int64 => Value::Integer(array.as_primitive::<Int64Type>().value(row)),
            DataType::Int32 => Value::Integer(array.as_primitive::<Int32Type>().value(row).into()),
            DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
            DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
            DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
            DataType::Date32 => Value::Day(array.as_primitive::<Date32Type>().value(row)),
            DataType::Decimal128(_, scale) => Value::Decimal(array.as_primitive::<Decimal128Type>().value(row), *scale),
            DataType::Timestamp(unit, _) => Value::Moment(milliseconds(array, *unit, row)),
            DataType::Union(..) => match json_of(array, row, is_uuid) {
                serde_json::Value::Null => Value::Null,
                json => {
                    *text = json.to_string();
                    Value::Text(text)
                }
            },
            _ => {
                *text = text_of(array, row, is_uuid);
                Value::Text(text)
            }
        }
    }
}

/// A moment; what is below the millisecond is cut off.
fn milliseconds(array: &ArrayRef, unit: TimeUnit, row: usize) -> i64 {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row).saturating_mul(1_000),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1_000),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000_000),
    }
}
