//! Merges the lists of all subtasks and emits the ranks of each window.
//!
//! A rank of a window and group is one record. It is emitted again, with the next revision, when another key takes it or its
//! key's count changes; and withdrawn, when there are not so many keys any more. Where several keys may have one rank, each key is
//! one record instead, emitted again when its rank or its count changes, and withdrawn when it is in the list no more.

use super::ranking::{ABSENT, Known, Lists, count_of, or_null};
use super::span::Span;
use super::state::{PROGRESS, TopState, misfit, restored_progress, restored_rows};
use super::window::{Emitted, Rank, Window};
use super::{TopConfig, not_rankable};
use crate::columns::{RANK, RECORD_ID, WINDOW_END, WINDOW_START, revision_field, withdrawn_field};
use crate::event_time::event_time_type;
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
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port, WATERMARK_MIN},
    hash::{KeyHasher, combine, hash_integer},
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Segment, Snapshot},
};

/// What the names of segments begin with.
const WINDOW: &str = "window";

/// The operator. Counts `ranks_emitted` and, of those, `corrections`.
#[derive(Debug)]
pub struct GlobalTop {
    config: TopConfig,
    items: Vec<usize>,
    context: OperatorContext,
    hasher: KeyHasher,
    pub(super) lists: Lists,
    ids: RecordIds,
    /// Key columns without a key, and the columns of state; made at the first batch or at the restore.
    layout: Option<(KeyColumns, TopState)>,
    windows: BTreeMap<Span, Window>,
    emitted_until: i64,
    parted: RowsByBucket,
    ranks_emitted: Counter,
    corrections: Counter,
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

    fn window(&mut self, at: Span, prototype: &KeyColumns) -> Result<&mut Window> {
        Ok(match self.windows.entry(at) {
            std::collections::btree_map::Entry::Occupied(window) => window.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => free.insert(Window::new(prototype)?),
        })
    }

    /// Drops the windows in which nothing changes any more.
    fn expire(&mut self, watermark: i64) -> Result<()> {
        let before = self.keys();
        let config = &self.config;
        self.windows.retain(|at, _| config.expiry(*at) > watermark);
        let left = self.keys();
        if self.lists.note_dropped(before - left, left) { self.renumber_lists() } else { Ok(()) }
    }

    /// How many keys are held, of all windows together.
    fn keys(&self) -> usize {
        self.windows.values().map(|window| window.known.counted.lists.len()).sum()
    }

    /// Lets the lists go that were of windows that have been dropped. No list's number is in what is stored.
    fn renumber_lists(&mut self) -> Result<()> {
        let of_windows = self.windows.values().flat_map(|window| &window.known.counted.lists);
        if let Some(numbers) = self.lists.renumber(of_windows)? {
            self.windows.values_mut().for_each(|window| window.renumber(&numbers));
        }
        Ok(())
    }

    fn emit(&self, window: Span, known: &Known, emitted: &Emitted, out: &mut Collector) -> Result<()> {
        let rows = emitted.ranks.len();
        if rows == 0 {
            return Ok(());
        }
        let (Span { start, end }, keys) = (window, &known.counted.keys);
        let places = self.config.ranking.is_row_number();
        let times =
            |time| -> ArrayRef { Arc::new(TimestampMillisecondArray::from_value(time, rows).with_timezone("UTC")) };
        let id = |(list, rank): (&u32, &Rank)| {
            let of_list = match places {
                true => hash_integer(i64::from(rank.number)),
                false => known.table.hashes()[rank.key as usize],
            };
            self.ids.id(combine(&[self.lists.hash(*list), of_list]), start, end)
        };
        let ids: Vec<u8> = emitted.lists.iter().zip(&emitted.ranks).flat_map(id).collect();
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
        fields.push(Field::new(RANK, DataType::Int32, !places));
        let number = |rank: &Rank| Some(rank.number).filter(|_| places || !rank.is_withdrawn());
        columns.push(Arc::new(Int32Array::from_iter(emitted.ranks.iter().map(number))));
        // No key has a place that was withdrawn.
        let withdrawn: BooleanArray = emitted.ranks.iter().map(|rank| Some(rank.is_withdrawn())).collect();
        for at in &self.items {
            fields.push(key_field(*at));
            columns.push(if places && withdrawn.true_count() > 0 {
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
        let (spans, numbers) = Span::of_rows(columns)?;
        let (hashes, lists) = (self.hasher.hash(columns)?, self.lists.of(columns)?);
        let layout = self.lay_out(&keys)?;
        let mut parted = std::mem::take(&mut self.parted);
        parted.part_exactly(&numbers);
        for (number, rows) in parted.iter() {
            let at = spans[number as usize];
            // A window that is dropped is never emitted again by a subtask; were it, its ranks must not start from scratch.
            if self.config.expiry(at) <= self.emitted_until {
                continue;
            }
            let window = self.window(at, &layout.0)?;
            window.unsaved = true;
            for row in (0..rows.len()).map(|n| rows.row(n)) {
                let count = if counts.is_valid(row) { count_of(counts.value(row)) } else { ABSENT };
                window.known.set(hashes[row], &keys, row as u32, lists[row], count)?;
                window.note(lists[row]);
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
        for (at, window) in windows.range_mut(..=Span { end: watermark, start: i64::MAX }) {
            self.context.canceled.check()?;
            let emitted = window.take_changes((self.config.n, self.config.ranking), &self.items);
            self.emit(*at, &window.known, &emitted, out)?;
            self.ranks_emitted.add(emitted.ranks.len() as u64);
            self.corrections.add(emitted.ranks.iter().filter(|rank| rank.revision > 0).count() as u64);
        }
        self.windows = windows;
        self.expire(watermark)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let Some((_, state)) = &self.layout else { return Ok(Snapshot::default()) };
        let mut segments = Vec::with_capacity(self.windows.len() + 1);
        for (at, window) in &mut self.windows {
            let change = window.change(*at, state);
            segments.push(Segment { id: self.config.window_name(WINDOW, *at), change });
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
        if !segment.starts_with(WINDOW) {
            return Err(misfit(segment));
        }
        let restored = restored_rows(&self.config, segment, rows, key_groups, &self.context)
            .map_err(|error| error.context(&self.context.operator))?;
        if restored.counts.is_empty() {
            return Ok(());
        }
        let layout = self.lay_out(&restored.keys)?;
        let hashes = self.hasher.hash(&restored.batch)?;
        let lists = self.lists.of(&restored.batch)?;
        let ranking = self.config.ranking;
        let window = self.window(restored.span(segment)?, &layout.0)?;
        for (row, hash) in hashes.iter().enumerate() {
            let (list, count) = (lists[row], restored.count(row));
            if restored.ranks.is_null(row) {
                window.known.set(*hash, &restored.keys, row as u32, list, count)?;
                // What had changed before the barrier is found out by comparing everything once.
                window.note(list);
                continue;
            }
            let number = restored.ranks.value(row);
            let key = window.known.find(*hash).ok_or_else(|| misfit(segment))?;
            if number < 1 || restored.revisions.is_null(row) {
                return Err(misfit(segment));
            }
            window.restore(list, Rank { key, number, count, revision: restored.revisions.value(row) }, ranking);
        }
        window.unsaved = restored.is_partial;
        self.layout = Some(layout);
        Ok(())
    }
}
