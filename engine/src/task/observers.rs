//! What can be seen of a job whose coordinator and workers are all in this process, over all of its attempts.
//!
//! In a cluster every part has its own [`Observer`], which nothing else here reads: that is the default.

use super::observer::{Observer, Restored, RunStatus};
use crate::{
    ids::{Attempt, CheckpointId},
    operator::Waits,
};
use parking_lot::{Mutex, MutexGuard};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Gives the parts of an attempt their observers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observers(Option<Arc<Mutex<Seen>>>);

/// The newest attempt's observers, and what is kept of those before it.
#[derive(Debug, Default)]
struct Seen {
    attempt: Option<Attempt>,
    driver: Arc<Observer>,
    workers: Vec<(String, Arc<Observer>)>,
    before: Totals,
    waits: Waits,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    attempts: u64,
    /// What the first attempt was restored from.
    began_from: Option<CheckpointId>,
    checkpoints: u64,
    longest_checkpoint: Duration,
    longest_step: Duration,
    state_bytes: u64,
}

impl Observers {
    /// Of one job, to be looked at.
    pub fn of_one_job() -> Self {
        Observers(Some(Arc::default()))
    }

    /// For the driver of an attempt.
    pub fn driver(&self, attempt: Attempt) -> Arc<Observer> {
        self.begun(attempt).map_or_else(Arc::default, |seen| seen.driver.clone())
    }

    /// For a worker that hosts subtasks of an attempt.
    pub fn worker(&self, attempt: Attempt, name: &str) -> Arc<Observer> {
        let Some(mut seen) = self.begun(attempt) else { return Arc::default() };
        let observer = Arc::new(Observer::with_waits(seen.waits.clone()));
        seen.workers.push((name.into(), Arc::clone(&observer)));
        observer
    }

    /// The counters of every node in the newest attempt, summed over its subtasks.
    pub fn counters(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut sums: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (_, observer) in self.workers() {
            for (node, counters) in observer.counters() {
                let sums = sums.entry(node).or_default();
                counters.into_iter().for_each(|(name, value)| *sums.entry(name).or_default() += value);
            }
        }
        sums
    }

    /// Where the newest attempt stands; its checkpoints are counted with those of all before it.
    pub fn status(&self) -> RunStatus {
        let Some(seen) = self.seen() else { return RunStatus::default() };
        let (now, totals) = (seen.driver.status(), seen.totals());
        RunStatus { checkpoints: totals.checkpoints, longest_checkpoint: totals.longest_checkpoint, ..now }
    }

    /// How much state the newest attempt has back, on all workers.
    pub fn restored(&self) -> Restored {
        self.workers().iter().fold(Restored::default(), |sum, (_, observer)| sum.and(observer.restored()))
    }

    /// The longest that one step of any subtask has held its input up.
    pub fn longest_step(&self) -> Duration {
        self.seen().map_or(Duration::ZERO, |seen| seen.totals().longest_step)
    }

    /// Bytes of state that were written to checkpoints.
    pub fn state_bytes(&self) -> u64 {
        self.seen().map_or(0, |seen| seen.totals().state_bytes)
    }

    /// How many attempts there were.
    pub fn attempts(&self) -> u64 {
        self.seen().map_or(0, |seen| seen.totals().attempts)
    }

    /// The checkpoint that the first attempt was restored from, if that holds more than the beginning.
    pub fn began_from(&self) -> Option<CheckpointId> {
        self.seen().and_then(|seen| seen.totals().began_from)
    }

    /// The number of subtasks of the newest attempt on each worker that has some.
    pub fn subtasks(&self) -> BTreeMap<String, usize> {
        let counted = self.workers().into_iter().map(|(name, observer)| (name, observer.subtasks().len()));
        counted.filter(|(_, subtasks)| *subtasks > 0).collect()
    }

    /// Which sinks wait for their targets, and which sources for what they read.
    pub fn waits(&self) -> Waits {
        self.seen().map(|seen| seen.waits.clone()).unwrap_or_default()
    }

    fn workers(&self) -> Vec<(String, Arc<Observer>)> {
        self.seen().map(|seen| seen.workers.clone()).unwrap_or_default()
    }

    fn seen(&self) -> Option<MutexGuard<'_, Seen>> {
        self.0.as_ref().map(|seen| seen.lock())
    }

    /// With `attempt` as the newest one.
    fn begun(&self, attempt: Attempt) -> Option<MutexGuard<'_, Seen>> {
        let mut seen = self.seen()?;
        if seen.attempt != Some(attempt) {
            let waits = seen.waits.clone();
            let driver = Arc::new(Observer::with_waits(waits.clone()));
            *seen = Seen { attempt: Some(attempt), before: seen.totals(), waits, driver, ..Seen::default() };
        }
        Some(seen)
    }
}

impl Seen {
    fn totals(&self) -> Totals {
        let status = self.driver.status();
        let steps = self.workers.iter().map(|(_, observer)| observer.longest_step());
        Totals {
            attempts: self.before.attempts + u64::from(self.attempt.is_some()),
            began_from: if self.before.attempts == 0 { status.restored } else { self.before.began_from },
            checkpoints: self.before.checkpoints + status.checkpoints,
            longest_checkpoint: self.before.longest_checkpoint.max(status.longest_checkpoint),
            longest_step: steps.fold(self.before.longest_step, Duration::max),
            state_bytes: self.before.state_bytes
                + self.workers.iter().map(|(_, observer)| observer.state_bytes()).sum::<u64>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::SubtaskId, operator::Counters};

    fn read(observer: &Observer, events: u64) {
        let counters = Counters::default();
        counters.counter("events_in").add(events);
        observer.add_node(SubtaskId { task: 0, index: 0 }, "source.clicks", counters);
        observer.add_subtask(SubtaskId { task: 0, index: 0 });
    }

    #[test]
    fn the_newest_attempt_counts_and_what_was_done_before_is_kept() {
        let observers = Observers::of_one_job();
        for attempt in [Attempt(3), Attempt(4)] {
            observers.driver(attempt).update(|run| {
                run.checkpoints += 2;
                run.restored = Some(CheckpointId(attempt.0 * 10));
                run.committed = Some(CheckpointId(attempt.0));
            });
            for worker in ["a", "b"] {
                let observer = observers.worker(attempt, worker);
                read(&observer, 10 * attempt.0);
                observer.saw_state_bytes(7);
                observer.saw_step(Duration::from_millis(20 - attempt.0));
            }
        }
        assert_eq!(observers.counters()["source.clicks"]["events_in"], 80, "both workers, not the attempt before");
        assert_eq!(observers.subtasks(), BTreeMap::from([("a".into(), 1), ("b".into(), 1)]));
        let status = observers.status();
        assert_eq!((status.checkpoints, status.committed), (4, Some(CheckpointId(4))));
        assert_eq!(observers.attempts(), 2);
        assert_eq!(observers.began_from(), Some(CheckpointId(30)), "the first attempt's");
        assert_eq!(observers.state_bytes(), 28);
        assert_eq!(observers.longest_step(), Duration::from_millis(17));
    }

    #[test]
    fn where_nobody_looks_nothing_is_kept() {
        let observers = Observers::default();
        read(&observers.worker(Attempt(1), "a"), 10);
        observers.driver(Attempt(1)).update(|run| run.checkpoints = 1);
        assert!(observers.counters().is_empty());
        assert_eq!(observers.status().checkpoints, 0);
    }
}
