//! The click log: `[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA[, event_id]`.
//!
//! Five or six fields after the tag, separated by commas, blanks around them ignored. An empty field is null, but for
//! an empty `ad_id`, which is an empty string: whether a click without an ad is one is for the job to decide, and a
//! comparison with `''` is easier to get right than one with null. A line without the sixth field has a null `event_id`.

use arrow::datatypes::SchemaRef;
use memchr::memchr;

use super::message::TextDecoder;
use super::records::RecordRule;
use super::rows::{Limits, Rows, decode_lines};
use super::{DecodedLines, FormatError, LineDecoder};
use crate::source::column_type::{ColumnType, DeclaredSchema};

/// What every line begins with.
pub const TAG: &str = "[AdClickEvent]";

/// The fields of a line in their order, the optional one last.
const FIELDS: [(&str, ColumnType); FIELD_COUNT] = [
    ("ad_id", ColumnType::String),
    ("click_timestamp", ColumnType::Timestamp),
    ("user_id", ColumnType::String),
    ("ip", ColumnType::String),
    ("country", ColumnType::String),
    ("event_id", ColumnType::String),
];

const FIELD_COUNT: usize = 6;

/// The columns of the click log.
pub fn columns() -> DeclaredSchema {
    DeclaredSchema::new(FIELDS)
}

/// Decodes click-log lines.
#[derive(Debug)]
pub struct ClickLogDecoder {
    rows: Rows,
    /// The field that each requested column is read from.
    field_of_column: Vec<usize>,
    max_line_bytes: usize,
}

impl ClickLogDecoder {
    /// A decoder of some of [`columns`].
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn new(requested: &DeclaredSchema, max_line_bytes: usize) -> Result<Self, FormatError> {
        let field = |name: &str| FIELDS.iter().position(|(field, _)| *field == name);
        Ok(Self {
            rows: Rows::new(requested)?,
            field_of_column: requested.columns.iter().filter_map(|column| field(&column.name)).collect(),
            max_line_bytes,
        })
    }
}

impl LineDecoder for ClickLogDecoder {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn decode(&mut self, chunk: &[u8], chunk_offset: u64, max_lines: usize) -> Result<DecodedLines, FormatError> {
        let field_of_column = &self.field_of_column;
        let limits = Limits { records: RecordRule::lines(self.max_line_bytes), lines: max_lines, takes_empty: false };
        decode_lines(&mut self.rows, chunk, chunk_offset, limits, |rows, line| {
            decode_click(rows, line, field_of_column)
        })
    }
}

impl TextDecoder for ClickLogDecoder {
    fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    fn rows_schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn append(&mut self, record: &str) -> Result<(), String> {
        decode_click(&mut self.rows, record, &self.field_of_column)
    }
}

#[inline]
fn decode_click(rows: &mut Rows, line: &str, field_of_column: &[usize]) -> Result<(), String> {
    let fields = split(line)?;
    for (column, &field) in rows.columns.iter_mut().zip(field_of_column) {
        let text = fields[field];
        if text.is_empty() && field != 0 {
            column.append_null();
        } else {
            column.append_text(text).map_err(|error| format!("{} {text:?} {error}", FIELDS[field].0))?;
        }
    }
    Ok(())
}

/// The six fields of a line; a missing `event_id` is empty.
#[inline]
fn split(line: &str) -> Result<[&str; FIELD_COUNT], String> {
    let mut fields = [""; FIELD_COUNT];
    let Some(mut rest) = line.strip_prefix(TAG) else {
        return Err(format!("the line does not begin with {TAG}"));
    };
    let mut count = 0;
    loop {
        let comma = memchr(b',', rest.as_bytes());
        let field = match comma {
            Some(position) => &rest[..position],
            None => rest,
        };
        if let Some(slot) = fields.get_mut(count) {
            *slot = trim(field);
        }
        count += 1;
        match comma {
            Some(position) => rest = &rest[position + 1..],
            None => break,
        }
    }
    if count == FIELD_COUNT || count == FIELD_COUNT - 1 { Ok(fields) } else { Err(wrong_count(count)) }
}

#[cold]
fn wrong_count(count: usize) -> String {
    let fields = FIELDS.map(|(name, _)| name).join(", ");
    format!("the line has {count} fields, and 5 or 6 are expected: {fields}")
}

/// Without the blanks around it: byte by byte, since mostly there is one in front and none behind.
#[inline]
fn trim(mut field: &str) -> &str {
    while let Some(rest) = field.strip_prefix([' ', '\t']) {
        field = rest;
    }
    while let Some(rest) = field.strip_suffix([' ', '\t']) {
        field = rest;
    }
    field
}
