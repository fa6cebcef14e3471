//! One split of a source: how far it has come, which of its rows are behind or refused, and its state.

use super::ReaderSettings;
use crate::{
    dead_letters::DeadLetter,
    source::{
        event_times::EventTimes,
        head::{Added, Chunk, Head},
        split_reader::{OpenedSplit, SplitReader},
        split_watermark::{Jump, Observed, RefusedAhead, SplitWatermark, WatermarkRule},
        turns::{Place, Rank},
    },
};
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use weir_engine::{
    env::Moment,
    error::{EngineError, Result},
    operator::SplitState,
};

/// One split and how far it has come.
pub(super) struct Split {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) reader: Box<dyn SplitReader>,
    pub(super) watermark: SplitWatermark,
    /// Known beforehand, so that its rows do not move it.
    pub(super) watermark_is_fixed: bool,
    pub(super) finished: bool,
    /// The first records, until it is known where time begins.
    pub(super) head: Option<Head>,
    /// The reader has come to the end, though something may wait in the head.
    pub(super) at_end: bool,
    /// Decoded but not yet sent; a part of the state, since a barrier may fall in between.
    pub(super) undelivered: Vec<DeadLetter>,
    /// Not asked again before this moment.
    pub(super) ask_at: Option<Moment>,
    /// It has nothing, and the connector says when it may have.
    pub(super) at_rest: bool,
    /// Its state may not be what the last checkpoint says, and how many checkpoints have said the same.
    pub(super) changed: bool,
    pub(super) unchanged: u32,
    /// The pack that its state is in.
    pub(super) pack: Option<u64>,
    /// Those that still have an older state of it.
    pub(super) older_packs: Vec<u64>,
    /// Since when nothing has come out of it.
    pub(super) pending_since: Option<Moment>,
    /// Since when it has had nothing whenever it was asked.
    pub(super) quiet_since: Option<Moment>,
    /// Whoever has it did not answer when it was asked last.
    pub(super) is_away: bool,
    /// How much of that its watermark has been told, in milliseconds.
    pub(super) silence_told: i64,
    /// Silent for long enough not to hold the watermark back.
    pub(super) silent: bool,
    /// As far as it is counted in `bytes_in`.
    pub(super) bytes_behind: u64,
}

/// The wall clock, and how far rows may be ahead of it, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) now_ms: i64,
    pub(super) max_ahead_ms: i64,
}

/// What is said of the rows of a chunk.
#[derive(Default)]
pub(super) struct Judged {
    /// The rows that are refused, in rising order, and why.
    pub(super) refused: Vec<(usize, String)>,
    /// The watermark before each of the others, if one is behind it.
    pub(super) watermarks: Option<Vec<i64>>,
    pub(super) jumps: Vec<Jump>,
}

impl Judged {
    /// Adds the rows that are ahead to those that are `refused` already. `row_of` gives the place of an observed row.
    fn new(
        observed: Observed,
        mut refused: Vec<(usize, String)>,
        row_of: impl Fn(usize) -> usize,
        times: &EventTimes<'_>,
        rule: WatermarkRule,
    ) -> Self {
        let (mut watermarks, jumps) = (observed.watermarks, observed.jumps);
        if let (false, Some(jump)) = (observed.refused.is_empty(), &rule.jump) {
            if let Some(watermarks) = &mut watermarks {
                let mut ahead = observed.refused.iter().map(|ahead| ahead.row).peekable();
                let mut row = 0..;
                watermarks.retain(|_| ahead.next_if_eq(&row.next().unwrap_or_default()).is_none());
            }
            let reason = |ahead: &RefusedAhead| {
                let row = row_of(ahead.row);
                (row, times.ahead_of_split(row, ahead.newest, jump))
            };
            refused.extend(observed.refused.iter().map(reason));
            refused.sort_by_key(|(row, _)| *row);
        }
        Judged { refused, watermarks, jumps }
    }
}

/// A split's state in a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredSplit {
    pub(super) position: serde_json::Value,
    pub(super) watermark: SplitWatermark,
    pub(super) finished: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) undelivered: Vec<DeadLetter>,
    /// Of a live split, what the wall clock showed, in milliseconds: until it is restored it is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) heard_at_ms: Option<i64>,
}

impl Split {
    pub(super) fn new(opened: OpenedSplit, stored: &mut HashMap<String, StoredSplit>) -> Self {
        let OpenedSplit { id, name, reader, newest_before_ms, oldest_ms } = opened;
        let stored = stored.remove(&id);
        let (mut watermark, finished, undelivered) = match stored {
            Some(stored) => (stored.watermark, stored.finished, stored.undelivered),
            None => (SplitWatermark::beginning_after(newest_before_ms), false, Vec::new()),
        };
        if let Some(oldest) = oldest_ms {
            watermark.raise_floor(oldest);
        }
        Split {
            id,
            name,
            watermark,
            watermark_is_fixed: oldest_ms.is_some(),
            finished,
            head: None,
            at_end: false,
            undelivered,
            ask_at: None,
            at_rest: false,
            changed: false,
            unchanged: 0,
            pack: None,
            older_packs: Vec::new(),
            pending_since: None,
            quiet_since: None,
            is_away: false,
            silence_told: 0,
            silent: false,
            bytes_behind: reader.bytes_behind(),
            reader,
        }
    }

    /// It had been read to its end or could not be read, and is read on.
    pub(super) fn go_on_in(&mut self, opened: OpenedSplit) {
        (self.reader, self.name, self.finished) = (opened.reader, opened.name, false);
        (self.at_rest, self.ask_at, self.changed) = (false, None, true);
    }

    /// Where it stands among the others.
    pub(super) fn place(&self, settings: &ReaderSettings) -> Place {
        let watermark = self.watermark.watermark(settings.rule);
        let silent_at = || Some(self.quiet_since? + settings.idle_after?);
        let due = if self.at_rest && !self.silent { silent_at() } else { self.ask_at };
        let may_have_something = !self.finished && !self.at_rest && self.ask_at.is_none();
        Place {
            ready: if self.can_release() {
                Some(Rank::Held)
            } else {
                may_have_something.then_some(Rank::At(watermark))
            },
            due: due.filter(|_| !self.finished),
            watermark: (!self.finished && !self.silent).then_some(watermark),
        }
    }

    /// It has been asked, and has nothing, or whoever has it does not answer.
    pub(super) fn has_nothing(&mut self, now: Moment, is_away: bool, settings: &ReaderSettings) {
        self.pending_since.get_or_insert(now);
        self.quiet_since.get_or_insert(now);
        self.is_away |= is_away;
        self.be_silent(now, settings);
    }

    /// Whoever has it answers again: it is as if it had been asked only now. `sent` is the watermark that went on without it.
    pub(super) fn is_back(&mut self, now: Moment, sent: i64) {
        if self.silent {
            self.watermark.raise_floor(sent);
        }
        (self.is_away, self.silent) = (false, false);
        self.quiet_since = self.quiet_since.map(|_| now);
    }

    /// It has nothing, as its connector knows now: is it silent? It must not be asked before there was a look at it. A job that stood
    /// still would take all of its splits for silent, however much they have to say.
    pub(super) fn be_silent(&mut self, now: Moment, settings: &ReaderSettings) {
        let silent_at = || Some(self.quiet_since? + settings.idle_after?);
        self.silent |= silent_at().is_some_and(|silent_at| silent_at <= now);
        self.tell_silence(now);
    }

    /// Nothing has come out of it until now.
    pub(super) fn tell_silence(&mut self, now: Moment) {
        let Some(since) = self.pending_since else { return };
        let silence = i64::try_from((now - since).as_millis()).unwrap_or(i64::MAX);
        self.watermark.was_silent(silence - self.silence_told);
        self.silence_told = silence;
    }

    /// Lets a chunk wait, while it is not known where time begins. Gives back one that need not.
    pub(super) fn look_at(&mut self, chunk: Chunk, settings: &ReaderSettings) -> Result<Option<Chunk>> {
        let (Some(head), Some(event_time)) = (&mut self.head, &settings.event_time) else { return Ok(Some(chunk)) };
        let added = head.add(chunk, event_time, self.reader.as_ref());
        Ok(match added.map_err(|error| error.context(&self.name))? {
            Added::Passed(chunk) => Some(chunk),
            Added::Held => None,
            Added::Complete => {
                self.begin(settings.rule);
                None
            }
        })
    }

    /// Time begins where the first records say.
    pub(super) fn begin(&mut self, rule: WatermarkRule) {
        let first = self.head.as_ref().map_or(&[][..], Head::event_times);
        if let Some(start) = rule.jump.and_then(|jump| jump.beginning(first, rule.delay_ms)) {
            self.watermark.begin_at(start);
        }
    }

    /// The reader has come to its end: what waits has waited for nothing.
    pub(super) fn end(&mut self, settings: &ReaderSettings) {
        self.at_end = true;
        self.finished = self.head.as_ref().is_none_or(Head::is_empty);
        if !self.finished {
            self.begin(settings.rule);
        }
    }

    /// Whether it is known to end here, and nothing of it waits.
    pub(super) fn is_over(&self) -> bool {
        let nothing_waits = self.head.as_ref().is_none_or(Head::is_empty);
        nothing_waits && !self.finished && self.reader.is_over()
    }

    /// Whether something waits, and need not any longer.
    pub(super) fn can_release(&self) -> bool {
        let waits = self.head.as_ref().is_some_and(|head| !head.is_empty());
        waits && (self.at_end || self.watermark.has_begun())
    }

    /// The first chunk that need not wait any longer, and where its rows stand.
    pub(super) fn release(&mut self) -> Option<(Chunk, Option<Vec<DeadLetter>>)> {
        if !self.can_release() {
            return None;
        }
        let head = self.head.as_mut()?;
        let held = head.release()?;
        if head.is_empty() {
            (self.head, self.finished) = (None, self.at_end);
        }
        Some((held.chunk, held.located))
    }

    /// Which rows are refused, and which are behind.
    pub(super) fn judge(
        &mut self,
        rows: &RecordBatch,
        event_time: &str,
        rule: WatermarkRule,
        clock: Option<Clock>,
    ) -> Result<Judged> {
        let times = EventTimes::of(rows, event_time).map_err(|error| error.context(&self.name))?;
        let mut refused = times.refused();
        if let Some(clock) = clock {
            refused.extend(times.ahead_of_clock(clock.now_ms, clock.max_ahead_ms));
            refused.sort_by_key(|(row, _)| *row);
        }
        if self.watermark_is_fixed {
            return Ok(Judged { refused, ..Judged::default() });
        }
        if refused.is_empty() {
            let observed = self.watermark.observe(times.values(), rule);
            let row_of = |row: usize| row;
            return Ok(Judged::new(observed, refused, row_of, &times, rule));
        }
        let mut is_refused = vec![false; rows.num_rows()];
        refused.iter().for_each(|(row, _)| is_refused[*row] = true);
        let left: Vec<usize> = (0..rows.num_rows()).filter(|row| !is_refused[*row]).collect();
        let values: Vec<i64> = left.iter().map(|row| times.values()[*row]).collect();
        let observed = self.watermark.observe(&values, rule);
        Ok(Judged::new(observed, refused, |row| left[row], &times, rule))
    }

    /// Makes dead letters of rows, which are in rising order.
    pub(super) fn refuse(&mut self, refused: &[(usize, String)], located: Option<Vec<DeadLetter>>) -> Result<()> {
        let rows: Vec<usize> = refused.iter().map(|(row, _)| *row).collect();
        let located: Vec<DeadLetter> = match located {
            Some(located) => rows.iter().filter_map(|row| located.get(*row).cloned()).collect(),
            None => self.reader.locate_rows(&rows),
        };
        if located.len() != rows.len() {
            let found = format!("{} of {} rejected rows were found again", located.len(), rows.len());
            return Err(EngineError::internal(format!("{}: {found}", self.name)));
        }
        let reasons = refused.iter().map(|(_, reason)| reason.clone());
        self.undelivered.extend(located.into_iter().zip(reasons).map(|(found, reason)| DeadLetter { reason, ..found }));
        self.undelivered.sort_by_key(|dead_letter| dead_letter.offset);
        Ok(())
    }

    pub(super) fn stored(&self, heard_at_ms: Option<i64>) -> StoredSplit {
        let resume = self.head.as_ref().and_then(Head::resume).cloned();
        StoredSplit {
            position: resume.unwrap_or_else(|| self.reader.position()),
            watermark: self.watermark.clone(),
            finished: self.finished,
            undelivered: self.undelivered.clone(),
            heard_at_ms,
        }
    }

    pub(super) fn state(&self, heard_at_ms: Option<i64>) -> Result<SplitState> {
        let state = serde_json::to_value(self.stored(heard_at_ms)).map_err(|error| {
            EngineError::internal(format!("the state of split '{}' cannot be written: {error}", self.id))
        })?;
        Ok(SplitState { id: self.id.clone(), state })
    }
}
