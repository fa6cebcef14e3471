//! The fields of a message as columns: their types, where they are, and their values.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value as Found,
};
use std::fmt;

use super::nested::{json_of, name_of};
use crate::format::{column_builder::ColumnBuilder, value::Value};
use crate::source::{
    column_type::{ColumnType, DeclaredColumn, DeclaredSchema},
    field_path::FieldPath,
};

/// The message of a moment.
pub(super) const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// A column for each field.
pub(super) fn columns_of(message: &MessageDescriptor) -> DeclaredSchema {
    let column = |field: FieldDescriptor| DeclaredColumn::new(field.name(), FieldOf(&field).natural());
    DeclaredSchema { columns: message.fields().map(column).collect() }
}

/// The fields that lead to a column.
pub(super) fn find(message: &MessageDescriptor, column: &DeclaredColumn) -> Result<Vec<FieldDescriptor>, String> {
    let path = column.path.clone().unwrap_or_else(|| FieldPath::of_key(&column.name));
    let (mut found, mut below) = (Vec::new(), Some(message.clone()));
    for key in path.keys() {
        let Some(message) = below else {
            return Err(format!("there is nothing below, so no field `{key}`: only single messages have fields"));
        };
        let field = message.get_field_by_name(key).ok_or_else(|| {
            let names: Vec<String> = message.fields().map(|field| field.name().to_owned()).collect();
            format!("{} has no field `{key}`; its fields are: {}", message.full_name(), names.join(", "))
        })?;
        below = match field.kind() {
            Kind::Message(message) if field.cardinality() != Cardinality::Repeated => Some(message),
            _ => None,
        };
        found.push(field);
    }
    Ok(found)
}

/// What is to be known of a field.
pub(super) struct FieldOf<'a>(pub(super) &'a FieldDescriptor);

impl<'a> FieldOf<'a> {
    /// That a path leads to, which is never empty.
    pub(super) fn last(path: &'a [FieldDescriptor]) -> Self {
        FieldOf(&path[path.len() - 1])
    }

    /// The kind of its values; of a wrapper, that of what is in it. None of what has many.
    fn kind(&self) -> Option<Kind> {
        if self.0.cardinality() == Cardinality::Repeated {
            return None;
        }
        match self.0.kind() {
            Kind::Message(message) => Some(wrapped(&message).map_or(Kind::Message(message), |field| field.kind())),
            kind => Some(kind),
        }
    }

    /// The type of the column that it becomes where nothing is declared.
    fn natural(&self) -> ColumnType {
        match self.kind() {
            Some(Kind::Bool) => ColumnType::Boolean,
            Some(Kind::Float | Kind::Double) => ColumnType::Float,
            Some(Kind::Message(message)) if message.full_name() == TIMESTAMP => ColumnType::Timestamp,
            None | Some(Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_)) => ColumnType::String,
            Some(_) => ColumnType::Integer,
        }
    }

    /// Whether its values can be read as a declared type.
    pub(super) fn can_be_read(&self, wanted: ColumnType) -> bool {
        use ColumnType::{Date, Decimal, Float, Integer, String, Timestamp};
        match (self.natural(), self.kind()) {
            (Integer, _) => matches!(wanted, Integer | Float | Timestamp | Decimal { .. }),
            (Float, _) => matches!(wanted, Float | Timestamp | Decimal { .. }),
            (String, Some(Kind::String | Kind::Enum(_))) => {
                matches!(wanted, String | Timestamp | Date | Decimal { .. })
            }
            (natural, _) => wanted == natural,
        }
    }
}

impl fmt::Display for FieldOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = if self.0.cardinality() == Cardinality::Repeated { "repeated " } else { "" };
        match self.0.kind() {
            Kind::Message(message) if message.is_map_entry() => f.write_str("map"),
            Kind::Message(message) => write!(f, "{many}{}", message.full_name()),
            Kind::Enum(names) => write!(f, "{many}{}", names.full_name()),
            kind => write!(f, "{many}{kind:?}"),
        }
    }
}

/// The value in a wrapper such as `google.protobuf.StringValue`.
pub(super) fn wrapped(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let name = message.full_name().strip_prefix("google.protobuf.")?.strip_suffix("Value")?;
    let wrappers = ["Bool", "Int32", "Int64", "UInt32", "UInt64", "Float", "Double", "String", "Bytes"];
    wrappers.contains(&name).then(|| message.get_field(1)).flatten()
}

/// Appends to a column the value that a path leads to in a message.
pub(super) fn append(
    message: &DynamicMessage,
    path: &[FieldDescriptor],
    column: &str,
    builder: &mut ColumnBuilder,
) -> Result<(), String> {
    let put = |builder: &mut ColumnBuilder, value: Value<'_>| {
        builder.append(value).map_err(|error| format!("{column} {} {error}", value.for_people()))
    };
    let Some((field, below)) = path.split_first() else { return put(builder, Value::Null) };
    if is_absent(message, field) {
        return put(builder, Value::Null);
    }
    let found = message.get_field(field);
    match &*found {
        Found::Message(message) if !below.is_empty() => append(message, below, column, builder),
        Found::Message(message) if message.descriptor().full_name() == TIMESTAMP => {
            let ms =
                milliseconds(message).ok_or_else(|| format!("{column} is a time that milliseconds can't express"))?;
            put(builder, Value::Moment(ms))
        }
        Found::Message(message) => match wrapped(&message.descriptor()) {
            Some(field) => append(message, std::slice::from_ref(&field), column, builder),
            None => put(builder, Value::Text(&json_of(&found, field).to_string())),
        },
        Found::Bool(value) => put(builder, Value::Boolean(*value)),
        Found::I32(number) => put(builder, Value::Integer((*number).into())),
        Found::I64(number) => put(builder, Value::Integer(*number)),
        Found::U32(number) => put(builder, Value::Integer((*number).into())),
        Found::U64(number) => put(builder, Value::Decimal((*number).into(), 0)),
        Found::F32(number) => put(builder, Value::Float((*number).into())),
        Found::F64(number) => put(builder, Value::Float(*number)),
        Found::String(text) => put(builder, Value::Text(text)),
        Found::Bytes(bytes) => put(builder, Value::Text(&STANDARD.encode(bytes))),
        Found::EnumNumber(number) => put(builder, Value::Text(&name_of(*number, field))),
        Found::List(_) | Found::Map(_) => put(builder, Value::Text(&json_of(&found, field).to_string())),
    }
}

/// Whether a field has no value, and none is meant by that.
fn is_absent(message: &DynamicMessage, field: &FieldDescriptor) -> bool {
    let has_default = || field.field_descriptor_proto().default_value.is_some();
    field.supports_presence() && !message.has_field(field) && !has_default()
}

/// A `google.protobuf.Timestamp`; what is below the millisecond is cut off.
pub(super) fn milliseconds(timestamp: &DynamicMessage) -> Option<i64> {
    let seconds = timestamp.get_field_by_number(1)?.as_i64()?;
    let nanoseconds = timestamp.get_field_by_number(2)?.as_i32()?;
    seconds.checked_mul(1_000)?.checked_add(i64::from(nanoseconds).div_euclid(1_000_000))
}
