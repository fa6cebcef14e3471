//! The live workers, what they run, and the requests to them. Volatile: a new leader learns it from scratch.
//!
//! Invariant: code that waits for a worker learns of its loss. A message of an attempt that is not driven is ignored, and what is left
//! of one on a worker is canceled, unless it may yet be taken over.

mod leaving;
mod requests;

pub use leaving::Move;

use self::requests::{Answer, Pending};
use crate::config::CoordinatorSettings;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::{mpsc, watch};
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, Result},
    ids::{CheckpointId, SubtaskId},
    task::Report,
    wire::{self, AttemptKey},
};
use weir_proto::v1::{self as pb, coordinator_message, worker_message};

/// Orders to a worker.
pub type Orders = mpsc::UnboundedSender<pb::CoordinatorMessage>;

/// Clocks that differ by more than this are warned of.
pub const TOLERATED_MS: i64 = 1000;

/// Workers that were lost and are still shown.
const SHOWN_LOST: usize = 8;

/// Events of an attempt, for its driver.
#[derive(Debug)]
pub enum AttemptEvent {
    /// A worker has built and restored its subtasks, or could not.
    Deployed(String, Result<()>),
    /// A subtask reports.
    Report(Report),
    /// A worker says which subtasks of the attempt run there, and which checkpoint its sources were told of last, and whether as the
    /// last one.
    Hosted(String, BTreeSet<SubtaskId>, Option<(CheckpointId, bool)>),
    /// A worker has ended everything of the attempt.
    Canceled(String),
    /// A worker is lost, and why.
    Lost(String, String),
}

/// A worker as the others see it.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Its name.
    pub worker: String,
    /// Where its data port is.
    pub data_address: String,
    /// Its slots.
    pub slots: usize,
    /// Those that no attempt has taken.
    pub free: usize,
    /// Its program's version.
    pub version: String,
    /// When it was heard last.
    pub heard: Moment,
    /// Its newest heartbeat.
    pub heartbeat: pb::Heartbeat,
    /// When that came.
    pub heartbeat_at: Moment,
    /// Whether it is lost.
    pub lost: bool,
    /// Whether it is about to end, and takes no new subtasks.
    pub leaving: bool,
}

/// All workers. Cheap to clone.
#[derive(Clone)]
pub struct Workers(Arc<Shared>);

struct Shared {
    env: Env,
    state: Mutex<State>,
    /// Raised whenever slots or workers come or go.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    workers: BTreeMap<String, Worker>,
    lost: Vec<WorkerView>,
    sessions: u64,
    requests: u64,
    pending: BTreeMap<u64, Pending>,
    attempts: BTreeMap<AttemptKey, Attempt>,
    /// By job: the slots that it is about to move to.
    reserved: BTreeMap<String, BTreeMap<String, usize>>,
    /// Attempts that may run on workers, and are to be taken over.
    expected: BTreeSet<AttemptKey>,
    /// Where the coordinators are, as the workers were told.
    coordinators: Vec<String>,
}

struct Worker {
    session: u64,
    registration: pb::Register,
    orders: Orders,
    heard: Moment,
    heartbeat: pb::Heartbeat,
    heartbeat_at: Moment,
    /// Whether it was warned of its clock.
    clock_is_off: bool,
    /// It is about to end, and takes no new subtasks.
    leaving: bool,
    /// It was told that it may.
    released: bool,
}

impl Worker {
    /// Takes a heartbeat down. Warns of a clock that has gone wrong, and says when it is right again.
    fn beat(&mut self, heartbeat: pb::Heartbeat) {
        let (worker, ahead_ms) = (&self.registration.worker, heartbeat.clock_ahead_ms.unwrap_or(0));
        let is_off = ahead_ms.abs() > TOLERATED_MS;
        if is_off && !self.clock_is_off {
            tracing::warn!(
                worker,
                ahead_ms,
                "a worker's clock differs from the coordinator's; displayed times are corrected, but `max_ahead` is measured by it"
            );
        } else if !is_off && self.clock_is_off {
            tracing::info!(worker, "a worker's clock is right again");
        }
        self.clock_is_off = is_off;
        (self.heartbeat, self.heartbeat_at) = (heartbeat, self.heard);
    }
}

struct Attempt {
    events: mpsc::UnboundedSender<AttemptEvent>,
    /// Slots taken on each worker.
    slots: BTreeMap<String, usize>,
}

/// One stream of one worker.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose.
    pub worker: String,
    number: u64,
}

impl Workers {
    /// None yet.
    pub fn new(env: Env) -> Self {
        Workers(Arc::new(Shared { env, state: Mutex::default(), changed: watch::Sender::new(0) }))
    }

    /// Time, as the workers are measured by it.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// A worker opened a stream and said who it is.
    pub fn register(
        &self,
        registration: pb::Register,
        settings: &CoordinatorSettings,
    ) -> (Session, mpsc::UnboundedReceiver<pb::CoordinatorMessage>) {
        let worker = registration.worker.clone();
        let (orders, receiver) = mpsc::unbounded_channel();
        let registered = pb::Registered {
            heartbeat_interval_ms: settings.heartbeat_interval.as_millis() as u32,
            lease_ms: settings.lease().as_millis() as u32,
            heartbeat_timeout_ms: settings.heartbeat_timeout.as_millis() as u32,
        };
        give(&orders, coordinator_message::Kind::Registered(registered));
        // What it was asked over an older stream has no answer any more, and what it reported may have been lost.
        self.lose(&worker, None, "it opened a new connection");
        let mut state = self.lock();
        state.sessions += 1;
        if !state.coordinators.is_empty() {
            let addresses = state.coordinators.clone();
            give(&orders, coordinator_message::Kind::Coordinators(pb::Coordinators { addresses }));
        }
        let number = state.sessions;
        tracing::info!(worker, slots = registration.slots, address = registration.data_address, "worker registered");
        let (heard, heartbeat, leaving) = (self.0.env.now(), pb::Heartbeat::default(), registration.leaving);
        let newcomer = Worker {
            session: number,
            registration,
            orders,
            heard,
            heartbeat,
            heartbeat_at: heard,
            clock_is_off: false,
            leaving,
            released: false,
        };
        state.workers.insert(worker.clone(), newcomer);
        drop(state);
        self.change();
        (Session { worker, number }, receiver)
    }

    /// Tells all workers where the coordinators are, if that is new.
    pub fn tell_coordinators(&self, addresses: Vec<String>) {
        let mut state = self.lock();
        if state.coordinators == addresses {
            return;
        }
        for worker in state.workers.values() {
            let addresses = addresses.clone();
            give(&worker.orders, coordinator_message::Kind::Coordinators(pb::Coordinators { addresses }));
        }
        state.coordinators = addresses;
    }

    /// A message came over a stream.
    ///
    /// # Errors
    /// When it is malformed: the stream is to be closed.
    pub fn on_message(&self, session: &Session, message: pb::WorkerMessage) -> Result<()> {
        use worker_message::Kind;
        let mut state = self.lock();
        let current = state.workers.get_mut(&session.worker).filter(|worker| worker.session == session.number);
        let Some(worker) = current else { return Err(EngineError::fenced("a newer stream of this worker took over")) };
        worker.heard = self.0.env.now();
        match message.kind {
            Some(Kind::Heartbeat(heartbeat)) => {
                let received_at_ms = Some(self.0.env.wall_clock_ms());
                let reply = pb::HeartbeatReply { sequence: heartbeat.sequence, received_at_ms };
                give(&worker.orders, coordinator_message::Kind::Heartbeat(reply));
                worker.beat(heartbeat);
                let leaves = worker.begins_to_leave();
                state.release_if_idle(&session.worker);
                if leaves {
                    drop(state);
                    self.change();
                }
            }
            Some(Kind::Done(done)) => state.answered(done),
            Some(Kind::Deployed(deployed)) => {
                let key = AttemptKey::try_from(deployed.attempt)?;
                let result = deployed.failure.map_or(Ok(()), |failure| Err(failure.into()));
                state.tell(&key, AttemptEvent::Deployed(session.worker.clone(), result));
            }
            Some(Kind::Hosted(hosted)) => {
                let key = AttemptKey::try_from(hosted.attempt)?;
                let subtasks = hosted.subtasks.into_iter().map(SubtaskId::from).collect();
                let triggered = hosted.triggered.map(|one| (CheckpointId(one.checkpoint), one.last));
                state.tell(&key, AttemptEvent::Hosted(session.worker.clone(), subtasks, triggered));
            }
            Some(Kind::Canceled(attempt)) => {
                let key = AttemptKey::try_from(Some(attempt))?;
                state.tell(&key, AttemptEvent::Canceled(session.worker.clone()));
            }
            Some(other) => {
                if let Some((key, report)) = wire::report_from_wire(other)? {
                    state.tell(&key, AttemptEvent::Report(report));
                }
            }
            None => {}
        }
        Ok(())
    }

    /// A stream ended.
    pub fn on_end(&self, session: &Session, cause: &str) {
        self.lose(&session.worker, Some(session.number), cause);
    }

    /// Gives up workers that have not been heard for too long. A coordinator that was frozen itself may give up workers whose
    /// messages wait to be read: their jobs begin a new attempt, and nothing is lost.
    pub fn give_up_silent(&self, settings: &CoordinatorSettings) {
        let now = self.0.env.now();
        let is_silent = |worker: &&Worker| now - worker.heard > settings.heartbeat_timeout;
        let silent: Vec<(String, u64)> = {
            let state = self.lock();
            let silent = state.workers.values().filter(is_silent);
            silent.map(|worker| (worker.registration.worker.clone(), worker.session)).collect()
        };
        for (worker, session) in silent {
            let cause = format!("no heartbeat for {:?}", settings.heartbeat_timeout);
            self.lose(&worker, Some(session), &cause);
        }
    }

    fn lose(&self, worker: &str, session: Option<u64>, cause: &str) {
        let mut state = self.lock();
        if state.workers.get(worker).is_none_or(|there| session.is_some_and(|session| session != there.session)) {
            return;
        }
        if state.workers.get(worker).is_some_and(|there| there.released) {
            tracing::info!(worker, "worker left");
        } else {
            tracing::warn!(worker, cause, "worker lost");
            let view = state.view(worker).map(|view| WorkerView { lost: true, free: 0, ..view });
            state.lost.retain(|other| other.worker != worker);
            state.lost.extend(view);
        }
        let forgotten = state.lost.len().saturating_sub(SHOWN_LOST);
        state.lost.drain(..forgotten);
        state.workers.remove(worker);
        let unanswered: Vec<u64> = {
            let of_worker = state.pending.iter().filter(|(_, pending)| pending.worker == worker);
            of_worker.map(|(request, _)| *request).collect()
        };
        for request in unanswered {
            if let Some(pending) = state.pending.remove(&request) {
                let _ = pending.reply.send(Answer::Lost);
            }
        }
        for attempt in state.attempts.values() {
            let _ = attempt.events.send(AttemptEvent::Lost(worker.into(), cause.into()));
        }
        drop(state);
        self.change();
    }

    /// Gives an order. `false`: the worker is not there.
    pub fn order(&self, worker: &str, order: coordinator_message::Kind) -> bool {
        match self.lock().workers.get(worker) {
            Some(worker) => {
                give(&worker.orders, order);
                true
            }
            None => false,
        }
    }

    /// Takes slots for an attempt, and listens for its events. `None`: they are not free any more.
    pub fn open_attempt(
        &self,
        key: &AttemptKey,
        slots: BTreeMap<String, usize>,
    ) -> Option<mpsc::UnboundedReceiver<AttemptEvent>> {
        let mut state = self.lock();
        let free = state.free(Some(&key.job));
        if slots.iter().any(|(worker, wanted)| free.get(worker).is_none_or(|free| free < wanted)) {
            return None;
        }
        let (events, receiver) = mpsc::unbounded_channel();
        state.attempts.insert(key.clone(), Attempt { events, slots });
        state.reserved.remove(&key.job);
        drop(state);
        self.change();
        Some(receiver)
    }

    /// Listens for the events of an attempt that may run. It has the slots that it had, if it was open before.
    pub fn listen(&self, key: &AttemptKey) -> mpsc::UnboundedReceiver<AttemptEvent> {
        let (events, receiver) = mpsc::unbounded_channel();
        let mut state = self.lock();
        let slots = state.attempts.remove(key).map(|before| before.slots).unwrap_or_default();
        state.attempts.insert(key.clone(), Attempt { events, slots });
        state.reserved.remove(&key.job);
        drop(state);
        self.change();
        receiver
    }

    /// Takes slots for an attempt that is open and runs on them.
    pub fn hold_slots(&self, key: &AttemptKey, slots: BTreeMap<String, usize>) {
        if let Some(attempt) = self.lock().attempts.get_mut(key) {
            attempt.slots = slots;
        }
        self.change();
    }

    /// Attempts that may run on workers, from before this coordinator led or while nobody drove them. Until each is
    /// [settled](Workers::settled) nobody takes slots, and nothing of it is canceled. One that is open has its slots, so that others may
    /// take theirs.
    pub fn expect(&self, attempts: impl IntoIterator<Item = AttemptKey>) {
        let mut state = self.lock();
        let State { expected, attempts: open, .. } = &mut *state;
        expected.extend(attempts.into_iter().filter(|key| !open.contains_key(key)));
        drop(state);
        self.change();
    }

    /// An attempt is driven again, or will not be, or is known to run and has its slots.
    pub fn settled(&self, attempt: &AttemptKey) {
        self.lock().expected.remove(attempt);
        self.change();
    }

    /// Whether slots may be taken by attempts that are not driven yet.
    pub fn expects_any(&self) -> bool {
        !self.lock().expected.is_empty()
    }

    /// Has workers end what nobody drives, as their newest heartbeats tell of it: it is left of attempts that are over.
    pub fn cancel_strays(&self) {
        let state = self.lock();
        for worker in state.workers.values() {
            let hosted: BTreeSet<AttemptKey> = worker
                .heartbeat
                .subtasks
                .iter()
                .filter_map(|subtask| AttemptKey::try_from(subtask.attempt.clone()).ok())
                .collect();
            for stray in hosted {
                if !state.attempts.contains_key(&stray) && !state.expected.contains(&stray) {
                    tracing::info!(attempt = %stray, worker = worker.registration.worker, "nobody drives this attempt: canceled");
                    give(&worker.orders, coordinator_message::Kind::Cancel((&stray).into()));
                }
            }
        }
    }

    /// Gives an attempt's slots back.
    pub fn close_attempt(&self, key: &AttemptKey) {
        self.lock().attempts.remove(key);
        self.change();
    }

    /// Free slots of each worker, as a job may take them: others may be about to move to some.
    pub fn free(&self, job: &str) -> BTreeMap<String, usize> {
        self.lock().free(Some(job))
    }

    /// The data address of a worker.
    pub fn data_address(&self, worker: &str) -> Option<String> {
        self.lock().workers.get(worker).map(|worker| worker.registration.data_address.clone())
    }

    /// Raised whenever slots or workers come or go.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// All workers, and the last ones that were lost.
    pub fn views(&self) -> Vec<WorkerView> {
        let state = self.lock();
        let there = state.workers.keys().filter_map(|worker| state.view(worker));
        there.chain(state.lost.iter().filter(|lost| !state.workers.contains_key(&lost.worker)).cloned()).collect()
    }

    /// Forgets all workers: this coordinator leads no more.
    pub fn clear(&self) {
        let all: Vec<String> = {
            let mut state = self.lock();
            state.expected.clear();
            state.reserved.clear();
            // Of those that run it was not decided what becomes of them: the next leader does.
            state.attempts.clear();
            state.workers.keys().cloned().collect()
        };
        for worker in all {
            self.lose(&worker, None, "this coordinator does not lead any more");
        }
    }

    fn change(&self) {
        self.0.changed.send_modify(|changes| *changes += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

impl State {
    fn tell(&self, key: &AttemptKey, event: AttemptEvent) {
        match self.attempts.get(key) {
            Some(attempt) => {
                // Its driver has given it up.
                let _ = attempt.events.send(event);
            }
            None => tracing::debug!(attempt = %key, ?event, "nobody drives this attempt: ignored"),
        }
    }

    /// Free slots of each worker: for a job, or for any.
    fn free(&self, job: Option<&str>) -> BTreeMap<String, usize> {
        let free = self.workers.iter().map(|(name, worker)| {
            let offered = if worker.leaving { 0 } else { worker.registration.slots as usize };
            let taken: usize = self.attempts.values().filter_map(|attempt| attempt.slots.get(name)).sum();
            (name.clone(), offered.saturating_sub(taken + self.reserved_on(name, job)))
        });
        free.collect()
    }

    fn view(&self, name: &str) -> Option<WorkerView> {
        let worker = self.workers.get(name)?;
        Some(WorkerView {
            worker: name.into(),
            data_address: worker.registration.data_address.clone(),
            slots: worker.registration.slots as usize,
            free: self.free(None).get(name).copied().unwrap_or(0),
            version: worker.registration.weir_version.clone(),
            heard: worker.heard,
            heartbeat: worker.heartbeat.clone(),
            heartbeat_at: worker.heartbeat_at,
            lost: false,
            leaving: worker.leaving,
        })
    }
}

fn give(orders: &Orders, order: coordinator_message::Kind) {
    // A stream that is closed says so where it is read.
    let _ = orders.send(pb::CoordinatorMessage { kind: Some(order) });
}
