//! The simulation's object storage: shared by all processes, never quite at once, failing when it is told to.

use super::{power::Power, trace::Trace};
use crate::faults::store::{Fault, FaultPlan, Gate, Verb};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// How storage behaves. Cheap to clone.
#[derive(Clone)]
pub struct Weather(Arc<Shared>);

struct Shared {
    power: Power,
    trace: Trace,
    state: Mutex<State>,
    never: Arc<Gate>,
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
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions { slowest: Duration::from_millis(8), refuse_one_in: 0, lose_one_in: 0 }
    }
}

impl Weather {
    /// Fair, with dice from a seed.
    pub fn new(seed: u64, power: Power, trace: Trace) -> Self {
        let state = Mutex::new(State { dice: StdRng::seed_from_u64(seed), now: Conditions::default() });
        Weather(Arc::new(Shared { power, trace, state, never: Arc::default() }))
    }

    /// Changes how storage behaves from now on.
    pub fn set(&self, conditions: Conditions) {
        self.state().now = conditions;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl FaultPlan for Weather {
    fn fault(&self, verb: Verb, path: &str) -> Option<Fault> {
        let process = self.0.power.here();
        if process.as_ref().is_some_and(|process| process.has_ended()) {
            return Some(Fault::FreezeBefore(self.0.never.clone()));
        }
        let mut state = self.state();
        let State { dice, now } = &mut *state;
        let mut strikes = |one_in: u32| one_in > 0 && dice.random_range(0..one_in) == 0;
        let fault = match (strikes(now.refuse_one_in), strikes(now.lose_one_in)) {
            (true, _) => Fault::Refuse,
            (_, true) => Fault::LoseAnswer,
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

    fn has_ended(&self) -> bool {
        self.0.power.here().is_some_and(|process| process.has_ended())
    }
}
