//! The lines of one file as records: bytes go in as they are read, rows and dead letters come out.
//!
//! Invariant: the position is the beginning of the first line that has not come out. With it and the header, which is a
//! part of it, a restart goes on exactly there.

use super::{
    format::{BadLine, FormatError, LineDecoder, LineFormat, rows::locate_rows},
    line_buffer::LineBuffer,
};
use crate::{dead_letters::DeadLetter, source::split_reader::SplitEvent};
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use std::{ops::Range, sync::Arc};
use weir_engine::error::{EngineError, Result};

/// How the lines of a source's files are read.
#[derive(Clone, Debug)]
pub struct LineSettings {
    /// Their format.
    pub format: LineFormat,
    /// The columns wanted, in order.
    pub columns: Vec<String>,
    /// A longer line is a dead letter; in bytes.
    pub max_line_bytes: usize,
}

/// Where to go on in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinePosition {
    /// The first byte that has not come out.
    pub(super) offset: u64,
    /// The file's first line, if the format has a header and it has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<String>,
}

/// The lines of one file from a position on.
pub(super) struct Lines {
    settings: Arc<LineSettings>,
    file: String,
    header: Option<String>,
    decoder: Option<Box<dyn LineDecoder>>,
    buffer: LineBuffer,
    last: Option<LastChunk>,
}

/// What came out last, to find its rows again.
struct LastChunk {
    range: Range<usize>,
    offset: u64,
    bad_lines: Vec<BadLine>,
}

impl Lines {
    pub(super) fn new(file: &str, settings: Arc<LineSettings>, position: LinePosition) -> Self {
        let buffer = LineBuffer::new(position.offset, settings.max_line_bytes);
        Lines { settings, file: file.to_owned(), header: position.header, decoder: None, buffer, last: None }
    }

    pub(super) fn position(&self) -> LinePosition {
        LinePosition { offset: self.buffer.position(), header: self.header.clone() }
    }

    /// Where to read on in the file.
    pub(super) fn read_offset(&self) -> u64 {
        self.buffer.read_offset()
    }

    /// Forgets what was read and not taken, and goes on at `offset`.
    pub(super) fn seek(&mut self, offset: u64) {
        self.buffer = LineBuffer::new(offset, self.settings.max_line_bytes);
        self.last = None;
    }

    /// Adds up to `length` bytes, which `read` puts into the slice it is given; it says how many.
    pub(super) fn fill<E>(
        &mut self,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> std::result::Result<usize, E>,
    ) -> std::result::Result<usize, E> {
        self.last = None;
        self.buffer.fill(length, read)
    }

    /// The next records, if a whole line has been read. At the end of the file a last line without a line break is one.
    pub(super) fn take(&mut self, max_lines: usize, at_end: bool) -> Result<Option<SplitEvent>> {
        if !self.open_decoder(at_end)? {
            return Ok(None);
        }
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        if let Some(bad_line) = self.buffer.take_too_long(at_end) {
            let columns = RecordBatch::new_empty(decoder.schema().clone());
            return Ok(Some(SplitEvent::Records { columns, dead_letters: vec![dead_letter(bad_line)] }));
        }
        let (range, offset) = self.buffer.lines(at_end);
        if self.buffer.is_passing_over() || range.is_empty() {
            return Ok(None);
        }
        let decoded = decoder.decode(self.buffer.bytes(range.clone()), offset, max_lines).map_err(format_error)?;
        self.buffer.advance(decoded.bytes);
        let dead_letters = decoded.bad_lines.iter().cloned().map(dead_letter).collect();
        let range = range.start..range.start + decoded.bytes;
        self.last = Some(LastChunk { range, offset, bad_lines: decoded.bad_lines });
        Ok(Some(SplitEvent::Records { columns: decoded.records, dead_letters }))
    }

    /// Whether there is a decoder; if the format has a header, it takes that to make one.
    fn open_decoder(&mut self, at_end: bool) -> Result<bool> {
        if self.decoder.is_some() {
            return Ok(true);
        }
        if self.settings.format.has_header() && self.header.is_none() {
            if self.buffer.is_passing_over() {
                let most = self.settings.max_line_bytes;
                return Err(EngineError::definition(format!(
                    "{}: its first line, which should name the columns, has more than {most} bytes (max_line_bytes)",
                    self.file
                )));
            }
            let (range, _) = self.buffer.lines(at_end);
            let bytes = self.buffer.bytes(range);
            if bytes.is_empty() {
                return Ok(false);
            }
            let length = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |position| position + 1);
            let header = std::str::from_utf8(&bytes[..length])
                .map_err(|error| EngineError::definition(format!("{}: its header is not UTF-8: {error}", self.file)))?;
            self.header = Some(header.to_owned());
            self.buffer.advance(length);
        }
        let LineSettings { format, columns, max_line_bytes } = &*self.settings;
        let header = self.header.as_deref().unwrap_or_default();
        let decoder = format.decoder(&self.file, header.as_bytes(), columns, *max_line_bytes).map_err(format_error)?;
        self.decoder = Some(decoder);
        Ok(true)
    }

    /// A chunk without rows that says something about the file.
    pub(super) fn remark(&self, reason: String) -> Result<SplitEvent> {
        let columns = self.settings.format.columns().project(&self.settings.columns).map_err(EngineError::internal)?;
        let columns = RecordBatch::new_empty(columns.arrow_schema());
        let offset = i64::try_from(self.buffer.position()).unwrap_or(i64::MAX);
        let dead_letters = vec![DeadLetter { offset, reason, raw: String::new() }];
        Ok(SplitEvent::Records { columns, dead_letters })
    }

    pub(super) fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let Some(last) = &self.last else { return Vec::new() };
        let located = locate_rows(self.buffer.bytes(last.range.clone()), last.offset, &last.bad_lines, rows);
        located.into_iter().map(dead_letter).collect()
    }
}

fn dead_letter(bad_line: BadLine) -> DeadLetter {
    let offset = i64::try_from(bad_line.offset).unwrap_or(i64::MAX);
    DeadLetter { offset, reason: bad_line.reason, raw: bad_line.raw }
}

fn format_error(error: FormatError) -> EngineError {
    EngineError::definition(error.to_string())
}
