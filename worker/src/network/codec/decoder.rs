//! From the body of a frame to a batch.

use super::{
    super::frame::{Frame, Header, flags},
    PREFIX_BYTES,
    messages::MessageStream,
};
use arrow::buffer::{Buffer, MutableBuffer};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use weir_engine::element::{Batch, KeyHashes, Origin};

/// A body that no encoder wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch cannot be read: {0}")]
pub struct DecodeError(String);

type Result<T> = std::result::Result<T, DecodeError>;

/// Decodes the batches of one channel, in order. After an error it must not be used any more.
#[derive(Debug, Default)]
pub struct BatchDecoder {
    stream: MessageStream,
    /// The names of the key columns last read, as bytes and as such: they hardly ever change.
    names: Option<(Buffer, Arc<[String]>)>,
}

/// The numbers at the beginning of a body.
struct Prefix {
    rows: usize,
    columns: usize,
    names: usize,
    origin: usize,
}

impl BatchDecoder {
    /// The batch in a frame.
    ///
    /// # Errors
    /// When the body is anything but what an encoder writes.
    pub fn decode(&mut self, frame: Frame) -> Result<Batch> {
        // Arrow asserts some of what it finds in a message; a broken stream must not end the task that reads it.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decode_frame(frame)));
        decoded.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            wrong(format!("its columns are inconsistent: {text}"))
        })
    }

    fn decode_frame(&mut self, frame: Frame) -> Result<Batch> {
        let Frame { header, body } = frame;
        let body = if header.flags & flags::LZ4 != 0 { decompress(&header, &body)? } else { Buffer::from(body) };
        let prefix = Prefix::read(&body)?;
        let beside = PREFIX_BYTES + prefix.columns;
        let per_row = [(flags::SPLIT_WATERMARKS, 8), (flags::KEY_HASHES, 16)]
            .map(|(flag, width)| if header.flags & flag != 0 { width * prefix.rows } else { 0 });
        let [watermarks, hashes] = per_row;
        if body.len() != beside + watermarks + hashes + prefix.names + prefix.origin {
            return wrong(format!("its {} bytes do not match its own lengths", body.len()));
        }
        if header.flags & flags::SCHEMA != 0 {
            self.stream = MessageStream::default();
        }
        let columns = self.stream.read(body.slice_with_length(PREFIX_BYTES, prefix.columns)).map_err(DecodeError)?;
        if columns.num_rows() != prefix.rows {
            return wrong(format!("it has {} rows and claims {}", columns.num_rows(), prefix.rows));
        }
        let mut batch = Batch::new(columns);
        if header.flags & flags::SPLIT_WATERMARKS != 0 {
            batch.split_watermarks = Some(numbers(&body[beside..beside + watermarks], i64::from_le_bytes).into());
        }
        let names_at = beside + watermarks + hashes;
        if header.flags & flags::KEY_HASHES != 0 {
            let columns = self.names(body.slice_with_length(names_at, prefix.names))?;
            let hashes = numbers(&body[beside + watermarks..names_at], u128::from_le_bytes);
            batch.key_hashes = Some(KeyHashes { columns, hashes: Arc::new(hashes) });
        } else if prefix.names != 0 {
            return wrong("it names key columns and has no hashes".into());
        }
        batch.origin = origin(&body[names_at + prefix.names..])?;
        Ok(batch)
    }

    fn names(&mut self, bytes: Buffer) -> Result<Arc<[String]>> {
        if let Some((known, names)) = &self.names
            && *known == bytes
        {
            return Ok(names.clone());
        }
        let mut names = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let name = rest
                .split_at_checked(4)
                .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize));
            let Some((name, after)) = name else { return wrong("the names of its key columns are cut off".into()) };
            let Ok(name) = std::str::from_utf8(name) else { return wrong("a key column's name is not UTF-8".into()) };
            names.push(name.to_string());
            rest = after;
        }
        let names: Arc<[String]> = names.into();
        // Copied: a slice would keep the whole batch alive.
        self.names = Some((Buffer::from(bytes.as_slice()), names.clone()));
        Ok(names)
    }
}

impl Prefix {
    /// Where all of it, added up, is at most a few times the length of a u32.
    fn read(body: &[u8]) -> Result<Self> {
        let Some(prefix) = body.get(..PREFIX_BYTES) else { return wrong("its beginning is cut off".into()) };
        let number =
            |at: usize| prefix[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
        if prefix[16..].iter().any(|byte| *byte != 0) {
            return wrong("a field that must be 0 is not".into());
        }
        Ok(Prefix { rows: number(0), columns: number(4), names: number(8), origin: number(12) })
    }
}

fn origin(json: &[u8]) -> Result<Option<Arc<Origin>>> {
    if json.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(json) {
        Ok(origin) => Ok(Some(Arc::new(origin))),
        Err(error) => wrong(format!("where its rows were read cannot be read: {error}")),
    }
}

fn wrong<T>(what: String) -> Result<T> {
    Err(DecodeError(what))
}

/// The length was checked with the header, before the body was read.
fn decompress(header: &Header, body: &[u8]) -> Result<Buffer> {
    let mut raw = MutableBuffer::from_len_zeroed(header.raw_length as usize);
    match lz4_flex::block::decompress_into(body, raw.as_slice_mut()) {
        Ok(length) if length == raw.len() => Ok(raw.into()),
        Ok(length) => wrong(format!("it has {length} bytes without compression and claims {}", raw.len())),
        Err(error) => wrong(format!("LZ4: {error}")),
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}
