//! Runs a job of several inputs on two made-up workers. What goes from one to the other goes through a [`Link`], which may be
//! wrong.

use crate::parts::{Join, Joined, Numbers, Relay, values};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{runtime::Handle, sync::mpsc};
use weir_engine::{
    Result,
    channel::{ChannelSender, LocalSender, RemoteSender},
    checkpoint::{CheckpointStore, Manifest},
    element::{Barrier, Batch, StreamElement, WATERMARK_MAX},
    env::Env,
    error::EngineError,
    graph::{ExecutionGraph, JobGraph, Node},
    ids::{Attempt, ChannelId, CheckpointId, Lineage, SubtaskId},
    operator::*,
    task::{
        Observer, RunOutcome, StopSignal, TaskServices,
        attempt::{self, AttemptSettings, ControlPlane},
        deployment::{self, Wiring},
        recovery::{self, Committers},
    },
};

/// How what goes from one worker to the other is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// As it should.
    Right,
    /// As a gate would see it that reads on from its second input behind a barrier.
    BarriersOfTheSecondInputLag,
}

/// A job, and what outlasts its attempts.
#[derive(Clone)]
pub struct Rig {
    pub store: CheckpointStore,
    pub target: Target,
    pub links: Links,
}

impl Rig {
    pub fn new() -> Self {
        let store = CheckpointStore::open("memory:///", "job").unwrap();
        Rig { store, target: Target::default(), links: Links::Right }
    }

    /// One attempt, from the newest checkpoint.
    pub async fn run(&self, job: JobGraph, env: Env, stop: &StopSignal) -> Result<RunOutcome> {
        let graph = Arc::new(ExecutionGraph::new(job)?);
        let claim = self.store.claim(&env, Attempt(0), false).await?;
        let (attempt, store) = (claim.attempt, self.store.clone().in_lineage(claim.lineage));
        let factory = Parts(self.target.clone());
        let committers = recovery::committers(&graph.job, &factory, &store, &env, &Waits::default())?;
        let record = Record { store: store.clone(), env: env.clone(), committers: Arc::new(committers), attempt };
        let control: Arc<dyn ControlPlane> = Arc::new(record);
        let newest = recovery::recover(&store, &env, control.as_ref(), &graph.job, "definition", attempt, true).await?;
        if let Some(manifest) = newest.clone().filter(|manifest| manifest.last) {
            return Ok(RunOutcome { manifest, was_finished: true });
        }
        let observer = Arc::new(Observer::default());
        observer.begins(attempt, newest.as_ref());
        let (reports, from_subtasks) = mpsc::unbounded_channel();
        let (env_of_tasks, observer_of_tasks) = (env.clone(), observer.clone());
        let services = TaskServices {
            env: env_of_tasks,
            store: store.clone(),
            attempt,
            observer: observer_of_tasks,
            suspect: None,
            reports,
        };
        let mut running = Vec::new();
        for (here, wiring) in self.wired(&graph) {
            let restored = newest.as_ref();
            let deployed = deployment::deploy(&graph, &factory, &services, restored, wiring.channels, &here).await?;
            running.push(deployed.start(&Handle::current()));
        }
        // Only the subtasks may report: when they are gone, so is the attempt.
        drop(services);
        let sources: Vec<_> = running.iter().map(|running| running.sources()).collect();
        let settings = AttemptSettings {
            graph,
            definition: "definition".into(),
            store,
            env,
            attempt,
            observer,
            restored: newest,
            control,
            sources: Box::new(move |command| sources.iter().for_each(|sources| sources.command(command))),
            checkpoint_timeout: Duration::from_secs(60),
            savepoints: Default::default(),
            takes_over: None,
        };
        attempt::drive(settings, from_subtasks, stop.clone()).await
    }

    /// The channels of two workers, linked: every other subtask of each task is on the second.
    fn wired(&self, graph: &ExecutionGraph) -> Vec<(BTreeSet<SubtaskId>, Wiring)> {
        let on = |worker: usize| graph.subtask_ids().filter(move |id| id.index % 2 == worker).collect::<BTreeSet<_>>();
        let mut workers: Vec<_> = [on(0), on(1)].map(|here| (here.clone(), Wiring::new(graph, &here, 2000))).into();
        let mut inbound: BTreeMap<ChannelId, LocalSender> = BTreeMap::new();
        workers.iter_mut().for_each(|(_, wiring)| inbound.append(&mut wiring.inbound));
        for (_, wiring) in &mut workers {
            for channel in std::mem::take(&mut wiring.outbound) {
                let to = inbound.remove(&channel).expect("what leaves one worker enters the other");
                let lags = self.links == Links::BarriersOfTheSecondInputLag && graph.job.edges[channel.edge].input == 1;
                let link = Link { to, lags, state: Mutex::default() };
                wiring.channels.connect(channel, ChannelSender::Remote(Box::new(link)));
            }
        }
        assert!(inbound.is_empty(), "each channel has an end on either worker");
        workers
    }

    /// Runs attempts until the job has ended.
    pub async fn run_to_end(&self, job: JobGraph) {
        let outcome = self.run(job, Env::default(), &StopSignal::default()).await.unwrap();
        assert!(outcome.manifest.last);
    }
}

/// A channel from one worker to the other.
struct Link {
    to: LocalSender,
    /// Whether a barrier is overtaken by what comes behind it.
    lags: bool,
    state: Mutex<Overtaken>,
}

/// What overtakes a barrier: so much at most, and nothing when no more will come.
const OVERTAKES: usize = 4;

#[derive(Default)]
struct Overtaken {
    /// The barrier, and what has overtaken it so far.
    barrier: Option<(StreamElement, usize)>,
    is_over: bool,
}

impl Overtaken {
    /// What is to be sent now.
    fn on(&mut self, element: StreamElement) -> Vec<StreamElement> {
        self.is_over |= matches!(element, StreamElement::Watermark(WATERMARK_MAX) | StreamElement::Idle);
        match &element {
            StreamElement::Barrier(barrier) if !barrier.last && !self.is_over && self.barrier.is_none() => {
                self.barrier = Some((element, 0));
                return Vec::new();
            }
            StreamElement::Barrier(_) => {
                return self.barrier.take().map(|(barrier, _)| barrier).into_iter().chain([element]).collect();
            }
            _ => {}
        }
        let is_enough = self.barrier.as_mut().is_some_and(|(_, overtaken)| {
            *overtaken += 1;
            *overtaken == OVERTAKES
        });
        let barrier = if is_enough || self.is_over { self.barrier.take() } else { None };
        [element].into_iter().chain(barrier.map(|(barrier, _)| barrier)).collect()
    }
}

impl RemoteSender for Link {
    fn send(&self, element: StreamElement) -> BoxFuture<'_, Result<()>> {
        async move {
            let now = if self.lags { self.state.lock().on(element) } else { vec![element] };
            for element in now {
                self.to.send(element).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

struct Parts(Target);

impl Factory for Parts {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Numbers::new(node, context)))
    }

    fn operator(&self, node: &Node, _: OperatorContext) -> Result<Box<dyn Operator>> {
        match node.kind.as_str() {
            "relay" => Ok(Box::new(Relay)),
            _ => Ok(Box::new(Join::default())),
        }
    }

    fn sink(&self, _: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(TargetSink { target: self.0.clone(), context, rows: Vec::new() }))
    }

    fn committer(&self, _: &Node, _: CommitterContext) -> Result<Arc<dyn Committer>> {
        Ok(Arc::new(self.0.clone()))
    }
}

/// Where the sink puts its rows, as something outside the process would keep them.
#[derive(Clone, Default)]
pub struct Target(Arc<Mutex<Shelves>>);

#[derive(Default)]
struct Shelves {
    staged: BTreeMap<String, Vec<Joined>>,
    visible: BTreeMap<String, Vec<Joined>>,
}

impl Target {
    /// Everything that is visible, in order.
    pub fn rows(&self) -> Vec<Joined> {
        let mut rows: Vec<Joined> = self.0.lock().visible.values().flatten().copied().collect();
        rows.sort_unstable();
        rows
    }
}

struct TargetSink {
    target: Target,
    context: OperatorContext,
    rows: Vec<Joined>,
}

impl Sink for TargetSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.rows.extend(values(&batch.columns).iter().map(|row| [row[0], row[1], row[2]]));
        async { Ok(()) }.boxed()
    }

    fn stage(&mut self, Barrier { checkpoint, .. }: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let (rows, target) = (std::mem::take(&mut self.rows), self.target.clone());
        let (sink, attempt, subtask) = (self.context.operator.clone(), self.context.attempt, self.context.subtask);
        async move {
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let staged = format!("{attempt}/{checkpoint}/{subtask}");
            assert!(target.0.lock().staged.insert(staged.clone(), rows).is_none());
            let payload = serde_json::json!({ "staged": staged, "visible": format!("{checkpoint}/{subtask}") });
            Ok(vec![Committable::new(sink, checkpoint, payload)])
        }
        .boxed()
    }
}

impl Committer for Target {
    fn commit<'a>(&'a self, _: CheckpointId, committables: &'a [Committable]) -> BoxFuture<'a, Result<CommitOutcome>> {
        async move {
            let mut shelves = self.0.lock();
            let mut outcome = CommitOutcome::AlreadyDone;
            for committable in committables {
                let name = |key: &str| committable.payload[key].as_str().unwrap().to_owned();
                match shelves.staged.remove(&name("staged")) {
                    Some(rows) => {
                        assert!(shelves.visible.insert(name("visible"), rows).is_none(), "the name was taken");
                        outcome = CommitOutcome::Done;
                    }
                    None if shelves.visible.contains_key(&name("visible")) => {}
                    None => return Err(EngineError::io(format!("{} is lost", name("staged")))),
                }
            }
            Ok(outcome)
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        async move {
            let kept = |staged: &str| scope.keep.iter().any(|keep| keep.payload["staged"] == staged);
            let current = format!("{}/", scope.attempt);
            self.0.lock().staged.retain(|staged, _| kept(staged) || staged.starts_with(&current));
            Ok(0)
        }
        .boxed()
    }

    fn reset(&self, _: Lineage) -> BoxFuture<'_, Result<u64>> {
        async { Ok(0) }.boxed()
    }
}

/// The record of the job, and who commits: this process.
struct Record {
    store: CheckpointStore,
    env: Env,
    committers: Arc<Committers>,
    attempt: Attempt,
}

impl ControlPlane for Record {
    fn completed<'a>(&'a self, _: &'a Manifest) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn commit(
        &self,
        checkpoints: Vec<CheckpointId>,
        attempt: Attempt,
        committables: Vec<Committable>,
    ) -> BoxFuture<'static, Result<()>> {
        let (store, env, committers) = (self.store.clone(), self.env.clone(), self.committers.clone());
        let is_inherited = attempt != self.attempt;
        async move {
            recovery::commit(&store, &env, &committers, &checkpoints, attempt, &committables, is_inherited)
                .await
                .map(drop)
        }
        .boxed()
    }

    fn sweep(&self, scope: SweepScope) -> BoxFuture<'static, Result<()>> {
        let committers = self.committers.clone();
        async move { recovery::sweep(&committers, &scope).await.map(|_| ()) }.boxed()
    }

    fn shown(&self) -> BoxFuture<'static, Result<BTreeMap<String, ShownResults>>> {
        std::future::ready(Ok(BTreeMap::new())).boxed()
    }
}
