//! The states of a job and the one table of which follows which.
//!
//! ```text
//! CREATED ─→ SCHEDULED ─→ RESTORING ─→ RUNNING ─→ FINISHED
//!               ↑            │  │         │  └──→ STOPPING ─→ FINISHED, CANCELED, RESTARTING
//!               │            ↓  │         ↓          │
//!           RESTARTING ←── FAILING ←─────────────────┘
//!                             └──→ FAILED, CANCELED
//! ```

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Submitted; it waits for its first slots. Left when they are there.
    Created,
    /// Its slots are chosen, its next attempt is being claimed. Left when it is.
    Scheduled,
    /// What the restored checkpoint decided is committed, subtasks are deployed, state is restored. Left when all of them stand.
    Restoring,
    /// It processes. Left when its input ends, a user stops it, it moves to other workers, or something fails.
    Running,
    /// Something failed; what remains of the attempt is being canceled. Left when nothing of it runs any more.
    Failing,
    /// It waits out its backoff, or for slots. Left when the next attempt is scheduled, or there have been too many.
    Restarting,
    /// A user stops or cancels it. Left when the last checkpoint is committed, or all its subtasks are gone.
    Stopping,
    /// Ended as it should. Final.
    Finished,
    /// Given up; the cause of the last transition says why. Final until it is submitted again.
    Failed,
    /// Ended by a user. Final until it is submitted again.
    Canceled,
}

use JobStatus::*;

impl JobStatus {
    /// All of them.
    pub const ALL: [JobStatus; 10] =
        [Created, Scheduled, Restoring, Running, Failing, Restarting, Stopping, Finished, Failed, Canceled];

    /// Every status that may follow this one. A resubmission starts again at [`Created`](JobStatus::Created), outside this table.
    pub const fn successors(self) -> &'static [JobStatus] {
        match self {
            Created => &[Scheduled, Restarting, Stopping, Failed, Canceled],
            Scheduled => &[Restoring, Failing, Stopping],
            Restoring => &[Running, Failing, Stopping],
            // It moves to other workers.
            Running => &[Failing, Stopping, Finished, Restarting],
            Failing => &[Restarting, Failed, Canceled],
            Restarting => &[Scheduled, Stopping, Failed, Canceled],
            // It was to move when it was asked to drain.
            Stopping => &[Failing, Finished, Failed, Canceled, Restarting],
            Finished | Failed | Canceled => &[],
        }
    }

    /// Whether the table allows `next` after this.
    pub fn may_become(self, next: JobStatus) -> bool {
        self.successors().contains(&next)
    }

    /// Whether it is over until it is submitted again.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Finished | Failed | Canceled)
    }

    /// The word that users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Created => "CREATED",
            Scheduled => "SCHEDULED",
            Restoring => "RESTORING",
            Running => "RUNNING",
            Failing => "FAILING",
            Restarting => "RESTARTING",
            Stopping => "STOPPING",
            Finished => "FINISHED",
            Failed => "FAILED",
            Canceled => "CANCELED",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn reachable_from(start: JobStatus) -> BTreeSet<JobStatus> {
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        while let Some(status) = open.pop() {
            for &next in status.successors() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    }

    #[test]
    fn the_table_lets_every_job_run_and_every_job_end() {
        let from_created = reachable_from(Created);
        for status in JobStatus::ALL {
            assert_eq!(status.is_terminal(), status.successors().is_empty(), "{status}");
            assert!(!status.may_become(status), "{status} after itself is no transition");
            assert!(!status.may_become(Created), "only a submission creates");
            if status != Created {
                assert!(from_created.contains(&status), "{status} can be reached");
            }
            if !status.is_terminal() {
                let reachable = reachable_from(status);
                for end in [Finished, Failed, Canceled] {
                    assert!(reachable.contains(&end), "{status} can end {end}");
                }
                assert!(
                    status.may_become(Stopping) || [Failing, Stopping].contains(&status),
                    "{status} can be stopped"
                );
            }
        }
    }

    #[test]
    fn an_attempt_runs_only_after_it_was_scheduled_and_restored() {
        for status in JobStatus::ALL {
            assert_eq!(status.may_become(Running), status == Restoring, "{status}");
            assert_eq!(status.may_become(Restoring), status == Scheduled, "{status}");
            assert_eq!(status.may_become(Scheduled), [Created, Restarting].contains(&status), "{status}");
        }
    }

    #[test]
    fn what_is_shown_is_what_is_stored() {
        for status in JobStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.to_string());
        }
    }
}
