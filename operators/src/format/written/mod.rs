//! Rows as records that come one by one: the other direction, for sinks whose readers want something else than JSON.
//!
//! Reading order: `settings` (what a definition says), `check` (the columns against the fields of a schema), `fit` (values as
//! fields hold them), `writer` (rows as bytes). What belongs to one format is with it: `avro::rows` and `avro::derived`,
//! `protobuf::rows`.
//!
//! Invariants: what a field does not hold is never changed into what it does: its row is refused with a reason in words, and no
//! other row suffers from it. What is written is read back as the same values, but for numbers that are not finite, which a source
//! refuses.

pub(in crate::format) mod check;
pub(in crate::format) mod fit;
pub(in crate::format) mod settings;
#[cfg(test)]
mod tests;
mod writer;

pub use settings::WrittenFormat;
pub use writer::RowWriter;

use bytes::Bytes;

/// A record for each row; or why the row can be none.
pub type WrittenRows = Vec<Result<Bytes, String>>;
