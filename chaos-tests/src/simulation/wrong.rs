//! Parts of the cluster that are built wrong on purpose: what a simulation does not notice here, it would not notice anywhere.
//!
//! They stand in for parts that a simulation hands in anyway (operators, the link to the coordinator, its disk), so that
//! nothing in the cluster knows of them.

use super::{power::Process, wrong_kafka::WrongKafka};
use crate::{faults::mutants::Mutant, joins::WindowJoinMutant};
use futures::{FutureExt, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use weir_coordinator::metadata::MemoryDisk;
use weir_engine::{checkpoint::pending::Acknowledgement, env::Env, error::Result, ids::CheckpointId, wire};
use weir_operators::source::files::EventTimeRange;
use weir_proto::v1::{self as pb, coordinator_message::Kind as Order, source_command, worker_message::Kind as Message};
use weir_recalculation::{place::Place, replay::Replay};
use weir_worker::{ControlLink, OpenLink};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongPart {
    /// An operator, source or sink.
    Operators(Mutant),
    /// A join of results by their windows.
    WindowJoin(WindowJoinMutant),
    /// A worker says that it has committed, and has not.
    CommitsBelieved,
    /// A worker acknowledges checkpoints with what an attempt before has stored.
    AcknowledgesForAnOlderAttempt,
    /// A worker that stood still and was replaced does so, and only such a one: of the attempt that it is given next it does not
    /// see that it is another one.
    ThawedForAnOlderAttempt,
    /// A worker acknowledges a checkpoint of one of its subtasks twice.
    AcknowledgesWithoutCommittables,
    /// The coordinator's disk forgets the last second, though it was synced.
    DiskForgets,
    /// A replay removes what it is to replace before it replaces it.
    ReplayRemovesFirst,
    /// A replay also replaces what is not final yet.
    ReplayReplacesWhatIsOpen,
    /// A sink takes rows for posted whose request was not answered.
    WebhookBelieved,
    /// The cluster of Kafka that sinks are handed.
    Kafka(WrongKafka),
}

impl WrongPart {
    /// Some of each kind; the other operators, sources and sinks are tried in one process.
    pub const ALL: [WrongPart; 20] = [
        WrongPart::ThawedForAnOlderAttempt,
        WrongPart::ReplayRemovesFirst,
        WrongPart::ReplayReplacesWhatIsOpen,
        WrongPart::Operators(Mutant::SourceRestoresBehind),
        WrongPart::CommitsBelieved,
        WrongPart::WebhookBelieved,
        WrongPart::AcknowledgesForAnOlderAttempt,
        WrongPart::AcknowledgesWithoutCommittables,
        WrongPart::DiskForgets,
        WrongPart::Operators(Mutant::SourceForgetsPositions),
        WrongPart::Operators(Mutant::AggregateForgetsCounts),
        WrongPart::Operators(Mutant::LookupForgets),
        WrongPart::WindowJoin(WindowJoinMutant::ForgetsRightRows),
        WrongPart::WindowJoin(WindowJoinMutant::MatchesTwiceAfterARestore),
        WrongPart::WindowJoin(WindowJoinMutant::LosesRowsThatWaitForABarrier),
        WrongPart::Operators(Mutant::SinkCommitsEarly),
        WrongPart::Operators(Mutant::CommitsUnderFreshNames),
        WrongPart::Operators(Mutant::TableKeepsTheFirst),
        WrongPart::Operators(Mutant::TableSkipsCommits),
        WrongPart::Operators(Mutant::ResetRemovesNothing),
    ];

    /// Whether it stands in for a part of a replay.
    pub fn is_of_replays(self) -> bool {
        matches!(self, WrongPart::ReplayRemovesFirst | WrongPart::ReplayReplacesWhatIsOpen)
    }

    /// A replay's last step in the place of the right one.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn replace(self, place: &Place, replay: &Replay<'_>, env: &Env) -> Result<()> {
        if self == WrongPart::ReplayRemovesFirst {
            let EventTimeRange { from_ms, to_ms } = replay.record().plan.range;
            let sql = "DELETE FROM ad_counts WHERE click_minute >= $1 AND click_minute < $2";
            place.store.execute(sql, &[from_ms.into(), to_ms.into()]).await?;
            env.sleep(Duration::from_millis(100)).await;
        }
        replay.replace(|_| {}).await
    }

    /// A link that is wrong in this way, over a right one.
    pub fn dial(self, right: OpenLink, process: Process) -> OpenLink {
        let memory = Arc::new(Mutex::new(Memory::default()));
        Box::new(move |registration| {
            let (opening, memory, process) = (right(registration), memory.clone(), process.clone());
            async move { Ok(self.between(opening.await?, memory, process)) }.boxed()
        })
    }

    /// Sits between a worker and its coordinator.
    fn between(self, link: ControlLink, memory: Arc<Mutex<Memory>>, process: Process) -> ControlLink {
        let ControlLink { outbound, inbound } = link;
        let (from_worker, mut messages) = mpsc::unbounded_channel::<pb::WorkerMessage>();
        let (answers, of_messages) = (outbound.clone(), memory.clone());
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                let Some(message) = lock(&of_messages).message(self, message) else { continue };
                if outbound.send(message).is_err() {
                    return;
                }
            }
        });
        let inbound = inbound.filter_map(move |order| {
            let wrong = match self {
                WrongPart::ThawedForAnOlderAttempt if process.has_stood() => WrongPart::AcknowledgesForAnOlderAttempt,
                wrong => wrong,
            };
            let passed = lock(&memory).order(wrong, order, &answers);
            std::future::ready(passed)
        });
        ControlLink { outbound: from_worker, inbound: inbound.boxed() }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock()
}

/// What a wrong link remembers.
#[derive(Default)]
struct Memory {
    attempt: Option<pb::AttemptId>,
    /// By subtask: the newest acknowledgement of the attempt before, and of this one.
    older: BTreeMap<(usize, usize), Acknowledgement>,
    newer: BTreeMap<(usize, usize), Acknowledgement>,
    /// What was acknowledged wrongly already.
    told: Vec<((usize, usize), CheckpointId)>,
}

impl Memory {
    fn order(
        &mut self,
        wrong: WrongPart,
        order: Result<pb::CoordinatorMessage>,
        answers: &mpsc::UnboundedSender<pb::WorkerMessage>,
    ) -> Option<Result<pb::CoordinatorMessage>> {
        match order.as_ref().ok().and_then(|order| order.kind.as_ref()) {
            Some(Order::Commit(commit)) if wrong == WrongPart::CommitsBelieved => {
                let done = Message::Done(pb::Done { request: commit.request, ..pb::Done::default() });
                let _ = answers.send(pb::WorkerMessage { kind: Some(done) });
                return None;
            }
            Some(Order::Deploy(deploy)) => {
                self.attempt = deploy.attempt.clone();
                self.older = std::mem::take(&mut self.newer);
                self.told.clear();
            }
            Some(Order::Command(command)) if wrong == WrongPart::AcknowledgesForAnOlderAttempt => {
                if let Some(source_command::Kind::Checkpoint(checkpoint)) = &command.kind {
                    self.acknowledge_again(CheckpointId(checkpoint.checkpoint), answers);
                }
            }
            _ => {}
        }
        Some(order)
    }

    fn acknowledge_again(&mut self, checkpoint: CheckpointId, answers: &mpsc::UnboundedSender<pb::WorkerMessage>) {
        for (subtask, mut acknowledgement) in std::mem::take(&mut self.older) {
            acknowledgement.checkpoint = checkpoint;
            self.told.push((subtask, checkpoint));
            let Ok(acknowledgement) = wire::to_json(&acknowledgement) else { continue };
            let said = Message::Acknowledged(pb::Acknowledged { attempt: self.attempt.clone(), acknowledgement });
            let _ = answers.send(pb::WorkerMessage { kind: Some(said) });
        }
    }

    fn message(&mut self, wrong: WrongPart, message: pb::WorkerMessage) -> Option<pb::WorkerMessage> {
        let Some(Message::Acknowledged(acknowledged)) = &message.kind else { return Some(message) };
        let Ok(mut said) = wire::from_json::<Acknowledgement>(&acknowledged.acknowledgement, "an acknowledgement")
        else {
            return Some(message);
        };
        let subtask = (said.subtask.task, said.subtask.index);
        if self.told.contains(&(subtask, said.checkpoint)) {
            return None;
        }
        self.newer.insert(subtask, said.clone());
        if wrong != WrongPart::AcknowledgesWithoutCommittables || said.checkpoint.0 % 4 != 0 {
            return Some(message);
        }
        said.committables.clear();
        let acknowledgement = wire::to_json(&said).ok()?;
        let said = Message::Acknowledged(pb::Acknowledged { acknowledgement, ..acknowledged.clone() });
        Some(pb::WorkerMessage { kind: Some(said) })
    }
}

/// The coordinator's disk, which forgets if it is wrong.
pub struct WrongDisk {
    disk: MemoryDisk,
    is_wrong: bool,
    before: VecDeque<(Duration, Vec<u8>)>,
}

/// How much of the past a wrong disk forgets.
const FORGETS: Duration = Duration::from_secs(1);

impl WrongDisk {
    /// Over the real one.
    pub fn new(disk: MemoryDisk, wrong: Option<WrongPart>) -> Self {
        WrongDisk { disk, is_wrong: wrong == Some(WrongPart::DiskForgets), before: VecDeque::new() }
    }

    /// Sees what is synced now.
    pub fn observe(&mut self, now: Duration) {
        if !self.is_wrong || self.before.back().is_some_and(|(at, _)| now - *at < FORGETS / 4) {
            return;
        }
        self.before.push_back((now, self.disk.synced_bytes()));
        while self.before.front().is_some_and(|(at, _)| now - *at > FORGETS) {
            self.before.pop_front();
        }
    }

    /// The coordinator is about to read it again.
    pub fn before_start(&mut self) {
        if let Some((_, old)) = self.before.pop_front() {
            self.disk.damage(|bytes| *bytes = old);
        }
    }
}
