//! A worker's one stream to a coordinator: it registers, sends heartbeats, executes commands, and stops in time when it hears
//! nothing any more.
//!
//! A worker knows of a leader for as long as its lease: less than that has passed since a heartbeat was *sent* that was answered. Then
//! it calls all coordinators, and what it runs goes on for the leaderless time-out. That one is for thrift, not for safety: a leader
//! that takes this worker for dead may have replaced it meanwhile. Invariant: nothing that subtasks do by themselves is visible. What
//! is, is decided by a majority of coordinators for the newest attempt, and everything of an older one is refused by its number.

use crate::{
    attempt_host::Assignment,
    clock::Clock,
    commits::{Commits, Request},
    config::{WorkerComponents, WorkerSettings},
    hosted_attempts::HostedAttempts,
    network::{DataPlane, NetworkSettings},
};
use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, Result},
    wire::{self, AttemptKey},
};
use weir_proto::{
    LEADER_HEADER, PROTOCOL_VERSION,
    net::SharedNetwork,
    secret::ClusterSecret,
    transport,
    v1::{self as pb, coordinator_message, worker_control_client::WorkerControlClient, worker_message::Kind},
};

/// How long a coordinator may take to answer the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it may take to take the worker in: one that is frozen has its connections answered by its machine.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a worker that is leaving waits for a coordinator to hand over to.
const NOBODY_TO_HAND_OVER_TO: Duration = Duration::from_secs(10);

/// The same, where there are others to call before the lease ends.
const CALL_TIMEOUT_OF_SEVERAL: Duration = Duration::from_millis(500);

/// Both directions of an open stream on which the worker has registered.
pub struct ControlLink {
    /// To the coordinator.
    pub outbound: mpsc::UnboundedSender<pb::WorkerMessage>,
    /// From it; ends when the stream does.
    pub inbound: BoxStream<'static, Result<pb::CoordinatorMessage>>,
}

/// Opens a stream to a coordinator with a registration: over gRPC, or within the process.
pub type OpenLink = Box<dyn Fn(pb::Register) -> BoxFuture<'static, Result<ControlLink>> + Send + Sync>;

/// Runs a worker for as long as it is polled, and reconnects whenever it has to; until it is released, where it is asked to leave.
///
/// # Errors
/// When its data port cannot be opened, or a coordinator refuses it for good; when it is to leave, and no coordinator answers.
pub async fn run(settings: WorkerSettings, components: WorkerComponents) -> Result<()> {
    let data_plane = start_data_plane(&settings, &components).await?;
    let dial = dialler(&settings, &components);
    run_with(settings, components, data_plane, dial).await
}

/// Opens the data port.
///
/// # Errors
/// When its address is taken or not this machine's.
pub async fn start_data_plane(settings: &WorkerSettings, components: &WorkerComponents) -> Result<Arc<DataPlane>> {
    let network = NetworkSettings {
        channel_bytes: settings.channel_bytes,
        compression: settings.compression,
        ..NetworkSettings::new(&settings.worker, &settings.listen)
    };
    let (env, runtime) = (components.env.clone(), components.data_runtime.clone());
    DataPlane::start(components.network.clone(), env, network, runtime).await.map(Arc::new)
}

/// Like [`run`], over any kind of link.
///
/// # Errors
/// When a coordinator refuses this worker for good; when it is to leave, and no coordinator answers.
pub async fn run_with(
    settings: WorkerSettings,
    components: WorkerComponents,
    data_plane: Arc<DataPlane>,
    dial: OpenLink,
) -> Result<()> {
    let env = components.env.clone();
    let hosted = HostedAttempts::new(&settings, components.clone(), data_plane.clone());
    let commits = Commits::new(components.clone());
    let mut worker = Worker {
        lease: Lease::none(settings.leaderless_timeout),
        settings,
        components,
        data_plane,
        hosted,
        commits,
        clock: Clock::default(),
    };
    let mut calls_in_vain = 0_u64;
    loop {
        if let Some(ended) = worker.leaves_by_itself() {
            worker.hosted.cancel_all().await;
            return ended;
        }
        match worker.call(&dial).await {
            Ok(link) => {
                calls_in_vain = 0;
                let outbound = link.outbound.clone();
                let attended = worker.attend(link).await;
                worker.commits.left(&outbound);
                match attended {
                    Err(error) if is_final(&error) => {
                        worker.hosted.cancel_all().await;
                        return Err(error);
                    }
                    Err(error) => tracing::warn!(%error, "lost the coordinator"),
                    Ok(()) => {
                        tracing::info!("released: this worker has left");
                        return Ok(());
                    }
                }
            }
            Err(error) if is_final(&error) => {
                worker.hosted.cancel_all().await;
                return Err(error);
            }
            Err(error) => {
                // Said once, since it may take long.
                if calls_in_vain == 0 {
                    tracing::warn!(%error, "no coordinator answers; retrying");
                }
                calls_in_vain += 1;
            }
        }
        worker.wait_to_reconnect(&env).await;
    }
}

/// Whether trying again cannot help.
fn is_final(error: &EngineError) -> bool {
    matches!(error.kind, weir_engine::ErrorKind::Definition | weir_engine::ErrorKind::Crash)
}

/// Dials the coordinators in turn, over gRPC, and the leader, where one of them knows it.
pub fn dialler(settings: &WorkerSettings, components: &WorkerComponents) -> OpenLink {
    let (coordinators, network) = (settings.coordinators.clone(), components.network.clone());
    let secret = settings.secret.clone();
    let turn = std::sync::atomic::AtomicUsize::new(0);
    Box::new(move |registration| {
        let address = coordinators.turn(turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let network = network.clone();
        let secret = secret.clone();
        Box::pin(async move {
            let refused = match open_link(network.clone(), &address, &secret, registration.clone()).await {
                Err(refused) => refused,
                linked => return linked.map_err(|status| from_status(&status)),
            };
            match refused.metadata().get(LEADER_HEADER).and_then(|leader| leader.to_str().ok()) {
                // It has just said so.
                Some(leader) => open_link(network, leader, &secret, registration).await,
                None => Err(refused),
            }
            .map_err(|status| from_status(&status))
        })
    })
}

async fn open_link(
    network: SharedNetwork,
    address: &str,
    secret: &ClusterSecret,
    registration: pb::Register,
) -> Result<ControlLink, tonic::Status> {
    let channel = transport::connect(network, address, CONNECT_TIMEOUT).await?;
    let mut client = WorkerControlClient::with_interceptor(channel, secret.shown())
        .max_decoding_message_size(transport::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(transport::MAX_MESSAGE_BYTES);
    let (outbound, messages) = mpsc::unbounded_channel();
    // The coordinator answers the call when it has read it.
    let first = pb::WorkerMessage { kind: Some(Kind::Register(registration)) };
    outbound.send(first).map_err(|_| tonic::Status::internal("a new stream is closed"))?;
    let reply = client.attach(UnboundedReceiverStream::new(messages)).await?;
    let inbound = reply.into_inner().map(|message| message.map_err(|status| from_status(&status))).boxed();
    Ok(ControlLink { outbound, inbound })
}

fn from_status(status: &tonic::Status) -> EngineError {
    match status.code() {
        tonic::Code::InvalidArgument | tonic::Code::PermissionDenied | tonic::Code::FailedPrecondition => {
            EngineError::definition(format!("the coordinator refuses this worker: {}", root_cause(status)))
        }
        _ => EngineError::io(format!("coordinator: {}", root_cause(status))),
    }
}

/// What a call failed of, in the words of what is at its root: the transport's own are of layers that nobody asked for.
pub fn root_cause(status: &tonic::Status) -> String {
    let causes = std::iter::successors(std::error::Error::source(status), |error| error.source());
    match causes.last() {
        Some(root) => format!("{} ({root})", status.message()),
        None => status.message().to_owned(),
    }
}

/// The coordinator's answer to a registration.
async fn registered(
    inbound: &mut (impl Stream<Item = Result<pb::CoordinatorMessage>> + Unpin),
    env: &Env,
) -> Result<pb::Registered> {
    let first = tokio::select! {
        biased;
        first = inbound.next() => first,
        () = env.sleep(CONNECT_TIMEOUT) => return Err(EngineError::io("the coordinator does not answer")),
    };
    match first.ok_or_else(|| EngineError::io("the coordinator closed the stream"))??.kind {
        Some(coordinator_message::Kind::Registered(registered)) => Ok(registered),
        _ => Err(EngineError::io("the coordinator did not answer the registration first")),
    }
}

struct Worker {
    settings: WorkerSettings,
    components: WorkerComponents,
    data_plane: Arc<DataPlane>,
    hosted: HostedAttempts,
    commits: Commits,
    lease: Lease,
    clock: Clock,
}

/// Until when a leader is known, and subtasks may run.
struct Lease {
    length: Duration,
    /// How long subtasks run without a leader; no shorter.
    patience: Duration,
    ends: Option<Moment>,
    /// When each heartbeat was sent that has not been answered yet.
    sent: BTreeMap<u64, Moment>,
    /// The number of the newest one.
    sequence: u64,
}

impl Lease {
    fn none(patience: Duration) -> Self {
        Lease { length: Duration::ZERO, patience, ends: None, sent: BTreeMap::new(), sequence: 0 }
    }

    /// A coordinator has taken this worker in.
    fn begin(&mut self, now: Moment, length: Duration) {
        *self = Lease { length, ends: Some(now + length), ..Lease::none(self.patience) };
    }

    /// When a leader was heard last.
    fn heard(&self) -> Option<Moment> {
        self.ends.map(|ends| ends - self.length)
    }

    /// When subtasks are to stop.
    fn stops(&self) -> Option<Moment> {
        self.heard().map(|heard| heard + self.patience.max(self.length))
    }

    /// When another coordinator may lead by now, and there is time to find out.
    fn doubts(&self) -> Option<Moment> {
        self.ends.map(|ends| ends - self.length / 2)
    }

    /// A heartbeat is sent: its number.
    fn ask(&mut self, now: Moment) -> u64 {
        self.sequence += 1;
        self.sent.insert(self.sequence, now);
        self.sequence
    }

    /// A heartbeat was answered: when it was sent.
    fn answered(&mut self, sequence: u64) -> Option<Moment> {
        let sent = self.sent.get(&sequence).copied()?;
        self.ends = Some(sent + self.length);
        self.sent = self.sent.split_off(&(sequence + 1));
        Some(sent)
    }
}

impl Worker {
    /// Calls a coordinator.
    async fn call(&mut self, dial: &OpenLink) -> Result<ControlLink> {
        let env = self.components.env.clone();
        let calling = dial(self.registration());
        let limit = if self.settings.coordinators.are_several() { CALL_TIMEOUT_OF_SEVERAL } else { CALL_TIMEOUT };
        let answered = async move {
            tokio::select! {
                biased;
                linked = calling => linked,
                () = env.sleep(limit) => Err(EngineError::io("the coordinator does not answer")),
            }
        };
        self.while_leaderless(answered).await
    }

    /// Waits for something that a coordinator does. Meanwhile what runs here continues, but not for ever, nor without bound.
    async fn while_leaderless<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = std::pin::pin!(waiting);
        while let Some((heard, stops)) = self.lease.heard().zip(self.lease.stops()).filter(|_| !self.hosted.is_empty())
        {
            let env = self.components.env.clone();
            let holds = self.hosted.next_hold(heard);
            tokio::select! {
                biased;
                done = &mut waiting => return done,
                () = env.sleep_until(stops) => {
                    tracing::warn!(after = ?(env.now() - heard), "no coordinator leads: stopped all subtasks");
                    self.hosted.cancel_all().await;
                }
                () = env.sleep_until(holds.unwrap_or(stops)), if holds.is_some() => {
                    self.hosted.hold_unheard(heard, env.now());
                }
            }
        }
        waiting.await
    }

    /// How a worker ends that is to leave and has no connection: well, if it runs nothing; else not before it is clear that nobody
    /// answers.
    fn leaves_by_itself(&self) -> Option<Result<()>> {
        if !self.components.leave.is_asked() {
            return None;
        }
        if self.hosted.is_empty() {
            return Some(Ok(()));
        }
        let heard = self.lease.heard()?;
        (self.components.env.now() - heard > NOBODY_TO_HAND_OVER_TO).then(|| {
            Err(EngineError::unavailable(format!(
                "no coordinator has answered for {NOBODY_TO_HAND_OVER_TO:?}: ended without handing over what ran here, which resumes \
                 elsewhere from the last checkpoint"
            )))
        })
    }

    /// Attends to one stream until it ends. `Ok`: the coordinator has released this worker, which was to leave.
    async fn attend(&mut self, link: ControlLink) -> Result<()> {
        let ControlLink { outbound, mut inbound } = link;
        let say = |kind: Kind| {
            outbound
                .send(pb::WorkerMessage { kind: Some(kind) })
                .map_err(|_| EngineError::io("the stream to the coordinator is closed"))
        };
        let env = self.components.env.clone();
        let registered = self.while_leaderless(registered(&mut inbound, &env)).await?;
        self.hosted.registered();
        let interval = Duration::from_millis(registered.heartbeat_interval_ms.max(1).into());
        // It may be another coordinator, with another clock.
        self.clock = Clock::default();
        self.lease.begin(env.now(), Duration::from_millis(registered.lease_ms.into()));
        self.be_as_patient(interval, registered.heartbeat_timeout_ms);
        tracing::info!(worker = self.settings.worker, slots = self.settings.slots, "registered");
        let leave = self.components.leave.clone();
        let (mut next, mut has_said_so) = (env.now(), leave.is_asked());
        loop {
            let lease_ends = self.lease.ends.unwrap_or(next);
            let doubts = self.lease.doubts().filter(|_| self.settings.coordinators.are_several()).unwrap_or(lease_ends);
            tokio::select! {
                biased;
                () = env.sleep_until(lease_ends) => {
                    return Err(EngineError::io("heard nothing for as long as the lease: calling anew"));
                }
                () = env.sleep_until(doubts), if doubts < lease_ends => {
                    return Err(EngineError::io("it has not answered for half of the lease: asking another one"));
                }
                () = leave.asked(), if !has_said_so => {
                    tracing::info!("leaving: hands its subtasks over, and ends when it is released");
                    (has_said_so, next) = (true, env.now());
                }
                () = env.sleep_until(next) => {
                    next = env.now() + interval;
                    say(Kind::Heartbeat(self.heartbeat()))?;
                }
                message = inbound.next() => {
                    let message = message.ok_or_else(|| EngineError::io("the coordinator closed the stream"))??;
                    if matches!(message.kind, Some(coordinator_message::Kind::Released(_))) {
                        return Ok(());
                    }
                    if matches!(message.kind, Some(coordinator_message::Kind::Cancel(_))) {
                        // What the attempt has done in the end is told before it is forgotten, and lasts until it was looked at.
                        next = env.now() + interval;
                        say(Kind::Heartbeat(self.heartbeat()))?;
                    }
                    self.obey(message, &outbound)?;
                }
            }
        }
    }

    /// Takes other workers for dead when the coordinator does, and a little later: it can tell which worker it is, who only lost
    /// a connection cannot.
    fn be_as_patient(&self, interval: Duration, heartbeat_timeout_ms: u32) {
        let timeout = Duration::from_millis(heartbeat_timeout_ms.into());
        if timeout >= interval {
            self.data_plane.set_keepalive(interval, timeout + interval * 2);
        }
    }

    fn obey(
        &mut self,
        message: pb::CoordinatorMessage,
        outbound: &mpsc::UnboundedSender<pb::WorkerMessage>,
    ) -> Result<()> {
        use coordinator_message::Kind as Order;
        match message.kind {
            Some(Order::Heartbeat(reply)) => {
                let sent = self.lease.answered(reply.sequence);
                if let Some((sent, received_at_ms)) = sent.zip(reply.received_at_ms) {
                    self.clock.measure(&self.components.env, sent, received_at_ms);
                }
            }
            Some(Order::Deploy(deploy)) => self.deploy(deploy, outbound),
            Some(Order::Start(attempt)) => self.hosted.start(&Some(attempt).try_into()?),
            Some(Order::Command(command)) => {
                let (attempt, command) = wire::command_from_wire(command)?;
                self.hosted.command(&attempt, command);
            }
            Some(Order::Describe(attempt)) => {
                self.hosted.describe(&AttemptKey::try_from(Some(attempt))?, outbound);
            }
            Some(Order::Cancel(attempt)) => {
                if !self.hosted.cancel(&AttemptKey::try_from(Some(attempt.clone()))?) {
                    // Without a coordinator there is no receiver.
                    let _ = outbound.send(pb::WorkerMessage { kind: Some(Kind::Canceled(attempt)) });
                }
            }
            Some(Order::Commit(commit)) => self.serve(Request::Commit(commit), outbound),
            Some(Order::Sweep(sweep)) => self.serve(Request::Sweep(sweep), outbound),
            Some(Order::Look(look)) => self.serve(Request::Look(look), outbound),
            Some(Order::Reset(reset)) => self.serve(Request::Reset(reset), outbound),
            Some(Order::Withdraw(withdraw)) => self.commits.withdraw(withdraw.request, outbound),
            Some(Order::Coordinators(members)) => self.settings.coordinators.learn(members.addresses),
            Some(Order::Registered(_) | Order::Released(_)) | None => {}
        }
        Ok(())
    }

    fn deploy(&mut self, deploy: pb::Deploy, outbound: &mpsc::UnboundedSender<pb::WorkerMessage>) {
        let attempt = deploy.attempt.clone();
        match Assignment::from_wire(deploy, &self.components) {
            Ok(assignment) => self.hosted.deploy(assignment, outbound.clone()),
            Err(error) => {
                let refused = Kind::Deployed(pb::Deployed { attempt, failure: Some((&error).into()) });
                // Without a coordinator there is no receiver.
                let _ = outbound.send(pb::WorkerMessage { kind: Some(refused) });
            }
        }
    }

    fn serve(&self, request: Request, outbound: &mpsc::UnboundedSender<pb::WorkerMessage>) {
        let serving = self.commits.serve(request, outbound.clone());
        self.components.data_runtime.spawn(serving);
    }

    /// Waits before the next call.
    async fn wait_to_reconnect(&mut self, env: &Env) {
        self.while_leaderless(env.sleep(self.settings.reconnect_after)).await;
    }

    fn registration(&self) -> pb::Register {
        let address = self.data_plane.address();
        let data_address = match (&self.settings.advertise, address.rsplit_once(':')) {
            (Some(host), Some((_, port))) => format!("{host}:{port}"),
            _ => address.to_string(),
        };
        pb::Register {
            protocol_version: PROTOCOL_VERSION,
            worker: self.settings.worker.clone(),
            slots: self.settings.slots as u32,
            data_address,
            weir_version: env!("CARGO_PKG_VERSION").into(),
            leaving: self.components.leave.is_asked(),
        }
    }

    fn heartbeat(&mut self) -> pb::Heartbeat {
        let sequence = self.lease.ask(self.components.env.now());
        let traffic = self.data_plane.traffic();
        pb::Heartbeat {
            sequence,
            subtasks: self.hosted.metrics(),
            network_sent_bytes: traffic.sent_bytes,
            network_received_bytes: traffic.received_bytes,
            waiting: [self.commits.waiting(), self.hosted.waiting()].concat(),
            clock_ahead_ms: self.clock.ahead_ms(),
            restoring: self.hosted.restoring(),
            rejected: self.commits.rejected(),
            committing: self.commits.committing(),
            leaving: self.components.leave.is_asked(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
