//! What can be seen of a cluster from outside: the types that REST serves, that `weir list` and `weir status` print, and that
//! the page reads. One form, described once.
//!
//! Plain data: the writer publishes a [`Snapshot`] on the [`StatusBoard`], readers take the newest one. So what is
//! shown at one moment is consistent, and a slow reader blocks nobody. Nothing here decides anything.
//!
//! Moments are milliseconds since the epoch, on the coordinator's wall clock unless they are called event time.

mod board;
mod graph;
mod known_graphs;
mod totals;

pub use board::{Snapshot, StatusBoard};
pub use graph::{CommitsView, EdgeView, GraphView, LagView, OperatorView};
pub(crate) use known_graphs::KnownGraphs;
pub use totals::TotalsSoFar;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The watermark of an input that has ended: event time has come to its end.
pub const END_OF_TIME_MS: i64 = i64::MAX;

/// So many of a job's newest checkpoints are shown.
pub const SHOWN_CHECKPOINTS: usize = 60;
/// So many of a job's newest restarts are shown.
pub const SHOWN_RESTARTS: usize = 50;
/// So many of a job's newest transitions are shown.
pub const SHOWN_TRANSITIONS: usize = 100;

/// A cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterStatus {
    /// The moment, on the coordinator's clock.
    pub as_of_ms: i64,
    /// The coordinator that reports this.
    pub coordinator: CoordinatorStatus,
    /// All coordinators, by number.
    #[serde(default)]
    pub coordinators: Vec<MemberStatus>,
    /// All workers that it knows, by id.
    pub workers: Vec<WorkerStatus>,
    /// All jobs that it knows, by id.
    pub jobs: Vec<JobSummary>,
}

/// A coordinator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CoordinatorStatus {
    /// Version of its program.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// Its number in the group of coordinators.
    pub node: u64,
    /// The number of the group's leader; absent while there is none.
    pub leader: Option<u64>,
    /// When its process started.
    pub started_at_ms: i64,
}

/// A coordinator as the leader sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemberStatus {
    /// Its number in the group.
    pub node: u64,
    /// Where workers, users and the other coordinators reach it.
    #[schema(example = "10.0.0.7:7070")]
    pub address: String,
    /// `leader`, `voter` or `learner`: one that catches up before it votes.
    #[schema(example = "voter")]
    pub role: String,
    /// Decisions that it has not confirmed yet. Absent where nobody leads.
    pub behind: Option<u64>,
    /// How long ago it has answered the leader, which asks several times a second. Absent where nobody leads, and if it has not
    /// answered this leader yet.
    #[serde(default)]
    pub answered_ms_ago: Option<u64>,
}

/// A worker process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerStatus {
    /// Created by every process for itself.
    pub id: String,
    /// Where other workers reach its data port.
    #[schema(example = "10.0.0.7:7071")]
    pub data_address: String,
    /// Whether it is counted on.
    pub state: WorkerState,
    /// How many slots it offers.
    pub slots: u32,
    /// How many of them are free.
    pub slots_free: u32,
    /// Milliseconds since its last heartbeat.
    pub last_heartbeat_ms_ago: u64,
    /// How far its wall clock is ahead of the coordinator's; behind it, if negative. Absent until it was measured.
    pub clock_ahead_ms: Option<i64>,
    /// What it runs.
    pub subtasks: Vec<SubtaskRef>,
    /// Bytes sent to other workers since its process started.
    pub network_sent_bytes: u64,
    /// Bytes received from other workers since its process started.
    pub network_received_bytes: u64,
    /// Version of its program.
    #[schema(example = "0.1.0")]
    pub version: String,
}

/// What the coordinator thinks of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It answers.
    Available,
    /// It is about to end: it takes no new subtasks, and goes when those that it has run elsewhere.
    Leaving,
    /// Its connection broke; the verdict is due.
    Suspected,
    /// Taken for dead: whatever it still does is refused.
    Lost,
}

impl WorkerState {
    /// As it is written in JSON.
    pub fn name(self) -> &'static str {
        match self {
            WorkerState::Available => "available",
            WorkerState::Leaving => "leaving",
            WorkerState::Suspected => "suspected",
            WorkerState::Lost => "lost",
        }
    }
}

/// A subtask of some job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct SubtaskRef {
    /// The job's id.
    pub job: String,
    /// Index of the task in the execution graph.
    pub task: usize,
    /// Index of the subtask in the task, from 0.
    pub index: usize,
}

/// A job in one line. Always made from its [`JobStatus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// Identity of the job.
    #[schema(example = "ad-click")]
    pub id: String,
    /// Name in its definition.
    #[schema(example = "ad-click")]
    pub name: String,
    /// CREATED, SCHEDULED, RESTORING, RUNNING, FAILING, RESTARTING, STOPPING, FINISHED, FAILED or CANCELED.
    #[schema(example = "RUNNING")]
    pub state: String,
    /// Why it is in this state.
    pub cause: Option<String>,
    /// What it lacks to continue.
    #[schema(example = "needs 4 slots, 2 free")]
    pub waiting_for: Option<String>,
    /// Since when it waits for that.
    pub waiting_since_ms: Option<i64>,
    /// How much state is back, while it is read from storage.
    pub restoring: Option<RestoringView>,
    /// When it was submitted.
    pub submitted_at_ms: i64,
    /// Its newest attempt; 0 before the first.
    pub attempt: u64,
    /// How often it was restarted after a failure.
    pub restart_count: u64,
    /// Its newest completed checkpoint.
    pub last_checkpoint: Option<u64>,
    /// Records that its sources read in a second, over the last ten.
    pub records_in_per_second: f64,
}

/// Everything about a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobStatus {
    /// The moment of this description, on the coordinator's clock.
    pub as_of_ms: i64,
    /// Identity of the job.
    #[schema(example = "ad-click")]
    pub id: String,
    /// Name in its definition.
    #[schema(example = "ad-click")]
    pub name: String,
    /// CREATED, SCHEDULED, RESTORING, RUNNING, FAILING, RESTARTING, STOPPING, FINISHED, FAILED or CANCELED.
    #[schema(example = "RUNNING")]
    pub state: String,
    /// Why it is in this state.
    pub cause: Option<String>,
    /// What it lacks to continue.
    #[schema(example = "needs 4 slots, 2 free")]
    pub waiting_for: Option<String>,
    /// Since when it waits for that.
    pub waiting_since_ms: Option<i64>,
    /// How much state is back, while it is read from storage.
    pub restoring: Option<RestoringView>,
    /// When it was submitted.
    pub submitted_at_ms: i64,
    /// Its newest attempt; 0 before the first.
    pub attempt: u64,
    /// How often it was restarted after a failure.
    pub restart_count: u64,
    /// The newest of these restarts, oldest first.
    pub restarts: Vec<Restart>,
    /// Its newest changes of state, oldest first.
    pub transitions: Vec<Transition>,
    /// Its operators and the streams between them.
    pub graph: GraphView,
    /// All subtasks of its newest attempt, by task and index.
    pub subtasks: Vec<SubtaskView>,
    /// Its newest completed checkpoints, oldest first.
    pub checkpoints: Vec<CheckpointView>,
    /// What its checkpoints have cost.
    pub checkpoint_totals: CheckpointTotals,
    /// Its newest completed checkpoint.
    pub last_checkpoint: Option<u64>,
    /// The newest checkpoint whose results are visible.
    pub committed: Option<u64>,
    /// Its definition, as the user wrote it.
    pub definition: String,
}

/// State that is being restored: bytes of state files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoringView {
    /// Read so far.
    pub restored_bytes: u64,
    /// All of them.
    pub bytes: u64,
}

/// A new attempt after a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Restart {
    /// When the failure was noticed.
    pub at_ms: i64,
    /// The attempt that failed.
    pub attempt: u64,
    /// Its root cause.
    #[schema(example = "worker w-1f3a was lost: no heartbeat for 3.0 s")]
    pub cause: String,
}

/// A change of a job's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// When.
    pub at_ms: i64,
    /// The state before; absent for the first.
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// Why.
    pub cause: String,
}

/// A subtask: one instance of a task, in a slot of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubtaskView {
    /// Index of the task in the execution graph.
    pub task: usize,
    /// Index of the subtask in the task, from 0.
    pub index: usize,
    /// The worker that it is placed on; absent while it is not placed.
    pub worker: Option<String>,
    /// The operators that are fused in it, head first.
    pub operators: Vec<String>,
    /// CREATED, SCHEDULED, DEPLOYING, RUNNING, FINISHED, CANCELING, CANCELED or FAILED.
    #[schema(example = "RUNNING")]
    pub state: String,
    /// Records taken in since its attempt began; by a source, records read.
    pub records_in: u64,
    /// Records given out since its attempt began.
    pub records_out: u64,
    /// Share of its time that it waits for a downstream subtask, from 0 to 1.
    pub backpressure: f64,
    /// Share of its time that it processes, from 0 to 1.
    pub busy: f64,
    /// Its watermark, in event time; absent before the first one, `i64::MAX` when its input has ended.
    pub watermark_ms: Option<i64>,
}

/// A completed checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointView {
    /// Its number.
    pub id: u64,
    /// The attempt that took it.
    pub attempt: u64,
    /// When it was complete.
    pub completed_at_ms: i64,
    /// Milliseconds from its trigger to its completion.
    pub duration_ms: u64,
    /// Bytes that it wrote.
    pub bytes: u64,
    /// Whether the job ended with it.
    pub last: bool,
}

/// What a job's checkpoints have cost, since the coordinator's process knows of the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointTotals {
    /// Checkpoints completed.
    pub completed: u64,
    /// Milliseconds from trigger to completion, all together.
    pub duration_ms: u64,
    /// Bytes written, all together.
    pub bytes: u64,
}

impl JobStatus {
    /// The job in one line.
    pub fn summary(&self) -> JobSummary {
        let sources = self.graph.operators.iter().filter(|operator| operator.role == "source");
        JobSummary {
            id: self.id.clone(),
            name: self.name.clone(),
            state: self.state.clone(),
            cause: self.cause.clone(),
            waiting_for: self.waiting_for.clone(),
            waiting_since_ms: self.waiting_since_ms,
            restoring: self.restoring,
            submitted_at_ms: self.submitted_at_ms,
            attempt: self.attempt,
            restart_count: self.restart_count,
            last_checkpoint: self.last_checkpoint,
            // Not `sum`: that of nothing is -0.
            records_in_per_second: sources.fold(0.0, |sum, source| sum + source.records_in_per_second),
        }
    }

    /// Whether nothing will happen to it any more.
    pub fn has_ended(&self) -> bool {
        has_ended(&self.state)
    }
}

impl JobSummary {
    /// Whether nothing will happen to it any more.
    pub fn has_ended(&self) -> bool {
        has_ended(&self.state)
    }

    /// What users will ask when they see the job in its state: what it waits for, or why it is not healthy.
    pub fn trouble(&self) -> Option<&str> {
        let not_well = matches!(self.state.as_str(), "FAILING" | "RESTARTING" | "FAILED");
        self.waiting_for.as_deref().or(self.cause.as_deref().filter(|_| not_well))
    }
}

fn has_ended(state: &str) -> bool {
    matches!(state, "FINISHED" | "FAILED" | "CANCELED")
}
