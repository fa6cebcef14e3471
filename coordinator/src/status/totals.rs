//! Totals over all checkpoints of a job, although only the newest are kept.

use super::{CheckpointTotals, CheckpointView};
use std::collections::{BTreeMap, BTreeSet};

/// Adds up the checkpoints of each job as they come. Every one is counted once, so the sums only rise; they restart at zero with
/// the process, and when a job starts over.
#[derive(Debug, Default)]
pub struct TotalsSoFar {
    jobs: BTreeMap<String, (u64, CheckpointTotals)>,
}

impl TotalsSoFar {
    /// The sums of `job`, whose newest checkpoints are these, oldest first. To miss none, look more often than so many are
    /// completed.
    pub fn add(&mut self, job: &str, newest: &[CheckpointView]) -> CheckpointTotals {
        let (last, totals) = self.jobs.entry(job.to_string()).or_default();
        let now = newest.last().map_or(0, |checkpoint| checkpoint.id);
        if now < *last {
            // It was started over, and its checkpoints are numbered from 1 again.
            (*last, *totals) = Default::default();
        }
        for checkpoint in newest.iter().filter(|checkpoint| checkpoint.id > *last) {
            totals.completed += 1;
            totals.duration_ms += checkpoint.duration_ms;
            totals.bytes += checkpoint.bytes;
        }
        *last = now;
        *totals
    }

    /// Forgets all other jobs.
    pub fn keep(&mut self, jobs: &BTreeSet<&str>) {
        self.jobs.retain(|job, _| jobs.contains(job.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoints(ids: impl Iterator<Item = u64>) -> Vec<CheckpointView> {
        ids.map(|id| CheckpointView { id, attempt: 1, completed_at_ms: 0, duration_ms: 10, bytes: 1000, last: false })
            .collect()
    }

    #[test]
    fn every_checkpoint_counts_once_though_the_old_ones_go() {
        let mut totals = TotalsSoFar::default();
        assert_eq!(totals.add("a", &[]), CheckpointTotals::default());
        totals.add("a", &checkpoints(1..=3));
        totals.add("a", &checkpoints(1..=3));
        let sum = totals.add("a", &checkpoints(3..=5));
        assert_eq!(sum, CheckpointTotals { completed: 5, duration_ms: 50, bytes: 5000 });
        assert_eq!(totals.add("b", &checkpoints(7..=8)).completed, 2, "another job, found in its midst");
    }

    #[test]
    fn a_job_that_starts_over_is_counted_anew() {
        let mut totals = TotalsSoFar::default();
        totals.add("a", &checkpoints(1..=9));
        assert_eq!(totals.add("a", &checkpoints(1..=2)).completed, 2);
        totals.keep(&BTreeSet::from(["b"]));
        assert_eq!(totals.add("a", &checkpoints(1..=2)).completed, 2, "forgotten, then found again");
    }
}
