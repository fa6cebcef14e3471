//! All values, each once with the number of times that it came: what an exact percentile needs.
//!
//! Sixteen bytes for each different value. State is one entry for each of them, ascending: its rank in eight bytes,
//! little-endian, and how often it came as a varint.

use super::extremes::{float_rank, ranked_float};
use super::percentiles::SortedValues;
use super::varint::{Reader, write_varint};
use weir_engine::Result;

/// So many entries are left unsorted at least.
const UNSORTED: usize = 256;

/// Values by their rank.
#[derive(Debug, Clone, Default)]
pub(super) struct Bag {
    /// Rank and how often; the first ones ascending, each once, the others as they came.
    entries: Vec<(i64, u64)>,
    sorted: usize,
    values: u64,
}

impl Bag {
    fn push(&mut self, rank: i64, times: u64) {
        self.entries.push((rank, times));
        self.values += times;
        // So that sorting costs as much for each value however many there are.
        if self.entries.len() - self.sorted > UNSORTED.max(self.sorted) {
            sort(&mut self.entries);
            self.sorted = self.entries.len();
        }
    }

    /// The entries in their order, each once.
    fn in_order(&self) -> Vec<(i64, u64)> {
        let mut entries = self.entries.clone();
        if self.sorted < entries.len() {
            sort(&mut entries);
        }
        entries
    }
}

fn sort(entries: &mut Vec<(i64, u64)>) {
    entries.sort_unstable_by_key(|(rank, _)| *rank);
    entries.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        kept.1 += if is_same { next.1 } else { 0 };
        is_same
    });
}

impl SortedValues for Bag {
    fn insert(&mut self, value: f64) {
        self.push(float_rank(value), 1);
    }

    fn merge(&mut self, other: &Self) {
        other.entries.iter().for_each(|(rank, times)| self.push(*rank, *times));
    }

    fn len(&self) -> u64 {
        self.values
    }

    fn at(&self, low: u64, high: u64) -> (f64, f64) {
        let mut before = 0;
        let (mut found, mut last) = (None, f64::NAN);
        for (rank, times) in self.in_order() {
            before += times;
            last = ranked_float(rank);
            if found.is_none() && low < before {
                found = Some(last);
            }
            if high < before {
                break;
            }
        }
        (found.unwrap_or(last), last)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        for (rank, times) in self.in_order() {
            bytes.extend_from_slice(&rank.to_le_bytes());
            write_varint(times, bytes);
        }
    }

    fn merge_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let (rank, times) = (reader.int64()?, reader.varint()?);
            if self.values.checked_add(times).is_none() {
                return Err(reader.damaged());
            }
            self.push(rank, times);
        }
        Ok(())
    }
}
