//! Reads one partition: records come in as they were fetched, rows and dead letters go out.
//!
//! Invariants: the position is the offset right behind the last record that came out, as a row, a dead letter or a tombstone, and
//! behind what else lies there; what was fetched and is not decoded yet is held, so that a wait may be given up and begun again.
//! A record without a value, a tombstone, is no event: it is passed over and counted.

use super::{
    away::Away,
    metadata::{Columns, MetadataRows},
    position::{Behind, Position, expired, truncated},
    progress::Progress,
};
use crate::{
    dead_letters::DeadLetter,
    format::{BadLine, DecodedLines, MessageDecoder, messages_of_rows},
    source::{
        settings::POLL_INTERVAL,
        split_reader::{SplitEvent, SplitReader},
    },
};
use arrow::{
    array::{ArrayRef, BooleanArray},
    compute::filter,
};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;
use weir_engine::{
    env::Env,
    error::{EngineError, ErrorKind, Result},
    operator::Counter,
};
use weir_kafka::{KafkaError, KafkaErrorKind, PartitionReader, RecordRef};

/// So many bytes are taken at once, if records are as long as they may be.
const PORTION_BYTES: usize = 64 << 20;
/// So many records are taken at once.
const PORTION: usize = 256;
/// What a reader without anything to do may hold on to.
const KEPT_BYTES: usize = 64 << 10;

/// What all partitions of a subtask share.
pub(super) struct Shared {
    pub(super) columns: Columns,
    /// A longer value is a dead letter, in bytes.
    pub(super) longest: usize,
    pub(super) away: Arc<Away>,
    /// Is told when a partition may have something.
    pub(super) woken: Arc<Notify>,
    /// Splits that have nothing.
    pub(super) resting: Mutex<Vec<String>>,
    pub(super) tombstones: Counter,
    /// Topics are those that fit a pattern: they come and go, which is found out beside the reading.
    pub(super) by_pattern: bool,
    pub(super) env: Env,
}

/// One partition.
pub(super) struct KafkaPartition {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    id: String,
    position: Position,
    /// None: everything up to its end has been read.
    reader: Option<Box<dyn PartitionReader>>,
    decoder: Box<dyn MessageDecoder>,
    fetched: Fetched,
    /// What came after records that were fetched.
    failed: Option<KafkaError>,
    last: Last,
}

/// Records that have been fetched, and are not out yet.
struct Fetched {
    metadata: MetadataRows,
    /// What the decoder holds, to find it again.
    messages: Messages,
    dead_letters: Vec<DeadLetter>,
    tombstones: u64,
    bytes: u64,
    newest_ms: Option<i64>,
    /// The last of them, if its leader is known.
    behind: Option<Behind>,
    /// The offset behind them, once it is known.
    next: Option<i64>,
}

/// Values, one behind the other.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
    /// Where each ends, and its offset.
    ends: Vec<(usize, i64)>,
}

/// What came out last.
#[derive(Default)]
struct Last {
    messages: Messages,
    bad: Vec<BadLine>,
}

impl KafkaPartition {
    /// From a position on. Without a reader it is at its end.
    pub(super) fn new(
        progress: Arc<Progress>,
        reader: Option<Box<dyn PartitionReader>>,
        decoder: Box<dyn MessageDecoder>,
        shared: Arc<Shared>,
    ) -> Self {
        let position = progress.position();
        let fetched = Fetched {
            metadata: MetadataRows::new(&shared.columns, position.place()),
            messages: Messages::default(),
            dead_letters: Vec::new(),
            tombstones: 0,
            bytes: 0,
            newest_ms: None,
            behind: None,
            next: None,
        };
        let (id, last) = (position.split_id(), Last::default());
        KafkaPartition { shared, progress, id, position, reader, decoder, fetched, failed: None, last }
    }

    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        loop {
            if self.fetched.next.is_none() {
                if self.progress.is_gone() {
                    return self.end_gone();
                }
                if self.position.has_ended() {
                    (self.reader, self.last) = (None, Last::default());
                    self.shared.away.came();
                    return Ok(SplitEvent::Finished);
                }
                match self.fetch(max_rows) {
                    Ok(true) => {}
                    Ok(false) if self.position.has_ended() => continue,
                    Ok(false) => match self.rest().await {
                        Some(event) => return Ok(event),
                        None => continue,
                    },
                    Err(error) if error.kind == KafkaErrorKind::Unavailable => {
                        self.shared.away.met(&error.message);
                        match self.rest().await {
                            Some(event) => return Ok(event),
                            None => continue,
                        }
                    }
                    // Whether its topic is gone is not for its reader to say.
                    Err(error) if error.kind == KafkaErrorKind::NotFound && self.may_be_gone() => {
                        return Ok(SplitEvent::Away);
                    }
                    Err(error) => return Err(self.lost(&error)),
                }
            }
            match self.decoder.finish().await {
                Ok(decoded) => return self.give(decoded).await,
                // Such as a registry of schemas that is away: what was fetched stays.
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    self.shared.away.met(&error.message);
                    if self.position.end.is_none() {
                        return Ok(SplitEvent::Away);
                    }
                    self.shared.env.sleep(POLL_INTERVAL).await;
                }
                Err(error) => return Err(error.context(&self.id)),
            }
        }
    }

    /// Takes what has been fetched, at most so many records. `false`: there is nothing.
    fn fetch(&mut self, max_rows: usize) -> weir_kafka::Result<bool> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let Some(reader) = self.reader.as_mut().filter(|_| !self.progress.is_unchecked()) else { return Ok(false) };
        let (fetched, decoder, end, longest) =
            (&mut self.fetched, &mut self.decoder, self.position.end, self.shared.longest);
        let portion = (PORTION_BYTES / longest.max(1)).clamp(1, PORTION);
        let mut left = max_rows.max(1);
        let mut something = false;
        while left > 0 && !decoder.is_full() {
            let mut take = |record: RecordRef<'_>| {
                if end.is_none_or(|end| record.offset < end) {
                    fetched.take(&record, decoder.as_mut(), longest);
                    something = true;
                }
            };
            match reader.take(left.min(portion), &mut take) {
                Ok(0) => break,
                Ok(taken) => left = left.saturating_sub(taken),
                Err(error) if something => {
                    self.failed = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
            if end.is_some_and(|end| reader.position() >= end) {
                break;
            }
        }
        let next = end.map_or(reader.position(), |end| reader.position().min(end));
        // It may have begun behind the last record, and before what comes next.
        let next = next.max(self.position.offset);
        if something {
            self.shared.away.came();
            fetched.next = Some(next);
        } else {
            self.position.offset = next;
        }
        self.progress.set(self.position.offset, reader.end(), None);
        Ok(something)
    }

    /// There is nothing for now. Of a partition with an end, waits until there may be something.
    async fn rest(&mut self) -> Option<SplitEvent> {
        if self.position.end.is_none() {
            self.let_go();
            if self.progress.is_unchecked() || self.shared.away.is_waited_for() {
                return Some(SplitEvent::Away);
            }
            self.shared.resting.lock().push(self.id.clone());
            return Some(SplitEvent::AtRest);
        }
        tokio::select! {
            biased;
            () = self.shared.woken.notified() => {}
            () = self.shared.env.sleep(POLL_INTERVAL) => {}
        }
        None
    }

    /// Whether it ends when its topic is gone, and nothing else does.
    fn may_be_gone(&self) -> bool {
        self.shared.by_pattern && self.position.end.is_none()
    }

    /// Its topic is gone. What had not been read of it is a dead letter, as far as that is known.
    fn end_gone(&mut self) -> Result<SplitEvent> {
        let had_reader = self.reader.take().is_some();
        let unread = match self.progress.unread() {
            Some(0) => None,
            Some(unread) => Some(format!("{unread} offsets before its end had not been read")),
            None => Some("how much of it had not been read is not known".to_owned()),
        };
        if let (true, Some(unread)) = (had_reader, unread) {
            let (place, offset) = (self.position.place(), self.position.offset);
            let reason = format!("its topic is gone: {place} was read up to offset {offset}, and {unread}");
            tracing::warn!(partition = %place, offset, "the topic is gone, and {unread}");
            let letter = dead_letter(BadLine::new(offset.unsigned_abs(), 0, b"", reason));
            return Ok(SplitEvent::Records { columns: self.shared.columns.empty(), dead_letters: vec![letter] });
        }
        self.last = Last::default();
        self.progress.is_over_now();
        Ok(SplitEvent::Finished)
    }

    /// Nothing may come for long.
    fn let_go(&mut self) {
        if self.last.messages.bytes.capacity() + self.fetched.messages.bytes.capacity() > KEPT_BYTES {
            (self.last, self.fetched.messages) = (Last::default(), Messages::default());
        }
    }

    /// What was fetched comes out.
    async fn give(&mut self, decoded: DecodedLines) -> Result<SplitEvent> {
        let DecodedLines { records, bad_lines, .. } = decoded;
        let metadata = without_bad(self.fetched.metadata.finish(), &bad_lines)?;
        let columns = match self.fetched.messages.ends.is_empty() {
            true => self.shared.columns.empty(),
            false => self.shared.columns.together(&records, metadata).map_err(|error| error.context(&self.id))?,
        };
        let mut dead_letters = std::mem::take(&mut self.fetched.dead_letters);
        dead_letters.extend(bad_lines.iter().cloned().map(dead_letter));
        dead_letters.sort_by_key(|letter| letter.offset);
        self.last.take(&mut self.fetched.messages, bad_lines);
        self.shared.tombstones.add(std::mem::take(&mut self.fetched.tombstones));
        self.position.bytes += std::mem::take(&mut self.fetched.bytes);
        if let Some(next) = self.fetched.next.take() {
            (self.position.offset, self.position.behind) = (next, self.fetched.behind);
        }
        self.progress.set(self.position.offset, None, self.fetched.newest_ms.take());
        if columns.num_rows() == 0 && dead_letters.is_empty() {
            // Nothing but tombstones: whoever reads on must not keep others waiting.
            tokio::task::yield_now().await;
        }
        Ok(SplitEvent::Records { columns, dead_letters })
    }

    /// Why it cannot be read any further.
    fn lost(&self, error: &KafkaError) -> EngineError {
        let (place, offset) = (self.position.place(), self.position.offset);
        match error.kind {
            KafkaErrorKind::OutOfRange => {
                let told = expired(&place, offset, None);
                EngineError::of(told.kind, format!("{} ({error})", told.message))
            }
            KafkaErrorKind::Truncated => {
                let told = truncated(&place, offset);
                EngineError::of(told.kind, format!("{} ({error})", told.message))
            }
            _ => EngineError::from(error.clone()).context(format!("{place}, read up to offset {offset}")),
        }
    }
}

impl Fetched {
    #[inline]
    fn take(&mut self, record: &RecordRef<'_>, decoder: &mut dyn MessageDecoder, longest: usize) {
        if let (Some(time), newest) = (record.timestamp_ms, self.newest_ms) {
            self.newest_ms = Some(newest.map_or(time, |newest| newest.max(time)));
        }
        self.behind = record.leader_epoch.map(|leader_epoch| Behind { offset: record.offset + 1, leader_epoch });
        let Some(value) = record.value else {
            self.tombstones += 1;
            return;
        };
        self.bytes += value.len() as u64;
        if value.len() > longest {
            let length = value.len();
            let reason = format!("the message has {length} bytes, and at most {longest} are allowed (max_line_bytes)");
            return self.refuse(record.offset, value, reason);
        }
        if let Err(reason) = self.metadata.push(record) {
            return self.refuse(record.offset, value, reason);
        }
        decoder.push(value, record.offset.unsigned_abs());
        self.messages.bytes.extend_from_slice(value);
        self.messages.ends.push((self.messages.bytes.len(), record.offset));
    }

    #[cold]
    fn refuse(&mut self, offset: i64, value: &[u8], reason: String) {
        self.dead_letters.push(dead_letter(BadLine::new(offset.unsigned_abs(), 0, value, reason)));
    }
}

impl Messages {
    fn get(&self, number: usize) -> Option<(&[u8], i64)> {
        let (end, offset) = *self.ends.get(number)?;
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(end, _)| *end);
        Some((self.bytes.get(start..end)?, offset))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl Last {
    /// Remembers what has come out; its memory is used again.
    fn take(&mut self, messages: &mut Messages, bad: Vec<BadLine>) {
        std::mem::swap(&mut self.messages, messages);
        messages.clear();
        self.bad = bad;
    }
}

impl SplitReader for KafkaPartition {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        self.next(max_rows).boxed()
    }

    fn position(&self) -> serde_json::Value {
        serde_json::json!(self.position)
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let found = messages_of_rows(&self.last.bad, rows).into_iter().filter_map(|place| {
            let (value, offset) = self.last.messages.get(place)?;
            Some(dead_letter(BadLine::new(offset.unsigned_abs(), place, value, String::new())))
        });
        found.collect()
    }

    fn bytes_behind(&self) -> u64 {
        self.position.bytes
    }
}

/// The metadata of the messages that became rows.
fn without_bad(columns: Vec<ArrayRef>, bad: &[BadLine]) -> Result<Vec<ArrayRef>> {
    let Some(first) = columns.first().filter(|_| !bad.is_empty()) else { return Ok(columns) };
    let mut kept = vec![true; first.len()];
    for bad in bad {
        if let Some(kept) = kept.get_mut(bad.line) {
            *kept = false;
        }
    }
    let kept = BooleanArray::from(kept);
    Ok(columns.iter().map(|column| filter(column, &kept)).collect::<std::result::Result<_, _>>()?)
}

fn dead_letter(bad: BadLine) -> DeadLetter {
    DeadLetter { offset: i64::try_from(bad.offset).unwrap_or(i64::MAX), reason: bad.reason, raw: bad.raw }
}
