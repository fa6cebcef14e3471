//! Cuts a chunk into records, mostly lines, and collects the rows that they become.
//!
//! Invariant: every record of a chunk ends up as exactly one row or exactly one bad line, in the order of the file.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use memchr::{memchr, memrchr};

use super::column_builder::ColumnBuilder;
use super::records::RecordRule;
use super::{BadLine, DecodedLines, FormatError};
use crate::source::column_type::DeclaredSchema;

/// What some editors begin a text in UTF-8 with. It says nothing and is passed over.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The largest chunk that is decoded at once, in bytes: offsets in Arrow's text columns are 32 bits wide.
const MAX_CHUNK_BYTES: usize = i32::MAX as usize;

/// The rows decoded from one chunk, column by column.
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    /// One builder a requested column. A decoder appends at most one value a line to each.
    pub columns: Vec<ColumnBuilder>,
    /// Rows begun and ended, those of bad lines that had got as far as appending included.
    len: usize,
    /// Rows that belong to bad lines.
    rejected: Vec<usize>,
    bad_lines: Vec<BadLine>,
}

impl Rows {
    /// No rows yet, of the given columns.
    ///
    /// # Errors
    /// When a declaration contradicts itself.
    pub fn new(columns: &DeclaredSchema) -> Result<Self, FormatError> {
        Ok(Self {
            schema: columns.arrow_schema(),
            columns: columns.columns.iter().map(ColumnBuilder::new).collect::<Result<_, _>>()?,
            len: 0,
            rejected: Vec::new(),
            bad_lines: Vec::new(),
        })
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows ended so far: a column longer than this has a value for the row under construction.
    #[inline]
    pub fn ended(&self) -> usize {
        self.len
    }

    /// The columns that the row under construction has no value for yet are null.
    pub fn pad_row(&mut self) {
        for column in &mut self.columns {
            if column.value_count() == self.len {
                column.append_null();
            }
        }
    }

    /// The row under construction has all its values.
    #[inline]
    pub(super) fn end_row(&mut self) {
        self.len += 1;
    }

    /// The row under construction is none; whatever it has got is taken out in the end.
    pub(super) fn reject(&mut self, bad_line: BadLine) {
        self.bad_lines.push(bad_line);
        if self.columns.iter().any(|column| column.value_count() > self.len) {
            self.pad_row();
            self.rejected.push(self.len);
            self.len += 1;
        }
    }

    /// The rows and bad lines so far, which were so many bytes.
    pub(super) fn finish(&mut self, bytes: usize) -> Result<DecodedLines, FormatError> {
        let columns: Vec<ArrayRef> = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        let mut records = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        if !self.rejected.is_empty() {
            let mut keep = vec![true; self.len];
            for row in self.rejected.drain(..) {
                keep[row] = false;
            }
            records = filter_record_batch(&records, &BooleanArray::from(keep))?;
        }
        self.len = 0;
        Ok(DecodedLines { records, bad_lines: std::mem::take(&mut self.bad_lines), bytes })
    }
}

/// How much is decoded at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Where a record ends, and how long it may be.
    pub records: RecordRule,
    /// What comes after so many lines of a chunk is left for the next time.
    pub lines: usize,
    /// Whether a line with nothing in it is a record, and no bad line.
    pub takes_empty: bool,
}

/// Decodes a chunk of whole lines with `decode_line`, which appends one value to every column or says in words
/// what is wrong with the line.
///
/// It is called with the line's text, without its line break, and without a byte order mark before it, as files put together
/// have it. What is wrong with any format's lines is found here: text that is not UTF-8, NUL bytes, too long lines, and empty
/// lines where they are no records.
pub fn decode_lines(
    rows: &mut Rows,
    chunk: &[u8],
    chunk_offset: u64,
    limits: Limits,
    mut decode_line: impl FnMut(&mut Rows, &str) -> Result<(), String>,
) -> Result<DecodedLines, FormatError> {
    if chunk.len() > MAX_CHUNK_BYTES {
        return Err(FormatError::ChunkTooLarge { offset: chunk_offset, bytes: chunk.len() });
    }
    let chunk = first_lines(chunk, limits);
    // Both are checked for the whole chunk first, since that is many times faster than line by line.
    let whole_text = std::str::from_utf8(chunk).ok();
    let has_nul = memchr(0, chunk).is_some();
    let mut start = 0;
    let mut index = 0;
    while start < chunk.len() && index < limits.lines {
        let end = limits.records.end(&chunk[start..]).map_or(chunk.len(), |length| start + length);
        let mut line = &chunk[start..end];
        if let [rest @ .., b'\r'] = line {
            line = rest;
        }
        let mark = if line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let text = match whole_text {
            Some(text) => text.get(start + mark..start + line.len()),
            None => std::str::from_utf8(&line[mark..]).ok(),
        };
        let outcome = match text {
            _ if line.len() > limits.records.most() => Err(too_long(line.len(), limits.records.most())),
            None => Err(not_utf8(line)),
            Some("") if !limits.takes_empty => Err("the line is empty".to_owned()),
            Some(_) if has_nul && memchr(0, line).is_some() => Err(nul_byte(line)),
            Some(text) => decode_line(rows, text),
        };
        match outcome {
            Ok(()) => rows.end_row(),
            Err(reason) => rows.reject(BadLine::new(chunk_offset + start as u64, index, line, reason)),
        }
        start = end + 1;
        index += 1;
    }
    rows.finish(start.min(chunk.len()))
}

/// The chunk without what is certainly not decoded now, so that little is looked at for a few lines.
fn first_lines(chunk: &[u8], limits: Limits) -> &[u8] {
    const FEW: usize = 1024;
    if limits.lines > FEW {
        return chunk;
    }
    let mut end = 0;
    for _ in 0..limits.lines {
        match limits.records.end(&chunk[end..]) {
            Some(length) => end += length + 1,
            None => return chunk,
        }
    }
    &chunk[..end]
}

/// Why a line of so many bytes is refused.
pub fn too_long(bytes: usize, max_line_bytes: usize) -> String {
    format!("the line has {bytes} bytes, and at most {max_line_bytes} are allowed (max_line_bytes)")
}

#[cold]
fn not_utf8(line: &[u8]) -> String {
    let position = std::str::from_utf8(line).map_or_else(|error| error.valid_up_to(), |_| 0);
    let byte = line.get(position).copied().unwrap_or_default();
    format!("the line is not UTF-8: byte {} of it is 0x{byte:02x}", position + 1)
}

#[cold]
fn nul_byte(line: &[u8]) -> String {
    format!("the line has a NUL byte, at byte {} of it", memchr(0, line).unwrap_or_default() + 1)
}

/// Where the lines of some rows begin, and what they look like.
///
/// Rows are counted after the bad lines were taken out, so it takes the bad lines to find them again. It is meant
/// for the few rows that are refused after decoding: it walks over the chunk.
pub fn locate_rows(
    chunk: &[u8],
    chunk_offset: u64,
    records: RecordRule,
    bad_lines: &[BadLine],
    wanted: &[usize],
) -> Vec<BadLine> {
    let mut located = Vec::with_capacity(wanted.len());
    let mut bad_lines = bad_lines.iter().map(|bad_line| bad_line.line).peekable();
    let (mut start, mut index, mut row) = (0, 0, 0);
    while start < chunk.len() && located.len() < wanted.len() {
        let end = records.end(&chunk[start..]).map_or(chunk.len(), |length| start + length);
        if bad_lines.next_if_eq(&index).is_none() {
            if wanted.get(located.len()) == Some(&row) {
                let line = chunk[start..end].strip_suffix(b"\r").unwrap_or(&chunk[start..end]);
                located.push(BadLine::new(chunk_offset + start as u64, index, line, String::new()));
            }
            row += 1;
        }
        start = end + 1;
        index += 1;
    }
    located
}

/// The length of the whole lines at the beginning of `bytes`, the last line break included.
pub fn whole_lines(bytes: &[u8]) -> usize {
    memrchr(b'\n', bytes).map_or(0, |position| position + 1)
}
