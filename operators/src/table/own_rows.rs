//! Stored rows with a hash in front, after a change of parallelism: which of them belong to a subtask.

use super::hashes_in;
use arrow::{
    array::{ArrayRef, UInt32Array},
    compute::take_record_batch,
    datatypes::{Field, SchemaRef},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    Result,
    key_group::{KeyGroupRange, key_group_of},
};

/// The rows of these key groups, and their hashes, which the first column has. None where the columns are not of the schema's
/// types, or a hash is missing.
///
/// # Errors
/// Only by a mistake of ours.
pub fn own_rows(
    schema: &SchemaRef,
    stored: &RecordBatch,
    key_groups: KeyGroupRange,
    max_parallelism: u16,
) -> Result<Option<(Vec<u128>, RecordBatch)>> {
    let has_types = |(column, field): (&ArrayRef, &Arc<Field>)| column.data_type() == field.data_type();
    let fits =
        stored.num_columns() == schema.fields().len() && stored.columns().iter().zip(schema.fields()).all(has_types);
    let Some(hashes) = stored.columns().first().filter(|_| fits).and_then(hashes_in) else { return Ok(None) };
    let is_own = |row: &u32| key_groups.contains(key_group_of(hashes[*row as usize], max_parallelism));
    let own: Vec<u32> = (0..hashes.len() as u32).filter(is_own).collect();
    let of_own = own.iter().map(|row| hashes[*row as usize]).collect();
    Ok(Some((of_own, take_record_batch(stored, &UInt32Array::from(own))?)))
}
