//! What one subtask of a sink holds between two barriers, as files of the staging area: rows wait in memory until the barrier comes,
//! and are staged before it where they are many.
//!
//! Invariant: the rows of a [cut](StagingBuffer::cut) came between the same two barriers; files have their order.

use super::staged_batches;
use arrow::array::RecordBatch;
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use weir_engine::{
    checkpoint::{Staging, manifest::FileRef},
    env::Env,
    error::Result,
    ids::Attempt,
    operator::OperatorContext,
};

/// Rows that take more memory than this are staged before the barrier comes.
const PART_BYTES: usize = 16 << 20;

/// A staged file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedPart {
    pub file: FileRef,
    /// Rows in it.
    pub rows: u64,
}

/// Rows since the last barrier.
#[derive(Debug)]
pub(super) struct StagingBuffer {
    staging: Staging,
    subtask: usize,
    attempt: Attempt,
    env: Env,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    pending_rows: u64,
    /// Files of rows that are not in memory any more.
    parts: Vec<StagedPart>,
    /// Number of the next file of this attempt.
    next: u64,
}

impl StagingBuffer {
    /// Of one subtask.
    pub fn new(context: &OperatorContext) -> Self {
        StagingBuffer {
            staging: context.staging.clone(),
            subtask: context.subtask,
            attempt: context.attempt,
            env: context.env.clone(),
            pending: Vec::new(),
            pending_bytes: 0,
            pending_rows: 0,
            parts: Vec::new(),
            next: 0,
        }
    }

    /// Takes rows; waits where there are many.
    ///
    /// # Errors
    /// When storage refuses.
    pub async fn push(&mut self, rows: RecordBatch) -> Result<()> {
        let bytes = rows.get_array_memory_size();
        // The rows of a file are one array, in which there may be no room for others beside large ones.
        if bytes >= PART_BYTES && !self.pending.is_empty() {
            self.stage_part().await?;
        }
        self.pending_bytes += bytes;
        self.pending_rows += rows.num_rows() as u64;
        self.pending.push(rows);
        if self.pending_bytes >= PART_BYTES {
            self.stage_part().await?;
        }
        Ok(())
    }

    async fn stage_part(&mut self) -> Result<()> {
        let part = self.part();
        self.parts.push(part.await?);
        Ok(())
    }

    /// A barrier passed: how many rows came since the one before. They are durable when the future has the files, which runs beside
    /// further rows.
    pub fn cut(&mut self) -> (u64, BoxFuture<'static, Result<Vec<StagedPart>>>) {
        let rows = self.pending_rows + self.parts.iter().map(|part| part.rows).sum::<u64>();
        let last = (!self.pending.is_empty()).then(|| self.part());
        let mut parts = std::mem::take(&mut self.parts);
        let staged = async move {
            if let Some(last) = last {
                parts.push(last.await?);
            }
            Ok(parts)
        };
        (rows, staged.boxed())
    }

    /// Stages what is pending as a file of its own.
    fn part(&mut self) -> BoxFuture<'static, Result<StagedPart>> {
        let pending = std::mem::take(&mut self.pending);
        let rows = std::mem::take(&mut self.pending_rows);
        self.pending_bytes = 0;
        let name = format!("{}-{}.arrow", self.subtask, self.next);
        self.next += 1;
        let (staging, env, attempt) = (self.staging.clone(), self.env.clone(), self.attempt);
        async move {
            let content = env.run_blocking(move || staged_batches::encode(&pending)).await?;
            Ok(StagedPart { file: staging.put(&env, attempt, &name, content).await?, rows })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::{ops::Range, sync::Arc};

    fn rows(numbers: Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[tokio::test]
    async fn a_large_batch_is_a_file_of_its_own() {
        let context = OperatorContext::single("job", "sink.x");
        let mut buffer = StagingBuffer::new(&context);
        let many = (PART_BYTES / 8) as i64;
        buffer.push(rows(0..5)).await.unwrap();
        buffer.push(rows(5..5 + many)).await.unwrap();
        buffer.push(rows(0..1)).await.unwrap();
        let (_, staged) = buffer.cut();
        let parts = staged.await.unwrap();
        assert_eq!(parts.iter().map(|part| part.rows).collect::<Vec<_>>(), [5, many as u64, 1]);
    }

    #[tokio::test]
    async fn a_cut_has_what_came_since_the_one_before_in_its_order() {
        let context = OperatorContext::single("job", "sink.x");
        let mut buffer = StagingBuffer::new(&context);
        let many = (PART_BYTES / 8) as i64;
        buffer.push(rows(0..many)).await.unwrap();
        buffer.push(rows(many..many + 10)).await.unwrap();
        buffer.push(rows(many + 10..many + 12)).await.unwrap();
        let (count, staged) = buffer.cut();
        // What comes after the barrier is not in it, although its files are not written yet.
        buffer.push(rows(0..3)).await.unwrap();
        let parts = staged.await.unwrap();
        assert_eq!(count, many as u64 + 12);
        assert_eq!(parts.iter().map(|part| part.rows).collect::<Vec<_>>(), [many as u64, 12]);
        let content = context.staging.get(&parts[1].file).await.unwrap().unwrap();
        assert_eq!(staged_batches::decode("x", content).unwrap(), [rows(many..many + 12)]);
        let (count, staged) = buffer.cut();
        assert_eq!((count, staged.await.unwrap().len()), (3, 1));
        let (count, staged) = buffer.cut();
        assert_eq!((count, staged.await.unwrap().len()), (0, 0));
    }
}
