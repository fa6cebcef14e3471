//! Keeps the counts of one subtask's keys by slice, and gives out the largest of each window.

use super::ranking::{ABSENT, Candidate, Counted, Lists, Ranking, Selection, count_of, or_null};
use super::slices::{Given, Slice, bound, sum, sums, sums_of};
use super::span::Span;
use super::state::{PROGRESS, StoredRows, TopState, misfit, restored_progress, restored_rows};
use super::{SLICE, TopConfig, not_rankable};
use crate::columns::{WINDOW_END, WINDOW_START, withdrawn};
use crate::event_time::event_time_type;
use crate::table::{GroupTable, KeyColumns, Rows, RowsByBucket};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, TimestampMillisecondArray},
    compute::is_null,
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
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

/// What the names of segments begin with that hold what was given out.
const GIVEN: &str = "given";

/// The operator.
#[derive(Debug)]
pub struct LocalTop {
    config: TopConfig,
    items: Vec<usize>,
    context: OperatorContext,
    hasher: KeyHasher,
    pub(super) lists: Lists,
    /// Key columns without a key, and the columns of state; made at the first batch or at the restore.
    layout: Option<(KeyColumns, TopState)>,
    slices: BTreeMap<Span, Slice>,
    /// What has been given out of windows that are out.
    given: BTreeMap<Span, Given>,
    emitted_until: i64,
    /// After a restore: keys may have moved here from several subtasks, so that not all of the largest have been given out.
    reconcile: bool,
    parted: RowsByBucket,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    hashes: Vec<u128>,
    groups: Vec<u32>,
    opened: Vec<u32>,
}

impl LocalTop {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: TopConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        Ok(LocalTop {
            items: config.items(),
            context: context.clone(),
            hasher: KeyHasher::new(config.key.clone()),
            lists: Lists::new(&config),
            layout: None,
            slices: BTreeMap::new(),
            given: BTreeMap::new(),
            emitted_until: WATERMARK_MIN,
            reconcile: false,
            parted: RowsByBucket::default(),
            scratch: Scratch::default(),
            config,
        })
    }

    fn lay_out(&mut self, keys: &[ArrayRef]) -> Result<(KeyColumns, TopState)> {
        match self.layout.take() {
            Some(layout) => Ok(layout),
            None => {
                let prototype = KeyColumns::new(keys.iter().map(|key| key.data_type()))?;
                let state = TopState::new(&self.config, &prototype, self.config.key.clone(), &self.context);
                Ok((prototype, state))
            }
        }
    }

    /// Sets the counts of some rows of a slice.
    fn set_counts(&mut self, at: Span, input: &Input<'_>, rows: Rows<'_>, prototype: &KeyColumns) -> Result<()> {
        let is_out = self.config.windows_of(at).next().is_some_and(|window| window.end <= self.emitted_until);
        let neighbour = self.slices.range(..at).next_back().map_or(0, |(_, slice)| slice.table.len());
        let slice = match self.slices.entry(at) {
            std::collections::btree_map::Entry::Occupied(slice) => slice.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => free.insert(Slice {
                table: GroupTable::with_capacity(neighbour),
                counted: Arc::new(Counted::new(prototype)?),
                largest: Vec::new(),
                is_ranked: false,
                changed: Vec::new(),
                unsaved: false,
            }),
        };
        let scratch = &mut self.scratch;
        scratch.hashes.clear();
        scratch.hashes.extend((0..rows.len()).map(|n| input.hashes[rows.row(n)]));
        let assigned = slice.table.assign(&scratch.hashes, &mut scratch.groups, &mut scratch.opened);
        assigned.map_err(|full| EngineError::internal(format!("'{}': {full}", self.context.operator)))?;
        scratch.opened.iter_mut().for_each(|opened| *opened = rows.row(*opened as usize) as u32);
        let counted = Arc::make_mut(&mut slice.counted);
        counted.append(&input.keys, &input.lists, Rows::Some(&scratch.opened))?;
        for (n, group) in scratch.groups.iter().enumerate() {
            let row = rows.row(n);
            counted.counts[*group as usize] = input.count(row);
        }
        (slice.unsaved, slice.is_ranked) = (true, false);
        if is_out {
            slice.changed.extend_from_slice(&scratch.groups);
        }
        Ok(())
    }

    /// Whether a window can still change.
    fn is_held(&self, window: Span) -> bool {
        self.config.expiry(window) > self.emitted_until
    }

    fn slices_of(&self, window: Span) -> impl Iterator<Item = (&Span, &Slice)> {
        self.slices.range(self.config.slices_of(window))
    }

    fn n(&self) -> (usize, Ranking) {
        (self.config.n, self.config.ranking)
    }

    /// The N largest of each list of a window, best first, with the slices that the candidates refer to.
    fn select(&self, window: Span) -> Result<(Vec<&Slice>, Vec<Vec<Candidate>>)> {
        let slices: Vec<&Slice> = self.slices_of(window).map(|(_, slice)| slice).collect();
        let best = match slices.as_slice() {
            [only] => only.largest.clone(),
            _ => self.largest_sums(&slices)?,
        };
        Ok((slices, best))
    }

    /// The N largest sums over several slices, without adding up all keys where few stand out.
    ///
    /// The N-th best among the sums of the keys that lead a single slice is a bound: a key among the N largest over all k
    /// slices reaches it, so it has at least a k-th of it in one of them. Only such keys are added up.
    fn largest_sums(&self, slices: &[&Slice]) -> Result<Vec<Vec<Candidate>>> {
        let leaders = slices
            .iter()
            .enumerate()
            .flat_map(|(source, slice)| slice.largest.iter().flatten().map(move |leader| (source as u32, leader.key)));
        let sums_of_leaders = sums_of(slices, leaders);
        let bounds: Option<Vec<i64>> =
            self.best(slices, sums_of_leaders).iter().map(|best| bound(best, self.n(), slices.len())).collect();
        let Some(bounds) = bounds else { return Ok(self.best(slices, sums(slices)?)) };
        let mut standing_out: Vec<(u32, u32)> = Vec::new();
        for (source, slice) in slices.iter().enumerate() {
            let counted = &slice.counted;
            for (key, (list, count)) in counted.lists.iter().zip(&counted.counts).enumerate() {
                // A list without a bound has no key that is there.
                if *count != ABSENT && bounds.get(*list as usize).is_some_and(|bound| *count >= *bound) {
                    standing_out.push((source as u32, key as u32));
                }
            }
        }
        let keys: usize = slices.iter().map(|slice| slice.table.len()).sum();
        if standing_out.len() * 4 > keys {
            return Ok(self.best(slices, sums(slices)?));
        }
        Ok(self.best(slices, sums_of(slices, standing_out.into_iter())))
    }

    fn best(&self, slices: &[&Slice], candidates: impl IntoIterator<Item = (u32, Candidate)>) -> Vec<Vec<Candidate>> {
        let sources: Vec<&KeyColumns> = slices.iter().map(|slice| &slice.counted.keys).collect();
        let mut selection = Selection::new(self.n(), &sources, &self.items);
        candidates.into_iter().for_each(|(list, candidate)| selection.offer(list, candidate));
        selection.finish()
    }

    /// Finds the N largest of each list in the slices of a window, where they have changed.
    fn rank_slices(&mut self, window: Span) {
        let (n, slices) = (self.n(), self.config.slices_of(window));
        for (_, slice) in self.slices.range_mut(slices).filter(|(_, slice)| !slice.is_ranked) {
            let counted = &slice.counted;
            let sources = [&counted.keys];
            let mut selection = Selection::new(n, &sources, &self.items);
            for (key, (list, count)) in counted.lists.iter().zip(&counted.counts).enumerate() {
                selection.offer(*list, Candidate { count: *count, source: 0, key: key as u32 });
            }
            slice.largest = selection.finish();
            slice.is_ranked = true;
        }
    }

    /// Gives out the largest of a window, those that have not been given out yet.
    fn give_largest(&mut self, window: Span, prototype: &KeyColumns, out: &mut Collector) -> Result<()> {
        let mut given = match self.given.remove(&window) {
            Some(given) => given,
            None => Given::new(prototype)?,
        };
        self.rank_slices(window);
        let (slices, best) = self.select(window)?;
        let mut fresh = Vec::new();
        for (list, candidates) in best.iter().enumerate() {
            for candidate in candidates {
                let slice = slices[candidate.source as usize];
                let hash = slice.table.hashes()[candidate.key as usize];
                if given.known.find(hash).is_none() {
                    let keys = slice.counted.keys.arrays(Rows::Some(&[candidate.key]))?;
                    fresh.push(given.known.set(hash, &keys, 0, list as u32, candidate.count)?);
                }
            }
        }
        given.unsaved |= !fresh.is_empty();
        given.looked_at = 0;
        given.raise_floor(self.n(), &self.items);
        self.emit(window, &given.known.counted, &fresh, out)?;
        if !given.known.table.is_empty() {
            self.given.insert(window, given);
        }
        Ok(())
    }

    /// Gives out what has changed in a window that is out: keys that were given out before, or may be among the largest now.
    fn correct(&mut self, window: Span, changed: &[u128], prototype: &KeyColumns, out: &mut Collector) -> Result<()> {
        let mut given = match self.given.remove(&window) {
            Some(given) => given,
            None => Given::new(prototype)?,
        };
        given.raise_floor(self.n(), &self.items);
        let slices: Vec<&Slice> = self.slices_of(window).map(|(_, slice)| slice).collect();
        let ranking = self.config.ranking;
        let (mut touched, mut lets_others_in) = (Vec::new(), false);
        for hash in changed {
            let found: Vec<(&Slice, u32)> =
                slices.iter().filter_map(|slice| slice.table.find(*hash).map(|key| (*slice, key))).collect();
            let Some((slice, key)) = found.first().copied() else { continue };
            let count = sum(found.iter().map(|(slice, key)| slice.counted.counts[*key as usize]));
            let list = slice.counted.lists[key as usize];
            let before = given.known.find(*hash).map(|known| given.known.counted.counts[known as usize]);
            let is_out_of_question =
                before.is_none() && given.is_behind(ranking, (list, count), (&slice.counted.keys, key), &self.items);
            let was_never_there = count == ABSENT && before.is_none();
            if before == Some(count) || is_out_of_question || was_never_there {
                continue;
            }
            lets_others_in |= before.is_some_and(|before| ranking.lets_others_in(before, count));
            let keys = slice.counted.keys.arrays(Rows::Some(&[key]))?;
            touched.push(given.known.set(*hash, &keys, 0, list, count)?);
        }
        given.unsaved |= !touched.is_empty();
        self.emit(window, &given.known.counted, &touched, out)?;
        if !given.known.table.is_empty() {
            self.given.insert(window, given);
        }
        if lets_others_in {
            // Another key may have moved up without having changed itself.
            self.give_largest(window, prototype, out)?;
        }
        Ok(())
    }

    fn emit(&self, window: Span, counted: &Counted, chosen: &[u32], out: &mut Collector) -> Result<()> {
        if chosen.is_empty() {
            return Ok(());
        }
        let times = |time| -> ArrayRef {
            Arc::new(TimestampMillisecondArray::from_value(time, chosen.len()).with_timezone("UTC"))
        };
        let mut fields =
            vec![Field::new(WINDOW_START, event_time_type(), false), Field::new(WINDOW_END, event_time_type(), false)];
        let keys = self.config.key.iter().zip(counted.keys.types());
        fields.extend(keys.map(|(name, data_type)| Field::new(name, data_type.clone(), true)));
        fields.push(Field::new(&self.config.by, DataType::Int64, true));
        let mut columns = vec![times(window.start), times(window.end)];
        columns.extend(counted.keys.arrays(Rows::Some(chosen))?);
        let counts = chosen.iter().map(|key| or_null(counted.counts[*key as usize]));
        columns.push(Arc::new(Int64Array::from_iter(counts)));
        out.emit(Port::MAIN, Batch::new(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?));
        Ok(())
    }

    /// The keys that have changed in windows that are out, by window.
    fn take_changes(&mut self) -> BTreeMap<Span, Vec<u128>> {
        let mut changes: BTreeMap<Span, Vec<u128>> = BTreeMap::new();
        let mut known = hashbrown::HashSet::new();
        for (at, slice) in &mut self.slices {
            for group in std::mem::take(&mut slice.changed) {
                let hash = slice.table.hashes()[group as usize];
                let config = &self.config;
                let is_out = |window: &Span| window.end <= self.emitted_until;
                // After a restore every key counts as changed, also in windows that no subtask holds any more.
                let is_held = |window: &Span| config.expiry(*window) > self.emitted_until;
                for window in config.windows_of(*at).take_while(is_out).filter(is_held) {
                    if known.insert((window, hash)) {
                        changes.entry(window).or_default().push(hash);
                    }
                }
            }
        }
        changes
    }

    fn advance(&mut self, watermark: i64, prototype: &KeyColumns, out: &mut Collector) -> Result<()> {
        for (window, changed) in self.take_changes() {
            self.context.canceled.check()?;
            self.correct(window, &changed, prototype, out)?;
        }
        let reconcile = std::mem::take(&mut self.reconcile);
        let windows = self.slices.keys().flat_map(|at| self.config.windows_of(*at));
        let is_due = |window: &Span| {
            window.end <= watermark && (reconcile || window.end > self.emitted_until) && self.is_held(*window)
        };
        let to_give: BTreeSet<Span> = windows.filter(is_due).collect();
        for window in to_give {
            self.context.canceled.check()?;
            if reconcile && let Some(given) = self.given.get(&window) {
                let known = given.known.table.hashes().to_vec();
                self.correct(window, &known, prototype, out)?;
            }
            self.give_largest(window, prototype, out)?;
        }
        Ok(())
    }

    /// Drops the windows in which nothing changes any more.
    fn settle(&mut self, watermark: i64) -> Result<()> {
        self.emitted_until = watermark;
        let before = self.keys();
        let config = &self.config;
        let is_held = |window: &Span| config.expiry(*window) > watermark;
        self.slices.retain(|at, _| config.windows_of(*at).last().is_some_and(|window| is_held(&window)));
        self.given.retain(|window, _| is_held(window));
        let left = self.keys();
        if self.lists.note_dropped(before - left, left) { self.renumber_lists() } else { Ok(()) }
    }

    /// How many keys are held, of all slices and windows together.
    fn keys(&self) -> usize {
        let of_slices: usize = self.slices.values().map(|slice| slice.counted.lists.len()).sum();
        of_slices + self.given.values().map(|given| given.known.counted.lists.len()).sum::<usize>()
    }

    /// Lets the lists go that were of windows that have been dropped. No list's number is anywhere else, nor in what is stored.
    fn renumber_lists(&mut self) -> Result<()> {
        let of_slices = self.slices.values().map(|slice| &slice.counted.lists);
        let of_given = self.given.values().map(|given| &given.known.counted.lists);
        if let Some(numbers) = self.lists.renumber(of_slices.chain(of_given).flatten())? {
            self.slices.values_mut().for_each(|slice| slice.renumber(&numbers));
            self.given.values_mut().for_each(|given| given.renumber(&numbers));
        }
        Ok(())
    }
}

/// A batch of the aggregate's results, taken apart.
struct Input<'a> {
    hashes: &'a [u128],
    keys: Vec<ArrayRef>,
    lists: Vec<u32>,
    counts: &'a Int64Array,
    /// Which rows say that a key is not there any more.
    absent: BooleanArray,
}

impl Input<'_> {
    /// The count in a row. A sum of nothing is 0, what is withdrawn is absent.
    fn count(&self, row: usize) -> i64 {
        match (self.absent.value(row), self.counts.is_valid(row)) {
            (true, _) => ABSENT,
            (false, true) => count_of(self.counts.value(row)),
            (false, false) => 0,
        }
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str, operator: &str) -> Result<&'a ArrayRef> {
    let found = batch.column_by_name(name);
    found.ok_or_else(|| EngineError::internal(format!("'{operator}': the input has no column '{name}'")))
}

impl Operator for LocalTop {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (columns, name) = (&batch.columns, &self.context.operator);
        let (spans, numbers) = Span::of_rows(columns)?;
        let by = column(columns, &self.config.by, name)?;
        let keys: Result<Vec<ArrayRef>> =
            self.config.key.iter().map(|key| column(columns, key, name).cloned()).collect();
        let hashes = self.hasher.hashes_of(&batch)?;
        let input = Input {
            hashes: &hashes,
            keys: keys?,
            lists: self.lists.of(columns)?,
            counts: by.as_primitive_opt::<Int64Type>().ok_or_else(|| not_rankable(&self.config.by, by.data_type()))?,
            absent: withdrawn(columns)?.clone(),
        };
        let layout = self.lay_out(&input.keys)?;
        let mut parted = std::mem::take(&mut self.parted);
        parted.part_exactly(&numbers);
        for (number, rows) in parted.iter() {
            self.set_counts(spans[number as usize], &input, rows, &layout.0)?;
        }
        self.parted = parted;
        self.layout = Some(layout);
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        if watermark <= self.emitted_until {
            return Ok(());
        }
        if let Some(layout) = self.layout.take() {
            self.advance(watermark, &layout.0, out)?;
            self.layout = Some(layout);
        }
        self.settle(watermark)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let Some((_, state)) = &self.layout else { return Ok(Snapshot::default()) };
        let mut segments = Vec::with_capacity(self.slices.len() + self.given.len() + 1);
        for (at, slice) in &mut self.slices {
            let counted = Arc::clone(&slice.counted);
            let change = change(&mut slice.unsaved, state, *at, move || counted);
            segments.push(Segment { id: self.config.slice_name(*at), change });
        }
        for (window, given) in &mut self.given {
            let counted = &given.known.counted;
            let change = change(&mut given.unsaved, state, *window, || Arc::new(counted.clone()));
            segments.push(Segment { id: self.config.window_name(GIVEN, *window), change });
        }
        if !segments.is_empty() {
            segments.extend(state.progress_segment(self.emitted_until));
        }
        Ok(Snapshot { segments })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if segment == PROGRESS {
            self.emitted_until = self.emitted_until.max(restored_progress(rows)?);
            return Ok(());
        }
        let restored = restored_rows(&self.config, segment, rows, key_groups, &self.context)
            .map_err(|error| error.context(&self.context.operator))?;
        self.reconcile = true;
        if restored.counts.is_empty() {
            return Ok(());
        }
        let layout = self.lay_out(&restored.keys)?;
        let hashes = self.hasher.hash(&restored.batch)?;
        let lists = self.lists.of(&restored.batch)?;
        let at = restored.span(segment)?;
        if segment.starts_with(SLICE) {
            let absent = is_null(&restored.counts)?;
            let input = Input { hashes: &hashes, keys: restored.keys, lists, counts: &restored.counts, absent };
            self.set_counts(at, &input, Rows::All(hashes.len()), &layout.0)?;
            if let Some(slice) = self.slices.get_mut(&at) {
                slice.unsaved = restored.is_partial;
            }
        } else {
            if !segment.starts_with(GIVEN) {
                return Err(misfit(segment));
            }
            let given = match self.given.entry(at) {
                std::collections::btree_map::Entry::Occupied(given) => given.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => free.insert(Given::new(&layout.0)?),
            };
            for (row, hash) in hashes.iter().enumerate() {
                given.known.set(*hash, &restored.keys, row as u32, lists[row], restored.count(row))?;
            }
            given.unsaved = restored.is_partial;
        }
        self.layout = Some(layout);
        Ok(())
    }
}

/// What a checkpoint writes of a slice or of what was given out.
fn change(unsaved: &mut bool, state: &TopState, bounds: Span, counted: impl FnOnce() -> Arc<Counted>) -> Change {
    if !std::mem::take(unsaved) {
        return Change::Unchanged;
    }
    let (state, counted) = (state.clone(), counted());
    Change::Replace(StateRows::deferred(move || {
        let stored = StoredRows {
            bounds,
            keys: &counted.keys,
            chosen: Rows::All(counted.keys.len()),
            counts: counted.counts.iter().map(|count| or_null(*count)).collect(),
            ranks: Vec::new(),
            revisions: Vec::new(),
        };
        Ok(vec![state.rows(stored)?])
    }))
}
