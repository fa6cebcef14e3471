//! As much of JSON Schema as our OpenAPI document uses, and stricter: a member that the schema does not name is an error.

use serde_json::Value;

/// Checks `value` against `schema`; `document` is where its references lead.
///
/// What is wrong, with where it is.
pub(super) fn check(document: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(document, resolve(document, reference)?, value, path);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().filter(|choice| check(document, choice, value, path).is_ok()).count();
        return if fits == 1 { Ok(()) } else { Err(format!("{path}: fits {fits} of {choices:?}")) };
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.contains(value)
    {
        return Err(format!("{path}: {value} is none of {names:?}"));
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Err(format!("{path}: the schema names no type: {schema}")),
    };
    let fits = types.contains(&type_of(value)) || types.contains(&"number") && value.is_number();
    if !fits {
        return Err(format!("{path}: {value} is not {types:?}"));
    }
    if schema["minimum"].as_i64().zip(value.as_i64()).is_some_and(|(least, value)| value < least) {
        return Err(format!("{path}: {value} is too small"));
    }
    match value {
        Value::Array(items) => {
            let mut each = items.iter().enumerate();
            each.try_for_each(|(n, item)| check(document, &schema["items"], item, &format!("{path}[{n}]")))
        }
        Value::Object(members) => members_fit(document, schema, members, path),
        _ => Ok(()),
    }
}

fn members_fit(
    document: &Value,
    schema: &Value,
    members: &serde_json::Map<String, Value>,
    path: &str,
) -> Result<(), String> {
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(required) {
            return Err(format!("{path}: '{required}' is missing"));
        }
    }
    for (name, value) in members {
        let of_member = match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => schema,
            (None, None) => return Err(format!("{path}: the schema does not know '{name}'")),
        };
        check(document, of_member, value, &format!("{path}.{name}"))?;
    }
    Ok(())
}

/// What a reference leads to.
pub(super) fn resolve<'a>(document: &'a Value, reference: &str) -> Result<&'a Value, String> {
    let pointer = reference.strip_prefix('#').ok_or_else(|| format!("'{reference}' leads elsewhere"))?;
    document.pointer(pointer).ok_or_else(|| format!("'{reference}' leads nowhere"))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
