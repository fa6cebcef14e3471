//! Batches as bytes. An encoder and a decoder belong to one channel each, and keep its schema and dictionaries.
//!
//! The body of a batch, before compression:
//!
//! | bytes             | content                                                                                      |
//! |-------------------|----------------------------------------------------------------------------------------------|
//! | 0..4, 4..8        | rows; length *n* of the columns (u32 each)                                                   |
//! | 8..12, 12..16     | lengths of the key's column names and of the origin (u32 each)                               |
//! | 16..64            | 0                                                                                            |
//! | 64..64+*n*        | the columns: messages of an Arrow IPC stream, padded to 64 bytes each                        |
//! | 8 × rows          | split watermarks (i64), if the flag says so                                                  |
//! | 16 × rows         | key hashes (u128), if the flag says so                                                       |
//! | as said           | with the hashes: names of the key columns, each with its length (u32) before it              |
//! | as said           | the origin of the rows, as JSON                                                              |
//!
//! The schema goes with the first batch of a channel, and with the first after it has changed. A dictionary goes when it has
//! changed, or only what was added to it; one that is much larger than the batches that use it is cut to the values in use.
//! Only the rows of a slice are sent, and of view columns only the texts in use.
//!
//! Invariant: a decoder gives an error for anything that an encoder could not have written, and never panics. What it gives is
//! validated: no offset or dictionary key out of range, no text that is not UTF-8.

mod compact;
mod decoder;
mod encoder;
mod messages;

pub use decoder::BatchDecoder;
pub use encoder::{BatchEncoder, EncodedFrame};

/// Length of the fixed part before the columns.
const PREFIX_BYTES: usize = 64;

#[cfg(test)]
mod tests;
