//! How far this machine's wall clock is ahead of the coordinator's: measured with every heartbeat, as NTP does. The coordinator
//! says when a heartbeat came; that was half-way between sending it and hearing the answer, give or take half of that time.

use std::{collections::VecDeque, time::Duration};
use weir_engine::env::{Env, Moment};

/// So many of the newest measurements are looked at: the one with the shortest way is the best.
const KEPT: usize = 8;

/// The newest measurements.
#[derive(Debug, Default)]
pub(crate) struct Clock(VecDeque<Measured>);

#[derive(Clone, Copy, Debug)]
struct Measured {
    took: Duration,
    ahead_ms: i64,
}

impl Clock {
    /// An answer came now: the heartbeat was sent then, and came at that moment of the coordinator's clock.
    pub(crate) fn measure(&mut self, env: &Env, sent: Moment, received_at_ms: i64) {
        let took = env.now() - sent;
        let half_way_ms = env.wall_clock_ms().saturating_sub((took / 2).as_millis() as i64);
        let ahead_ms = half_way_ms.saturating_sub(received_at_ms);
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Measured { took, ahead_ms });
        env.set_clock_ahead(self.ahead_ms().unwrap_or(0));
    }

    /// In milliseconds; 0 within what cannot be told. Nothing before the first answer.
    pub(crate) fn ahead_ms(&self) -> Option<i64> {
        let best = self.0.iter().min_by_key(|measured| measured.took)?;
        let is_noise = best.ahead_ms.unsigned_abs() as u128 <= best.took.as_millis() / 2 + 1;
        Some(if is_noise { 0 } else { best.ahead_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    /// Measures again and again over ways that take these milliseconds, there and back, with a clock that is so far ahead.
    async fn measured(ahead_ms: i64, ways: &[(u64, u64)]) -> (Option<i64>, i64) {
        let began = Env::default().now();
        let truth = move || 1_000_000 + (Env::default().now() - began).as_millis() as i64;
        let ahead = Arc::new(AtomicI64::new(ahead_ms));
        let env = Env::simulated(1, Arc::new(move || truth() + ahead.load(Ordering::Relaxed)));
        let mut clock = Clock::default();
        for (there, back) in ways {
            let sent = env.now();
            env.sleep(Duration::from_millis(*there)).await;
            let received = truth();
            env.sleep(Duration::from_millis(*back)).await;
            clock.measure(&env, sent, received);
        }
        (clock.ahead_ms(), env.cluster_clock_ms() - truth())
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_measured_within_half_of_the_shortest_way() {
        assert_eq!(measured(3_600_000, &[(5, 5)]).await, (Some(3_600_000), 0));
        assert_eq!(measured(-90_000, &[(5, 5)]).await, (Some(-90_000), 0));
        // Most of the way is in one direction, as under load; one of them is short.
        let (ahead, off) = measured(2_000, &[(900, 2), (3, 1), (700, 1)]).await;
        assert!((1_998..=2_002).contains(&ahead.unwrap()) && off.abs() <= 2, "{ahead:?} {off}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_told_from_the_way_is_no_difference() {
        assert_eq!(measured(0, &[(200, 2)]).await, (Some(0), 0));
        assert_eq!(Clock::default().ahead_ms(), None);
    }
}
