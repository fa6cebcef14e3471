//! Protobuf: messages of a type that a descriptor set describes (`protoc --include_imports --descriptor_set_out`).
//!
//! Reading order: `settings` (which message, which columns), `fields` (the columns of a message, and their values), `nested`
//! (what no column type fits), `messages` (records that come one by one); for what is written, `rows`.
//!
//! What is absent: a field that can tell (`optional`, `oneof`, a message) is null where it is absent, one that can't has its
//! default there, since that is what its absence means. Fields that the descriptors don't know are passed over, so a writer may
//! be newer, and older.

mod fields;
mod messages;
mod nested;
mod rows;
pub mod settings;
#[cfg(test)]
mod tests;

pub use rows::ProtobufRows;
pub use settings::ProtobufSettings;
