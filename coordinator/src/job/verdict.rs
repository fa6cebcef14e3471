//! After a failed attempt: restart now, later, or never. Pure.

use crate::config::RestartPolicy;
use std::time::Duration;
use weir_engine::{
    element::Origin,
    error::{EngineError, ErrorKind},
};

/// What comes after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt, after a wait.
    Restart(Duration),
    /// The same, and the failure does not count: waiting heals it, however long it takes.
    Wait(Duration),
    /// The job is FAILED, for this cause.
    GiveUp(String),
}

/// How an attempt failed.
#[derive(Debug)]
pub struct Failure<'a> {
    /// Its root cause.
    pub error: &'a EngineError,
    /// Whether it lost a worker.
    pub lost_worker: bool,
    /// Whether it had completed a checkpoint of its own.
    pub made_progress: bool,
}

/// The failures of a job one after another without progress between them.
#[derive(Debug, Default)]
pub struct FailureRecord {
    /// Those that were not the loss of a worker.
    failures: u32,
    /// Workers lost. A machine that dies is not the job's fault; an input that kills each machine is.
    losses: u32,
    /// Those that waiting heals.
    waits: u32,
    /// Records among which one made an attempt fail: the next attempt reads them one by one.
    suspect: Option<Origin>,
    /// The record that made the last attempt fail.
    poison: Option<Origin>,
}

impl FailureRecord {
    /// Records to read one by one in the next attempt.
    pub fn suspect(&self) -> Option<Origin> {
        self.suspect.clone()
    }

    /// The failures before are over.
    pub fn made_progress(&mut self) {
        (self.failures, self.losses, self.waits) = (0, 0, 0);
    }

    /// Takes a failure down and says what comes next.
    pub fn judge(&mut self, policy: &RestartPolicy, failure: &Failure<'_>) -> Verdict {
        let Failure { error, lost_worker, made_progress } = *failure;
        if made_progress {
            self.made_progress();
        }
        if lost_worker {
            self.losses += 1;
            // The first one costs no wait.
            let wait = (self.losses <= policy.most_losses).then(|| policy.wait(self.losses - 1));
            let cause =
                || format!("{} workers lost in a row without progress, the last: {}", self.losses, error.message);
            return wait.map_or_else(|| Verdict::GiveUp(cause()), Verdict::Restart);
        }
        if error.kind == ErrorKind::Unavailable {
            self.waits += 1;
            return Verdict::Wait(policy.patience(self.waits));
        }
        // An operator's own complaint about some rows is looked into: it may be about one record.
        let is_final = matches!(error.kind, ErrorKind::Definition | ErrorKind::Corrupt);
        if is_final && error.origin.as_ref().is_none_or(|origin| origin.record.is_some()) {
            return Verdict::GiveUp(error.message.clone());
        }
        if policy.yields && error.kind == ErrorKind::Fenced {
            return Verdict::GiveUp(error.message.clone());
        }
        if self.is_poison(error) {
            return Verdict::GiveUp(format!("it fails on the same record each time: {}", error.message));
        }
        self.failures += 1;
        if self.failures > policy.most_failures {
            return Verdict::GiveUp(match self.failures {
                1 => error.message.clone(),
                several => format!("{several} failures in a row, the last: {}", error.message),
            });
        }
        Verdict::Restart(policy.wait(self.failures))
    }

    /// Whether a failure is about the very record that the one before was about. One about many records makes them suspects.
    fn is_poison(&mut self, error: &EngineError) -> bool {
        match error.origin.as_deref() {
            Some(record) if record.record.is_some() => {
                let before = self.poison.replace(record.clone());
                before.is_some_and(|before| before.is_record(record))
            }
            piece => {
                (self.suspect, self.poison) = (piece.cloned(), None);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RestartPolicy {
        let wait = Duration::from_millis;
        RestartPolicy {
            most_failures: 3,
            most_losses: 4,
            first_backoff: wait(100),
            longest_backoff: wait(300),
            longest_patience: wait(1000),
            yields: false,
        }
    }

    fn origin(record: Option<u64>) -> Origin {
        Origin { source: "s".into(), split: "a.log".into(), from: 0, to: 900, record, others: vec![] }
    }

    fn judge(record: &mut FailureRecord, error: &EngineError, lost_worker: bool, made_progress: bool) -> Verdict {
        record.judge(&policy(), &Failure { error, lost_worker, made_progress })
    }

    #[test]
    fn failures_wait_longer_and_longer_and_end() {
        let (mut record, error) = (FailureRecord::default(), EngineError::io("disk"));
        for wait in [100, 200, 300] {
            assert_eq!(judge(&mut record, &error, false, false), Verdict::Restart(Duration::from_millis(wait)));
        }
        assert!(
            matches!(judge(&mut record, &error, false, false), Verdict::GiveUp(cause) if cause.contains("4 failures"))
        );
    }

    #[test]
    fn progress_begins_the_count_anew() {
        let (mut record, error) = (FailureRecord::default(), EngineError::io("disk"));
        for _ in 0..20 {
            assert_eq!(judge(&mut record, &error, false, true), Verdict::Restart(Duration::from_millis(100)));
        }
    }

    #[test]
    fn lost_workers_have_a_count_of_their_own_and_the_first_costs_no_wait() {
        let (mut record, error) = (FailureRecord::default(), EngineError::io("worker a was lost"));
        for wait in [0, 100, 200, 300] {
            assert_eq!(judge(&mut record, &error, true, false), Verdict::Restart(Duration::from_millis(wait)));
        }
        assert!(matches!(judge(&mut record, &error, true, false), Verdict::GiveUp(_)), "something kills each of them");
    }

    #[test]
    fn what_waiting_heals_is_waited_for_and_counts_for_nothing() {
        let (mut record, away) = (FailureRecord::default(), EngineError::unavailable("the storage is away"));
        for wait in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(judge(&mut record, &away, false, false), Verdict::Wait(Duration::from_millis(wait)));
        }
        for _ in 0..10_000 {
            assert!(matches!(judge(&mut record, &away, false, false), Verdict::Wait(_)));
        }
        let refused = EngineError::io("permission denied");
        assert_eq!(
            judge(&mut record, &refused, false, false),
            Verdict::Restart(Duration::from_millis(100)),
            "the first"
        );
        let policy = RestartPolicy { most_failures: 0, ..policy() };
        let failure = Failure { error: &away, lost_worker: false, made_progress: true };
        assert_eq!(record.judge(&policy, &failure), Verdict::Wait(Duration::from_millis(100)), "without restarts, too");
    }

    #[test]
    fn what_is_wrong_for_good_is_given_up_at_once() {
        let mut record = FailureRecord::default();
        assert!(matches!(judge(&mut record, &EngineError::definition("no"), false, false), Verdict::GiveUp(_)));
        assert!(matches!(judge(&mut record, &EngineError::corrupt("no"), false, false), Verdict::GiveUp(_)));
        assert!(matches!(judge(&mut record, &EngineError::fenced("no"), false, false), Verdict::Restart(_)));
    }

    #[test]
    fn a_job_is_left_to_whoever_took_it_over_where_there_may_be_others() {
        let policy = RestartPolicy { yields: true, ..policy() };
        let replaced = EngineError::fenced("another one has it");
        let failure = Failure { error: &replaced, lost_worker: false, made_progress: true };
        assert_eq!(
            FailureRecord::default().judge(&policy, &failure),
            Verdict::GiveUp("another one has it".into()),
            "starting again would take it back, and so on for ever"
        );
    }

    #[test]
    fn without_restarts_the_failure_is_the_cause() {
        let policy = RestartPolicy { most_failures: 0, ..policy() };
        let failure = Failure { error: &EngineError::io("disk"), lost_worker: false, made_progress: true };
        assert_eq!(FailureRecord::default().judge(&policy, &failure), Verdict::GiveUp("disk".into()));
    }

    #[test]
    fn a_poisoned_record_is_found_in_three_failures() {
        let mut record = FailureRecord::default();
        let about = |origin: Origin| EngineError::internal("panicked").with_origin(&origin);
        assert!(matches!(judge(&mut record, &about(origin(None)), false, false), Verdict::Restart(_)));
        assert_eq!(record.suspect(), Some(origin(None)), "read one by one");
        assert!(matches!(judge(&mut record, &about(origin(Some(70))), false, false), Verdict::Restart(_)));
        assert_eq!(record.suspect(), Some(origin(None)), "and again");
        assert!(matches!(judge(&mut record, &about(origin(Some(70))), false, false), Verdict::GiveUp(_)));
    }
}
