//! Values of Avro that no column type fits, as text: records, arrays, maps and unions as JSON; bytes in base64, and what else
//! there is (times of day, durations) as Arrow writes it.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type},
    util::display::array_value_to_string,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// What is called a uuid is written as one.
const UUID_BYTES: i32 = 16;

/// A value as JSON.
pub(super) fn json_of(array: &dyn Array, row: usize, is_uuid: bool) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row).into(),
        DataType::Struct(fields) => {
            let value = |(field, column): (&FieldRef, &ArrayRef)| {
                (field.name().clone(), json_of(column, row, is_uuid_field(field)))
            };
            Value::Object(fields.iter().zip(array.as_struct().columns()).map(value).collect())
        }
        DataType::List(field) => {
            let items = array.as_list::<i32>().value(row);
            let is_uuid = is_uuid_field(field);
            Value::Array((0..items.len()).map(|item| json_of(&items, item, is_uuid)).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let key = |entry: usize| text_of(keys, entry, false);
            let object: Map<String, Value> =
                (0..entries.len()).map(|entry| (key(entry), json_of(values, entry, false))).collect();
            Value::Object(object)
        }
        DataType::Union(..) => {
            let union = array.as_union();
            json_of(union.child(union.type_id(row)), union.value_offset(row), false)
        }
        _ => text_of(array, row, is_uuid).into(),
    }
}

/// JSON has no word for what is not finite.
fn float(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

/// A value as text; of a null the empty one.
pub(super) fn text_of(array: &dyn Array, row: usize, is_uuid: bool) -> String {
    match array.data_type() {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) | DataType::Union(..) => {
            json_of(array, row, is_uuid).to_string()
        }
        DataType::Binary => STANDARD.encode(array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(UUID_BYTES) if is_uuid => {
            let bytes = array.as_fixed_size_binary().value(row);
            uuid::Uuid::from_slice(bytes).map_or_else(|_| STANDARD.encode(bytes), |uuid| uuid.to_string())
        }
        DataType::FixedSizeBinary(_) => STANDARD.encode(array.as_fixed_size_binary().value(row)),
        _ => array_value_to_string(array, row).unwrap_or_default(),
    }
}

/// Whether the sixteen bytes of a field are a uuid.
pub(super) fn is_uuid_field(field: &Field) -> bool {
    field.metadata().get("logicalType").is_some_and(|logical| logical == "uuid")
        || field.extension_type_name() == Some("arrow.uuid")
}
