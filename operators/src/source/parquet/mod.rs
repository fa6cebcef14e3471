//! Parquet files as splits of rows.
//!
//! Reading order: `file` (a file opened, checked and described), `columns` (which columns are read, and as what), `splits`
//! (how a file is cut), `rows` (a split read from any row on), `pages` (where the bytes come from).
//!
//! Invariants: only the requested columns are read; whatever the file holds, the answer is rows or an error that names the
//! file, never a panic; how a file is cut never decides which row is behind the watermark.

mod columns;
mod file;
mod pages;
mod rows;
mod splits;
#[cfg(test)]
mod tests;

pub use file::{ParquetFile, ParquetLocation};
pub use rows::ParquetRows;
pub use splits::ParquetSplit;
