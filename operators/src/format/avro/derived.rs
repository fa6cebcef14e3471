//! A schema of records that follows from columns.
//!
//! Invariant: the same columns give the same schema, to the letter, so that a registry knows it again.

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use serde_json::{Value, json};

use crate::schema::ColumnSchema;

/// The schema of a record with these columns. It is called as `name` says, as far as Avro has such names.
///
/// # Errors
/// What Avro has no name or no type for, in words.
pub fn derived(name: &str, columns: &ColumnSchema) -> Result<String, String> {
    let name = name_of(name);
    let schema = columns.to_arrow();
    Ok(record(&name, schema.fields())?.to_string())
}

/// A name as Avro has them, for a thing that is called otherwise.
fn name_of(text: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let name: String = text.chars().map(letter).collect();
    if is_name(&name) { name } else { format!("_{name}") }
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

fn record(name: &str, fields: &[FieldRef]) -> Result<Value, String> {
    let field = |field: &FieldRef| {
        let of_field = field.name();
        if !is_name(of_field) {
            return Err(format!("`{of_field}` is no name of a field of Avro: letters, digits and `_`, no digit first"));
        }
        let data_type = type_of(&format!("{name}_{of_field}"), field.data_type())
            .map_err(|found| format!("Avro has no type for `{of_field}`, which is {found}"))?;
        Ok(match field.is_nullable() {
            true => json!({ "name": of_field, "type": ["null", data_type], "default": null }),
            false => json!({ "name": of_field, "type": data_type }),
        })
    };
    let fields = fields.iter().map(field).collect::<Result<Vec<_>, String>>()?;
    Ok(json!({ "type": "record", "name": name, "fields": fields }))
}

/// The type of values; `name` is that of the type, where it needs one.
fn type_of(name: &str, data_type: &DataType) -> Result<Value, String> {
    let logical = |base: &str, logical: &str| json!({ "type": base, "logicalType": logical });
    let decimal =
        |precision, scale| json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale });
    Ok(match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int".into(),
        DataType::Int64 | DataType::UInt32 => "long".into(),
        DataType::UInt64 => decimal(20, 0),
        DataType::Float16 | DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".into(),
        DataType::FixedSizeBinary(16) => logical("string", "uuid"),
        DataType::FixedSizeBinary(_) => "bytes".into(),
        DataType::Date32 => logical("int", "date"),
        DataType::Decimal128(precision, scale) if *scale >= 0 => decimal(*precision, *scale),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => "millis",
                TimeUnit::Microsecond => "micros",
                TimeUnit::Nanosecond => "nanos",
            };
            let local = if zone.is_some() { "" } else { "local-" };
            logical("long", &format!("{local}timestamp-{unit}"))
        }
        DataType::Dictionary(_, values) => type_of(name, values)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let items = type_of(name, item.data_type())?;
            json!({ "type": "array", "items": if item.is_nullable() { json!(["null", items]) } else { items } })
        }
        DataType::Struct(fields) => record(name, fields)?,
        other => return Err(crate::expression::type_name(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Column;

    fn columns(of: &[(&str, DataType, bool)]) -> ColumnSchema {
        let column = |(name, data_type, nullable): &(&str, DataType, bool)| Column {
            name: (*name).into(),
            data_type: data_type.clone(),
            nullable: *nullable,
        };
        ColumnSchema { columns: of.iter().map(column).collect() }
    }

    #[test]
    fn columns_are_fields_in_their_order() {
        let schema = derived(
            "clicks-per-minute",
            &columns(&[
                ("record_id", DataType::FixedSizeBinary(16), false),
                ("ad_id", DataType::Utf8, true),
                ("window_start", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
                ("tags", DataType::new_list(DataType::Utf8, true), false),
            ]),
        );
        let fields = json!([
            { "name": "record_id", "type": { "type": "string", "logicalType": "uuid" } },
            { "name": "ad_id", "type": ["null", "string"], "default": null },
            { "name": "window_start", "type": { "type": "long", "logicalType": "timestamp-millis" } },
            { "name": "tags", "type": { "type": "array", "items": ["null", "string"] } },
        ]);
        let found: Value = serde_json::from_str(&schema.unwrap()).unwrap();
        assert_eq!(found, json!({ "type": "record", "name": "clicks_per_minute", "fields": fields }));
        assert_eq!(name_of("2022.clicks"), "_2022_clicks");
    }

    #[test]
    fn what_avro_has_no_words_for_is_told() {
        let told = |name, data_type| derived("x", &columns(&[(name, data_type, true)])).unwrap_err();
        assert_eq!(
            told("ad id", DataType::Utf8),
            "`ad id` is no name of a field of Avro: letters, digits and `_`, no digit first"
        );
        let span = DataType::Duration(TimeUnit::Second);
        assert_eq!(told("span", span), "Avro has no type for `span`, which is a span of time");
    }
}
