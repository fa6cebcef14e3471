//! The files source: files of lines or Parquet, on a local disk or in object storage, read once or followed as they grow.
//!
//! Reading order: `config` (what can be said about a source), `read` and `connector` (how it is said, what is wrong with it, and
//! what others ask), `total` (how much there is to read), `listing` and `passed_over` (which files there are, and which
//! are not read), `bounded` and `followed` (what the splits are), `local_file`, `file_reader`, `beginning` and `compression` (a file's
//! bytes as text), `lines`, `line_buffer` and `decoders` (from bytes to records), `format` (what a line means), `parquet_split` and
//! `parquet_times`, `avro_split` and `avro_bytes` (Avro), `archive` (Parquet in a folder an hour, read in the order of event time), `partitions` (columns from the
//! names of folders).

mod archive;
mod avro_bytes;
mod avro_split;
mod beginning;
mod bounded;
mod compression;
mod config;
mod connector;
mod decoders;
mod empty_columns;
mod file_reader;
mod followed;
pub(super) mod glob;
mod line_buffer;
mod lines;
mod listing;
mod local_file;
mod parquet_split;
mod parquet_times;
mod partitions;
mod passed_over;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod total;

/// A source, from the configuration of its node.
#[cfg(test)]
fn source(
    config: &serde_json::Value,
    context: &weir_engine::operator::OperatorContext,
) -> weir_engine::Result<Box<dyn weir_engine::operator::Source>> {
    crate::connectors::source(&KIND, config, context)
}

pub use archive::{ArchivePart, EventTimeRange, archive_parts};
pub use compression::is_compressed;
pub use config::{DEFAULT_ROTATION_GRACE_MS, FilesConfig};
pub use connector::KIND;
pub use followed::Copies;
pub use schema::parquet_schema;
