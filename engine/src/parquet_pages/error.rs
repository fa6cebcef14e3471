//! What can go wrong while writing plain pages. Every message names the column and what would be right.

use crate::error::EngineError;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::errors::ParquetError;

/// Why a batch or a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The schema has a column of a type that has no plain form here.
    #[error(
        "column {column:?} has type {data_type}, which can't be written as plain Parquet pages; \
         cast it to a boolean, number, timestamp, date, string or binary type"
    )]
    UnsupportedType {
        /// The column's name.
        column: String,
        /// Its Arrow type.
        data_type: DataType,
    },
    /// A batch has another number of columns than the file.
    #[error("the batch has {found} columns, the file {expected}")]
    ColumnCount {
        /// Columns of the file.
        expected: usize,
        /// Columns of the batch.
        found: usize,
    },
    /// A column of a batch is of another type than in the file.
    #[error("column {column:?} is {expected} in the file, but {found} in the batch")]
    TypeMismatch {
        /// The column's name.
        column: String,
        /// Type in the file's schema.
        expected: DataType,
        /// Type in the batch.
        found: DataType,
    },
    /// A batch has nulls where the schema allows none.
    #[error("column {column:?} must not be null, but the batch has {nulls} null value(s)")]
    UnexpectedNulls {
        /// The column's name.
        column: String,
        /// How many.
        nulls: usize,
    },
    /// A page would be longer than Parquet's 2 GiB.
    #[error("column {column:?} needs a page of {bytes} bytes, but Parquet allows {}; write smaller batches", i32::MAX)]
    PageTooLarge {
        /// The column's name.
        column: String,
        /// Bytes of the page.
        bytes: usize,
    },
    /// An earlier write failed part-way, so the file's offsets are no longer known.
    #[error("an earlier write to this Parquet file failed; the file must be rewritten")]
    Broken,
    /// The output refused bytes.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A column could not be brought into its stored form.
    #[error("column {column:?}: {source}")]
    Convert {
        /// The column's name.
        column: String,
        /// What the conversion said.
        source: ArrowError,
    },
    /// The footer could not be built.
    #[error("Parquet footer: {0}")]
    Footer(#[from] ParquetError),
}

impl From<PageError> for EngineError {
    fn from(error: PageError) -> Self {
        let message = format!("Parquet file: {error}");
        match error {
            PageError::Io(cause) => EngineError::caused_by(&cause, message),
            PageError::UnsupportedType { .. } | PageError::Convert { .. } => EngineError::definition(message),
            _ => EngineError::internal(message),
        }
    }
}
