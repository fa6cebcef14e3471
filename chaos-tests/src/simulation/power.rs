//! Which process of the simulation runs, and its end: from one moment to the next, in the middle of whatever it does.
//!
//! Turmoil ends a host between two steps. A crash point wants more: once it is hit, nothing of that process may reach storage,
//! disk or network any more, though its other tasks still run until the step is over. So everything that leads out of a
//! process asks here first.
//!
//! A process is frozen, as `SIGSTOP` does it, at the same doors: what it sends, asks for and waits for stands still, also the
//! answers to what it had asked for. Computing takes no virtual time, so all its tasks soon stand at one. Meanwhile time goes
//! on, requests that are under way are served, and what others send to it lies in its system's buffers. When it thaws, all its
//! timers are over at once, and it believes what it believed before.

use super::trace::Trace;
use futures::{FutureExt, future::BoxFuture};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::{
    runtime::{Handle, Id},
    sync::watch,
};

/// All processes of a simulation, past and present. Cheap to clone.
#[derive(Clone, Default)]
pub struct Power(Arc<Mutex<Processes>>);

#[derive(Default)]
struct Processes {
    /// Turmoil gives every process a runtime of its own.
    by_runtime: HashMap<Id, Process>,
    /// The newest of each host.
    by_host: BTreeMap<String, Process>,
}

/// One run of a host's software. Cheap to clone.
#[derive(Clone)]
pub struct Process {
    host: Arc<str>,
    number: u64,
    ended: watch::Sender<bool>,
    /// Whether its connections are closed.
    closed: Arc<AtomicBool>,
    standing: Arc<Mutex<Standing>>,
    /// Whether it ever stood still.
    stood: Arc<AtomicBool>,
    on_end: Arc<dyn Fn() + Send + Sync>,
    trace: Trace,
}

/// Whether a process stands still, and who of it waits for that to end.
#[derive(Default)]
struct Standing {
    frozen: bool,
    waiting: Vec<Waker>,
}

impl Power {
    /// The software of a host begins, in the runtime that this is called in. `on_end` is called when it ends in whatever way.
    pub fn boot(&self, host: &str, trace: &Trace, on_end: impl Fn() + Send + Sync + 'static) -> Process {
        let mut processes = self.lock();
        let number = processes.by_host.get(host).map_or(1, |before| before.number + 1);
        let process = Process {
            host: host.into(),
            number,
            ended: watch::Sender::new(false),
            closed: Arc::default(),
            standing: Arc::default(),
            stood: Arc::default(),
            on_end: Arc::new(on_end),
            trace: trace.clone(),
        };
        processes.by_runtime.insert(Handle::current().id(), process.clone());
        processes.by_host.insert(host.into(), process.clone());
        drop(processes);
        trace.note(format!("{host} starts (process {number})"));
        process
    }

    /// The process that calls this; none outside of hosts.
    pub fn here(&self) -> Option<Process> {
        let runtime = Handle::try_current().ok()?.id();
        self.lock().by_runtime.get(&runtime).cloned()
    }

    /// The newest process of a host.
    pub fn of(&self, host: &str) -> Option<Process> {
        self.lock().by_host.get(host).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Processes> {
        self.0.lock()
    }
}

impl Process {
    /// Number of this process among those of its host, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Takes down a detail of what it does.
    pub fn tell(&self, what: impl fmt::Display) {
        self.trace.detail(format_args!("{} {what}", self.host));
    }

    /// Ends it: from here on it reaches nothing.
    pub fn end(&self, cause: &str) {
        if !self.ended.send_replace(true) {
            (self.on_end)();
            self.trace.note(format!("{} ends (process {}): {cause}", self.host, self.number));
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        // The sender lives as long as self.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Its system has closed its connections.
    pub fn set_closed(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether its connections are closed, so that nothing of it is left that somebody could notice.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Freezes it: until it thaws, nothing of it reaches anything, and nothing reaches it.
    pub fn freeze(&self, cause: &str) {
        let was_frozen = std::mem::replace(&mut self.standing().frozen, true);
        self.stood.store(true, Ordering::SeqCst);
        if !was_frozen && !self.has_ended() {
            self.trace.note(format!("{} freezes (process {}): {cause}", self.host, self.number));
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        let Standing { frozen, waiting } = std::mem::take(&mut *self.standing());
        if frozen && !self.has_ended() {
            self.trace.note(format!("{} thaws (process {})", self.host, self.number));
        }
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether it ever stood still.
    pub fn has_stood(&self) -> bool {
        self.stood.load(Ordering::SeqCst)
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.standing().frozen
    }

    /// Goes on while the process runs. If it has ended, never.
    pub fn poll_runs(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_ended() {
            return Poll::Pending;
        }
        let mut standing = self.standing();
        if standing.frozen {
            standing.waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The same, to wait for.
    pub fn runs(&self) -> BoxFuture<'static, ()> {
        let process = self.clone();
        async move { poll_fn(|context| process.poll_runs(context)).await }.boxed()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock()
    }
}
