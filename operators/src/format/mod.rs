//! Formats: how bytes become columns. Those of lines are below; records that come one by one are [`message`]s, among them
//! [`avro`] and [`protobuf`].
//!
//! Line formats: how a chunk of whole lines becomes columns.
//!
//! A decoder knows no files and keeps nothing from one chunk to the next. The caller cuts the bytes at line breaks
//! (only the last line of a file may lack one) and says at which byte of the file the chunk begins. Only requested
//! columns are decoded.
//!
//! Invariants, for every format and for any bytes: nothing panics; every line is exactly one row or exactly one bad
//! line with its offset and a reason in words; a bad line spoils no other line. A line ends at `\n`, a `\r` before it
//! belongs to the line break; what is called a line of CSV goes over the line breaks in its quoted fields (see
//! [`records`]). An empty line, a line with a NUL byte, one that is not UTF-8 and one that is longer than
//! `max_line_bytes` are bad lines in every format, but that an empty line is a null where a CSV has one column.

pub mod avro;
pub mod click_log;
pub mod column_builder;
pub mod csv;
pub mod declared;
pub mod json;
mod json_key_order;
mod json_paths;
mod json_scanner;
pub mod message;
pub mod pinned;
pub mod protobuf;
pub mod records;
pub mod registry;
pub mod rows;
pub mod settings;
pub mod value;
pub mod written;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::source::column_type::DeclaredSchema;
use click_log::ClickLogDecoder;
use csv::CsvDecoder;
use json::JsonDecoder;
use records::RecordRule;

pub use message::{Held, MessageDecoder, MessageFormat, messages_of_rows};
pub use settings::{Format, FormatName, FormatSettings};
pub use written::{RowWriter, WrittenFormat, WrittenRows};

/// How many bytes of a bad line are kept.
const KEPT_BYTES: usize = 4096;

/// The longest line that is accepted unless the definition says otherwise, in bytes.
pub const DEFAULT_MAX_LINE_BYTES: usize = 1 << 20;

/// A line that is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Where the line begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// Which line of its chunk it is, from 0.
    pub line: usize,
    /// The line's first 4 KiB without its line break; what is not UTF-8 is replaced.
    pub raw: String,
    /// What is wrong with it, for people.
    pub reason: String,
}

impl BadLine {
    /// A bad line; of `line` as much is kept as is useful.
    #[cold]
    pub fn new(offset: u64, line_index: usize, line: &[u8], reason: String) -> Self {
        let kept = &line[..line.len().min(KEPT_BYTES)];
        Self { offset, line: line_index, raw: String::from_utf8_lossy(kept).into_owned(), reason }
    }
}

/// What a chunk of lines became.
#[derive(Debug)]
pub struct DecodedLines {
    /// One row for every good line, in the order of the file.
    pub records: RecordBatch,
    /// The other lines, in the order of the file.
    pub bad_lines: Vec<BadLine>,
    /// How much of the chunk these lines are, in bytes, their line breaks included.
    pub bytes: usize,
}

/// Why lines cannot be decoded at all. What is wrong with single lines is a [`BadLine`] instead.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A column that the format does not have, or that was not declared.
    #[error("there is no column {column:?} to read: {available}")]
    UnknownColumn {
        /// The requested column.
        column: String,
        /// The columns that there are, as a sentence.
        available: String,
    },
    /// The header of a CSV file lacks a column.
    #[error("{file}: its header has no column {column:?}; the columns found are: {found}")]
    MissingColumn {
        /// The file.
        file: String,
        /// The column that was declared.
        column: String,
        /// The names in the header.
        found: String,
    },
    /// The header of a CSV file cannot be read.
    #[error("{file}: its header cannot be read: {reason}")]
    Header {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// What is declared about a column contradicts itself.
    #[error("the column {column:?} cannot be read as declared: {problem}")]
    Declaration {
        /// The column.
        column: String,
        /// What is wrong.
        problem: String,
    },
    /// More bytes at once than a column can address.
    #[error("a chunk of {bytes} bytes at offset {offset} is too large to decode at once (at most 2 GiB)")]
    ChunkTooLarge {
        /// Where it begins.
        offset: u64,
        /// Its length.
        bytes: usize,
    },
    /// Records could not be decoded at all, by a mistake of ours.
    #[error("records cannot be decoded: {0}")]
    Records(String),
    /// The columns could not be put together.
    #[error("decoded columns do not fit together: {0}")]
    Columns(#[from] ArrowError),
}

/// Decodes chunks of lines of one file.
pub trait LineDecoder: Send {
    /// The schema of the decoded rows: the requested columns, in the requested order.
    fn schema(&self) -> &SchemaRef;

    /// Decodes the first `max_lines` of a chunk of whole lines.
    ///
    /// `chunk_offset` is where the chunk begins in its file, in bytes.
    ///
    /// # Errors
    /// Only for a chunk of more than 2 GiB, or by a mistake of ours: bad lines are no error.
    fn decode(&mut self, chunk: &[u8], chunk_offset: u64, max_lines: usize) -> Result<DecodedLines, FormatError>;
}

/// A line format as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum LineFormat {
    /// `[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA`
    ClickLog,
    /// Comma-separated values with a header.
    Csv {
        /// The columns and their types; the header says where they are.
        schema: DeclaredSchema,
        /// What stands between two fields; a single byte.
        #[serde(default = "comma")]
        delimiter: char,
    },
    /// One JSON object a line.
    Json {
        /// The columns and their types.
        schema: DeclaredSchema,
    },
}

fn comma() -> char {
    ','
}

impl LineFormat {
    /// All columns that can be read.
    pub fn columns(&self) -> DeclaredSchema {
        match self {
            Self::ClickLog => click_log::columns(),
            Self::Csv { schema, .. } | Self::Json { schema } => schema.clone(),
        }
    }

    /// Whether the first line of a file names its columns, and is no record.
    pub fn has_header(&self) -> bool {
        matches!(self, Self::Csv { .. })
    }

    /// Whether the definition says which columns there are, so that one without any value is a surprise.
    pub fn declares_columns(&self) -> bool {
        !matches!(self, Self::ClickLog)
    }

    /// Where a record ends, of at most `most` bytes.
    pub fn records(&self, most: usize) -> RecordRule {
        match self {
            Self::ClickLog | Self::Json { .. } => RecordRule::lines(most),
            // One that is no single byte is refused with the header.
            Self::Csv { delimiter, .. } => RecordRule::csv(u8::try_from(*delimiter).unwrap_or(b','), most),
        }
    }

    /// Some of the columns.
    fn requested(&self, requested: &[String]) -> Result<DeclaredSchema, FormatError> {
        let columns = self.columns();
        columns.project(requested).map_err(|column| FormatError::UnknownColumn {
            column,
            available: format!("the columns are {}", names(&columns)),
        })
    }

    /// A decoder of the `requested` columns for one file.
    ///
    /// `header` is the first line of the file; it is looked at only if the format has one.
    ///
    /// # Errors
    /// When a requested column is not declared, or the header is malformed or lacks it.
    pub fn decoder(
        &self,
        file: &str,
        header: &[u8],
        requested: &[String],
        max_line_bytes: usize,
    ) -> Result<Box<dyn LineDecoder>, FormatError> {
        let requested = self.requested(requested)?;
        Ok(match self {
            Self::ClickLog => Box::new(ClickLogDecoder::new(&requested, max_line_bytes)?),
            Self::Csv { delimiter, .. } => {
                Box::new(CsvDecoder::new(file, header, &requested, *delimiter, max_line_bytes)?)
            }
            Self::Json { .. } => Box::new(JsonDecoder::new(&requested, max_line_bytes)?),
        })
    }
}

fn names(schema: &DeclaredSchema) -> String {
    schema.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}
