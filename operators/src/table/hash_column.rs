//! Hashes, or record ids, as a column of 16 bytes each: as they lie in memory, little-endian on every platform that Weir supports.

use arrow::{
    array::{ArrayRef, AsArray, FixedSizeBinaryArray},
    buffer::Buffer,
};
use std::sync::Arc;
use weir_engine::Result;

/// The column of these hashes.
///
/// # Errors
/// Never.
pub fn hash_column(hashes: Vec<u128>) -> Result<ArrayRef> {
    Ok(Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(hashes), None)?))
}

/// The hashes in a column. None where one is missing, or it is another column.
pub fn hashes_in(column: &ArrayRef) -> Option<Vec<u128>> {
    let to_hash = |bytes: Option<&[u8]>| bytes?.try_into().ok().map(u128::from_le_bytes);
    column.as_fixed_size_binary_opt()?.iter().map(to_hash).collect()
}
