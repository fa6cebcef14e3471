//! The simulation's database: real SQLite under the real sink, behind a network that is slow, refuses or loses answers.
//!
//! SQLite's own threads do the work, and the simulation stands still meanwhile. Nobody waits for a lock in real time: who finds
//! one comes again in virtual time. A process that is frozen within a transaction keeps the lock until it thaws or ends.

use super::{power::Process, trace::Trace};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::{Mutex, MutexGuard};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{io, sync::Arc, time::Duration};
use weir_engine::env::{Door, Env};

/// How the database behaves at present. All of it by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The longest that a request takes to come, and its answer to come back.
    pub slowest: Duration,
    /// Whether nobody can reach it.
    pub is_down: bool,
    /// One in so many requests fails and does nothing; 0: none.
    pub refuse_one_in: u32,
    /// One in so many is done, and the answer is lost; 0: none.
    pub lose_one_in: u32,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions { slowest: Duration::from_millis(1), is_down: false, refuse_one_in: 0, lose_one_in: 0 }
    }
}

/// How all processes reach the database. Cheap to clone.
#[derive(Clone)]
pub struct DatabaseLink(Arc<Shared>);

struct Shared {
    trace: Trace,
    state: Mutex<State>,
}

struct State {
    dice: StdRng,
    now: Conditions,
}

impl DatabaseLink {
    /// A good one, with dice from a seed.
    pub fn new(seed: u64, trace: Trace) -> Self {
        let state = State { dice: StdRng::seed_from_u64(seed ^ 0xdb), now: Conditions::default() };
        DatabaseLink(Arc::new(Shared { trace, state: Mutex::new(state) }))
    }

    /// Changes how it is from now on.
    pub fn set(&self, conditions: Conditions) {
        self.state().now = conditions;
    }

    /// What leads out of a process.
    pub fn door(&self, process: Process) -> Arc<dyn Door> {
        Arc::new(ProcessDoor { process, link: self.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// How long one way takes, and whether it leads nowhere.
    fn way(&self, host: &str, what: &str, is_answer: bool) -> (Duration, bool) {
        let mut state = self.state();
        let State { dice, now } = &mut *state;
        let one_in = if is_answer { now.lose_one_in } else { now.refuse_one_in };
        let fails = now.is_down || (one_in > 0 && dice.random_range(0..one_in) == 0);
        let takes = Duration::from_micros(dice.random_range(0..=now.slowest.as_micros() as u64));
        let way = if is_answer { "the answer to" } else { "the request to" };
        match fails {
            true => self.0.trace.note(format!("{host} database: {way} {what} is lost")),
            false => self.0.trace.detail(format!("{host} database: {way} {what} takes {takes:?}")),
        }
        (takes, fails)
    }
}

struct ProcessDoor {
    process: Process,
    link: DatabaseLink,
}

impl ProcessDoor {
    async fn go(&self, what: &str, is_answer: bool) -> io::Result<()> {
        self.process.runs().await;
        let (takes, fails) = self.link.way(self.process.host(), what, is_answer);
        Env::default().sleep(takes).await;
        self.process.runs().await;
        match fails {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl Door for ProcessDoor {
    fn pass(&self) -> BoxFuture<'static, ()> {
        self.process.runs()
    }

    fn request<'a>(&'a self, what: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.go(what, false).boxed()
    }

    fn answer<'a>(&'a self, what: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.go(what, true).boxed()
    }
}
