//! The columns of a batch: messages of an Arrow IPC stream, each with its metadata in front.
//!
//! Not read by arrow's own stream reader, which believes more than it may: it would set memory aside for whatever length a
//! compressed buffer claims to have. Here every length is checked against what is there, and compressed buffers, which no
//! encoder of ours writes (it compresses the whole body), are refused.

use arrow::{
    array::ArrayRef,
    buffer::Buffer,
    datatypes::SchemaRef,
    ipc::{
        Message, MessageHeader, RecordBatch as BatchMetadata,
        convert::fb_to_schema,
        reader::{RecordBatchDecoder, read_dictionary},
        root_as_message,
    },
    record_batch::RecordBatch,
};
use std::{collections::HashMap, sync::Arc};

/// What stands before the length of a message's metadata.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The schema and the dictionaries of a stream so far.
#[derive(Debug, Default)]
pub(super) struct MessageStream {
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl MessageStream {
    /// Reads messages, the last of which, and no other, is a record batch. Its columns stay in `messages` without a copy.
    ///
    /// # Errors
    /// When they are anything else. May also panic where arrow's readers do.
    pub(super) fn read(&mut self, mut messages: Buffer) -> Result<RecordBatch, String> {
        loop {
            let metadata = take_metadata(&mut messages)?;
            let message = root_as_message(&metadata).map_err(|error| format!("a message's metadata: {error}"))?;
            let body = take(&mut messages, usize::try_from(message.bodyLength()).ok(), "body")?;
            match message.header_type() {
                MessageHeader::Schema => self.begin(&message)?,
                MessageHeader::DictionaryBatch => self.read_dictionary(&message, &body)?,
                MessageHeader::RecordBatch => {
                    let batch = self.read_batch(&message, &body)?;
                    return if messages.is_empty() { Ok(batch) } else { Err("bytes after its columns".into()) };
                }
                other => return Err(format!("a message of type {other:?}")),
            }
        }
    }

    fn begin(&mut self, message: &Message<'_>) -> Result<(), String> {
        if self.schema.is_some() {
            return Err("a second schema".into());
        }
        let schema = message.header_as_schema().ok_or("a schema without content")?;
        self.schema = Some(Arc::new(fb_to_schema(schema)));
        Ok(())
    }

    fn read_dictionary(&mut self, message: &Message<'_>, body: &Buffer) -> Result<(), String> {
        let schema = self.schema.as_ref().ok_or("a dictionary before the schema")?;
        let dictionary = message.header_as_dictionary_batch().ok_or("a dictionary without content")?;
        check_buffers(&dictionary.data().ok_or("a dictionary without values")?, body)?;
        read_dictionary(body, dictionary, schema, &mut self.dictionaries, &message.version())
            .map_err(|error| error.to_string())
    }

    fn read_batch(&self, message: &Message<'_>, body: &Buffer) -> Result<RecordBatch, String> {
        let schema = self.schema.clone().ok_or("columns before the schema")?;
        let batch = message.header_as_record_batch().ok_or("columns without content")?;
        check_buffers(&batch, body)?;
        let version = message.version();
        let decoder = RecordBatchDecoder::try_new(body, batch, schema, &self.dictionaries, &version);
        decoder.and_then(RecordBatchDecoder::read_record_batch).map_err(|error| error.to_string())
    }
}

fn take_metadata(messages: &mut Buffer) -> Result<Buffer, String> {
    let prefix = take(messages, Some(8), "beginning")?;
    let (continuation, length) = prefix.split_at(4);
    if continuation != CONTINUATION {
        return Err("a message does not begin as one".into());
    }
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    take(messages, Some(length), "metadata")
}

fn take(messages: &mut Buffer, length: Option<usize>, what: &str) -> Result<Buffer, String> {
    let length = length.filter(|length| *length <= messages.len());
    let length = length.ok_or_else(|| format!("the {what} of a message is cut off"))?;
    let taken = messages.slice_with_length(0, length);
    messages.advance(length);
    Ok(taken)
}

/// Every buffer lies within the body, and is not compressed.
fn check_buffers(batch: &BatchMetadata<'_>, body: &Buffer) -> Result<(), String> {
    if batch.compression().is_some() {
        return Err("its buffers are compressed one by one".into());
    }
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let end = offset.ok().zip(length.ok()).and_then(|(offset, length)| offset.checked_add(length));
        if end.is_none_or(|end| end > body.len()) {
            return Err("a buffer lies outside of its message".into());
        }
    }
    Ok(())
}
