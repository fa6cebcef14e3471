//! For each row what the rows before it say: aggregates over those of its key within some time, and values of one before it.
//!
//! Rows are answered in the order of event time, when the watermark says that no earlier one can come, whatever order they came
//! in. So what goes out follows from the set of rows alone. Rows of a key and of the same event time are in the order of their
//! values, column by column. A row sees those of its key that are later than its own event time less `within`: up to those of its
//! own event time, itself among them, or with `rows` the last so many up to itself.
//!
//! What goes out are events: a row's event time is what it was. None is behind the watermark that goes with them, which is held
//! back by as much as rows may be late ([`Operator::watermark_behind`]). A row whose time has been answered goes to the late port
//! and counts as `late`; the gates before let none come.
//!
//! With `once`, of rows in succession that meet the condition, each within `within` of the one before, only the first goes out.
//!
//! Rows are held in memory as bytes ([`held`]), aggregates slide over them ([`sliding`]). State ([`state`]) is the rows, in
//! pieces of event time, and how far they have been answered; what is computed of them is computed again after a restore.

mod answers;
mod bursts;
mod config;
mod frame;
mod held;
mod layout;
mod progress;
mod sliding;
mod state;
#[cfg(test)]
mod tests;

use crate::event_time::event_times;
use crate::ports;
use crate::table::RowMask;
use answers::{Answers, Output};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use bursts::Bursts;
use frame::Keys;
use held::{Handle, HeldRows};
use layout::Layout;
use progress::Progress;
use sliding::Slidings;
use state::{Buckets, Name, Stored};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use weir_engine::{
    Result,
    element::{Batch, WATERMARK_MAX, WATERMARK_MIN},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::Snapshot,
};

pub use config::{LagCall, OverConfig};
pub use layout::can_keep;
pub use sliding::MOST_ANEW;

/// Pieces of event time that state is kept in are at least so long.
const SHORTEST_PIECE_MS: i64 = 1_000;

/// The operator. Counts what comes too late as `late`, what does not meet the condition, or is not the first that does, as
/// `filtered_out`.
#[derive(Debug)]
pub struct Over {
    config: OverConfig,
    layout: Arc<Layout>,
    stored: Stored,
    output: Output,
    hasher: KeyHasher,
    held: HeldRows,
    slidings: Slidings,
    keys: Keys,
    /// Rows that are to be answered, by event time.
    waiting: BTreeMap<i64, Vec<u32>>,
    /// Rows that have been, in the order in which nobody sees them any more.
    answered: VecDeque<(i64, Handle)>,
    progress: Progress,
    buckets: Buckets,
    bursts: Bursts,
    /// Rows that a checkpoint had, which are not sorted in yet: how far they have been answered may still be to come.
    restored: Vec<u32>,
    late: Counter,
}

impl Over {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: OverConfig, context: &OperatorContext) -> Result<Self> {
        Self::build(config, context).map_err(|error| error.context(&context.operator))
    }

    fn build(config: OverConfig, context: &OperatorContext) -> Result<Self> {
        config.validate()?;
        let layout = Arc::new(Layout::new(&config.input)?);
        let width = (config.within_ms.saturating_add(config.lateness_ms) / 4).max(SHORTEST_PIECE_MS);
        Ok(Over {
            stored: Stored::new(Arc::clone(&layout), context.max_parallelism),
            output: Output::new(&config, &layout, context)?,
            hasher: KeyHasher::new(config.key.clone()),
            held: HeldRows::default(),
            slidings: Slidings::new(&config)?,
            keys: Keys::default(),
            waiting: BTreeMap::new(),
            answered: VecDeque::new(),
            progress: Progress::new(context.key_groups, context.max_parallelism),
            buckets: Buckets::new(width),
            bursts: Bursts::new(width),
            restored: Vec::new(),
            late: context.counters.counter("late"),
            layout,
            config,
        })
    }

    /// Takes rows into memory, and gives the slot of each.
    fn hold(&mut self, columns: &[ArrayRef], times: &[i64], hashes: &[u128]) -> Result<Vec<u32>> {
        let slots = self.held.add(self.layout.to_rows(columns)?, times, hashes)?;
        self.slidings.take(&slots, self.held.slots(), &sliding::read(&self.config, columns)?)?;
        Ok(slots)
    }

    fn let_go(&mut self, slot: u32) {
        let time = self.held.time(slot);
        self.slidings.forget(slot);
        self.held.let_go(slot);
        self.buckets.let_go(time, &self.held);
    }

    /// Sends the rows that are late where they belong, and gives back the others.
    fn part_late(&mut self, batch: Batch, hashes: &[u128], times: &[i64], out: &mut Collector) -> Result<Batch> {
        let mut late = RowMask::none(batch.len());
        for (row, (time, hash)) in times.iter().zip(hashes).enumerate() {
            late.insert_if(row, *time <= self.progress.of(*hash));
        }
        let count = late.count();
        if count == 0 {
            return Ok(batch);
        }
        self.late.add(count as u64);
        let late = late.into_boolean_buffer();
        out.emit(ports::LATE, batch.filter(&BooleanArray::new(late.clone(), None))?);
        batch.filter(&BooleanArray::new(!&late, None))
    }

    /// The number of a key. What was known of it is not older than it may be seen.
    fn number(&mut self, hash: u128) -> u32 {
        let (number, is_new) = self.keys.number(hash);
        if is_new {
            self.slidings.begin(number, self.keys.numbers());
        }
        number
    }

    /// Takes rows out of what a key's next row sees: those up to a time, and the first ones until there are no more than `most`.
    fn evict(&mut self, number: u32, up_to: i64, most: usize, gone: &mut Vec<u32>) -> Result<()> {
        let frame = &mut self.keys.get_mut(number).frame;
        let mut is_back_changed = false;
        while let Some(first) = frame.first() {
            if self.held.time(first) > up_to && frame.len() <= most {
                break;
            }
            is_back_changed |= frame.pop().is_some_and(|(_, is_of_back)| is_of_back);
            gone.push(first);
        }
        if is_back_changed {
            frame.turn();
            self.slidings.turn(number, &self.keys.get(number).frame)?;
        }
        Ok(())
    }

    /// A row of a key comes to those that are seen. Whether the one before it is among those that it could see.
    fn push(&mut self, number: u32, slot: u32, time: i64) -> Result<bool> {
        let key = self.keys.get_mut(number);
        key.frame.push(slot);
        let follows = key.last > time.saturating_sub(self.config.within_ms);
        key.last = time;
        self.slidings.push(number, slot)?;
        self.answered.push_back((time, self.held.handle(slot)));
        Ok(follows)
    }

    /// Answers the rows of a key and an event time, which are in order.
    fn answer(&mut self, time: i64, slots: &[u32], answers: &mut Answers) -> Result<()> {
        let Some(first) = slots.first() else { return Ok(()) };
        let number = self.number(self.held.hash(*first));
        let seen_from = time.saturating_sub(self.config.within_ms);
        // With peers, all of them see the same; else each sees one more than the one before.
        let step = if self.config.sees_peers() { slots.len() } else { 1 };
        let most = self.config.rows.map_or(usize::MAX, |rows| rows as usize - 1);
        for peers in slots.chunks(step) {
            self.evict(number, seen_from, most, &mut answers.gone)?;
            let follows: Result<Vec<bool>> = peers.iter().map(|slot| self.push(number, *slot, time)).collect();
            let frame = &self.keys.get(number).frame;
            let is_anew = self.slidings.has_anew();
            let group = answers.open(frame.len(), is_anew);
            self.slidings.add_to(&mut answers.results, group, number, frame)?;
            let too_many = Some(frame.len()).filter(|seen| is_anew && *seen > MOST_ANEW);
            let positions = frame.len() - peers.len()..;
            for ((slot, follows), position) in peers.iter().zip(follows?).zip(positions) {
                answers.add((*slot, number), too_many, follows);
                for (at, lag) in self.config.lags.iter().enumerate() {
                    answers.lag(at, frame.before(position, lag.rows));
                }
            }
        }
        Ok(())
    }

    /// Answers all rows up to an event time.
    fn answer_until(&mut self, until: i64, out: &mut Collector) -> Result<()> {
        let later = self.waiting.split_off(&until.saturating_add(1));
        let due = std::mem::replace(&mut self.waiting, later);
        let mut answers = self.no_answers();
        for (time, mut slots) in due {
            let held = &self.held;
            slots.sort_unstable_by(|a, b| {
                held.hash(*a).cmp(&held.hash(*b)).then_with(|| held.row(*a).cmp(&held.row(*b)))
            });
            let ends: Vec<usize> = slots.chunk_by(|a, b| held.hash(*a) == held.hash(*b)).map(<[u32]>::len).collect();
            let mut rest = slots.as_slice();
            for end in ends {
                let (of_key, others) = rest.split_at(end);
                self.answer(time, of_key, &mut answers)?;
                rest = others;
                if answers.is_full() {
                    let full = std::mem::replace(&mut answers, self.no_answers());
                    self.emit(full, out)?;
                }
            }
        }
        self.emit(answers, out)
    }

    fn no_answers(&self) -> Answers {
        Answers::new(self.slidings.results(), self.config.lags.len())
    }

    fn emit(&mut self, answers: Answers, out: &mut Collector) -> Result<()> {
        if answers.is_empty() {
            return Ok(());
        }
        let (rows, keys) = ((&self.held, self.layout.as_ref()), (&mut self.keys, &mut self.bursts.news));
        self.output.emit(&answers, rows, keys, out)?;
        answers.gone.into_iter().for_each(|slot| self.let_go(slot));
        Ok(())
    }

    /// Forgets what no row sees any more that is still to come.
    fn expire(&mut self) -> Result<()> {
        let up_to = self.progress.until().saturating_sub(self.config.within_ms);
        let mut gone = Vec::new();
        while let Some((time, row)) = self.answered.front().copied().filter(|(time, _)| *time <= up_to) {
            self.answered.pop_front();
            if !self.held.is_held(row) {
                continue;
            }
            let Some(number) = self.keys.find(self.held.hash(row.slot)) else { continue };
            self.evict(number, time, usize::MAX, &mut gone)?;
            gone.drain(..).for_each(|slot| self.let_go(slot));
            if self.keys.get(number).frame.is_empty() {
                self.keys.remove(number);
            }
        }
        self.bursts.expire(up_to);
        self.held.tidy(&self.layout);
        Ok(())
    }

    /// Sorts in the rows that a checkpoint had, when all are there.
    fn settle(&mut self) -> Result<()> {
        if self.restored.is_empty() {
            return Ok(());
        }
        let mut answered = Vec::new();
        for slot in std::mem::take(&mut self.restored) {
            let time = self.held.time(slot);
            match time <= self.progress.of(self.held.hash(slot)) {
                true => answered.push(slot),
                false => self.waiting.entry(time).or_default().push(slot),
            }
        }
        let held = &self.held;
        answered.sort_unstable_by(|a, b| {
            let key = |slot: u32| (held.time(slot), held.hash(slot));
            key(*a).cmp(&key(*b)).then_with(|| held.row(*a).cmp(&held.row(*b)))
        });
        let most = self.config.rows.map_or(usize::MAX, |rows| rows as usize - 1);
        let mut gone = Vec::new();
        for slot in answered {
            let (time, number) = (self.held.time(slot), self.number(self.held.hash(slot)));
            self.evict(number, time.saturating_sub(self.config.within_ms), most, &mut gone)?;
            self.push(number, slot, time)?;
        }
        gone.into_iter().for_each(|slot| self.let_go(slot));
        self.bursts.settle(&mut self.keys, &self.held);
        Ok(())
    }

    /// The rows of a stored batch that are of these key groups, their times and the hashes of their keys.
    fn stored_rows(
        &mut self,
        rows: &RecordBatch,
        key_groups: KeyGroupRange,
    ) -> Result<(RecordBatch, Vec<i64>, Vec<u128>)> {
        let rows = self.stored.read_rows(rows, key_groups)?;
        let times = event_times(&rows, &self.config.time_column)?.to_vec();
        let hashes = self.hasher.hash(&rows)?;
        Ok((rows, times, hashes))
    }
}

impl Operator for Over {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        self.settle()?;
        let (mut times, mut hashes) =
            (event_times(&batch.columns, &self.config.time_column)?, self.hasher.hashes_of(&batch)?);
        let rows = batch.len();
        let batch = self.part_late(batch, &hashes, &times, out)?;
        if batch.is_empty() {
            return Ok(());
        }
        if batch.len() < rows {
            times = event_times(&batch.columns, &self.config.time_column)?;
            hashes = self.hasher.hashes_of(&batch)?;
        }
        let columns = self.layout.declared(&batch.columns)?;
        let slots = self.hold(&columns, &times, &hashes)?;
        for (slot, time) in slots.into_iter().zip(times.iter()) {
            self.waiting.entry(*time).or_default().push(slot);
            self.buckets.add(*time, self.held.handle(slot));
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.settle()?;
        let until = match watermark {
            // The end of input is no time that later rows could be late by: there may be more of it when the job goes on.
            WATERMARK_MAX => self.waiting.last_key_value().map_or(WATERMARK_MIN, |(time, _)| *time),
            _ => watermark.saturating_sub(self.config.lateness_ms),
        };
        if until <= self.progress.until() {
            return Ok(());
        }
        self.answer_until(until, out)?;
        self.progress.advance(until);
        self.expire()
    }

    fn watermark_behind(&self, watermark: i64) -> i64 {
        match watermark {
            WATERMARK_MAX | WATERMARK_MIN => watermark,
            _ => watermark.saturating_sub(self.config.lateness_ms - 1),
        }
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        self.settle()?;
        let mut segments = self.buckets.segments(&self.held, &self.stored);
        if self.config.once {
            segments.extend(self.bursts.segments(&mut self.keys, &self.held, &self.stored));
        }
        segments.extend(self.progress.segment(&self.stored)?);
        Ok(Snapshot { segments })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        match Name::of(segment)? {
            Name::Progress => self.progress.restore(&self.stored.read_progress(rows)?, key_groups),
            Name::Rows { width, .. } => {
                let (rows, times, hashes) = self.stored_rows(rows, key_groups)?;
                let slots = self.hold(&self.layout.declared(&rows)?, &times, &hashes)?;
                times.iter().for_each(|time| self.buckets.restore(*time, width));
                self.restored.extend(slots);
            }
            Name::Burst { .. } => {
                let (rows, times, hashes) = self.stored_rows(rows, key_groups)?;
                let bytes = self.layout.to_rows(rows.columns())?;
                for (row, (time, hash)) in times.iter().zip(&hashes).enumerate() {
                    self.bursts.restore(*hash, *time, bytes.row(row));
                }
            }
        }
        Ok(())
    }
}
