//! The first phase: rows become JSON objects with their keys, and go into the staging area of the checkpoint storage.
//!
//! Invariant: a row is what will be posted, byte for byte, before its checkpoint is complete.

use super::{
    committable::{Part, StagedRows},
    row_keys::{MEMBER, RowKeys},
};
use crate::sink::{json_rows, staged_batches};
use arrow::{
    array::{ArrayRef, BinaryBuilder, RecordBatch, StringArray, StringBuilder, StructArray},
    datatypes::{DataType, Field, Fields},
};
use futures::{FutureExt, future::BoxFuture};
use std::sync::Arc;
use weir_engine::{
    checkpoint::Staging,
    element::{Barrier, Batch},
    env::Env,
    error::{EngineError, Result},
    ids::Attempt,
    operator::{Committable, OperatorContext, Sink},
};

/// Rows that take more memory than this are staged before the barrier comes.
const PART_BYTES: usize = 8 << 20;

/// So many rows are encoded at once: a text of a dictionary may be that of all of them, and a column has room for 2 GiB.
const ROWS_AT_ONCE: usize = 1 << 8;

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
        let encoded = encode(&batch.columns, &mut keys, PART_BYTES).map_err(|error| error.context(&self.sink))?;
        self.keys = Some(keys);
        for rows in encoded {
            self.hold(rows).await?;
        }
        Ok(())
    }

    /// Keeps rows for the barrier, or stages them when they have come to a part. What is a part is one array, in which there may be
    /// no room beside a large row.
    async fn hold(&mut self, rows: RecordBatch) -> Result<()> {
        let bytes = rows.get_array_memory_size();
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

/// The key and the object of each row. The objects of a batch have no more bytes than that, but for one row that has more.
///
/// # Errors
/// When a row has no room in a column.
fn encode(rows: &RecordBatch, keys: &mut RowKeys, most_bytes: usize) -> Result<Vec<RecordBatch>> {
    let mut encoded = Encoded::default();
    for start in (0..rows.num_rows()).step_by(ROWS_AT_ONCE) {
        let rows = rows.slice(start, ROWS_AT_ONCE.min(rows.num_rows() - start));
        let keys = keys.of_rows(&rows)?;
        let objects = objects(&rows, &keys)?;
        let mut keys = keys.iter();
        json_rows::each(&objects, &mut |object| match keys.next() {
            Some(key) => encoded.add(key, object, most_bytes),
            None => Ok(()),
        })?;
    }
    encoded.close()?;
    Ok(encoded.batches)
}

/// What is posted of each row: its columns and its key. A column of the rows' own that is called as the key's member is left as it is.
fn objects(rows: &RecordBatch, keys: &[String]) -> Result<StructArray> {
    let (fields, mut columns, _) = json_rows::readable(rows)?.into_parts();
    let mut fields: Vec<Arc<Field>> = fields.iter().cloned().collect();
    if fields.iter().all(|field| field.name() != MEMBER) {
        fields.push(Arc::new(Field::new(MEMBER, DataType::Utf8, false)));
        columns.push(Arc::new(StringArray::from_iter_values(keys)));
    }
    Ok(StructArray::try_new_with_length(Fields::from(fields), columns, None, rows.num_rows())?)
}

/// Encoded rows: batches, and those of which there is none yet.
#[derive(Debug, Default)]
struct Encoded {
    batches: Vec<RecordBatch>,
    keys: StringBuilder,
    values: BinaryBuilder,
    /// Of the values. No object has none.
    bytes: usize,
}

impl Encoded {
    fn add(&mut self, key: &str, object: &[u8], most_bytes: usize) -> Result<()> {
        if i32::try_from(object.len()).is_err() {
            let bytes = object.len();
            return Err(EngineError::internal(format!(
                "a row has {bytes} bytes as JSON, and less than 2 GiB can be sent"
            )));
        }
        if self.bytes.saturating_add(object.len()) > most_bytes {
            self.close()?;
        }
        self.keys.append_value(key);
        self.values.append_value(object);
        self.bytes += object.len();
        Ok(())
    }

    /// The rows so far are a batch.
    fn close(&mut self) -> Result<()> {
        if std::mem::take(&mut self.bytes) == 0 {
            return Ok(());
        }
        let columns: [(&str, ArrayRef); 2] =
            [("key", Arc::new(self.keys.finish())), ("value", Arc::new(self.values.finish()))];
        let columns = columns.map(|(name, column)| (name, column, false));
        self.batches.push(RecordBatch::try_from_iter_with_nullable(columns)?);
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{AsArray, DictionaryArray},
        datatypes::Int32Type,
    };
    use std::collections::BTreeSet;

    /// The objects of each batch that rows are encoded to, and all keys.
    fn encoded(rows: &RecordBatch, most_bytes: usize) -> (Vec<Vec<serde_json::Value>>, Vec<String>) {
        let (mut objects, mut keys) = (Vec::new(), Vec::new());
        for batch in encode(rows, &mut RowKeys::of(&["here"]), most_bytes).unwrap() {
            keys.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
            let values = batch.column(1).as_binary::<i32>().iter().flatten();
            objects.push(values.map(|value| serde_json::from_slice(value).unwrap()).collect());
        }
        (objects, keys)
    }

    #[test]
    fn long_objects_are_in_several_batches() {
        let long = "x".repeat(300);
        let texts: ArrayRef =
            Arc::new(DictionaryArray::<Int32Type>::from_iter((0..1_000).map(|_| Some(long.as_str()))));
        let rows = RecordBatch::try_from_iter([("text", texts)]).unwrap();
        let (objects, keys) = encoded(&rows, 1 << 10);
        let sizes: Vec<usize> = objects.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| *size == 2) && sizes.len() == 500, "of some 370 bytes each: {sizes:?}");
        assert!(objects.iter().flatten().all(|object| object["text"] == long.as_str()));
        let of_objects: Vec<&str> = objects.iter().flatten().filter_map(|object| object[MEMBER].as_str()).collect();
        assert_eq!(of_objects, keys);
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 1_000, "each has its own");
        let (alone, _) = encoded(&rows.slice(0, 3), 1);
        assert_eq!(alone.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1], "a row is not cut");
        let (together, same) = encoded(&rows, PART_BYTES);
        assert_eq!((together.len(), together.concat()), (1, objects.concat()));
        assert_eq!(same, keys);
    }
}
