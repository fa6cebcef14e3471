//! A first look at what comes out of each split: whether it is read as it was meant.
//!
//! A column whose unit or name is wrong makes a dead letter of every record, or puts all of them into 1970; that is said once,
//! with the file, and not left to be found in the counts. Nothing that goes through is changed.

use super::split_reader::{Connector, OpenedSplit, Over, OverSplits, SplitEvent, SplitReader};
use crate::{dead_letters::DeadLetter, moment};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::TimestampMillisecondType,
};
use futures::{FutureExt, future::BoxFuture};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use weir_engine::error::Result;

/// After so many records without a row the split is taken for one that is read wrongly.
const ENOUGH_RECORDS: usize = 100;

/// So many splits are spoken of by one subtask; of a folder full of them the first tell enough.
const MOST_SPLITS: usize = 8;

/// Event times that are hardly meant when all are like this: before 1980, and after 2100.
const HARDLY_BEFORE: i64 = 315_532_800_000;
const HARDLY_AFTER: i64 = 4_102_444_800_000;

/// Looks at the splits of a connector.
pub(super) struct FirstLook {
    event_time: Option<Arc<str>>,
    spoken_of: Arc<AtomicUsize>,
}

impl FirstLook {
    /// `event_time` is the column that rows of the connector have their event time in.
    pub(super) fn at(inner: Box<dyn Connector>, event_time: Option<&str>) -> Box<dyn Connector> {
        Over::boxed(inner, FirstLook { event_time: event_time.map(Into::into), spoken_of: Arc::default() })
    }
}

impl OverSplits for FirstLook {
    fn over(&mut self, opened: OpenedSplit) -> OpenedSplit {
        let look = Look { event_time: self.event_time.clone(), records: 0, first_reason: None };
        let (file, spoken_of) = (opened.name.clone(), Arc::clone(&self.spoken_of));
        let reader = Box::new(LookedAt { inner: opened.reader, file, look: Some(look), spoken_of });
        OpenedSplit { reader, ..opened }
    }
}

struct LookedAt {
    inner: Box<dyn SplitReader>,
    file: String,
    /// Until it has been said what there is to say.
    look: Option<Look>,
    spoken_of: Arc<AtomicUsize>,
}

/// What has been seen of a split.
struct Look {
    event_time: Option<Arc<str>>,
    /// Dead letters so far, and why the first is one.
    records: usize,
    first_reason: Option<String>,
}

/// What comes of a look.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing can be said yet.
    TooLittle,
    Fine,
    /// Something to be said.
    Odd(String),
}

impl Look {
    fn at(&mut self, rows: &RecordBatch, dead_letters: &[DeadLetter]) -> Seen {
        if rows.num_rows() > 0 {
            return self.at_times(rows);
        }
        self.records += dead_letters.len();
        if let (None, Some(first)) = (&self.first_reason, dead_letters.first()) {
            self.first_reason = Some(first.reason.clone());
        }
        if self.records < ENOUGH_RECORDS { Seen::TooLittle } else { self.at_end() }
    }

    /// When no row has come.
    fn at_end(&self) -> Seen {
        match &self.first_reason {
            None => Seen::Fine,
            Some(reason) => Seen::Odd(format!(
                "none of the first {} records is a row: all are dead letters, the first since {reason}",
                self.records
            )),
        }
    }

    fn at_times(&self, rows: &RecordBatch) -> Seen {
        let Some(event_time) = &self.event_time else { return Seen::Fine };
        let times = rows.column_by_name(event_time);
        let Some(times) = times.and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>()) else {
            return Seen::Fine;
        };
        let mut known = times.iter().flatten();
        let Some(first) = known.next() else { return Seen::Fine };
        let all = |odd: fn(i64) -> bool| odd(first) && known.clone().all(odd);
        let when = if all(|time| time < HARDLY_BEFORE) {
            "before 1980"
        } else if all(|time| time > HARDLY_AFTER) {
            "after 2100"
        } else {
            return Seen::Fine;
        };
        Seen::Odd(format!(
            "all of the first {} event times are {when}, such as {}: is the `unit` of {event_time} right?",
            times.len() - times.null_count(),
            moment::show(first)
        ))
    }
}

impl LookedAt {
    fn look(&mut self, event: &SplitEvent) {
        let Some(look) = &mut self.look else { return };
        let seen = match event {
            SplitEvent::Records { columns, dead_letters } => look.at(columns, dead_letters),
            SplitEvent::Pending | SplitEvent::AtRest | SplitEvent::Away => Seen::TooLittle,
            SplitEvent::Finished => look.at_end(),
        };
        if let Seen::Odd(what) = &seen
            && self.spoken_of.fetch_add(1, Ordering::Relaxed) < MOST_SPLITS
        {
            tracing::warn!(file = self.file, "{what}");
        }
        if seen != Seen::TooLittle {
            // There may be very many files.
            (self.look, self.file) = (None, String::new());
        }
    }
}

impl SplitReader for LookedAt {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        async move {
            let event = self.inner.next_chunk(max_rows).await?;
            self.look(&event);
            Ok(event)
        }
        .boxed()
    }

    fn position(&self) -> serde_json::Value {
        self.inner.position()
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        self.inner.locate_rows(rows)
    }

    fn is_at_hand(&self) -> bool {
        self.inner.is_at_hand()
    }

    fn is_over(&self) -> bool {
        self.inner.is_over()
    }

    fn bytes_behind(&self) -> u64 {
        self.inner.bytes_behind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, TimestampMillisecondArray};

    const CLICK: i64 = 1_646_352_001_000;

    fn look() -> Look {
        Look { event_time: Some("at".into()), records: 0, first_reason: None }
    }

    fn rows(times: &[Option<i64>]) -> RecordBatch {
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC"));
        RecordBatch::try_from_iter_with_nullable([("at", times, true)]).expect("rows")
    }

    fn dead_letters(count: usize) -> Vec<DeadLetter> {
        let letter = |number| DeadLetter { offset: 0, reason: format!("reason {number}"), raw: String::new() };
        (0..count).map(letter).collect()
    }

    #[test]
    fn a_file_of_nothing_but_dead_letters_is_spoken_of_with_the_first_reason() {
        let mut seen = look();
        assert_eq!(seen.at(&rows(&[]), &dead_letters(60)), Seen::TooLittle);
        let Seen::Odd(what) = seen.at_end() else { panic!("it ends like that") };
        assert!(what.contains("first 60 records") && what.contains("reason 0"), "{what}");
        assert!(matches!(seen.at(&rows(&[]), &dead_letters(40)), Seen::Odd(_)));
        assert_eq!(look().at_end(), Seen::Fine, "an empty file");
        assert_eq!(look().at(&rows(&[Some(CLICK)]), &dead_letters(500)), Seen::Fine);
    }

    #[test]
    fn times_that_are_all_absurd_are_spoken_of() {
        let odd = |times: &[Option<i64>]| match look().at(&rows(times), &[]) {
            Seen::Odd(what) => Some(what),
            _ => None,
        };
        let seconds = odd(&[Some(CLICK / 1_000), None, Some(CLICK / 1_000 + 60)]).expect("1970");
        assert!(seconds.contains("first 2 event times are before 1980, such as 1970-01-20"), "{seconds}");
        assert!(seconds.contains("`unit` of at"), "{seconds}");
        assert!(odd(&[Some(HARDLY_AFTER + 1)]).is_some());
        assert_eq!(odd(&[Some(CLICK / 1_000), Some(CLICK)]), None);
        assert_eq!(odd(&[Some(CLICK)]), None);
        assert_eq!(odd(&[None]), None);
    }
}
