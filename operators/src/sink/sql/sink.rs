//! The first phase: rows into the staging area of the checkpoint storage.
//!
//! Invariant: every row of a committable came between the same two barriers.

use super::{
    committable::StagedRows,
    config::SqlSinkConfig,
    staged_rows::{self, Normaliser},
};
use arrow::array::RecordBatch;
use futures::{FutureExt, future::BoxFuture};
use std::time::Duration;
use weir_engine::{
    checkpoint::{Staging, manifest::FileRef},
    element::{Barrier, Batch},
    env::{Env, Moment},
    error::Result,
    ids::Attempt,
    operator::{Committable, OperatorContext, Sink},
};
use weir_store::Dialect;

/// Rows that take more memory than this are staged before the barrier comes.
const PART_BYTES: usize = 16 << 20;

/// A table that gets no rows is marked as fresh after this long: readers could not know otherwise.
const SILENCE: Duration = Duration::from_secs(2);

/// Stages rows for a table, in one subtask.
#[derive(Debug)]
pub struct SqlSink {
    normaliser: Normaliser,
    staging: Staging,
    sink: String,
    subtask: usize,
    attempt: Attempt,
    env: Env,
    /// Rows that wait for the barrier, and what they take.
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    pending_rows: u64,
    /// Files staged since the last barrier, and the rows in them.
    parts: Vec<FileRef>,
    rows: u64,
    /// Number of the next file of this attempt.
    next: u64,
    /// When something was staged; none: nothing by this attempt.
    spoken: Option<Moment>,
}

impl SqlSink {
    /// For one subtask.
    ///
    /// # Errors
    /// When the URL is of no database that is known.
    pub fn new(config: SqlSinkConfig, context: &OperatorContext) -> Result<Self> {
        let replaces_zero = Dialect::of(&config.url)? == Dialect::Postgres;
        Ok(SqlSink {
            normaliser: Normaliser::new(config, replaces_zero),
            staging: context.staging.clone(),
            sink: context.operator.clone(),
            subtask: context.subtask,
            attempt: context.attempt,
            env: context.env.clone(),
            pending: Vec::new(),
            pending_bytes: 0,
            pending_rows: 0,
            parts: Vec::new(),
            rows: 0,
            next: 0,
            spoken: None,
        })
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let rows = self.normaliser.normalise(&batch.columns).map_err(|error| error.context(&self.sink))?;
        self.pending_bytes += rows.get_array_memory_size();
        self.pending_rows += rows.num_rows() as u64;
        self.pending.push(rows);
        if self.pending_bytes >= PART_BYTES {
            let part = self.part();
            self.parts.push(part.await?);
        }
        Ok(())
    }

    /// Whether something is to be committed with this barrier: rows; that there are none, after a silence; that this attempt has
    /// begun, or ended.
    fn speaks(&mut self, barrier: Barrier, has_rows: bool) -> bool {
        let now = self.env.now();
        let is_due = self.spoken.is_none_or(|spoken| now >= spoken + SILENCE);
        let speaks = has_rows || barrier.last || is_due;
        if speaks {
            self.spoken = Some(now);
        }
        speaks
    }

    /// Stages what is pending as a file of its own.
    fn part(&mut self) -> BoxFuture<'static, Result<FileRef>> {
        let pending = std::mem::take(&mut self.pending);
        self.rows += std::mem::take(&mut self.pending_rows);
        self.pending_bytes = 0;
        let name = format!("{}-{}.arrow", self.subtask, self.next);
        self.next += 1;
        let (staging, env, attempt) = (self.staging.clone(), self.env.clone(), self.attempt);
        async move {
            let content = env.run_blocking(move || staged_rows::encode(&pending)).await?;
            staging.put(&env, attempt, &name, content).await
        }
        .boxed()
    }
}

impl Sink for SqlSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.take(batch).boxed()
    }

    fn stage(&mut self, barrier: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let last = (!self.pending.is_empty()).then(|| self.part());
        let mut parts = std::mem::take(&mut self.parts);
        let rows = std::mem::take(&mut self.rows);
        let speaks = self.speaks(barrier, rows > 0);
        let (env, sink, attempt) = (self.env.clone(), self.sink.clone(), self.attempt);
        let staged_at_ms = env.cluster_clock_ms();
        async move {
            env.crash_point("sql_sink.staging")?;
            if let Some(last) = last {
                parts.push(last.await?);
            }
            env.crash_point("sql_sink.staged")?;
            if !speaks {
                return Ok(Vec::new());
            }
            let staged = StagedRows { parts, rows, attempt, staged_at_ms, last: barrier.last };
            Ok(vec![staged.into_committable(&sink, barrier.checkpoint)?])
        }
        .boxed()
    }
}
