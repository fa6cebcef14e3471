//! What runs on the simulated hosts: the same coordinator and worker as everywhere, and a user with a gRPC client.

use super::{
    database,
    link::Link,
    network::SimulatedNetwork,
    plan::{Ending, Plan, PointVisit, Role, coordinator, worker},
    power::{Power, Process},
    replays::{REPLAYERS, Replays, replayer},
    trace::Trace,
    wrong::WrongPart,
};
use crate::job::JOB;
use anyhow::{Context, Result, bail};
use object_store::ObjectStore;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::runtime::Handle;
use tonic::{service::interceptor::InterceptedService, transport::Channel};
use weir_coordinator::{
    Coordinator, CoordinatorComponents, CoordinatorSettings, RestartPolicy,
    metadata::{Leadership, MemoryDisk, Metadata, MetadataSettings},
    status::JobStatus,
};
use weir_engine::{
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    graph::JobGraph,
    operator::Factory,
    task::Observers,
    wire,
};
use weir_proto::{
    net::SharedNetwork,
    secret::{ClusterSecret, ShowSecret},
    transport,
    v1::{self as pb, client_client::ClientClient},
};
use weir_worker::{Leave, WorkerComponents, WorkerSettings, network::Compression};

const CONTROL_PORT: u16 = 7070;
const DATA_PORT: u16 = 7100;
const SECRET: &str = "the cluster's";
/// How long a user waits for an answer, and between two looks.
const USER_PATIENCE: Duration = Duration::from_secs(2);
const USER_PAUSE: Duration = Duration::from_millis(100);

/// What the hosts of a simulation share, and what outlives their processes. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// Settings of everything.
    pub plan: Arc<Plan>,
    /// Which processes run.
    pub power: Power,
    /// What happens.
    pub trace: Trace,
    /// Storage, as processes reach it.
    pub storage: Arc<dyn ObjectStore>,
    /// The database, as processes reach it.
    pub database: Link,
    /// Builds operators.
    pub factory: Arc<dyn Factory>,
    /// The disk of each coordinator.
    pub disks: Vec<MemoryDisk>,
    /// Those who count again, if somebody does.
    pub replays: Option<Replays>,
    /// What is built wrong, if anything.
    pub wrong: Option<WrongPart>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Of each coordinator's newest process.
    metadata: BTreeMap<usize, Weak<Metadata>>,
    /// The highest term in which one of them led.
    term: u64,
    crash_points: BTreeMap<String, VecDeque<PointVisit>>,
    freeze_points: BTreeMap<String, VecDeque<(PointVisit, Duration)>>,
    /// Processes that have frozen at a point, and for how long they are to stand.
    stand: Vec<(String, Duration)>,
    /// Whether all input is there and read, so that a job that follows it may be drained.
    all_is_read: bool,
    passed: BTreeMap<Role, BTreeSet<String>>,
    /// What asks each worker's newest process to leave.
    leave: BTreeMap<String, Leave>,
}

impl World {
    /// A world before anything has started.
    pub fn new(
        plan: Plan,
        power: Power,
        trace: Trace,
        storage: Arc<dyn ObjectStore>,
        database: Link,
        factory: Arc<dyn Factory>,
        wrong: Option<WrongPart>,
    ) -> Self {
        let shared = Shared {
            crash_points: queues(&plan.crash_points),
            freeze_points: queues(&plan.freeze_points),
            ..Shared::default()
        };
        let shared = Arc::new(Mutex::new(shared));
        let disks = (0..plan.coordinators).map(|_| MemoryDisk::new()).collect();
        World { plan: Arc::new(plan), power, trace, storage, database, factory, disks, replays: None, wrong, shared }
    }

    /// Which processes have frozen at a point since this was asked last, and for how long they are to stand.
    pub fn take_standing(&self) -> Vec<(String, Duration)> {
        std::mem::take(&mut self.shared().stand)
    }

    /// The metadata of the coordinator that leads; of the only one, whether it leads yet or not. One that does not know yet that
    /// another one has led since is none.
    pub fn metadata(&self) -> Option<Arc<Metadata>> {
        self.leading().map(|(_, metadata)| metadata)
    }

    /// The host of the coordinator that leads.
    pub fn leader(&self) -> Option<String> {
        self.leading().map(|(number, _)| coordinator(number))
    }

    fn leading(&self) -> Option<(usize, Arc<Metadata>)> {
        let mut shared = self.shared();
        let mut there = shared.metadata.iter().filter_map(|(number, metadata)| Some((*number, metadata.upgrade()?)));
        if self.plan.coordinators == 1 {
            return there.next();
        }
        let terms = there.filter_map(|(number, metadata)| match *metadata.leadership().borrow() {
            Leadership::Leader { term } => Some((term, number, metadata.clone())),
            _ => None,
        });
        let (term, number, metadata) = terms.max_by_key(|(term, ..)| *term)?;
        shared.term = shared.term.max(term);
        (term == shared.term).then_some((number, metadata))
    }

    /// The disk of a coordinator's host.
    pub fn disk(&self, host: &str) -> Option<&MemoryDisk> {
        (1..).zip(&self.disks).find(|(number, _)| coordinator(*number) == host).map(|(_, disk)| disk)
    }

    /// The crash points that processes of each kind have passed.
    pub fn passed(&self) -> BTreeMap<Role, BTreeSet<String>> {
        self.shared().passed.clone()
    }

    /// Asks the process of a worker's host to leave.
    pub fn ask_to_leave(&self, host: &str) {
        if let Some(leave) = self.shared().leave.get(host) {
            leave.ask();
        }
    }

    /// Whether the newest process of a host was asked to.
    pub fn is_to_leave(&self, host: &str) -> bool {
        self.shared().leave.get(host).is_some_and(Leave::is_asked)
    }

    /// All input is there and read.
    pub fn set_all_read(&self) {
        self.shared().all_is_read = true;
    }

    fn may_be_drained(&self) -> bool {
        self.plan.logs.is_none() || self.shared().all_is_read
    }

    /// The name of every host with a process that may end.
    pub fn hosts(&self) -> Vec<String> {
        let coordinators = (1..=self.plan.coordinators).map(coordinator);
        let workers = (1..=self.plan.slots.len()).map(worker);
        coordinators.chain(workers).chain(self.replayers()).collect()
    }

    /// Those of users who count again.
    pub fn replayers(&self) -> impl Iterator<Item = String> + use<> {
        let most = if self.plan.replays.is_empty() { 0 } else { REPLAYERS };
        (1..=most).map(replayer)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    /// Begins a process on a host, with the crash that is planned for it.
    pub(super) fn boot(&self, host: &str) -> Started {
        let disk = self.disk(host).cloned();
        let process = self.power.boot(host, &self.trace, move || {
            if let Some(disk) = &disk {
                disk.crash();
            }
        });
        let ends = self.shared().crash_points.get_mut(host).and_then(VecDeque::pop_front);
        let plan = match ends {
            None => self.freeze_plan(&process),
            Some((point, visit)) => {
                let (ending, cause) = (process.clone(), format!("crash point {point}, visit {visit}"));
                CrashPlan::end_at(point, visit, move || ending.end(&cause))
            }
        };
        let wrong = self.plan.wrong_clocks.get(host).copied().unwrap_or(0);
        // No two processes have the same dice.
        let dice = Env::seeded(self.plan.seed).rng(&format!("{host}, process {}", process.number()));
        let env = Env::simulated(seed_of(dice), self.trace.wall_clock(wrong));
        let env = env.with_crash_plan(plan.clone()).with_door(database::door(&self.database, process.clone()));
        let network = SimulatedNetwork::new(process.clone());
        Started { process, network, env, plan }
    }

    /// A process freezes right behind the point: whatever it does next stands still.
    fn freeze_plan(&self, process: &Process) -> Arc<CrashPlan> {
        let stands = self.shared().freeze_points.get_mut(process.host()).and_then(VecDeque::pop_front);
        let Some(((point, visit), lasts)) = stands else { return CrashPlan::observe() };
        let (freezing, shared) = (process.clone(), self.shared.clone());
        let cause = format!("point {point}, visit {visit}, for {lasts:?}");
        CrashPlan::stand_at(point, visit, move || {
            freezing.freeze(&cause);
            let mut shared = shared.lock();
            shared.stand.push((freezing.host().into(), lasts));
        })
    }

    /// Runs a process's software until it ends or is ended. Then its connections are closed, and it stays as it is until
    /// somebody clears it away.
    pub(super) async fn live(&self, started: Started, software: impl Future<Output = Result<()>>) {
        let Started { process, network, plan, .. } = started;
        let passed = PassedPoints { world: self, role: Role::of(process.host()), plan };
        let mut software = std::pin::pin!(software);
        tokio::select! {
            biased;
            () = process.ended() => {}
            done = &mut software => match done {
                Ok(()) => process.end("it is done"),
                Err(error) => process.end(&format!("{error:#}")),
            },
        }
        network.close();
        process.set_closed();
        drop(passed);
        // What else it holds goes when it is cleared away.
        pending().await
    }

    fn open_store(&self) -> weir_coordinator::OpenStore {
        let storage = self.storage.clone();
        Arc::new(move |_, job| Ok(CheckpointStore::over(storage.clone(), job)))
    }
}

/// A process that begins.
#[derive(Clone)]
pub(super) struct Started {
    pub process: Process,
    network: SimulatedNetwork,
    pub env: Env,
    plan: Arc<CrashPlan>,
}

/// Takes down, at the end of a process of whatever kind, which crash points it passed.
struct PassedPoints<'a> {
    world: &'a World,
    role: Role,
    plan: Arc<CrashPlan>,
}

impl Drop for PassedPoints<'_> {
    fn drop(&mut self) {
        let visited = self.plan.visits().into_keys().map(str::to_owned);
        self.world.shared().passed.entry(self.role).or_default().extend(visited);
    }
}

fn queues<T: Clone>(by_host: &BTreeMap<String, Vec<T>>) -> BTreeMap<String, VecDeque<T>> {
    by_host.iter().map(|(host, points)| (host.clone(), points.iter().cloned().collect())).collect()
}

fn seed_of(mut dice: impl rand::Rng) -> u64 {
    rand::RngExt::random(&mut dice)
}

/// Where all coordinators are, by number.
fn coordinators(plan: &Plan) -> BTreeMap<u64, String> {
    (1..).zip((1..=plan.coordinators).map(|number| format!("{}:{CONTROL_PORT}", coordinator(number)))).collect()
}

/// A coordinator's process.
pub async fn run_coordinator(world: World, number: usize) -> turmoil::Result {
    let started = world.boot(&coordinator(number));
    let software = serve_coordinator(&world, number, Arc::new(started.network.clone()), started.env.clone());
    world.live(started, software).await;
    Ok(())
}

async fn serve_coordinator(world: &World, number: usize, network: SharedNetwork, env: Env) -> Result<()> {
    let is_alone = world.plan.coordinators == 1;
    let settings = MetadataSettings {
        secret: SECRET.into(),
        heartbeat_interval: Duration::from_millis(40),
        election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
        decision_timeout: Duration::from_secs(3),
        ..MetadataSettings::new(number as u64, coordinators(&world.plan))
    };
    let disk = &world.disks[number - 1];
    let metadata = Metadata::open(settings, disk.backend(), network.clone(), env.clone()).await;
    let metadata = Arc::new(metadata.map_err(|error| anyhow::anyhow!("{error}"))?);
    world.shared().metadata.insert(number, Arc::downgrade(&metadata));
    let settings = CoordinatorSettings {
        secret: SECRET.into(),
        heartbeat_interval: Duration::from_millis(100),
        // Long enough for an election within a worker's lease.
        heartbeat_timeout: Duration::from_millis(if is_alone { 600 } else { 1_500 }),
        checkpoint_timeout: Duration::from_secs(5),
        commit_timeout: Duration::from_secs(5),
        deploy_timeout: Duration::from_secs(5),
        cancel_timeout: Duration::from_millis(600),
        restart: RestartPolicy {
            // Storage may fail for longer than a real user would wait.
            most_failures: 10_000,
            most_losses: 10_000,
            first_backoff: Duration::from_millis(50),
            longest_backoff: Duration::from_millis(800),
            ..RestartPolicy::default()
        },
        ..CoordinatorSettings::default()
    };
    let listener = network.listen(&format!("0.0.0.0:{CONTROL_PORT}")).await?;
    let components =
        CoordinatorComponents { open_store: world.open_store(), network, env, observers: Observers::default() };
    let coordinator = Coordinator::new(settings, components, metadata, number as u64);
    coordinator.run(listener, None).await.map_err(|error| anyhow::anyhow!("{error}"))
}

/// A worker's process.
pub async fn run_worker(world: World, number: usize) -> turmoil::Result {
    let host = worker(number);
    let (started, leave) = (world.boot(&host), Leave::default());
    world.shared().leave.insert(host.clone(), leave.clone());
    let settings = WorkerSettings {
        worker: format!("{host}.{}", started.process.number()),
        coordinators: coordinators(&world.plan).into_values().collect(),
        slots: world.plan.slots[number - 1],
        listen: format!("0.0.0.0:{DATA_PORT}"),
        advertise: Some(host),
        secret: SECRET.into(),
        leaderless_timeout: world.plan.leaderless,
        reconnect_after: Duration::from_millis(50),
        channel_bytes: world.plan.job.channel_bytes,
        compression: Compression::Lz4,
    };
    let components = WorkerComponents {
        factory: world.factory.clone(),
        open_store: world.open_store(),
        network: Arc::new(started.network.clone()),
        env: started.env.clone(),
        observers: Observers::default(),
        data_runtime: Handle::current(),
        leave: leave.clone(),
    };
    let process = started.process.clone();
    let software = async {
        let run = async {
            let data_plane = weir_worker::start_data_plane(&settings, &components).await?;
            let dial = weir_worker::dialler(&settings, &components);
            let dial = match world.wrong {
                Some(wrong) => wrong.dial(dial, process),
                None => dial,
            };
            weir_worker::run_with(settings, components, data_plane, dial).await
        };
        run.await.map_err(|error| anyhow::anyhow!("{error}"))
    };
    world.live(started, software).await;
    Ok(())
}

/// A user's process: submits the job, looks at it until it is over, and stops it if that is planned.
///
/// # Errors
/// When the job ends otherwise than it should.
pub async fn user(world: World, graph: JobGraph) -> turmoil::Result {
    let process = world.power.boot("user", &world.trace, || {});
    let env = Env::simulated(world.plan.seed, world.trace.wall_clock(0));
    let user = User { network: Arc::new(SimulatedNetwork::new(process)), env, world, calls: AtomicUsize::new(0) };
    Ok(user.follow(&graph).await.map_err(|error| format!("{error:#}"))?)
}

type UserClient = ClientClient<InterceptedService<Channel, ShowSecret>>;

/// How far a user has come, and what is still to be asked for.
#[derive(Default)]
struct Wish {
    /// Forgetting what was before.
    fresh: bool,
    submitted: bool,
    stopped: bool,
    /// When it is cancelled and submitted again, to forget what was before.
    start_over_at: Option<Duration>,
}

impl Wish {
    fn new(plan: &Plan) -> Self {
        Wish { start_over_at: plan.start_over_at, ..Wish::default() }
    }
}

struct User {
    network: SharedNetwork,
    env: Env,
    world: World,
    calls: AtomicUsize,
}

impl User {
    async fn follow(&self, graph: &JobGraph) -> Result<()> {
        let graph = wire::to_json(graph).map_err(|error| anyhow::anyhow!("{error}"))?;
        let (mut wish, mut state) = (Wish::new(&self.world.plan), String::new());
        loop {
            self.env.sleep(USER_PAUSE).await;
            let Ok(mut client) = self.connect().await else { continue };
            if !wish.submitted && !self.submit(&mut client, &graph, &mut wish).await {
                continue;
            }
            self.stop_if_due(&mut client, &mut wish).await;
            let asked = pb::JobRequest { job: JOB.into() };
            let Ok(described) = self.within(client.status(asked.clone())).await else { continue };
            let job: JobStatus = serde_json::from_slice(&described.into_inner().json).context("a job's status")?;
            if job.state != state {
                state = job.state;
                self.world.trace.note(format!("user: sees {state}"));
            }
            let is_over = matches!(state.as_str(), "FINISHED" | "FAILED" | "CANCELED");
            if let Some(at) = wish.start_over_at {
                match (self.world.trace.elapsed() >= at, is_over) {
                    (true, true) => wish = Wish { fresh: true, ..Wish::default() },
                    (true, false) => {
                        let cancelled = self.within(client.cancel(asked)).await.is_ok();
                        self.world.trace.note(format!("user: cancels, to start over: {cancelled}"));
                    }
                    (false, _) => {}
                }
                continue;
            }
            match state.as_str() {
                "FINISHED" => return self.wait_for_replays().await,
                _ if is_over => bail!("the job is {state}: {}", job.cause.unwrap_or_default()),
                _ => {}
            }
        }
    }

    /// A job that is over is counted again.
    async fn wait_for_replays(&self) -> Result<()> {
        let Some(replays) = &self.world.replays else { return Ok(()) };
        replays.set_job_over()?;
        while !replays.are_over() {
            self.env.sleep(USER_PAUSE).await;
        }
        Ok(())
    }

    /// Whether the job is submitted.
    async fn submit(&self, client: &mut UserClient, graph: &bytes::Bytes, wish: &mut Wish) -> bool {
        let request = pb::SubmitRequest {
            graph: graph.clone(),
            fingerprint: "simulated".into(),
            definition: String::new(),
            fresh: wish.fresh,
            from_savepoint: None,
        };
        match self.within(client.submit(request)).await {
            Ok(_) => {
                wish.submitted = true;
                self.world.trace.note(if wish.fresh { "user: submitted, to start over" } else { "user: submitted" });
            }
            // An earlier try may have been taken after all.
            Err(status) if status.code() == tonic::Code::InvalidArgument => wish.submitted = true,
            Err(_) => {}
        }
        wish.submitted
    }

    async fn stop_if_due(&self, client: &mut UserClient, wish: &mut Wish) {
        if let Ending::Drain(at) = self.world.plan.ending
            && !wish.stopped
            && wish.start_over_at.is_none()
            && self.world.trace.elapsed() >= at
            && self.world.may_be_drained()
        {
            let stop = pb::StopRequest { job: JOB.into(), drain: true };
            wish.stopped = self.within(client.stop(stop)).await.is_ok();
            self.world.trace.note(format!("user: asks to drain: {}", wish.stopped));
        }
    }

    async fn connect(&self) -> Result<UserClient, tonic::Status> {
        // One after the other: whichever it is, it knows who leads.
        let number = 1 + self.calls.fetch_add(1, Ordering::Relaxed) % self.world.plan.coordinators;
        let address = format!("{}:{CONTROL_PORT}", coordinator(number));
        let channel = self.within(transport::connect(self.network.clone(), &address, USER_PATIENCE)).await?;
        Ok(ClientClient::with_interceptor(channel, ClusterSecret::from(SECRET).shown()))
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, tonic::Status> {
        tokio::select! {
            biased;
            answer = call => answer,
            () = self.env.sleep(USER_PATIENCE) => Err(tonic::Status::deadline_exceeded("no answer")),
        }
    }
}
