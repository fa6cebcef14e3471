//! Parquet files whose pages are the Arrow buffers as they are: PLAIN, uncompressed, with no encoder over the values.
//!
//! Hashes, fresh identifiers and small integers do not shrink under an encoder, they only cost its time: written this way
//! a file takes a sixth of what `ArrowWriter` needs, and is still ordinary Parquet that every reader opens. The price is
//! size where values *do* compress; files that must be small go through `ArrowWriter` with zstd instead.
//!
//! What is kept from encoding is what costs nothing: a column with a single value in a row group is a one-entry
//! dictionary and one run, an Arrow dictionary array becomes a Parquet dictionary page, and a bitmap of nulls *is* the
//! bit-packed form of definition levels.
//!
//! Invariant: a file either ends in a footer that describes every byte before it, or has no footer. A writer that failed
//! in the middle of a row group refuses to continue ([`PageError::Broken`]).
//!
//! Reading order: [`writer`] (file), `column` (column chunk and its pages), `plain`, `dictionary`, `hybrid` (bytes of
//! values and levels), `page_header` (Thrift), `schema` (types).

mod column;
mod dictionary;
mod error;
mod hybrid;
mod page_header;
mod plain;
mod schema;
mod statistics;
pub mod writer;

#[cfg(test)]
mod tests;

pub use error::PageError;
pub use schema::parquet_schema;
pub use writer::{FinishedFile, PlainParquetWriter};

// PLAIN encoding is little-endian, and so must the buffers be that are written without conversion.
#[cfg(target_endian = "big")]
compile_error!("plain Parquet pages are written straight from memory, which needs a little-endian machine");
