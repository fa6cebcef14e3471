//! Which values of a JSON object are wanted: the declared paths as a tree of keys.
//!
//! Invariant: a value is taken over once by every column that asks for it; one that is not there leaves its columns without
//! a value, which the caller makes null.

use super::json_scanner::{Scanner, Text, Token};
use super::rows::Rows;
use crate::source::column_type::DeclaredSchema;
use crate::source::field_path::FieldPath;

/// What is wanted below a key.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The columns that the value itself is for.
    columns: Vec<usize>,
    /// What is wanted of an object or an array.
    below: Vec<WantedKey>,
}

/// A key of an object, or a place in an array.
#[derive(Debug)]
pub(super) struct WantedKey {
    pub(super) name: String,
    pub(super) wanted: Wanted,
}

impl WantedKey {
    fn new(name: &str) -> Self {
        WantedKey { name: name.to_owned(), wanted: Wanted::default() }
    }

    /// The one column that this key is for, where it is for nothing else.
    #[inline]
    pub(super) fn only_column(&self) -> Option<usize> {
        match (self.wanted.columns.as_slice(), self.wanted.below.is_empty()) {
            ([column], true) => Some(*column),
            _ => None,
        }
    }
}

/// A key as it mostly stands in a line: `"name":`.
pub(super) fn pattern_of(name: &str) -> String {
    format!("{}:", serde_json::Value::from(name))
}

/// The wanted keys of a line's object, in the order of the columns.
pub(super) fn wanted_keys(schema: &DeclaredSchema) -> Vec<WantedKey> {
    let mut root = Wanted::default();
    for (column, declared) in schema.columns.iter().enumerate() {
        let path = declared.path.clone().unwrap_or_else(|| FieldPath::of_key(&declared.name));
        let mut at = &mut root;
        for key in path.keys() {
            let known = at.below.iter().position(|wanted| wanted.name == *key);
            let place = known.unwrap_or_else(|| {
                at.below.push(WantedKey::new(key));
                at.below.len() - 1
            });
            at = &mut at.below[place].wanted;
        }
        at.columns.push(column);
    }
    root.below
}

/// The place of a key among the wanted ones.
#[inline]
pub(super) fn place_of(key: &Text<'_>, wanted: &[WantedKey]) -> Option<usize> {
    let key = key.unescaped();
    wanted.iter().position(|wanted| wanted.name == *key)
}

/// Takes a value over into the columns that want it, or something in it.
pub(super) fn take(rows: &mut Rows, key: &WantedKey, names: &[String], token: &Token<'_>) -> Result<(), String> {
    for column in &key.wanted.columns {
        append(rows, *column, &names[*column], &key.name, token)?;
    }
    match token {
        Token::Nested(text) if !key.wanted.below.is_empty() => descend(rows, &key.wanted, names, text),
        _ => Ok(()),
    }
}

/// `text` is known to be a well-formed object or array. The calls are nested as deeply as the longest path.
fn descend(rows: &mut Rows, wanted: &Wanted, names: &[String], text: &str) -> Result<(), String> {
    let mut scanner = Scanner::new(text);
    if text.starts_with('{') {
        scanner.begin_object()?;
        while let Some(key) = scanner.next_key()? {
            let value = scanner.value()?;
            if let Some(place) = place_of(&key, &wanted.below) {
                take(rows, &wanted.below[place], names, &value)?;
            }
        }
        return Ok(());
    }
    scanner.begin_array()?;
    let mut index = 0u64;
    while let Some(value) = scanner.next_element()? {
        for key in wanted.below.iter().filter(|key| key.name.parse() == Ok(index)) {
            take(rows, key, names, &value)?;
        }
        index += 1;
    }
    Ok(())
}

/// Appends a value to its column.
#[inline]
pub(super) fn append(rows: &mut Rows, column: usize, name: &str, key: &str, token: &Token<'_>) -> Result<(), String> {
    let row = rows.ended();
    let builder = &mut rows.columns[column];
    if builder.value_count() > row {
        return Err(format!("the key {key:?} occurs twice"));
    }
    let appended = match token {
        Token::Null => {
            builder.append_null();
            Ok(())
        }
        Token::Text(text) => builder.append_quoted(&text.unescaped()),
        Token::Number(number) => builder.append_number(number),
        Token::Boolean(value) => builder.append_bool(*value),
        Token::Nested(_) => Err(builder.kind_error()),
    };
    appended.map_err(|error| format!("{name} {} {error}", token.for_people()))
}
