//! A TOML text → a tree of values with their places.

use toml_edit::{Document, Item, TableLike};
use weir_operators::definition::{Entry, KeyPath, Kind, Mistake, Origin, Value};

/// Reads a TOML text.
pub(crate) fn parse(text: &str) -> Result<Value, Box<Mistake>> {
    let document = Document::parse(text).map_err(|error| {
        let mut mistake = Mistake::new(KeyPath::default(), format!("this is not TOML: {}", one_line(error.message())));
        mistake.bytes = error.span();
        Box::new(mistake)
    })?;
    Ok(from_table(document.as_table()))
}

/// Reads a single TOML value, as behind a `=`.
pub(crate) fn parse_value(text: &str) -> Option<Value> {
    let value: toml_edit::Value = text.trim().parse().ok()?;
    Some(from_value(&value))
}

fn origin_of(span: Option<std::ops::Range<usize>>) -> Origin {
    span.map_or(Origin::Unknown, |span| Origin::File { start: span.start, end: span.end })
}

fn from_table(table: &dyn TableLike) -> Value {
    let mut entries = Vec::new();
    for (name, item) in table.iter() {
        let origin = origin_of(table.key(name).and_then(toml_edit::Key::span));
        if let Some(value) = from_item(item) {
            entries.push(Entry { key: name.to_owned(), origin, value });
        }
    }
    Value { kind: Kind::Table(entries), origin: Origin::Unknown }
}

fn from_item(item: &Item) -> Option<Value> {
    let mut value = match item {
        Item::None => return None,
        Item::Value(value) => from_value(value),
        Item::Table(table) => from_table(table),
        Item::ArrayOfTables(tables) => {
            let values = tables.iter().map(|table| Value { origin: origin_of(table.span()), ..from_table(table) });
            Value { kind: Kind::Array(values.collect()), origin: Origin::Unknown }
        }
    };
    value.origin = origin_of(item.span());
    Some(value)
}

fn from_value(value: &toml_edit::Value) -> Value {
    let kind = match value {
        toml_edit::Value::String(text) => Kind::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Kind::Integer(*number.value()),
        toml_edit::Value::Float(number) => Kind::Float(*number.value()),
        toml_edit::Value::Boolean(value) => Kind::Boolean(*value.value()),
        toml_edit::Value::Datetime(date) => Kind::Datetime(date.value().to_string()),
        toml_edit::Value::Array(values) => Kind::Array(values.iter().map(from_value).collect()),
        toml_edit::Value::InlineTable(table) => return Value { origin: origin_of(table.span()), ..from_table(table) },
    };
    Value { kind, origin: origin_of(value.span()) }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
