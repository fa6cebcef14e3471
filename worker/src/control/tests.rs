//! A worker whose coordinator is the test: what it does when nobody answers, and after it has registered anew.

use super::*;
use crate::{Leave, turns::GRACE};
use tokio::runtime::Handle;
use weir_engine::{
    checkpoint::CheckpointStore,
    graph::{CheckpointSettings, JobGraph, Node, NodeRole},
    ids::{CheckpointId, Lineage},
    operator::{
        CommitOutcome, Committable, Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source,
        SweepScope,
    },
    task::Observers,
};
use weir_proto::net::TcpNetwork;

/// Long enough that it passes only where something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds nothing: an attempt that it is asked for fails, and stays until it is canceled.
pub(crate) struct Refuses;

/// Has a bug.
struct Panics;

/// Has sinks that never get done.
struct Sticks;

/// A committer that never gets done.
struct Stuck;

impl Committer for Stuck {
    fn commit<'a>(&'a self, _: CheckpointId, _: &'a [Committable]) -> BoxFuture<'a, Result<CommitOutcome>> {
        Box::pin(std::future::pending())
    }

    fn sweep<'a>(&'a self, _: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        Box::pin(std::future::pending())
    }

    fn reset(&self, _: Lineage) -> BoxFuture<'_, Result<u64>> {
        Box::pin(std::future::pending())
    }
}

impl Factory for Sticks {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        Refuses.source(node, context)
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        Refuses.operator(node, context)
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        Refuses.sink(node, context)
    }

    fn committer(&self, _: &Node, _: CommitterContext) -> Result<Arc<dyn Committer>> {
        Ok(Arc::new(Stuck))
    }
}

impl Factory for Panics {
    fn source(&self, _: &Node, _: OperatorContext) -> Result<Box<dyn Source>> {
        panic!("a bug in a source")
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        Refuses.operator(node, context)
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        Refuses.sink(node, context)
    }

    fn committer(&self, _: &Node, _: CommitterContext) -> Result<Arc<dyn Committer>> {
        panic!("a bug in a committer")
    }
}

impl Factory for Refuses {
    fn source(&self, _: &Node, _: OperatorContext) -> Result<Box<dyn Source>> {
        Err(EngineError::definition("no source"))
    }

    fn operator(&self, _: &Node, _: OperatorContext) -> Result<Box<dyn Operator>> {
        Err(EngineError::definition("no operator"))
    }

    fn sink(&self, _: &Node, _: OperatorContext) -> Result<Box<dyn Sink>> {
        Err(EngineError::definition("no sink"))
    }

    fn committer(&self, _: &Node, _: CommitterContext) -> Result<Arc<dyn Committer>> {
        Err(EngineError::definition("no committer"))
    }
}

fn settings() -> WorkerSettings {
    WorkerSettings {
        worker: "w1".into(),
        coordinators: ["nowhere:1".into()].into_iter().collect(),
        slots: 1,
        listen: "127.0.0.1:0".into(),
        advertise: None,
        secret: Default::default(),
        leaderless_timeout: Duration::ZERO,
        reconnect_after: Duration::from_millis(10),
        channel_bytes: 1000,
        compression: crate::network::Compression::None,
    }
}

pub(crate) fn components(factory: impl Factory + 'static) -> WorkerComponents {
    WorkerComponents {
        factory: Arc::new(factory),
        open_store: Arc::new(|_, job| CheckpointStore::open("memory:///", job)),
        network: Arc::new(TcpNetwork),
        env: Env::default(),
        observers: Observers::default(),
        data_runtime: Handle::current(),
        leave: Leave::default(),
    }
}

/// The coordinator's side of a link.
struct Coordinator {
    orders: mpsc::UnboundedSender<Result<pb::CoordinatorMessage>>,
    heard: mpsc::UnboundedReceiver<pb::WorkerMessage>,
}

impl Coordinator {
    fn say(&self, kind: coordinator_message::Kind) {
        self.orders.send(Ok(pb::CoordinatorMessage { kind: Some(kind) })).expect("the worker listens");
    }

    async fn hear(&mut self) -> Kind {
        loop {
            let said =
                tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("the worker should say something");
            match said.expect("the worker runs").kind.expect("a message says something") {
                Kind::Heartbeat(_) => {}
                kind => return kind,
            }
        }
    }

    async fn deploy(&mut self, attempt: u64) -> Option<String> {
        self.say(deploy(attempt));
        match self.hear().await {
            Kind::Deployed(deployed) => deployed.failure.map(|failure| failure.message),
            other => panic!("{other:?} instead of an answer"),
        }
    }
}

fn link() -> (Coordinator, ControlLink) {
    let (outbound, heard) = mpsc::unbounded_channel();
    let (orders, inbound) = mpsc::unbounded_channel();
    let coordinator = Coordinator { orders, heard };
    coordinator.say(coordinator_message::Kind::Registered(pb::Registered {
        heartbeat_interval_ms: 100,
        lease_ms: 500,
        heartbeat_timeout_ms: 750,
    }));
    (coordinator, ControlLink { outbound, inbound: UnboundedReceiverStream::new(inbound).boxed() })
}

/// Starts a worker that dials these links, one after the other (`None`: one that never answers), and then only such.
async fn start(
    factory: impl Factory + 'static,
    links: Vec<Option<ControlLink>>,
) -> tokio::task::JoinHandle<Result<()>> {
    let (settings, components) = (settings(), components(factory));
    let data_plane = start_data_plane(&settings, &components).await.unwrap();
    start_on(data_plane, settings, components, links)
}

fn start_on(
    data_plane: Arc<DataPlane>,
    settings: WorkerSettings,
    components: WorkerComponents,
    links: Vec<Option<ControlLink>>,
) -> tokio::task::JoinHandle<Result<()>> {
    let links = parking_lot::Mutex::new(links.into_iter());
    let dial: OpenLink = Box::new(move |_| match links.lock().next().flatten() {
        Some(link) => Box::pin(std::future::ready(Ok(link))),
        None => Box::pin(std::future::pending()),
    });
    tokio::spawn(run_with(settings, components, data_plane, dial))
}

fn graph(role: NodeRole) -> bytes::Bytes {
    let config = serde_json::Value::Null;
    let node = Node { id: "clicks".into(), kind: "any".into(), role, parallelism: 1, config };
    let graph = JobGraph {
        name: "ad-click".into(),
        identity: None,
        nodes: vec![node],
        edges: vec![],
        max_parallelism: 1,
        checkpoint: CheckpointSettings::default(),
    };
    wire::to_json(&graph).unwrap()
}

fn deploy(attempt: u64) -> coordinator_message::Kind {
    let subtasks = vec![pb::SubtaskId { task: 0, index: 0 }];
    coordinator_message::Kind::Deploy(pb::Deploy {
        attempt: Some(pb::AttemptId { job: "ad-click".into(), attempt }),
        graph: graph(NodeRole::Source),
        placements: vec![pb::Placement { worker: "w1".into(), subtasks, ..Default::default() }],
        ..Default::default()
    })
}

#[tokio::test(start_paused = true)]
async fn attempts_end_with_the_lease_while_a_coordinator_is_dialled() {
    let (mut coordinator, link) = link();
    let worker = start(Refuses, vec![Some(link)]).await;
    assert!(coordinator.deploy(1).await.is_some());
    let (unheard, _) = mpsc::unbounded_channel();
    coordinator.orders = unheard;
    assert!(matches!(coordinator.hear().await, Kind::Canceled(id) if id.attempt == 1));
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn what_was_deployed_before_a_registration_does_not_make_an_attempt_stale() {
    let ((mut first, first_link), (mut second, second_link)) = (link(), link());
    let worker = start(Refuses, vec![Some(first_link), Some(second_link)]).await;
    assert!(first.deploy(7).await.unwrap().contains("no source"));
    assert!(first.deploy(6).await.unwrap().contains("attempt 7"), "a stale order is answered");
    drop(first.orders);
    // Attempts are counted from 1 again where a coordinator's data was removed.
    assert!(second.deploy(1).await.unwrap().contains("no source"));
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_attempts_stay_for_the_leaderless_time_out() {
    // Each silent call takes five seconds.
    for (silent_calls, ends) in [(4, 20..25), (40, 60..62)] {
        let ((mut first, first_link), (second, second_link)) = (link(), link());
        let silent = std::iter::repeat_with(|| None).take(silent_calls);
        let links = [Some(first_link)].into_iter().chain(silent).chain([Some(second_link)]).collect();
        let settings = WorkerSettings { leaderless_timeout: Duration::from_secs(60), ..settings() };
        let components = components(Refuses);
        let data_plane = start_data_plane(&settings, &components).await.unwrap();
        let worker = start_on(data_plane, settings, components, links);
        assert!(first.deploy(7).await.is_some());
        let (began, Coordinator { orders, mut heard }) = (Env::default().now(), first);
        drop(orders);
        second.say(coordinator_message::Kind::Cancel(pb::AttemptId { job: "ad-click".into(), attempt: 7 }));
        while !matches!(heard.recv().await.and_then(|said| said.kind), Some(Kind::Canceled(id)) if id.attempt == 7) {}
        let lasted = (Env::default().now() - began).as_secs();
        assert!(ends.contains(&lasted), "it ended after {lasted} s");
        worker.abort();
    }
}

/// Else a coordinator that takes jobs over would wait for those who might still come with it.
#[tokio::test(start_paused = true)]
async fn what_ended_with_the_lease_is_told_of() {
    let ((mut first, first_link), (mut second, second_link)) = (link(), link());
    let worker = start(Refuses, vec![Some(first_link), None, Some(second_link)]).await;
    assert!(first.deploy(7).await.is_some());
    drop(first.orders);
    let describe = |attempt| coordinator_message::Kind::Describe(pb::AttemptId { job: "ad-click".into(), attempt });
    second.say(describe(7));
    assert!(matches!(second.hear().await, Kind::Canceled(id) if id.attempt == 7));
    second.say(describe(6));
    assert!(matches!(second.hear().await, Kind::Hosted(hosted) if hosted.subtasks.is_empty()));
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_takes_the_call_and_says_nothing_is_given_up() {
    let (mut coordinator, link) = link();
    let worker = start(Refuses, vec![None, Some(link)]).await;
    assert!(coordinator.deploy(1).await.unwrap().contains("no source"));
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn a_panic_outside_of_a_subtask_is_reported() {
    let (mut coordinator, link) = link();
    let worker = start(Panics, vec![Some(link)]).await;
    assert!(coordinator.deploy(1).await.unwrap().contains("panicked: a bug in a source"));
    let reset = pb::Reset { request: 5, graph: graph(NodeRole::Sink), ..Default::default() };
    coordinator.say(coordinator_message::Kind::Reset(reset));
    let Kind::Done(done) = coordinator.hear().await else { panic!("it should say how it went") };
    assert!(done.failure.unwrap().message.contains("panicked: a bug in a committer"));
    worker.abort();
}

/// The transport keeps the other end of a link open for as long as a request holds this one.
#[tokio::test(start_paused = true)]
async fn what_was_asked_over_a_link_that_is_gone_is_ended_soon_although_somebody_listens() {
    let (Coordinator { orders, mut heard }, link) = link();
    let worker = start(Sticks, vec![Some(link)]).await;
    let reset = pb::Reset { request: 5, graph: graph(NodeRole::Sink), ..Default::default() };
    orders.send(Ok(pb::CoordinatorMessage { kind: Some(coordinator_message::Kind::Reset(reset)) })).unwrap();
    let began = Env::default().now();
    drop(orders);
    let hear_done = async {
        loop {
            if let Some(Kind::Done(done)) = heard.recv().await.expect("the request holds the link").kind {
                return done;
            }
        }
    };
    let done = tokio::time::timeout(PATIENCE, hear_done).await.expect("it should be ended");
    assert!(done.request == 5 && done.failure.is_some(), "{done:?}");
    let lasted = Env::default().now() - began;
    assert!(lasted >= GRACE && lasted < GRACE * 2, "{lasted:?}");
    worker.abort();
}

#[tokio::test(start_paused = true)]
async fn other_workers_are_waited_for_as_long_as_the_coordinator_waits_and_a_little_longer() {
    let (mut coordinator, link) = link();
    let (settings, components) = (settings(), components(Refuses));
    let data_plane = start_data_plane(&settings, &components).await.unwrap();
    let worker = start_on(data_plane.clone(), settings, components, vec![Some(link)]);
    assert!(coordinator.deploy(1).await.is_some());
    assert_eq!(data_plane.keepalive(), (Duration::from_millis(100), Duration::from_millis(950)));
    worker.abort();
}

/// Starts a worker that dials these links, and what asks it to leave.
async fn leaving(links: Vec<Option<ControlLink>>) -> (Leave, tokio::task::JoinHandle<Result<()>>) {
    let components = components(Refuses);
    let (settings, leave) = (settings(), components.leave.clone());
    let settings = WorkerSettings { leaderless_timeout: Duration::from_secs(600), ..settings };
    let data_plane = start_data_plane(&settings, &components).await.unwrap();
    (leave, start_on(data_plane, settings, components, links))
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_to_leave_says_so_and_ends_when_it_is_released() {
    let (mut coordinator, link) = link();
    let (leave, worker) = leaving(vec![Some(link)]).await;
    assert!(coordinator.deploy(1).await.is_some());
    leave.ask();
    loop {
        match coordinator.heard.recv().await.unwrap().kind.unwrap() {
            Kind::Heartbeat(heartbeat) if heartbeat.leaving => break,
            Kind::Heartbeat(_) => {}
            other => panic!("{other:?} instead of a heartbeat"),
        }
    }
    assert!(!worker.is_finished(), "what runs here goes on");
    coordinator.say(coordinator_message::Kind::Cancel(pb::AttemptId { job: "ad-click".into(), attempt: 1 }));
    assert!(matches!(coordinator.hear().await, Kind::Canceled(_)));
    coordinator.say(coordinator_message::Kind::Released(pb::Nothing {}));
    worker.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_coordinator_one_that_runs_nothing_leaves_at_once_and_another_one_soon() {
    let began = Env::default().now();
    let (leave, worker) = leaving(vec![]).await;
    leave.ask();
    worker.await.unwrap().unwrap();
    assert!(Env::default().now() - began <= CALL_TIMEOUT + Duration::from_secs(1), "after the call that was under way");

    let (mut coordinator, link) = link();
    let (leave, worker) = leaving(vec![Some(link)]).await;
    assert!(coordinator.deploy(1).await.is_some());
    drop(coordinator);
    let began = Env::default().now();
    leave.ask();
    let error = worker.await.unwrap().unwrap_err();
    assert!(error.message.contains("without handing over"), "{error}");
    let lasted = Env::default().now() - began;
    assert!(
        lasted >= NOBODY_TO_HAND_OVER_TO - Duration::from_secs(1) && lasted < NOBODY_TO_HAND_OVER_TO * 2,
        "{lasted:?}"
    );
}
