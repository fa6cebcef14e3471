//! Describes the current state: combines what the catalog, the workers' heartbeats and the supervisors know.

use crate::{
    job::{LiveJob, LiveJobs, Waiting},
    leader::LeaderRoute,
    metadata::{Catalog, Job, JobStatus as Status, Leadership, Member, Metadata},
    status::{
        CheckpointView, CommitsView, CoordinatorStatus, JobStatus, KnownGraphs, LagView, MemberStatus, Restart,
        RestoringView, Snapshot, StatusBoard, SubtaskRef, SubtaskView, TotalsSoFar, Transition, WorkerState,
        WorkerStatus,
    },
    workers::{WorkerView, Workers},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use weir_engine::{
    env::{Env, Moment},
    graph::ExecutionGraph,
    hidden::redacted,
    ids::SubtaskId,
    operator::Wait,
    rate::Rate,
    wire::AttemptKey,
};
use weir_proto::v1 as pb;

/// How often the board is renewed.
const PERIOD: Duration = Duration::from_millis(500);

/// How long the leader may take to say how things stand.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// How fast the numbers of a subtask rise.
#[derive(Clone, Debug, Default)]
struct Rates {
    /// In microseconds.
    busy: Rate,
    backpressure: Rate,
    /// Records in and out, by operator.
    operators: BTreeMap<String, (Rate, Rate)>,
}

impl Rates {
    fn read(&mut self, at: Moment, metrics: &pb::SubtaskMetrics) {
        self.busy.read(at, metrics.busy_us);
        self.backpressure.read(at, metrics.backpressured_us);
        for operator in &metrics.operators {
            let counter = |name: &str| operator.counters.get(name).copied().unwrap_or(0);
            let (taken, given) = self.operators.entry(operator.operator.clone()).or_default();
            taken.read(at, counter("rows_in"));
            given.read(at, counter("rows_out"));
        }
    }

    /// Shares of time: busy, and waiting for a downstream subtask.
    fn shares(&self) -> (f64, f64) {
        let share = |rate: &Rate| (rate.per_second() / 1e6).min(1.0);
        (share(&self.busy), share(&self.backpressure))
    }
}

struct Look {
    at: Moment,
    metrics: pb::SubtaskMetrics,
    rates: Rates,
}

/// By attempt and subtask.
type Looks = BTreeMap<(AttemptKey, SubtaskId), Look>;

/// Describes the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    metadata: Arc<Metadata>,
    workers: Workers,
    live: LiveJobs,
    env: Env,
    node: u64,
    started_at_ms: i64,
    looks: Arc<Mutex<Looks>>,
    totals: Arc<Mutex<TotalsSoFar>>,
    graphs: Arc<Mutex<KnownGraphs>>,
}

impl Publisher {
    /// Over these.
    pub fn new(metadata: Arc<Metadata>, workers: Workers, live: LiveJobs, env: Env, node: u64) -> Self {
        let started_at_ms = env.wall_clock_ms();
        let (looks, totals, graphs) = (Arc::default(), Arc::default(), Arc::default());
        Publisher { metadata, workers, live, env, node, started_at_ms, looks, totals, graphs }
    }

    /// Renews the board for as long as it is polled: now and then, and where this coordinator leads, whenever something was decided.
    pub(crate) async fn publish(&self, board: &StatusBoard, leader: &LeaderRoute) {
        let mut decisions = self.metadata.watch();
        loop {
            decisions.mark_unchanged();
            let theirs = self.leaders_snapshot(leader).await;
            let leads = theirs.is_none();
            board.publish(theirs.unwrap_or_else(|| self.snapshot()));
            tokio::select! {
                biased;
                Ok(()) = decisions.changed(), if leads => {}
                () = self.env.sleep(PERIOD) => {}
            }
        }
    }

    /// What the leader shows, if that is another coordinator and it answers. Else there is only what was decided.
    async fn leaders_snapshot(&self, leader: &LeaderRoute) -> Option<Snapshot> {
        let follows = matches!(&*self.metadata.leadership().borrow(), Leadership::Follower { leader: Some(_) });
        if !follows {
            return None;
        }
        let answer = tokio::select! {
            biased;
            answer = leader.board() => answer,
            () = self.env.sleep(LEADER_TIMEOUT) => Err(tonic::Status::deadline_exceeded("it does not answer")),
        };
        match answer {
            Ok(mut shown) => {
                shown.cluster.coordinator = self.own_status();
                Some(shown)
            }
            Err(status) => {
                tracing::debug!(%status, "the leader does not say how things stand");
                leader.forget();
                None
            }
        }
    }

    /// All coordinators.
    pub fn coordinators(&self) -> Vec<MemberStatus> {
        let view = |member: Member| MemberStatus {
            node: member.node,
            address: member.address,
            role: member.role.name().into(),
            behind: member.behind,
            answered_ms_ago: member.answered.map(|answered| answered.as_millis() as u64),
        };
        self.metadata.members().into_iter().map(view).collect()
    }

    fn own_status(&self) -> CoordinatorStatus {
        CoordinatorStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.node,
            leader: self.leader(),
            started_at_ms: self.started_at_ms,
        }
    }

    /// How things stand now.
    pub fn snapshot(&self) -> Snapshot {
        let (now, views, catalog) = (self.env.now(), self.workers.views(), self.metadata.catalog());
        let names = catalog.jobs().map(|job| job.name.as_str()).collect();
        self.totals.lock().keep(&names);
        self.live.commits().keep(&names);
        self.graphs.lock().keep(&catalog);
        let workers = views.iter().map(|view| worker_status(view, now)).collect();
        let mut looks = self.looks.lock();
        let told = Told::by(&views, &mut looks, &current_attempts(&catalog));
        let jobs = catalog.jobs().map(|job| self.job_status(job, now, &looks, &told));
        let mut snapshot = Snapshot::new(self.env.wall_clock_ms(), self.own_status(), workers, jobs);
        snapshot.cluster.coordinators = self.coordinators();
        snapshot
    }

    /// How things stand now with one job. None: there is no such job.
    pub fn job(&self, name: &str) -> Option<JobStatus> {
        let (now, views, catalog) = (self.env.now(), self.workers.views(), self.metadata.catalog());
        let mut looks = self.looks.lock();
        let told = Told::by(&views, &mut looks, &current_attempts(&catalog));
        catalog.job(name).map(|job| self.job_status(job, now, &looks, &told))
    }

    fn leader(&self) -> Option<u64> {
        match &*self.metadata.leadership().borrow() {
            Leadership::Leader { .. } => Some(self.node),
            Leadership::Follower { leader } => leader.as_ref().map(|(node, _)| *node),
            Leadership::Stopped { .. } => None,
        }
    }

    fn job_status(&self, job: &Job, now: Moment, looks: &Looks, told: &Told) -> JobStatus {
        let live = self.live.of(&job.name);
        let waits = || told.waiting.get(&job.name).cloned();
        let waiting = live.waiting.clone().or_else(|| drivers_wait(&live)).or_else(waits);
        let (mut totals, mut graphs) = (self.totals.lock(), self.graphs.lock());
        let known = graphs.of(job);
        let last = job.transitions.back();
        let checkpoints: Vec<CheckpointView> = job.checkpoints.iter().map(checkpoint_view).collect();
        let mut status = JobStatus {
            as_of_ms: self.env.wall_clock_ms(),
            id: job.name.clone(),
            name: job.name.clone(),
            state: job.status.to_string(),
            cause: last.map(|transition| transition.cause.clone()),
            waiting_since_ms: waiting.as_ref().map(|waiting| waiting.since_ms),
            waiting_for: waiting.map(|waiting| waiting.what),
            submitted_at_ms: job.submitted_at_ms,
            attempt: job.attempt.map_or(0, |attempt| attempt.0),
            restart_count: job.restarts,
            restarts: restarts(job),
            transitions: transitions(job),
            checkpoint_totals: totals.add(&job.name, &checkpoints),
            checkpoints,
            last_checkpoint: job.checkpoint.map(|checkpoint| checkpoint.0),
            committed: job.committed.map(|checkpoint| checkpoint.0),
            definition: redacted(&job.definition).into_owned(),
            ..JobStatus::default()
        };
        if let Some((graph, view)) = known {
            status.graph = view.clone();
            for id in graph.subtask_ids() {
                let key = job.attempt.map(|attempt| AttemptKey { job: job.name.clone(), attempt });
                let found = key.and_then(|key| looks.get(&(key, id)));
                add_subtask(&mut status, graph, id, live.placement.get(&id), found, job.status);
            }
        }
        let key = job.attempt.map(|attempt| AttemptKey { job: job.name.clone(), attempt });
        let restoring = key.and_then(|key| told.restoring.get(&key)).copied();
        status.restoring = restoring.filter(|_| job.status == Status::Restoring);
        add_rejected(&mut status, &told.rejected);
        add_commits(&mut status, &self.live.commits().views(&job.name, now));
        status
    }
}

/// What workers tell of all jobs.
struct Told {
    waiting: BTreeMap<String, Waiting>,
    restoring: BTreeMap<AttemptKey, RestoringView>,
    rejected: Rejected,
}

impl Told {
    /// By their newest heartbeats, which are taken in.
    fn by(views: &[WorkerView], looks: &mut Looks, current: &BTreeSet<AttemptKey>) -> Told {
        look(looks, views, current);
        Told { waiting: waiting_sinks(views), restoring: restoring(views), rejected: rejected(views) }
    }
}

/// What the driver of a job's attempt waits for, told for people.
fn drivers_wait(live: &LiveJob) -> Option<Waiting> {
    let (node, wait) = live.waits.now().into_iter().next()?;
    Some(told(&node, wait.since_ms, &wait.cause))
}

/// What sinks, sources and checkpoints wait for, by job: the one that has waited the longest, told for people.
fn waiting_sinks(views: &[WorkerView]) -> BTreeMap<String, Waiting> {
    let mut waiting: Vec<_> = views.iter().filter(|view| !view.lost).flat_map(|view| &view.heartbeat.waiting).collect();
    waiting.sort_by_key(|wait| wait.since_ms);
    let mut by_job = BTreeMap::new();
    for wait in waiting {
        by_job.entry(wait.job.clone()).or_insert_with(|| told(&wait.sink, wait.since_ms, &wait.cause));
    }
    by_job
}

fn told(node: &str, since_ms: i64, cause: &str) -> Waiting {
    let since = Waiting::since(since_ms);
    Waiting { what: Wait::tell(node, &format!(" since {since}"), cause), since_ms }
}

/// How much state of each attempt is back, on all workers that have not all of theirs.
pub(crate) fn restoring(views: &[WorkerView]) -> BTreeMap<AttemptKey, RestoringView> {
    let mut sums: BTreeMap<AttemptKey, RestoringView> = BTreeMap::new();
    for so_far in views.iter().filter(|view| !view.lost).flat_map(|view| &view.heartbeat.restoring) {
        let Ok(key) = AttemptKey::try_from(so_far.attempt.clone()) else { continue };
        let sum = sums.entry(key).or_default();
        sum.restored_bytes += so_far.restored_bytes;
        sum.bytes += so_far.bytes;
    }
    sums
}

/// By job and sink: a lineage, and so many rows of it that the target has refused.
type Rejected = BTreeMap<(String, String), (u64, u64)>;

/// Of the newest lineage, as the worker says that has looked last and so knows of the most: they only become more in a lineage.
fn rejected(views: &[WorkerView]) -> Rejected {
    let mut most = Rejected::new();
    for rejected in views.iter().filter(|view| !view.lost).flat_map(|view| &view.heartbeat.rejected) {
        let known = most.entry((rejected.job.clone(), rejected.sink.clone())).or_default();
        *known = (*known).max((rejected.lineage, rejected.rows));
    }
    most
}

/// Shows them among what their sinks count.
fn add_rejected(status: &mut JobStatus, rejected: &Rejected) {
    for operator in &mut status.graph.operators {
        let key = (status.id.clone(), operator.id.clone());
        if let Some((_, rows)) = rejected.get(&key).filter(|(_, rows)| *rows > 0) {
            operator.counters.insert("rejected".into(), *rows);
        }
    }
}

/// Shows what sinks have committed.
fn add_commits(status: &mut JobStatus, commits: &BTreeMap<String, CommitsView>) {
    for operator in &mut status.graph.operators {
        operator.commits = commits.get(&operator.id).copied();
    }
}

/// The newest attempt of each job.
fn current_attempts(catalog: &Catalog) -> BTreeSet<AttemptKey> {
    catalog.jobs().filter_map(|job| Some(AttemptKey { job: job.name.clone(), attempt: job.attempt? })).collect()
}

/// Takes in the newest heartbeats. What is no longer reported has done in all what it had done, and nothing a second; if it is of an
/// attempt before the newest of its job, it is forgotten.
fn look(looks: &mut Looks, views: &[WorkerView], current: &BTreeSet<AttemptKey>) {
    let mut seen = Looks::new();
    for view in views.iter().filter(|view| !view.lost) {
        for metrics in &view.heartbeat.subtasks {
            let (Ok(key), Some(id)) = (AttemptKey::try_from(metrics.attempt.clone()), metrics.subtask) else {
                continue;
            };
            let id = (key, SubtaskId::from(id));
            let at = view.heartbeat_at;
            let look = match looks.remove(&id) {
                Some(before) if before.at >= at => before,
                before => {
                    let mut rates = before.map(|before| before.rates).unwrap_or_default();
                    rates.read(at, metrics);
                    Look { at, metrics: metrics.clone(), rates }
                }
            };
            seen.insert(id, look);
        }
    }
    for (id, mut look) in std::mem::take(looks).into_iter().filter(|((attempt, _), _)| current.contains(attempt)) {
        (look.rates, look.metrics.lags) = Default::default();
        seen.insert(id, look);
    }
    *looks = seen;
}

/// A source takes nothing in but what it reads.
fn records_in(metrics: &pb::SubtaskMetrics) -> u64 {
    let read = metrics.operators.first().and_then(|head| head.counters.get("rows_out")).copied().unwrap_or(0);
    if metrics.records_in == 0 { read } else { metrics.records_in }
}

fn add_subtask(
    status: &mut JobStatus,
    graph: &ExecutionGraph,
    id: SubtaskId,
    worker: Option<&String>,
    look: Option<&Look>,
    job: Status,
) {
    let chain = &graph.tasks[id.task].chain;
    let operators: Vec<String> = (0..chain.len()).map(|link| graph.node(id.task, link).id.clone()).collect();
    let (rates, metrics) = look.map(|look| (look.rates.clone(), look.metrics.clone())).unwrap_or_default();
    let (busy, backpressure) = rates.shares();
    for operator in &metrics.operators {
        let Some(shown) = status.graph.operators.iter_mut().find(|shown| shown.id == operator.operator) else {
            continue;
        };
        let counter = |name: &str| operator.counters.get(name).copied().unwrap_or(0);
        let of_operator = rates.operators.get(&operator.operator);
        let (taken, given) =
            of_operator.map(|(taken, given)| (taken.per_second(), given.per_second())).unwrap_or_default();
        // A source takes nothing in but what it reads.
        shown.records_in_per_second += if shown.role == "source" { given } else { taken };
        shown.records_out_per_second += given;
        shown.records_out += counter("rows_out");
        shown.records_in += if shown.role == "source" { counter("rows_out") } else { counter("rows_in") };
        shown.backpressure = shown.backpressure.max(backpressure);
        shown.busy = shown.busy.max(busy);
        if let Some(watermark) = metrics.watermark_ms {
            shown.watermark_ms = Some(shown.watermark_ms.map_or(watermark, |lowest| lowest.min(watermark)));
        }
        for (name, value) in
            operator.counters.iter().filter(|(name, _)| !matches!(name.as_str(), "rows_in" | "rows_out"))
        {
            *shown.counters.entry(name.clone()).or_default() += value;
        }
        if shown.role == "source" {
            let lag =
                |lag: &pb::SplitLag| (lag.split.clone(), LagView { records: lag.records, behind_ms: lag.behind_ms });
            shown.lags.extend(metrics.lags.iter().map(lag));
        }
    }
    let state = match (job, look) {
        (Status::Running | Status::Stopping, Some(_)) => "RUNNING",
        (Status::Scheduled | Status::Restoring, _) => "DEPLOYING",
        (Status::Finished, _) => "FINISHED",
        (Status::Failed, _) => "FAILED",
        (Status::Canceled, _) => "CANCELED",
        (Status::Failing, _) => "CANCELING",
        _ => "CREATED",
    };
    status.subtasks.push(SubtaskView {
        task: id.task,
        index: id.index,
        worker: worker.cloned(),
        operators,
        state: state.into(),
        records_in: records_in(&metrics),
        records_out: metrics.records_out,
        backpressure,
        busy,
        watermark_ms: metrics.watermark_ms,
    });
}

fn worker_status(view: &WorkerView, now: Moment) -> WorkerStatus {
    let subtask = |metrics: &pb::SubtaskMetrics| {
        let (attempt, id) = (metrics.attempt.clone()?, metrics.subtask?);
        Some(SubtaskRef { job: attempt.job, task: id.task as usize, index: id.index as usize })
    };
    WorkerStatus {
        id: view.worker.clone(),
        data_address: view.data_address.clone(),
        state: match view {
            WorkerView { lost: true, .. } => WorkerState::Lost,
            WorkerView { leaving: true, .. } => WorkerState::Leaving,
            _ => WorkerState::Available,
        },
        slots: view.slots as u32,
        slots_free: view.free as u32,
        last_heartbeat_ms_ago: (now - view.heard).as_millis() as u64,
        clock_ahead_ms: view.heartbeat.clock_ahead_ms,
        subtasks: if view.lost { Vec::new() } else { view.heartbeat.subtasks.iter().filter_map(subtask).collect() },
        network_sent_bytes: view.heartbeat.network_sent_bytes,
        network_received_bytes: view.heartbeat.network_received_bytes,
        version: view.version.clone(),
    }
}

fn checkpoint_view(completed: &crate::metadata::CompletedCheckpoint) -> CheckpointView {
    CheckpointView {
        id: completed.checkpoint.0,
        attempt: completed.attempt.0,
        completed_at_ms: completed.stats.completed_at_ms,
        duration_ms: completed.stats.duration_ms,
        bytes: completed.stats.bytes,
        last: completed.stats.last,
    }
}

fn restarts(job: &Job) -> Vec<Restart> {
    let is_end = |transition: &&crate::metadata::Transition| match transition.to {
        Status::Failing => true,
        // One that moved has not failed.
        Status::Restarting => matches!(transition.from, Some(Status::Running | Status::Stopping)),
        _ => false,
    };
    let ends = job.transitions.iter().filter(is_end);
    ends.map(|transition| Restart {
        at_ms: transition.at_ms,
        attempt: transition.attempt.map_or(0, |attempt| attempt.0),
        cause: transition.cause.clone(),
    })
    .collect()
}

fn transitions(job: &Job) -> Vec<Transition> {
    let shown = job.transitions.iter().map(|transition| Transition {
        at_ms: transition.at_ms,
        from: transition.from.map(|from| from.to_string()),
        to: transition.to.to_string(),
        cause: transition.cause.clone(),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::CoordinatorSettings, status::OperatorView};
    use weir_engine::ids::Attempt;

    /// A worker that has said so of the sink of a job.
    fn tells(workers: &Workers, worker: &str, lineage: u64, rows: u64) {
        let registration = pb::Register { worker: worker.into(), ..pb::Register::default() };
        let (session, _orders) = workers.register(registration, &CoordinatorSettings::default());
        let rejected = vec![pb::RejectedRows { job: "job".into(), sink: "sink.table".into(), lineage, rows }];
        let heartbeat = pb::Heartbeat { rejected, ..pb::Heartbeat::default() };
        let said = pb::WorkerMessage { kind: Some(pb::worker_message::Kind::Heartbeat(heartbeat)) };
        workers.on_message(&session, said).unwrap();
    }

    #[test]
    fn what_an_attempt_has_done_in_the_end_stays_until_there_is_a_newer_one() {
        let workers = Workers::new(Env::default());
        let attempt = |number| AttemptKey { job: "job".into(), attempt: Attempt(number) };
        let says = |subtasks: Vec<pb::SubtaskMetrics>| {
            let registration = pb::Register { worker: "a".into(), ..pb::Register::default() };
            let (session, _orders) = workers.register(registration, &CoordinatorSettings::default());
            let heartbeat = pb::Heartbeat { subtasks, ..pb::Heartbeat::default() };
            let said = pb::WorkerMessage { kind: Some(pb::worker_message::Kind::Heartbeat(heartbeat)) };
            workers.on_message(&session, said).unwrap();
        };
        let lags = vec![pb::SplitLag { split: "log".into(), records: 3, behind_ms: 0 }];
        let metrics = |number| pb::SubtaskMetrics {
            attempt: Some((&attempt(number)).into()),
            subtask: Some(SubtaskId { task: 0, index: 0 }.into()),
            records_out: 7,
            lags: lags.clone(),
            ..pb::SubtaskMetrics::default()
        };
        let mut looks = Looks::new();
        let mut shown = |current| {
            look(&mut looks, &workers.views(), &BTreeSet::from([attempt(current)]));
            let shown =
                looks.iter().map(|((key, _), look)| (key.attempt.0, look.metrics.records_out, look.metrics.lags.len()));
            shown.collect::<Vec<_>>()
        };
        says(vec![metrics(1)]);
        assert_eq!(shown(1), [(1, 7, 1)]);
        says(Vec::new());
        assert_eq!(shown(1), [(1, 7, 0)], "it has read what it has read, and is behind no more");
        says(vec![metrics(2)]);
        assert_eq!(shown(2), [(2, 7, 1)]);
    }

    #[test]
    fn rows_that_a_target_has_refused_are_a_counter_of_their_sink() {
        let workers = Workers::new(Env::default());
        let shown = |workers: &Workers| {
            let operators =
                ["source.clicks", "sink.table"].map(|id| OperatorView { id: id.into(), ..OperatorView::default() });
            let graph = crate::status::GraphView { operators: operators.into(), ..Default::default() };
            let mut status = JobStatus { id: "job".into(), graph, ..JobStatus::default() };
            add_rejected(&mut status, &rejected(&workers.views()));
            let counters = status.graph.operators.into_iter().map(|operator| operator.counters);
            counters.flatten().collect::<BTreeMap<String, u64>>()
        };
        assert!(shown(&workers).is_empty());
        tells(&workers, "a", 1, 7);
        tells(&workers, "b", 1, 9);
        assert_eq!(shown(&workers), BTreeMap::from([("rejected".into(), 9)]), "who has looked last knows of the most");
        // After a start-over there are none, whatever a worker says that has seen nothing of it.
        tells(&workers, "b", 4, 0);
        assert!(shown(&workers).is_empty());
        tells(&workers, "b", 4, 2);
        assert_eq!(shown(&workers), BTreeMap::from([("rejected".into(), 2)]));
    }
}
