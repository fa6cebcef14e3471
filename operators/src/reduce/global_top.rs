//! Merges the lists of all subtasks and emits the ranks of each window.
//!
//! A rank of a window and group is one record. It is emitted again, with the next revision, when another key takes it or its
//! key's count changes; and withdrawn, when there are not so many keys any more.

use super::ranking::{ABSENT, Candidate, Known, Lists, count_of, or_null};
use super::state::{PROGRESS, StoredRows, TopState, misfit, restored_progress, restored_rows, time_in};
use super::{TopConfig, not_rankable};
use crate::columns::{RANK, RECORD_ID, WINDOW_END, WINDOW_START, revision_field, withdrawn_field};
use crate::event_time::{event_time_type, event_times};
use crate::record_id::RecordIds;
use crate::table::{KeyColumns, Rows, RowsByBucket};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Int32Array, Int64Array, TimestampMillisecondArray,
    },
    buffer::Buffer,
    compute::nullif,
    datatypes::{DataType, Field, Int64Type, Schema},
    record_batch::RecordBatch,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port, WATERMARK_MIN},
    hash::{KeyHasher, combine, hash_integer},
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

/// The operator. Counts `ranks_emitted` and, of those, `corrections`.
#[derive(Debug)]
pub struct GlobalTop {
    config: TopConfig,
    items: Vec<usize>,
    context: OperatorContext,
    hasher: KeyHasher,
    lists: Lists,
    ids: RecordIds,
    /// Key columns without a key, and the columns of state; made at the first batch or at the restore.
    layout: Option<(KeyColumns, TopState)>,
    windows: BTreeMap<i64, Window>,
    emitted_until: i64,
    parted: RowsByBucket,
    ranks_emitted: Counter,
    corrections: Counter,
}

/// One window: the keys that subtasks have given out, and the ranks that have been emitted.
#[derive(Debug)]
struct Window {
    known: Known,
    /// By list, by rank.
    ranks: BTreeMap<u32, Vec<Rank>>,
    /// Lists that have changed since the last emission.
    changed: BTreeSet<u32>,
    unsaved: bool,
}

/// What was last emitted for a rank.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rank {
    /// Of a rank that was withdrawn, the last key that had it.
    key: u32,
    /// [`ABSENT`]: the rank was withdrawn.
    count: i64,
    revision: i32,
}

impl Rank {
    fn is_withdrawn(&self) -> bool {
        self.count == ABSENT
    }
}

/// Ranks to be emitted, of one window.
#[derive(Default)]
struct Emitted {
    lists: Vec<u32>,
    numbers: Vec<i32>,
    ranks: Vec<Rank>,
}

impl Emitted {
    /// Adds the rank at a place of a list, from 0.
    fn push(&mut self, list: u32, at: usize, rank: Rank) {
        self.lists.push(list);
        self.numbers.push(at as i32 + 1);
        self.ranks.push(rank);
    }
}

impl Window {
    fn new(prototype: &KeyColumns) -> Result<Self> {
        Ok(Window { known: Known::new(prototype)?, ranks: BTreeMap::new(), changed: BTreeSet::new(), unsaved: true })
    }

    /// The ranks that differ from what was emitted; they count as emitted then.
    fn take_changes(&mut self, n: usize, items: &[usize]) -> Emitted {
        let mut emitted = Emitted::default();
        if self.changed.is_empty() {
            return emitted;
        }
        let best = self.known.best(n, items);
        for list in std::mem::take(&mut self.changed) {
            let candidates: &[Candidate] = best.get(list as usize).map_or(&[], Vec::as_slice);
            let before = self.ranks.entry(list).or_default();
            for (at, candidate) in candidates.iter().enumerate() {
                let mut rank = Rank { key: candidate.key, count: candidate.count, revision: 0 };
                match before.get_mut(at) {
                    Some(held) if (held.key, held.count) == (rank.key, rank.count) => continue,
                    Some(held) => {
                        rank.revision = held.revision + 1;
                        *held = rank;
                    }
                    None => before.push(rank),
                }
                emitted.push(list, at, rank);
            }
            // The list has become shorter than it was.
            for (at, held) in
                before.iter_mut().enumerate().skip(candidates.len()).filter(|(_, held)| !held.is_withdrawn())
            {
                *held = Rank { key: held.key, count: ABSENT, revision: held.revision + 1 };
                emitted.push(list, at, *held);
            }
        }
        self.unsaved = true;
        emitted
    }

    /// What a checkpoint writes of it.
    fn change(&mut self, bounds: (i64, i64), state: &TopState) -> Change {
        if !std::mem::take(&mut self.unsaved) {
            return Change::Unchanged;
        }
        let (counted, state) = (self.known.counted.clone(), state.clone());
        let held: Vec<(i32, Rank)> = self.ranks.values().flat_map(|ranks| (1..).zip(ranks.iter().copied())).collect();
        Change::Replace(StateRows::deferred(move || {
            let known = StoredRows {
                bounds,
                keys: &counted.keys,
                chosen: Rows::All(counted.keys.len()),
                counts: counted.counts.iter().map(|count| or_null(*count)).collect(),
                ranks: Vec::new(),
                revisions: Vec::new(),
            };
            let keys: Vec<u32> = held.iter().map(|(_, rank)| rank.key).collect();
            let ranked = StoredRows {
                bounds,
                keys: &counted.keys,
                chosen: Rows::Some(&keys),
                counts: held.iter().map(|(_, rank)| or_null(rank.count)).collect(),
                ranks: held.iter().map(|(number, _)| Some(*number)).collect(),
                revisions: held.iter().map(|(_, rank)| Some(rank.revision)).collect(),
            };
            let known = state.rows(known)?;
            Ok(if held.is_empty() { vec![known] } else { vec![known, state.rows(ranked)?] })
        }))
    }
}

impl GlobalTop {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: TopConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        Ok(GlobalTop {
            items: config.items(),
            hasher: KeyHasher::new(config.key.clone()),
            lists: Lists::new(&config),
            ids: RecordIds::new(&context.identity, &context.operator),
            layout: None,
            windows: BTreeMap::new(),
            emitted_until: WATERMARK_MIN,
            parted: RowsByBucket::default(),
            ranks_emitted: context.counters.counter("ranks_emitted"),
            corrections: context.counters.counter("corrections"),
            context: context.clone(),
            config,
        })
    }

    fn lay_out(&mut self, keys: &[ArrayRef]) -> Result<(KeyColumns, TopState)> {
        match self.layout.take() {
            Some(layout) => Ok(layout),
            None => {
                let prototype = KeyColumns::new(keys.iter().map(|key| key.data_type()))?;
                let state = TopState::new(&self.config, &prototype, self.config.exchange_key(), &self.context);
                Ok((prototype, state))
            }
        }
    }

    fn window(&mut self, end: i64, prototype: &KeyColumns) -> Result<&mut Window> {
        Ok(match self.windows.entry(end) {
            std::collections::btree_map::Entry::Occupied(window) => window.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => free.insert(Window::new(prototype)?),
        })
    }

    fn emit(&self, end: i64, keys: &KeyColumns, emitted: &Emitted, out: &mut Collector) -> Result<()> {
        let rows = emitted.ranks.len();
        if rows == 0 {
            return Ok(());
        }
        let start = self.config.window_start(end);
        let times =
            |time| -> ArrayRef { Arc::new(TimestampMillisecondArray::from_value(time, rows).with_timezone("UTC")) };
        let id = |(list, number): (&u32, &i32)| {
            self.ids.id(combine(&[self.lists.hash(*list), hash_integer(i64::from(*number))]), start, end)
        };
        let ids: Vec<u8> = emitted.lists.iter().zip(&emitted.numbers).flat_map(id).collect();
        let chosen: Vec<u32> = emitted.ranks.iter().map(|rank| rank.key).collect();
        let key_arrays = keys.arrays(Rows::Some(&chosen))?;
        let key_types: Vec<DataType> = keys.types().cloned().collect();
        let mut fields = vec![
            Field::new(RECORD_ID, DataType::FixedSizeBinary(16), false),
            Field::new(WINDOW_START, event_time_type(), false),
            Field::new(WINDOW_END, event_time_type(), false),
        ];
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(ids), None)?), times(start), times(end)];
        let key_field = |at: usize| Field::new(&self.config.key[at], key_types[at].clone(), true);
        let per = self.config.per.iter().filter_map(|name| self.config.key.iter().position(|key| key == name));
        for at in per {
            fields.push(key_field(at));
            columns.push(Arc::clone(&key_arrays[at]));
        }
        fields.push(Field::new(RANK, DataType::Int32, false));
        columns.push(Arc::new(Int32Array::from(emitted.numbers.clone())));
        // No key has a rank that was withdrawn.
        let withdrawn: BooleanArray = emitted.ranks.iter().map(|rank| Some(rank.is_withdrawn())).collect();
        for at in &self.items {
            fields.push(key_field(*at));
            columns.push(if withdrawn.true_count() > 0 {
                nullif(&key_arrays[*at], &withdrawn)?
            } else {
                Arc::clone(&key_arrays[*at])
            });
        }
        fields.push(Field::new(&self.config.by, DataType::Int64, true));
        fields.extend([revision_field(), withdrawn_field()]);
        columns.push(Arc::new(Int64Array::from_iter(emitted.ranks.iter().map(|rank| or_null(rank.count)))));
        columns.push(Arc::new(Int32Array::from_iter_values(emitted.ranks.iter().map(|rank| rank.revision))));
        columns.push(Arc::new(withdrawn));
        out.emit(Port::MAIN, Batch::new(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?));
        Ok(())
    }
}

impl Operator for GlobalTop {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let columns = &batch.columns;
        let column = |name: &String| {
            let found = columns.column_by_name(name).cloned();
            found.ok_or_else(|| EngineError::internal(format!("'{}': no column '{name}'", self.context.operator)))
        };
        let keys: Result<Vec<ArrayRef>> = self.config.key.iter().map(column).collect();
        let (keys, by) = (keys?, column(&self.config.by)?);
        let counts = by.as_primitive_opt::<Int64Type>();
        let counts = counts.ok_or_else(|| not_rankable(&self.config.by, by.data_type()))?;
        let ends = event_times(columns, WINDOW_END)?;
        let (hashes, lists) = (self.hasher.hash(columns)?, self.lists.of(columns)?);
        let layout = self.lay_out(&keys)?;
        let mut parted = std::mem::take(&mut self.parted);
        parted.part_exactly(&ends);
        for (end, rows) in parted.iter() {
            // A window that is dropped is never emitted again by a subtask; were it, its ranks must not start from scratch.
            if self.config.expiry(end) <= self.emitted_until {
                continue;
            }
            let window = self.window(end, &layout.0)?;
            window.unsaved = true;
            for row in (0..rows.len()).map(|n| rows.row(n)) {
                let count = if counts.is_valid(row) { count_of(counts.value(row)) } else { ABSENT };
                window.known.set(hashes[row], &keys, row as u32, lists[row], count)?;
                window.changed.insert(lists[row]);
            }
        }
        self.parted = parted;
        self.layout = Some(layout);
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        if watermark <= self.emitted_until {
            return Ok(());
        }
        self.emitted_until = watermark;
        let mut windows = std::mem::take(&mut self.windows);
        for (end, window) in windows.range_mut(..=watermark) {
            self.context.canceled.check()?;
            let emitted = window.take_changes(self.config.n, &self.items);
            self.emit(*end, &window.known.counted.keys, &emitted, out)?;
            self.ranks_emitted.add(emitted.ranks.len() as u64);
            self.corrections.add(emitted.ranks.iter().filter(|rank| rank.revision > 0).count() as u64);
        }
        windows.retain(|end, _| self.config.expiry(*end) > watermark);
        self.windows = windows;
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let Some((_, state)) = &self.layout else { return Ok(Snapshot::default()) };
        let mut segments = Vec::with_capacity(self.windows.len() + 1);
        for (end, window) in &mut self.windows {
            let bounds = (self.config.window_start(*end), *end);
            segments.push(Segment { id: format!("window-{end}"), change: window.change(bounds, state) });
        }
        // Also when no window is held: those that were dropped must not start from scratch.
        segments.extend(state.progress_segment(self.emitted_until));
        Ok(Snapshot { segments })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if segment == PROGRESS {
            self.emitted_until = self.emitted_until.max(restored_progress(rows)?);
            return Ok(());
        }
        let end = time_in(segment, "window").ok_or_else(|| misfit(segment))?;
        let restored = restored_rows(&self.config, segment, rows, key_groups, &self.context)
            .map_err(|error| error.context(&self.context.operator))?;
        if restored.counts.is_empty() {
            return Ok(());
        }
        let layout = self.lay_out(&restored.keys)?;
        let hashes = self.hasher.hash(&restored.batch)?;
        let lists = self.lists.of(&restored.batch)?;
        let window = self.window(end, &layout.0)?;
        for (row, hash) in hashes.iter().enumerate() {
            let (list, count) = (lists[row], restored.count(row));
            if restored.ranks.is_null(row) {
                window.known.set(*hash, &restored.keys, row as u32, list, count)?;
                // What had changed before the barrier is found out by comparing everything once.
                window.changed.insert(list);
                continue;
            }
            let number = usize::try_from(restored.ranks.value(row)).unwrap_or(0);
            let key = window.known.find(*hash).ok_or_else(|| misfit(segment))?;
            let ranks = window.ranks.entry(list).or_default();
            if number == 0 || restored.revisions.is_null(row) {
                return Err(misfit(segment));
            }
            let empty = Rank { key: u32::MAX, count: 0, revision: -1 };
            ranks.resize(ranks.len().max(number), empty);
            ranks[number - 1] = Rank { key, count, revision: restored.revisions.value(row) };
        }
        window.unsaved = restored.is_partial;
        self.layout = Some(layout);
        Ok(())
    }
}
