//! Avro: records of a schema, in messages and in object container files.
//!
//! Reading order: `schema` and `names` (the columns of a schema), `records` (bytes to Arrow, by the schema that they were written with),
//! `columns` (from there to the wanted columns), `messages` (records that come one by one), `container` (records in files) and
//! `codec` (how these are compressed); and for what is written, `derived` (the schema of columns), `rows` (Arrow to bytes) and
//! `written_container` (these in files).
//!
//! The columns are those of the *reader's* schema, which is settled when the job starts. What was written with another one is
//! resolved to it by Avro's rules, which is arrow-avro's affair. Invariants, for any bytes: nothing panics; a record that
//! cannot be read costs itself only.

mod codec;
mod columns;
pub mod container;
mod derived;
mod messages;
mod names;
mod nested;
mod records;
mod rows;
mod schema;
pub mod settings;
#[cfg(test)]
mod tests;
mod written_container;

pub use codec::Codec;
pub use columns::ReadColumns;
pub use derived::derived;
pub use messages::AvroMessages;
pub use rows::AvroRows;
pub use schema::{RecordSchema, can_be_read};
pub use settings::AvroSettings;
pub use written_container::ContainerWriter;
