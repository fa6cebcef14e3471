//! What happened in a simulation, line by line with virtual times: what two runs of one seed are compared by.

use parking_lot::{Mutex, MutexGuard};
use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use weir_engine::env::WallClock;

/// 2024-01-01 00:00:00 UTC: when every simulation begins.
const BEGINNING_MS: i64 = 1_704_067_200_000;

/// A simulation's log and clock. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    now_us: AtomicU64,
    sealed: AtomicBool,
    lines: Mutex<Vec<Line>>,
}

#[derive(Clone, Debug)]
struct Line {
    at: Duration,
    text: String,
    is_detail: bool,
}

impl Trace {
    /// Moves the clock on.
    pub fn set_time(&self, elapsed: Duration) {
        self.0.now_us.store(elapsed.as_micros() as u64, Ordering::Relaxed);
    }

    /// Virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.now_us.load(Ordering::Relaxed))
    }

    /// The wall clock of a host, which goes wrong by so many milliseconds.
    pub fn wall_clock(&self, wrong_by_ms: i64) -> WallClock {
        let clock = self.clone();
        Arc::new(move || BEGINNING_MS + wrong_by_ms + clock.elapsed().as_millis() as i64)
    }

    /// Takes down what somebody who reads a failure wants to know.
    pub fn note(&self, what: impl Display) {
        self.push(what, false);
    }

    /// Takes down what only a comparison wants to know.
    pub fn detail(&self, what: impl Display) {
        self.push(what, true);
    }

    /// Takes nothing down any more: the cluster is being cleared away, in whatever order.
    pub fn seal(&self) {
        self.0.sealed.store(true, Ordering::Relaxed);
    }

    fn push(&self, what: impl Display, is_detail: bool) {
        if self.0.sealed.load(Ordering::Relaxed) {
            return;
        }
        let line = Line { at: self.elapsed(), text: what.to_string(), is_detail };
        self.lines().push(line);
    }

    /// The story, with or without its details.
    pub fn story(&self, with_details: bool) -> Vec<String> {
        let lines = self.lines();
        let told = lines.iter().filter(|line| with_details || !line.is_detail);
        told.map(|line| format!("{:>9.3} {}", line.at.as_secs_f64(), line.text)).collect()
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lines.lock()
    }
}
