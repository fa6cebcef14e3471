//! The only access to time, randomness and injected crashes.
//!
//! Everything that waits, reads a clock or throws dice takes an [`Env`]. Under a paused or simulated tokio runtime the
//! clock is virtual and the dice are seeded, so that a run can be repeated. No result of a job depends on either.
#![allow(clippy::disallowed_methods, reason = "this is the door")]

use crate::error::{EngineError, ErrorKind, Result};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// A moment on the monotonic clock.
pub type Moment = tokio::time::Instant;

/// Reads a wall clock: milliseconds since the epoch.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Time, chance and crash points of one run. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    seed: u64,
    crash_points: Option<Arc<CrashPlan>>,
    nonces: Arc<AtomicU64>,
    /// How far the wall clock is ahead of the cluster's.
    clock_ahead_ms: Arc<AtomicI64>,
    simulated: Option<Simulated>,
}

/// What only a simulation has: everything happens on one thread.
#[derive(Clone)]
struct Simulated {
    wall_clock: WallClock,
    door: Option<Arc<dyn Door>>,
}

/// What stands between a simulated process and whatever is outside of it, so that a process can be frozen, and what it asks
/// for can be slow, refused, or done without an answer.
pub trait Door: Send + Sync {
    /// Returns while the process runs: of a frozen one when it thaws, of one that has ended never.
    fn pass(&self) -> BoxFuture<'static, ()>;

    /// A request goes out to a server whose driver has threads of its own.
    ///
    /// # Errors
    /// When the server refuses it, and nothing is done.
    fn request<'a>(&'a self, what: &'a str) -> BoxFuture<'a, io::Result<()>>;

    /// Its answer comes back.
    ///
    /// # Errors
    /// When it is lost: what was asked for is done all the same.
    fn answer<'a>(&'a self, what: &'a str) -> BoxFuture<'a, io::Result<()>>;
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simulated = self.simulated.is_some();
        f.debug_struct("Env").field("seed", &self.seed).field("simulated", &simulated).finish_non_exhaustive()
    }
}

impl Default for Env {
    fn default() -> Self {
        Env::seeded(0)
    }
}

impl Env {
    /// An environment whose dice follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Env { seed, crash_points: None, nonces: Arc::default(), clock_ahead_ms: Arc::default(), simulated: None }
    }

    /// An environment within a simulation on one thread: its dice follow from `seed`, its wall clock is the given one, and
    /// work that blocks is done on the spot, so that nothing depends on how the system schedules threads.
    pub fn simulated(seed: u64, wall_clock: WallClock) -> Self {
        Env { simulated: Some(Simulated { wall_clock, door: None }), ..Env::seeded(seed) }
    }

    /// The same, with a door that everything outside of the simulated process lies behind.
    pub fn with_door(mut self, door: Arc<dyn Door>) -> Self {
        if let Some(simulated) = &mut self.simulated {
            simulated.door = Some(door);
        }
        self
    }

    /// Whether time is simulated: then nothing may wait in real time.
    pub fn is_simulated(&self) -> bool {
        self.simulated.is_some()
    }

    fn door(&self) -> Option<&dyn Door> {
        self.simulated.as_ref()?.door.as_deref()
    }

    /// An environment whose dice differ from run to run: for real processes.
    pub fn from_entropy() -> Self {
        use std::hash::BuildHasher;
        Env::seeded(std::hash::RandomState::new().hash_one(std::process::id()))
    }

    /// The same, with crashes planned at named points.
    pub fn with_crash_plan(mut self, plan: Arc<CrashPlan>) -> Self {
        self.crash_points = Some(plan);
        self
    }

    /// Now, on the monotonic clock. Never decides what a result is.
    pub fn now(&self) -> Moment {
        Moment::now()
    }

    /// Milliseconds since the epoch on the wall clock: for people to read, and for what a definition measures against it
    /// (`max_ahead`). Nothing else is decided by it.
    pub fn wall_clock_ms(&self) -> i64 {
        if let Some(simulated) = &self.simulated {
            return (simulated.wall_clock)();
        }
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    /// The same on the cluster's clock, which is its coordinator's, as far as that is known here: for moments that are shown beside
    /// those of other machines. It is this machine's clock until [`Env::set_clock_ahead`] has said otherwise.
    pub fn cluster_clock_ms(&self) -> i64 {
        self.wall_clock_ms().saturating_sub(self.clock_ahead_ms.load(Ordering::Relaxed))
    }

    /// How far the wall clock is ahead of the cluster's, as was measured. Holds for all clones.
    pub fn set_clock_ahead(&self, ahead_ms: i64) {
        self.clock_ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
        self.pass().await;
    }

    /// Waits until a moment.
    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep_until(moment).await;
        self.pass().await;
    }

    /// A process that is frozen in a simulation finds out that time is over when it thaws.
    async fn pass(&self) {
        if let Some(door) = self.door() {
            door.pass().await;
        }
    }

    /// Dice for one purpose; the same seed and purpose give the same numbers.
    pub fn rng(&self, purpose: &str) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ xxhash_rust::xxh3::xxh3_64(purpose.as_bytes()))
    }

    /// A number that this environment gives only once.
    pub fn nonce(&self) -> u64 {
        let count = self.nonces.fetch_add(1, Ordering::Relaxed);
        xxhash_rust::xxh3::xxh3_64_with_seed(&count.to_le_bytes(), self.seed)
    }

    /// Runs work that blocks a thread (encoding, writing to disk) where it holds nothing up.
    ///
    /// # Errors
    /// Its own, or that it panicked.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.simulated.is_some() {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(EngineError::internal(format!("work beside the processing failed: {error}"))),
        }
    }

    /// Waits for a server whose driver has threads of its own, such as that of a database. Behind a door, whose time must not
    /// advance meanwhile, it is waited for on the spot.
    ///
    /// # Errors
    /// Only behind a door: when the server refuses, or its answer is lost.
    pub async fn ask<T>(&self, what: &str, work: impl Future<Output = T>) -> io::Result<T> {
        let Some(door) = self.simulated.as_ref().and_then(|simulated| simulated.door.as_ref()) else {
            return Ok(work.await);
        };
        door.request(what).await?;
        let answer = futures::executor::block_on(work);
        door.answer(what).await?;
        Ok(answer)
    }

    /// A named point between two steps, at which a test may end the run as a crash would.
    ///
    /// The error must be passed up without any cleaning up on the way.
    ///
    /// # Errors
    /// [`ErrorKind::Crash`] when the plan says so, and from then on at every further point of the same run.
    pub fn crash_point(&self, name: &'static str) -> Result<()> {
        match &self.crash_points {
            None => Ok(()),
            Some(plan) => plan.hit(name),
        }
    }

    /// The planned crash, if it has happened.
    pub fn crash(&self) -> Option<EngineError> {
        let plan = self.crash_points.as_ref()?;
        plan.crashed().then(|| plan.crash())
    }

    /// Waits for the planned crash: whoever stands for the process ends with it.
    pub async fn crashed(&self) -> EngineError {
        let Some(plan) = &self.crash_points else { return std::future::pending().await };
        // The sender lives as long as self.
        let _ = plan.crashed.subscribe().wait_for(|crashed| *crashed).await;
        plan.crash()
    }
}

/// Which named point ends the run, at which visit. Counts the visits of all points on the way, so that a test can learn
/// which points there are.
#[derive(Default)]
pub struct CrashPlan {
    target: Option<(String, u64)>,
    then: Then,
    visits: Mutex<BTreeMap<&'static str, u64>>,
    crashed: watch::Sender<bool>,
}

/// What happens at the point.
#[derive(Default)]
enum Then {
    /// The run ends.
    #[default]
    Crash,
    /// This ends whatever is to end, at once.
    End(Box<dyn Fn() + Send + Sync>),
    /// This returns when the run may continue.
    Stand(Box<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for CrashPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashPlan").field("target", &self.target).finish_non_exhaustive()
    }
}

impl CrashPlan {
    /// Crashes nowhere, only counts.
    pub fn observe() -> Arc<Self> {
        Arc::default()
    }

    /// Crashes at the `visit`-th visit (from 1) of the point `name`.
    pub fn crash_at(name: impl Into<String>, visit: u64) -> Arc<Self> {
        Arc::new(CrashPlan { target: Some((name.into(), visit)), ..CrashPlan::default() })
    }

    /// The same, ending the whole process at once, as `kill -9` does. From `NAME` or `NAME:VISIT`.
    ///
    /// # Errors
    /// When the visit is not a number.
    pub fn abort_at(text: &str) -> Result<Arc<Self>> {
        let (name, visit) = match text.rsplit_once(':') {
            Some((name, visit)) => (
                name,
                visit.parse().map_err(|_| {
                    EngineError::definition(format!("crash point '{text}': '{visit}' is not a visit number"))
                })?,
            ),
            None => (text, 1),
        };
        Ok(Self::end_at(name, visit, || std::process::abort()))
    }

    /// The same, ending by `end` what is to end: it is called at the point itself, before anybody else can do anything.
    pub fn end_at(name: impl Into<String>, visit: u64, end: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(CrashPlan {
            target: Some((name.into(), visit)),
            then: Then::End(Box::new(end)),
            ..CrashPlan::default()
        })
    }

    /// Crashes nowhere, but stands still at the point, as a process that is stopped, until `stand` returns.
    pub fn stand_at(name: impl Into<String>, visit: u64, stand: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(CrashPlan {
            target: Some((name.into(), visit)),
            then: Then::Stand(Box::new(stand)),
            ..CrashPlan::default()
        })
    }

    /// How often each point was visited so far.
    pub fn visits(&self) -> BTreeMap<&'static str, u64> {
        self.visits.lock().clone()
    }

    /// Whether the crash happened.
    pub fn crashed(&self) -> bool {
        *self.crashed.borrow()
    }

    fn hit(&self, name: &'static str) -> Result<()> {
        if self.crashed() {
            return Err(self.crash());
        }
        let visit = {
            let mut visits = self.visits.lock();
            let visit = visits.entry(name).or_default();
            *visit += 1;
            *visit
        };
        match &self.target {
            Some((target, at)) if target == name && *at == visit => {
                if let Then::Stand(stand) = &self.then {
                    stand();
                    return Ok(());
                }
                self.crashed.send_replace(true);
                if let Then::End(end) = &self.then {
                    end();
                }
                Err(self.crash())
            }
            _ => Ok(()),
        }
    }

    fn crash(&self) -> EngineError {
        let at = self.target.as_ref().map_or("", |(name, _)| name);
        EngineError::of(ErrorKind::Crash, format!("crash asked for at '{at}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_happens_once_at_its_visit_and_then_everywhere() {
        let plan = CrashPlan::crash_at("b", 2);
        let env = Env::seeded(1).with_crash_plan(plan.clone());
        env.crash_point("a").unwrap();
        env.crash_point("b").unwrap();
        env.crash_point("a").unwrap();
        assert_eq!(env.crash_point("b").unwrap_err().kind, ErrorKind::Crash);
        assert!(env.crash_point("a").is_err(), "the dead do nothing any more");
        assert_eq!(plan.visits()["b"], 2);
    }

    #[tokio::test]
    async fn whoever_stands_for_the_process_hears_of_its_crash() {
        let env = Env::seeded(1).with_crash_plan(CrashPlan::crash_at("a", 1));
        let part = env.clone();
        let waiting = tokio::spawn(async move { part.crashed().await });
        assert!(env.crash().is_none());
        env.crash_point("a").unwrap_err();
        assert_eq!(waiting.await.unwrap().kind, ErrorKind::Crash);
        assert_eq!(env.crashed().await.message, env.crash().unwrap().message, "and later");
    }

    #[test]
    fn whoever_is_to_end_is_told_at_the_point_and_once() {
        let ends = Arc::new(AtomicU64::new(0));
        let counted = ends.clone();
        let plan = CrashPlan::end_at("a", 1, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let env = Env::seeded(1).with_crash_plan(plan);
        assert!(env.crash_point("a").is_err() && env.crash_point("a").is_err());
        assert_eq!(ends.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn whoever_stands_still_goes_on() {
        let stood = Arc::new(AtomicU64::new(0));
        let counted = stood.clone();
        let plan = CrashPlan::stand_at("a", 2, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let env = Env::seeded(1).with_crash_plan(plan.clone());
        (0..4).for_each(|_| env.crash_point("a").unwrap());
        assert_eq!((stood.load(Ordering::SeqCst), plan.crashed()), (1, false));
    }

    #[tokio::test]
    async fn a_simulation_has_one_thread_and_its_own_clock() {
        let env = Env::simulated(1, Arc::new(|| 42));
        assert_eq!(env.wall_clock_ms(), 42);
        let here = std::thread::current().id();
        assert_eq!(env.run_blocking(|| Ok(std::thread::current().id())).await.unwrap(), here);
    }

    #[test]
    fn all_parts_of_a_process_know_the_clusters_clock() {
        let env = Env::simulated(1, Arc::new(|| 3_600_042));
        let part = env.clone();
        env.set_clock_ahead(3_600_000);
        assert_eq!((part.cluster_clock_ms(), part.wall_clock_ms()), (42, 3_600_042));
    }

    #[test]
    fn dice_follow_from_seed_and_purpose() {
        use rand::RngExt;
        let roll = |seed, purpose| Env::seeded(seed).rng(purpose).random::<u64>();
        assert_eq!(roll(1, "x"), roll(1, "x"));
        assert_ne!(roll(1, "x"), roll(2, "x"));
        assert_ne!(roll(1, "x"), roll(1, "y"));
    }
}
