//! JSON lines: one object a line, read for the declared columns.
//!
//! Unknown keys are ignored (but must be well-formed), missing keys and `null` are null. Types are taken at their word: a
//! number is not a string, `1.5` and `1.0` are not an int. A timestamp is a text or a number, as [`crate::source::times`]
//! reads them. A wanted key that occurs twice makes a bad line, since which of the two is meant can only be guessed.
//!
//! Written by hand rather than on arrow-json, which reads across line breaks, takes `1.5` for the int `1`, and fails a
//! whole batch for one line. What is accepted is tested to be what serde_json accepts.

use arrow::datatypes::SchemaRef;

use super::json_key_order::KeyOrder;
use super::json_paths::{WantedKey, append, take, wanted_keys};
use super::json_scanner::Scanner;
use super::message::TextDecoder;
use super::records::RecordRule;
use super::rows::{Limits, Rows, decode_lines};
use super::{DecodedLines, FormatError, LineDecoder};
use crate::source::column_type::DeclaredSchema;

/// Decodes JSON lines.
#[derive(Debug)]
pub struct JsonDecoder {
    rows: Rows,
    keys: Vec<WantedKey>,
    order: KeyOrder,
    /// The requested columns' names, for the reasons.
    names: Vec<String>,
    max_line_bytes: usize,
}

impl JsonDecoder {
    /// A decoder of the requested columns.
    ///
    /// # Errors
    /// When a declaration contradicts itself.
    pub fn new(requested: &DeclaredSchema, max_line_bytes: usize) -> Result<Self, FormatError> {
        let names = requested.columns.iter().map(|column| column.name.clone()).collect();
        let keys = wanted_keys(requested);
        Ok(Self { rows: Rows::new(requested)?, order: KeyOrder::new(&keys), keys, names, max_line_bytes })
    }
}

impl LineDecoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn decode(&mut self, chunk: &[u8], chunk_offset: u64, max_lines: usize) -> Result<DecodedLines, FormatError> {
        let Self { rows, keys, order, names, max_line_bytes } = self;
        let limits = Limits { records: RecordRule::lines(*max_line_bytes), lines: max_lines, takes_empty: false };
        decode_lines(rows, chunk, chunk_offset, limits, |rows, line| decode_object(rows, line, keys, order, names))
    }
}

impl TextDecoder for JsonDecoder {
    fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    fn rows_schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn append(&mut self, record: &str) -> Result<(), String> {
        decode_object(&mut self.rows, record, &self.keys, &mut self.order, &self.names)
    }
}

#[inline]
fn decode_object(
    rows: &mut Rows,
    line: &str,
    keys: &[WantedKey],
    order: &mut KeyOrder,
    names: &[String],
) -> Result<(), String> {
    let mut scanner = Scanner::new(line);
    scanner.begin_object()?;
    let mut step = 0;
    loop {
        let place = match order.expected(step) {
            Some((pattern, place)) if scanner.pass_key(pattern) => {
                step += 1;
                place
            }
            _ => match scanner.next_key()? {
                Some(key) => {
                    let place;
                    (place, step) = order.find(&key, step, keys);
                    place
                }
                None => break,
            },
        };
        let Some(place) = place else {
            scanner.skip_value()?;
            continue;
        };
        let key = &keys[place];
        let token = scanner.value()?;
        match key.only_column() {
            Some(column) => append(rows, column, &names[column], &key.name, &token)?,
            None => take(rows, key, names, &token)?,
        }
    }
    scanner.end_line()?;
    rows.pad_row();
    Ok(())
}
