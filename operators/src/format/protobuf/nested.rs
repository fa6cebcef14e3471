//! Values of Protobuf that no column type fits, as JSON: messages, repeated fields and maps. Much as Protobuf's own mapping has it:
//! bytes in base64, enums by their names, times as text, wrappers as what is in them, and of a message the fields that are there.
//! But fields have the names of the `.proto` file, and all whole numbers are numbers.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value as Found};
use serde_json::{Map, Value};

use super::fields::{milliseconds, wrapped};

/// A value of a field as JSON.
pub(super) fn json_of(found: &Found, field: &FieldDescriptor) -> Value {
    match found {
        Found::List(values) => Value::Array(values.iter().map(|value| single(value, field)).collect()),
        Found::Map(entries) => {
            let Kind::Message(entry) = field.kind() else { return Value::Null };
            let Some(values) = entry.get_field(2) else { return Value::Null };
            let mut entries: Vec<(String, Value)> =
                entries.iter().map(|(key, value)| (key_of(key), single(value, &values))).collect();
            // A map has no order; the same one is the same text.
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        one => single(one, field),
    }
}

fn single(found: &Found, field: &FieldDescriptor) -> Value {
    match found {
        Found::Bool(value) => (*value).into(),
        Found::I32(number) => (*number).into(),
        Found::I64(number) => (*number).into(),
        Found::U32(number) => (*number).into(),
        Found::U64(number) => (*number).into(),
        Found::F32(number) => float((*number).into()),
        Found::F64(number) => float(*number),
        Found::String(text) => text.as_str().into(),
        Found::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Found::EnumNumber(number) => name_of(*number, field).into(),
        Found::Message(message) => of_message(message),
        Found::List(_) | Found::Map(_) => Value::Null,
    }
}

fn of_message(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    if descriptor.full_name() == "google.protobuf.Timestamp"
        && let Some(time) = milliseconds(message).and_then(chrono::DateTime::from_timestamp_millis)
    {
        return time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into();
    }
    if let Some(field) = wrapped(&descriptor) {
        return single(&message.get_field(&field), &field);
    }
    let there: Map<String, Value> =
        message.fields().map(|(field, value)| (field.name().to_owned(), json_of(value, &field))).collect();
    Value::Object(there)
}

/// JSON has no word for what is not finite.
fn float(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

fn key_of(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// The name of a number of an enum; the number of one that has no name.
pub(super) fn name_of(number: i32, field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Enum(names) => {
            names.get_value(number).map_or_else(|| number.to_string(), |value| value.name().to_owned())
        }
        _ => number.to_string(),
    }
}
