//! The log of one partition: records and the markers of transactions, each at an offset of its own.
//!
//! The rules, as Apache Kafka's brokers have them:
//!
//! - A record gets the next offset, and keeps it. The marker that ends a transaction in this partition takes up an offset, too,
//!   and no reader is ever given it; nor is one who reads committed records given those of an aborted transaction.
//! - The *high watermark* is the offset that the next record gets (there is one copy of everything here). The *last stable offset*
//!   is the first one of the oldest transaction that is still open, or else the high watermark. Who reads committed records gets
//!   to the last stable offset and no further, whatever has been committed behind it.
//! - Of each producer id the log knows the epoch, the number (sequence) of its last record, and its last five batches. A lower
//!   epoch is refused; a new epoch begins at 0; of the same epoch, what comes next must follow without a gap, and what came
//!   already is acknowledged and not appended again. A producer that is not known here may begin anywhere.
//! - Markers carry the epoch that the coordinator has then, so that records of a fenced session are refused from there on.
//! - Compaction leaves of each key the newest committed record below the last stable offset, and what is not compacted yet (the
//!   active segment); aborted records go, and markers once nothing of their transaction is left. No offset ever moves. Retention
//!   raises the beginning.
//!
//! - A leader that was elected although it lacks records (an *unclean* election) cuts them off; what is written then gets their
//!   offsets again, under the next *leader epoch*. Of each epoch the log knows where it begins.
//!
//! Invariant: offsets rise from entry to entry, all of them are below `end`, and none is below `beginning`.

use super::request::{Behind, Fetched, Record, Refusal, Session};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use weir_kafka::{Bounds, Isolation};

/// How many of a producer's last batches are known again.
const KNOWN_BATCHES: usize = 5;

/// The log of one partition.
#[derive(Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    beginning: i64,
    end: i64,
    /// By producer id: the first offset of its open transaction.
    open: BTreeMap<i64, i64>,
    producers: BTreeMap<i64, Known>,
    /// Leader epochs after the first one, which is 0, with the first offset of each.
    epochs: Vec<(i32, i64)>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// With the producer and the fate of its transaction, if it is of one.
    Record(Arc<Record>, Option<(i64, Fate)>),
    /// The end of a transaction of a producer, whose first record here was at that offset.
    Marker { producer: i64, first: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

/// What is known of a producer.
#[derive(Debug)]
struct Known {
    epoch: i16,
    /// First and last number of its last batches.
    batches: VecDeque<(i32, i32)>,
}

impl Log {
    /// Appends records that are in no transaction.
    pub fn append_plain(&mut self, records: &[Arc<Record>]) {
        records.iter().for_each(|record| self.push(Content::Record(record.clone(), None)));
    }

    /// Whether a transaction of this session is open here.
    pub fn is_open(&self, session: Session) -> bool {
        self.open.contains_key(&session.producer)
            && self.producers.get(&session.producer).is_some_and(|known| known.epoch == session.epoch)
    }

    /// Appends records of a transaction; of what came already only the acknowledgement is repeated.
    pub fn append(&mut self, session: Session, sequence: i32, records: &[Arc<Record>]) -> Result<(), Refusal> {
        let batch = (sequence, sequence + records.len() as i32 - 1);
        if self.is_repeated(session, batch)? {
            return Ok(());
        }
        self.open.entry(session.producer).or_insert(self.end);
        for record in records {
            self.push(Content::Record(record.clone(), Some((session.producer, Fate::Open))));
        }
        let known = self.producers.entry(session.producer);
        let known = known.or_insert_with(|| Known { epoch: session.epoch, batches: VecDeque::new() });
        if known.epoch != session.epoch {
            *known = Known { epoch: session.epoch, batches: VecDeque::new() };
        }
        known.batches.push_back(batch);
        if known.batches.len() > KNOWN_BATCHES {
            known.batches.pop_front();
        }
        Ok(())
    }

    /// Whether these records came already; refused if they may not come now.
    fn is_repeated(&self, session: Session, batch: (i32, i32)) -> Result<bool, Refusal> {
        let Some(known) = self.producers.get(&session.producer) else { return Ok(false) };
        if session.epoch < known.epoch {
            return Err(Refusal::InvalidProducerEpoch);
        }
        let last = match known.batches.back() {
            Some((_, last)) if known.epoch == session.epoch => *last,
            _ => -1,
        };
        if known.epoch == session.epoch && known.batches.contains(&batch) {
            return Ok(true);
        }
        match batch.0 == last + 1 {
            true => Ok(false),
            false => Err(Refusal::OutOfOrderSequence),
        }
    }

    /// Ends the open transaction of a producer, and lets nothing of an older epoch in from now on.
    pub fn end_transaction(&mut self, session: Session, committed: bool) {
        let first = self.open.remove(&session.producer).unwrap_or(self.end);
        let fate = if committed { Fate::Committed } else { Fate::Aborted };
        let from = self.index_of(first);
        for entry in &mut self.entries[from..] {
            if let Content::Record(_, Some((producer, decided))) = &mut entry.content
                && *producer == session.producer
                && *decided == Fate::Open
            {
                *decided = fate;
            }
        }
        self.push(Content::Marker { producer: session.producer, first });
        let known = self.producers.entry(session.producer);
        let known = known.or_insert_with(|| Known { epoch: session.epoch, batches: VecDeque::new() });
        if known.epoch < session.epoch {
            *known = Known { epoch: session.epoch, batches: VecDeque::new() };
        }
    }

    /// Where it begins and ends.
    pub fn bounds(&self) -> Bounds {
        let stable_end = self.open.values().copied().min().unwrap_or(self.end);
        Bounds { beginning: self.beginning, stable_end, end: self.end }
    }

    /// Reads from an offset on, at most so many entries.
    pub fn fetch(&self, offset: i64, isolation: Isolation, most: usize) -> Result<Fetched, Refusal> {
        let Bounds { beginning, stable_end, end } = self.bounds();
        if offset < beginning || offset > end {
            return Err(Refusal::OffsetOutOfRange);
        }
        let until = if isolation == Isolation::Committed { stable_end } else { end };
        let mut fetched = Fetched { records: Vec::new(), next: offset.max(until), end, epochs: self.epochs.clone() };
        for (seen, entry) in self.entries[self.index_of(offset)..].iter().enumerate() {
            if entry.offset >= until {
                break;
            }
            if seen == most {
                fetched.next = entry.offset;
                break;
            }
            match &entry.content {
                Content::Record(record, fate) if is_shown(*fate, isolation) => {
                    fetched.records.push((entry.offset, record.clone()));
                }
                _ => {}
            }
        }
        Ok(fetched)
    }

    /// The first record at or after a time that a reader may be given.
    pub fn offset_at(&self, time_ms: i64) -> Option<i64> {
        self.entries.iter().find_map(|entry| match &entry.content {
            Content::Record(record, _) if record.timestamp_ms >= time_ms => Some(entry.offset),
            _ => None,
        })
    }

    /// Whether a record that a leader of an epoch wrote right below an offset is still there, as far as the epochs tell.
    pub fn holds(&self, Behind { offset, leader_epoch }: Behind) -> bool {
        let after = self.epochs.iter().find(|(epoch, _)| *epoch > leader_epoch);
        offset <= after.map_or(self.end, |(_, begin)| *begin)
    }

    /// Another leader, who lacks what is at an offset and behind it, is elected all the same.
    pub fn lose_from(&mut self, offset: i64) {
        self.end = self.end.min(offset.max(self.beginning));
        let kept = self.index_of(self.end);
        self.entries.truncate(kept);
        self.open.retain(|_, first| *first < self.end);
        self.producers.clear();
        let epoch = self.epochs.last().map_or(1, |(epoch, _)| epoch + 1);
        self.epochs.retain(|(_, begin)| *begin < self.end);
        self.epochs.push((epoch, self.end));
    }

    /// Removes all below an offset.
    pub fn retain_from(&mut self, offset: i64) {
        self.beginning = self.beginning.max(offset.min(self.end));
        let gone = self.index_of(self.beginning);
        self.entries.drain(..gone);
    }

    /// Compacts all but the last `active` entries.
    pub fn compact(&mut self, active: usize) {
        let stable_end = self.bounds().stable_end;
        let until = self.entries.len().saturating_sub(active.max(1));
        let until = self.entries.get(until).map_or(stable_end, |entry| entry.offset.min(stable_end));
        let mut newest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.offset < stable_end) {
            if let Content::Record(record, fate) = &entry.content
                && is_shown(*fate, Isolation::Committed)
                && let Some(key) = &record.key
            {
                newest.insert(key.clone(), entry.offset);
            }
        }
        self.entries.retain(|entry| match &entry.content {
            _ if entry.offset >= until => true,
            Content::Record(record, fate) if is_shown(*fate, Isolation::Committed) => {
                record.key.as_ref().is_none_or(|key| newest.get(key) == Some(&entry.offset))
            }
            Content::Record(..) => false,
            Content::Marker { .. } => true,
        });
        self.remove_markers_of_nothing(until);
    }

    fn remove_markers_of_nothing(&mut self, until: i64) {
        let kept = self.entries.iter().filter_map(|entry| match &entry.content {
            Content::Record(_, Some((producer, _))) => Some((*producer, entry.offset)),
            _ => None,
        });
        let kept: BTreeSet<(i64, i64)> = kept.collect();
        self.entries.retain(|entry| match &entry.content {
            Content::Marker { producer, first } if entry.offset < until => {
                kept.range((*producer, *first)..(*producer, entry.offset)).next().is_some()
            }
            _ => true,
        });
    }

    fn push(&mut self, content: Content) {
        self.entries.push(Entry { offset: self.end, content });
        self.end += 1;
    }

    fn index_of(&self, offset: i64) -> usize {
        self.entries.partition_point(|entry| entry.offset < offset)
    }
}

fn is_shown(fate: Option<(i64, Fate)>, isolation: Isolation) -> bool {
    match fate {
        Some((_, fate)) => isolation == Isolation::Uncommitted || fate == Fate::Committed,
        None => true,
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
