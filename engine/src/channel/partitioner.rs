//! Which subtask a row goes to. The single law: every row goes to exactly one.

use crate::{
    element::{Batch, KeyHashes},
    error::Result,
    graph::Partitioner,
    hash::KeyHasher,
    key_group::{key_group_of, subtask_of},
};
use arrow::array::UInt32Array;
use std::sync::Arc;

/// A partitioner at work for one producing subtask.
pub struct RowPartitioner {
    rule: Rule,
    parallelism: usize,
    max_parallelism: u16,
}

enum Rule {
    /// Always the same subtask.
    One(usize),
    Hash {
        hasher: KeyHasher,
        key: Arc<[String]>,
    },
}

/// Parts of a batch, each with the subtask it goes to.
pub type Split = Vec<(usize, Batch)>;

impl RowPartitioner {
    /// For the producing subtask `subtask` and `parallelism` consuming ones.
    pub fn new(partitioner: &Partitioner, subtask: usize, parallelism: usize, max_parallelism: u16) -> Self {
        let rule = match partitioner {
            Partitioner::Forward => Rule::One(subtask),
            Partitioner::Hash { key } => Rule::Hash { hasher: KeyHasher::new(key.clone()), key: key.clone().into() },
        };
        RowPartitioner { rule, parallelism, max_parallelism }
    }

    /// Hashes the key while its columns are there. To be called before columns are dropped.
    ///
    /// # Errors
    /// When a key column is missing.
    pub fn hash(&mut self, mut batch: Batch) -> Result<Batch> {
        if let Rule::Hash { hasher, key } = &mut self.rule
            && batch.key_hashes_of(key).is_none()
        {
            let hashes = Arc::new(hasher.hash(&batch.columns)?);
            batch.key_hashes = Some(KeyHashes { columns: key.clone(), hashes });
        }
        Ok(batch)
    }

    /// Splits a hashed batch. Parts are in the order of subtasks, rows within a part in their former order.
    ///
    /// # Errors
    /// When the batch was not hashed.
    pub fn split(&self, batch: Batch) -> Result<Split> {
        let parallelism = self.parallelism;
        match &self.rule {
            Rule::One(subtask) => Ok(vec![(*subtask, batch)]),
            Rule::Hash { .. } if parallelism == 1 => Ok(vec![(0, batch)]),
            Rule::Hash { key, .. } => {
                let hashes = batch.key_hashes_of(key).ok_or_else(|| {
                    crate::error::EngineError::internal("a batch reached a hash edge without key hashes")
                })?;
                let rows = rows_by_subtask(hashes, parallelism, self.max_parallelism);
                let mut split = Vec::with_capacity(parallelism);
                for (subtask, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
                    split.push((subtask, batch.take(&UInt32Array::from(rows))?));
                }
                Ok(split)
            }
        }
    }
}

fn rows_by_subtask(hashes: &[u128], parallelism: usize, max_parallelism: u16) -> Vec<Vec<u32>> {
    let owners: Vec<u16> =
        (0..max_parallelism).map(|group| subtask_of(group, max_parallelism, parallelism) as u16).collect();
    // Written in any case, kept if it is the owner's: no branch that depends on the data.
    let mut rows: Vec<Vec<u32>> =
        vec![Vec::with_capacity(hashes.len() / parallelism + hashes.len() / 8 + 8); parallelism];
    for (row, hash) in hashes.iter().enumerate() {
        let owner = owners[usize::from(key_group_of(*hash, max_parallelism))];
        rows[usize::from(owner)].push(row as u32);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{Array, ArrayRef, AsArray, Int64Array},
        datatypes::Int64Type,
        record_batch::RecordBatch,
    };

    fn batch(rows: i64) -> Batch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        Batch::new(RecordBatch::try_from_iter([("n", column)]).unwrap())
    }

    fn values(split: &Split) -> Vec<i64> {
        let column = |batch: &Batch| batch.columns.column(0).as_primitive::<Int64Type>().values().to_vec();
        split.iter().flat_map(|(_, batch)| column(batch)).collect()
    }

    #[test]
    fn every_row_goes_to_the_owner_of_its_key_group_and_to_nobody_else() {
        for parallelism in [1, 2, 3, 8] {
            let mut partitioner =
                RowPartitioner::new(&Partitioner::Hash { key: vec!["n".into()] }, 0, parallelism, 128);
            let hashed = partitioner.hash(batch(1000)).unwrap();
            let split = partitioner.split(hashed).unwrap();
            let mut all = values(&split);
            all.sort_unstable();
            assert_eq!(all, (0..1000).collect::<Vec<_>>());
            for (subtask, part) in &split {
                for hash in part.key_hashes.as_ref().unwrap().hashes.iter() {
                    assert_eq!(subtask_of(key_group_of(*hash, 128), 128, parallelism), *subtask);
                }
            }
        }
    }

    #[test]
    fn forward_goes_to_the_subtask_of_the_same_number() {
        let forward = RowPartitioner::new(&Partitioner::Forward, 2, 3, 128);
        let split = forward.split(batch(2)).unwrap();
        assert_eq!((split[0].0, split[0].1.columns.column(0).len()), (2, 2));
    }
}
