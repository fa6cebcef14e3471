//! Records between the phases: columns of a staged file, and what of them is sent.
//!
//! Invariant: a record is what it will be in the topic, byte for byte, before its checkpoint is complete; only whether the topic
//! takes one so large is looked at once more when it is sent.

use arrow::{
    array::{
        Array, ArrayBuilder, AsArray, BinaryArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, GenericBinaryBuilder,
        Int32Array, Int32Builder, Int64Array, Int64Builder, RecordBatch, StringArray, StringBuilder,
    },
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef},
};
use std::sync::{Arc, LazyLock};
use weir_engine::error::{EngineError, Result};
use weir_kafka::Topic;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, false),
        Field::new("record_id", DataType::FixedSizeBinary(16), true),
        Field::new("revision", DataType::Int64, true),
        Field::new("refused", DataType::Utf8, true),
    ]))
});

/// What the batch that a record is in needs around it, at most: its head, and the record's own lengths and differences.
const AROUND: usize = 128;

/// What the names and lengths of the three headers need, and the number of a checkpoint.
const HEADERS: usize = 80;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    pub record_id: Option<&'a [u8]>,
    pub revision: Option<i64>,
    /// Why the topic does not take it; then the value is cut off. None: it does.
    pub refused: Option<&'a str>,
}

/// How much is kept of the value of a record that the topic does not take, and of its key: all or nothing.
const KEPT_BYTES: usize = 4096;

/// What is kept of a record that the topic does not take.
pub(super) fn kept<'a>(key: Option<&'a [u8]>, value: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    (key.filter(|key| key.len() <= KEPT_BYTES), &value[..value.len().min(KEPT_BYTES)])
}

/// How many bytes the smallest batch has that a record of such a key and value is in, at most.
pub(super) fn batch_bytes(key: Option<&[u8]>, value: &[u8]) -> usize {
    key.map_or(0, <[u8]>::len) + value.len() + AROUND + HEADERS + 36 + 11
}

/// Why a topic does not take a record of such a key and value; none: it does.
pub(super) fn refusal(name: &str, topic: &Topic, key: Option<&[u8]>, value: &[u8]) -> Option<String> {
    let (bytes, limit) = (batch_bytes(key, value), topic.max_message_bytes);
    if bytes > limit {
        return Some(too_large(name, limit, bytes, key));
    }
    (topic.is_compacted && key.is_none()).then(|| {
        format!(
            "the record has no key, since the column of the `key` is null, and the topic '{name}' is compacted, which takes none \
             without one: fill the column, choose another `key`, or give the topic `cleanup.policy=delete`"
        )
    })
}

fn too_large(topic: &str, limit: usize, bytes: usize, key: Option<&[u8]>) -> String {
    let key = key.map_or_else(|| "without a key".to_owned(), |key| format!("with the key {}", shown(key)));
    format!(
        "the record {key} takes {bytes} bytes, and the topic '{topic}' {limit} at most: raise its `max.message.bytes`, or select \
         less"
    )
}

/// The beginning of a key, for people.
fn shown(key: &[u8]) -> String {
    const MOST: usize = 100;
    let text = String::from_utf8_lossy(&key[..key.len().min(MOST)]);
    format!("{text:?}{}", if key.len() > MOST { "…" } else { "" })
}

/// Collects records, in batches.
pub(super) struct RecordsBuilder {
    /// The keys and values of a batch have no more, but for one record that has.
    most_bytes: usize,
    /// Of the keys and values that are in no batch yet.
    bytes: usize,
    batches: Vec<RecordBatch>,
    partitions: Int32Builder,
    keys: GenericBinaryBuilder<i32>,
    values: GenericBinaryBuilder<i32>,
    record_ids: FixedSizeBinaryBuilder,
    revisions: Int64Builder,
    refused: StringBuilder,
}

impl RecordsBuilder {
    /// Of about so many records.
    pub fn new(rows: usize, most_bytes: usize) -> Self {
        RecordsBuilder {
            most_bytes,
            bytes: 0,
            batches: Vec::new(),
            partitions: Int32Builder::with_capacity(rows),
            keys: GenericBinaryBuilder::new(),
            values: GenericBinaryBuilder::new(),
            record_ids: FixedSizeBinaryBuilder::with_capacity(rows, 16),
            revisions: Int64Builder::with_capacity(rows),
            refused: StringBuilder::new(),
        }
    }

    /// # Errors
    /// When the record id has another length.
    pub fn push(&mut self, record: Record<'_>) -> Result<()> {
        let bytes = record.value.len() + record.key.map_or(0, <[u8]>::len);
        if self.bytes.saturating_add(bytes) > self.most_bytes {
            self.close()?;
        }
        self.bytes += bytes;
        self.partitions.append_value(record.partition);
        self.keys.append_option(record.key);
        self.values.append_value(record.value);
        match record.record_id {
            Some(id) => self.record_ids.append_value(id)?,
            None => self.record_ids.append_null(),
        }
        self.revisions.append_option(record.revision);
        self.refused.append_option(record.refused);
        Ok(())
    }

    /// All records, in their order.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn finish(mut self) -> Result<Vec<RecordBatch>> {
        self.close()?;
        Ok(self.batches)
    }

    /// The records so far are a batch.
    fn close(&mut self) -> Result<()> {
        if self.partitions.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        self.batches.push(RecordBatch::try_new(
            Arc::clone(&SCHEMA),
            vec![
                Arc::new(self.partitions.finish()),
                Arc::new(self.keys.finish()),
                Arc::new(self.values.finish()),
                Arc::new(self.record_ids.finish()),
                Arc::new(self.revisions.finish()),
                Arc::new(self.refused.finish()),
            ],
        )?);
        Ok(())
    }
}

/// Records of a staged file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records<'a> {
    partitions: &'a Int32Array,
    keys: &'a BinaryArray,
    values: &'a BinaryArray,
    record_ids: &'a FixedSizeBinaryArray,
    revisions: &'a Int64Array,
    refused: &'a StringArray,
}

impl<'a> Records<'a> {
    /// # Errors
    /// When the file holds something else.
    pub fn of(path: &str, batch: &'a RecordBatch) -> Result<Self> {
        let other = || EngineError::corrupt(format!("'{path}' does not hold staged records: {}", batch.schema_ref()));
        if batch.schema_ref().fields() != SCHEMA.fields() {
            return Err(other());
        }
        Ok(Records {
            partitions: batch.column(0).as_primitive_opt::<Int32Type>().ok_or_else(other)?,
            keys: batch.column(1).as_binary_opt().ok_or_else(other)?,
            values: batch.column(2).as_binary_opt().ok_or_else(other)?,
            record_ids: batch.column(3).as_fixed_size_binary_opt().ok_or_else(other)?,
            revisions: batch.column(4).as_primitive_opt::<Int64Type>().ok_or_else(other)?,
            refused: batch.column(5).as_string_opt().ok_or_else(other)?,
        })
    }

    /// One of them.
    pub fn get(&self, row: usize) -> Record<'a> {
        Record {
            partition: self.partitions.value(row),
            key: self.keys.is_valid(row).then(|| self.keys.value(row)),
            value: self.values.value(row),
            record_id: self.record_ids.is_valid(row).then(|| self.record_ids.value(row)),
            revision: self.revisions.is_valid(row).then(|| self.revisions.value(row)),
            refused: self.refused.is_valid(row).then(|| self.refused.value(row)),
        }
    }
}
