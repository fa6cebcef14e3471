//! Parquet files as splits of rows.
//!
//! Reading order: `file` (a file opened, checked and described), `columns` and `adapt` (which columns are read, and as what),
//! `splits` (how a file is cut), `rows` (a split read from any row on), `pages` (where the bytes come from).
//!
//! Invariants: only the requested columns are read; whatever the file holds, the answer is rows or an error that names the
//! file, never a panic; how a file is cut never decides which row is behind the watermark.

mod adapt;
mod columns;
mod file;
mod pages;
mod rows;
mod schema;
mod splits;
#[cfg(test)]
mod tests;

pub use file::{ParquetFile, ParquetLocation, is_damage};
pub use rows::ParquetRows;
pub use schema::common_schema;
pub use splits::ParquetSplit;
