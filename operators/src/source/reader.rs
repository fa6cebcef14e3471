//! The common part of every source: many splits of a connector become one stream with event time.
//!
//! Invariants: a split's state says exactly what came out of it, wherever a barrier falls between two events; which row is
//! behind is decided from its own split alone; the watermark sent on never falls, and is the smallest of those of all
//! splits that are neither finished nor silent. The split with the smallest watermark is read next, so that fast splits
//! don't run ahead and windows close early.
//!
//! **Silence** (followed sources only). A split without records for `idle_after` no longer holds the watermark back. When
//! it speaks again, and when a split is found while others have been read already, it joins with the watermark that was
//! sent by then as its floor: its older rows are behind. There, and only there, who is late depends on when things happen.

use super::{
    event_times::EventTimes,
    split_reader::{Connector, Discovery, OpenedSplit, RestoredSplit, SplitEvent, SplitReader},
    split_watermark::{SplitWatermark, WatermarkRule},
};
use crate::dead_letters::{DeadLetter, dead_letter_batch};
use arrow::{array::RecordBatch, compute::filter_record_batch};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use weir_engine::{
    element::{Batch, Origin, Port, WATERMARK_MIN},
    env::{Env, Moment},
    error::{EngineError, Result},
    operator::{Counter, OperatorContext, Source, SourceEvent, SplitState},
};

/// How a source's splits are read, whatever the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderSettings {
    /// The column that is the event time; none: the source has no watermark until its end.
    pub event_time: Option<String>,
    /// Delay and jump of the splits' watermarks.
    pub rule: WatermarkRule,
    /// After so long without records a split of a followed source is silent; none: never.
    pub idle_after: Option<Duration>,
    /// Records of a batch at most.
    pub batch_rows: usize,
    /// How often a followed source asks for new records.
    pub poll_interval: Duration,
    /// How often a followed source looks for new splits.
    pub discover_interval: Duration,
}

/// Drives the splits of one subtask.
pub struct SourceReader {
    /// The node's id, for dead letters and errors.
    source: String,
    settings: ReaderSettings,
    env: Env,
    connector: Box<dyn Connector>,
    splits: Vec<Split>,
    /// What has been read and not sent. When `next` returns there are no rows of the main output in it.
    queue: VecDeque<Queued>,
    /// The last watermark sent.
    sent: i64,
    idle: bool,
    next_discovery: Moment,
    /// Records that the last attempt failed on.
    suspect: Option<Arc<Origin>>,
    events_in: Counter,
    dead_letters: Counter,
    bytes_in: Counter,
}

/// Something to send.
enum Queued {
    Rows(Batch),
    /// The undelivered dead letters of the split at this index.
    DeadLetters(usize),
    Watermark(i64),
    Idle,
}

/// One split and how far it has come.
struct Split {
    id: String,
    name: String,
    reader: Box<dyn SplitReader>,
    watermark: SplitWatermark,
    /// Known beforehand, so that its rows do not move it.
    watermark_is_fixed: bool,
    finished: bool,
    /// Decoded but not yet sent; a part of the state, since a barrier may fall in between.
    undelivered: Vec<DeadLetter>,
    /// Not asked again before this moment.
    ask_at: Option<Moment>,
    /// Since when it has had nothing.
    pending_since: Option<Moment>,
    /// Silent for long enough not to hold the watermark back.
    silent: bool,
    /// As far as it is counted in `bytes_in`.
    bytes_behind: u64,
}

/// A split's state in a checkpoint.
#[derive(Serialize, Deserialize)]
struct StoredSplit {
    position: serde_json::Value,
    watermark: SplitWatermark,
    finished: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    undelivered: Vec<DeadLetter>,
}

impl SourceReader {
    /// A reader of the splits that `connector` says are this subtask's.
    pub fn new(settings: ReaderSettings, connector: Box<dyn Connector>, context: &OperatorContext) -> Self {
        SourceReader {
            source: context.operator.clone(),
            settings,
            env: context.env.clone(),
            connector,
            splits: Vec::new(),
            queue: VecDeque::new(),
            sent: WATERMARK_MIN,
            idle: false,
            next_discovery: context.env.now(),
            suspect: context.suspect.clone(),
            events_in: context.counters.counter("events_in"),
            dead_letters: context.counters.counter("dead_letters"),
            bytes_in: context.counters.counter("bytes_in"),
        }
    }

    async fn open(&mut self, states: Vec<SplitState>) -> Result<()> {
        let mut stored = HashMap::with_capacity(states.len());
        let mut restored = Vec::with_capacity(states.len());
        for state in states {
            let split: StoredSplit = serde_json::from_value(state.state).map_err(|error| {
                EngineError::corrupt(format!("the state of split '{}' cannot be read: {error}", state.id))
            })?;
            let position = split.position.clone();
            restored.push(RestoredSplit { id: state.id.clone(), position, finished: split.finished });
            stored.insert(state.id, split);
        }
        self.env.crash_point("source.opening")?;
        let opened = self.connector.open(restored).await?;
        self.env.crash_point("source.opened")?;
        self.splits = opened.into_iter().map(|opened| Split::new(opened, &mut stored)).collect();
        let undelivered = self.splits.iter().enumerate().filter(|(_, split)| !split.undelivered.is_empty());
        self.queue = undelivered.map(|(index, _)| Queued::DeadLetters(index)).collect();
        self.next_discovery = self.env.now() + self.settings.discover_interval;
        // A subtask without splits must not hold the others' time back until it first looks for some.
        self.queue_time();
        Ok(())
    }

    async fn advance(&mut self) -> Result<SourceEvent> {
        loop {
            if let Some(queued) = self.queue.pop_front() {
                return self.send(queued);
            }
            let followed = self.connector.is_followed();
            if followed && self.next_discovery <= self.env.now() {
                self.discover().await?;
            }
            match self.choose() {
                Some(index) => self.read(index).await?,
                None if !followed => return Ok(SourceEvent::EndOfInput),
                None => {
                    let (env, until) = (self.env.clone(), self.next_attempt());
                    env.sleep_until(until).await;
                }
            }
            self.queue_time();
        }
    }

    fn send(&mut self, queued: Queued) -> Result<SourceEvent> {
        Ok(match queued {
            Queued::Rows(batch) => {
                self.events_in.add(batch.len() as u64);
                SourceEvent::Rows(Port::Main, batch)
            }
            Queued::DeadLetters(index) => {
                let split = &mut self.splits[index];
                let rows = dead_letter_batch(&self.source, &split.name, &split.undelivered)?;
                split.undelivered.clear();
                self.events_in.add(rows.num_rows() as u64);
                self.dead_letters.add(rows.num_rows() as u64);
                SourceEvent::Rows(Port::DeadLetters, Batch::new(rows))
            }
            Queued::Watermark(watermark) => SourceEvent::Watermark(watermark),
            Queued::Idle => SourceEvent::Idle,
        })
    }

    /// The split to read next: of those that may have something, the one whose event time has come least far. A bounded
    /// source has one until its end.
    fn choose(&self) -> Option<usize> {
        let now = self.env.now();
        let may_have_something = |split: &Split| !split.finished && split.ask_at.is_none_or(|ask_at| ask_at <= now);
        let candidates = self.splits.iter().enumerate().filter(|(_, split)| may_have_something(split));
        let rule = self.settings.rule;
        candidates.min_by_key(|(_, split)| split.watermark.watermark(rule)).map(|(index, _)| index)
    }

    /// When a split may have something again, or it is time to look for new ones.
    fn next_attempt(&self) -> Moment {
        let asks = self.splits.iter().filter(|split| !split.finished).filter_map(|split| split.ask_at);
        asks.chain([self.next_discovery]).min().unwrap_or(self.next_discovery)
    }

    async fn discover(&mut self) -> Result<()> {
        self.env.crash_point("source.discovering")?;
        let Discovery { opened, gone } = self.connector.discover().await?;
        self.env.crash_point("source.discovered")?;
        self.next_discovery = self.env.now() + self.settings.discover_interval;
        for opened in opened {
            let index = match self.splits.iter().position(|split| split.id == opened.id) {
                Some(index) => {
                    let split = &mut self.splits[index];
                    (split.reader, split.name, split.finished) = (opened.reader, opened.name, false);
                    index
                }
                None => {
                    self.splits.push(Split::new(opened, &mut HashMap::new()));
                    self.splits.len() - 1
                }
            };
            self.splits[index].watermark.raise_floor(self.sent);
        }
        self.splits.retain(|split| !gone.contains(&split.id));
        Ok(())
    }

    async fn read(&mut self, index: usize) -> Result<()> {
        let split = &mut self.splits[index];
        let is_suspect = |suspect: &Arc<Origin>| suspect.may_hold(&self.source, &split.name, split.bytes_behind);
        let is_suspect = self.suspect.as_ref().is_some_and(is_suspect);
        self.env.crash_point("source.reading")?;
        let event = split.reader.next_chunk(if is_suspect { 1 } else { self.settings.batch_rows }).await?;
        self.env.crash_point("source.read")?;
        let (from, bytes_behind) = (split.bytes_behind, split.reader.bytes_behind());
        self.bytes_in.add(bytes_behind.saturating_sub(split.bytes_behind));
        split.bytes_behind = bytes_behind;
        match event {
            SplitEvent::Records { columns, dead_letters } => {
                // Finding a record's own place costs something, so only where it may be asked for.
                let located =
                    if is_suspect && columns.num_rows() == 1 { split.reader.locate_rows(&[0]) } else { vec![] };
                let record = located.first().and_then(|record| u64::try_from(record.offset).ok());
                let (source, split) = (self.source.clone(), split.name.clone());
                let origin = Origin { source, split, from, to: bytes_behind, record };
                self.take_records(index, columns, dead_letters, origin)
            }
            SplitEvent::Finished => {
                split.finished = true;
                Ok(())
            }
            SplitEvent::Pending => {
                let now = self.env.now();
                let since = *split.pending_since.get_or_insert(now);
                split.ask_at = Some(now + self.settings.poll_interval);
                split.silent = self.settings.idle_after.is_some_and(|idle_after| now - since >= idle_after);
                Ok(())
            }
        }
    }

    fn take_records(
        &mut self,
        index: usize,
        columns: RecordBatch,
        dead_letters: Vec<DeadLetter>,
        origin: Origin,
    ) -> Result<()> {
        let split = &mut self.splits[index];
        if split.silent {
            split.watermark.raise_floor(self.sent);
        }
        (split.silent, split.pending_since, split.ask_at) = (false, None, None);
        split.undelivered.extend(dead_letters);
        let mut batch = Batch { origin: Some(Arc::new(origin)), ..Batch::new(columns) };
        if let Some(event_time) = &self.settings.event_time {
            let times = EventTimes::of(&batch.columns, event_time).map_err(|error| error.context(&split.name))?;
            if let Some(plausible) = times.plausible() {
                let refused = times.refused();
                let rows: Vec<usize> = refused.iter().map(|(row, _)| *row).collect();
                let located = split.reader.locate_rows(&rows);
                if located.len() != rows.len() {
                    let found = format!("{} of {} refused rows were found again", located.len(), rows.len());
                    return Err(EngineError::internal(format!("{}: {found}", split.name)));
                }
                let reasons = refused.into_iter().map(|(_, reason)| reason);
                split
                    .undelivered
                    .extend(located.into_iter().zip(reasons).map(|(found, reason)| DeadLetter { reason, ..found }));
                split.undelivered.sort_by_key(|dead_letter| dead_letter.offset);
                batch.columns = filter_record_batch(&batch.columns, &plausible)?;
            }
            if !split.watermark_is_fixed {
                let times = EventTimes::of(&batch.columns, event_time)?;
                batch.split_watermarks = split.watermark.observe(times.values(), self.settings.rule);
            }
        }
        if !batch.is_empty() {
            self.queue.push_back(Queued::Rows(batch));
        }
        if !split.undelivered.is_empty() {
            self.queue.push_back(Queued::DeadLetters(index));
        }
        Ok(())
    }

    /// Queues the watermark where it has risen, and idleness where it has begun.
    fn queue_time(&mut self) {
        let rule = self.settings.rule;
        let speaking = self.splits.iter().filter(|split| !split.finished && !split.silent);
        match speaking.map(|split| split.watermark.watermark(rule)).min() {
            Some(watermark) => {
                self.idle = false;
                if watermark > self.sent {
                    self.sent = watermark;
                    self.queue.push_back(Queued::Watermark(watermark));
                }
            }
            None if self.connector.is_followed() && !self.idle => {
                self.idle = true;
                self.queue.push_back(Queued::Idle);
            }
            None => {}
        }
    }
}

impl Split {
    fn new(opened: OpenedSplit, stored: &mut HashMap<String, StoredSplit>) -> Self {
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
            undelivered,
            ask_at: None,
            pending_since: None,
            silent: false,
            bytes_behind: reader.bytes_behind(),
            reader,
        }
    }

    fn state(&self) -> Result<SplitState> {
        let stored = StoredSplit {
            position: self.reader.position(),
            watermark: self.watermark.clone(),
            finished: self.finished,
            undelivered: self.undelivered.clone(),
        };
        let state = serde_json::to_value(stored).map_err(|error| {
            EngineError::internal(format!("the state of split '{}' cannot be written: {error}", self.id))
        })?;
        Ok(SplitState { id: self.id.clone(), state })
    }
}

impl Source for SourceReader {
    fn restore(&mut self, splits: Vec<SplitState>) -> BoxFuture<'_, Result<()>> {
        async move { self.open(splits).await.map_err(|error| error.context(&self.source)) }.boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<SourceEvent>> {
        async move { self.advance().await.map_err(|error| error.context(&self.source)) }.boxed()
    }

    fn drain(&mut self) -> Result<Option<SourceEvent>> {
        while let Some(queued) = self.queue.pop_front() {
            match queued {
                Queued::Rows(_) | Queued::DeadLetters(_) => return self.send(queued).map(Some),
                // Time goes to its end.
                Queued::Watermark(_) | Queued::Idle => {}
            }
        }
        Ok(None)
    }

    fn snapshot(&mut self) -> Result<Vec<SplitState>> {
        self.env.crash_point("source.position")?;
        let states = self.splits.iter().map(Split::state).collect::<Result<_>>()?;
        self.env.crash_point("source.position_taken")?;
        Ok(states)
    }
}

#[cfg(test)]
mod tests;
