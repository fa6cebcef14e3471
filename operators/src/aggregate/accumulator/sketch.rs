//! HyperLogLog: how many distinct values there were, to within 1.6 %, in at most 4 KiB.
//!
//! Precision 12: 4096 registers, each the largest rank (position of the first one-bit) among the hashes that fall into it.
//! The hash is the upper half of the value hash of [`weir_engine::hash`]. As long as few registers are set they are kept as
//! a sorted list. The estimate is Ertl's improved raw estimator ("New cardinality estimation algorithms for HyperLogLog
//! sketches", 2017), which needs no tables and no switch between ranges.
//!
//! Serialised: one byte 1 and three bytes per register that is set (its number, little-endian, and its rank), ascending; or
//! one byte 2 and the 4096 ranks. Merging takes the larger rank of each register, so neither the order in which values
//! come nor the way they are parted changes the result.

use weir_engine::{EngineError, Result};

const PRECISION: u32 = 12;
const REGISTERS: usize = 1 << PRECISION;
const LARGEST_RANK: u8 = (64 - PRECISION + 1) as u8;
/// From here on the list would be larger than half of the registers.
const LONGEST_LIST: usize = 512;

const LIST: u8 = 1;
const DENSE: u8 = 2;

/// One sketch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sketch {
    /// Register and rank, ascending by register.
    List(Vec<(u16, u8)>),
    Dense(Box<[u8; REGISTERS]>),
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch::List(Vec::new())
    }
}

impl Sketch {
    /// Adds a value by its 64-bit hash.
    pub(crate) fn insert(&mut self, hash: u64) {
        let register = (hash >> (64 - PRECISION)) as u16;
        // The bit behind the remaining ones bounds the rank.
        let rest = hash << PRECISION | 1 << (PRECISION - 1);
        self.raise(register, rest.leading_zeros() as u8 + 1);
    }

    fn raise(&mut self, register: u16, rank: u8) {
        match self {
            Sketch::Dense(ranks) => {
                let held = &mut ranks[usize::from(register) % REGISTERS];
                *held = (*held).max(rank);
            }
            Sketch::List(list) => match list.binary_search_by_key(&register, |entry| entry.0) {
                Ok(at) => list[at].1 = list[at].1.max(rank),
                Err(at) => {
                    list.insert(at, (register, rank));
                    if list.len() > LONGEST_LIST {
                        self.make_dense();
                    }
                }
            },
        }
    }

    fn make_dense(&mut self) {
        if let Sketch::List(list) = self {
            let mut ranks = Box::new([0; REGISTERS]);
            for (register, rank) in list {
                ranks[usize::from(*register) % REGISTERS] = *rank;
            }
            *self = Sketch::Dense(ranks);
        }
    }

    /// Adds what another sketch has seen.
    pub(crate) fn merge(&mut self, other: &Sketch) {
        match (&mut *self, other) {
            (Sketch::Dense(ranks), Sketch::Dense(others)) => {
                ranks.iter_mut().zip(others.iter()).for_each(|(rank, other)| *rank = (*rank).max(*other));
            }
            (_, Sketch::List(others)) => others.iter().for_each(|(register, rank)| self.raise(*register, *rank)),
            (Sketch::List(_), Sketch::Dense(_)) => {
                self.make_dense();
                self.merge(other);
            }
        }
    }

    /// About how many distinct values were added.
    pub(crate) fn estimate(&self) -> i64 {
        let mut with_rank = [0u32; LARGEST_RANK as usize + 1];
        match self {
            Sketch::List(list) => {
                with_rank[0] = (REGISTERS - list.len()) as u32;
                list.iter().for_each(|(_, rank)| with_rank[usize::from(*rank)] += 1);
            }
            Sketch::Dense(ranks) => ranks.iter().for_each(|rank| with_rank[usize::from(*rank)] += 1),
        }
        let registers = REGISTERS as f64;
        let last = usize::from(LARGEST_RANK);
        let mut sum = registers * tau(1.0 - f64::from(with_rank[last]) / registers);
        for rank in (1..last).rev() {
            sum = 0.5 * (sum + f64::from(with_rank[rank]));
        }
        sum += registers * sigma(f64::from(with_rank[0]) / registers);
        let scale = 0.5 / std::f64::consts::LN_2;
        (scale * registers * registers / sum).round() as i64
    }

    /// Appends the serialised form.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Sketch::List(list) => {
                out.push(LIST);
                for (register, rank) in list {
                    out.extend_from_slice(&register.to_le_bytes());
                    out.push(*rank);
                }
            }
            Sketch::Dense(ranks) => {
                out.push(DENSE);
                out.extend_from_slice(&ranks[..]);
            }
        }
    }

    /// Adds what a serialised sketch has seen.
    pub(crate) fn merge_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let damaged = || EngineError::corrupt(format!("a distinct-count sketch of {} bytes is damaged", bytes.len()));
        match bytes.split_first() {
            None => Ok(()),
            Some((&LIST, entries)) if entries.len() % 3 == 0 => {
                for entry in entries.chunks_exact(3) {
                    let register = u16::from_le_bytes([entry[0], entry[1]]);
                    if usize::from(register) >= REGISTERS || entry[2] > LARGEST_RANK {
                        return Err(damaged());
                    }
                    self.raise(register, entry[2]);
                }
                Ok(())
            }
            Some((&DENSE, ranks)) if ranks.len() == REGISTERS && ranks.iter().all(|rank| *rank <= LARGEST_RANK) => {
                self.make_dense();
                if let Sketch::Dense(held) = self {
                    held.iter_mut().zip(ranks).for_each(|(held, rank)| *held = (*held).max(*rank));
                }
                Ok(())
            }
            Some(_) => Err(damaged()),
        }
    }
}

/// Ertl's correction for registers that are still zero.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// Ertl's correction for registers that are saturated.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_engine::hash::hash_integer;

    fn sketch(values: impl Iterator<Item = i64>) -> Sketch {
        let mut sketch = Sketch::default();
        values.for_each(|value| sketch.insert((hash_integer(value) >> 64) as u64));
        sketch
    }

    #[test]
    fn estimates_are_within_three_standard_errors() {
        for distinct in [0i64, 1, 2, 10, 100, 500, 1000, 5000, 20_000, 200_000] {
            let estimate = sketch((0..distinct).chain(0..distinct)).estimate();
            let allowed = (distinct as f64 * 0.049).max(0.5);
            assert!((estimate - distinct).abs() as f64 <= allowed, "{estimate} for {distinct}");
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        for bytes in [&[1u8, 2][..], &[2, 0, 0], &[3], &[1, 255, 255, 1], &[1, 0, 0, 77]] {
            assert!(Sketch::default().merge_bytes(bytes).is_err(), "{bytes:?}");
        }
        assert!(Sketch::default().merge_bytes(&[]).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn merging_is_the_same_as_seeing_all(one in prop::collection::vec(0i64..3000, 0..1500), two in prop::collection::vec(0i64..3000, 0..1500)) {
            let all = sketch(one.iter().chain(&two).copied());
            let (mut left, right) = (sketch(one.into_iter()), sketch(two.into_iter()));
            let mut by_bytes = left.clone();
            let mut bytes = Vec::new();
            right.write(&mut bytes);
            by_bytes.merge_bytes(&bytes).unwrap();
            left.merge(&right);
            prop_assert_eq!(left.estimate(), all.estimate());
            prop_assert_eq!(left, by_bytes);
        }
    }
}
