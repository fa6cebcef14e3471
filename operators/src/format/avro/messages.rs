//! Avro messages: records that come one by one.
//!
//! With a registry each begins with a zero byte and the number of the schema that it was written with; what has not been
//! seen is fetched when the batch is finished. Without, all were written with the one schema, as they are or as single objects
//! (`C3 01` and the fingerprint of the schema before the record).

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{FutureExt, future::BoxFuture};
use std::{collections::HashMap, ops::Range, sync::Arc};
use weir_engine::error::{EngineError, Result};

use super::{
    columns::{FoundColumn, ReadColumns},
    records::Records,
    schema::RecordSchema,
};
use crate::format::{
    BadLine, DecodedLines, FormatError, KEPT_BYTES,
    message::{Held, MessageDecoder, message_error, too_long},
    registry::{Known, SchemaRegistry, framing},
    rows::Rows,
};
use crate::source::column_type::DeclaredSchema;

/// What a single object begins with.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];

/// Memory that is kept from one batch to the next.
const KEPT_CAPACITY: usize = 1 << 20;

/// Decodes Avro messages.
pub struct AvroMessages {
    rows: Rows,
    read: RecordSchema,
    columns: ReadColumns,
    registry: Option<Arc<SchemaRegistry>>,
    /// What a single object of the schema begins with.
    single_object: Option<[u8; 10]>,
    /// How what was written with a schema is read, by its number; without a registry there is only the number zero.
    writers: HashMap<u32, std::result::Result<Records, String>>,
    /// Numbers that the registry does not know: the next time it is asked again.
    unknown: Vec<u32>,
    most: usize,
    bytes: Vec<u8>,
    messages: Vec<Message>,
    held: Held,
}

/// A message that is held.
struct Message {
    offset: u64,
    /// All of it.
    bytes: Range<usize>,
    /// The schema that it was written with, and how many bytes stand before the record; or why it is none.
    record: std::result::Result<(u32, usize), String>,
}

/// Where the row of a message is.
enum Outcome {
    Bad(String),
    /// Among the batches, and in one of them.
    Row(usize, usize),
}

impl AvroMessages {
    /// Messages of at most `most` bytes, read by a schema for some of its columns.
    ///
    /// # Errors
    /// When a column is none of the schema.
    pub fn new(
        read: RecordSchema,
        requested: &DeclaredSchema,
        registry: Option<Arc<SchemaRegistry>>,
        most: usize,
    ) -> Result<Self> {
        let columns = ReadColumns::find(&read, requested).map_err(EngineError::definition)?;
        let mut writers = HashMap::new();
        let mut single_object = None;
        if registry.is_none() {
            writers.insert(0, Records::new(read.text(), &read, &columns));
            single_object = read.fingerprint().map(|fingerprint| {
                let mut begin = [0; 10];
                begin[..2].copy_from_slice(&SINGLE_OBJECT);
                begin[2..].copy_from_slice(&fingerprint);
                begin
            });
        }
        Ok(AvroMessages {
            rows: Rows::new(requested).map_err(message_error)?,
            read,
            columns,
            registry,
            single_object,
            writers,
            unknown: Vec::new(),
            most,
            bytes: Vec::new(),
            messages: Vec::new(),
            held: Held::default(),
        })
    }

    /// The schema that a message was written with, and how many bytes stand before its record.
    fn record_of(&self, message: &[u8]) -> std::result::Result<(u32, usize), String> {
        if message.len() > self.most {
            return Err(too_long(message.len(), self.most));
        }
        if self.registry.is_some() {
            return framing::schema_id(message).map(|id| (id, framing::ID_BYTES));
        }
        let begin = self.single_object.filter(|begin| message.starts_with(begin));
        Ok((0, begin.map_or(0, |begin| begin.len())))
    }

    /// Fetches the schemas that held messages were written with and that are not known yet.
    async fn fetch(&mut self) -> Result<()> {
        let Some(registry) = &self.registry else { return Ok(()) };
        for message in &self.messages {
            let Ok((id, _)) = message.record else { continue };
            if self.writers.contains_key(&id) {
                continue;
            }
            let records = match registry.schema(id).await? {
                Known::Schema(written) => Records::new(&written, &self.read, &self.columns).map_err(|why| {
                    format!("what was written with the schema {id} can't be read by that of the job: {why}")
                }),
                Known::None(why) => {
                    self.unknown.push(id);
                    Err(why)
                }
            };
            self.writers.insert(id, records);
        }
        Ok(())
    }

    fn decode(&mut self) -> std::result::Result<DecodedLines, FormatError> {
        let held = self.held.take();
        let messages = std::mem::take(&mut self.messages);
        let bytes = std::mem::take(&mut self.bytes);
        let held = held?;
        let (outcomes, batches) = self.outcomes(&messages, &bytes).map_err(FormatError::Records)?;
        let found: Vec<Vec<FoundColumn>> = batches
            .iter()
            .map(|batch| self.columns.in_batch(batch))
            .collect::<std::result::Result<_, _>>()
            .map_err(FormatError::Records)?;
        for (place, (message, outcome)) in messages.iter().zip(outcomes).enumerate() {
            let appended = match outcome {
                Outcome::Bad(reason) => Err(reason),
                Outcome::Row(batch, row) => self.columns.append(&found[batch], row, &mut self.rows),
            };
            match appended {
                Ok(()) => self.rows.end_row(),
                Err(reason) => {
                    self.rows.reject(BadLine::new(message.offset, place, &bytes[message.bytes.clone()], reason));
                }
            }
        }
        for id in self.unknown.drain(..) {
            self.writers.remove(&id);
        }
        if bytes.capacity() <= KEPT_CAPACITY {
            self.bytes = bytes;
            self.bytes.clear();
        }
        self.rows.finish(held.bytes)
    }

    /// What became of each message, and the batches that the rows are in.
    fn outcomes(
        &mut self,
        messages: &[Message],
        bytes: &[u8],
    ) -> std::result::Result<(Vec<Outcome>, Vec<RecordBatch>), String> {
        let mut of_writer: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(messages.len());
        for (place, message) in messages.iter().enumerate() {
            outcomes.push(Outcome::Bad(message.record.as_ref().err().cloned().unwrap_or_default()));
            if let Ok((writer, _)) = message.record {
                of_writer.entry(writer).or_default().push(place);
            }
        }
        let record = |place: &usize| {
            let Message { bytes: range, record, .. } = &messages[*place];
            let before = record.as_ref().map_or(0, |(_, before)| *before);
            &bytes[range.start + before..range.end]
        };
        let mut batches = Vec::new();
        for (writer, places) in of_writer {
            let records = match self.writers.get_mut(&writer) {
                Some(Ok(records)) => records,
                Some(Err(why)) => {
                    places.iter().for_each(|place| outcomes[*place] = Outcome::Bad(why.clone()));
                    continue;
                }
                None => return Err(format!("the schema {writer} was not fetched")),
            };
            let bodies: Vec<&[u8]> = places.iter().map(record).collect();
            let (decoded, first) = (records.decode(&bodies)?, batches.len());
            let in_batch = |(batch, rows): (usize, &RecordBatch)| {
                (0..rows.num_rows()).map(move |row| Outcome::Row(first + batch, row))
            };
            let mut rows = decoded.batches.iter().enumerate().flat_map(in_batch);
            let mut bad = decoded.bad.into_iter().peekable();
            for (index, place) in places.iter().enumerate() {
                outcomes[*place] = match bad.next_if(|(bad, _)| *bad == index) {
                    Some((_, reason)) => Outcome::Bad(reason),
                    None => rows.next().ok_or("a good record became no row")?,
                };
            }
            drop(rows);
            batches.extend(decoded.batches);
        }
        Ok((outcomes, batches))
    }
}

impl MessageDecoder for AvroMessages {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn push(&mut self, message: &[u8], offset: u64) {
        if !self.held.add(message.len()) {
            return;
        }
        let record = self.record_of(message);
        // Of one that is too long no more is kept than is shown.
        let kept = if record.is_ok() { message } else { &message[..message.len().min(KEPT_BYTES)] };
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(kept);
        self.messages.push(Message { offset, bytes: begin..self.bytes.len(), record });
    }

    fn held(&self) -> Held {
        self.held
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<DecodedLines>> {
        async move {
            self.fetch().await?;
            self.decode().map_err(message_error)
        }
        .boxed()
    }
}
