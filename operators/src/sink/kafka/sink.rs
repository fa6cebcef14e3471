//! The first phase: rows become records, and go into the staging area of the checkpoint storage.
//!
//! Invariant: every record of a committable came between the same two barriers.

use super::{
    committable::{Part, StagedRecords},
    config::KafkaSinkConfig,
    encoder::EncodedRows,
    records::{Record, RecordsBuilder, batch_bytes, kept, too_large},
    spread::Spread,
    topic::TopicWatch,
};
use crate::sink::staged_batches;
use arrow::array::RecordBatch;
use futures::{FutureExt, future::BoxFuture};
use weir_engine::{
    checkpoint::Staging,
    element::{Barrier, Batch},
    env::Env,
    error::Result,
    ids::Attempt,
    operator::{Committable, OperatorContext, Sink},
};
use weir_kafka::Topic;

/// Records that take more memory than this are staged before the barrier comes.
const PART_BYTES: usize = 16 << 20;

/// Stages records for a topic, in one subtask.
#[derive(Debug)]
pub struct KafkaSink {
    config: KafkaSinkConfig,
    topic: TopicWatch,
    spread: Spread,
    staging: Staging,
    sink: String,
    subtask: usize,
    attempt: Attempt,
    env: Env,
    /// Records that wait for the barrier, and what they take.
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    pending_rows: u64,
    /// Files staged since the last barrier.
    parts: Vec<Part>,
    /// One more than the highest partition since then.
    partitions: i32,
    /// Number of the next file of this attempt.
    next: u64,
    /// Whether a record that is too large was spoken of.
    warned: bool,
}

impl KafkaSink {
    /// For one subtask.
    pub fn new(config: KafkaSinkConfig, context: &OperatorContext) -> Self {
        KafkaSink {
            topic: TopicWatch::new(config.clone(), context.env.clone()),
            spread: Spread::of(context.subtask),
            config,
            staging: context.staging.clone(),
            sink: context.operator.clone(),
            subtask: context.subtask,
            attempt: context.attempt,
            env: context.env.clone(),
            pending: Vec::new(),
            pending_bytes: 0,
            pending_rows: 0,
            parts: Vec::new(),
            partitions: 0,
            next: 0,
            warned: false,
        }
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let topic = self.topic.current().await.map_err(|error| error.context(&self.sink))?;
        let records = self.encode(&batch.columns, &topic).map_err(|error| error.context(&self.sink))?;
        self.pending_bytes += records.get_array_memory_size();
        self.pending_rows += records.num_rows() as u64;
        self.pending.push(records);
        if self.pending_bytes >= PART_BYTES {
            let part = self.part();
            self.parts.push(part.await?);
        }
        Ok(())
    }

    fn encode(&mut self, rows: &RecordBatch, topic: &Topic) -> Result<RecordBatch> {
        let rows_encoded = EncodedRows::new(&self.config, rows)?;
        let mut records = RecordsBuilder::new(rows.num_rows());
        rows_encoded.each(|row| {
            let partition = self.spread.partition(row.key, row.record_id, topic.partitions);
            self.partitions = self.partitions.max(partition + 1);
            let bytes = batch_bytes(row.key, row.value);
            let refused = (bytes > topic.max_message_bytes)
                .then(|| too_large(&self.config.topic, topic.max_message_bytes, bytes, row.key));
            if let Some(reason) = refused.as_ref().filter(|_| !self.warned) {
                self.warned = true;
                tracing::warn!(sink = self.sink, reason, "a record is too large, and others may follow");
            }
            let (key, value) = match refused {
                None => (row.key, row.value),
                Some(_) => kept(row.key, row.value),
            };
            records.push(Record {
                partition,
                key,
                value,
                record_id: row.record_id,
                revision: row.revision,
                refused: refused.as_deref(),
            })
        })?;
        records.finish()
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

impl Sink for KafkaSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.take(batch).boxed()
    }

    fn stage(&mut self, barrier: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let last = (!self.pending.is_empty()).then(|| self.part());
        let mut parts = std::mem::take(&mut self.parts);
        let partitions = std::mem::take(&mut self.partitions);
        let (env, sink, attempt) = (self.env.clone(), self.sink.clone(), self.attempt);
        async move {
            env.crash_point("kafka.staging")?;
            if let Some(last) = last {
                parts.push(last.await?);
            }
            env.crash_point("kafka.staged")?;
            if parts.is_empty() {
                return Ok(Vec::new());
            }
            Ok(vec![StagedRecords { parts, attempt, partitions }.into_committable(&sink, barrier.checkpoint)?])
        }
        .boxed()
    }
}
