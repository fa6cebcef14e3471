//! Conversion between wire types and ours. What comes from the wire is checked here and nowhere else.

use crate::{
    checkpoint::pending::Acknowledgement,
    element::{Origin, Piece},
    error::{EngineError, ErrorKind, Result},
    ids::{Attempt, CheckpointId, SubtaskId},
    operator::Slowest,
    task::{Report, SourceCommand},
};
use serde::{Serialize, de::DeserializeOwned};
use weir_proto::v1::{self as pb, coordinator_message, worker_message};

/// One incarnation of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptKey {
    /// The job's name.
    pub job: String,
    /// The attempt's number.
    pub attempt: Attempt,
}

impl std::fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "attempt {} of job '{}'", self.attempt, self.job)
    }
}

impl From<&AttemptKey> for pb::AttemptId {
    fn from(key: &AttemptKey) -> Self {
        pb::AttemptId { job: key.job.clone(), attempt: key.attempt.0 }
    }
}

impl TryFrom<Option<pb::AttemptId>> for AttemptKey {
    type Error = EngineError;

    fn try_from(id: Option<pb::AttemptId>) -> Result<Self> {
        let id =
            id.filter(|id| !id.job.is_empty() && id.attempt > 0).ok_or_else(|| malformed("no attempt is named"))?;
        Ok(AttemptKey { job: id.job, attempt: Attempt(id.attempt) })
    }
}

impl From<SubtaskId> for pb::SubtaskId {
    fn from(id: SubtaskId) -> Self {
        pb::SubtaskId { task: id.task as u32, index: id.index as u32 }
    }
}

impl From<pb::SubtaskId> for SubtaskId {
    fn from(id: pb::SubtaskId) -> Self {
        SubtaskId { task: id.task as usize, index: id.index as usize }
    }
}

impl From<&Origin> for pb::Origin {
    fn from(origin: &Origin) -> Self {
        pb::Origin {
            source: origin.source.clone(),
            split: origin.split.clone(),
            from: origin.from,
            to: origin.to,
            record: origin.record,
            others: origin.others.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Piece> for pb::Piece {
    fn from(piece: &Piece) -> Self {
        pb::Piece { split: piece.split.clone(), from: piece.from, to: piece.to }
    }
}

impl From<pb::Origin> for Origin {
    fn from(origin: pb::Origin) -> Self {
        let piece = |pb::Piece { split, from, to }| Piece { split, from, to };
        Origin {
            source: origin.source,
            split: origin.split,
            from: origin.from,
            to: origin.to,
            record: origin.record,
            others: origin.others.into_iter().map(piece).collect(),
        }
    }
}

impl From<&EngineError> for pb::Failure {
    fn from(error: &EngineError) -> Self {
        use pb::failure::Kind;
        let kind = match error.kind {
            ErrorKind::Definition => Kind::Definition,
            ErrorKind::Io => Kind::Io,
            ErrorKind::Unavailable => Kind::Unavailable,
            ErrorKind::Corrupt => Kind::Corrupt,
            ErrorKind::Fenced => Kind::Fenced,
            ErrorKind::Disconnected => Kind::Disconnected,
            ErrorKind::Internal => Kind::Internal,
            ErrorKind::Crash => Kind::Crash,
        };
        pb::Failure {
            kind: kind.into(),
            message: error.message.clone(),
            origin: error.origin.as_deref().map(Into::into),
        }
    }
}

impl From<pb::Failure> for EngineError {
    fn from(failure: pb::Failure) -> Self {
        use pb::failure::Kind;
        let kind = match failure.kind() {
            Kind::Definition => ErrorKind::Definition,
            Kind::Io => ErrorKind::Io,
            Kind::Unavailable => ErrorKind::Unavailable,
            Kind::Corrupt => ErrorKind::Corrupt,
            Kind::Fenced => ErrorKind::Fenced,
            Kind::Disconnected => ErrorKind::Disconnected,
            Kind::Internal => ErrorKind::Internal,
            // A planned crash is the end of the process that it was planned for. To all others, that process is gone.
            Kind::Crash => ErrorKind::Disconnected,
        };
        let origin = failure.origin.map(|origin| Box::new(origin.into()));
        EngineError { kind, message: failure.message, origin }
    }
}

/// What a subtask reports, as its worker says it.
///
/// # Errors
/// When an acknowledgement cannot be written as JSON.
pub fn report_to_wire(attempt: &AttemptKey, report: &Report) -> Result<worker_message::Kind> {
    let event =
        |subtask: &SubtaskId| pb::SubtaskEvent { attempt: Some(attempt.into()), subtask: Some((*subtask).into()) };
    Ok(match report {
        Report::Acknowledged(acknowledgement) => worker_message::Kind::Acknowledged(pb::Acknowledged {
            attempt: Some(attempt.into()),
            acknowledgement: to_json(acknowledgement)?,
        }),
        Report::Exhausted(subtask) => worker_message::Kind::Exhausted(event(subtask)),
        Report::Paced(subtask, event_time) => worker_message::Kind::Paced(pb::SubtaskPace {
            attempt: Some(attempt.into()),
            subtask: Some((*subtask).into()),
            event_time_ms: *event_time,
        }),
        Report::Finished(subtask) => worker_message::Kind::Finished(event(subtask)),
        Report::Failed(subtask, error) => worker_message::Kind::Failed(pb::SubtaskFailed {
            attempt: Some(attempt.into()),
            subtask: Some((*subtask).into()),
            failure: Some(error.into()),
        }),
    })
}

/// The report in a worker's message, if it is one.
///
/// # Errors
/// When it is malformed.
pub fn report_from_wire(message: worker_message::Kind) -> Result<Option<(AttemptKey, Report)>> {
    let of_event = |event: pb::SubtaskEvent| -> Result<(AttemptKey, SubtaskId)> {
        Ok((event.attempt.try_into()?, subtask(event.subtask)?))
    };
    Ok(Some(match message {
        worker_message::Kind::Acknowledged(acknowledged) => {
            let acknowledgement: Acknowledgement = from_json(&acknowledged.acknowledgement, "an acknowledgement")?;
            (acknowledged.attempt.try_into()?, Report::Acknowledged(acknowledgement))
        }
        worker_message::Kind::Exhausted(event) => {
            let (attempt, subtask) = of_event(event)?;
            (attempt, Report::Exhausted(subtask))
        }
        worker_message::Kind::Paced(pace) => {
            (pace.attempt.try_into()?, Report::Paced(subtask(pace.subtask)?, pace.event_time_ms))
        }
        worker_message::Kind::Finished(event) => {
            let (attempt, subtask) = of_event(event)?;
            (attempt, Report::Finished(subtask))
        }
        worker_message::Kind::Failed(failed) => {
            let failure = failed.failure.ok_or_else(|| malformed("a failure without a cause"))?;
            (failed.attempt.try_into()?, Report::Failed(subtask(failed.subtask)?, failure.into()))
        }
        _ => return Ok(None),
    }))
}

/// A command to the sources of an attempt, as the coordinator says it.
pub fn command_to_wire(attempt: &AttemptKey, command: SourceCommand) -> coordinator_message::Kind {
    use pb::source_command::Kind;
    let kind = match command {
        SourceCommand::Checkpoint { checkpoint, last } => {
            Kind::Checkpoint(pb::Checkpoint { checkpoint: checkpoint.0, last })
        }
        SourceCommand::Drain => Kind::Drain(pb::Nothing {}),
        SourceCommand::Hold => Kind::Hold(pb::Nothing {}),
        SourceCommand::GoOn => Kind::GoOn(pb::Nothing {}),
        SourceCommand::Finish => Kind::Finish(pb::Nothing {}),
        SourceCommand::Pace { task, slowest } => {
            let to_wire = |slowest: Slowest| pb::Slowest {
                subtask: slowest.subtask as u32,
                event_time_ms: slowest.event_time,
                next_ms: slowest.next,
            };
            Kind::Pace(pb::Pace { task: task as u32, slowest: slowest.map(to_wire) })
        }
    };
    coordinator_message::Kind::Command(pb::SourceCommand { attempt: Some(attempt.into()), kind: Some(kind) })
}

/// The command in a message.
///
/// # Errors
/// When it is malformed.
pub fn command_from_wire(command: pb::SourceCommand) -> Result<(AttemptKey, SourceCommand)> {
    use pb::source_command::Kind;
    let what = match command.kind.ok_or_else(|| malformed("an unknown command to a source"))? {
        Kind::Checkpoint(checkpoint) => {
            SourceCommand::Checkpoint { checkpoint: CheckpointId(checkpoint.checkpoint), last: checkpoint.last }
        }
        Kind::Drain(_) => SourceCommand::Drain,
        Kind::Hold(_) => SourceCommand::Hold,
        Kind::GoOn(_) => SourceCommand::GoOn,
        Kind::Finish(_) => SourceCommand::Finish,
        Kind::Pace(pace) => {
            let from_wire = |slowest: pb::Slowest| Slowest {
                subtask: slowest.subtask as usize,
                event_time: slowest.event_time_ms,
                next: slowest.next_ms,
            };
            SourceCommand::Pace { task: pace.task as usize, slowest: pace.slowest.map(from_wire) }
        }
    };
    Ok((command.attempt.try_into()?, what))
}

/// As JSON.
///
/// # Errors
/// When it cannot be written.
pub fn to_json<T: Serialize>(value: &T) -> Result<bytes::Bytes> {
    let json =
        serde_json::to_vec(value).map_err(|error| EngineError::internal(format!("cannot be written: {error}")))?;
    Ok(json.into())
}

/// From JSON; `what` it should be is named in the error.
///
/// # Errors
/// When it is something else.
pub fn from_json<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| malformed(format!("{what} cannot be read: {error}")))
}

fn subtask(id: Option<pb::SubtaskId>) -> Result<SubtaskId> {
    id.map(SubtaskId::from).ok_or_else(|| malformed("no subtask is named"))
}

fn malformed(what: impl std::fmt::Display) -> EngineError {
    EngineError::internal(format!("malformed message: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::manifest::SubtaskState;

    fn key() -> AttemptKey {
        AttemptKey { job: "ad-click".into(), attempt: Attempt(3) }
    }

    #[test]
    fn reports_come_back_as_they_were() {
        let subtask = SubtaskId { task: 1, index: 2 };
        let acknowledgement = Acknowledgement {
            subtask,
            checkpoint: CheckpointId(7),
            operators: vec![("dedup.unique".into(), SubtaskState { subtask: 2, ..SubtaskState::default() })],
            committables: vec![],
        };
        let reports = [
            Report::Acknowledged(acknowledgement),
            Report::Exhausted(subtask),
            Report::Paced(subtask, Some(-5)),
            Report::Paced(subtask, None),
            Report::Finished(subtask),
            Report::Failed(
                subtask,
                EngineError::disconnected("gone").with_origin(&Origin {
                    source: "source.clicks".into(),
                    split: "a.log".into(),
                    from: 1,
                    to: 2,
                    record: Some(1),
                    others: vec![Piece { split: "b.log".into(), from: 3, to: 4 }],
                }),
            ),
        ];
        for report in reports {
            let wire = report_to_wire(&key(), &report).unwrap();
            let (attempt, back) = report_from_wire(wire).unwrap().expect("it is a report");
            assert_eq!(attempt, key());
            assert_eq!(format!("{back:?}"), format!("{report:?}"));
        }
    }

    #[test]
    fn the_planned_crash_of_another_process_is_only_its_silence() {
        let crash = EngineError::of(ErrorKind::Crash, "crash asked for");
        let heard = EngineError::from(pb::Failure::from(&crash));
        assert_eq!((heard.kind, heard.message.as_str()), (ErrorKind::Disconnected, "crash asked for"));
    }

    #[test]
    fn commands_come_back_as_they_were() {
        let checkpoint = SourceCommand::Checkpoint { checkpoint: CheckpointId(4), last: true };
        let others = [SourceCommand::Drain, SourceCommand::Hold, SourceCommand::GoOn, SourceCommand::Finish];
        let slowest = Slowest { subtask: 3, event_time: -5, next: Some(7) };
        let paces = [Some(slowest), Some(Slowest { next: None, ..slowest }), None]
            .map(|slowest| SourceCommand::Pace { task: 2, slowest });
        for command in others.into_iter().chain([checkpoint]).chain(paces) {
            let coordinator_message::Kind::Command(wire) = command_to_wire(&key(), command) else { panic!() };
            assert_eq!(command_from_wire(wire).unwrap(), (key(), command));
        }
    }

    #[test]
    fn what_names_no_attempt_is_refused() {
        assert!(AttemptKey::try_from(None).is_err());
        assert!(command_from_wire(pb::SourceCommand::default()).is_err());
        assert!(report_from_wire(worker_message::Kind::Exhausted(pb::SubtaskEvent::default())).is_err());
        let garbage = pb::Acknowledged { attempt: Some((&key()).into()), acknowledgement: "x".into() };
        assert!(report_from_wire(worker_message::Kind::Acknowledged(garbage)).is_err());
    }
}
