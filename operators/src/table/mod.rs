//! The hash tables of the keyed operators: sets and groupings of 128-bit key hashes, built for batches of thousands of rows.
//!
//! Invariant shared by all of them: entries live in arrays in the order of their arrival, and only the index beside the
//! arrays is hashed. Iteration is therefore deterministic, growing never moves an entry, and what a checkpoint hands over
//! is a piece of an array. A hash is trusted as the identity of its key (128 bits: below 10⁻¹⁸ for a collision among ten
//! billion keys), so a key is compared once, by its hash.
//!
//! Slots are chosen by the upper half of a hash, key groups by `hash % max_parallelism`, that is by the lowest bits: a
//! subtask that owns a few key groups still fills its tables evenly.

mod changed_groups;
mod group_table;
mod hash_column;
mod id_log;
mod key_columns;
mod own_rows;
mod prefetch;
mod row_mask;
mod rows_by_bucket;
mod tag_index;
#[cfg(test)]
mod tests;
mod text_bytes;

pub(crate) use changed_groups::ChangedGroups;
pub use group_table::GroupTable;
pub use hash_column::{hash_column, hashes_in};
pub use id_log::IdLog;
pub use key_columns::{KeyColumns, can_be_key, plain_key_type, plain_keys};
pub use own_rows::own_rows;
pub use row_mask::RowMask;
pub use rows_by_bucket::{Rows, RowsByBucket};
pub(crate) use text_bytes::longest_texts;

/// A table has reached its 1.3 billion entries (5/8 of 2³¹); a batch that might exceed them is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a state table of one subtask is full ({entries} entries): raise the parallelism so that each subtask holds fewer keys"
)]
pub struct TableFull {
    /// Entries held when the batch was refused.
    pub entries: usize,
}
