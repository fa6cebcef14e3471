//! Rows become messages, each by itself.
//!
//! A null is a field that is absent, and of a repeated field an empty list. A field that can't tell whether it is there takes no
//! null.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{
        DataType, Field, FieldRef, Fields, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, UInt32Type, UInt64Type,
    },
};
use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use weir_engine::error::Result as EngineResult;

use super::fields::{FieldOf, TIMESTAMP, wrapped};
use crate::format::written::{
    WrittenRows,
    check::WantedField,
    fit::{Fitted, fit_rows},
};

/// The seconds of the years 1 to 9999, which is what a `google.protobuf.Timestamp` may hold.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Writes rows as messages.
pub struct ProtobufRows {
    message: MessageDescriptor,
    fields: Fields,
    /// Of the message, as `fields`.
    written: Vec<FieldDescriptor>,
}

/// The fields that columns are written to, and those that can't be left out.
pub(super) fn wanted(message: &MessageDescriptor, columns: &Fields) -> Vec<WantedField> {
    let of = |field: FieldDescriptor| {
        let column = columns.find(field.name()).map_or(&DataType::Null, |(_, column)| column.data_type());
        let shown = FieldOf(&field).to_string();
        WantedField { field: field_of(&field, column), shown, may_be_absent: !field.is_required(), is_uuid: false }
    };
    message.fields().map(of).collect()
}

/// A field as Arrow has it. What is in a message is looked at as far as the column goes: messages may contain themselves.
fn field_of(field: &FieldDescriptor, column: &DataType) -> Field {
    let data_type = match (field.is_map(), field.is_list()) {
        (true, _) => NOTHING,
        (_, true) => {
            let item = match column {
                DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type(),
                _ => &DataType::Null,
            };
            DataType::new_list(type_of(&field.kind(), item), false)
        }
        _ => type_of(&field.kind(), column),
    };
    Field::new(field.name(), data_type, field.supports_presence() || field.is_list() || field.is_map())
}

/// The type of what no column can be.
const NOTHING: DataType = DataType::Duration(TimeUnit::Second);

fn type_of(kind: &Kind, column: &DataType) -> DataType {
    match kind {
        Kind::Bool => DataType::Boolean,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => DataType::Int32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => DataType::Int64,
        Kind::Uint32 | Kind::Fixed32 => DataType::UInt32,
        Kind::Uint64 | Kind::Fixed64 => DataType::UInt64,
        Kind::Float => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::String | Kind::Enum(_) => DataType::Utf8,
        Kind::Bytes => DataType::Binary,
        Kind::Message(message) if message.full_name() == TIMESTAMP => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        Kind::Message(message) => match (wrapped(message), column) {
            (Some(field), _) => type_of(&field.kind(), column),
            (None, DataType::Struct(columns)) => {
                let field =
                    |column: &FieldRef| Some(field_of(&message.get_field_by_name(column.name())?, column.data_type()));
                DataType::Struct(columns.iter().filter_map(field).collect())
            }
            _ => NOTHING,
        },
    }
}

impl ProtobufRows {
    /// Messages whose fields are these columns.
    ///
    /// # Errors
    /// When the message has no field for one of them, in words.
    pub fn new(message: MessageDescriptor, columns: &Fields) -> Result<Self, String> {
        let (mut fields, mut written) = (Vec::new(), Vec::new());
        for column in columns {
            let field = message.get_field_by_name(column.name());
            let field = field.ok_or_else(|| format!("{} has no field `{}`", message.full_name(), column.name()))?;
            fields.push(field_of(&field, column.data_type()));
            written.push(field);
        }
        Ok(ProtobufRows { message, fields: fields.into(), written })
    }

    /// A message for each row.
    ///
    /// # Errors
    /// When a column is of quite another type than its field.
    pub fn encode(&self, rows: &RecordBatch) -> EngineResult<WrittenRows> {
        let Fitted { columns, mut refused } = fit_rows(rows, &self.fields)?;
        let row = |row| match refused.remove(&row) {
            Some(reason) => Err(reason),
            None => message(&self.message, &self.written, &columns, row).map(|message| message.encode_to_vec().into()),
        };
        Ok((0..rows.num_rows()).map(row).collect())
    }
}

/// A message with the values of a row.
fn message(
    of: &MessageDescriptor,
    fields: &[FieldDescriptor],
    columns: &[ArrayRef],
    row: usize,
) -> Result<DynamicMessage, String> {
    let mut message = DynamicMessage::new(of.clone());
    for (field, column) in fields.iter().zip(columns) {
        let Some(value) = value_of(field, column, row)? else { continue };
        if let Some(oneof) = field.containing_oneof()
            && let Some(other) = oneof.fields().find(|other| message.has_field(other))
        {
            let name = oneof.name();
            return Err(format!(
                "{} and {} have both a value, and only one of `{name}` may have any",
                other.name(),
                field.name()
            ));
        }
        set(&mut message, field, value)?;
    }
    Ok(message)
}

fn set(message: &mut DynamicMessage, field: &FieldDescriptor, value: Value) -> Result<(), String> {
    message.try_set_field(field, value).map_err(|error| format!("{}: {error}", field.name()))
}

/// The value of a field; none of a null.
fn value_of(field: &FieldDescriptor, column: &ArrayRef, row: usize) -> Result<Option<Value>, String> {
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok(None);
    }
    if !field.is_list() {
        return single(&field.kind(), field.name(), column, row).map(Some);
    }
    let items = column.as_list::<i32>().value(row);
    let items = (0..items.len()).map(|item| single(&field.kind(), field.name(), &items, item));
    Ok(Some(Value::List(items.collect::<Result<_, _>>()?)))
}

fn single(kind: &Kind, name: &str, column: &ArrayRef, row: usize) -> Result<Value, String> {
    Ok(match kind {
        Kind::Bool => Value::Bool(column.as_boolean().value(row)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(column.as_primitive::<Int32Type>().value(row)),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(column.as_primitive::<Int64Type>().value(row)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(column.as_primitive::<UInt32Type>().value(row)),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(column.as_primitive::<UInt64Type>().value(row)),
        Kind::Float => Value::F32(column.as_primitive::<Float32Type>().value(row)),
        Kind::Double => Value::F64(column.as_primitive::<Float64Type>().value(row)),
        Kind::String => Value::String(column.as_string::<i32>().value(row).to_owned()),
        Kind::Bytes => Value::Bytes(Bytes::copy_from_slice(column.as_binary::<i32>().value(row))),
        Kind::Enum(names) => {
            let text = column.as_string::<i32>().value(row);
            let value = names.get_value_by_name(text);
            let value =
                value.ok_or_else(|| format!("{name} is {text:?}, which is no name of {}", names.full_name()))?;
            Value::EnumNumber(value.number())
        }
        Kind::Message(of) if of.full_name() == TIMESTAMP => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            timestamp(of, micros).ok_or_else(|| format!("{name} is a time beyond the years 1 to 9999"))?
        }
        Kind::Message(of) => match (wrapped(of), column.as_struct_opt()) {
            (Some(field), _) => {
                let mut wrapper = DynamicMessage::new(of.clone());
                set(&mut wrapper, &field, single(&field.kind(), name, column, row)?)?;
                Value::Message(wrapper)
            }
            (None, Some(record)) => {
                let fields: Vec<FieldDescriptor> =
                    record.fields().iter().filter_map(|field| of.get_field_by_name(field.name())).collect();
                Value::Message(message(of, &fields, record.columns(), row)?)
            }
            (None, None) => return Err(format!("{name} is no {}", of.full_name())),
        },
    })
}

fn timestamp(of: &MessageDescriptor, micros: i64) -> Option<Value> {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let nanos = i32::try_from(micros.rem_euclid(MICROS_PER_SECOND) * 1_000).ok()?;
    let mut message = DynamicMessage::new(of.clone());
    message.try_set_field_by_number(1, Value::I64(seconds)).ok()?;
    message.try_set_field_by_number(2, Value::I32(nanos)).ok()?;
    SECONDS.contains(&seconds).then_some(Value::Message(message))
}
