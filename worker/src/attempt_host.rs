//! One attempt of a job on this worker: deployed, started, its reports passed on, until it is canceled.
//!
//! It lives on the data runtime. The owner of the [`AttemptHost`] talks to it by messages, and never waits for it but to be
//! sure that it is gone.

use crate::{
    config::{WorkerComponents, WorkerSettings},
    network::{AttemptNetwork, ConnectionFailure, DataPlane, Token},
    told::Told,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};
use weir_engine::{
    channel::ChannelSender,
    checkpoint::CheckpointStore,
    element::Origin,
    error::{EngineError, Result},
    graph::{ExecutionGraph, JobGraph, NodeRole},
    ids::{Attempt, CheckpointId, Lineage, SubtaskId},
    panics::caught,
    task::{
        Observer, Report, SourceCommand, TaskServices,
        deployment::{self, Deployment, RunningSubtasks, Wiring},
    },
    wire::{self, AttemptKey},
};
use weir_proto::v1::{self as pb, worker_message::Kind};

/// Messages to the coordinator.
pub type Outbound = mpsc::UnboundedSender<pb::WorkerMessage>;

/// What to deploy, checked.
#[derive(Debug)]
pub struct Assignment {
    /// Which attempt.
    pub key: AttemptKey,
    /// The graph.
    pub graph: ExecutionGraph,
    /// Where checkpoints lie.
    pub store: CheckpointStore,
    /// The manifest to restore.
    pub checkpoint: Option<CheckpointId>,
    /// The worker of every subtask.
    pub placement: BTreeMap<SubtaskId, String>,
    /// The data address of every worker.
    pub addresses: BTreeMap<String, String>,
    /// What a data connection of this attempt must show.
    pub token: Token,
    /// Records that the last attempt failed on.
    pub suspect: Option<Origin>,
}

impl Assignment {
    /// From the wire.
    ///
    /// # Errors
    /// When it is malformed, or the store cannot be opened.
    pub fn from_wire(deploy: pb::Deploy, components: &WorkerComponents) -> Result<Self> {
        let key = AttemptKey::try_from(deploy.attempt)?;
        let graph: JobGraph = wire::from_json(&deploy.graph, "a job graph")?;
        let store = (components.open_store)(&deploy.storage, &graph.name)?.in_lineage(Lineage(deploy.lineage));
        let (mut placement, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for entry in deploy.placements {
            addresses.insert(entry.worker.clone(), entry.data_address);
            placement.extend(entry.subtasks.into_iter().map(|id| (SubtaskId::from(id), entry.worker.clone())));
        }
        let graph = ExecutionGraph::new(graph)?;
        if let Some(missing) = graph.subtask_ids().find(|id| !placement.contains_key(id)) {
            return Err(EngineError::internal(format!("subtask {missing} of {key} is not placed on any worker")));
        }
        Ok(Assignment {
            key,
            graph,
            store,
            checkpoint: Some(CheckpointId(deploy.checkpoint)).filter(|checkpoint| checkpoint.0 > 0),
            placement,
            addresses,
            token: Token::new(deploy.token.to_vec()),
            suspect: deploy.suspect.map(Origin::from),
        })
    }

    fn subtasks_of(&self, worker: &str) -> BTreeSet<SubtaskId> {
        self.placement.iter().filter(|(_, at)| *at == worker).map(|(id, _)| *id).collect()
    }
}

enum Command {
    Start,
    Sources(SourceCommand),
    /// Say what runs here, from now on to this coordinator.
    Describe(Outbound),
    Cancel,
}

/// An attempt that is hosted here.
#[derive(Debug)]
pub struct AttemptHost {
    /// Its number.
    pub attempt: Attempt,
    /// What its subtasks show.
    pub observer: Arc<Observer>,
    /// How often a coordinator triggers its checkpoints.
    pub interval: Duration,
    commands: mpsc::UnboundedSender<Command>,
    ended: JoinHandle<()>,
}

impl AttemptHost {
    /// Deploys an attempt, as soon as `after`, an older one of the same job, is gone.
    pub fn deploy(
        assignment: Assignment,
        settings: &WorkerSettings,
        components: WorkerComponents,
        data_plane: Arc<DataPlane>,
        outbound: Outbound,
        after: Option<AttemptHost>,
    ) -> Self {
        let attempt = assignment.key.attempt;
        let interval = assignment.graph.job.checkpoint.interval();
        let observer = components.observers.worker(attempt, &settings.worker);
        let (commands, inbox) = mpsc::unbounded_channel();
        let host = Host {
            worker: settings.worker.clone(),
            channel_bytes: settings.channel_bytes,
            key: assignment.key.clone(),
            components: components.clone(),
            data_plane,
            outbound,
            observer: observer.clone(),
            inbox,
            told: Told::default(),
            triggered: None,
        };
        let ended = components.data_runtime.spawn(async move {
            if let Some(older) = after {
                older.cancel().await;
            }
            host.live(assignment).await;
        });
        AttemptHost { attempt, observer, interval, commands, ended }
    }

    /// Connects its outputs and runs it.
    pub fn start(&self) {
        self.tell(Command::Start);
    }

    /// Commands its sources.
    pub fn command(&self, command: SourceCommand) {
        self.tell(Command::Sources(command));
    }

    /// Has it say to a coordinator that takes it over what runs here, and what it has reported. One whose subtasks do not run yet says
    /// nothing.
    pub fn describe(&self, outbound: Outbound) {
        self.tell(Command::Describe(outbound));
    }

    /// Tells it to end, without waiting for it.
    pub fn tell_to_end(&self) {
        self.tell(Command::Cancel);
    }

    /// Ends it as a crash would, and waits until nothing of it does anything any more.
    pub async fn cancel(self) {
        self.tell_to_end();
        // A host that panicked is gone, too.
        let _ = self.ended.await;
    }

    fn tell(&self, command: Command) {
        // One that is gone has said why.
        let _ = self.commands.send(command);
    }
}

/// The side that lives on the data runtime.
struct Host {
    worker: String,
    channel_bytes: usize,
    key: AttemptKey,
    components: WorkerComponents,
    data_plane: Arc<DataPlane>,
    outbound: Outbound,
    observer: Arc<Observer>,
    inbox: mpsc::UnboundedReceiver<Command>,
    told: Told,
    /// The newest checkpoint that sources were told of.
    triggered: Option<pb::Checkpoint>,
}

impl Host {
    async fn live(mut self, assignment: Assignment) {
        let (reports, mut from_subtasks) = mpsc::unbounded_channel();
        // Read beside the deployment, which needs the rest of this.
        let mut inbox = std::mem::replace(&mut self.inbox, mpsc::unbounded_channel().1);
        let deployed = tokio::select! {
            biased;
            () = canceled(&mut inbox) => None,
            deployed = caught("building the subtasks", self.deploy(&assignment, reports)) => Some(deployed),
        };
        self.inbox = inbox;
        match deployed {
            None => {}
            Some(Err(error)) => {
                tracing::warn!(attempt = %self.key, %error, "cannot deploy");
                self.say(Kind::Deployed(pb::Deployed {
                    attempt: Some((&self.key).into()),
                    failure: Some((&error).into()),
                }));
                canceled(&mut self.inbox).await;
            }
            Some(Ok((deployment, network))) => {
                self.say(Kind::Deployed(pb::Deployed { attempt: Some((&self.key).into()), failure: None }));
                let here = assignment.subtasks_of(&self.worker);
                self.run(&here, deployment, network, &mut from_subtasks).await;
                tracing::info!(attempt = %self.key, events_in = self.events_in(&assignment.graph), "ended");
            }
        }
        self.say(Kind::Canceled((&self.key).into()));
    }

    /// Whether the storage here is the one that the attempt was claimed in. What its subtasks stage elsewhere, as below a mount that is
    /// gone, nobody would find.
    async fn check_storage(&self, store: &CheckpointStore) -> Result<()> {
        if store.exists(&store.layout().attempt(self.key.attempt)).await? {
            return Ok(());
        }
        Err(EngineError::unavailable(format!(
            "the storage '{}' of worker {} has nothing of {} (is it mounted?): it is not run there",
            store.url(),
            self.worker,
            self.key
        )))
    }

    async fn deploy(
        &self,
        assignment: &Assignment,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Result<(Deployment, AttemptNetwork)> {
        let here = assignment.subtasks_of(&self.worker);
        let mut wiring = Wiring::new(&assignment.graph, &here, self.channel_bytes);
        let peer_of = |id: &SubtaskId| assignment.placement.get(id).cloned().unwrap_or_default();
        let inbound = std::mem::take(&mut wiring.inbound);
        let inbound = inbound.into_iter().map(|(channel, sender)| ((peer_of(&channel.producer), channel), sender));
        // Channels say it themselves when their connection is lost.
        let on_failure = Arc::new(
            |failure: ConnectionFailure| tracing::warn!(attempt = %failure.key, peer = failure.peer, error = %failure.error, "connection lost"),
        );
        let token = assignment.token.clone();
        let network = self.data_plane.open(self.key.clone(), token, inbound.collect(), on_failure)?;
        for channel in std::mem::take(&mut wiring.outbound) {
            let peer = peer_of(&channel.consumer);
            let address = assignment.addresses.get(&peer).cloned().unwrap_or_default();
            wiring.channels.connect(channel, ChannelSender::Remote(network.sender(&peer, &address, channel)?));
        }
        let manifest = match assignment.checkpoint {
            Some(checkpoint) => {
                self.check_storage(&assignment.store).await?;
                Some(assignment.store.manifest(checkpoint).await?)
            }
            None => None,
        };
        let services = TaskServices {
            env: self.components.env.clone(),
            store: assignment.store.clone().patient(&self.components.env, self.observer.waits()),
            attempt: self.key.attempt,
            observer: self.observer.clone(),
            suspect: assignment.suspect.clone().map(Arc::new),
            reports,
        };
        let factory = self.components.factory.clone();
        let deployment = deployment::deploy(
            &assignment.graph,
            factory.as_ref(),
            &services,
            manifest.as_ref(),
            wiring.channels,
            &here,
        );
        let deployment = deployment.await?;
        if manifest.is_none() {
            self.check_storage(&assignment.store).await?;
        }
        self.components.env.crash_point("worker.deployed")?;
        tracing::info!(attempt = %self.key, events_in = self.events_in(&assignment.graph), "deployed");
        Ok((deployment, network))
    }

    async fn run(
        &mut self,
        here: &BTreeSet<SubtaskId>,
        deployment: Deployment,
        network: AttemptNetwork,
        from_subtasks: &mut mpsc::UnboundedReceiver<Report>,
    ) {
        if !self.told_to_start().await {
            return;
        }
        let mut early = Vec::new();
        let connected = tokio::select! {
            biased;
            () = canceled_but_for(&mut self.inbox, &mut early) => return,
            connected = network.connect() => connected,
        };
        if let Err(error) = connected {
            tracing::warn!(attempt = %self.key, %error, "cannot reach the other workers");
            self.report(&Report::Failed(SubtaskId { task: 0, index: 0 }, error));
            canceled(&mut self.inbox).await;
            return;
        }
        let running = deployment.start(&self.components.data_runtime);
        tracing::info!(attempt = %self.key, "running");
        early.into_iter().for_each(|command| self.command(&running, command));
        self.pass_reports_on(here, &running, from_subtasks).await;
        running.abort().await;
        network.close();
    }

    async fn pass_reports_on(
        &mut self,
        here: &BTreeSet<SubtaskId>,
        running: &RunningSubtasks,
        from_subtasks: &mut mpsc::UnboundedReceiver<Report>,
    ) {
        loop {
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    Some(Command::Sources(command)) => self.command(running, command),
                    Some(Command::Describe(outbound)) => self.describe(here, outbound),
                    Some(Command::Start) => {}
                    Some(Command::Cancel) | None => return,
                },
                Some(report) = from_subtasks.recv() => self.report(&report),
            }
        }
    }

    /// How many events the job's sources here have read, in all attempts up to this one whose checkpoints are kept.
    fn events_in(&self, graph: &ExecutionGraph) -> u64 {
        let counters = self.observer.counters();
        let sources = graph.job.nodes.iter().filter(|node| node.role == NodeRole::Source);
        sources.filter_map(|source| counters.get(&source.id)?.get("events_in")).sum()
    }

    async fn told_to_start(&mut self) -> bool {
        loop {
            match self.inbox.recv().await {
                Some(Command::Start) => return true,
                // Sources that were not told to start get no commands, and are not taken over.
                Some(Command::Sources(_) | Command::Describe(_)) => {}
                Some(Command::Cancel) | None => return false,
            }
        }
    }

    fn command(&mut self, running: &RunningSubtasks, command: SourceCommand) {
        if let SourceCommand::Checkpoint { checkpoint, last } = command {
            self.triggered = Some(pb::Checkpoint { checkpoint: checkpoint.0, last });
        }
        running.sources().command(command);
    }

    /// From now on reports go to this coordinator; first, those that one before it may have taken with it.
    fn describe(&mut self, here: &BTreeSet<SubtaskId>, outbound: Outbound) {
        self.outbound = outbound;
        self.say(Kind::Hosted(pb::Hosted {
            attempt: Some((&self.key).into()),
            subtasks: here.iter().map(|id| (*id).into()).collect(),
            triggered: self.triggered,
        }));
        self.told.again().for_each(|kind| self.say(kind));
    }

    fn report(&mut self, report: &Report) {
        match wire::report_to_wire(&self.key, report) {
            Ok(kind) => {
                self.told.add(report, &kind);
                self.say(kind);
            }
            Err(error) => tracing::error!(attempt = %self.key, %error, "a report cannot be sent"),
        }
    }

    fn say(&self, kind: Kind) {
        // Without a coordinator there is no receiver; who takes this attempt over is told again.
        let _ = self.outbound.send(pb::WorkerMessage { kind: Some(kind) });
    }
}

/// Waits for the end, and keeps what comes for the sources before.
async fn canceled_but_for(inbox: &mut mpsc::UnboundedReceiver<Command>, early: &mut Vec<SourceCommand>) {
    loop {
        match inbox.recv().await {
            Some(Command::Sources(command)) => early.push(command),
            Some(Command::Start | Command::Describe(_)) => {}
            Some(Command::Cancel) | None => return,
        }
    }
}

/// Waits for the end; commands that come before it are too early or too late to matter.
async fn canceled(inbox: &mut mpsc::UnboundedReceiver<Command>) {
    while !matches!(inbox.recv().await, Some(Command::Cancel) | None) {}
}
