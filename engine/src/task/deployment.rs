//! Building subtasks in this process, all of a job's or some: their operators, their channels, their state.

use super::{
    chain::{Chain, Link, LinkBody},
    checkpointing::TaskServices,
    restore::Restorer,
    subtask::{Body, Head, SourceCommand, Subtask},
};
use crate::{
    align::ChannelTime,
    channel::{
        ChannelReceiver, ChannelSender, GateChannel, InputGate, LocalSender, ResultPartition, RowPartitioner,
        local_channels,
    },
    checkpoint::{Manifest, Staging},
    error::Result,
    graph::{ExecutionGraph, NodeRole, Partitioner},
    ids::{ChannelId, SubtaskId},
    key_group::range_of,
    operator::{Canceled, Counters, Factory, OperatorContext, Pace, Source},
};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet};

/// Subtasks that are restored side by side: for each there is a file in memory.
const RESTORED_AT_ONCE: usize = 16;

/// Subtasks, ready to run, and the ends to command their sources by.
pub struct Deployment {
    subtasks: Vec<Subtask>,
    sources: SourceCommands,
    canceled: Canceled,
}

/// Subtasks that run. Dropped, they are aborted.
pub struct RunningSubtasks {
    tasks: JoinSet<()>,
    sources: SourceCommands,
    canceled: Canceled,
}

/// Commands the sources among some subtasks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SourceCommands {
    loops: BTreeMap<SubtaskId, mpsc::UnboundedSender<SourceCommand>>,
    paces: BTreeMap<SubtaskId, Pace>,
}

/// A source, and the pace that it says and hears.
type PacedSource = (Box<dyn Source>, Pace);

impl SourceCommands {
    fn heard_by(&mut self, subtask: SubtaskId) -> mpsc::UnboundedReceiver<SourceCommand> {
        let (sender, commands) = mpsc::unbounded_channel();
        self.loops.insert(subtask, sender);
        commands
    }

    /// Tells every source. One that is gone has failed, which its own report says.
    pub fn command(&self, command: SourceCommand) {
        if let SourceCommand::Pace { task, slowest } = command {
            let of_source = self.paces.iter().filter(|(subtask, _)| subtask.task == task);
            of_source.for_each(|(_, pace)| pace.hear(slowest));
            return;
        }
        for source in self.loops.values() {
            let _ = source.send(command);
        }
    }
}

impl Deployment {
    /// Starts every subtask, on the given runtime.
    pub fn start(self, runtime: &Handle) -> RunningSubtasks {
        let mut tasks = JoinSet::new();
        for subtask in self.subtasks {
            tasks.spawn_on(subtask.run(), runtime);
        }
        RunningSubtasks { tasks, sources: self.sources, canceled: self.canceled }
    }
}

impl RunningSubtasks {
    /// The sources among them.
    pub fn sources(&self) -> SourceCommands {
        self.sources.clone()
    }

    /// Ends them where they stand, as a crash would, and waits until none processes any more. An upload that blocks a thread may
    /// still write a file, which carries the attempt and is not referred to.
    pub async fn abort(mut self) {
        self.canceled.set();
        self.tasks.shutdown().await;
    }
}

impl Drop for RunningSubtasks {
    fn drop(&mut self) {
        self.canceled.set();
    }
}

/// Builds and restores `subtasks`, which are among those that `channels` were made for.
///
/// # Errors
/// When an operator cannot be built or its state cannot be read back.
pub async fn deploy(
    graph: &ExecutionGraph,
    factory: &dyn Factory,
    services: &TaskServices,
    manifest: Option<&Manifest>,
    mut channels: Channels,
    subtasks: &BTreeSet<SubtaskId>,
) -> Result<Deployment> {
    let restorer = manifest.map(|manifest| Restorer::new(services, manifest));
    if let Some(restorer) = &restorer {
        services.observer.will_restore(restorer.bytes(graph, subtasks));
    }
    let canceled = Canceled::default();
    let mut deployment =
        Deployment { subtasks: Vec::new(), sources: SourceCommands::default(), canceled: canceled.clone() };
    let mut chains = Vec::with_capacity(subtasks.len());
    for id in subtasks.iter().copied() {
        chains.push(build_and_restore(graph, factory, (services, &canceled), restorer, id).boxed());
    }
    let mut chains = stream::iter(chains).buffered(RESTORED_AT_ONCE);
    while let Some((id, chain, source)) = chains.try_next().await? {
        let node = graph.node(id.task, 0);
        let head = match source {
            None if node.role == NodeRole::Lookup => {
                Head::Lookup { gate: channels.gate(id), commands: deployment.sources.heard_by(id) }
            }
            None => Head::Gate(channels.gate(id)),
            Some((mut source, pace)) => {
                let node = &node.id;
                let splits = match &restorer {
                    Some(restorer) => restorer.splits(node).await.map_err(|error| error.context(node))?,
                    None => Vec::new(),
                };
                source.restore(splits).await.map_err(|error| error.context(node))?;
                deployment.sources.paces.insert(id, pace.clone());
                Head::Source { source, commands: deployment.sources.heard_by(id), pace }
            }
        };
        let outputs = channels.outputs(graph, id);
        let (uploads, deliveries) = (JoinSet::new(), Vec::new());
        let gauges = services.observer.add_subtask(id);
        let body = Body { id, chain, outputs, services: services.clone(), uploads, deliveries, gauges };
        deployment.subtasks.push(Subtask { id, head, body });
    }
    Ok(deployment)
}

async fn build_and_restore(
    graph: &ExecutionGraph,
    factory: &dyn Factory,
    (services, canceled): (&TaskServices, &Canceled),
    restorer: Option<Restorer<'_>>,
    id: SubtaskId,
) -> Result<(SubtaskId, Chain, Option<PacedSource>)> {
    let (mut chain, source) = build_chain(graph, factory, (services, canceled), id)?;
    chain.links.iter().for_each(|link| services.store.watch(&link.ledger));
    if let Some(restorer) = restorer {
        for link in &mut chain.links {
            restorer.restore(link).await?;
        }
    }
    Ok((id, chain, source))
}

fn build_chain(
    graph: &ExecutionGraph,
    factory: &dyn Factory,
    (services, canceled): (&TaskServices, &Canceled),
    id: SubtaskId,
) -> Result<(Chain, Option<PacedSource>)> {
    let task = &graph.tasks[id.task];
    let key_groups = range_of(id.index, graph.job.max_parallelism, task.parallelism);
    let (lags, pace) = (services.observer.add_lags(id), Pace::default());
    let mut source = None;
    let mut links = Vec::with_capacity(task.chain.len());
    for (position, link) in task.chain.iter().enumerate() {
        let node = graph.node(id.task, position);
        let counters = Counters::default();
        let context = OperatorContext {
            job: graph.job.name.clone(),
            identity: graph.job.identity().to_owned(),
            operator: node.id.clone(),
            subtask: id.index,
            parallelism: task.parallelism,
            max_parallelism: graph.job.max_parallelism,
            key_groups,
            attempt: services.attempt,
            env: services.env.clone(),
            counters: counters.clone(),
            staging: Staging::new(services.store.clone(), &node.id),
            suspect: services.suspect.clone(),
            canceled: canceled.clone(),
            waits: services.observer.waits().clone(),
            lags: lags.clone(),
            pace: pace.clone(),
        };
        let body = match node.role {
            NodeRole::Source => {
                let built = factory.source(node, context).map_err(|error| error.context(&node.id))?;
                source = Some((built, pace.clone()));
                LinkBody::Source
            }
            NodeRole::Operator | NodeRole::Lookup => {
                LinkBody::Operator(factory.operator(node, context).map_err(|error| error.context(&node.id))?)
            }
            NodeRole::Sink => LinkBody::Sink(factory.sink(node, context).map_err(|error| error.context(&node.id))?),
        };
        services.observer.add_node(id, &node.id, counters.clone());
        links.push(Link::new(node.id.clone(), body, link.targets.clone(), id.index, key_groups, counters));
    }
    Ok((Chain { links }, source))
}

/// The channels of some subtasks of a graph: those among themselves, and the ends of those to and from others.
pub struct Wiring {
    /// For [`deploy`]. The network adds its [`Channels::connect`] for every outbound channel first.
    pub channels: Channels,
    /// Channels from subtasks elsewhere: where the network delivers to.
    pub inbound: BTreeMap<ChannelId, LocalSender>,
    /// Channels to subtasks elsewhere.
    pub outbound: Vec<ChannelId>,
}

/// Channel ends, waiting to be taken by their subtasks.
#[derive(Default)]
pub struct Channels {
    receivers: BTreeMap<SubtaskId, (ChannelReceiver, Vec<GateChannel>)>,
    senders: BTreeMap<ChannelId, ChannelSender>,
}

impl Wiring {
    /// For the subtasks `here`; each channel has a credit of `channel_bytes`.
    pub fn new(graph: &ExecutionGraph, here: &BTreeSet<SubtaskId>, channel_bytes: usize) -> Self {
        let mut wiring = Wiring { channels: Channels::default(), inbound: BTreeMap::new(), outbound: Vec::new() };
        for consumer in graph.subtask_ids().filter(|id| !graph.tasks[id.task].inputs.is_empty()) {
            let channels = channels_into(graph, consumer);
            if !here.contains(&consumer) {
                let ids = channels.into_iter().map(|(channel, _)| channel);
                wiring.outbound.extend(ids.filter(|channel| here.contains(&channel.producer)));
                continue;
            }
            let (senders, receiver) = local_channels(channels.len(), channel_bytes);
            let gate = channels.iter().map(|(_, gate)| *gate).collect();
            wiring.channels.receivers.insert(consumer, (receiver, gate));
            for ((channel, _), sender) in channels.into_iter().zip(senders) {
                if here.contains(&channel.producer) {
                    wiring.channels.senders.insert(channel, ChannelSender::Local(sender));
                } else {
                    wiring.inbound.insert(channel, sender);
                }
            }
        }
        wiring
    }
}

impl Channels {
    /// The sending end of a channel to a subtask elsewhere.
    pub fn connect(&mut self, channel: ChannelId, sender: ChannelSender) {
        self.senders.insert(channel, sender);
    }

    fn gate(&mut self, id: SubtaskId) -> InputGate {
        let (receiver, channels) =
            self.receivers.remove(&id).expect("every subtask behind a gate has a receiver, taken once");
        InputGate::new(receiver, &channels)
    }

    fn outputs(&mut self, graph: &ExecutionGraph, id: SubtaskId) -> Vec<ResultPartition> {
        let outputs = graph.tasks[id.task].outputs.iter();
        outputs
            .map(|output| {
                let edge = &graph.job.edges[output.edge];
                let parallelism = graph.tasks[output.to_task].parallelism;
                let to = |index| SubtaskId { task: output.to_task, index };
                let channels = (0..parallelism)
                    .map(|index| {
                        self.senders.remove(&ChannelId { edge: output.edge, producer: id, consumer: to(index) })
                    })
                    .collect();
                let partitioner =
                    RowPartitioner::new(&edge.partitioner, id.index, parallelism, graph.job.max_parallelism);
                ResultPartition::new(partitioner, edge.columns.clone(), channels)
            })
            .collect()
    }
}

/// The channels into a subtask's gate, in the order of the edges into its task, with what the gate must know of each.
fn channels_into(graph: &ExecutionGraph, consumer: SubtaskId) -> Vec<(ChannelId, GateChannel)> {
    let groups = graph.groups_of_inputs(consumer.task);
    let edges = graph.tasks[consumer.task].inputs.iter().copied();
    edges
        .zip(groups)
        .flat_map(|(edge, group)| {
            let task = graph.task_producing(edge);
            let from_source = graph.node(task, 0).role == NodeRole::Source;
            let gate = GateChannel { input: graph.job.edges[edge].input, time: ChannelTime { group, from_source } };
            let indices = match graph.job.edges[edge].partitioner {
                Partitioner::Forward => consumer.index..consumer.index + 1,
                Partitioner::Hash { .. } => 0..graph.tasks[task].parallelism,
            };
            let channel = move |index| ChannelId { edge, producer: SubtaskId { task, index }, consumer };
            indices.map(move |index| (channel(index), gate))
        })
        .collect()
}
