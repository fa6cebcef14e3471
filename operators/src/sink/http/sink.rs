//! The first phase: rows become JSON objects with their keys, and go into the staging area of the checkpoint storage.
//!
//! Invariant: a row is what will be posted, byte for byte, before its checkpoint is complete.

use super::{
    committable::{Part, StagedRows},
    row_keys::{MEMBER, RowKeys},
};
use crate::sink::{json_rows, staged_batches};
use arrow::{
    array::{Array, ArrayRef, BinaryBuilder, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field, Fields},
};
use futures::{FutureExt, future::BoxFuture};
use std::sync::Arc;
use weir_engine::{
    checkpoint::Staging,
    element::{Barrier, Batch},
    env::Env,
    error::Result,
    ids::Attempt,
    operator::{Committable, OperatorContext, Sink},
};

/// Rows that take more memory than this are staged before the barrier comes.
const PART_BYTES: usize = 8 << 20;

/// Stages rows for a server, in one subtask.
#[derive(Debug)]
pub struct HttpSink {
    staging: Staging,
    job: String,
    sink: String,
    subtask: usize,
    attempt: Attempt,
    env: Env,
    /// Made with the first rows.
    keys: Option<RowKeys>,
    /// Rows that wait for the barrier, and what they take.
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    pending_rows: u64,
    /// Files staged since the last barrier.
    parts: Vec<Part>,
    /// Number of the next file of this attempt.
    next: u64,
}

impl HttpSink {
    /// For one subtask.
    pub fn new(context: &OperatorContext) -> Self {
        HttpSink {
            staging: context.staging.clone(),
            job: context.job.clone(),
            sink: context.operator.clone(),
            subtask: context.subtask,
            attempt: context.attempt,
            env: context.env.clone(),
            keys: None,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_rows: 0,
            parts: Vec::new(),
            next: 0,
        }
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut keys = match self.keys.take() {
            Some(keys) => keys,
            None => self.new_keys().await?,
        };
        let rows = encode(&batch.columns, &mut keys).map_err(|error| error.context(&self.sink))?;
        self.keys = Some(keys);
        self.pending_bytes += rows.get_array_memory_size();
        self.pending_rows += rows.num_rows() as u64;
        self.pending.push(rows);
        if self.pending_bytes >= PART_BYTES {
            let part = self.part();
            self.parts.push(part.await?);
        }
        Ok(())
    }

    /// Of this subtask of this attempt, whose number is used once in its storage.
    async fn new_keys(&self) -> Result<RowKeys> {
        let storage = self.staging.identity().await?;
        let (attempt, subtask) = (self.attempt.to_string(), self.subtask.to_string());
        Ok(RowKeys::of(&[&storage, &self.job, &self.sink, &attempt, &subtask]))
    }

    /// Stages what is pending as a file of its own.
    fn part(&mut self) -> BoxFuture<'static, Result<Part>> {
        let pending = std::mem::take(&mut self.pending);
        let rows = std::mem::take(&mut self.pending_rows);
        self.pending_bytes = 0;
        let name = format!("{}-{}.arrow", self.subtask, self.next);
        self.next += 1;
        let (staging, env, attempt) = (self.staging.clone(), self.env.clone(), self.attempt);
        async move {
            let content = env.run_blocking(move || staged_batches::encode(&pending)).await?;
            Ok(Part { file: staging.put(&env, attempt, &name, content).await?, rows })
        }
        .boxed()
    }
}

/// The key and the object of each row. A column of the rows' own that is called as the key's member is left as it is.
fn encode(rows: &RecordBatch, keys: &mut RowKeys) -> Result<RecordBatch> {
    let keys = StringArray::from(keys.of_rows(rows)?);
    let (fields, mut columns, _) = json_rows::readable(rows)?.into_parts();
    let mut fields: Vec<Arc<Field>> = fields.iter().cloned().collect();
    if fields.iter().all(|field| field.name() != MEMBER) {
        fields.push(Arc::new(Field::new(MEMBER, DataType::Utf8, false)));
        columns.push(Arc::new(keys.clone()));
    }
    let objects = StructArray::try_new_with_length(Fields::from(fields), columns, None, rows.num_rows())?;
    let mut values = BinaryBuilder::with_capacity(objects.len(), 0);
    json_rows::each(&objects, &mut |value| {
        values.append_value(value);
        Ok(())
    })?;
    let columns: [(&str, ArrayRef); 2] = [("key", Arc::new(keys)), ("value", Arc::new(values.finish()))];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, false)))?)
}

impl Sink for HttpSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.take(batch).boxed()
    }

    fn stage(&mut self, barrier: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let last = (!self.pending.is_empty()).then(|| self.part());
        let mut parts = std::mem::take(&mut self.parts);
        let (env, sink) = (self.env.clone(), self.sink.clone());
        async move {
            env.crash_point("http_sink.staging")?;
            if let Some(last) = last {
                parts.push(last.await?);
            }
            env.crash_point("http_sink.staged")?;
            if parts.is_empty() {
                return Ok(Vec::new());
            }
            Ok(vec![StagedRows { parts }.into_committable(&sink, barrier.checkpoint)?])
        }
        .boxed()
    }
}
