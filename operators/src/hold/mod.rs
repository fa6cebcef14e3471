//! Holds rows back, so that a sink which writes a file for each checkpoint writes few large ones although there are many
//! checkpoints.
//!
//! Rows that are held are state: no checkpoint loses them, and none has them in a file, too. They pass on when enough are held,
//! at once; or at a barrier, so that they are in the files of its very checkpoint: when they have been held long enough, and
//! always at the last one. A stream that brings enough rows between two barriers is not held: until the next barrier all rows
//! pass, for a file of this checkpoint is begun anyway.
//!
//! There is no clock here. How long rows have been held is measured in event time, and in barriers, which come also where time
//! stands still.
//!
//! Invariant: a row that is held when a barrier has passed came when the watermark was less than `time_ms` behind what it is at
//! that barrier. Behind a late gate, whose rows' windows end after the watermark less the allowed lateness, this says how far
//! what comes behind may lack rows: by windows that end after that watermark less the lateness and `time_ms`. Recounts go by it.
//!
//! A row that is held keeps no more in memory than itself: small batches are copied together, out of the dictionaries and buffers
//! that they share with others.
//!
//! State: one segment, to which a checkpoint appends the rows that came since the last one. Its columns are those of the rows,
//! and a key group for each, of those that the subtask owns, in turn: so a rescale spreads the rows, each to one subtask.

mod rule;
mod state;
#[cfg(test)]
mod tests;

use crate::schema::ColumnSchema;
use arrow::record_batch::RecordBatch;
pub use rule::HoldRule;
use serde::{Deserialize, Serialize};
pub use state::check;
use state::{HeldState, SEGMENT};
use weir_engine::{
    EngineError, Result,
    element::{Barrier, Batch, Port, WATERMARK_MIN},
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

/// Rows of so many bytes in memory are a file worth writing, whatever the time. Twice what the sink writes as a row group.
const ENOUGH_BYTES: usize = 8 << 20;

/// Batches with fewer rows are small: what they are a part of, and what a batch costs beside its rows, may be many times more.
const SMALL_ROWS: usize = 1024;

/// So many small batches are copied together.
const GATHERED: usize = 64;

/// Settings of a hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldConfig {
    /// The columns of the rows.
    pub columns: ColumnSchema,
    /// How far event time may advance while a row is held, in milliseconds.
    pub time_ms: i64,
    /// The barriers, from the first after a row, at which it is passed on whatever the time.
    pub barriers: u64,
    /// Rows of so many bytes are passed on at once.
    #[serde(default = "enough_bytes")]
    pub bytes: usize,
}

impl HoldConfig {
    /// For rows of these columns, with all else so that nothing is held.
    pub fn of(columns: ColumnSchema) -> Self {
        HoldConfig { columns, time_ms: 1, barriers: 1, bytes: ENOUGH_BYTES }
    }
}

fn enough_bytes() -> usize {
    ENOUGH_BYTES
}

/// Rows, and the key group that they have while they are held.
#[derive(Debug, Clone)]
struct Held {
    rows: RecordBatch,
    key_group: u16,
}

/// The operator.
#[derive(Debug)]
pub struct Hold {
    config: HoldConfig,
    state: HeldState,
    key_groups: KeyGroupRange,
    next_key_group: u16,
    watermark: i64,
    held: Vec<Held>,
    bytes: usize,
    /// How many at the end of them are small, and came one by one since the last checkpoint.
    scattered: usize,
    /// The watermark when the first of them came.
    since: i64,
    /// Barriers that they have seen.
    barriers: u64,
    /// How many of them are in the last checkpoint.
    stored: usize,
    /// Some of them came before this attempt: when that was is not known any more.
    restored: bool,
    /// Enough has come since the last barrier.
    passing: bool,
}

impl Hold {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense, or there is a column that state cannot have.
    pub fn new(config: HoldConfig, context: &OperatorContext) -> Result<Self> {
        if config.time_ms <= 0 || config.barriers == 0 {
            let (time, barriers) = (config.time_ms, config.barriers);
            return Err(EngineError::definition(format!(
                "holding rows for {time} ms and {barriers} barriers is nothing"
            )));
        }
        Ok(Hold {
            state: HeldState::new(&config.columns, context)?,
            key_groups: context.key_groups,
            next_key_group: context.key_groups.start,
            watermark: WATERMARK_MIN,
            held: Vec::new(),
            bytes: 0,
            scattered: 0,
            since: WATERMARK_MIN,
            barriers: 0,
            stored: 0,
            restored: false,
            passing: false,
            config,
        })
    }

    fn hold(&mut self, batch: Batch) -> Result<()> {
        if self.held.is_empty() {
            (self.since, self.barriers) = (self.watermark, 0);
        }
        self.bytes += batch.bytes();
        self.scattered = if batch.len() < SMALL_ROWS { self.scattered + 1 } else { 0 };
        self.held.push(Held { rows: batch.columns, key_group: self.next_key_group });
        let next = self.next_key_group + 1;
        self.next_key_group = if self.key_groups.contains(next) { next } else { self.key_groups.start };
        if self.scattered >= GATHERED { self.gather(self.scattered) } else { Ok(()) }
    }

    /// Copies so many batches, the last ones, together.
    fn gather(&mut self, count: usize) -> Result<()> {
        self.scattered = 0;
        let last = self.held.split_off(self.held.len() - count);
        let Some(Held { key_group, .. }) = last.first() else { return Ok(()) };
        let rows = self.state.gather(&last)?;
        self.bytes -= last.iter().map(|held| Batch::new(held.rows.clone()).bytes()).sum::<usize>();
        self.bytes += Batch::new(rows.clone()).bytes();
        self.held.push(Held { rows, key_group: *key_group });
        Ok(())
    }

    fn let_go(&mut self, out: &mut Collector) -> Result<()> {
        for held in self.held.drain(..) {
            out.emit(Port::MAIN, Batch::new(self.state.declared(&held.rows)?));
        }
        (self.bytes, self.scattered, self.stored, self.restored) = (0, 0, 0, false);
        Ok(())
    }
}

impl Operator for Hold {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        if self.passing {
            out.emit(Port::MAIN, Batch::new(self.state.declared(&batch.columns)?));
            return Ok(());
        }
        self.hold(batch)?;
        if self.bytes >= self.config.bytes {
            self.let_go(out)?;
            self.passing = true;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, _out: &mut Collector) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        Ok(())
    }

    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        self.passing = false;
        self.barriers += 1;
        let waited = self.watermark.saturating_sub(self.since) >= self.config.time_ms;
        if barrier.last || self.restored || waited || self.barriers >= self.config.barriers {
            self.let_go(out)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        if self.held.is_empty() {
            return Ok(Snapshot::default());
        }
        self.gather(self.scattered)?;
        let new = self.held[self.stored..].to_vec();
        let is_first = self.stored == 0;
        if self.held.len() >= GATHERED {
            self.gather(self.held.len())?;
        }
        self.stored = self.held.len();
        let state = self.state.clone();
        let change = match (is_first, new.is_empty()) {
            (_, true) => Change::Unchanged,
            (true, false) => Change::Replace(StateRows::deferred(move || state.store(new))),
            (false, false) => Change::Append(StateRows::deferred(move || state.store(new))),
        };
        Ok(Snapshot { segments: vec![Segment { id: SEGMENT.into(), change }] })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if segment != SEGMENT {
            return Err(EngineError::corrupt(format!("segment '{segment}': not the state of rows that are held")));
        }
        let rows = self.state.restore(rows, key_groups)?;
        if rows.num_rows() > 0 {
            self.hold(Batch::new(rows))?;
            self.restored = true;
        }
        Ok(())
    }
}
