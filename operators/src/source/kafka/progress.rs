//! How far a partition has been read, for those who watch: lag, and the offsets of the consumer group.

use super::position::Position;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use weir_engine::operator::Lag;
use weir_kafka::TopicPartition;

/// Nothing is known.
const UNKNOWN: i64 = i64::MIN;

/// How far one partition has been read. Written by its reader alone.
#[derive(Debug)]
pub(super) struct Progress {
    began: Position,
    place: TopicPartition,
    offset: AtomicI64,
    /// The offset that the partition's next record gets.
    end: AtomicI64,
    /// The time of the newest record that was read, in milliseconds since the epoch.
    newest_ms: AtomicI64,
    /// Whether it was not possible yet to ask the brokers if it can be continued. Nothing is read until then.
    is_unchecked: AtomicBool,
    /// Its topic is gone.
    is_gone: AtomicBool,
    /// Its reader knows that, and has ended.
    has_ended: AtomicBool,
}

impl Progress {
    /// Of a partition that is read from here on.
    pub(super) fn of(began: Position) -> Self {
        Progress {
            place: began.place(),
            offset: AtomicI64::new(began.offset),
            end: AtomicI64::new(UNKNOWN),
            newest_ms: AtomicI64::new(UNKNOWN),
            is_unchecked: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            began,
        }
    }

    /// Of a partition that is read from here on when the brokers are back and say that it can be.
    pub(super) fn unchecked(began: Position) -> Self {
        Progress { is_unchecked: AtomicBool::new(true), ..Progress::of(began) }
    }

    /// Whether the brokers are still to be asked.
    pub(super) fn is_unchecked(&self) -> bool {
        self.is_unchecked.load(Ordering::Acquire)
    }

    /// They have been.
    pub(super) fn is_checked_now(&self) {
        self.is_unchecked.store(false, Ordering::Release);
    }

    /// Whether its topic is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Its topic is.
    pub(super) fn is_gone_now(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    /// Whether it is gone, and its reader has ended.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Its reader has ended.
    pub(super) fn is_over_now(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// How many offsets are known to lie before its end that have not been read. None: it is not known.
    pub(super) fn unread(&self) -> Option<u64> {
        let end = Some(self.end.load(Ordering::Relaxed)).filter(|end| *end != UNKNOWN)?;
        Some(u64::try_from(end.saturating_sub(self.offset())).unwrap_or(0))
    }

    /// The partition.
    pub(super) fn place(&self) -> &TopicPartition {
        &self.place
    }

    /// Where it is now.
    pub(super) fn position(&self) -> Position {
        Position { offset: self.offset(), ..self.began.clone() }
    }

    /// The offset of the next record.
    pub(super) fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// It has come to an offset; its end, and the time of its newest record, as far as they are known.
    pub(super) fn set(&self, offset: i64, end: Option<i64>, newest_ms: Option<i64>) {
        self.offset.store(offset, Ordering::Relaxed);
        end.into_iter().for_each(|end| self.end.store(end, Ordering::Relaxed));
        newest_ms.into_iter().for_each(|time| self.newest_ms.store(time, Ordering::Relaxed));
    }

    /// How much has not been read, in offsets: records, and markers of transactions among them. None: it is not known.
    pub(super) fn lag(&self, now_ms: i64) -> Option<Lag> {
        let known = |value: &AtomicI64| Some(value.load(Ordering::Relaxed)).filter(|value| *value != UNKNOWN);
        let records = self.unread()?;
        let behind_ms =
            known(&self.newest_ms).filter(|_| records > 0).map_or(0, |newest| now_ms.saturating_sub(newest));
        Some(Lag { records, behind_ms: u64::try_from(behind_ms).unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_kafka::Topic;

    #[test]
    fn lag_is_what_has_not_been_read_and_how_old_that_is() {
        let topic = Topic { id: None, partitions: 1, max_message_bytes: 1, is_compacted: false };
        let progress = Progress::of(Position::new("t", &topic, 0, 5));
        assert_eq!((progress.lag(100), progress.offset()), (None, 5));
        progress.set(7, Some(10), None);
        assert_eq!(progress.lag(100), Some(Lag { records: 3, behind_ms: 0 }), "nothing was read that says when");
        progress.set(8, None, Some(40));
        assert_eq!(progress.lag(100), Some(Lag { records: 2, behind_ms: 60 }));
        progress.set(10, None, None);
        assert_eq!(progress.lag(100), Some(Lag { records: 0, behind_ms: 0 }));
        assert_eq!((progress.position().offset, progress.place().to_string().as_str()), (10, "t-0"));
    }
}
