//! Aggregates rows to partials before the exchange, in a table that fits the cache.
//!
//! Keys from a dictionary that stays for many batches are grouped by their codes, without being hashed ([`Codes`]).
//!
//! It keeps nothing over a barrier: partials are given out when the table is full, before a barrier, before a watermark that
//! closes their slice, and at the end. So it changes the cost of a job and never its results. Where keys hardly repeat
//! it would only cost: it then passes rows on as partials of one row each, and tries again after a while. Where states hold
//! something of each row, such as all distinct values, they are given out after so many rows, too.

use super::accumulator::{Accumulator, CallColumns, collects};
use super::codes::{Codes, GroupsByCode};
use super::config::{AggregateConfig, SLICE_START, row_count_call};
use super::groups::{GroupColumns, Groups, Scratch};
use crate::event_time::{event_time_type, event_times};
use crate::table::{Rows, RowsByBucket, plain_keys};
use crate::window::{WindowRule, WindowSpec};
use arrow::{
    array::{ArrayRef, TimestampMillisecondArray},
    buffer::ScalarBuffer,
    datatypes::{Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    EngineError, Result,
    element::{Barrier, Batch, KeyHashes, Port},
    hash::KeyHasher,
    operator::{Collector, Operator, OperatorContext},
};

/// Groups that are held before they are given out: a table of this size stays in the second-level cache, nearly.
const MOST_GROUPS: usize = 1 << 16;
/// Rows between two judgements whether aggregating pays.
const JUDGED_ROWS: usize = 1 << 15;
/// Rows that are passed on before aggregating is tried again.
const PASSED_ROWS: usize = 1 << 20;

/// Rows that states may hold something of before they are given out.
const MOST_COLLECTED: usize = 1 << 18;

/// Emptied tables that wait for reuse.
const SPARE: usize = 4;

/// The operator.
#[derive(Debug)]
pub struct LocalAggregate {
    config: AggregateConfig,
    name: String,
    key: Arc<[String]>,
    hasher: KeyHasher,
    /// Made at the first batch, which knows the types.
    prototype: Option<GroupColumns>,
    schema: Option<SchemaRef>,
    slices: BTreeMap<i64, LocalSlice>,
    /// Emptied tables, and how many groups the last one held: what the next is sized for.
    spare: Vec<LocalSlice>,
    expected: usize,
    parted: RowsByBucket,
    codes: Codes,
    scratch: Scratch,
    /// Rows since everything was given out, where states hold something of each; none: they don't.
    collected: Option<usize>,
    /// Rows in and partials out since the last judgement.
    rows: usize,
    partials: usize,
    /// Rows still to be passed on as they are.
    passing: usize,
}

/// Groups of one slice.
#[derive(Debug)]
struct LocalSlice {
    groups: Groups,
    by_code: GroupsByCode,
}

/// One batch, taken apart.
struct Input {
    /// Those that came along, if any did.
    hashes: Option<Arc<Vec<u128>>>,
    keys: Vec<ArrayRef>,
    calls: Vec<CallColumns>,
    times: ScalarBuffer<i64>,
}

impl LocalAggregate {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(mut config: AggregateConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        if config.row_count().is_none() {
            config.aggregates.push(row_count_call());
        }
        Ok(LocalAggregate {
            name: context.operator.clone(),
            key: config.key.clone().into(),
            hasher: KeyHasher::new(config.key.clone()),
            prototype: None,
            schema: None,
            slices: BTreeMap::new(),
            spare: Vec::new(),
            expected: 0,
            parted: RowsByBucket::default(),
            codes: Codes::default(),
            scratch: Scratch::default(),
            collected: config.aggregates.iter().any(|call| collects(call.function)).then_some(0),
            rows: 0,
            partials: 0,
            passing: 0,
            config,
        })
    }

    /// Passes rows on as they are, as it would where keys hardly repeat.
    #[cfg(test)]
    pub(super) fn pass_rows_on(&mut self) {
        self.passing = usize::MAX;
    }

    fn take_apart(&mut self, batch: &Batch) -> Result<Input> {
        let column = |name: &String| {
            let found = batch.columns.column_by_name(name).cloned();
            found.ok_or_else(|| EngineError::internal(format!("'{}': the input has no column '{name}'", self.name)))
        };
        let keys: Result<Vec<_>> = self.config.key.iter().map(column).collect();
        let calls: Result<Vec<_>> =
            self.config.aggregates.iter().map(|call| CallColumns::of_call(call, column)).collect();
        let (keys, calls) = (keys?, calls?);
        if self.prototype.is_none() {
            let prototype = GroupColumns::for_rows(&self.config, &keys, &calls)?;
            self.schema = Some(partial_schema(&self.config, &prototype));
            self.prototype = Some(prototype);
        }
        let hashes = batch.key_hashes_of(&self.config.key).cloned();
        Ok(Input { hashes, keys, calls, times: event_times(&batch.columns, &self.config.time_column)? })
    }

    fn hashes(&mut self, batch: &Batch, input: &Input) -> Result<Arc<Vec<u128>>> {
        match &input.hashes {
            Some(hashes) => Ok(Arc::clone(hashes)),
            None => Ok(Arc::new(self.hasher.hash(&batch.columns)?)),
        }
    }

    fn aggregate(&mut self, batch: &Batch, input: &Input, prototype: &GroupColumns) -> Result<()> {
        let windows = self.config.windows;
        match windows.window.has_slices() {
            true => self.parted.part_by(&input.times, |time| windows.slice(time)),
            false => self.parted.leave(input.times.len()),
        }
        let slices = self.slices.len().max(self.parted.iter().count());
        let has_codes = self.codes.read(&input.keys, slices);
        let hashes = if has_codes { None } else { Some(self.hashes(batch, input)?) };
        for (start, rows) in self.parted.iter() {
            let fresh =
                || LocalSlice { groups: Groups::new(prototype, self.expected), by_code: GroupsByCode::default() };
            let slice = self.slices.entry(start).or_insert_with(|| self.spare.pop().unwrap_or_else(fresh));
            match &hashes {
                Some(hashes) => slice.groups.assign(hashes, &input.keys, rows, &mut self.scratch)?,
                None => {
                    let into = (&mut slice.groups, &mut self.hasher, &mut self.scratch);
                    slice.by_code.assign(&self.codes, &input.keys, rows, into)?;
                }
            }
            slice.groups.update(&self.scratch.groups, rows, &input.calls)?;
        }
        Ok(())
    }

    /// Every row as a partial of its own.
    fn pass_on(&mut self, batch: &Batch, input: &Input, prototype: &GroupColumns, out: &mut Collector) -> Result<()> {
        let hashes = self.hashes(batch, input)?;
        let rows = input.times.len();
        let own_group: Vec<u32> = (0..rows as u32).collect();
        let mut states = Vec::new();
        for (accumulator, columns) in prototype.accumulators.iter().zip(&input.calls) {
            let mut accumulator: Accumulator = accumulator.clone();
            accumulator.resize(rows);
            accumulator.update(&own_group, Rows::All(rows), columns)?;
            states.extend(accumulator.states(Rows::All(rows))?);
        }
        let starts = slice_starts(self.config.windows, &input.times);
        self.emit(plain_keys(&input.keys)?, TimestampMillisecondArray::new(starts, None), states, &hashes, out)
    }

    fn emit(
        &self,
        keys: Vec<ArrayRef>,
        slice_starts: TimestampMillisecondArray,
        states: Vec<ArrayRef>,
        hashes: &Arc<Vec<u128>>,
        out: &mut Collector,
    ) -> Result<()> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let starts: ArrayRef = Arc::new(slice_starts.with_timezone("UTC"));
        let columns = keys.into_iter().chain([starts]).chain(states).collect();
        let mut batch = Batch::new(RecordBatch::try_new(Arc::clone(schema), columns)?);
        batch.key_hashes = Some(KeyHashes { columns: Arc::clone(&self.key), hashes: Arc::clone(hashes) });
        out.emit(Port::MAIN, batch);
        Ok(())
    }

    /// Gives out the partials of the slices that end at `watermark` or before.
    fn flush(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        while let Some((start, _)) = self.slices.first_key_value() {
            if slice_end(self.config.windows, *start) > watermark {
                break;
            }
            let Some((start, mut slice)) = self.slices.pop_first() else { break };
            let groups = &mut slice.groups;
            let all = Rows::All(groups.len());
            let keys = groups.columns().keys.arrays(all)?;
            let starts = TimestampMillisecondArray::from_value(start, groups.len());
            self.emit(keys, starts, groups.columns().states(all)?, &groups.shared_hashes(), out)?;
            self.partials += groups.len();
            self.expected = groups.len();
            if self.spare.len() < SPARE {
                groups.reset(self.expected);
                slice.by_code.clear();
                self.spare.push(slice);
            }
        }
        if self.slices.is_empty() {
            self.collected = self.collected.map(|_| 0);
        }
        self.judge();
        Ok(())
    }

    /// Whether aggregating has paid: it has, if it saved at least one row in five.
    fn judge(&mut self) {
        if self.rows >= JUDGED_ROWS && self.slices.is_empty() {
            if self.partials * 5 > self.rows * 4 {
                self.passing = PASSED_ROWS;
            }
            (self.rows, self.partials) = (0, 0);
        }
    }
}

impl Operator for LocalAggregate {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let input = self.take_apart(&batch)?;
        let Some(prototype) = self.prototype.take() else { return Ok(()) };
        let done = match are_rows_alike(self.config.windows.window) && self.passing == 0 {
            true => {
                self.rows += batch.len();
                self.collected = self.collected.map(|rows| rows + batch.len());
                self.aggregate(&batch, &input, &prototype)
            }
            false => {
                self.passing = self.passing.saturating_sub(batch.len());
                self.pass_on(&batch, &input, &prototype, out)
            }
        };
        self.prototype = Some(prototype);
        done?;
        if self.slices.values().map(|slice| slice.groups.len()).sum::<usize>() >= MOST_GROUPS
            || self.collected.is_some_and(|rows| rows >= MOST_COLLECTED)
        {
            self.flush(i64::MAX, out)?;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.flush(watermark, out)
    }

    fn prepare_snapshot(&mut self, _barrier: Barrier, out: &mut Collector) -> Result<()> {
        self.flush(i64::MAX, out)
    }
}

/// Whether rows of one key can be put together although their times differ: where these only say which slice they belong to.
fn are_rows_alike(window: WindowSpec) -> bool {
    window.has_slices() || window == WindowSpec::Global { ttl_ms: None }
}

/// When no more rows come to a slice.
fn slice_end(windows: WindowRule, start: i64) -> i64 {
    match windows.window.has_slices() {
        true => start.saturating_add(windows.slice(start).1),
        false => i64::MAX,
    }
}

/// The start of the slice of each row; its time, where there are no slices. Most rows are in the slice of the one before.
fn slice_starts(windows: WindowRule, times: &ScalarBuffer<i64>) -> ScalarBuffer<i64> {
    if !windows.window.has_slices() {
        return times.clone();
    }
    let (mut start, mut width) = (0, 0);
    let of = |time: &i64| {
        if time.wrapping_sub(start) as u64 >= width as u64 {
            (start, width) = windows.slice(*time);
        }
        start
    };
    times.iter().map(of).collect()
}

/// The columns of partials.
fn partial_schema(config: &AggregateConfig, prototype: &GroupColumns) -> SchemaRef {
    let keys = config.key.iter().zip(prototype.keys.types()).map(|(name, t)| Field::new(name, t.clone(), true));
    let start = Field::new(SLICE_START, event_time_type(), false);
    let states = prototype.accumulators.iter().flat_map(Accumulator::state_fields);
    let fields: Vec<Field> = keys.chain([start]).chain(states).collect();
    Arc::new(Schema::new(fields))
}
