//! Comma-separated values with a header (RFC 4180).
//!
//! The header of each file says where its columns are, so their order does not matter and further columns are ignored.
//! A field may stand in double quotes, in which a doubled quote is one quote, and a line break is a part of the text: where
//! a record ends is said in [`records`](super::records). A field left empty is null, a quoted empty field (`""`) is an
//! empty string. So an empty line is a record where the header has one field, which is null; otherwise it is a bad line.
//!
//! Written by hand rather than on arrow-csv, whose reader skips empty lines, takes a lone `\r` for a line break and
//! repairs malformed quotes: each of them would break the rule that every record is exactly one row or one bad line.

use std::borrow::Cow;

use arrow::datatypes::SchemaRef;
use memchr::memchr;

use super::message::TextDecoder;
use super::records::RecordRule;
use super::rows::{Limits, Rows, decode_lines};
use super::{DecodedLines, FormatError, LineDecoder};
use crate::source::column_type::{ColumnType, DeclaredSchema};

const UNCLOSED_QUOTE: &str = "a quoted field is not closed: it continues to the end of the file, or past max_line_bytes; a quote within a quoted field is doubled";
const STRAY_QUOTE: &str = "a double quote is inside an unquoted field, or text follows a closing quote; a quote within a quoted field is doubled";

/// Decodes the records of one CSV file.
#[derive(Debug)]
pub struct CsvDecoder {
    rows: Rows,
    /// For each field of the header: the requested column that is read from it.
    column_of_field: Vec<Option<usize>>,
    /// The requested columns' names and types, for the reasons.
    requested: DeclaredSchema,
    delimiter: u8,
    max_line_bytes: usize,
}

impl CsvDecoder {
    /// A decoder for the file with this header, given without its line break or with it.
    pub fn new(
        file: &str,
        header: &[u8],
        requested: &DeclaredSchema,
        delimiter: char,
        max_line_bytes: usize,
    ) -> Result<Self, FormatError> {
        let refuse = |reason: String| FormatError::Header { file: file.to_owned(), reason };
        let delimiter = u8::try_from(delimiter)
            .ok()
            .filter(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0))
            .ok_or_else(|| {
                refuse(format!("{delimiter:?} cannot be the delimiter: a single ASCII character is expected"))
            })?;
        let names = header_names(header, delimiter).map_err(refuse)?;
        let mut column_of_field = vec![None; names.len()];
        for (column, declared) in requested.columns.iter().enumerate() {
            let mut places =
                names.iter().enumerate().filter(|(_, name)| **name == declared.name).map(|(field, _)| field);
            let Some(field) = places.next() else {
                let found = names.join(", ");
                return Err(FormatError::MissingColumn { file: file.to_owned(), column: declared.name.clone(), found });
            };
            if places.next().is_some() {
                return Err(refuse(format!("the column {:?} is there twice", declared.name)));
            }
            column_of_field[field] = Some(column);
        }
        Ok(Self {
            rows: Rows::new(requested)?,
            column_of_field,
            requested: requested.clone(),
            delimiter,
            max_line_bytes,
        })
    }
}

impl LineDecoder for CsvDecoder {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn decode(&mut self, chunk: &[u8], chunk_offset: u64, max_lines: usize) -> Result<DecodedLines, FormatError> {
        let takes_empty = self.takes_empty();
        let Self { rows, column_of_field, requested, delimiter, max_line_bytes } = self;
        let limits = Limits { records: RecordRule::csv(*delimiter, *max_line_bytes), lines: max_lines, takes_empty };
        decode_lines(rows, chunk, chunk_offset, limits, |rows, line| {
            decode_record(rows, line, column_of_field, requested, *delimiter)
        })
    }
}

impl TextDecoder for CsvDecoder {
    fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    fn rows_schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn append(&mut self, record: &str) -> Result<(), String> {
        let Self { rows, column_of_field, requested, delimiter, .. } = self;
        decode_record(rows, record, column_of_field, requested, *delimiter)
    }

    /// Of one field nothing is left of a null.
    fn takes_empty(&self) -> bool {
        self.column_of_field.len() == 1
    }
}

#[inline]
fn decode_record(
    rows: &mut Rows,
    line: &str,
    column_of_field: &[Option<usize>],
    requested: &DeclaredSchema,
    delimiter: u8,
) -> Result<(), String> {
    let mut fields = Fields::new(line, delimiter);
    let mut count = 0;
    while let Some(field) = fields.next_field()? {
        if let Some(column) = column_of_field.get(count).copied().flatten()
            && let Err(reason) = append(rows, column, &field, requested)
        {
            return Err(count_first(fields, count + 1, column_of_field.len(), reason));
        }
        count += 1;
    }
    if count == column_of_field.len() { Ok(()) } else { Err(wrong_count(count, column_of_field.len())) }
}

#[inline]
fn append(rows: &mut Rows, column: usize, field: &Field<'_>, requested: &DeclaredSchema) -> Result<(), String> {
    let declared = &requested.columns[column];
    let builder = &mut rows.columns[column];
    let text =
        if declared.column_type == ColumnType::String { &*field.text } else { field.text.trim_matches([' ', '\t']) };
    if text.is_empty() && !field.quoted {
        builder.append_null();
        return Ok(());
    }
    builder.append_text(text).map_err(|error| format!("{} {text:?} {error}", declared.name))
}

/// The reason for a value that does not fit: where the number of fields is wrong as well, that is the better reason.
#[cold]
fn count_first(mut fields: Fields<'_>, mut count: usize, expected: usize, reason: String) -> String {
    while let Ok(Some(_)) = fields.next_field() {
        count += 1;
    }
    if count == expected { reason } else { wrong_count(count, expected) }
}

#[cold]
fn wrong_count(count: usize, expected: usize) -> String {
    format!("the line has {count} fields, and the header of its file has {expected}")
}

fn header_names(header: &[u8], delimiter: u8) -> Result<Vec<String>, String> {
    let header = std::str::from_utf8(header).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let header = header.trim_end_matches(['\r', '\n']);
    // The byte order mark that spreadsheets write.
    let header = header.strip_prefix('\u{feff}').unwrap_or(header);
    if header.is_empty() {
        return Err("its first line is empty, and should name the columns".to_owned());
    }
    let mut fields = Fields::new(header, delimiter);
    let mut names = Vec::new();
    while let Some(field) = fields.next_field()? {
        names.push(field.text.trim().to_owned());
    }
    Ok(names)
}

struct Field<'line> {
    text: Cow<'line, str>,
    quoted: bool,
}

/// The fields of one line, one after the other.
struct Fields<'line> {
    /// What is left of the line; none after the last field.
    rest: Option<&'line str>,
    delimiter: u8,
    /// Whether there is any quote in the line; most have none, and are only cut at delimiters.
    quotes: bool,
}

impl<'line> Fields<'line> {
    fn new(line: &'line str, delimiter: u8) -> Self {
        Self { rest: Some(line), delimiter, quotes: memchr(b'"', line.as_bytes()).is_some() }
    }

    #[inline]
    fn next_field(&mut self) -> Result<Option<Field<'line>>, String> {
        let Some(rest) = self.rest else {
            return Ok(None);
        };
        if self.quotes && rest.starts_with('"') {
            return self.quoted_field(&rest[1..]).map(Some);
        }
        let (text, rest) = match memchr(self.delimiter, rest.as_bytes()) {
            Some(position) => (&rest[..position], Some(&rest[position + 1..])),
            None => (rest, None),
        };
        if self.quotes && memchr(b'"', text.as_bytes()).is_some() {
            return Err(STRAY_QUOTE.to_owned());
        }
        self.rest = rest;
        Ok(Some(Field { text: Cow::Borrowed(text), quoted: false }))
    }

    /// `rest` begins after the opening quote.
    fn quoted_field(&mut self, mut rest: &'line str) -> Result<Field<'line>, String> {
        let mut text = Cow::Borrowed("");
        loop {
            let Some(quote) = memchr(b'"', rest.as_bytes()) else {
                return Err(UNCLOSED_QUOTE.to_owned());
            };
            if text.is_empty() {
                text = Cow::Borrowed(&rest[..quote]);
            } else {
                text.to_mut().push_str(&rest[..quote]);
            }
            rest = &rest[quote + 1..];
            match rest.as_bytes().first() {
                Some(b'"') => {
                    text.to_mut().push('"');
                    rest = &rest[1..];
                }
                None => {
                    self.rest = None;
                    return Ok(Field { text, quoted: true });
                }
                Some(byte) if *byte == self.delimiter => {
                    self.rest = Some(&rest[1..]);
                    return Ok(Field { text, quoted: true });
                }
                Some(_) => return Err(STRAY_QUOTE.to_owned()),
            }
        }
    }
}
