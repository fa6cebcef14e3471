//! Messages: records that come one by one, each with its own bytes, such as the values of a topic.
//!
//! A source makes one [`MessageFormat`] of its settings ([`FormatSettings::messages`](super::FormatSettings::messages)) and
//! of that a decoder for each of its splits. It gives the decoder message after message with
//! [`push`](MessageDecoder::push), which copies what it needs and never waits, until it has enough of them or
//! [`is_full`](MessageDecoder::is_full) says so. [`finish`](MessageDecoder::finish) gives back the rows and what became no
//! row, in the order of the messages. It waits where a schema has to be fetched first. Dropped while it waits, it has lost
//! nothing: the messages are still held, and the next call goes on. So a source remembers which messages it has pushed, moves
//! its position only when `finish` has answered, and where messages are [`held`](MessageDecoder::held) already, it calls
//! `finish` before it pushes more.
//!
//! Invariants, for every format and for any bytes: nothing panics; every message is exactly one row or exactly one
//! [`BadLine`] with a reason in words, whose `line` is the place of the message among those pushed since the last `finish`
//! and whose `offset` is what the source gave with it; a bad message spoils no other. A registry that is away is an error of
//! the kind that waiting heals, and no reason to lose a message.

use arrow::datatypes::SchemaRef;
use futures::{FutureExt, future::BoxFuture};
use memchr::memchr;
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

use super::rows::{BYTE_ORDER_MARK, Rows};
use super::{BadLine, DecodedLines, FormatError};

/// From so many bytes on a decoder is full: what its columns hold stays far below the 2 GiB that they can address, even
/// where text grows on the way.
const FULL_BYTES: usize = 32 << 20;
/// More than this is not decoded at once.
const MOST_BYTES: usize = 256 << 20;

/// Decodes the messages of one split.
pub trait MessageDecoder: Send {
    /// The schema of the decoded rows: the requested columns, in the requested order.
    fn schema(&self) -> &SchemaRef;

    /// Takes one message. `offset` is its place in its split, for its dead letter.
    fn push(&mut self, message: &[u8], offset: u64);

    /// How much has been pushed since `finish` gave something back.
    fn held(&self) -> Held;

    /// Whether `finish` should be called before more is pushed.
    fn is_full(&self) -> bool {
        self.held().bytes >= FULL_BYTES
    }

    /// What the messages became that were pushed since the last time: a row each, or a bad line.
    ///
    /// # Errors
    /// When a schema cannot be fetched, or more was pushed than fits: bad messages are no error.
    fn finish(&mut self) -> BoxFuture<'_, Result<DecodedLines>>;
}

/// Messages that a decoder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Held {
    /// One more; whether it still fits.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        self.messages += 1;
        self.bytes += bytes;
        self.bytes <= MOST_BYTES
    }

    /// All of them, if they fit. None are held then.
    pub(super) fn take(&mut self) -> std::result::Result<Held, FormatError> {
        let held = std::mem::take(self);
        if held.bytes > MOST_BYTES {
            return Err(FormatError::ChunkTooLarge { offset: 0, bytes: held.bytes });
        }
        Ok(held)
    }
}

/// What makes decoders for the splits of a source. They share what they learn of schemas.
#[derive(Clone)]
pub struct MessageFormat {
    make: Arc<dyn Fn() -> Result<Box<dyn MessageDecoder>> + Send + Sync>,
}

impl MessageFormat {
    pub(super) fn new(make: impl Fn() -> Result<Box<dyn MessageDecoder>> + Send + Sync + 'static) -> Self {
        MessageFormat { make: Arc::new(make) }
    }

    /// A decoder for one split.
    ///
    /// # Errors
    /// When the columns are none of the format's.
    pub fn decoder(&self) -> Result<Box<dyn MessageDecoder>> {
        (self.make)()
    }
}

/// The messages that the rows of a batch were; `rows` in rising order, `bad` as `finish` gave them.
pub fn messages_of_rows(bad: &[BadLine], rows: &[usize]) -> Vec<usize> {
    let mut passed = 0;
    let place = |row: &usize| {
        while bad.get(passed).is_some_and(|bad| bad.line <= *row + passed) {
            passed += 1;
        }
        *row + passed
    };
    rows.iter().map(place).collect()
}

/// Reads records of a format of text, one at a time.
pub trait TextDecoder: Send {
    /// The rows so far.
    fn rows(&mut self) -> &mut Rows;

    /// The schema of the rows.
    fn rows_schema(&self) -> &SchemaRef;

    /// Appends one value to every column, or says in words what is wrong with the record.
    ///
    /// # Errors
    /// Says what is wrong with it.
    fn append(&mut self, record: &str) -> std::result::Result<(), String>;

    /// Whether one with nothing in it is a record.
    fn takes_empty(&self) -> bool {
        false
    }
}

/// Messages of text: each is one record, whatever line breaks are in it. They are decoded as they come.
pub(super) struct TextMessages<T> {
    decoder: T,
    most: usize,
    held: Held,
}

impl<T: TextDecoder> TextMessages<T> {
    /// Of at most `most` bytes each.
    pub(super) fn new(decoder: T, most: usize) -> Self {
        TextMessages { decoder, most, held: Held::default() }
    }

    fn take(&mut self) -> std::result::Result<DecodedLines, FormatError> {
        let held = self.held.take();
        // What does not fit is let go of, too.
        let decoded = self.decoder.rows().finish(held.as_ref().map_or(0, |held| held.bytes));
        held.and(decoded)
    }
}

impl<T: TextDecoder> MessageDecoder for TextMessages<T> {
    fn schema(&self) -> &SchemaRef {
        self.decoder.rows_schema()
    }

    fn push(&mut self, message: &[u8], offset: u64) {
        let place = self.held.messages;
        if !self.held.add(message.len()) {
            return;
        }
        let text = text_of(message, self.most, self.decoder.takes_empty());
        match text.and_then(|text| self.decoder.append(text)) {
            Ok(()) => self.decoder.rows().end_row(),
            Err(reason) => self.decoder.rows().reject(BadLine::new(offset, place, message, reason)),
        }
    }

    fn held(&self) -> Held {
        self.held
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<DecodedLines>> {
        async move { self.take().map_err(message_error) }.boxed()
    }
}

/// A message as text, without a byte order mark and a last line break.
fn text_of(message: &[u8], most: usize, takes_empty: bool) -> std::result::Result<&str, String> {
    if message.len() > most {
        return Err(too_long(message.len(), most));
    }
    let text = message.strip_prefix(BYTE_ORDER_MARK).unwrap_or(message);
    let text = text.strip_suffix(b"\n").map_or(text, |text| text.strip_suffix(b"\r").unwrap_or(text));
    if text.is_empty() && !takes_empty {
        return Err("the message is empty".to_owned());
    }
    if let Some(place) = memchr(0, text) {
        return Err(format!("the message has a NUL byte, at byte {} of it", place + 1));
    }
    std::str::from_utf8(text)
        .map_err(|error| format!("the message is not UTF-8, at byte {} of it", error.valid_up_to() + 1))
}

/// Why a message of so many bytes is refused.
pub(super) fn too_long(bytes: usize, most: usize) -> String {
    format!("the message has {bytes} bytes, and at most {most} are allowed (max_line_bytes)")
}

pub(super) fn message_error(error: FormatError) -> EngineError {
    EngineError::definition(error.to_string())
}
