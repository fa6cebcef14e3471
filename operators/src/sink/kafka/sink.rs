//! The first phase: rows become records, and go into the staging area of the checkpoint storage.
//!
//! Invariant: every record of a committable came between the same two barriers.

use super::{
    committable::StagedRecords,
    config::KafkaSinkConfig,
    encoder::EncodedRows,
    records::{Record, RecordsBuilder, kept, refusal},
    spread::Spread,
    topic::TopicWatch,
};
use crate::{
    format::RowWriter,
    sink::{
        json_rows::{PIECE_BYTES, pieces},
        staging_buffer::StagingBuffer,
    },
};
use arrow::array::RecordBatch;
use futures::{FutureExt, future::BoxFuture};
use weir_engine::{
    element::{Barrier, Batch},
    env::Env,
    error::Result,
    ids::Attempt,
    operator::{Committable, OperatorContext, Sink},
};
use weir_kafka::Topic;

/// Stages records for a topic, in one subtask.
#[derive(Debug)]
pub struct KafkaSink {
    config: KafkaSinkConfig,
    topic: TopicWatch,
    writer: RowWriter,
    spread: Spread,
    buffer: StagingBuffer,
    sink: String,
    attempt: Attempt,
    env: Env,
    /// One more than the highest partition since the last barrier.
    partitions: i32,
    /// Whether a record that the topic does not take was spoken of.
    warned: bool,
}

impl KafkaSink {
    /// For one subtask.
    pub fn new(config: KafkaSinkConfig, context: &OperatorContext) -> Self {
        KafkaSink {
            topic: TopicWatch::new(config.clone(), context.env.clone()),
            writer: RowWriter::new(config.format.clone(), context.env.clone()),
            spread: Spread::of(context.subtask),
            config,
            buffer: StagingBuffer::new(context),
            sink: context.operator.clone(),
            attempt: context.attempt,
            env: context.env.clone(),
            partitions: 0,
            warned: false,
        }
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let topic = self.topic.current().await.map_err(|error| error.context(&self.sink))?;
        self.writer.prepare().await.map_err(|error| error.context(&self.sink))?;
        for rows in pieces(&batch.columns, PIECE_BYTES) {
            let encoded = self.encode(&rows, &topic, PIECE_BYTES).map_err(|error| error.context(&self.sink))?;
            for records in encoded {
                self.buffer.push(records).await?;
            }
        }
        Ok(())
    }

    /// The records of rows, in batches of so many bytes: in JSON rows may have many more than in their columns.
    fn encode(&mut self, rows: &RecordBatch, topic: &Topic, most_bytes: usize) -> Result<Vec<RecordBatch>> {
        let rows_encoded = EncodedRows::new(&self.config, rows, self.writer.encode(rows)?)?;
        let mut records = RecordsBuilder::new(rows.num_rows(), most_bytes);
        rows_encoded.each(|row| {
            let partition = self.spread.partition(row.key, row.record_id, topic.partitions);
            self.partitions = self.partitions.max(partition + 1);
            let refused =
                row.refused.map(|reason| format!("the row can't be written in the format of the topic: {reason}"));
            let refused = refused.or_else(|| refusal(&self.config.topic, topic, row.key, row.value));
            if let Some(reason) = refused.as_ref().filter(|_| !self.warned) {
                self.warned = true;
                tracing::warn!(sink = self.sink, reason, "the topic does not take a record, and others may follow");
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
}

impl Sink for KafkaSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.take(batch).boxed()
    }

    fn stage(&mut self, barrier: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let (_, staged) = self.buffer.cut();
        let partitions = std::mem::take(&mut self.partitions);
        let (env, sink, attempt) = (self.env.clone(), self.sink.clone(), self.attempt);
        async move {
            env.crash_point("kafka.staging")?;
            let parts = staged.await?;
            env.crash_point("kafka.staged")?;
            if parts.is_empty() {
                return Ok(Vec::new());
            }
            Ok(vec![StagedRecords { parts, attempt, partitions }.into_committable(&sink, barrier.checkpoint)?])
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::config, *};
    use arrow::{
        array::{ArrayRef, AsArray, DictionaryArray, Int64Array},
        datatypes::Int32Type,
    };
    use std::sync::Arc;

    /// The values of each batch of records that rows are encoded to.
    fn encoded(rows: &RecordBatch, most_bytes: usize) -> Vec<Vec<String>> {
        let mut sink = KafkaSink::new(config(), &OperatorContext::single("job", "sink.x"));
        let topic = Topic { id: None, partitions: 3, max_message_bytes: 1 << 20, is_compacted: false };
        let values = |batch: &RecordBatch| -> Vec<String> {
            let values = batch.column_by_name("value").unwrap().as_binary::<i32>();
            values.iter().flatten().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
        };
        sink.encode(rows, &topic, most_bytes).unwrap().iter().map(values).collect()
    }

    #[test]
    fn long_values_are_in_several_batches() {
        let long = "x".repeat(300);
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
        let texts: ArrayRef =
            Arc::new(DictionaryArray::<Int32Type>::from_iter((0..1_000).map(|_| Some(long.as_str()))));
        let rows = RecordBatch::try_from_iter([("n", numbers), ("text", texts)]).unwrap();
        let batches = encoded(&rows, 1 << 10);
        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| (1..=3).contains(size)), "of some 320 bytes each: {sizes:?}");
        let expected: Vec<String> = (0..1_000).map(|n| format!(r#"{{"n":{n},"text":"{long}"}}"#)).collect();
        assert_eq!(batches.concat(), expected, "each once, in their order");
        let alone = encoded(&rows.slice(0, 3), 1);
        assert_eq!(alone.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1], "a record is not cut");
        assert_eq!(encoded(&rows, PIECE_BYTES), [expected]);
    }
}
