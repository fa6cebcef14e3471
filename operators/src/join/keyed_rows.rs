//! Rows of one piece of event time, found by key and time.
//!
//! Rows lie in columns, in the order in which they came. Beside them lie *runs*: row numbers in the order of key hash, event time,
//! the columns in their order, and at last of arrival. Each batch is a run at first, and runs of about one length are merged, so
//! that there are few, and each row is moved some log n times. That costs four bytes a row, where a hash table of lists would cost
//! forty; a look-up is a guess, since hashes are spread evenly, and a short search from there in every run. However many rows a
//! key has, no look-up goes through them.

use crate::table::{KeyColumns, Rows, longest_texts};
use arrow::{array::ArrayRef, datatypes::DataType};
use std::{cmp::Ordering, ops::Range};
use weir_engine::{EngineError, Result};

/// Rows of one piece of event time.
#[derive(Debug)]
pub(super) struct KeyedRows {
    hashes: Vec<u128>,
    times: Vec<i64>,
    /// Of all kept columns; none, where nobody asks.
    row_hashes: Option<Vec<u128>>,
    columns: KeyColumns,
    /// All columns, as an order.
    by_columns: Vec<usize>,
    runs: Vec<Vec<u32>>,
    /// The texts of no row have more bytes together than this.
    longest: usize,
}

/// Rows of a batch, to be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'a> {
    /// Of the columns that have to be equal.
    pub(super) hashes: &'a [u128],
    pub(super) times: &'a [i64],
    /// Of all kept columns; of no use where these are not kept.
    pub(super) row_hashes: &'a [u128],
    pub(super) columns: &'a [ArrayRef],
}

impl KeyedRows {
    /// No row yet, of columns of these types.
    pub(super) fn new<'a>(types: impl Iterator<Item = &'a DataType>, with_row_hashes: bool) -> Result<Self> {
        let columns = KeyColumns::new(types)?;
        Ok(KeyedRows {
            hashes: Vec::new(),
            times: Vec::new(),
            row_hashes: with_row_hashes.then(Vec::new),
            by_columns: (0..columns.types().count()).collect(),
            columns,
            runs: Vec::new(),
            longest: 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn hash(&self, row: u32) -> u128 {
        self.hashes[row as usize]
    }

    pub(super) fn time(&self, row: u32) -> i64 {
        self.times[row as usize]
    }

    /// The hash of a row's columns; of the columns alone, not of its time.
    pub(super) fn row_hash(&self, row: u32) -> u128 {
        self.row_hashes.as_ref().map_or(0, |hashes| hashes[row as usize])
    }

    /// How many bytes the texts of a row have together, at most.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The columns of some rows.
    pub(super) fn arrays(&self, rows: Rows<'_>) -> Result<Vec<ArrayRef>> {
        self.columns.arrays(rows)
    }

    /// Adds rows, and says which numbers they have here.
    pub(super) fn add(&mut self, incoming: Incoming<'_>, rows: Rows<'_>) -> Result<Range<u32>> {
        let first = self.len();
        let too_many =
            || EngineError::internal("a join holds too many rows of one piece of event time: raise the parallelism");
        let end = u32::try_from(first + rows.len()).map_err(|_| too_many())?;
        let chosen = || (0..rows.len()).map(|n| rows.row(n));
        self.columns.append(incoming.columns, rows)?;
        self.longest = self.longest.max(longest_texts(incoming.columns, rows));
        self.hashes.extend(chosen().map(|row| incoming.hashes[row]));
        self.times.extend(chosen().map(|row| incoming.times[row]));
        if let Some(row_hashes) = &mut self.row_hashes {
            row_hashes.extend(chosen().map(|row| incoming.row_hashes[row]));
        }
        let added = first as u32..end;
        let mut run: Vec<u32> = added.clone().collect();
        run.sort_unstable_by(|one, other| self.compare(*one, *other).then(one.cmp(other)));
        if !run.is_empty() {
            self.runs.push(run);
            self.merge_runs(2);
        }
        Ok(added)
    }

    /// Bytes held, for accounting.
    #[cfg(test)]
    pub(super) fn size_in_bytes(&self) -> usize {
        let hashes = self.hashes.capacity() + self.row_hashes.as_ref().map_or(0, Vec::capacity);
        let runs: usize = self.runs.iter().map(Vec::capacity).sum();
        hashes * size_of::<u128>()
            + self.times.capacity() * size_of::<i64>()
            + runs * size_of::<u32>()
            + self.columns.size_in_bytes()
    }

    /// No more rows are expected: takes no more memory than it needs, and one run.
    pub(super) fn seal(&mut self) {
        self.merge_runs(usize::MAX);
        self.runs.iter_mut().for_each(Vec::shrink_to_fit);
        self.hashes.shrink_to_fit();
        self.times.shrink_to_fit();
        self.row_hashes.iter_mut().for_each(Vec::shrink_to_fit);
        self.columns.shrink_to_fit();
    }

    /// Merges the last runs while the one before is less than so many times as long.
    fn merge_runs(&mut self, times_as_long: usize) {
        while let [.., before, last] = self.runs.as_slice()
            && before.len() < last.len().saturating_mul(times_as_long)
        {
            let merged = self.merged(before, last);
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
    }

    fn merged(&self, one: &[u32], other: &[u32]) -> Vec<u32> {
        let mut merged = Vec::with_capacity(one.len() + other.len());
        let (mut one, mut other) = (one.iter().copied().peekable(), other.iter().copied().peekable());
        while let (Some(left), Some(right)) = (one.peek(), other.peek()) {
            let is_left = self.compare(*left, *right).then(left.cmp(right)).is_lt();
            merged.extend(if is_left { one.next() } else { other.next() });
        }
        merged.extend(one);
        merged.extend(other);
        merged
    }

    /// By key, event time and columns.
    fn compare(&self, row: u32, other: u32) -> Ordering {
        let keys = self.hash(row).cmp(&self.hash(other));
        keys.then_with(|| self.compare_within_key(row, other))
    }

    /// Rows of one key, by event time and columns.
    fn compare_within_key(&self, row: u32, other: u32) -> Ordering {
        let times = self.time(row).cmp(&self.time(other));
        times.then_with(|| self.columns.compare(row, &self.columns, other, &self.by_columns))
    }

    /// The latest row of a key from one time to another; of those at that time the largest, of equal ones the one that came first.
    pub(super) fn last(&self, hash: u128, from: i64, to: i64) -> Option<u32> {
        let of_run = |run: &Vec<u32>| {
            let end = self.position(run, hash, |row| (self.hash(row), self.time(row)) <= (hash, to));
            let found = *run[..end].last().filter(|row| self.is_of(**row, hash, from, to))?;
            // Equal ones are beside each other.
            let is_before = |row: &u32| self.compare(*row, found).is_lt();
            let repeated = end >= 2 && self.compare(run[end - 2], found).is_eq();
            Some(if repeated { run[run.partition_point(is_before)] } else { found })
        };
        let found = self.runs.iter().filter_map(of_run);
        found.max_by(|one, other| self.compare_within_key(*one, *other).then(other.cmp(one)))
    }

    /// The earliest row of a key from one time to another; of those at that time the smallest, of equal ones the one that came
    /// first.
    pub(super) fn first(&self, hash: u128, from: i64, to: i64) -> Option<u32> {
        let of_run = |run: &Vec<u32>| {
            let start = self.start(run, hash, from);
            run.get(start).copied().filter(|row| self.is_of(*row, hash, from, to))
        };
        let found = self.runs.iter().filter_map(of_run);
        found.min_by(|one, other| self.compare_within_key(*one, *other).then(one.cmp(other)))
    }

    /// All rows of a key from one time to another, in their order.
    pub(super) fn all(&self, hash: u128, from: i64, to: i64) -> Vec<u32> {
        let of_run = |run: &'_ Vec<u32>| {
            let start = self.start(run, hash, from);
            let rows = run[start..].iter().copied().take_while(|row| self.is_of(*row, hash, from, to));
            rows.collect::<Vec<u32>>()
        };
        let mut found: Vec<u32> = self.runs.iter().flat_map(of_run).collect();
        if self.runs.len() > 1 {
            found.sort_unstable_by(|one, other| self.compare_within_key(*one, *other).then(one.cmp(other)));
        }
        found
    }

    fn is_of(&self, row: u32, hash: u128, from: i64, to: i64) -> bool {
        self.hash(row) == hash && (from..=to).contains(&self.time(row))
    }

    fn start(&self, run: &[u32], hash: u128, from: i64) -> usize {
        self.position(run, hash, |row| (self.hash(row), self.time(row)) < (hash, from))
    }

    /// The place of the first row of a run that is not before what is sought: searched in steps that double, from where a row with
    /// this hash should be.
    fn position(&self, run: &[u32], hash: u128, is_before: impl Fn(u32) -> bool) -> usize {
        let is_before_at = |at: usize| is_before(run[at]);
        let guess = (((hash >> 64) * run.len() as u128) >> 64) as usize;
        let (mut low, mut high, mut step) = (0, run.len(), 1);
        if guess < run.len() && is_before_at(guess) {
            low = guess + 1;
            while low + step < run.len() && is_before_at(low + step) {
                (low, step) = (low + step + 1, step * 2);
            }
            high = run.len().min(low + step);
        } else {
            high = high.min(guess);
            while high > step && !is_before_at(high - step) {
                (high, step) = (high - step, step * 2);
            }
            low = low.max(high.saturating_sub(step));
        }
        low + run[low..high].partition_point(|row| is_before(*row))
    }
}

#[cfg(test)]
mod tests;
