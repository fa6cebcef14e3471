//! The simulation's object storage: shared by all processes, never quite at once, failing when it is told to.
//!
//! It is a server of its own: what a process has asked for is done though the process has ended meanwhile or stands still, and
//! may be done long after everybody was told that it failed.

use super::{power::Power, trace::Trace};
use crate::faults::store::{Fault, FaultPlan, Requests, Verb};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::{Mutex, MutexGuard};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{sync::Arc, time::Duration};

/// How storage behaves. Cheap to clone.
#[derive(Clone)]
pub struct Weather(Arc<Shared>);

struct Shared {
    power: Power,
    trace: Trace,
    state: Mutex<State>,
    requests: Requests,
}

struct State {
    dice: StdRng,
    now: Conditions,
}

/// How storage behaves at present. All of it by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The longest that an operation usually takes.
    pub slowest: Duration,
    /// One in so many operations fails and does nothing; 0: none.
    pub refuse_one_in: u32,
    /// One in so many is done and reported as failed; 0: none.
    pub lose_one_in: u32,
    /// One in so many that change something is reported as failed, and done up to `latest` later; 0: none.
    pub late_one_in: u32,
    /// How much later.
    pub latest: Duration,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            slowest: Duration::from_millis(8),
            refuse_one_in: 0,
            lose_one_in: 0,
            late_one_in: 0,
            latest: Duration::ZERO,
        }
    }
}

impl Weather {
    /// Fair, with dice from a seed.
    pub fn new(seed: u64, power: Power, trace: Trace) -> Self {
        let state = Mutex::new(State { dice: StdRng::seed_from_u64(seed), now: Conditions::default() });
        Weather(Arc::new(Shared { power, trace, state, requests: Requests::default() }))
    }

    /// Changes how storage behaves from now on.
    pub fn set(&self, conditions: Conditions) {
        self.state().now = conditions;
    }

    /// Serves the requests that are due.
    pub fn serve(&self, now: Duration) {
        self.0.requests.serve(now);
    }

    /// Serves all requests that are under way, however late.
    pub fn serve_all(&self) {
        self.0.requests.serve(Duration::MAX);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

impl FaultPlan for Weather {
    fn fault(&self, verb: Verb, path: &str) -> Option<Fault> {
        let process = self.0.power.here();
        let mut state = self.state();
        let State { dice, now } = &mut *state;
        let mut strikes = |one_in: u32| one_in > 0 && dice.random_range(0..one_in) == 0;
        let struck = (strikes(now.refuse_one_in), strikes(now.lose_one_in), strikes(now.late_one_in));
        let fault = match struck {
            (true, _, _) => Fault::Refuse,
            (_, true, _) => Fault::LoseAnswer,
            (_, _, true) if matches!(verb, Verb::Put | Verb::Delete) => {
                Fault::Late(Duration::from_micros(dice.random_range(0..=now.latest.as_micros() as u64)))
            }
            _ => Fault::Delay(Duration::from_micros(dice.random_range(0..=now.slowest.as_micros() as u64))),
        };
        let host = process.map_or_else(|| "-".into(), |process| process.host().to_owned());
        let line = format!("{host} {verb:?} {path}: {fault:?}");
        match fault {
            Fault::Delay(_) => self.0.trace.detail(line),
            _ => self.0.trace.note(line),
        }
        Some(fault)
    }

    fn runs(&self) -> BoxFuture<'static, ()> {
        match self.0.power.here() {
            Some(process) => process.runs(),
            None => std::future::ready(()).boxed(),
        }
    }

    fn requests(&self) -> Option<(Requests, Duration)> {
        Some((self.0.requests.clone(), self.0.trace.elapsed()))
    }
}
