//! A batch: columns, and what travels with each row beside them.

use super::Origin;
use crate::error::Result;
use arrow::{
    array::{BooleanArray, UInt32Array},
    buffer::ScalarBuffer,
    compute,
    record_batch::RecordBatch,
};
use std::sync::Arc;

/// Rows in columns. Cheap to clone.
///
/// Invariant: every attachment has exactly one entry a row.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rows.
    pub columns: RecordBatch,
    /// The watermark of each row's own split just before the row, in milliseconds; `None` where no row of the batch is
    /// behind it, so that none can be late.
    pub split_watermarks: Option<ScalarBuffer<i64>>,
    /// Key hashes computed at an exchange, so that a key is hashed once.
    pub key_hashes: Option<KeyHashes>,
    /// Where the rows were read, as far as they come straight from there.
    pub origin: Option<Arc<Origin>>,
}

/// The key hash of every row, and of which columns.
#[derive(Clone, Debug)]
pub struct KeyHashes {
    /// The key columns, in order.
    pub columns: Arc<[String]>,
    /// One hash a row.
    pub hashes: Arc<Vec<u128>>,
}

impl Batch {
    /// Rows with nothing beside them.
    pub fn new(columns: RecordBatch) -> Self {
        Batch { columns, split_watermarks: None, key_hashes: None, origin: None }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.columns.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key hashes, if those of exactly these columns were carried along.
    pub fn key_hashes_of(&self, columns: &[String]) -> Option<&Arc<Vec<u128>>> {
        self.key_hashes.as_ref().filter(|key| *key.columns == *columns).map(|key| &key.hashes)
    }

    /// The same attachments on other columns of the same rows.
    #[must_use]
    pub fn with_columns(&self, columns: RecordBatch) -> Self {
        debug_assert_eq!(columns.num_rows(), self.len());
        Batch { columns, ..self.clone() }
    }

    /// The rows where `keep` is true.
    ///
    /// # Errors
    /// When the mask has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self> {
        let kept = keep.true_count();
        if kept == self.len() {
            return Ok(self.clone());
        }
        let columns = compute::filter_record_batch(&self.columns, keep)?;
        let rows = || keep.iter().enumerate().filter(|(_, keep)| *keep == Some(true)).map(|(row, _)| row);
        let split_watermarks = self.split_watermarks.as_ref().map(|all| rows().map(|row| all[row]).collect());
        let key_hashes = self.key_hashes.as_ref().map(|key| KeyHashes {
            columns: key.columns.clone(),
            hashes: Arc::new(rows().map(|row| key.hashes[row]).collect()),
        });
        Ok(Batch { columns, split_watermarks, key_hashes, origin: self.origin.clone() })
    }

    /// The rows at `rows`, in that order.
    ///
    /// # Errors
    /// When a row number is out of range.
    pub fn take(&self, rows: &UInt32Array) -> Result<Self> {
        let columns = compute::take_record_batch(&self.columns, rows)?;
        let at = || rows.values().iter().map(|row| *row as usize);
        let split_watermarks = self.split_watermarks.as_ref().map(|all| at().map(|row| all[row]).collect());
        let key_hashes = self.key_hashes.as_ref().map(|key| KeyHashes {
            columns: key.columns.clone(),
            hashes: Arc::new(at().map(|row| key.hashes[row]).collect()),
        });
        Ok(Batch { columns, split_watermarks, key_hashes, origin: self.origin.clone() })
    }

    /// A run of rows, without copying the columns.
    #[must_use]
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Batch {
            columns: self.columns.slice(offset, length),
            split_watermarks: self.split_watermarks.as_ref().map(|all| all.slice(offset, length)),
            key_hashes: self.key_hashes.as_ref().map(|key| KeyHashes {
                columns: key.columns.clone(),
                hashes: Arc::new(key.hashes[offset..offset + length].to_vec()),
            }),
            origin: self.origin.clone(),
        }
    }

    /// Bytes in memory, shared buffers counted in full: what a channel's credit is counted in.
    pub fn bytes(&self) -> usize {
        let rows = self.len();
        let beside =
            if self.split_watermarks.is_some() { 8 } else { 0 } + if self.key_hashes.is_some() { 16 } else { 0 };
        let columns: usize = self.columns.columns().iter().map(|column| column_bytes(column.as_ref())).sum();
        columns + rows * beside
    }
}

/// What a column would cost to move: fixed-width values and keys by their width, texts by an estimate of their length.
///
/// `get_array_memory_size` would count a shared dictionary, or the whole buffer behind a slice, for every batch.
fn column_bytes(column: &dyn arrow::array::Array) -> usize {
    let rows = column.len();
    match column.data_type() {
        arrow::datatypes::DataType::Dictionary(key, _) => rows * key.primitive_width().unwrap_or(4),
        other => match other.primitive_width() {
            Some(width) => rows * width,
            None => column.to_data().get_slice_memory_size().unwrap_or(rows * 16),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    fn batch() -> Batch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![10, 11, 12, 13]));
        Batch {
            columns: RecordBatch::try_from_iter([("n", column)]).unwrap(),
            split_watermarks: Some(vec![0, 1, 2, 3].into()),
            key_hashes: Some(KeyHashes { columns: vec!["n".to_string()].into(), hashes: Arc::new(vec![5, 6, 7, 8]) }),
            origin: None,
        }
    }

    fn check(batch: &Batch, rows: &[i64]) {
        let column: ArrayRef = Arc::new(Int64Array::from(rows.iter().map(|row| 10 + row).collect::<Vec<_>>()));
        assert_eq!(batch.columns.column(0), &column);
        assert_eq!(batch.split_watermarks.as_ref().unwrap()[..], *rows);
        let hashes: Vec<u128> = rows.iter().map(|row| 5 + *row as u128).collect();
        assert_eq!(**batch.key_hashes_of(&["n".to_string()]).unwrap(), hashes);
    }

    #[test]
    fn attachments_follow_their_rows() {
        let all = batch();
        check(&all.filter(&BooleanArray::from(vec![true, false, false, true])).unwrap(), &[0, 3]);
        check(&all.filter(&BooleanArray::from(vec![Some(true), None, Some(true), Some(false)])).unwrap(), &[0, 2]);
        check(&all.take(&UInt32Array::from(vec![3, 3, 0])).unwrap(), &[3, 3, 0]);
        check(&all.slice(1, 2), &[1, 2]);
        assert!(all.key_hashes_of(&["m".to_string()]).is_none());
    }
}
