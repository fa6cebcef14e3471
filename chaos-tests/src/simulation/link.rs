//! The way from the processes to a server that is none of the simulated hosts: slow, closed, or losing requests and answers.

use super::{power::Process, trace::Trace};
use parking_lot::{Mutex, MutexGuard};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{io, sync::Arc, time::Duration};
use weir_engine::env::Env;

/// How the way is at present. All of it by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The longest that a request takes to come, and its answer to come back.
    pub slowest: Duration,
    /// Whether nobody can reach the server.
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

/// How all processes reach one server. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

struct Shared {
    /// What the server is called.
    server: &'static str,
    trace: Trace,
    state: Mutex<State>,
}

struct State {
    dice: StdRng,
    now: Conditions,
}

impl Link {
    /// A good one, with dice from a seed.
    pub fn new(server: &'static str, seed: u64, trace: Trace) -> Self {
        let state = State { dice: StdRng::seed_from_u64(seed), now: Conditions::default() };
        Link(Arc::new(Shared { server, trace, state: Mutex::new(state) }))
    }

    /// Changes how it is from now on.
    pub fn set(&self, conditions: Conditions) {
        self.state().now = conditions;
    }

    /// A request of a process goes to the server.
    ///
    /// # Errors
    /// When it does not come there.
    pub async fn request(&self, process: &Process, what: &str) -> io::Result<()> {
        self.go(process, what, false).await
    }

    /// The answer to it comes back.
    ///
    /// # Errors
    /// When it is lost.
    pub async fn answer(&self, process: &Process, what: &str) -> io::Result<()> {
        self.go(process, what, true).await
    }

    async fn go(&self, process: &Process, what: &str, is_answer: bool) -> io::Result<()> {
        process.runs().await;
        let (takes, fails) = self.way(process.host(), what, is_answer);
        Env::default().sleep(takes).await;
        process.runs().await;
        match fails {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    /// How long one way takes, and whether it leads nowhere.
    fn way(&self, host: &str, what: &str, is_answer: bool) -> (Duration, bool) {
        let mut state = self.state();
        let State { dice, now } = &mut *state;
        let one_in = if is_answer { now.lose_one_in } else { now.refuse_one_in };
        let fails = now.is_down || (one_in > 0 && dice.random_range(0..one_in) == 0);
        let takes = Duration::from_micros(dice.random_range(0..=now.slowest.as_micros() as u64));
        let (server, way) = (self.0.server, if is_answer { "the answer to" } else { "the request to" });
        match fails {
            true => self.0.trace.note(format!("{host} {server}: {way} {what} is lost")),
            false => self.0.trace.detail(format!("{host} {server}: {way} {what} takes {takes:?}")),
        }
        (takes, fails)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}
