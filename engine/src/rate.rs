//! Rates of counters for display: averaged over some seconds, since most counters rise in steps.

use crate::env::Moment;
use std::{collections::VecDeque, time::Duration};

/// Over how long a rate is measured.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Readings closer to each other than this count as one.
const STEP: Duration = Duration::from_millis(250);

/// A number that only rises, read now and then.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    /// Oldest first: those of the last [`WINDOW`], and the newest before it.
    readings: VecDeque<(Moment, u64)>,
}

impl Rate {
    /// The number now. One that has fallen has been reset.
    pub fn read(&mut self, at: Moment, number: u64) {
        if self.readings.back().is_some_and(|(_, last)| number < *last) {
            self.readings.clear();
        }
        // The newest stands for those just before it; the first one stays what it is.
        let count = self.readings.len();
        if count > 1 && at.saturating_duration_since(self.readings[count - 2].0) < STEP {
            self.readings.pop_back();
        }
        self.readings.push_back((at, number));
        while self.readings.len() > 2 && at.saturating_duration_since(self.readings[1].0) >= WINDOW {
            self.readings.pop_front();
        }
    }

    /// How much it has risen a second, over the last ten; 0 before there are two readings.
    pub fn per_second(&self) -> f64 {
        let (Some((from, before)), Some((to, now))) = (self.readings.front(), self.readings.back()) else { return 0.0 };
        let passed = to.saturating_duration_since(*from).as_secs_f64();
        if passed > 0.0 { (now - before) as f64 / passed } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    #[test]
    fn what_comes_in_steps_is_shown_evenly() {
        let (mut rate, began) = (Rate::default(), Env::default().now());
        // 5,000 each second, at once, looked at every half second.
        for halves in 0..60_u32 {
            rate.read(began + Duration::from_millis(500) * halves, u64::from(halves / 2) * 5000);
            if halves >= 20 {
                assert!((4500.0..=5500.0).contains(&rate.per_second()), "{halves}: {}", rate.per_second());
            }
        }
        assert!(rate.readings.len() < 25);
        // It has stopped: after ten seconds there is no rate.
        for halves in 60..82_u32 {
            rate.read(began + Duration::from_millis(500) * halves, 29 * 5000);
        }
        assert_eq!(rate.per_second(), 0.0);
    }

    #[test]
    fn a_rate_needs_two_readings_and_begins_anew_with_its_number() {
        let (mut rate, began) = (Rate::default(), Env::default().now());
        assert_eq!(rate.per_second(), 0.0);
        rate.read(began, 1_000_000);
        assert_eq!(rate.per_second(), 0.0, "what was there before is no rate");
        rate.read(began + Duration::from_secs(1), 1_000_100);
        assert_eq!(rate.per_second(), 100.0);
        rate.read(began + Duration::from_secs(2), 7);
        assert_eq!(rate.per_second(), 0.0);
    }

    #[test]
    fn frequent_readings_cost_no_memory() {
        let (mut rate, began) = (Rate::default(), Env::default().now());
        for millis in 0..30_000_u32 {
            rate.read(began + Duration::from_millis(1) * millis, u64::from(millis));
        }
        assert!(rate.readings.len() < 60, "{}", rate.readings.len());
        assert!((999.0..1001.0).contains(&rate.per_second()));
    }
}
