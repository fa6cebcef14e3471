//! Numbers drawn by position: the `k`-th draw of the `n`-th event is a pure function of the key, so that any event can be
//! had without the ones before it, and the same seed gives the same bytes on every machine and with every library version.
//!
//! The mixing is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014), written out here
//! because a generator from a library may change its values with a release.

/// The odd constant of SplitMix64: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A bijection on 64 bits in which every input bit moves about half of the output bits.
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Joins two numbers into a key for further draws.
pub(super) fn key(left: u64, right: u64) -> u64 {
    mix(mix(left.wrapping_add(GOLDEN)).wrapping_add(right.wrapping_mul(GOLDEN)))
}

/// The draws that belong to one event, one after the other.
pub(super) struct Draws(u64);

impl Draws {
    /// The draws of position `position` under `key`.
    pub(super) fn at(key: u64, position: u64) -> Self {
        Draws(mix(key.wrapping_add(position.wrapping_mul(GOLDEN))))
    }

    /// Sixty-four even bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// An even number in `0..bound` (0 when the bound is 0); the bias of at most `bound` in 2^64 does not matter here.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True with the probability that a threshold of [`share`] stands for.
    pub(super) fn happens(&mut self, threshold: u64) -> bool {
        self.bits() < threshold
    }
}

/// A share between 0 and 1 as the threshold that [`Draws::happens`] compares with.
pub(super) fn share(share: f64) -> u64 {
    // The cast saturates: a share of 1 becomes `u64::MAX`, missed once in 2^64 draws.
    (share * 2f64.powi(64)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_key_and_position_only() {
        let draw = |key, position| Draws::at(key, position).bits();
        assert_eq!(draw(1, 7), draw(1, 7));
        assert_ne!(draw(1, 7), draw(1, 8));
        assert_ne!(draw(1, 7), draw(2, 7));
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut seen = [0u32; 7];
        for position in 0..7_000 {
            seen[Draws::at(3, position).below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn shares_come_out_as_asked_for() {
        let threshold = share(0.05);
        let hits = (0..100_000).filter(|position| Draws::at(9, *position).happens(threshold)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        assert_eq!(share(0.0), 0);
        assert_eq!(share(1.0), u64::MAX);
    }
}
