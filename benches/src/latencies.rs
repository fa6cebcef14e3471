//! Latencies, and what is said of them.

use serde_json::{Value, json};

/// Milliseconds, in no order.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<f64>);

impl Latencies {
    /// One more.
    pub fn add(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
    }

    /// Those of another too.
    pub fn extend(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that so many of a hundred are not above; not a number when there is none.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        let rank = (values.len() * percent).div_ceil(100).max(1);
        values.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    /// Half of them, most of them, the longest.
    pub fn as_json(&self) -> Value {
        json!({ "count": self.count(), "p50_ms": self.percentile(50), "p99_ms": self.percentile(99), "longest_ms": self.percentile(100) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_measured() {
        let mut all = Latencies((1..=200).rev().map(f64::from).collect());
        assert_eq!([50, 99, 100].map(|percent| all.percentile(percent)), [100.0, 198.0, 200.0]);
        all.extend(Latencies(vec![0.5]));
        assert_eq!((all.count(), all.percentile(0)), (201, 0.5));
        assert!(Latencies::default().percentile(50).is_nan());
    }
}
