//! What tells one row from another, so that a server knows one that it has got before.
//!
//! A result's key is its record id and its revision, which are the same in every run. An event has no id of its own: its key is made from
//! where it was staged, by an attempt whose number is used once in a checkpoint storage.

use crate::columns::{RECORD_ID, REVISION};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use uuid::Uuid;
use weir_engine::error::Result;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The member of a row's object that has its key.
pub(super) const MEMBER: &str = "idempotency_key";

/// Makes the keys of rows that are staged one after the other.
#[derive(Debug)]
pub(super) struct RowKeys {
    /// The hash of what all rows of an instance have in common.
    place: u128,
    next: u64,
}

impl RowKeys {
    /// `place` is different for every instance of a sink that ever stages anything.
    pub fn of(place: &[&str]) -> Self {
        RowKeys { place: hash_of(place), next: 0 }
    }

    /// The keys of the next rows.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn of_rows(&mut self, rows: &RecordBatch) -> Result<Vec<String>> {
        let ids = rows.column_by_name(RECORD_ID).and_then(|ids| ids.as_fixed_size_binary_opt());
        let revisions = rows.column_by_name(REVISION).map(|column| cast(column, &DataType::Int64)).transpose()?;
        let revisions = revisions.as_ref().and_then(|column| column.as_primitive_opt::<Int64Type>());
        let result = |row: usize| {
            let (ids, revisions) = ids.zip(revisions)?;
            let id = Uuid::from_slice(ids.is_valid(row).then(|| ids.value(row))?).ok()?;
            Some(format!("{id}-{}", revisions.is_valid(row).then(|| revisions.value(row))?))
        };
        let mut keys = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            keys.push(result(row).unwrap_or_else(|| self.of_event(self.next + row as u64)));
        }
        self.next += rows.num_rows() as u64;
        Ok(keys)
    }

    fn of_event(&self, number: u64) -> String {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.place.to_le_bytes());
        bytes[16..].copy_from_slice(&number.to_le_bytes());
        uuid_of(xxh3_128(&bytes))
    }
}

/// The key of rows that are sent together.
pub(super) fn of_batch<'a>(job: &str, sink: &str, keys: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Xxh3::new();
    feed(&mut hasher, job);
    feed(&mut hasher, sink);
    keys.into_iter().for_each(|key| feed(&mut hasher, key));
    uuid_of(hasher.digest128())
}

fn hash_of(texts: &[&str]) -> u128 {
    let mut hasher = Xxh3::new();
    texts.iter().for_each(|text| feed(&mut hasher, text));
    hasher.digest128()
}

fn feed(hasher: &mut Xxh3, text: &str) {
    hasher.update(text.as_bytes());
    // No text has such a byte.
    hasher.update(&[0xff]);
}

fn uuid_of(hash: u128) -> String {
    Uuid::new_v8(hash.to_be_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::conformance;
    use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int32Array};
    use std::{collections::BTreeSet, sync::Arc};

    #[test]
    fn a_result_has_the_key_that_it_has_in_every_run() {
        let ids = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 16], [1; 16]].into_iter()).unwrap();
        let columns: [(&str, ArrayRef); 2] =
            [("record_id", Arc::new(ids)), ("revision", Arc::new(Int32Array::from(vec![0, -3])))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let expected = ["abababab-abab-abab-abab-abababababab-0", "01010101-0101-0101-0101-010101010101--3"];
        for place in ["a", "b"] {
            assert_eq!(RowKeys::of(&[place]).of_rows(&rows).unwrap(), expected);
        }
    }

    #[test]
    fn no_two_events_have_one_key() {
        let mut all = BTreeSet::new();
        for place in [["a", "bc"], ["ab", "c"], ["a", "bd"]] {
            let mut keys = RowKeys::of(&place);
            for _ in 0..2 {
                all.extend(keys.of_rows(&conformance::rows(0..100).columns).unwrap());
            }
        }
        assert_eq!(all.len(), 600);
    }

    #[test]
    fn a_batch_has_the_key_of_its_rows() {
        let of = |keys: &[&str]| of_batch("job", "sink.a", keys.iter().copied());
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        let others = [of(&["b", "a"]), of(&["ab"]), of(&["a"]), of_batch("job", "sink.b", ["a", "b"])];
        assert!(!others.contains(&of(&["a", "b"])));
        // Golden: a server may remember it for days.
        assert_eq!(of(&["a", "b"]).len(), 36);
    }
}
