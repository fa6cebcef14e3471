//! The common part of every source: many splits of a connector become one stream with event time.
//!
//! Invariants: a split's state says exactly what came out of it, wherever a barrier falls between two events; which row is
//! behind is decided from its own split alone; the watermark sent on never falls, and is the smallest of those of all
//! splits that are neither finished nor silent. The split with the smallest watermark is read next, so that fast splits
//! don't run ahead and windows close early.
//!
//! **Silence** (followed sources only). A split without records for `idle_after` no longer holds the watermark back. When
//! it speaks again, and when a split is found while others have been read already, it joins with the watermark that was
//! sent by then as its floor: its older rows are behind. There, and only there, who is late depends on when things happen. Only time
//! in which a split was asked counts, not that in which the job stood still. One whose brokers are away is silent, too, so that others
//! go on; when one of these splits is heard of again, all of them hold the watermark until they have been asked.
//!
//! **Drift.** With `max_drift` a split further ahead than that of the slowest one, of those that are neither silent nor finished
//! and whose time has begun, waits for it, whichever subtask reads that one: each says where its own is, and hears where the
//! slowest other one's is ([`Pace`]). That decides when a row is read, and nothing else.
//!
//! **Wrong clocks.** A row too far ahead of its split is a dead letter ([`split_watermark`](super::split_watermark)). Where
//! time begins is found from the first records of a split together ([`head`](super::head)). In a live source these cannot
//! wait for each other; there, rows too far ahead of the wall clock are dead letters, so that a wrong row that comes first
//! moves nothing. That, too, depends on when they are read.

mod split;

use self::split::{Clock, Split, StoredSplit};
use super::{
    gathered::Gathered,
    head::{Chunk, Head},
    jump::JumpRule,
    packs::{LEAST_STATES, MOST_STATES, Packs, unpack},
    split_reader::{Connector, Discovery, Heard, Nature, OpenedSplit, RestoredSplit, SplitEvent},
    split_watermark::WatermarkRule,
    turns::Turns,
};
use crate::{
    dead_letters::{DeadLetter, dead_letter_batch},
    ports,
};
use arrow::{array::BooleanArray, compute::filter_record_batch};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, watch};
use weir_engine::{
    element::{Batch, Origin, Port, WATERMARK_MIN},
    env::{Env, Moment},
    error::{EngineError, Result},
    operator::{Counter, OperatorContext, Pace, Slowest, Source, SourceEvent, SplitState},
};

/// At least so many times a split is looked at before it is silent.
const LEAST_LOOKS: u32 = 4;

/// How a source's splits are read, whatever the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderSettings {
    /// The column that is the event time; none: the source has no watermark until its end.
    pub event_time: Option<String>,
    /// Delay and jump of the splits' watermarks.
    pub rule: WatermarkRule,
    /// Of a live source, a row further ahead of the wall clock than this is refused, in milliseconds; none: none is.
    pub max_ahead_ms: Option<i64>,
    /// Of a followed source, a split whose watermark is further ahead of the slowest one's than this is not read meanwhile, in
    /// milliseconds; none: all are.
    pub max_drift_ms: Option<i64>,
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
    subtask: usize,
    splits: Vec<Split>,
    /// Where each of them is in `splits`.
    indexes: HashMap<String, usize>,
    turns: Turns,
    packs: Packs,
    /// Rows of the main output that have been read and not sent. There are none when `next` returns, or waits.
    rows: Gathered,
    /// What else is to be sent, behind them.
    queue: VecDeque<Queued>,
    /// The last watermark sent.
    sent: i64,
    idle: bool,
    /// When splits were looked at last.
    looked_at: Moment,
    next_discovery: Moment,
    next_listening: Moment,
    /// Says that there is something to be heard before that.
    woken: Option<Arc<Notify>>,
    /// Records that the last attempt failed on.
    suspect: Option<Arc<Origin>>,
    pace: Pace,
    /// Where the slowest splits are.
    slowest: watch::Receiver<Option<Slowest>>,
    events_in: Counter,
    dead_letters: Counter,
    bytes_in: Counter,
}

/// Something to send.
enum Queued {
    /// The undelivered dead letters of the split at this index.
    DeadLetters(usize),
    Watermark(i64),
    Idle,
}

impl SourceReader {
    /// A reader of the splits that `connector` says are this subtask's.
    pub fn new(settings: ReaderSettings, connector: Box<dyn Connector>, context: &OperatorContext) -> Self {
        SourceReader {
            source: context.operator.clone(),
            settings,
            env: context.env.clone(),
            woken: connector.woken(),
            connector,
            subtask: context.subtask,
            splits: Vec::new(),
            indexes: HashMap::new(),
            turns: Turns::default(),
            packs: Packs::default(),
            rows: Gathered::default(),
            queue: VecDeque::new(),
            sent: WATERMARK_MIN,
            idle: false,
            looked_at: context.env.now(),
            next_discovery: context.env.now(),
            next_listening: context.env.now(),
            suspect: context.suspect.clone(),
            pace: context.pace.clone(),
            slowest: context.pace.heard(),
            events_in: context.counters.counter("events_in"),
            dead_letters: context.counters.counter("dead_letters"),
            bytes_in: context.counters.counter("bytes_in"),
        }
    }

    async fn open(&mut self, states: Vec<SplitState>) -> Result<()> {
        let states = unpack(states)?;
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
        if let Some(now) = self.listening_at() {
            for split in stored.values_mut() {
                let unheard = split.heard_at_ms.map_or(0, |heard_at| now.saturating_sub(heard_at));
                split.watermark.was_silent(unheard.max(0));
            }
        }
        self.env.crash_point("source.opening")?;
        let opened = self.connector.open(restored).await?;
        self.env.crash_point("source.opened")?;
        for opened in opened {
            self.add(opened, &mut stored);
        }
        if let (false, Some(jump), Some(_)) = (self.connector.nature().live, self.refusing(), &self.settings.event_time)
        {
            let unbegun = |split: &&mut Split| !split.watermark.has_begun() && !split.watermark_is_fixed;
            for split in self.splits.iter_mut().filter(unbegun) {
                split.head = Some(Head::new(&jump, split.reader.position()));
            }
        }
        (0..self.splits.len()).for_each(|index| self.place(index));
        let undelivered = self.splits.iter().enumerate().filter(|(_, split)| !split.undelivered.is_empty());
        self.queue = undelivered.map(|(index, _)| Queued::DeadLetters(index)).collect();
        self.looked_at = self.env.now();
        self.next_discovery = self.looked_at + self.settings.discover_interval;
        // A subtask without splits must not hold the others' time back until it first looks for some.
        self.queue_time();
        Ok(())
    }

    async fn advance(&mut self) -> Result<SourceEvent> {
        loop {
            if let Some(event) = self.send_rows()? {
                return Ok(event);
            }
            if let Some(queued) = self.queue.pop_front() {
                return self.send(queued);
            }
            let Nature { follows: followed, listens, .. } = self.connector.nature();
            let looked_at = self.look_again();
            if followed && listens && (self.next_listening <= looked_at || self.is_woken()) {
                self.listen();
            }
            if followed && self.next_discovery <= looked_at {
                self.discover().await?;
            }
            let chosen = self.choose(looked_at);
            if self.max_drift().is_some() {
                self.pace.say(self.turns.slowest());
            }
            match chosen {
                Some(index) => {
                    let may_gather = self.may_gather(index);
                    self.read(index).await?;
                    if may_gather {
                        self.gather(looked_at)?;
                    }
                }
                None if !followed => return Ok(SourceEvent::EndOfInput),
                None => self.wait().await,
            }
            self.queue_time();
        }
    }

    /// Splits are about to be looked at. Where nobody has looked for long (the job stood still, or its process did), what they have may
    /// be on its way only. So little of that time is silence that several looks have to find nothing; and a job that is slow for ever
    /// finds them silent all the same.
    fn look_again(&mut self) -> Moment {
        let now = self.env.now();
        let unwatched = now - std::mem::replace(&mut self.looked_at, now);
        let Some(idle_after) = self.settings.idle_after else { return now };
        let counts = (idle_after / LEAST_LOOKS).max(self.settings.poll_interval * 2);
        if let Some(does_not) = unwatched.checked_sub(counts).filter(|rest| !rest.is_zero()) {
            for index in 0..self.splits.len() {
                let split = &mut self.splits[index];
                split.quiet_since = split.quiet_since.map(|since| since + does_not);
                self.place(index);
            }
        }
        now
    }

    /// Whether rows of a split may be one batch with those of others. Where records are read one by one to find the one that
    /// the job fails on, each is a batch.
    fn may_gather(&self, index: usize) -> bool {
        self.suspect.is_none() && self.splits[index].reader.is_at_hand()
    }

    /// Reads on as long as what has been read is little, all there is to be sent are rows, and nobody has to be waited for: what
    /// has been read must be sent before positions are taken.
    fn gather(&mut self, looked_at: Moment) -> Result<()> {
        while self.queue.is_empty() && self.rows.is_small(self.settings.batch_rows) {
            let Some(index) = self.choose(looked_at).filter(|index| self.may_gather(*index)) else { break };
            let Some(outcome) = self.read(index).now_or_never() else { break };
            outcome?;
        }
        Ok(())
    }

    fn send_rows(&mut self) -> Result<Option<SourceEvent>> {
        let Some(batch) = self.rows.take()? else { return Ok(None) };
        self.events_in.add(batch.len() as u64);
        Ok(Some(SourceEvent::Rows(Port::MAIN, batch)))
    }

    fn send(&mut self, queued: Queued) -> Result<SourceEvent> {
        Ok(match queued {
            Queued::DeadLetters(index) => {
                let split = &mut self.splits[index];
                let rows = dead_letter_batch(&self.source, &split.name, &split.undelivered)?;
                split.undelivered.clear();
                split.changed = true;
                self.events_in.add(rows.num_rows() as u64);
                self.dead_letters.add(rows.num_rows() as u64);
                SourceEvent::Rows(ports::DEAD_LETTERS, Batch::new(rows))
            }
            Queued::Watermark(watermark) => SourceEvent::Watermark(watermark),
            Queued::Idle => SourceEvent::Idle,
        })
    }

    /// Adds a split, or opens one again of which there is more. Returns its index; it is to be placed.
    fn add(&mut self, opened: OpenedSplit, stored: &mut HashMap<String, StoredSplit>) -> usize {
        if let Some(index) = self.indexes.get(&opened.id).copied() {
            self.splits[index].go_on_in(opened);
            return index;
        }
        self.indexes.insert(opened.id.clone(), self.splits.len());
        self.splits.push(Split::new(opened, stored));
        self.splits.len() - 1
    }

    /// What becomes of a split has been decided again.
    fn place(&mut self, index: usize) {
        let split = &self.splits[index];
        self.turns.place(index, split.place(&self.settings));
    }

    /// The split to read next: one that has waited long enough, else, of those that may have something, the one whose event
    /// time has come least far. A bounded source has one until its end. When they were looked at last says who is silent by now.
    fn choose(&mut self, looked_at: Moment) -> Option<usize> {
        while let Some((_, index)) = self.turns.first_due().filter(|(due, _)| *due <= looked_at) {
            let split = &mut self.splits[index];
            if split.at_rest {
                split.be_silent(looked_at, &self.settings)
            } else {
                split.ask_at = None
            }
            self.place(index);
        }
        self.turns.next().filter(|index| !self.is_too_far(*index))
    }

    /// Whether a split waits for the slowest one. It is the one with the smallest watermark of those here that may have something, so
    /// that all of these wait then; in a bounded source it is the slowest itself.
    fn is_too_far(&self, index: usize) -> bool {
        let Some(max_drift) = self.max_drift() else { return false };
        let split = &self.splits[index];
        let ahead_of = |slowest: i64| split.watermark.watermark(self.settings.rule).saturating_sub(slowest);
        let of_others = self.slowest.borrow().and_then(|slowest| slowest.other_than(self.subtask));
        let slowest = self.turns.slowest().into_iter().chain(of_others).min();
        !split.can_release() && slowest.is_some_and(|slowest| ahead_of(slowest) > max_drift)
    }

    /// How far a split may be ahead of others, in milliseconds.
    fn max_drift(&self) -> Option<i64> {
        self.settings.max_drift_ms.filter(|_| self.connector.nature().follows)
    }

    /// When a split may have something again, or it is time to look for new ones.
    fn next_attempt(&self) -> Moment {
        let listening = self.connector.nature().listens.then_some(self.next_listening);
        let due = self.turns.first_due().map(|(due, _)| due);
        due.into_iter().chain(listening).fold(self.next_discovery, Moment::min)
    }

    /// Waits until a split may have something.
    async fn wait(&mut self) {
        let (env, until) = (self.env.clone(), self.next_attempt());
        let woken = self.woken.clone();
        let woken = async {
            match &woken {
                Some(woken) => woken.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = woken => self.next_listening = env.now(),
            // This holds one end itself: there is no error.
            _ = self.slowest.changed() => {}
            () = env.sleep_until(until) => {}
        }
    }

    /// Whether somebody has said meanwhile that there is something to be heard.
    fn is_woken(&self) -> bool {
        self.woken.as_ref().is_some_and(|woken| woken.notified().now_or_never().is_some())
    }

    /// Hears which splits at rest may have something.
    fn listen(&mut self) {
        let now = self.env.now();
        self.next_listening = now + self.settings.poll_interval;
        let Heard { awake, look } = self.connector.listen();
        self.wake(&awake);
        if look {
            self.next_discovery = now;
        }
    }

    fn wake(&mut self, awake: &[String]) {
        let now = self.env.now();
        for id in awake {
            let Some(index) = self.indexes.get(id).copied() else { continue };
            let split = &mut self.splits[index];
            if std::mem::take(&mut split.at_rest) {
                split.tell_silence(now);
                self.place(index);
            }
        }
    }

    async fn discover(&mut self) -> Result<()> {
        self.env.crash_point("source.discovering")?;
        let Discovery { opened, gone, awake, next_in } = self.connector.discover().await?;
        self.env.crash_point("source.discovered")?;
        self.next_discovery = self.env.now() + next_in.unwrap_or(self.settings.discover_interval);
        self.wake(&awake);
        for opened in opened {
            let index = self.add(opened, &mut HashMap::new());
            self.splits[index].watermark.raise_floor(self.sent);
            self.place(index);
        }
        if !gone.is_empty() {
            self.forget(gone);
        }
        Ok(())
    }

    fn forget(&mut self, gone: Vec<String>) {
        let gone: HashSet<String> = gone.into_iter().collect();
        let gone_splits = self.splits.iter().filter(|split| gone.contains(&split.id));
        let packs = gone_splits.flat_map(|split| split.pack.iter().chain(&split.older_packs));
        packs.for_each(|pack| self.packs.forgotten(*pack));
        self.splits.retain(|split| !gone.contains(&split.id));
        self.indexes = self.splits.iter().enumerate().map(|(index, split)| (split.id.clone(), index)).collect();
        self.turns = Turns::default();
        (0..self.splits.len()).for_each(|index| self.place(index));
    }

    async fn read(&mut self, index: usize) -> Result<()> {
        // Changed or not, should reading be given up in the middle.
        self.splits[index].changed = true;
        let mut outcome = self.read_split(index).await;
        if outcome.is_ok() && self.splits[index].is_over() {
            // There are rows to be sent, so nobody is waited for: if that were not so, it would be asked in its turn.
            outcome = self.read_split(index).now_or_never().unwrap_or(Ok(()));
        }
        self.place(index);
        outcome
    }

    async fn read_split(&mut self, index: usize) -> Result<()> {
        let split = &mut self.splits[index];
        if let Some((chunk, located)) = split.release() {
            return self.take_records(index, chunk, located);
        }
        let is_suspect = |suspect: &Arc<Origin>| suspect.may_hold(&self.source, &split.name, split.bytes_behind);
        let is_suspect = self.suspect.as_ref().is_some_and(is_suspect);
        self.env.crash_point("source.reading")?;
        let event = split.reader.next_chunk(if is_suspect { 1 } else { self.settings.batch_rows }).await?;
        self.env.crash_point("source.read")?;
        if split.is_away && !matches!(event, SplitEvent::Away) {
            self.are_back();
        }
        let split = &mut self.splits[index];
        let (from, bytes_behind) = (split.bytes_behind, split.reader.bytes_behind());
        split.bytes_behind = bytes_behind;
        match event {
            SplitEvent::Records { columns, dead_letters } => {
                // Finding a record's own place costs something, so only where it may be asked for.
                let located =
                    if is_suspect && columns.num_rows() == 1 { split.reader.locate_rows(&[0]) } else { vec![] };
                let record = located.first().and_then(|record| u64::try_from(record.offset).ok());
                let (source, name) = (self.source.clone(), split.name.clone());
                let origin = Origin { source, split: name, from, to: bytes_behind, record, others: Vec::new() };
                let chunk = Chunk { columns, dead_letters, origin };
                match split.look_at(chunk, &self.settings)? {
                    Some(chunk) => self.take_records(index, chunk, None),
                    None => Ok(()),
                }
            }
            SplitEvent::Finished => {
                self.bytes_in.add(bytes_behind.saturating_sub(from));
                split.end(&self.settings);
                Ok(())
            }
            SplitEvent::Pending | SplitEvent::AtRest | SplitEvent::Away => {
                self.bytes_in.add(bytes_behind.saturating_sub(from));
                let now = self.env.now();
                split.at_rest = matches!(event, SplitEvent::AtRest);
                split.ask_at = (!split.at_rest).then(|| now + self.settings.poll_interval);
                split.has_nothing(now, matches!(event, SplitEvent::Away), &self.settings);
                Ok(())
            }
        }
    }

    /// Whoever was away answers again. What one split has must not make the others late, which have as much to say.
    fn are_back(&mut self) {
        let now = self.env.now();
        for index in 0..self.splits.len() {
            if self.splits[index].is_away {
                self.splits[index].is_back(now, self.sent);
                self.place(index);
            }
        }
    }

    /// Queues the rows of a chunk, and the dead letters in it. `located` says where its rows stand; none: the reader knows.
    fn take_records(&mut self, index: usize, chunk: Chunk, located: Option<Vec<DeadLetter>>) -> Result<()> {
        let clock = self.clock();
        let split = &mut self.splits[index];
        if split.silent {
            split.watermark.raise_floor(self.sent);
        }
        (split.silent, split.pending_since, split.quiet_since, split.silence_told) = (false, None, None, 0);
        (split.ask_at, split.at_rest) = (None, false);
        self.bytes_in.add(chunk.origin.to.saturating_sub(chunk.origin.from));
        split.undelivered.extend(chunk.dead_letters);
        let mut batch = Batch { origin: Some(Arc::new(chunk.origin)), ..Batch::new(chunk.columns) };
        if let Some(event_time) = &self.settings.event_time {
            let judged = split.judge(&batch.columns, event_time, self.settings.rule, clock)?;
            for jump in &judged.jumps {
                tracing::warn!(
                    source = self.source,
                    split = split.name,
                    "event time advanced from {} to {}, where {} more rows agreed than not (jump_after)",
                    crate::moment::show(jump.from),
                    crate::moment::show(jump.to),
                    jump.rows
                );
            }
            if !judged.refused.is_empty() {
                split.refuse(&judged.refused, located)?;
                let mut kept = vec![true; batch.len()];
                judged.refused.iter().for_each(|(row, _)| kept[*row] = false);
                batch.columns = filter_record_batch(&batch.columns, &BooleanArray::from(kept))?;
            }
            batch.split_watermarks = judged.watermarks.map(Into::into);
        }
        if !batch.is_empty() {
            self.rows.push(batch);
        }
        if !split.undelivered.is_empty() {
            self.queue.push_back(Queued::DeadLetters(index));
        }
        Ok(())
    }

    /// The states of all splits. Those that stay the same are in packs.
    fn states(&mut self) -> Result<Vec<SplitState>> {
        let (heard_at, now) = (self.listening_at(), self.env.now());
        for split in self.splits.iter_mut().filter(|split| split.changed) {
            if let Some(pack) = split.pack.take() {
                self.packs.changed(pack);
                split.older_packs.push(pack);
            }
        }
        let stale = self.packs.drop_stale();
        if !stale.is_empty() {
            for split in &mut self.splits {
                split.pack = split.pack.filter(|pack| !stale.contains(pack));
                split.older_packs.retain(|pack| !stale.contains(pack));
            }
        }
        let mut alone = Vec::new();
        let mut settled = Vec::new();
        for (index, split) in self.splits.iter_mut().enumerate().filter(|(_, split)| split.pack.is_none()) {
            split.unchanged = if std::mem::take(&mut split.changed) { 0 } else { split.unchanged + 1 };
            split.tell_silence(now);
            let is_settled = split.unchanged > 0 || split.finished;
            if is_settled { &mut settled } else { &mut alone }.push(index);
        }
        // The first checkpoint with so many of them is the one that packs them.
        if settled.len() < LEAST_STATES {
            alone.append(&mut settled);
            alone.sort_unstable();
        }
        for group in settled.chunks(MOST_STATES) {
            let members =
                group.iter().map(|index| &self.splits[*index]).map(|split| (&*split.id, split.stored(heard_at)));
            let pack = self.packs.pack(&members.collect::<Vec<_>>())?;
            group.iter().for_each(|index| self.splits[*index].pack = Some(pack));
        }
        let mut states: Vec<SplitState> =
            alone.into_iter().map(|index| self.splits[index].state(heard_at)).collect::<Result<_>>()?;
        states.extend(self.packs.states(self.subtask));
        Ok(states)
    }

    /// The rule by which rows are refused.
    fn refusing(&self) -> Option<JumpRule> {
        self.settings.rule.jump.filter(|jump| jump.refuses)
    }

    /// What the wall clock shows, where it matters how long a split was silent.
    fn listening_at(&self) -> Option<i64> {
        let matters = self.connector.nature().live && self.settings.rule.jump.is_some();
        matters.then(|| self.env.wall_clock_ms())
    }

    /// What rows must not be ahead of, of a live source.
    fn clock(&self) -> Option<Clock> {
        let max_ahead_ms = self.settings.max_ahead_ms.filter(|_| self.connector.nature().live)?;
        Some(Clock { now_ms: self.env.wall_clock_ms(), max_ahead_ms })
    }

    /// Queues the watermark where it has risen, and idleness where it has begun.
    fn queue_time(&mut self) {
        match self.turns.watermark() {
            Some(watermark) => {
                self.idle = false;
                if watermark > self.sent {
                    self.sent = watermark;
                    self.queue.push_back(Queued::Watermark(watermark));
                }
            }
            None if self.connector.nature().follows && !self.idle => {
                self.idle = true;
                self.queue.push_back(Queued::Idle);
            }
            None => {}
        }
    }
}

impl Source for SourceReader {
    fn restore(&mut self, splits: Vec<SplitState>) -> BoxFuture<'_, Result<()>> {
        // Whoever restores it says which source it is.
        self.open(splits).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<SourceEvent>> {
        async move { self.advance().await.map_err(|error| error.context(&self.source)) }.boxed()
    }

    fn drain(&mut self) -> Result<Option<SourceEvent>> {
        while let Some(queued) = self.queue.pop_front() {
            match queued {
                Queued::DeadLetters(_) => return self.send(queued).map(Some),
                // Time goes to its end.
                Queued::Watermark(_) | Queued::Idle => {}
            }
        }
        Ok(None)
    }

    fn snapshot(&mut self) -> Result<Vec<SplitState>> {
        self.env.crash_point("source.position")?;
        let states = self.states()?;
        self.connector.positions_taken();
        self.env.crash_point("source.position_taken")?;
        Ok(states)
    }
}

#[cfg(test)]
mod tests;
