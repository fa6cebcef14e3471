//! The interval join: each row of the left input with the rows of the right one that have the same key and are near it in event
//! time.
//!
//! A left row of time *t* fits right rows from *t - before* to *t + after*. It is *answered* when event time, the minimum over
//! both inputs, has passed *t + after*, so that no right row on time is missing: with its match on the main port, or, if there is
//! none, on the port [`UNMATCHED`](crate::ports::UNMATCHED). Rows may be late, on either side, by the allowed lateness: a late left row is answered
//! with the next watermark or barrier, and a late right row that changes an answer corrects it, by the next revision, or by a first match
//! that withdraws what was put out as unmatched.
//!
//! Why results follow from the input alone: the gates before the two inputs let a row through that is behind its *own* split by
//! no more than the lateness, and this operator's event time is never ahead of any split's. So every row that comes finds all
//! that it fits: left rows are kept until event time is past *t + after + lateness*, right rows until it is past *t + before + after +
//! lateness*. In the end each left row has the answer that all rows together give, whatever the order in which they came.
//!
//! Behind it event time is earlier by *after*, so that by the times of their left rows results are as late as what has made them.
//!
//! Results carry the columns that all results have. The record id follows from the left row alone (its time, its kept columns, and which of several
//! equal rows it is); where each match is a result of its own, from both rows. What is unmatched has an id of its own, so
//! that matched and unmatched results can flow together. A null in a key equals nothing: such a left row is unmatched, and such a
//! right row is dropped.
//!
//! Invariant: at a barrier every answer that was given is stored, and no right row has come that it does not know. So what comes again
//! after a restore is answered once.

mod answering;
mod buckets;
mod checkpoint;
mod config;
mod emission;
mod keyed_rows;
mod left;
mod right;
mod sides;
mod state;
#[cfg(test)]
mod tests;

use crate::event_time::event_times;
use crate::ports;
use crate::schema::project;
use crate::table::{RowsByBucket, plain_keys};
use answering::Answering;
use arrow::{array::BooleanArray, buffer::NullBuffer, record_batch::RecordBatch};
pub use config::{JoinColumn, JoinConfig, JoinInput, Match, Side};
use emission::Emission;
pub use emission::columns;
use hashbrown::HashMap;
use keyed_rows::Incoming;
use left::Answer;
use sides::Sides;
use state::JoinState;
use weir_engine::{
    EngineError, Result,
    element::{Barrier, Batch, Port, WATERMARK_MAX, WATERMARK_MIN},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Operator, OperatorContext},
    state::Snapshot,
};

/// The operator. Counts left rows as `matched` and `unmatched` when they are answered so for the first time, and as `corrections`
/// the results that take the place of others.
#[derive(Debug)]
pub struct Join {
    config: JoinConfig,
    context: OperatorContext,
    /// Of the columns that have to be equal, on each side.
    keys: [KeyHasher; 2],
    /// Of all kept columns, on each side.
    rows: [KeyHasher; 2],
    sides: Sides,
    answering: Answering,
    emission: Emission,
    state: JoinState,
    watermark: i64,
    /// The latest time of a left row that has been answered: a right row that fits none so early corrects nothing.
    newest_answered: Option<i64>,
    /// The keys and times of right rows that may correct answers.
    pending: Vec<(u128, i64)>,
    /// Answers of a checkpoint, by the identities of left rows, until these are there, too.
    restored_answers: HashMap<u128, Answer>,
    parted: RowsByBucket,
}

impl Join {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: JoinConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        let kept = |input: &JoinInput| KeyHasher::new(input.kept.names().map(str::to_owned).collect());
        Ok(Join {
            context: context.clone(),
            keys: [&config.left, &config.right].map(|input| KeyHasher::new(input.on.clone())),
            rows: [&config.left, &config.right].map(kept),
            sides: Sides::new(&config),
            answering: Answering::new(&config, context),
            emission: Emission::new(&config, context),
            state: JoinState::new(&config),
            watermark: WATERMARK_MIN,
            newest_answered: None,
            pending: Vec::new(),
            restored_answers: HashMap::new(),
            parted: RowsByBucket::default(),
            config,
        })
    }

    fn add(&mut self, side: Side, batch: &Batch) -> Result<()> {
        let at = side as usize;
        let input = self.config.input(side);
        let hashes = self.keys[at].hashes_of(batch)?;
        let times = event_times(&batch.columns, &input.time_column)?;
        let kept: Vec<String> = input.kept.names().map(str::to_owned).collect();
        let kept = project(&batch.columns, &kept)?;
        let row_hashes = match self.needs_row_hashes(side) {
            true => self.rows[at].hash(&kept)?,
            false => Vec::new(),
        };
        let columns = plain_keys(kept.columns())?;
        let incoming = Incoming { hashes: &hashes, times: &times, row_hashes: &row_hashes, columns: &columns };
        if side == Side::Right {
            self.note_corrections(&hashes, &times);
        }
        match side {
            Side::Left => self.parted.part_by(&times, |time| self.sides.left.of(time)),
            Side::Right => self.parted.part_by(&times, |time| self.sides.right.of(time)),
        }
        for (start, rows) in self.parted.iter() {
            match side {
                Side::Left => self.sides.open_left(start, &self.config)?.add(incoming, rows)?,
                Side::Right => self.sides.open_right(start, &self.config)?.rows.add(incoming, rows).map(|_| ())?,
            }
        }
        Ok(())
    }

    /// The columns of right rows identify no result, unless each match is one.
    fn needs_row_hashes(&self, side: Side) -> bool {
        side == Side::Left || self.config.matching == Match::All
    }

    /// Notes right rows that a left row with an answer may fit.
    fn note_corrections(&mut self, hashes: &[u128], times: &[i64]) {
        let Some(newest) = self.newest_answered else { return };
        let rows = hashes.iter().copied().zip(times.iter().copied());
        self.pending.extend(rows.filter(|(_, time)| time.saturating_sub(self.config.after_ms) <= newest));
    }

    /// Corrects what right rows have come for, and answers the left rows whose time has come.
    fn settle(&mut self, out: &mut Collector) -> Result<()> {
        self.correct(out)?;
        for place in self.sides.take_due(self.watermark) {
            self.answering.answer(&mut self.sides, place);
            let time = self.sides.left_row(place).map(|(bucket, row)| bucket.rows.time(row));
            self.newest_answered = self.newest_answered.max(time);
            self.emit_if_many(out)?;
        }
        self.emit(out)?;
        self.sides.right.iter_mut().for_each(|(_, bucket)| bucket.settle());
        Ok(())
    }

    fn correct(&mut self, out: &mut Collector) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        for rows in pending.chunk_by(|one, other| one.0 == other.0) {
            let [(hash, earliest), ..] = *rows else { continue };
            let latest = rows.last().map_or(earliest, |last| last.1);
            for place in self.sides.fitted(hash, earliest, latest) {
                self.answering.correct(&mut self.sides, place);
                self.emit_if_many(out)?;
            }
        }
        Ok(())
    }

    fn emit_if_many(&mut self, out: &mut Collector) -> Result<()> {
        if self.answering.matched.len() + self.answering.unmatched.len() < emission::MOST_ROWS {
            return Ok(());
        }
        self.context.canceled.check()?;
        self.emit(out)
    }

    fn emit(&mut self, out: &mut Collector) -> Result<()> {
        self.emission.emit(Port::MAIN, &self.answering.matched, &self.sides, out)?;
        self.emission.emit(ports::UNMATCHED, &self.answering.unmatched, &self.sides, out)?;
        self.answering.matched.clear();
        self.answering.unmatched.clear();
        Ok(())
    }
}

/// The rows that have no null in these columns.
fn with_key(batch: Batch, on: &[String]) -> Result<Batch> {
    let mut nulls: Option<NullBuffer> = None;
    for name in on {
        let column = batch.columns.column_by_name(name);
        let column = column.ok_or_else(|| EngineError::internal(format!("there is no column '{name}' to join on")))?;
        nulls = NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref());
    }
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => Ok(batch),
        Some(nulls) => batch.filter(&BooleanArray::new(nulls.into_inner(), None)),
    }
}

impl Operator for Join {
    fn process(&mut self, input: usize, batch: Batch, _out: &mut Collector) -> Result<()> {
        self.take_up_restored();
        let (side, batch) = match input {
            0 => (Side::Left, batch),
            _ => (Side::Right, with_key(batch, &self.config.right.on)?),
        };
        if batch.is_empty() {
            return Ok(());
        }
        self.add(side, &batch).map_err(|error| error.context(&self.context.operator))
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        if watermark <= self.watermark {
            return Ok(());
        }
        self.take_up_restored();
        self.watermark = watermark;
        self.settle(out)?;
        self.sides.left.expire(watermark);
        self.sides.right.expire(watermark);
        self.sides.right.passed(watermark).for_each(right::RightRows::seal);
        Ok(())
    }

    /// A left row is answered when event time is past it by `after`: so that no answer on time is late for those behind.
    fn watermark_behind(&self, watermark: i64) -> i64 {
        match watermark {
            WATERMARK_MAX | WATERMARK_MIN => watermark,
            _ => watermark.saturating_sub(self.config.after_ms),
        }
    }

    fn prepare_snapshot(&mut self, _barrier: Barrier, out: &mut Collector) -> Result<()> {
        self.take_up_restored();
        self.settle(out)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        Ok(Snapshot { segments: self.segments()? })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        self.restore_segment(segment, rows, key_groups).map_err(|error| error.context(&self.context.operator))
    }
}
