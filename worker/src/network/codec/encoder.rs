//! From a batch to frames.

use super::{
    super::{
        frame::{FrameKind, Header, flags},
        rope::Rope,
        settings::{Compression, NetworkSettings},
    },
    PREFIX_BYTES,
    compact::Compactor,
};
use arrow::{
    buffer::Buffer,
    datatypes::SchemaRef,
    ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamEncoder},
};
use weir_engine::{
    element::{Batch, KeyHashes},
    error::{EngineError, Result},
};

/// Encodes the batches of one channel, which must all be sent, in order.
pub struct BatchEncoder {
    attempt: u64,
    channel: u32,
    max_body: usize,
    compression: Compression,
    stream: Option<Stream>,
}

/// The IPC stream of a channel, until its schema changes.
struct Stream {
    schema: SchemaRef,
    encoder: StreamEncoder,
    compactor: Compactor,
    /// Whether a batch was sent, and the schema with it.
    begun: bool,
}

/// A frame, ready to be written.
#[derive(Debug)]
pub struct EncodedFrame {
    /// All of its bytes.
    pub bytes: Rope,
    /// What it counts against the credit.
    pub cost: usize,
}

impl BatchEncoder {
    /// For a channel, by its place in the list of the handshake.
    pub fn new(attempt: u64, channel: u32, settings: &NetworkSettings) -> Self {
        BatchEncoder {
            attempt,
            channel,
            max_body: settings.max_frame_bytes,
            compression: settings.compression,
            stream: None,
        }
    }

    /// Encodes a batch, in several frames where one would be too long.
    ///
    /// # Errors
    /// When a single row is too long for a frame, or has a type that IPC cannot carry.
    pub fn encode(&mut self, batch: &Batch) -> Result<Vec<EncodedFrame>> {
        let mut frames = Vec::with_capacity(1);
        self.encode_parts(batch, &mut frames)?;
        Ok(frames)
    }

    fn encode_parts(&mut self, batch: &Batch, frames: &mut Vec<EncodedFrame>) -> Result<()> {
        let (body, flags) = self.body(batch)?;
        if body.len() <= self.max_body {
            if let Some(stream) = &mut self.stream {
                stream.begun = true;
            }
            frames.push(self.frame(body, flags));
            return Ok(());
        }
        // The stream believes that schema and dictionaries are on their way, which they are not.
        self.stream = None;
        let (rows, length, most) = (batch.len(), body.len(), self.max_body);
        if rows <= 1 {
            return Err(EngineError::definition(format!(
                "a batch of {rows} rows takes {length} bytes on the network, where max_frame_bytes allows {most}"
            )));
        }
        let half = rows / 2;
        self.encode_parts(&batch.slice(0, half), frames)?;
        self.encode_parts(&batch.slice(half, rows - half), frames)
    }

    fn body(&mut self, batch: &Batch) -> Result<(Rope, u8)> {
        let stream = self.stream_for(batch.columns.schema_ref())?;
        let mut flags = if stream.begun { 0 } else { flags::SCHEMA };
        let columns = stream.compactor.compact(&batch.columns)?;
        let columns = stream.encoder.encode(&columns).map_err(cannot_encode)?;
        let columns_length = columns.iter().map(|buffer| buffer.len()).sum();
        let beside = beside(batch, &mut flags);
        let names = batch.key_hashes.as_ref().map(names).unwrap_or_default();
        let mut body = Rope::default();
        let origin = origin(batch)?;
        body.push(prefix(batch.len(), columns_length, names.len(), origin.len())?);
        columns.into_iter().for_each(|buffer| body.push(buffer));
        body.push(Buffer::from_vec(beside));
        body.push(Buffer::from_vec(names));
        body.push(Buffer::from_vec(origin));
        Ok((body, flags))
    }

    fn stream_for(&mut self, schema: &SchemaRef) -> Result<&mut Stream> {
        if self.stream.as_ref().is_none_or(|stream| stream.schema != *schema) {
            let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
            let encoder = StreamEncoder::try_new_with_options(schema, options).map_err(cannot_encode)?;
            let stream = Stream { schema: schema.clone(), encoder, compactor: Compactor::default(), begun: false };
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or_else(|| EngineError::internal("a channel has no stream"))
    }

    fn frame(&self, body: Rope, flags: u8) -> EncodedFrame {
        let mut header = Header::new(FrameKind::Batch, self.attempt, self.channel, body.len());
        header.flags = flags;
        let body = match self.compression {
            Compression::None => body,
            Compression::Lz4 => {
                let compressed = lz4_flex::block::compress(&body.to_vec());
                if compressed.len() < body.len() {
                    header.flags |= flags::LZ4;
                    header.length = compressed.len() as u32;
                    Rope::from(compressed)
                } else {
                    body
                }
            }
        };
        let mut bytes = Rope::from(header.to_bytes());
        bytes.append(body);
        EncodedFrame { cost: header.cost(), bytes }
    }
}

fn cannot_encode(error: arrow::error::ArrowError) -> EngineError {
    EngineError::internal(format!("a batch cannot be sent over the network: {error}"))
}

fn prefix(rows: usize, columns: usize, names: usize, origin: usize) -> Result<Buffer> {
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    for number in [rows, columns, names, origin] {
        let number = u32::try_from(number)
            .map_err(|_| EngineError::internal(format!("{number} rows or bytes in one batch: 2^32 are too many")))?;
        prefix.extend_from_slice(&number.to_le_bytes());
    }
    prefix.resize(PREFIX_BYTES, 0);
    Ok(Buffer::from_vec(prefix))
}

/// What follows the columns, but for the names.
fn beside(batch: &Batch, flags: &mut u8) -> Vec<u8> {
    let rows = batch.len();
    let watermarks = batch.split_watermarks.as_deref().unwrap_or_default();
    let hashes = batch.key_hashes.as_ref().map(|key| key.hashes.as_slice()).unwrap_or_default();
    debug_assert!(watermarks.is_empty() || watermarks.len() == rows);
    debug_assert!(hashes.is_empty() || hashes.len() == rows);
    *flags |= if batch.split_watermarks.is_some() { flags::SPLIT_WATERMARKS } else { 0 };
    *flags |= if batch.key_hashes.is_some() { flags::KEY_HASHES } else { 0 };
    let mut bytes = vec![0; watermarks.len() * 8 + hashes.len() * 16];
    let (watermark_bytes, hash_bytes) = bytes.split_at_mut(watermarks.len() * 8);
    for (bytes, watermark) in watermark_bytes.chunks_exact_mut(8).zip(watermarks) {
        bytes.copy_from_slice(&watermark.to_le_bytes());
    }
    for (bytes, hash) in hash_bytes.chunks_exact_mut(16).zip(hashes) {
        bytes.copy_from_slice(&hash.to_le_bytes());
    }
    bytes
}

/// Where the rows were read, as JSON; empty where that is not known.
fn origin(batch: &Batch) -> Result<Vec<u8>> {
    let Some(origin) = &batch.origin else { return Ok(Vec::new()) };
    serde_json::to_vec(origin.as_ref())
        .map_err(|error| EngineError::internal(format!("an origin has no JSON: {error}")))
}

fn names(key: &KeyHashes) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in key.columns.iter() {
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes
}
