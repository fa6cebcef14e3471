//! The files source: files of lines or Parquet, on a local disk or in object storage, read once or followed as they grow.
//!
//! Reading order: `config` (what can be said about a source), `listing` (which files there are), `bounded` and `followed`
//! (what the splits are and how they are read), `lines` and `line_buffer` (from bytes to records), `format` (what a line
//! means), `parquet_split` and `parquet_times`, `archive` (Parquet in a folder an hour, read in the order of event time).

mod archive;
mod bounded;
mod config;
mod followed;
pub mod format;
mod glob;
mod line_buffer;
mod lines;
mod listing;
mod parquet_split;
mod parquet_times;
mod schema;
#[cfg(test)]
mod tests;

pub use archive::{ArchivePart, EventTimeRange, archive_parts};
pub use config::{FilesConfig, source};
pub use followed::Copies;
pub use schema::parquet_schema;
