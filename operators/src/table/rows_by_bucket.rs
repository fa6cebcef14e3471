//! Parts the rows of a batch by the piece of event time that they fall into.
//!
//! Rows come nearly in the order of event time, so most batches touch one bucket or two: the division is done when a row
//! leaves the bucket of its predecessor, and a batch of one bucket costs a comparison a row.

use crate::window::floor;
use hashbrown::HashMap;

/// So many buckets are searched one by one, latest first.
const AT_A_GLANCE: usize = 8;

/// Which rows of a batch fall into which bucket, in the order in which the buckets first occur. Kept from batch to batch,
/// so that nothing is allocated again.
#[derive(Debug, Default)]
pub struct RowsByBucket {
    buckets: Vec<(i64, Vec<u32>)>,
    used: usize,
    /// Where a bucket is, once there are more than a glance finds. Never iterated.
    index: HashMap<i64, usize>,
    /// The only bucket, when all rows are in one: its row numbers are not written down.
    single: Option<i64>,
    rows: usize,
}

/// Rows of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// All of them: so many.
    All(usize),
    /// These.
    Some(&'a [u32]),
}

impl Rows<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Rows::All(rows) => *rows,
            Rows::Some(rows) => rows.len(),
        }
    }

    /// True when there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The n-th of the rows.
    #[inline(always)]
    pub fn row(&self, n: usize) -> usize {
        match self {
            Rows::All(_) => n,
            Rows::Some(rows) => rows[n] as usize,
        }
    }
}

impl RowsByBucket {
    /// Parts rows by `floor(time, width)`.
    pub fn part(&mut self, times: &[i64], width: i64) {
        self.part_by(times, |time| (floor(time, width), width));
    }

    /// Parts rows by their exact value.
    pub fn part_exactly(&mut self, values: &[i64]) {
        self.part_by(values, |value| (value, 1));
    }

    /// Parts rows by buckets of any kind: `bucket_of` gives start and width of the bucket of a time.
    pub fn part_by(&mut self, times: &[i64], bucket_of: impl Fn(i64) -> (i64, i64)) {
        self.rows = times.len();
        self.used = 0;
        self.index.clear();
        self.single = None;
        let Some(first) = times.first() else { return };
        let (start, width) = bucket_of(*first);
        if times.iter().all(|time| is_in(*time, start, width)) {
            self.single = Some(start);
            return;
        }
        let (mut current, mut bounds) = (self.open(start), (start, width));
        for (row, time) in times.iter().enumerate() {
            if !is_in(*time, bounds.0, bounds.1) {
                bounds = bucket_of(*time);
                current = self.open(bounds.0);
            }
            self.buckets[current].1.push(row as u32);
        }
    }

    /// Leaves all of so many rows in one bucket.
    pub fn leave(&mut self, rows: usize) {
        (self.rows, self.used, self.single) = (rows, 0, (rows > 0).then_some(0));
        self.index.clear();
    }

    /// Index of the bucket that starts at `start`.
    fn open(&mut self, start: i64) -> usize {
        let known = if self.used <= AT_A_GLANCE {
            self.buckets[..self.used].iter().rposition(|bucket| bucket.0 == start)
        } else {
            self.index.get(&start).copied()
        };
        if let Some(at) = known {
            return at;
        }
        match self.buckets.get_mut(self.used) {
            Some(free) => {
                free.0 = start;
                free.1.clear();
            }
            None => self.buckets.push((start, Vec::new())),
        }
        self.index.insert(start, self.used);
        self.used += 1;
        self.used - 1
    }

    /// The buckets and their rows.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Rows<'_>)> {
        let single = self.single.map(|start| (start, Rows::All(self.rows)));
        let many = self.buckets[..self.used].iter().map(|(start, rows)| (*start, Rows::Some(rows)));
        single.into_iter().chain(many)
    }
}

/// `start <= time < start + width`, without overflow.
#[inline(always)]
fn is_in(time: i64, start: i64, width: i64) -> bool {
    (time.wrapping_sub(start) as u64) < width as u64
}
