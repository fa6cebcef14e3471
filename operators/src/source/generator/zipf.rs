//! Which ad is clicked: Zipf's law by a table of aliases, one draw and one look-up a click whatever the skew.
//!
//! Invariant: rank `k` (from 0) is drawn with a probability proportional to `1 / (k + 1)^skew`.

/// Walker's alias method in Vose's form (M. Vose, "A linear algorithm for generating random numbers with a given
/// distribution", 1991).
pub(super) struct Zipf {
    slots: Vec<Slot>,
}

/// A slot keeps its own rank when the draw's low half is below `keep`, and gives the alias otherwise.
#[derive(Clone, Copy)]
struct Slot {
    keep: u32,
    alias: u32,
}

impl Zipf {
    /// The table for `ranks` ranks (at least one). A skew of 0 is even; 1 is Zipf's own.
    pub(super) fn new(ranks: u32, skew: f64) -> Self {
        let mut weights: Vec<f64> = (1..=ranks).map(|rank| f64::from(rank).powf(-skew)).collect();
        let scale = f64::from(ranks) / weights.iter().sum::<f64>();
        weights.iter_mut().for_each(|weight| *weight *= scale);

        let (mut small, mut large): (Vec<u32>, Vec<u32>) = (0..ranks).partition(|rank| weights[*rank as usize] < 1.0);
        let mut slots: Vec<Slot> = (0..ranks).map(|rank| Slot { keep: u32::MAX, alias: rank }).collect();
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            let missing = 1.0 - weights[poor as usize];
            // The cast saturates, so a weight that rounding left a little off 0..1 does no harm.
            slots[poor as usize] = Slot { keep: (weights[poor as usize] * 2f64.powi(32)) as u32, alias: rich };
            weights[rich as usize] -= missing;
            if weights[rich as usize] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        Zipf { slots }
    }

    /// The rank that 64 even bits stand for.
    pub(super) fn rank(&self, bits: u64) -> u32 {
        let index = ((bits >> 32) * self.slots.len() as u64) >> 32;
        let slot = self.slots[index as usize];
        if (bits as u32) < slot.keep { index as u32 } else { slot.alias }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::random::Draws, *};

    #[test]
    fn ranks_follow_the_law() {
        let zipf = Zipf::new(1_000, 1.1);
        let draws = 400_000u64;
        let mut counts = vec![0f64; 1_000];
        for position in 0..draws {
            counts[zipf.rank(Draws::at(5, position).bits()) as usize] += 1.0;
        }
        let total: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-1.1)).sum();
        for rank in [0usize, 1, 2, 9, 99] {
            let expected = draws as f64 * ((rank + 1) as f64).powf(-1.1) / total;
            assert!(
                (counts[rank] - expected).abs() < 5.0 * expected.sqrt(),
                "rank {rank}: {} {expected}",
                counts[rank]
            );
        }
    }

    #[test]
    fn no_skew_is_even_and_one_rank_is_certain() {
        let even = Zipf::new(4, 0.0);
        let mut counts = [0u32; 4];
        (0..8_000).for_each(|position| counts[even.rank(Draws::at(1, position).bits()) as usize] += 1);
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
        assert_eq!(Zipf::new(1, 1.1).rank(u64::MAX), 0);
    }
}
