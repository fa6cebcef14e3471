//! Rows as CSV (RFC 4180), as our own source reads it: nothing between two commas is null (of one column, an empty line), `""` is
//! an empty text.
//!
//! Values are written as in JSON, without the quotes: see [`json_rows`](crate::sink::json_rows). A text with a comma, a quote or a line
//! break in it stands in quotes, and one that begins with U+FEFF: without them it would be a byte order mark, which says nothing. The
//! character 0 becomes U+FFFD (�): it ends lines for too many readers.

use crate::sink::json_rows::readable;
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Float16Type, Float32Type, Float64Type, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};
use std::{borrow::Cow, io::Write};
use weir_engine::error::{EngineError, Result};

/// The line that names the columns.
pub(super) fn header(schema: &Schema, out: &mut Vec<u8>) {
    for (number, field) in schema.fields().iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push_text(field.name(), out);
    }
    out.push(b'\n');
}

/// A line for each row.
pub(super) fn lines(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let readable = readable(rows)?;
    let options = FormatOptions::default();
    let columns = readable.columns().iter().map(|column| Cells::of(column, &options)).collect::<Result<Vec<_>>>()?;
    for row in 0..rows.num_rows() {
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            column.push(row, out)?;
        }
        out.push(b'\n');
    }
    Ok(())
}

/// The values of a column.
struct Cells<'a> {
    column: &'a ArrayRef,
    formatter: ArrayFormatter<'a>,
}

impl<'a> Cells<'a> {
    fn of(column: &'a ArrayRef, options: &'a FormatOptions<'a>) -> Result<Self> {
        Ok(Cells { column, formatter: ArrayFormatter::try_new(column, options)? })
    }

    fn push(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match self.column.data_type() {
            _ if self.column.is_null(row) => {}
            DataType::Utf8 => push_text(self.column.as_string::<i32>().value(row), out),
            DataType::Float16 if !self.column.as_primitive::<Float16Type>().value(row).is_finite() => {}
            DataType::Float32 if !self.column.as_primitive::<Float32Type>().value(row).is_finite() => {}
            DataType::Float64 if !self.column.as_primitive::<Float64Type>().value(row).is_finite() => {}
            _ => write!(out, "{}", self.formatter.value(row))
                .map_err(|error| EngineError::internal(format!("a value cannot be written as text: {error}")))?,
        }
        Ok(())
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    let text = if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) };
    let needs_quotes = text.is_empty() || text.starts_with('\u{feff}') || text.contains([',', '"', '\n', '\r']);
    if !needs_quotes {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for (number, piece) in text.split('"').enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(piece.as_bytes());
    }
    out.push(b'"');
}
