//! JSON lines: one object a line, read for the declared columns.
//!
//! Unknown keys are ignored (but must be well-formed), missing keys and `null` are null. Types are taken at their word: a
//! number is not a string, `1.5` and `1.0` are not an int. A timestamp is a text, as RFC 3339 or `YYYY-MM-DD HH:MM:SS` have
//! it, or a whole number of milliseconds since the epoch. A wanted key that occurs twice makes a bad line, since which of
//! the two is meant can only be guessed.
//!
//! Written by hand rather than on arrow-json, which reads across line breaks, takes `1.5` for the int `1`, and fails a
//! whole batch for one line. What is accepted is tested to be what serde_json accepts.

use arrow::datatypes::SchemaRef;

use super::column_builder::{ColumnBuilder, ValueError};
use super::json_scanner::{Scanner, Text, Token};
use super::records::RecordRule;
use super::rows::{Limits, Rows, decode_lines};
use super::timestamp::{parse_date, parse_timestamp};
use super::{DecodedLines, FormatError, LineDecoder};
use crate::source::column_type::{ColumnType, DeclaredColumn, DeclaredSchema};

/// Decodes JSON lines.
#[derive(Debug)]
pub struct JsonDecoder {
    rows: Rows,
    requested: Vec<RequestedKey>,
    max_line_bytes: usize,
}

/// The key of a requested column.
#[derive(Debug)]
struct RequestedKey {
    name: String,
    /// The key as it mostly stands in a line: `"name":`.
    pattern: String,
}

impl JsonDecoder {
    /// A decoder of the requested columns.
    pub fn new(requested: &DeclaredSchema, max_line_bytes: usize) -> Self {
        let key = |column: &DeclaredColumn| RequestedKey {
            name: column.name.clone(),
            pattern: format!("{}:", serde_json::Value::from(column.name.as_str())),
        };
        let keys = requested.columns.iter().map(key).collect();
        Self { rows: Rows::new(requested), requested: keys, max_line_bytes }
    }
}

impl LineDecoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn decode(&mut self, chunk: &[u8], chunk_offset: u64, max_lines: usize) -> Result<DecodedLines, FormatError> {
        let Self { rows, requested, max_line_bytes } = self;
        let limits = Limits { records: RecordRule::lines(*max_line_bytes), lines: max_lines };
        decode_lines(rows, chunk, chunk_offset, limits, |rows, line| decode_object(rows, line, requested))
    }
}

#[inline]
fn decode_object(rows: &mut Rows, line: &str, requested: &[RequestedKey]) -> Result<(), String> {
    let row = rows.ended();
    let mut scanner = Scanner::new(line);
    scanner.begin_object()?;
    // Objects mostly have their keys in the same order, so the column after the last one is tried first.
    let mut expected = 0;
    loop {
        let column = match requested.get(expected) {
            Some(key) if scanner.pass_key(&key.pattern) => Some(expected),
            _ => match scanner.next_key()? {
                Some(key) => column_of(&key, requested),
                None => break,
            },
        };
        let Some(column) = column else {
            scanner.skip_value()?;
            continue;
        };
        let name = &requested[column].name;
        let builder = &mut rows.columns[column];
        if builder.value_count() > row {
            return Err(format!("the key {name:?} occurs twice"));
        }
        let token = scanner.value()?;
        append(builder, &token).map_err(|error| format!("{name} {} {error}", token.for_people()))?;
        expected = column + 1;
    }
    scanner.end_line()?;
    rows.pad_row();
    Ok(())
}

#[inline]
fn column_of(key: &Text<'_>, requested: &[RequestedKey]) -> Option<usize> {
    let key = key.unescaped();
    requested.iter().position(|requested| requested.name == *key)
}

#[inline]
fn append(builder: &mut ColumnBuilder, token: &Token<'_>) -> Result<(), ValueError> {
    match (builder, token) {
        (builder, Token::Null) => builder.append_null(),
        (ColumnBuilder::String(builder), Token::Text(text)) => builder.append_value(text.unescaped()),
        (ColumnBuilder::Timestamp(builder), Token::Text(text)) => {
            builder.append_value(parse_timestamp(&text.unescaped()).map_err(ValueError::Time)?);
        }
        (ColumnBuilder::Timestamp(builder), Token::Number(number)) => {
            builder.append_value(number.parse().map_err(|_| ValueError::Kind(ColumnType::Timestamp))?);
        }
        (ColumnBuilder::Date(builder), Token::Text(text)) => {
            builder.append_value(parse_date(&text.unescaped()).map_err(ValueError::Time)?);
        }
        (ColumnBuilder::Integer(builder), Token::Number(number)) => {
            builder.append_value(number.parse().map_err(|_| ValueError::Integer)?);
        }
        (ColumnBuilder::Float(builder), Token::Number(number)) => {
            let value: f64 = number.parse().map_err(|_| ValueError::Float)?;
            if value.is_infinite() {
                return Err(ValueError::Float);
            }
            builder.append_value(value);
        }
        (ColumnBuilder::Boolean(builder), Token::Boolean(value)) => builder.append_value(*value),
        (builder, _) => return Err(builder.kind_error()),
    }
    Ok(())
}
