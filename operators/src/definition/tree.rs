//! A definition's values with the place that each came from.
//!
//! Unlike a parsed TOML document, a tree can be changed by `--set` and still says for every value where it stands.

use super::{KeyPath, Segment};

/// Where a key or value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
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
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub origin: Origin,
}

/// A key, where it stands, and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub origin: Origin,
    /// Its value.
    pub value: Value,
}

/// TOML's types.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Keys and values, in the order written.
    Table(Vec<Entry>),
    /// A list.
    Array(Vec<Value>),
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A date, as written.
    Datetime(String),
}

impl Kind {
    /// The type, for a message.
    pub fn name(&self) -> &'static str {
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
    pub fn show(&self) -> String {
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
    /// The same as JSON; a date is a text there.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::Table(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
            Kind::Array(values) => values.iter().map(Value::to_json).collect(),
            Kind::Text(text) | Kind::Datetime(text) => text.clone().into(),
            Kind::Integer(number) => (*number).into(),
            Kind::Float(number) => (*number).into(),
            Kind::Boolean(value) => (*value).into(),
        }
    }

    /// An empty table.
    pub fn table(origin: Origin) -> Self {
        Value { kind: Kind::Table(Vec::new()), origin }
    }

    /// Sets all origins below and including this one.
    pub fn set_origin(&mut self, origin: Origin) {
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
    pub fn locate(&self, path: &KeyPath) -> Located<'_> {
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
pub struct Located<'a> {
    /// Where the last key stands that was found.
    pub key: Origin,
    /// Its value.
    pub value: &'a Value,
    /// Whether the whole path was found.
    pub whole: bool,
}
