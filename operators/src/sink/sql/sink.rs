//! The first phase: rows into the staging area of the checkpoint storage.
//!
//! Invariant: every row of a committable came between the same two barriers.

use super::{committable::StagedRows, config::SqlSinkConfig, staged_rows::Normaliser};
use crate::sink::staging_buffer::StagingBuffer;
use futures::{FutureExt, future::BoxFuture};
use std::time::Duration;
use weir_engine::{
    element::{Barrier, Batch},
    env::{Env, Moment},
    error::Result,
    ids::Attempt,
    operator::{Committable, OperatorContext, Sink},
};
use weir_store::Dialect;

/// A table that gets no rows is marked as fresh after this long: readers could not know otherwise.
const SILENCE: Duration = Duration::from_secs(2);

/// Stages rows for a table, in one subtask.
#[derive(Debug)]
pub struct SqlSink {
    normaliser: Normaliser,
    buffer: StagingBuffer,
    sink: String,
    attempt: Attempt,
    env: Env,
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
            buffer: StagingBuffer::new(context),
            sink: context.operator.clone(),
            attempt: context.attempt,
            env: context.env.clone(),
            spoken: None,
        })
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let rows = self.normaliser.normalise(&batch.columns).map_err(|error| error.context(&self.sink))?;
        self.buffer.push(rows).await
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
}

impl Sink for SqlSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.take(batch).boxed()
    }

    fn stage(&mut self, barrier: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let (rows, staged) = self.buffer.cut();
        let speaks = self.speaks(barrier, rows > 0);
        let (env, sink, attempt) = (self.env.clone(), self.sink.clone(), self.attempt);
        let staged_at_ms = env.cluster_clock_ms();
        async move {
            env.crash_point("sql_sink.staging")?;
            let parts = staged.await?;
            env.crash_point("sql_sink.staged")?;
            if !speaks {
                return Ok(Vec::new());
            }
            let parts = parts.into_iter().map(|part| part.file).collect();
            let staged = StagedRows { parts, rows, attempt, staged_at_ms, last: barrier.last };
            Ok(vec![staged.into_committable(&sink, barrier.checkpoint)?])
        }
        .boxed()
    }
}
