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
mod seen;
mod sliding;
mod state;
#[cfg(test)]
mod tests;

use crate::event_time::event_times;
use crate::ports;
use crate::table::RowMask;
use answers::{Answers, MOST_BYTES, Output};
use arrow::{
    array::{BooleanArray, RecordBatch},
    datatypes::DataType,
};
use bursts::Bursts;
use layout::Layout;
use progress::Progress;
use seen::SeenRows;
use state::{Name, Stored};
use std::{collections::BTreeMap, sync::Arc};
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
    config: Arc<OverConfig>,
    layout: Arc<Layout>,
    stored: Stored,
    output: Output,
    hasher: KeyHasher,
    seen: SeenRows,
    /// Rows that are to be answered, by event time.
    waiting: BTreeMap<i64, Vec<u32>>,
    progress: Progress,
    bursts: Bursts,
    /// Rows that a checkpoint had, which are not sorted in yet: how far they have been answered may still be to come.
    restored: Vec<u32>,
    /// How many calls give something of a row, such as a text, and not a number.
    long_calls: usize,
    /// Bytes that go out together.
    most_bytes: usize,
    late: Counter,
}

impl Over {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: OverConfig, context: &OperatorContext) -> Result<Self> {
        Self::build(Arc::new(config), context).map_err(|error| error.context(&context.operator))
    }

    fn build(config: Arc<OverConfig>, context: &OperatorContext) -> Result<Self> {
        config.validate()?;
        let layout = Arc::new(Layout::new(&config.input)?);
        let width = (config.within_ms.saturating_add(config.lateness_ms) / 4).max(SHORTEST_PIECE_MS);
        Ok(Over {
            stored: Stored::new(Arc::clone(&layout), context.max_parallelism),
            output: Output::new(&config, &layout, context)?,
            hasher: KeyHasher::new(config.key.clone()),
            seen: SeenRows::new(Arc::clone(&config), Arc::clone(&layout), width)?,
            waiting: BTreeMap::new(),
            progress: Progress::new(context.key_groups, context.max_parallelism),
            bursts: Bursts::new(width),
            restored: Vec::new(),
            long_calls: long_calls(&config)?,
            most_bytes: MOST_BYTES,
            late: context.counters.counter("late"),
            layout,
            config,
        })
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

    /// Answers the rows of a key and an event time, which are in order.
    fn answer(&mut self, time: i64, slots: &[u32], answers: &mut Answers, out: &mut Collector) -> Result<()> {
        // With peers, all of them see the same; else each sees one more than the one before.
        let step = if self.config.sees_peers() { slots.len().max(1) } else { 1 };
        for peers in slots.chunks(step) {
            let (key, follows) = self.seen.admit(peers, time, &mut answers.gone)?;
            self.open(key, answers)?;
            let positions = self.seen.keys.get(key).frame.len() - peers.len()..;
            for ((slot, follows), position) in peers.iter().zip(follows).zip(positions) {
                // There may be any number of peers: those that have no room are a group of their own, which sees the same.
                if answers.has_no_room() {
                    self.emit_all(answers, out)?;
                    self.open(key, answers)?;
                }
                self.add(answers, (*slot, key), follows, position);
            }
            if answers.is_full() {
                self.emit_all(answers, out)?;
            }
        }
        Ok(())
    }

    /// Opens a group of rows that see what there is of a key now.
    fn open(&self, key: u32, answers: &mut Answers) -> Result<()> {
        let frame = &self.seen.keys.get(key).frame;
        let group = answers.open(frame.len(), self.seen.slidings.has_anew());
        self.seen.slidings.add_to(&mut answers.results, group, key, frame)
    }

    /// Adds a row, which is at that position of what there is of its key, to the last group.
    fn add(&self, answers: &mut Answers, (slot, key): (u32, u32), follows: bool, position: usize) {
        let SeenRows { held, keys, slidings, .. } = &self.seen;
        let frame = &keys.get(key).frame;
        let too_many = Some(frame.len()).filter(|seen| slidings.has_anew() && *seen > MOST_ANEW);
        answers.add((slot, key), too_many, follows);
        answers.weigh(held.bytes(slot).saturating_add(held.longest().saturating_mul(self.long_calls)));
        for (at, lag) in self.config.lags.iter().enumerate() {
            let before = frame.before(position, lag.rows);
            answers.weigh(before.map_or(0, |slot| held.bytes(slot)));
            answers.lag(at, before);
        }
    }

    /// Emits what has been answered, and begins anew.
    fn emit_all(&mut self, answers: &mut Answers, out: &mut Collector) -> Result<()> {
        let full = std::mem::replace(answers, self.no_answers());
        self.emit(full, out)
    }

    /// Answers all rows up to an event time.
    fn answer_until(&mut self, until: i64, out: &mut Collector) -> Result<()> {
        let later = self.waiting.split_off(&until.saturating_add(1));
        let due = std::mem::replace(&mut self.waiting, later);
        let mut answers = self.no_answers();
        for (time, mut slots) in due {
            self.seen.sort(&mut slots);
            let held = &self.seen.held;
            let counts: Vec<usize> = slots.chunk_by(|a, b| held.hash(*a) == held.hash(*b)).map(<[u32]>::len).collect();
            let mut rest = slots.as_slice();
            for count in counts {
                let (of_key, others) = rest.split_at(count);
                self.answer(time, of_key, &mut answers, out)?;
                rest = others;
            }
        }
        self.emit(answers, out)
    }

    fn no_answers(&self) -> Answers {
        Answers::new(self.seen.slidings.results(), self.config.lags.len(), self.most_bytes)
    }

    fn emit(&mut self, answers: Answers, out: &mut Collector) -> Result<()> {
        if answers.is_empty() {
            return Ok(());
        }
        let SeenRows { held, keys, .. } = &mut self.seen;
        self.output.emit(&answers, (&*held, self.layout.as_ref()), (keys, &mut self.bursts.news), out)?;
        answers.gone.into_iter().for_each(|slot| self.seen.let_go(slot));
        Ok(())
    }

    /// Sorts in the rows that a checkpoint had, when all are there.
    fn settle(&mut self) -> Result<()> {
        if self.restored.is_empty() {
            return Ok(());
        }
        let mut answered = Vec::new();
        for slot in std::mem::take(&mut self.restored) {
            let (time, hash) = (self.seen.held.time(slot), self.seen.held.hash(slot));
            match time <= self.progress.of(hash) {
                true => answered.push(slot),
                false => self.waiting.entry(time).or_default().push(slot),
            }
        }
        self.seen.sort(&mut answered);
        let mut gone = Vec::new();
        for slot in answered {
            self.seen.admit(&[slot], self.seen.held.time(slot), &mut gone)?;
        }
        gone.into_iter().for_each(|slot| self.seen.let_go(slot));
        self.bursts.settle(&mut self.seen.keys, &self.seen.held);
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

/// How many calls give something of a row that may be as long as that is.
fn long_calls(config: &OverConfig) -> Result<usize> {
    let mut long = 0;
    for call in &config.calls {
        let data_type = config.accumulator(call)?.output_type();
        long += usize::from(data_type.primitive_width().is_none() && data_type != DataType::Boolean);
    }
    Ok(long)
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
        let slots = self.seen.hold(&columns, &times, &hashes)?;
        for (slot, time) in slots.into_iter().zip(times.iter()) {
            self.waiting.entry(*time).or_default().push(slot);
            self.seen.buckets.add(*time, self.seen.held.handle(slot));
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
        let unseen = until.saturating_sub(self.config.within_ms);
        self.bursts.expire(unseen);
        self.seen.expire(unseen)
    }

    fn watermark_behind(&self, watermark: i64) -> i64 {
        match watermark {
            WATERMARK_MAX | WATERMARK_MIN => watermark,
            _ => watermark.saturating_sub(self.config.lateness_ms - 1),
        }
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        self.settle()?;
        let SeenRows { held, keys, buckets, .. } = &mut self.seen;
        let mut segments = buckets.segments(held, &self.stored);
        segments.extend(self.bursts.segments(keys, held, &self.stored));
        segments.extend(self.progress.segment(&self.stored)?);
        Ok(Snapshot { segments })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        match Name::of(segment)? {
            Name::Progress => self.progress.restore(&self.stored.read_progress(rows)?, key_groups),
            Name::Rows { width, .. } => {
                let (rows, times, hashes) = self.stored_rows(rows, key_groups)?;
                let slots = self.seen.hold(rows.columns(), &times, &hashes)?;
                times.iter().for_each(|time| self.seen.buckets.restore(*time, width));
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
