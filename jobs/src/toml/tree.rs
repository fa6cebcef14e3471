//! A definition's values with the place that each came from.
//!
//! Unlike a parsed TOML document, a tree can be changed by `--set` and still says for every value where it stands.

use toml_edit::{Document, Item, TableLike};

use crate::diagnose::Mistake;
use crate::key_path::{KeyPath, Segment};

/// Where a key or value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the file, from byte to byte.
    File {
        /// First byte.
        start: usize,
        /// Behind the last byte.
        end: usize,
    },
    /// In the override of this number.
    Setting(usize),
    /// Nowhere that could be pointed at.
    Unknown,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    pub(crate) origin: Origin,
}

/// A key, where it stands, and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// TOML's types.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Table(Vec<Entry>),
    Array(Vec<Value>),
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
}

impl Kind {
    /// The type, for a message.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Table(_) => "a table",
            Kind::Array(_) => "a list",
            Kind::Text(_) => "a text",
            Kind::Integer(_) => "a whole number",
            Kind::Float(_) => "a number",
            Kind::Boolean(_) => "true or false",
            Kind::Datetime(_) => "a date",
        }
    }

    /// The value in few words, for a message.
    pub(crate) fn show(&self) -> String {
        match self {
            Kind::Table(_) | Kind::Array(_) => self.name().to_owned(),
            Kind::Text(text) => format!("{text:?}"),
            Kind::Integer(number) => number.to_string(),
            Kind::Float(number) => number.to_string(),
            Kind::Boolean(value) => value.to_string(),
            Kind::Datetime(text) => text.clone(),
        }
    }
}

impl Value {
    /// An empty table.
    pub(crate) fn table(origin: Origin) -> Self {
        Value { kind: Kind::Table(Vec::new()), origin }
    }

    /// Reads a TOML text.
    pub(crate) fn parse(text: &str) -> Result<Self, Box<Mistake>> {
        let document = Document::parse(text).map_err(|error| {
            let mut mistake =
                Mistake::new(KeyPath::default(), format!("this is not TOML: {}", one_line(error.message())));
            mistake.bytes = error.span();
            Box::new(mistake)
        })?;
        Ok(from_table(document.as_table()))
    }

    /// Reads a single TOML value, as behind a `=`.
    pub(crate) fn parse_value(text: &str) -> Option<Self> {
        let value: toml_edit::Value = text.trim().parse().ok()?;
        Some(from_value(&value))
    }

    /// Sets all origins below and including this one.
    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
        match &mut self.kind {
            Kind::Table(entries) => {
                for entry in entries {
                    entry.origin = origin;
                    entry.value.set_origin(origin);
                }
            }
            Kind::Array(values) => values.iter_mut().for_each(|value| value.set_origin(origin)),
            _ => {}
        }
    }

    /// The origins of a key and its value; of the nearest ancestor where the path does not exist.
    pub(crate) fn locate(&self, path: &KeyPath) -> Located<'_> {
        let mut found = Located { key: self.origin, value: self, whole: true };
        for segment in &path.0 {
            match (segment, &found.value.kind) {
                (Segment::Key(key), Kind::Table(entries)) => match entries.iter().find(|entry| entry.key == *key) {
                    Some(entry) => found = Located { key: entry.origin, value: &entry.value, whole: true },
                    None => return Located { whole: false, ..found },
                },
                (Segment::Index(index), Kind::Array(values)) => match values.get(*index) {
                    Some(value) => found = Located { key: value.origin, value, whole: true },
                    None => return Located { whole: false, ..found },
                },
                _ => return Located { whole: false, ..found },
            }
        }
        found
    }
}

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located<'a> {
    /// Where the last key stands that was found.
    pub(crate) key: Origin,
    /// Its value.
    pub(crate) value: &'a Value,
    /// Whether the whole path was found.
    pub(crate) whole: bool,
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
