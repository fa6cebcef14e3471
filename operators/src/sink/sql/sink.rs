//! The first phase: rows into the staging area of the checkpoint storage.
//!
//! Invariant: every row of a committable came between the same two barriers.

use super::{committable::StagedRows, config::SqlSinkConfig, staged_rows::Normaliser};
use crate::sink::{
    json_rows::{PIECE_BYTES, pieces},
    staging_buffer::StagingBuffer,
};
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
        for rows in pieces(&batch.columns, PIECE_BYTES) {
            let rows = self.normaliser.normalise(&rows).map_err(|error| error.context(&self.sink))?;
            self.buffer.push(rows).await?;
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

#[cfg(test)]
mod tests {
    use super::{super::config::SqlColumn, *};
    use crate::sink::staged_batches::decode;
    use arrow::{
        array::{ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch},
        datatypes::{Int32Type, Int64Type},
    };
    use std::sync::Arc;
    use weir_engine::ids::CheckpointId;
    use weir_store::SqlType;

    fn config() -> SqlSinkConfig {
        let column = |name: &str, sql_type| SqlColumn { name: name.into(), sql_type };
        SqlSinkConfig {
            url: "sqlite:x".into(),
            table: "t".into(),
            columns: vec![column("n", SqlType::BigInt), column("text", SqlType::Text)],
            key: vec!["n".into()],
            revision: None,
            withdrawn: None,
            newest_by: None,
            indexes: vec![],
            retention: None,
            description: Default::default(),
        }
    }

    #[tokio::test]
    async fn a_text_that_many_rows_share_is_staged_in_several_files() {
        let long = "x".repeat(100_000);
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..400));
        let texts: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter((0..400).map(|_| Some(long.as_str()))));
        let rows = RecordBatch::try_from_iter([("n", numbers), ("text", texts)]).unwrap();
        let context = OperatorContext::single("job", "sink.x");
        let mut sink = SqlSink::new(config(), &context).unwrap();
        sink.write(Batch::new(rows)).await.unwrap();
        let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
        let parts = StagedRows::from_committable(&staged[0]).unwrap().parts;
        assert!(parts.len() > 1, "40 MB in {} files", parts.len());
        let mut found = Vec::new();
        for part in parts {
            let content = context.staging.get(&part).await.unwrap().unwrap();
            for batch in decode(&part.path, content).unwrap() {
                assert!(batch.column(1).as_string::<i32>().iter().all(|text| text == Some(long.as_str())));
                found.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
            }
        }
        assert_eq!(found, (0..400).collect::<Vec<_>>());
    }
}
