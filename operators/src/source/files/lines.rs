//! The lines of one file as records: bytes go in as they are read, rows and dead letters come out.
//!
//! Invariant: the position is the beginning of the first line that has not come out. With it and the header, which is a
//! part of it, a restart resumes exactly there. A file that is not in the format as a whole is one dead letter that says
//! what it is; nothing more of it comes out.

use super::{
    beginning::{Beginning, beginning_of, may_be_more},
    decoders::Decoders,
    line_buffer::LineBuffer,
};
use crate::format::{BadLine, FormatError, LineDecoder, LineFormat, records::RecordRule, rows::locate_rows};
use crate::{dead_letters::DeadLetter, source::split_reader::SplitEvent};
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use std::{ops::Range, sync::Arc};
use weir_engine::error::{EngineError, Result};

/// How the lines of a source's files are read.
#[derive(Debug)]
pub(super) struct LineSettings {
    /// Their format.
    pub(super) format: LineFormat,
    /// The columns wanted, in order.
    pub(super) columns: Vec<String>,
    /// A longer line is a dead letter; in bytes.
    pub(super) max_line_bytes: usize,
    /// What the files share.
    pub(super) decoders: Decoders,
}

/// Where to continue in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinePosition {
    /// The first byte that has not come out.
    pub(super) offset: u64,
    /// The file's first line, if the format has a header and it has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<String>,
    /// Whether the rest of the file is not read: a dead letter has said why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) given_up: bool,
}

/// The lines of one file from a position on.
pub(super) struct Lines {
    settings: Arc<LineSettings>,
    file: String,
    header: Option<String>,
    /// There is a decoder for the file.
    is_open: bool,
    buffer: LineBuffer,
    /// The file's first bytes have been looked at, or lie before the position.
    begun: bool,
    given_up: bool,
    last: Option<LastChunk>,
}

/// Whether there is a decoder.
enum Opened {
    Yes(Box<dyn LineDecoder>),
    /// Not before more has been read.
    NotYet,
    /// The file is none of the format; in words.
    Never(String),
}

impl LineSettings {
    /// Where a record ends.
    fn records(&self) -> RecordRule {
        self.format.records(self.max_line_bytes)
    }
}

/// What came out last, to find its rows again.
struct LastChunk {
    range: Range<usize>,
    offset: u64,
    bad_lines: Vec<BadLine>,
}

impl Lines {
    pub(super) fn new(file: String, settings: Arc<LineSettings>, position: LinePosition) -> Self {
        let buffer = LineBuffer::new(position.offset, settings.records());
        let LinePosition { offset, header, given_up } = position;
        let begun = offset > 0;
        Lines { settings, file, header, is_open: false, buffer, begun, given_up, last: None }
    }

    /// The file's name.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// The first byte that has not come out.
    pub(super) fn offset(&self) -> u64 {
        self.buffer.position()
    }

    /// Whether all that was read has come out.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(super) fn position(&self) -> LinePosition {
        LinePosition { offset: self.buffer.position(), header: self.header.clone(), given_up: self.given_up }
    }

    /// Whether nothing more of the file comes out.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Where to read on in the file.
    pub(super) fn read_offset(&self) -> u64 {
        self.buffer.read_offset()
    }

    /// Forgets what was read and not taken, and continues at `offset`.
    pub(super) fn seek(&mut self, offset: u64) {
        self.buffer = LineBuffer::new(offset, self.settings.records());
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

    /// Gives back the memory of what has been taken: nothing may come for long.
    pub(super) fn release(&mut self) {
        self.last = None;
        self.buffer.release();
    }

    /// The next records, if a whole line has been read. At the end of the file a last line without a line break is one.
    pub(super) fn take(&mut self, max_lines: usize, at_end: bool) -> Result<Option<SplitEvent>> {
        if self.given_up {
            self.buffer.drop_all();
            return Ok(None);
        }
        if let Some(problem) = self.look_at_beginning(at_end) {
            return self.give_up(problem).map(Some);
        }
        match self.open_decoder(at_end)? {
            Opened::Yes(mut decoder) => {
                let taken = self.take_with(decoder.as_mut(), max_lines, at_end)?;
                self.settings.decoders.put(self.header.as_deref().unwrap_or_default(), decoder);
                Ok(taken)
            }
            Opened::NotYet => Ok(None),
            Opened::Never(problem) => self.give_up(problem).map(Some),
        }
    }

    fn take_with(
        &mut self,
        decoder: &mut dyn LineDecoder,
        max_lines: usize,
        at_end: bool,
    ) -> Result<Option<SplitEvent>> {
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

    /// Passes over a byte order mark. What is wrong with the file as a whole, if its first bytes say so.
    fn look_at_beginning(&mut self, at_end: bool) -> Option<String> {
        let first = self.buffer.beginning();
        if self.begun || first.is_empty() || (!at_end && may_be_more(first)) {
            return None;
        }
        self.begun = true;
        match beginning_of(first) {
            Beginning::Text => None,
            Beginning::Marked(length) if !self.buffer.is_passing_over() => {
                self.buffer.advance(length);
                None
            }
            Beginning::Marked(_) => None,
            Beginning::NoText(problem) => Some(problem),
        }
    }

    /// Sees to it that there is a decoder; if the format has a header, it takes that to make one.
    fn open_decoder(&mut self, at_end: bool) -> Result<Opened> {
        if !self.begun {
            return Ok(Opened::NotYet);
        }
        if self.settings.format.has_header() && self.header.is_none() {
            if self.buffer.is_passing_over() {
                let most = self.settings.max_line_bytes;
                let problem = format!("its first line, which should name the columns, has more than {most} bytes");
                return Ok(Opened::Never(format!("{problem} (max_line_bytes)")));
            }
            let (range, _) = self.buffer.lines(at_end);
            let bytes = self.buffer.bytes(range);
            if bytes.is_empty() {
                return Ok(Opened::NotYet);
            }
            let length = self.settings.records().end(bytes).map_or(bytes.len(), |end| end + 1);
            let Ok(header) = std::str::from_utf8(&bytes[..length]) else {
                return Ok(Opened::Never("its header is not UTF-8".to_owned()));
            };
            self.header = Some(header.to_owned());
            self.buffer.advance(length);
        }
        let LineSettings { format, columns, max_line_bytes, decoders } = &*self.settings;
        let header = self.header.as_deref().unwrap_or_default();
        let known = decoders.take(header).map(Ok);
        match known.unwrap_or_else(|| format.decoder(&self.file, header.as_bytes(), columns, *max_line_bytes)) {
            Ok(decoder) => {
                self.is_open = true;
                Ok(Opened::Yes(decoder))
            }
            Err(error @ (FormatError::MissingColumn { .. } | FormatError::Header { .. })) => {
                Ok(Opened::Never(error.to_string()))
            }
            Err(error) => Err(format_error(error)),
        }
    }

    /// Takes all that is left of the file for one dead letter, and reads no further.
    pub(super) fn give_up(&mut self, problem: String) -> Result<SplitEvent> {
        let first = self.buffer.beginning();
        let raw = match self.header.as_deref() {
            Some(header) if !self.is_open => header.as_bytes(),
            _ => first,
        };
        let at = if !self.is_open { 0 } else { self.buffer.position() };
        let bad_line = BadLine::new(at, 0, raw, problem);
        tracing::warn!(file = %self.file, "the file, or the rest of it, is not read: {}", bad_line.reason);
        self.buffer.drop_all();
        (self.given_up, self.last) = (true, None);
        self.without_rows(vec![dead_letter(bad_line)])
    }

    /// A chunk without rows that says something about the file.
    pub(super) fn remark(&self, reason: String) -> Result<SplitEvent> {
        let offset = i64::try_from(self.buffer.position()).unwrap_or(i64::MAX);
        self.without_rows(vec![DeadLetter { offset, reason, raw: String::new() }])
    }

    fn without_rows(&self, dead_letters: Vec<DeadLetter>) -> Result<SplitEvent> {
        let columns = self.settings.format.columns().project(&self.settings.columns).map_err(EngineError::internal)?;
        Ok(SplitEvent::Records { columns: RecordBatch::new_empty(columns.arrow_schema()), dead_letters })
    }

    pub(super) fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let Some(last) = &self.last else { return Vec::new() };
        let bytes = self.buffer.bytes(last.range.clone());
        let located = locate_rows(bytes, last.offset, self.settings.records(), &last.bad_lines, rows);
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
