//! Rows of several small splits on their way to be one batch: what a batch costs, each step of the job pays once for it, and
//! not once a file.
//!
//! Invariant: the rows come out as they were read, those of a split in their order, each with the watermark of its own split;
//! the batch says of every piece where it was read. What is gathered is bounded, whatever the splits hold.

use arrow::compute::concat_batches;
use std::sync::Arc;
use weir_engine::{
    element::{Batch, Origin, WATERMARK_MIN},
    error::Result,
};

/// With so many bytes of its splits a batch is large enough.
const ENOUGH_BYTES: u64 = 512 << 10;
/// Pieces of a batch at most: each is named where the rows of the batch are spoken of.
const MOST_PIECES: usize = 1_024;

/// Batches that have been read and not sent.
#[derive(Default)]
pub(super) struct Gathered {
    batches: Vec<Batch>,
    rows: usize,
    bytes: u64,
}

impl Gathered {
    /// Puts rows behind the others. All must have the same columns.
    pub(super) fn push(&mut self, batch: Batch) {
        self.rows += batch.len();
        self.bytes += batch.origin.as_ref().map_or(0, |origin| origin.to.saturating_sub(origin.from));
        self.batches.push(batch);
    }

    /// Whether more rows would make a better batch; `most_rows` make a whole one.
    pub(super) fn is_small(&self, most_rows: usize) -> bool {
        // A split has given at most as much as the first one already.
        let next = |sum: usize| sum + sum / self.batches.len().max(1);
        next(self.rows) <= most_rows && self.bytes < ENOUGH_BYTES && self.batches.len() < MOST_PIECES
    }

    /// All of them as one batch.
    pub(super) fn take(&mut self) -> Result<Option<Batch>> {
        let Gathered { mut batches, rows, .. } = std::mem::take(self);
        if batches.len() < 2 {
            return Ok(batches.pop());
        }
        let columns = concat_batches(batches[0].columns.schema_ref(), batches.iter().map(|batch| &batch.columns))?;
        let is_behind = batches.iter().any(|batch| batch.split_watermarks.is_some());
        let split_watermarks = is_behind.then(|| {
            let mut watermarks = Vec::with_capacity(rows);
            for batch in &batches {
                match &batch.split_watermarks {
                    Some(known) => watermarks.extend_from_slice(known),
                    // No row of it is behind, so this says the same.
                    None => watermarks.resize(watermarks.len() + batch.len(), WATERMARK_MIN),
                }
            }
            watermarks.into()
        });
        let origins = batches.into_iter().filter_map(|batch| batch.origin);
        let origin = origins.map(Arc::unwrap_or_clone).reduce(Origin::and).map(Arc::new);
        Ok(Some(Batch { split_watermarks, origin, ..Batch::new(columns) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;

    fn batch(split: &str, rows: &[i64], bytes: u64, watermarks: Option<&[i64]>) -> Batch {
        let column: ArrayRef = Arc::new(Int64Array::from(rows.to_vec()));
        let origin = Origin { source: "s".into(), split: split.into(), from: 0, to: bytes, ..Origin::default() };
        Batch {
            split_watermarks: watermarks.map(|watermarks| watermarks.to_vec().into()),
            origin: Some(Arc::new(origin)),
            ..Batch::new(RecordBatch::try_from_iter([("n", column)]).expect("rows"))
        }
    }

    #[test]
    fn rows_keep_their_order_their_watermarks_and_where_they_were_read() {
        let mut gathered = Gathered::default();
        gathered.push(batch("a", &[1, 2], 10, None));
        gathered.push(batch("b", &[3], 20, Some(&[30])));
        gathered.push(batch("c", &[4, 5], 30, None));
        let all = gathered.take().expect("it fits").expect("rows");
        assert_eq!(all.columns.column(0).as_primitive::<Int64Type>().values()[..], [1, 2, 3, 4, 5]);
        let min = WATERMARK_MIN;
        assert_eq!(all.split_watermarks.as_deref(), Some(&[min, min, 30, min, min][..]));
        let origin = all.origin.expect("known");
        let pieces: Vec<_> = origin.others.iter().map(|piece| (piece.split.as_str(), piece.from, piece.to)).collect();
        assert_eq!((origin.split.as_str(), origin.to, pieces), ("a", 10, vec![("b", 0, 20), ("c", 0, 30)]));
        assert!(gathered.take().expect("nothing").is_none(), "it is taken once");
    }

    #[test]
    fn where_no_row_is_behind_nothing_is_said_and_one_batch_stays_as_it_is() {
        let mut gathered = Gathered::default();
        gathered.push(batch("a", &[1], 10, Some(&[7])));
        let one = gathered.take().expect("it fits").expect("rows");
        assert_eq!((one.split_watermarks.as_deref(), one.origin.expect("known").others.len()), (Some(&[7][..]), 0));
        ["a", "b"].iter().for_each(|split| gathered.push(batch(split, &[1], 10, None)));
        assert!(gathered.take().expect("it fits").expect("rows").split_watermarks.is_none());
    }

    #[test]
    fn what_is_gathered_is_bounded_in_rows_bytes_and_pieces() {
        let pushed = |most_rows: usize, rows: &[i64], bytes: u64| {
            let mut gathered = Gathered::default();
            while gathered.is_small(most_rows) {
                gathered.push(batch("a", rows, bytes, None));
            }
            (gathered.batches.len(), gathered.rows)
        };
        assert_eq!(pushed(10, &[1, 2, 3], 1), (3, 9), "a fourth would be too many");
        assert_eq!(pushed(1_000_000, &[1], ENOUGH_BYTES / 4), (4, 4));
        assert_eq!(pushed(1_000_000, &[1], 1).0, MOST_PIECES);
        assert_eq!(pushed(2, &[1, 2, 3], 1), (1, 3), "one is a batch, however large");
    }
}
