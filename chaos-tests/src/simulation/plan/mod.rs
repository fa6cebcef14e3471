//! What a simulation is made of: everything follows from one number.

mod random;

use super::{
    link,
    logs::{self, LogStep, Rotations},
    replays::{PlannedReplay, When, replayer},
    storage::Conditions,
};
use crate::{
    job::JobConfig,
    workload::{InputFormat, WorkloadConfig},
};
use std::{collections::BTreeMap, fmt, time::Duration};

/// The coordinator's host; of several, the first one's.
pub const COORDINATOR: &str = "coordinator";

/// Stands for the host of whichever coordinator leads when a trouble begins.
pub const LEADER: &str = "leader";

/// Longer than a worker runs on without a coordinator, where there is one.
pub const PAST_THE_LEASE: Duration = Duration::from_millis(700);

/// The host of a coordinator, from 1.
pub fn coordinator(number: usize) -> String {
    if number == 1 { COORDINATOR.into() } else { format!("{COORDINATOR}-{number}") }
}

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
    /// A worker is asked to leave; it is killed if it has not when this is over. Then it is started again.
    Leave(String),
    /// Nothing gets through between a host and all others.
    Isolate(String),
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
    Database(link::Conditions),
    /// The webhook, or the way to it, is otherwise.
    Webhook(link::Conditions),
    /// Kafka's brokers, or the way to them, are otherwise.
    Kafka(weir_kafka_model::Conditions),
    /// Nothing gets through between a host and Kafka's brokers.
    KafkaCut(String),
    /// Somebody else has a transaction open in the topic of the progress.
    KafkaOpen,
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

/// A simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seed of the network, of storage and of the processes' dice.
    pub seed: u64,
    /// The input.
    pub workload: WorkloadConfig,
    /// The job.
    pub job: JobConfig,
    /// How many coordinators there are.
    pub coordinators: usize,
    /// How long workers go on without a leader; no shorter than their lease.
    pub leaderless: Duration,
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
    /// What is counted again from the raw archive, in the order of the times.
    pub replays: Vec<PlannedReplay>,
    /// When the user starts it over: what it was before is to be forgotten.
    pub start_over_at: Option<Duration>,
    /// How long the system takes to notice that a process has ended by itself, and to start it again.
    pub restart_after: Duration,
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
            coordinators: 1,
            leaderless: Duration::ZERO,
            slots: vec![1, 1],
            latency: Duration::from_millis(6),
            pace: Duration::from_millis(160),
            with_store: false,
            logs: None,
            replays: Vec::new(),
            start_over_at: None,
            restart_after: Duration::from_millis(250),
            ending: Ending::Input,
            troubles: Vec::new(),
            crash_points: BTreeMap::new(),
            freeze_points: BTreeMap::new(),
            wrong_clocks: BTreeMap::new(),
        }
    }

    /// Minutes are counted again from the raw archive; at the end all of them, twice. Clicks are of two hours or more, and the job
    /// reads all of them: what is final while it runs can so be recounted from the whole input.
    pub fn replay(&mut self, mut replays: Vec<PlannedReplay>) {
        self.with_store = true;
        self.ending = Ending::Input;
        self.job.archive_by_hour = true;
        self.workload.begins_at_minute = 55;
        replays.sort_by_key(|replay| match replay.when {
            When::At(at) => at,
            When::AtEnd => Duration::MAX,
        });
        let all = PlannedReplay { when: When::AtEnd, host: 1, from: None, to: None, damage: None };
        replays.extend([all.clone(), all]);
        self.replays = replays;
    }

    /// Nothing is counted again.
    fn let_replays_be(&mut self) {
        let of_replayer = |host: &String| Role::of(host) == Role::Replayer;
        self.troubles.retain(
            |planned| !matches!(&planned.trouble, Trouble::Crash(host) | Trouble::Freeze(host) if of_replayer(host)),
        );
        self.crash_points.retain(|host, _| !of_replayer(host));
        self.freeze_points.retain(|host, _| !of_replayer(host));
        self.replays.clear();
        self.job.wrong_filter = false;
    }

    /// The input is written while the job runs. Nothing of it is late: which log is a file of its own is not for the recount to
    /// say, and what is late follows from a file.
    pub fn follow(&mut self, rotations: Rotations) {
        self.let_replays_be();
        let workload = &mut self.workload;
        workload.one_late_in = 0;
        self.job.format = match self.job.format {
            InputFormat::Json => InputFormat::Json,
            _ => InputFormat::ClickLog,
        };
        (self.job.follow, self.job.idle_after_ms, self.job.allowed_lateness_minutes) = (true, Some(400), 60);
        self.job.max_drift_ms = self.seed.is_multiple_of(2).then_some(30_000);
        let steps = logs::schedule(self.seed, workload.files, workload.lines_per_file, rotations);
        self.ending = Ending::Drain(steps.last().map_or(Duration::ZERO, |last| last.at));
        self.logs = Some(FollowedLogs { rotations, steps });
    }

    /// Calm, but for these crash points, at which the processes of all workers or of the coordinator end one after the other;
    /// something else ends a process first, so that there is something to recover from.
    pub fn at_points(seed: u64, host: Role, points: &[PointVisit]) -> Self {
        let mut plan = Plan::calm(seed);
        let (first, lasts) = match host {
            Role::Coordinator => (worker(1), Duration::from_millis(150)),
            _ => (COORDINATOR.into(), PAST_THE_LEASE),
        };
        plan.troubles.push(Planned { at: Duration::from_millis(900), lasts, trouble: Trouble::Crash(first) });
        // Some points are passed only on the way to another attempt, and a coordinator that is back soon takes over what runs.
        plan.restart_after = PAST_THE_LEASE;
        let hosts = match host {
            Role::Coordinator => vec![COORDINATOR.to_owned()],
            Role::Worker => (1..=plan.slots.len()).map(worker).collect(),
            Role::Replayer => vec![replayer(1)],
        };
        plan.crash_points = hosts.into_iter().map(|host| (host, points.to_vec())).collect();
        plan
    }

    /// When the last trouble is over.
    pub fn heals_at(&self) -> Duration {
        let troubles = self.troubles.iter().map(|planned| planned.at + planned.lasts);
        let steps = self.logs.iter().flat_map(|logs| &logs.steps).map(|step| step.at);
        let replays = self.replays.iter().filter_map(|replay| match replay.when {
            When::At(at) => Some(at),
            When::AtEnd => None,
        });
        troubles.chain(steps).chain(replays).chain(self.start_over_at).max().unwrap_or_default()
    }
}

/// Which kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A coordinator.
    Coordinator,
    /// A worker.
    Worker,
    /// A user who counts again.
    Replayer,
}

impl Role {
    /// Of a host.
    pub fn of(host: &str) -> Self {
        match host {
            host if host.starts_with(COORDINATOR) => Role::Coordinator,
            host if host.starts_with("replay-") => Role::Replayer,
            _ => Role::Worker,
        }
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
    /// That somebody passes who counts again.
    pub replayer: Vec<String>,
    /// That a worker passes, besides, where results go to Kafka.
    pub kafka: Vec<String>,
    /// That a worker passes, besides, where results are posted.
    pub webhook: Vec<String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {:?}, {:?}", self.seed, self.job, self.workload)?;
        let store = if self.with_store { ", with a database" } else { "" };
        let Plan { coordinators, leaderless, slots, latency, pace, ending, start_over_at, .. } = self;
        writeln!(
            f,
            "  coordinators {coordinators}, leaderless {leaderless:?}, slots {slots:?}, latency {latency:?}, pace {pace:?}, {ending:?}{store}"
        )?;
        if let Some(at) = start_over_at {
            writeln!(f, "  is started over at {at:?}")?;
        }
        if let Some(logs) = &self.logs {
            writeln!(f, "  logs: {:?}", logs.rotations)?;
            logs.steps
                .iter()
                .try_for_each(|step| writeln!(f, "  at {:?} server {}: {:?}", step.at, step.server, step.act))?;
        }
        self.replays.iter().try_for_each(|replay| writeln!(f, "  {replay:?}"))?;
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
