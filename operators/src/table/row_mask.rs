//! One bit for each row of a batch: the rows that an operator keeps.

use arrow::buffer::{BooleanBuffer, Buffer};

/// A set of rows of one batch, cheap to fill in a loop and handed to a filter without a copy.
#[derive(Debug, Clone)]
pub struct RowMask {
    words: Vec<u64>,
    rows: usize,
}

impl RowMask {
    /// No row of a batch of `rows` rows.
    pub fn none(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)], rows }
    }

    /// Adds a row.
    #[inline(always)]
    pub fn insert(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    /// Adds a row if `is_in`, without a branch.
    #[inline(always)]
    pub fn insert_if(&mut self, row: usize, is_in: bool) {
        self.words[row / 64] |= u64::from(is_in) << (row % 64);
    }

    /// True when the row is in the set.
    pub fn contains(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// Number of rows in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Number of rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The bits as Arrow's kernels want them.
    pub fn into_boolean_buffer(self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(self.words), 0, self.rows)
    }
}
