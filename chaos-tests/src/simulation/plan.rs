//! What a simulation is made of: everything follows from one number.

use super::{
    database,
    logs::{self, LogStep, Rotations},
    storage::Conditions,
};
use crate::{
    job::JobConfig,
    workload::{InputFormat, WorkloadConfig},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, fmt, time::Duration};

/// The coordinator's host.
pub const COORDINATOR: &str = "coordinator";

/// The host of a worker, from 1.
pub fn worker(number: usize) -> String {
    format!("worker-{number}")
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The process of a host ends; its system closes the connections.
    Crash(String),
    /// A host loses its power: nobody is told. What was not synced is lost, or torn.
    PowerCut(String),
    /// The process of a host stands still, as by `SIGSTOP`, while time goes on.
    Freeze(String),
    /// Nothing gets through between two hosts.
    Cut(String, String),
    /// Nothing gets through from the one to the other.
    OneWayCut(String, String),
    /// What is sent between two hosts waits until it is over.
    Hold(String, String),
    /// What is sent between two hosts takes up to so long.
    SlowLink(String, String, Duration),
    /// Storage behaves otherwise.
    Storage(Conditions),
    /// The database behaves otherwise.
    Database(database::Conditions),
}

/// Trouble, from when on and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts; for a crash: until the host is started again.
    pub lasts: Duration,
    /// What it is.
    pub trouble: Trouble,
}

/// How the job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its input.
    Input,
    /// By `stop --drain`, asked for then.
    Drain(Duration),
}

/// Servers write logs while the job follows them. It is drained when all that they wrote has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedLogs {
    /// How they rotate them.
    pub rotations: Rotations,
    /// What they do, in order.
    pub steps: Vec<LogStep>,
}

/// A crash point, and its visit within a process, from 1.
pub type PointVisit = (String, u64);

/// What random plans leave out, because the recount does not know what is right there, or the cluster is known to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Logs that are removed after all of them was read: if the job is restarted just then, a dead letter says that something
    /// may be lost, which only the recount knows better (seed 1011).
    pub logs_that_are_removed: bool,
}

/// What is left out now.
pub const LEFT_OUT: LeftOut = LeftOut { logs_that_are_removed: true };

impl LeftOut {
    /// Nothing is.
    pub const NOTHING: LeftOut = LeftOut { logs_that_are_removed: false };
}

/// A simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seed of the network, of storage and of the processes' dice.
    pub seed: u64,
    /// The input.
    pub workload: WorkloadConfig,
    /// The job.
    pub job: JobConfig,
    /// Slots of each worker.
    pub slots: Vec<usize>,
    /// The longest that a message takes.
    pub latency: Duration,
    /// The longest pause of a source between two events.
    pub pace: Duration,
    /// Whether the results go into tables of a database, too.
    pub with_store: bool,
    /// Whether the input grows meanwhile.
    pub logs: Option<FollowedLogs>,
    /// When the user starts it over: what it was before is to be forgotten.
    pub start_over_at: Option<Duration>,
    /// How it ends.
    pub ending: Ending,
    /// What goes wrong, in order.
    pub troubles: Vec<Planned>,
    /// By host: where its processes end, one after another.
    pub crash_points: BTreeMap<String, Vec<PointVisit>>,
    /// By host: where its processes freeze, one after another, and for how long. None does that is to end at a point.
    pub freeze_points: BTreeMap<String, Vec<(PointVisit, Duration)>>,
    /// By host: by how many milliseconds its wall clock is wrong.
    pub wrong_clocks: BTreeMap<String, i64>,
}

impl Plan {
    /// Two workers, and nothing goes wrong.
    pub fn calm(seed: u64) -> Self {
        Plan {
            seed,
            workload: WorkloadConfig {
                seed,
                files: 3,
                lines_per_file: 50,
                ads: 4,
                minutes: 9,
                one_late_in: 10,
                one_broken_in: 20,
                ..WorkloadConfig::default()
            },
            job: JobConfig { batch_rows: 6, checkpoint_interval_ms: 150, ..JobConfig::default() },
            slots: vec![1, 1],
            latency: Duration::from_millis(6),
            pace: Duration::from_millis(160),
            with_store: false,
            logs: None,
            start_over_at: None,
            ending: Ending::Input,
            troubles: Vec::new(),
            crash_points: BTreeMap::new(),
            freeze_points: BTreeMap::new(),
            wrong_clocks: BTreeMap::new(),
        }
    }

    /// Everything by chance but what is known to go wrong; crash points among `points`.
    pub fn random(seed: u64, points: &Points) -> Self {
        Plan::random_without(seed, points, LEFT_OUT)
    }

    /// Everything by chance but what is left out; crash points among `points`.
    pub fn random_without(seed: u64, points: &Points, left_out: LeftOut) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut plan = Plan::calm(seed);
        let workers = dice.random_range(2..=3);
        plan.slots = (0..workers).map(|_| dice.random_range(1..=2)).collect();
        let slots: usize = plan.slots.iter().sum();
        plan.job = JobConfig {
            // Without one of the workers there are enough slots left, more often than not.
            parallelism: dice.random_range(1..=slots.min(3)),
            format: InputFormat::ALL[dice.random_range(0..3)],
            batch_rows: dice.random_range(3..12),
            checkpoint_interval_ms: dice.random_range(50..400),
            channel_bytes: [600, 1 << 20][dice.random_range(0..2)],
            count_all: dice.random_range(0..2) == 0,
            allowed_lateness_minutes: dice.random_range(0..8),
            ..plan.job
        };
        plan.latency = Duration::from_millis(dice.random_range(1..20));
        if plan.job.format != InputFormat::Parquet && dice.random_range(0..3) == 0 {
            plan.ending = Ending::Drain(Duration::from_millis(dice.random_range(500..4_000)));
        }
        plan.with_store = dice.random_range(0..2) == 0;
        plan.troubles = troubles(&mut dice, workers, plan.with_store);
        if dice.random_range(0..2) == 0 {
            let host = host(&mut dice, workers);
            let visits = (0..dice.random_range(1..=3)).map(|_| points.any(&mut dice, &host, plan.with_store)).collect();
            plan.crash_points.insert(host, visits);
        }
        if dice.random_range(0..2) == 0 {
            let host = host(&mut dice, workers);
            let visits = (0..dice.random_range(1..=2))
                .map(|_| (points.any(&mut dice, &host, plan.with_store), freeze(&mut dice)));
            plan.freeze_points.insert(host.clone(), visits.collect());
        }
        if dice.random_range(0..3) == 0 {
            plan.wrong_clocks.insert(host(&mut dice, workers), dice.random_range(-90_000_000..90_000_000));
        }
        match dice.random_range(0..6) {
            0 | 1 => {
                let mut some = || dice.random_range(0..2) == 0;
                plan.follow(Rotations {
                    rename: some(),
                    copy_and_truncate: some(),
                    write_anew: some(),
                    remove: some() && !left_out.logs_that_are_removed,
                    same_beginning: some(),
                });
            }
            2 => plan.start_over_at = Some(Duration::from_millis(dice.random_range(300..5_000))),
            _ => {}
        }
        plan
    }

    /// The input is written while the job runs. Nothing of it is late: which log is a file of its own is not for the recount to
    /// say, and what is late follows from a file.
    pub fn follow(&mut self, rotations: Rotations) {
        let workload = &mut self.workload;
        workload.one_late_in = 0;
        self.job.format = match self.job.format {
            InputFormat::Json => InputFormat::Json,
            _ => InputFormat::ClickLog,
        };
        (self.job.follow, self.job.idle_after_ms, self.job.allowed_lateness_minutes) = (true, Some(400), 60);
        let steps = logs::schedule(self.seed, workload.files, workload.lines_per_file, rotations);
        self.ending = Ending::Drain(steps.last().map_or(Duration::ZERO, |last| last.at));
        self.logs = Some(FollowedLogs { rotations, steps });
    }

    /// Calm, but for these crash points on all workers or on the coordinator; something else ends a process first, so that
    /// there is something to recover from.
    pub fn at_point(seed: u64, host: Role, point: &str, visit: u64) -> Self {
        let mut plan = Plan::calm(seed);
        let first = if host == Role::Coordinator { worker(1) } else { COORDINATOR.into() };
        let (at, lasts) = (Duration::from_millis(900), Duration::from_millis(150));
        plan.troubles.push(Planned { at, lasts, trouble: Trouble::Crash(first) });
        let hosts = match host {
            Role::Coordinator => vec![COORDINATOR.to_owned()],
            Role::Worker => (1..=plan.slots.len()).map(worker).collect(),
        };
        plan.crash_points = hosts.into_iter().map(|host| (host, vec![(point.to_owned(), visit)])).collect();
        plan
    }

    /// When the last trouble is over.
    pub fn heals_at(&self) -> Duration {
        let troubles = self.troubles.iter().map(|planned| planned.at + planned.lasts);
        let steps = self.logs.iter().flat_map(|logs| &logs.steps).map(|step| step.at);
        troubles.chain(steps).chain(self.start_over_at).max().unwrap_or_default()
    }
}

/// Which kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A coordinator.
    Coordinator,
    /// A worker.
    Worker,
}

impl Role {
    /// Of a host.
    pub fn of(host: &str) -> Self {
        if host == COORDINATOR { Role::Coordinator } else { Role::Worker }
    }
}

/// The crash points that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Points {
    /// That a coordinator passes.
    pub coordinator: Vec<String>,
    /// That a worker passes.
    pub worker: Vec<String>,
    /// That a worker passes, besides, where there is a database.
    pub database: Vec<String>,
}

impl Points {
    /// Some visit of one that the processes of a host pass.
    fn any(&self, dice: &mut StdRng, host: &str, with_store: bool) -> PointVisit {
        let known = match host {
            COORDINATOR => &self.coordinator,
            _ if with_store && dice.random_range(0..3) == 0 => &self.database,
            _ => &self.worker,
        };
        let most = [1, 2, 30][dice.random_range(0..3)];
        (known[dice.random_range(0..known.len())].clone(), dice.random_range(1..=most))
    }
}

/// How long a process stands still: hardly, or so long that it is replaced.
fn freeze(dice: &mut StdRng) -> Duration {
    let (from, to) = [(20, 400), (400, 1_500), (1_500, 6_000)][dice.random_range(0..3)];
    Duration::from_millis(dice.random_range(from..to))
}

fn host(dice: &mut StdRng, workers: usize) -> String {
    match dice.random_range(0..=workers) {
        0 => COORDINATOR.into(),
        number => worker(number),
    }
}

/// Some of each kind; on the network one after another, the rest whenever it wants.
fn troubles(dice: &mut StdRng, workers: usize, with_store: bool) -> Vec<Planned> {
    let millis = |dice: &mut StdRng, from, to| Duration::from_millis(dice.random_range(from..to));
    let mut planned = Vec::new();
    for _ in 0..dice.random_range(0..=3) {
        let host = host(dice, workers);
        let trouble = if dice.random_range(0..3) == 0 { Trouble::PowerCut(host) } else { Trouble::Crash(host) };
        planned.push(Planned { at: millis(dice, 50, 5_000), lasts: millis(dice, 10, 1_500), trouble });
    }
    for _ in 0..dice.random_range(0..=2) {
        let (host, lasts) = (host(dice, workers), freeze(dice));
        planned.push(Planned { at: millis(dice, 50, 5_000), lasts, trouble: Trouble::Freeze(host) });
    }
    let mut free_from = millis(dice, 0, 2_000);
    for _ in 0..dice.random_range(0..=2) {
        let from = host(dice, workers);
        let to = loop {
            let to = host(dice, workers);
            if to != from {
                break to;
            }
        };
        let trouble = match dice.random_range(0..4) {
            0 => Trouble::Cut(from, to),
            1 => Trouble::OneWayCut(from, to),
            2 => Trouble::Hold(from, to),
            _ => Trouble::SlowLink(from, to, millis(dice, 50, 500)),
        };
        let lasts = millis(dice, 50, 2_500);
        planned.push(Planned { at: free_from, lasts, trouble });
        free_from += lasts + millis(dice, 1, 1_500);
    }
    if dice.random_range(0..2) == 0 {
        let one_in = |dice: &mut StdRng| [0, 12, 40][dice.random_range(0..3)];
        let conditions = Conditions {
            slowest: [8, 100, 900].map(Duration::from_millis)[dice.random_range(0..3)],
            refuse_one_in: one_in(dice),
            lose_one_in: one_in(dice),
            late_one_in: one_in(dice),
            latest: [30, 600, 8_000].map(Duration::from_millis)[dice.random_range(0..3)],
        };
        let (at, lasts) = (millis(dice, 0, 3_000), millis(dice, 200, 3_000));
        planned.push(Planned { at, lasts, trouble: Trouble::Storage(conditions) });
    }
    if with_store && dice.random_range(0..2) == 0 {
        let one_in = |dice: &mut StdRng| [0, 15, 50][dice.random_range(0..3)];
        let conditions = database::Conditions {
            slowest: [1, 10, 60].map(Duration::from_millis)[dice.random_range(0..3)],
            is_down: dice.random_range(0..3) == 0,
            refuse_one_in: one_in(dice),
            lose_one_in: one_in(dice),
        };
        let (at, lasts) = (millis(dice, 0, 3_000), millis(dice, 200, 3_000));
        planned.push(Planned { at, lasts, trouble: Trouble::Database(conditions) });
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {:?}, {:?}", self.seed, self.job, self.workload)?;
        let store = if self.with_store { ", with a database" } else { "" };
        let Plan { slots, latency, pace, ending, start_over_at, .. } = self;
        writeln!(f, "  slots {slots:?}, latency {latency:?}, pace {pace:?}, {ending:?}{store}")?;
        if let Some(at) = start_over_at {
            writeln!(f, "  is started over at {at:?}")?;
        }
        if let Some(logs) = &self.logs {
            writeln!(f, "  logs: {:?}", logs.rotations)?;
            logs.steps
                .iter()
                .try_for_each(|step| writeln!(f, "  at {:?} server {}: {:?}", step.at, step.server, step.act))?;
        }
        for Planned { at, lasts, trouble } in &self.troubles {
            writeln!(f, "  at {at:?} for {lasts:?}: {trouble:?}")?;
        }
        for (host, points) in &self.crash_points {
            writeln!(f, "  {host} ends at {points:?}")?;
        }
        for (host, points) in &self.freeze_points {
            writeln!(f, "  {host} freezes at {points:?}")?;
        }
        for (host, wrong) in &self.wrong_clocks {
            writeln!(f, "  {host}'s clock is wrong by {wrong} ms")?;
        }
        Ok(())
    }
}
