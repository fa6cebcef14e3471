//! Building every subtask of a graph in one process: its operators, its channels, its state.

use super::{
    chain::{Chain, Link, LinkBody},
    checkpointing::TaskServices,
    restore::Restorer,
    subtask::{Body, Head, SourceCommand, Subtask},
};
use crate::{
    channel::{ChannelReceiver, ChannelSender, InputGate, ResultPartition, RowPartitioner, local_channels},
    checkpoint::Manifest,
    error::Result,
    graph::{ExecutionGraph, NodeRole, Partitioner},
    ids::SubtaskId,
    key_group::range_of,
    operator::{Counters, Factory, OperatorContext, Source},
};
use std::collections::HashMap;
use tokio::{sync::mpsc, task::JoinSet};

/// Every subtask of a job, ready to run, and the ends to command its sources by.
pub(crate) struct Deployment {
    pub(crate) subtasks: Vec<Subtask>,
    pub(crate) sources: HashMap<SubtaskId, mpsc::UnboundedSender<SourceCommand>>,
}

/// Builds and restores all subtasks.
pub(crate) async fn deploy(
    graph: &ExecutionGraph,
    factory: &dyn Factory,
    services: &TaskServices,
    manifest: Option<&Manifest>,
    channel_bytes: usize,
) -> Result<Deployment> {
    let mut channels = Channels::new(graph, channel_bytes);
    let mut restorer = manifest.map(|manifest| Restorer::new(&services.store, &services.env, manifest));
    let mut deployment = Deployment { subtasks: Vec::new(), sources: HashMap::new() };
    for (task, definition) in graph.tasks.iter().enumerate() {
        for index in 0..definition.parallelism {
            let id = SubtaskId { task, index };
            let (mut chain, source) = build_chain(graph, factory, services, id)?;
            if let Some(restorer) = &mut restorer {
                for link in &mut chain.links {
                    restorer.restore(link).await?;
                }
            }
            let head = match source {
                None => Head::Gate(InputGate::new(channels.receiver(id))),
                Some(mut source) => {
                    let node = &graph.node(task, 0).id;
                    let splits = restorer.as_ref().map(|restorer| restorer.splits(node)).unwrap_or_default();
                    source.restore(splits).await.map_err(|error| error.context(node))?;
                    let (sender, commands) = mpsc::unbounded_channel();
                    deployment.sources.insert(id, sender);
                    Head::Source { source, commands }
                }
            };
            let outputs = channels.outputs(graph, id);
            let (uploads, deliveries) = (JoinSet::new(), Vec::new());
            let body = Body { id, chain, outputs, services: services.clone(), uploads, deliveries };
            deployment.subtasks.push(Subtask { id, head, body });
        }
    }
    Ok(deployment)
}

fn build_chain(
    graph: &ExecutionGraph,
    factory: &dyn Factory,
    services: &TaskServices,
    id: SubtaskId,
) -> Result<(Chain, Option<Box<dyn Source>>)> {
    let task = &graph.tasks[id.task];
    let key_groups = range_of(id.index, graph.job.max_parallelism, task.parallelism);
    let mut source = None;
    let mut links = Vec::with_capacity(task.chain.len());
    for (position, link) in task.chain.iter().enumerate() {
        let node = graph.node(id.task, position);
        let counters = Counters::default();
        let context = OperatorContext {
            job: graph.job.name.clone(),
            operator: node.id.clone(),
            subtask: id.index,
            parallelism: task.parallelism,
            max_parallelism: graph.job.max_parallelism,
            key_groups,
            attempt: services.attempt,
            env: services.env.clone(),
            counters: counters.clone(),
        };
        let body = match node.role {
            NodeRole::Source => {
                source = Some(factory.source(node, context).map_err(|error| error.context(&node.id))?);
                LinkBody::Source
            }
            NodeRole::Operator => {
                LinkBody::Operator(factory.operator(node, context).map_err(|error| error.context(&node.id))?)
            }
            NodeRole::Sink => LinkBody::Sink(factory.sink(node, context).map_err(|error| error.context(&node.id))?),
        };
        services.observer.add_node(&node.id, counters.clone());
        links.push(Link::new(node.id.clone(), body, link.targets.clone(), id.index, key_groups, counters));
    }
    Ok((Chain { links }, source))
}

/// All channels of a graph, waiting to be taken by their two ends.
struct Channels {
    receivers: HashMap<SubtaskId, ChannelReceiver>,
    /// By edge, producing subtask and consuming subtask.
    senders: HashMap<(usize, usize, usize), ChannelSender>,
}

impl Channels {
    fn new(graph: &ExecutionGraph, channel_bytes: usize) -> Self {
        let mut channels = Channels { receivers: HashMap::new(), senders: HashMap::new() };
        for (task, definition) in graph.tasks.iter().enumerate().filter(|(_, task)| !task.inputs.is_empty()) {
            for index in 0..definition.parallelism {
                let producers: Vec<(usize, usize)> =
                    definition.inputs.iter().flat_map(|edge| producers(graph, *edge, index)).collect();
                let (senders, receiver) = local_channels(producers.len(), channel_bytes);
                channels.receivers.insert(SubtaskId { task, index }, receiver);
                for ((edge, producer), sender) in producers.into_iter().zip(senders) {
                    channels.senders.insert((edge, producer, index), sender);
                }
            }
        }
        channels
    }

    fn receiver(&mut self, id: SubtaskId) -> ChannelReceiver {
        self.receivers.remove(&id).expect("every subtask behind a gate has a receiver, taken once")
    }

    fn outputs(&mut self, graph: &ExecutionGraph, id: SubtaskId) -> Vec<ResultPartition> {
        let outputs = graph.tasks[id.task].outputs.iter();
        outputs
            .map(|output| {
                let edge = &graph.job.edges[output.edge];
                let parallelism = graph.tasks[output.to_task].parallelism;
                let channels =
                    (0..parallelism).map(|consumer| self.senders.remove(&(output.edge, id.index, consumer))).collect();
                let partitioner =
                    RowPartitioner::new(&edge.partitioner, id.index, parallelism, graph.job.max_parallelism);
                ResultPartition::new(partitioner, edge.columns.clone(), channels)
            })
            .collect()
    }
}

/// The producing subtasks with a channel over `edge` to the consumer's subtask `index`.
fn producers(graph: &ExecutionGraph, edge: usize, index: usize) -> Vec<(usize, usize)> {
    let parallelism = graph.tasks[graph.task_producing(edge)].parallelism;
    match graph.job.edges[edge].partitioner {
        Partitioner::Forward => vec![(edge, index)],
        _ => (0..parallelism).map(|producer| (edge, producer)).collect(),
    }
}
