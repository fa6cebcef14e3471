//! The attempts on this worker: one a job, and never an older one than it has been given since it registered.

use crate::{
    attempt_host::{Assignment, AttemptHost, Outbound},
    config::{WorkerComponents, WorkerSettings},
    network::DataPlane,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use weir_engine::{
    env::Moment,
    error::EngineError,
    ids::Attempt,
    operator::{Lag, Wait},
    task::{SourceCommand, observer::Restored},
    wire::AttemptKey,
};
use weir_proto::v1::{self as pb, worker_message::Kind};

/// Checkpoint intervals without a coordinator after which sources read nothing more: what they read would be kept by the sinks, without
/// bound. As many as the driver lets pass while commits are outstanding.
const INTERVALS_UNHEARD: u32 = 32;

/// All attempts that are hosted here.
pub struct HostedAttempts {
    settings: WorkerSettings,
    components: WorkerComponents,
    data_plane: Arc<DataPlane>,
    /// By job.
    hosts: BTreeMap<String, AttemptHost>,
    /// The newest attempt of each job that this worker was given since it registered.
    newest: BTreeMap<String, Attempt>,
    /// Those that were ended last because no coordinator was heard.
    given_up: BTreeMap<String, Attempt>,
    /// Those whose sources read nothing, because no coordinator was heard for long.
    held: BTreeSet<AttemptKey>,
}

impl HostedAttempts {
    /// None yet.
    pub fn new(settings: &WorkerSettings, components: WorkerComponents, data_plane: Arc<DataPlane>) -> Self {
        HostedAttempts {
            settings: settings.clone(),
            components,
            data_plane,
            hosts: BTreeMap::new(),
            newest: BTreeMap::new(),
            given_up: BTreeMap::new(),
            held: BTreeSet::new(),
        }
    }

    /// Deploys an attempt instead of an older one. A stale order is refused.
    pub fn deploy(&mut self, assignment: Assignment, outbound: Outbound) {
        let key = assignment.key.clone();
        if let Some(newest) = self.newest.get(&key.job).filter(|newest| **newest >= key.attempt) {
            refuse(&key, *newest, &outbound);
            return;
        }
        self.newest.insert(key.job.clone(), key.attempt);
        let older = self.hosts.remove(&key.job);
        let (components, data_plane) = (self.components.clone(), self.data_plane.clone());
        let host = AttemptHost::deploy(assignment, &self.settings, components, data_plane, outbound, older);
        self.hosts.insert(key.job, host);
    }

    /// Starts a deployed attempt.
    pub fn start(&self, key: &AttemptKey) {
        if let Some(host) = self.host(key) {
            host.start();
        }
    }

    /// Commands the sources of an attempt.
    pub fn command(&self, key: &AttemptKey, command: SourceCommand) {
        if let Some(host) = self.host(key) {
            host.command(command);
        }
    }

    /// Has an attempt say what runs of it here; says itself that nothing does, or nothing any more.
    pub fn describe(&self, key: &AttemptKey, outbound: &Outbound) {
        let nothing = match self.host(key) {
            Some(host) => return host.describe(outbound.clone()),
            None if self.given_up.get(&key.job) == Some(&key.attempt) => Kind::Canceled(key.into()),
            None => Kind::Hosted(pb::Hosted { attempt: Some(key.into()), ..pb::Hosted::default() }),
        };
        // Without a coordinator there is no receiver.
        let _ = outbound.send(pb::WorkerMessage { kind: Some(nothing) });
    }

    /// Ends an attempt in the background; it reports itself when it is gone. `false`: there is nothing of it here.
    pub fn cancel(&mut self, key: &AttemptKey) -> bool {
        if self.host(key).is_some()
            && let Some(host) = self.hosts.remove(&key.job)
        {
            self.components.data_runtime.spawn(host.cancel());
            return true;
        }
        false
    }

    /// Ends all attempts and waits until they are gone. All are told first, so that a slow one keeps none running.
    pub async fn cancel_all(&mut self) {
        let hosts = std::mem::take(&mut self.hosts);
        self.given_up = hosts.iter().map(|(job, host)| (job.clone(), host.attempt)).collect();
        hosts.values().for_each(AttemptHost::tell_to_end);
        for (_, host) in hosts {
            host.cancel().await;
        }
    }

    /// This worker has just registered. What runs here goes on: the coordinator takes it over, or cancels it. That one may know nothing
    /// of what was before: if its data was removed, it counts attempts from 1 again. Nothing stale comes over its stream, which is new.
    pub fn registered(&mut self) {
        self.newest.clear();
        // Who takes them over has their sources read on.
        self.held.clear();
    }

    /// When sources are to be held next, if no coordinator is heard after `heard`.
    pub fn next_hold(&self, heard: Moment) -> Option<Moment> {
        self.not_held().map(|(_, host)| heard + host.interval * INTERVALS_UNHEARD).min()
    }

    /// Holds the sources of those that have been without a coordinator for too long.
    pub fn hold_unheard(&mut self, heard: Moment, now: Moment) {
        let is_due = |host: &AttemptHost| heard + host.interval * INTERVALS_UNHEARD <= now;
        let due: Vec<AttemptKey> = self.not_held().filter(|(_, host)| is_due(host)).map(|(key, _)| key).collect();
        for key in due {
            tracing::warn!(attempt = %key, "no coordinator takes checkpoints: sources wait until one does");
            self.command(&key, SourceCommand::Hold);
            self.held.insert(key);
        }
    }

    fn not_held(&self) -> impl Iterator<Item = (AttemptKey, &AttemptHost)> {
        let keyed = self.hosts.iter().map(|(job, host)| (AttemptKey { job: job.clone(), attempt: host.attempt }, host));
        keyed.filter(|(key, _)| !self.held.contains(key))
    }

    /// Whether nothing runs here.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// What every subtask has done so far.
    pub fn metrics(&self) -> Vec<pb::SubtaskMetrics> {
        let of_host = |(job, host): (&String, &AttemptHost)| {
            let key = AttemptKey { job: job.clone(), attempt: host.attempt };
            let views = host.observer.subtasks();
            views.into_iter().map(|view| metrics(&key, view)).collect::<Vec<_>>()
        };
        self.hosts.iter().flat_map(of_host).collect()
    }

    /// The attempts whose state is not back yet.
    pub fn restoring(&self) -> Vec<pb::Restoring> {
        let of_host = |(job, host): (&String, &AttemptHost)| {
            let Restored { restored_bytes, bytes } =
                Some(host.observer.restored()).filter(|so_far| so_far.is_under_way())?;
            let attempt = pb::AttemptId { job: job.clone(), attempt: host.attempt.0 };
            Some(pb::Restoring { attempt: Some(attempt), restored_bytes, bytes })
        };
        self.hosts.iter().filter_map(of_host).collect()
    }

    /// What subtasks wait for here: sources for what they read, sinks and checkpoints for storage.
    pub fn waiting(&self) -> Vec<pb::WaitingSink> {
        let of_host = |(job, host): (&String, &AttemptHost)| {
            let waiting =
                |(sink, Wait { since_ms, cause })| pb::WaitingSink { job: job.clone(), sink, since_ms, cause };
            host.observer.waits().now().into_iter().map(waiting).collect::<Vec<_>>()
        };
        self.hosts.iter().flat_map(of_host).collect()
    }

    fn host(&self, key: &AttemptKey) -> Option<&AttemptHost> {
        self.hosts.get(&key.job).filter(|host| host.attempt == key.attempt)
    }
}

fn refuse(key: &AttemptKey, newest: Attempt, outbound: &Outbound) {
    tracing::warn!(attempt = %key, %newest, "refused to deploy a stale attempt");
    let stale = EngineError::disconnected(format!("{key} is not deployed: this worker already has attempt {newest}"));
    let refused = pb::Deployed { attempt: Some(key.into()), failure: Some((&stale).into()) };
    // Without a coordinator there is no receiver.
    let _ = outbound.send(pb::WorkerMessage { kind: Some(Kind::Deployed(refused)) });
}

fn metrics(key: &AttemptKey, view: weir_engine::task::observer::SubtaskView) -> pb::SubtaskMetrics {
    let counter = |operator: Option<&(String, BTreeMap<String, u64>)>, name: &str| {
        operator.and_then(|(_, counters)| counters.get(name)).copied().unwrap_or(0)
    };
    let (head, tail) = (view.operators.first(), view.operators.last());
    pb::SubtaskMetrics {
        attempt: Some(key.into()),
        subtask: Some(view.id.into()),
        records_in: counter(head, "rows_in"),
        records_out: counter(tail, "rows_out"),
        busy_us: view.busy.as_micros() as u64,
        backpressured_us: view.delivering.as_micros() as u64,
        watermark_ms: view.watermark,
        lags: view
            .lags
            .into_iter()
            .map(|(split, Lag { records, behind_ms })| pb::SplitLag { split, records, behind_ms })
            .collect(),
        operators: view
            .operators
            .into_iter()
            .map(|(operator, counters)| pb::OperatorMetrics { operator, counters: counters.into_iter().collect() })
            .collect(),
    }
}
