//! Sending staged records: in an open transaction, or without one.

use super::{
    committable::StagedCheckpoint,
    config::KafkaSinkConfig,
    patience::Tried,
    records::{Record, Records, batch_bytes, kept, refusal},
    texts::{NumberText, UuidText},
};
use crate::sink::staged_batches;
use arrow::array::RecordBatch;
use weir_engine::{error::Result, operator::CommitterContext};
use weir_kafka::{NewRecord, Producer, Result as KafkaResult, Topic, TransactionalProducer, partition::partition_of};

/// Staged files of so many bytes are read at once.
pub(super) const LOADED_BYTES: u64 = 16 << 20;

/// Where records are handed over.
pub(super) enum Outlet<'a> {
    Transaction(&'a mut dyn TransactionalProducer),
    Plain(&'a mut dyn Producer),
}

impl Outlet<'_> {
    async fn send(&mut self, record: NewRecord<'_>) -> KafkaResult<()> {
        match self {
            Outlet::Transaction(producer) => match producer.try_send(&record)? {
                true => Ok(()),
                false => producer.send(record).await,
            },
            Outlet::Plain(producer) => match producer.try_send(&record)? {
                true => Ok(()),
                false => producer.send(record).await,
            },
        }
    }
}

/// The topics that records go to, as they were described last.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    pub main: Topic,
    /// The one for rows that the main one does not take.
    pub rejected: Option<Topic>,
}

/// Staged records in memory, in order.
pub(super) struct Loaded {
    files: Vec<(String, Vec<RecordBatch>)>,
    /// The number of the first row.
    first: u64,
    /// Whether nothing of the checkpoint is left.
    pub is_end: bool,
    /// Of the files.
    pub bytes: u64,
}

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Rows before this one.
    pub until: u64,
    /// So many of them did the topic not take.
    pub refused: u64,
    /// Why it did not take the first of these.
    pub reason: Option<String>,
    /// So many bytes they are, with those that were sent before.
    pub bytes: usize,
    /// Whether there were more rows than may be sent.
    pub is_full: bool,
}

/// Reads the staged files that hold the rows from `from` on, of so many bytes, and at least one. None: one is gone.
pub(super) async fn load(
    context: &CommitterContext,
    staged: &StagedCheckpoint,
    from: u64,
    most_bytes: u64,
) -> Result<Option<Loaded>> {
    let (mut loaded, mut row) = (Loaded { files: Vec::new(), first: from, is_end: true, bytes: 0 }, 0);
    for part in &staged.parts {
        let first = row;
        row += part.rows;
        if row <= from {
            continue;
        }
        if loaded.bytes >= most_bytes {
            loaded.is_end = false;
            break;
        }
        if loaded.files.is_empty() {
            loaded.first = first;
        }
        let Some(content) = context.staging.get(&part.file).await? else { return Ok(None) };
        loaded.files.push((part.file.path.clone(), staged_batches::decode(&part.file.path, content)?));
        loaded.bytes += part.file.bytes;
    }
    Ok(Some(loaded))
}

/// Sends records of one checkpoint.
pub(super) struct Sending<'a> {
    pub config: &'a KafkaSinkConfig,
    pub topics: &'a Topics,
    pub checkpoint: String,
}

impl Sending<'_> {
    /// Sends loaded rows from `from` on, of so many bytes at most, with those that were sent before; but at least one, if none were.
    pub async fn send(
        &self,
        outlet: &mut Outlet<'_>,
        loaded: &Loaded,
        from: u64,
        (before, most_bytes): (usize, usize),
    ) -> Tried<Sent> {
        let (mut sent, mut row) = (Sent { until: from, bytes: before, ..Sent::default() }, loaded.first);
        for (path, batches) in &loaded.files {
            for batch in batches {
                let records = Records::of(path, batch)?;
                for index in 0..batch.num_rows() {
                    row += 1;
                    if row <= from {
                        continue;
                    }
                    let record = records.get(index);
                    let bytes = sent.bytes + batch_bytes(record.key, record.value);
                    if bytes > most_bytes && sent.bytes > 0 {
                        sent.is_full = true;
                        return Ok(sent);
                    }
                    sent.bytes = bytes;
                    if let Some(reason) = self.send_one(outlet, &record).await? {
                        sent.refused += 1;
                        sent.reason.get_or_insert(reason);
                    }
                    sent.until = row;
                }
            }
        }
        Ok(sent)
    }

    /// Sends a record, or says why the topic does not take it.
    async fn send_one(&self, outlet: &mut Outlet<'_>, record: &Record<'_>) -> Tried<Option<String>> {
        let refused = record.refused.map(str::to_owned);
        // It may have taken others when the record was staged.
        let refused = refused.or_else(|| refusal(&self.config.topic, &self.topics.main, record.key, record.value));
        let Some(reason) = refused else {
            self.hand_over(outlet, &self.config.topic, record.partition, record).await?;
            return Ok(None);
        };
        if let Some((name, topic)) = self.config.rejected_topic.as_deref().zip(self.topics.rejected.as_ref()) {
            self.reject(outlet, (name, topic), record, &reason).await?;
        }
        Ok(Some(reason))
    }

    async fn hand_over(
        &self,
        outlet: &mut Outlet<'_>,
        topic: &str,
        partition: i32,
        record: &Record<'_>,
    ) -> KafkaResult<()> {
        let (mut id, mut number) = (UuidText::default(), NumberText::default());
        let mut headers = [("checkpoint", self.checkpoint.as_bytes()); 3];
        let mut first = headers.len() - 1;
        if let Some(revision) = record.revision {
            first -= 1;
            headers[first] = ("revision", number.of(revision));
        }
        if let Some(bytes) = record.record_id.and_then(|id| id.try_into().ok()) {
            first -= 1;
            headers[first] = ("record_id", id.of(bytes));
        }
        let record = NewRecord {
            topic,
            partition,
            key: record.key,
            value: Some(record.value),
            headers: &headers[first..],
            // When it was committed: by event time, brokers would remove old results at once and refuse windows still open.
            timestamp_ms: None,
        };
        outlet.send(record).await
    }

    /// What a topic does not take goes to the one beside, cut off, with the reason.
    async fn reject(
        &self,
        outlet: &mut Outlet<'_>,
        (name, topic): (&str, &Topic),
        record: &Record<'_>,
        reason: &str,
    ) -> KafkaResult<()> {
        let (key, raw) = kept(record.key, record.value);
        let value = serde_json::json!({
            "topic": self.config.topic,
            "partition": record.partition,
            "reason": reason,
            "raw": String::from_utf8_lossy(raw),
        });
        let value = value.to_string();
        let rejected = Record { key, value: value.as_bytes(), ..*record };
        if refusal(name, topic, key, rejected.value).is_some() {
            // It is counted and told of all the same.
            return Ok(());
        }
        let partition = partition_of(key.or(record.record_id).unwrap_or_default(), topic.partitions);
        self.hand_over(outlet, name, partition, &rejected).await
    }
}
