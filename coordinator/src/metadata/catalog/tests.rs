//! The catalog against a naive model: one that keeps every command that was accepted and works everything out from those.

use super::*;
use crate::metadata::{
    command::CheckpointStats,
    job::{CHECKPOINTS_KEPT, TRANSITIONS_KEPT},
    job_status::JobStatus,
};
use proptest::prelude::*;
use weir_engine::{
    ErrorKind,
    ids::{Attempt, CheckpointId},
};

const JOBS: [&str; 2] = ["ad-click", "other"];

/// Accepted commands about one job, in order.
#[derive(Default)]
struct History(Vec<Command>);

impl History {
    fn since(&self, begins: impl Fn(&Command) -> bool) -> &[Command] {
        let from = self.0.iter().rposition(begins).unwrap_or(0);
        &self.0[from..]
    }

    fn submission(&self) -> &[Command] {
        self.since(|command| matches!(command, Command::Submit { .. }))
    }

    fn fresh_submission(&self) -> &[Command] {
        self.since(|command| matches!(command, Command::Submit { fresh: true, .. }))
    }

    fn status(&self) -> Option<JobStatus> {
        self.0.iter().rev().find_map(|command| match command {
            Command::Submit { .. } => Some(JobStatus::Created),
            Command::StatusChanged { status, .. } => Some(*status),
            _ => None,
        })
    }

    fn attempt(&self) -> Option<Attempt> {
        let started = |command: &Command| match command {
            Command::AttemptStarted { attempt, .. } => Some(*attempt),
            _ => None,
        };
        self.0.iter().filter_map(started).max()
    }

    fn checkpoint(&self) -> Option<CheckpointId> {
        let completed = |command: &Command| match command {
            Command::CheckpointCompleted { checkpoint, .. } => Some(*checkpoint),
            _ => None,
        };
        self.fresh_submission().iter().filter_map(completed).max()
    }

    fn committed(&self) -> Option<CheckpointId> {
        let committed = |command: &Command| match command {
            Command::Committed { checkpoint, .. } => Some(*checkpoint),
            _ => None,
        };
        self.fresh_submission().iter().filter_map(committed).max()
    }

    fn fresh_start_pending(&self) -> bool {
        let since = self.fresh_submission();
        matches!(since.first(), Some(Command::Submit { fresh: true, .. }))
            && !since.iter().any(|command| matches!(command, Command::FreshStartDone { .. }))
    }

    fn fingerprint(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|command| match command {
            Command::Submit { fingerprint, .. } => Some(fingerprint.as_str()),
            _ => None,
        })
    }

    fn stop(&self) -> Option<bool> {
        self.submission().iter().find_map(|command| match command {
            Command::StopRequested { drain, .. } => Some(*drain),
            _ => None,
        })
    }

    fn cancel_requested(&self) -> bool {
        self.submission().iter().any(|command| matches!(command, Command::CancelRequested { .. }))
    }

    fn accepts(&self, command: &Command) -> bool {
        let Some(status) = self.status() else { return matches!(command, Command::Submit { .. }) };
        let over = status.is_terminal();
        let current = |attempt: Attempt| Some(attempt) == self.attempt();
        match command {
            Command::Submit { fresh: true, .. } => over,
            Command::Submit { fingerprint, .. } => {
                let fits = self.checkpoint().is_none() || self.fingerprint() == Some(fingerprint);
                [JobStatus::Failed, JobStatus::Canceled].contains(&status) && fits
            }
            Command::AttemptStarted { attempt, .. } => {
                Some(*attempt) > self.attempt()
                    && [JobStatus::Created, JobStatus::Scheduled, JobStatus::Restarting].contains(&status)
            }
            Command::FreshStartDone { attempt, .. } | Command::SavepointRestored { attempt, .. } => current(*attempt),
            Command::CheckpointCompleted { attempt, checkpoint, .. } => {
                current(*attempt) && !over && !self.fresh_start_pending() && Some(*checkpoint) > self.checkpoint()
            }
            Command::Committed { attempt, checkpoint, .. } => {
                current(*attempt) && Some(*checkpoint) <= self.checkpoint()
            }
            Command::StatusChanged { attempt, status: next, .. } => {
                *attempt == self.attempt() && status.may_become(*next)
            }
            Command::StopRequested { drain, .. } => {
                !over && !self.cancel_requested() && self.stop().is_none_or(|asked| asked == *drain)
            }
            Command::CancelRequested { .. } => !over,
            Command::LeaderElected { .. } | Command::CoordinatorNumbered { .. } => true,
        }
    }
}

/// A command whose numbers are relative to where the job is, so that most of them hit.
#[derive(Clone, Debug)]
enum Step {
    Submit { fresh: bool, other_definition: bool },
    Attempt { ahead: i64 },
    FreshStartDone { ahead: i64 },
    Checkpoint { ahead: i64, above: i64 },
    Commit { ahead: i64, above: i64 },
    Follow { ahead: i64, choice: usize },
    Status { status: usize },
    Stop { drain: bool },
    Cancel,
}

fn near(base: u64, by: i64) -> u64 {
    base.saturating_add_signed(by)
}

impl Step {
    fn command(&self, job: &str, history: &History, at_ms: i64) -> Command {
        let job = job.to_string();
        let newest = history.attempt().map_or(0, |attempt| attempt.0);
        let attempt = |ahead: i64| Attempt(near(newest, ahead));
        let checkpoint = |above: i64| CheckpointId(near(history.checkpoint().map_or(0, |number| number.0), above));
        let status_changed = |ahead, status| Command::StatusChanged {
            job: job.clone(),
            attempt: Some(attempt(ahead)).filter(|attempt| attempt.0 > 0),
            status,
            cause: "because".into(),
            at_ms,
        };
        match *self {
            Step::Submit { fresh, other_definition } => Command::Submit {
                job,
                graph: serde_json::json!({ "nodes": [], "at": at_ms }).into(),
                fingerprint: if other_definition { "b" } else { "a" }.into(),
                definition: "[job]".into(),
                fresh,
                from_savepoint: None,
                at_ms,
            },
            Step::Attempt { ahead } => Command::AttemptStarted { job, attempt: attempt(ahead), at_ms },
            Step::FreshStartDone { ahead } => Command::FreshStartDone { job, attempt: attempt(ahead) },
            Step::Checkpoint { ahead, above } => Command::CheckpointCompleted {
                job,
                attempt: attempt(ahead),
                checkpoint: checkpoint(above),
                stats: CheckpointStats { bytes: 1, duration_ms: 2, completed_at_ms: at_ms, last: false },
            },
            Step::Commit { ahead, above } => {
                Command::Committed { job, attempt: attempt(ahead), checkpoint: checkpoint(above) }
            }
            Step::Follow { ahead, choice } => {
                let successors = history.status().unwrap_or(JobStatus::Created).successors();
                let status = successors.get(choice % successors.len().max(1)).copied().unwrap_or(JobStatus::Running);
                status_changed(ahead, status)
            }
            Step::Status { status } => status_changed(0, JobStatus::ALL[status]),
            Step::Stop { drain } => Command::StopRequested { job, drain, at_ms },
            Step::Cancel => Command::CancelRequested { job, at_ms },
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let mostly_now = prop_oneof![6 => Just(0_i64), 1 => Just(-1), 1 => Just(1)];
    let mostly_next = prop_oneof![6 => Just(1_i64), 1 => Just(0), 1 => -2..4_i64];
    let step = prop_oneof![
        3 => (any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(fresh, other_definition)| Step::Submit { fresh, other_definition }),
        4 => mostly_next.clone().prop_map(|ahead| Step::Attempt { ahead }),
        2 => mostly_now.clone().prop_map(|ahead| Step::FreshStartDone { ahead }),
        4 => (mostly_now.clone(), mostly_next).prop_map(|(ahead, above)| Step::Checkpoint { ahead, above }),
        3 => (mostly_now.clone(), -2..2_i64).prop_map(|(ahead, above)| Step::Commit { ahead, above }),
        12 => (mostly_now, 0..6_usize).prop_map(|(ahead, choice)| Step::Follow { ahead, choice }),
        1 => (0..JobStatus::ALL.len()).prop_map(|status| Step::Status { status }),
        1 => any::<bool>().prop_map(|drain| Step::Stop { drain }),
        1 => Just(Step::Cancel),
    ];
    prop::collection::vec((prop::bool::weighted(0.2).prop_map(usize::from), step), 0..120)
}

fn check_job(job: &Job, history: &History) {
    assert_eq!(Some(job.status), history.status());
    assert_eq!(job.attempt, history.attempt());
    assert_eq!(job.checkpoint, history.checkpoint());
    assert_eq!(job.committed, history.committed());
    assert_eq!(job.fresh_start_pending, history.fresh_start_pending());
    assert_eq!(job.stop.map(|stop| stop.drain), history.stop());
    assert_eq!(job.cancel_requested, history.cancel_requested());
    assert!(job.committed <= job.checkpoint);
    assert!(job.transitions.len() <= TRANSITIONS_KEPT && job.checkpoints.len() <= CHECKPOINTS_KEPT);
    let last = job.transitions.back().expect("it was submitted at least");
    assert_eq!(last.to, job.status);
    assert!(job.transitions.iter().zip(job.transitions.iter().skip(1)).all(|(a, b)| Some(a.to) == b.from));
    assert!(job.checkpoints.iter().zip(job.checkpoints.iter().skip(1)).all(|(a, b)| a.checkpoint < b.checkpoint));
    assert_eq!(job.checkpoints.back().map(|newest| newest.checkpoint), job.checkpoint);
}

proptest! {
    #[test]
    fn it_decides_as_the_naive_model_does(steps in steps()) {
        let mut catalog = Catalog::default();
        let mut histories = [History::default(), History::default()];
        for (at, (which, step)) in steps.iter().enumerate() {
            let history = &mut histories[*which];
            let command = step.command(JOBS[*which], history, at as i64);
            let before = catalog.clone();
            match catalog.apply(&command) {
                Response::Applied { status, attempt, checkpoint } => {
                    prop_assert!(history.accepts(&command), "applied {command:?} while {:?}", history.status());
                    let old = before.job(JOBS[*which]);
                    history.0.push(command.clone());
                    let job = catalog.job(JOBS[*which]).expect("it exists");
                    prop_assert_eq!((Some(job.status), job.attempt, job.checkpoint), (status, attempt, checkpoint));
                    if let Some(old) = old {
                        prop_assert!(job.attempt >= old.attempt, "attempts only rise");
                        let fresh = matches!(command, Command::Submit { fresh: true, .. });
                        prop_assert!(fresh || job.checkpoint >= old.checkpoint, "checkpoints only rise");
                        let submitted = matches!(command, Command::Submit { .. });
                        prop_assert!(submitted || !old.status.is_terminal() || job.status == old.status, "an end is an end");
                    }
                }
                Response::Refused { reason, .. } => {
                    prop_assert!(!history.accepts(&command), "refused {command:?}: {reason}");
                    prop_assert_eq!(&before, &catalog, "a refusal changes nothing");
                    prop_assert!(reason.contains(JOBS[*which]), "{}", reason);
                }
            }
            if let Some(job) = catalog.job(JOBS[*which]) {
                check_job(job, &histories[*which]);
            }
        }
    }

    #[test]
    fn one_restored_at_any_point_goes_on_as_the_one_that_stayed(steps in steps(), cut in 0..120_usize) {
        let (mut stayed, mut restored) = (Catalog::default(), Catalog::default());
        let mut histories = [History::default(), History::default()];
        for (at, (which, step)) in steps.iter().enumerate() {
            if at == cut {
                restored = Catalog::from_bytes(&restored.to_bytes().unwrap()).unwrap();
            }
            let command = step.command(JOBS[*which], &histories[*which], at as i64);
            let stored: Command = serde_json::from_slice(&serde_json::to_vec(&command).unwrap()).unwrap();
            let response = stayed.apply(&command);
            prop_assert_eq!(&response, &restored.apply(&stored));
            if matches!(response, Response::Applied { .. }) {
                histories[*which].0.push(command);
            }
        }
        prop_assert_eq!(&stayed, &restored);
        prop_assert_eq!(stayed.to_bytes().unwrap(), restored.to_bytes().unwrap());
    }
}

fn submit(catalog: &mut Catalog, fresh: bool, fingerprint: &str) -> Response {
    catalog.apply(&Command::Submit {
        job: "ad-click".into(),
        graph: serde_json::json!({ "parallelism": 4 }).into(),
        fingerprint: fingerprint.into(),
        definition: "[job]\nname = \"ad-click\"".into(),
        fresh,
        from_savepoint: None,
        at_ms: 1_000,
    })
}

fn become_status(catalog: &mut Catalog, attempt: u64, status: JobStatus, cause: &str) -> Response {
    let attempt = Some(Attempt(attempt)).filter(|attempt| attempt.0 > 0);
    catalog.apply(&Command::StatusChanged {
        job: "ad-click".into(),
        attempt,
        status,
        cause: cause.into(),
        at_ms: 1_001,
    })
}

fn apply_all(catalog: &mut Catalog, commands: impl IntoIterator<Item = Command>) {
    for command in commands {
        let response = catalog.apply(&command);
        assert!(matches!(response, Response::Applied { .. }), "{command}: {response:?}");
    }
}

fn begin_attempt(catalog: &mut Catalog, number: u64) {
    let (job, attempt) = ("ad-click".to_string(), Attempt(number));
    apply_all(catalog, [Command::AttemptStarted { job, attempt, at_ms: 1_002 }]);
}

fn complete(catalog: &mut Catalog, attempt: u64, checkpoint: u64) -> Response {
    catalog.apply(&Command::CheckpointCompleted {
        job: "ad-click".into(),
        attempt: Attempt(attempt),
        checkpoint: CheckpointId(checkpoint),
        stats: CheckpointStats { bytes: 10, duration_ms: 20, completed_at_ms: 1_003, last: false },
    })
}

fn error_of(response: Response) -> EngineError {
    response.into_result().unwrap_err()
}

/// A job at attempt 1 with checkpoint 1, that has then failed for good.
fn failed_job() -> Catalog {
    let mut catalog = Catalog::default();
    submit(&mut catalog, false, "a");
    begin_attempt(&mut catalog, 1);
    for status in [JobStatus::Scheduled, JobStatus::Restoring, JobStatus::Running] {
        become_status(&mut catalog, 1, status, "as it should");
    }
    complete(&mut catalog, 1, 1);
    become_status(&mut catalog, 1, JobStatus::Failing, "row 7 of a.log: division by zero");
    become_status(&mut catalog, 1, JobStatus::Failed, "it failed 3 times in a row");
    catalog
}

#[test]
fn a_job_that_failed_goes_on_from_its_checkpoint_and_a_finished_one_does_not() {
    let mut catalog = failed_job();
    let response = submit(&mut catalog, false, "a");
    let goes_on = Response::Applied {
        status: Some(JobStatus::Created),
        attempt: Some(Attempt(1)),
        checkpoint: Some(CheckpointId(1)),
    };
    assert_eq!(response, goes_on);
    let error = error_of(submit(&mut catalog, false, "a"));
    assert_eq!(error.kind, ErrorKind::Definition);
    assert!(error.message.contains("CREATED"), "{error}");

    begin_attempt(&mut catalog, 2);
    for status in [JobStatus::Scheduled, JobStatus::Restoring, JobStatus::Running, JobStatus::Finished] {
        become_status(&mut catalog, 2, status, "its input has ended");
    }
    assert!(error_of(submit(&mut catalog, false, "a")).message.contains("--fresh"));
    submit(&mut catalog, true, "b").into_result().unwrap();
    let job = catalog.job("ad-click").unwrap();
    assert_eq!((job.checkpoint, job.attempt, job.submissions), (None, Some(Attempt(2)), 3));
    assert!(job.fresh_start_pending);
}

#[test]
fn another_definition_does_not_go_on_from_a_checkpoint() {
    let mut catalog = failed_job();
    let error = error_of(submit(&mut catalog, false, "b"));
    assert_eq!(error.kind, ErrorKind::Definition);
    assert!(error.message.contains("checkpoint 1") && error.message.contains("--fresh"), "{error}");
}

#[test]
fn an_attempt_that_was_replaced_changes_nothing_any_more() {
    let mut catalog = failed_job();
    submit(&mut catalog, false, "a");
    begin_attempt(&mut catalog, 2);
    let committed = Command::Committed { job: "ad-click".into(), attempt: Attempt(1), checkpoint: CheckpointId(1) };
    for response in [
        complete(&mut catalog, 1, 2),
        become_status(&mut catalog, 1, JobStatus::Scheduled, "zombie"),
        become_status(&mut catalog, 0, JobStatus::Scheduled, "zombie"),
        catalog.apply(&committed),
    ] {
        assert_eq!(error_of(response).kind, ErrorKind::Fenced);
    }
    assert_eq!(error_of(complete(&mut catalog, 3, 2)).kind, ErrorKind::Internal, "nobody began attempt 3");
}

#[test]
fn a_fresh_start_is_owed_until_it_is_made() {
    let mut catalog = failed_job();
    submit(&mut catalog, true, "b");
    become_status(&mut catalog, 1, JobStatus::Canceled, "canceled before it started");
    submit(&mut catalog, false, "b");
    assert!(catalog.job("ad-click").unwrap().fresh_start_pending, "asked for before, and never made");
    begin_attempt(&mut catalog, 2);
    assert!(error_of(complete(&mut catalog, 2, 1)).message.contains("fresh start"));
    apply_all(&mut catalog, [Command::FreshStartDone { job: "ad-click".into(), attempt: Attempt(2) }]);
    complete(&mut catalog, 2, 1).into_result().unwrap();
}

#[test]
fn failures_are_counted_until_a_checkpoint_completes() {
    let mut catalog = failed_job();
    submit(&mut catalog, false, "a");
    for attempt in 2..5 {
        begin_attempt(&mut catalog, attempt);
        for status in [JobStatus::Scheduled, JobStatus::Failing, JobStatus::Restarting] {
            become_status(&mut catalog, attempt, status, "worker lost").into_result().unwrap();
        }
    }
    let job = catalog.job("ad-click").unwrap();
    assert_eq!((job.failures_in_a_row, job.restarts), (3, 3));
    complete(&mut catalog, 4, 2).into_result().unwrap();
    let job = catalog.job("ad-click").unwrap();
    assert_eq!((job.failures_in_a_row, job.restarts), (0, 3));
}

#[test]
fn the_history_is_bounded_and_keeps_the_newest() {
    let mut catalog = Catalog::default();
    submit(&mut catalog, false, "a");
    for attempt in 1..=TRANSITIONS_KEPT as u64 {
        begin_attempt(&mut catalog, attempt);
        for status in [JobStatus::Scheduled, JobStatus::Failing, JobStatus::Restarting] {
            become_status(&mut catalog, attempt, status, &format!("{status} {attempt}"));
        }
        complete(&mut catalog, attempt, attempt);
        complete(&mut catalog, attempt, attempt + 1);
    }
    let job = catalog.job("ad-click").unwrap();
    assert_eq!((job.transitions.len(), job.checkpoints.len()), (TRANSITIONS_KEPT, CHECKPOINTS_KEPT));
    assert_eq!(job.transitions.back().unwrap().cause, format!("RESTARTING {TRANSITIONS_KEPT}"));
}

#[test]
fn a_stop_is_asked_once_and_a_cancel_goes_before_it() {
    let mut catalog = Catalog::default();
    submit(&mut catalog, false, "a");
    let job = || "ad-click".to_string();
    let stop = |drain| Command::StopRequested { job: job(), drain, at_ms: 5 };
    apply_all(&mut catalog, [stop(true), stop(true)]);
    assert!(error_of(catalog.apply(&stop(false))).message.contains("with --drain"));
    apply_all(&mut catalog, [Command::CancelRequested { job: job(), at_ms: 6 }]);
    assert!(error_of(catalog.apply(&stop(true))).message.contains("canceled"));
    become_status(&mut catalog, 0, JobStatus::Canceled, "a user canceled it");
    assert!(error_of(catalog.apply(&Command::CancelRequested { job: job(), at_ms: 7 })).message.contains("CANCELED"));
    let unknown = catalog.apply(&Command::CancelRequested { job: "nobody".into(), at_ms: 7 });
    assert!(matches!(unknown, Response::Refused { refusal: Refusal::UnknownJob, .. }));
}

#[test]
fn stored_forms_stay_readable() {
    // Written by format version 1. A change that breaks this needs a new version, and a reader for this one.
    let stored = include_bytes!("catalog_v1.json");
    let mut expected = failed_job();
    apply_all(&mut expected, [Command::LeaderElected { node: 1, at_ms: 999 }]);
    assert_eq!(Catalog::from_bytes(stored).unwrap(), expected);
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(stored).unwrap(),
        serde_json::from_slice::<serde_json::Value>(&expected.to_bytes().unwrap()).unwrap()
    );
    let command = r#"{"status_changed":{"job":"j","attempt":3,"status":"RESTARTING","cause":"worker lost","at_ms":5}}"#;
    let expected = Command::StatusChanged {
        job: "j".into(),
        attempt: Some(Attempt(3)),
        status: JobStatus::Restarting,
        cause: "worker lost".into(),
        at_ms: 5,
    };
    assert_eq!(serde_json::from_str::<Command>(command).unwrap(), expected);
}

#[test]
fn a_newer_or_damaged_form_is_refused() {
    let newer = Catalog::from_bytes(br#"{"format_version":2,"catalog":{"workers":[]}}"#).unwrap_err();
    assert_eq!(newer.kind, ErrorKind::Corrupt);
    assert!(newer.message.contains("version 2"), "{newer}");
    let bytes = failed_job().to_bytes().unwrap();
    for cut in 0..bytes.len() {
        assert_eq!(Catalog::from_bytes(&bytes[..cut]).unwrap_err().kind, ErrorKind::Corrupt, "cut to {cut} bytes");
    }
    let unknown = r#"{"status_changed":{"job":"j","attempt":3,"status":"RUNNING","cause":"","at_ms":5,"region":1}}"#;
    assert!(serde_json::from_str::<Command>(unknown).is_err(), "a field of a newer Weir may matter");
}

/// Whoever looks has the catalog as it was: a copy of all graphs for each decision would cost more with each job.
#[test]
fn a_decision_about_a_job_copies_no_other_job() {
    let mut catalog = Catalog::default();
    submit(&mut catalog, false, "f");
    let other = Command::Submit {
        job: "other".into(),
        graph: serde_json::json!({ "parallelism": 4 }).into(),
        fingerprint: "f".into(),
        definition: String::new().into(),
        fresh: false,
        from_savepoint: None,
        at_ms: 1_000,
    };
    apply_all(&mut catalog, [other]);
    let before = catalog.clone();
    begin_attempt(&mut catalog, 1);
    assert!(Arc::ptr_eq(&before.jobs["other"], &catalog.jobs["other"]));
    let attempt = |catalog: &Catalog| catalog.job("ad-click").and_then(|job| job.attempt);
    assert_eq!((attempt(&before), attempt(&catalog)), (None, Some(Attempt(1))));
}
