//! Tables of keys for tests, and what is wrong with them in short.

use super::{Entry, KeyPath, Kind, Mistakes, Origin, Reader, Value};

/// Reads a table; what is wrong is given back as `path: message`, or the message alone for the table itself.
pub(crate) fn read<T>(keys: serde_json::Value, read: impl Fn(&Reader<'_>) -> T) -> (T, Vec<String>) {
    let (mistakes, value) = (Mistakes::default(), value(keys));
    let reader = Reader::new(&value, KeyPath::of(["x"]), &mistakes);
    let found = read(&reader);
    reader.finish();
    let told = mistakes.into_vec().into_iter().map(|mistake| {
        let path = mistake.path.to_string();
        match path.strip_prefix("x.") {
            Some(path) => format!("{path}: {}", mistake.message),
            None => mistake.message,
        }
    });
    (found, told.collect())
}

fn value(json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Object(entries) => Kind::Table(
            entries
                .into_iter()
                .map(|(key, entry)| Entry { key, origin: Origin::Unknown, value: value(entry) })
                .collect(),
        ),
        serde_json::Value::Array(values) => Kind::Array(values.into_iter().map(value).collect()),
        serde_json::Value::String(text) => Kind::Text(text),
        serde_json::Value::Bool(flag) => Kind::Boolean(flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Kind::Integer(number),
            None => Kind::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::Null => Kind::Text(String::new()),
    };
    Value { kind, origin: Origin::Unknown }
}
