//! Numbers of values by their size: what a percentile needs to within 0.8 %, in a space that hardly grows.
//!
//! Sizes that agree in sign, exponent and the first seven bits of their fraction are in one bucket, so that its largest value
//! is less than 1/128 above its smallest. Of each bucket the smallest, the largest and the number of its values are kept, and
//! within one the values are taken to lie evenly; where all of them are equal, the result is exact. Values from a
//! microsecond to an hour need 4,000 buckets at most. Unlike a t-digest's, the buckets do not depend on the order of the
//! values or on how they were parted.
//!
//! State is one entry for each bucket, ascending: ranks of its smallest and largest value in eight bytes each,
//! little-endian, and the number as a varint.

use super::extremes::{float_rank, ranked_float};
use super::percentiles::SortedValues;
use super::varint::{Reader, write_varint};
use std::collections::BTreeMap;
use weir_engine::Result;

/// Bits of a float that a bucket leaves open: of 52 in the fraction all but seven.
const OPEN_BITS: u32 = 45;

/// Values by bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    buckets: BTreeMap<i32, Bucket>,
    values: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Ranks.
    smallest: i64,
    largest: i64,
    values: u64,
}

impl Histogram {
    fn add(&mut self, added: Bucket) {
        self.values += added.values;
        let bucket = self.buckets.entry((added.smallest >> OPEN_BITS) as i32).or_insert(Bucket { values: 0, ..added });
        bucket.smallest = bucket.smallest.min(added.smallest);
        bucket.largest = bucket.largest.max(added.largest);
        bucket.values += added.values;
    }
}

impl Bucket {
    /// The value at a position within it.
    fn at(&self, position: u64) -> f64 {
        let (smallest, largest) = (ranked_float(self.smallest), ranked_float(self.largest));
        if self.smallest == self.largest || position == 0 || self.values < 2 {
            return smallest;
        }
        if position >= self.values - 1 {
            return largest;
        }
        smallest + (largest - smallest) * (position as f64 / (self.values - 1) as f64)
    }
}

impl SortedValues for Histogram {
    fn insert(&mut self, value: f64) {
        let rank = float_rank(value);
        self.add(Bucket { smallest: rank, largest: rank, values: 1 });
    }

    fn merge(&mut self, other: &Self) {
        other.buckets.values().for_each(|bucket| self.add(*bucket));
    }

    fn len(&self) -> u64 {
        self.values
    }

    fn at(&self, low: u64, high: u64) -> (f64, f64) {
        let mut before = 0;
        let mut found = [None, None];
        let mut last = f64::NAN;
        for bucket in self.buckets.values() {
            for (position, found) in [low, high].into_iter().zip(&mut found) {
                if found.is_none() && position < before + bucket.values {
                    *found = Some(bucket.at(position - before));
                }
            }
            before += bucket.values;
            last = ranked_float(bucket.largest);
            if found[1].is_some() {
                break;
            }
        }
        let [below, above] = found;
        (below.unwrap_or(last), above.unwrap_or(last))
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        for bucket in self.buckets.values() {
            bytes.extend_from_slice(&bucket.smallest.to_le_bytes());
            bytes.extend_from_slice(&bucket.largest.to_le_bytes());
            write_varint(bucket.values, bytes);
        }
    }

    fn merge_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let (smallest, largest, values) = (reader.int64()?, reader.int64()?, reader.varint()?);
            let is_one = smallest >> OPEN_BITS == largest >> OPEN_BITS && smallest <= largest;
            if !is_one || self.values.checked_add(values).is_none() {
                return Err(reader.damaged());
            }
            self.add(Bucket { smallest, largest, values });
        }
        Ok(())
    }
}
