//! How long a fault is felt: until results are visible that were staged after it.

use super::{
    schedule::Fault,
    watch::{Commit, Seen},
};
use std::collections::BTreeMap;

/// What happened, and what became of it. All times are of the machine's clock, in milliseconds.
#[derive(Clone, Debug)]
pub struct Incident {
    /// What happened.
    pub fault: Fault,
    /// What kind of fault it was, and whether it was a matter of minutes.
    pub kind: String,
    /// Whom it hit.
    pub victims: String,
    /// When it began.
    pub begun_ms: i64,
    /// When it was over.
    pub over_ms: i64,
    /// Whether nothing else happened until results came.
    pub alone: bool,
}

/// How it was got over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// From where it counts to the first new results, in milliseconds.
    pub took_ms: i64,
    /// Attempts that it cost.
    pub restarts: i64,
    /// For how long of that the machine stood still, busy with something else.
    pub stalled_ms: i64,
}

impl Incident {
    /// How it was got over; none if it was not, or if something else was the matter as well.
    pub fn recovery(&self, seen: &Seen) -> Option<Recovery> {
        if !self.alone {
            return None;
        }
        let from_ms = if self.fault.is_bridged() { self.begun_ms } else { self.over_ms };
        let first = seen.first_after(from_ms)?;
        let before = seen.commits.iter().take_while(|commit| commit.seen_ms < self.begun_ms).last();
        let settled = seen.first_after(self.over_ms)?;
        let attempt = |commit: Option<&Commit>| commit.map_or(1, |commit| commit.attempt);
        Some(Recovery {
            took_ms: first.seen_ms - from_ms,
            restarts: settled.attempt - attempt(before),
            stalled_ms: seen.stalled_ms(from_ms, first.seen_ms),
        })
    }
}

/// The recoveries of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What kind of fault.
    pub kind: String,
    /// Whether they count from the begin of the fault.
    pub bridged: bool,
    /// How many.
    pub times: usize,
    /// The middle one, in milliseconds.
    pub p50_ms: i64,
    /// Of a hundred, 95 were as short as this.
    pub p95_ms: i64,
    /// The longest.
    pub max_ms: i64,
    /// Attempts that all of them cost together.
    pub restarts: i64,
    /// In how many of them the machine stood still for a while, busy with something else.
    pub stalled: usize,
}

/// The recoveries of each kind, by its name.
pub fn summaries(incidents: &[Incident], seen: &Seen) -> Vec<Summary> {
    let mut kinds: BTreeMap<(&str, bool), Vec<Recovery>> = BTreeMap::new();
    for incident in incidents {
        if let Some(recovery) = incident.recovery(seen) {
            kinds.entry((&incident.kind, incident.fault.is_bridged())).or_default().push(recovery);
        }
    }
    let summed = kinds.into_iter().map(|((kind, bridged), all)| {
        let mut times: Vec<i64> = all.iter().map(|recovery| recovery.took_ms).collect();
        times.sort_unstable();
        Summary {
            kind: kind.into(),
            bridged,
            times: times.len(),
            p50_ms: at_share(&times, 50),
            p95_ms: at_share(&times, 95),
            max_ms: at_share(&times, 100),
            restarts: all.iter().map(|recovery| recovery.restarts).sum(),
            stalled: all.iter().filter(|recovery| recovery.stalled_ms > 0).count(),
        }
    });
    summed.collect()
}

/// Of sorted times the smallest that so many of a hundred do not exceed.
fn at_share(times: &[i64], percent: usize) -> i64 {
    let place = (times.len() * percent).div_ceil(100).max(1) - 1;
    times.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::schedule::Role, *};

    fn incident(begun_ms: i64, over_ms: i64, bridged: bool) -> Incident {
        let fault = Fault::Kill(if bridged { Role::Worker } else { Role::Storage });
        Incident { fault, kind: fault.to_string(), victims: String::new(), begun_ms, over_ms, alone: true }
    }

    fn seen() -> Seen {
        let commit = |staged_ms, seen_ms, attempt| Commit { seen_ms, staged_ms, checkpoint: staged_ms, attempt };
        // Staged before the fault at 1,000 and visible after it; then of the next attempt.
        let commits =
            vec![commit(500, 600, 1), commit(900, 1_100, 1), commit(2_400, 2_600, 2), commit(6_000, 6_200, 2)];
        Seen { commits, ..Seen::default() }
    }

    #[test]
    fn results_from_before_a_fault_are_no_recovery() {
        let recovery = incident(1_000, 1_500, true).recovery(&seen());
        assert_eq!(recovery, Some(Recovery { took_ms: 1_600, restarts: 1, stalled_ms: 0 }));
        let waited = incident(1_000, 5_000, false).recovery(&seen());
        assert_eq!(waited, Some(Recovery { took_ms: 1_200, restarts: 1, stalled_ms: 0 }));
        assert_eq!(incident(7_000, 7_100, true).recovery(&seen()), None, "nothing came after it");
        assert_eq!(Incident { alone: false, ..incident(1_000, 1_500, true) }.recovery(&seen()), None);
    }

    #[test]
    fn shares_are_of_all_times() {
        let times: Vec<i64> = (1..=20).collect();
        assert_eq!([50, 95, 100].map(|percent| at_share(&times, percent)), [10, 19, 20]);
        assert_eq!([at_share(&[7], 95), at_share(&[], 50)], [7, 0]);
        let summary = &summaries(&[incident(1_000, 1_500, true), incident(3_000, 3_100, true)], &seen())[0];
        assert_eq!((summary.times, summary.p50_ms, summary.max_ms, summary.restarts), (2, 1_600, 3_200, 1));
    }
}
