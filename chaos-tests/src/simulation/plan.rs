//! What a simulation is made of: everything follows from one number.

use super::{
    campaigns::Campaigns,
    link,
    logs::{self, LogStep, Rotations},
    replays::{Damage, PlannedReplay, REPLAYERS, When, replayer},
    storage::Conditions,
};
use crate::{
    job::{JobConfig, Outputs},
    oracle::{Others, WindowJoin},
    workload::{InputFormat, WorkloadConfig},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
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

    /// Everything by chance; crash points among `points`.
    pub fn random(seed: u64, points: &Points) -> Self {
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
        // No dice, so that everything else of a seed stays as it is.
        plan.job.others = Others::of_seed(seed);
        plan.job.outputs = match seed % 7 {
            0 | 1 => Outputs::Text,
            2 => Outputs::Avro,
            _ => Outputs::Parquet,
        };
        plan.job.window_join = WindowJoin::of_seed(seed);
        plan.leaderless = Duration::from_secs([0, 2, 60][(seed % 3) as usize]);
        plan.job.pairs = seed.is_multiple_of(3);
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
                    remove: some(),
                    same_beginning: some(),
                });
            }
            2 => plan.start_over_at = Some(Duration::from_millis(dice.random_range(300..5_000))),
            _ => {}
        }
        // Dice of their own, so that everything else of a seed stays as it is.
        let mut dice = StdRng::seed_from_u64(seed ^ 0x9e9_1a75);
        let may_be_replayed = plan.with_store && plan.logs.is_none() && plan.start_over_at.is_none();
        if may_be_replayed && dice.random_range(0..2) == 0 {
            plan.replay_at_random(&mut dice, points);
        }
        let mut dice = StdRng::seed_from_u64(seed ^ 0x686f_6f6b);
        if plan.start_over_at.is_none() && dice.random_range(0..2) == 0 {
            plan.post_at_random(&mut dice, points);
        }
        let mut dice = StdRng::seed_from_u64(seed ^ 0x6c6f_6f6b);
        plan.job.campaigns = Campaigns::of_seed(seed);
        if plan.job.campaigns.is_some() {
            plan.trouble_lookups_at_random(&mut dice);
        }
        let mut dice = StdRng::seed_from_u64(seed ^ 0x7468_7265);
        if dice.random_range(0..3) == 0 {
            plan.have_three_coordinators(&mut dice);
        }
        let mut dice = StdRng::seed_from_u64(seed ^ 0x6472_6169);
        if dice.random_range(0..2) == 0 {
            plan.have_workers_leave(&mut dice);
        }
        plan
    }

    /// Workers are asked to leave, with room elsewhere or without.
    fn have_workers_leave(&mut self, dice: &mut StdRng) {
        let millis = |dice: &mut StdRng, from, to| Duration::from_millis(dice.random_range(from..to));
        for _ in 0..dice.random_range(1..=3) {
            let host = worker(dice.random_range(1..=self.slots.len()));
            let (at, lasts) = (millis(dice, 300, 6_000), millis(dice, 100, 4_000));
            self.troubles.push(Planned { at, lasts, trouble: Trouble::Leave(host) });
        }
        self.troubles.sort_by_key(|planned| planned.at);
    }

    /// Three coordinators. What befell the only one befalls any of them, or whichever leads; and that has troubles of its own.
    pub fn have_three_coordinators(&mut self, dice: &mut StdRng) {
        self.coordinators = 3;
        let any = |dice: &mut StdRng| match dice.random_range(0..=3) {
            0 => LEADER.to_owned(),
            number => coordinator(number),
        };
        for Planned { trouble, .. } in &mut self.troubles {
            match trouble {
                Trouble::Crash(host) | Trouble::PowerCut(host) | Trouble::Freeze(host) if host == COORDINATOR => {
                    *host = any(dice);
                }
                _ => {}
            }
        }
        for _ in 0..dice.random_range(0..=3) {
            let millis = |dice: &mut StdRng, from, to| Duration::from_millis(dice.random_range(from..to));
            let (at, lasts, host) = (millis(dice, 300, 6_000), millis(dice, 10, 3_000), any(dice));
            let trouble = match dice.random_range(0..5) {
                0 => Trouble::Freeze(host),
                1 => Trouble::Isolate(host),
                2 => Trouble::PowerCut(host),
                _ => Trouble::Crash(host),
            };
            self.troubles.push(Planned { at, lasts, trouble });
        }
        self.troubles.sort_by_key(|planned| planned.at);
        if let Some(visits) = self.crash_points.get(COORDINATOR).cloned() {
            // They are passed by whoever leads.
            (2..=3).for_each(|number| drop(self.crash_points.insert(coordinator(number), visits.clone())));
        }
    }

    /// The same, and results go to Kafka, too. (Not of a job that is started over: nothing goes of what its topics had before.)
    pub fn random_with_kafka(seed: u64, points: &Points) -> Self {
        let mut plan = Plan::random(seed, points);
        let mut dice = StdRng::seed_from_u64(seed ^ 0x6b61_666b);
        if plan.replays.is_empty() && plan.start_over_at.is_none() {
            plan.with_kafka_at_random(&mut dice, points);
        }
        plan
    }

    /// Results go to Kafka, too, whose brokers have troubles of their own; perhaps the clicks come from it.
    pub fn with_kafka_at_random(&mut self, dice: &mut StdRng, points: &Points) {
        self.job.to_kafka = true;
        let is_line = self.job.format != InputFormat::Parquet;
        if self.logs.is_none() && is_line && dice.random_range(0..2) == 0 {
            (self.job.from_kafka, self.job.two_sources) = (true, false);
            self.ending = Ending::Input;
        }
        let workers = self.slots.len();
        for _ in 0..dice.random_range(0..=4) {
            let trouble = match dice.random_range(0..5) {
                0 => Trouble::KafkaOpen,
                1 => Trouble::KafkaCut(worker(dice.random_range(1..=workers))),
                _ => Trouble::Kafka(kafka_conditions(dice)),
            };
            let millis = |dice: &mut StdRng, from, to| Duration::from_millis(dice.random_range(from..to));
            self.troubles.push(Planned { at: millis(dice, 50, 6_000), lasts: millis(dice, 100, 4_000), trouble });
        }
        self.troubles.sort_by_key(|planned| planned.at);
        let host = worker(dice.random_range(1..=workers));
        if !points.kafka.is_empty() && !self.crash_points.contains_key(&host) && dice.random_range(0..2) == 0 {
            let point = points.kafka[dice.random_range(0..points.kafka.len())].clone();
            let visit = (point, [1, 2, 8][dice.random_range(0..3)]);
            match dice.random_range(0..2) {
                0 => self.crash_points.insert(host, vec![visit]).is_some(),
                _ => self.freeze_points.insert(host, vec![(visit, freeze(dice))]).is_some(),
            };
        }
    }

    /// Results are posted to a webhook, too. (Not of a job that is started over: what the run before has posted stays.)
    fn post_at_random(&mut self, dice: &mut StdRng, points: &Points) {
        self.job.to_webhook = true;
        let millis = |dice: &mut StdRng, from, to| Duration::from_millis(dice.random_range(from..to));
        for _ in 0..dice.random_range(0..=2) {
            let (at, lasts) = (millis(dice, 50, 6_000), millis(dice, 200, 3_000));
            self.troubles.push(Planned { at, lasts, trouble: Trouble::Webhook(link_conditions(dice)) });
        }
        self.troubles.sort_by_key(|planned| planned.at);
        let host = worker(dice.random_range(1..=self.slots.len()));
        if !points.webhook.is_empty() && !self.crash_points.contains_key(&host) && dice.random_range(0..2) == 0 {
            let point = points.webhook[dice.random_range(0..points.webhook.len())].clone();
            self.crash_points.insert(host, vec![(point, [1, 2, 8][dice.random_range(0..3)])]);
        }
    }

    /// What lookups ask has troubles of its own, and a worker may end while rows leave one.
    fn trouble_lookups_at_random(&mut self, dice: &mut StdRng) {
        let millis = |dice: &mut StdRng, from, to| Duration::from_millis(dice.random_range(from..to));
        for _ in 0..dice.random_range(0..=2) {
            let (at, lasts) = (millis(dice, 50, 6_000), millis(dice, 200, 3_000));
            self.troubles.push(Planned { at, lasts, trouble: Trouble::Database(link_conditions(dice)) });
        }
        self.troubles.sort_by_key(|planned| planned.at);
        let host = worker(dice.random_range(1..=self.slots.len()));
        if !self.crash_points.contains_key(&host) && dice.random_range(0..2) == 0 {
            let visit = [1, 2, 8, 30][dice.random_range(0..4)];
            self.crash_points.insert(host, vec![("lookup.released".into(), visit)]);
        }
    }

    fn replay_at_random(&mut self, dice: &mut StdRng, points: &Points) {
        let replays = (0..dice.random_range(0..=3)).map(|_| {
            let from = dice.random_range(0..self.workload.minutes / 2);
            let damage = match dice.random_range(0..8) {
                0 => Some(Damage::Changed(from)),
                1 => Some(Damage::Removed(from)),
                2 => Some(Damage::Added(from)),
                3 => Some(Damage::Lists),
                _ => None,
            };
            PlannedReplay {
                when: When::At(Duration::from_millis(dice.random_range(500..5_000))),
                host: dice.random_range(1..=REPLAYERS),
                from: Some(from).filter(|_| dice.random_range(0..2) == 0),
                to: Some(from + dice.random_range(1..8)).filter(|_| dice.random_range(0..3) == 0),
                damage,
            }
        });
        let replays = replays.collect();
        self.replay(replays);
        self.job.wrong_filter = dice.random_range(0..4) == 0;
        self.workload.minutes = [14, 25, 70][dice.random_range(0..3)];
        self.job.allowed_lateness_minutes = dice.random_range(0..4);
        for _ in 0..dice.random_range(0..=3) {
            let (host, lasts) = (replayer(dice.random_range(1..=REPLAYERS)), freeze(dice));
            let trouble = if dice.random_range(0..2) == 0 { Trouble::Crash(host) } else { Trouble::Freeze(host) };
            self.troubles.push(Planned { at: Duration::from_millis(dice.random_range(500..8_000)), lasts, trouble });
        }
        self.troubles.sort_by_key(|planned| planned.at);
        let visits = (0..dice.random_range(0..=3)).map(|_| points.of_replay(dice)).collect();
        self.crash_points.insert(replayer(1), visits);
        let visits = (0..dice.random_range(0..=2)).map(|_| (points.of_replay(dice), freeze(dice)));
        let visits = visits.collect();
        self.freeze_points.insert(replayer(2), visits);
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

impl Points {
    /// Some visit of one that the processes of a host pass.
    fn any(&self, dice: &mut StdRng, host: &str, with_store: bool) -> PointVisit {
        let known = match host {
            host if Role::of(host) == Role::Coordinator => &self.coordinator,
            _ if with_store && dice.random_range(0..3) == 0 => &self.database,
            _ => &self.worker,
        };
        let most = [1, 2, 30][dice.random_range(0..3)];
        (known[dice.random_range(0..known.len())].clone(), dice.random_range(1..=most))
    }
}

impl Points {
    /// Rather one of the replay's own than of its job.
    fn of_replay(&self, dice: &mut StdRng) -> PointVisit {
        let own: Vec<&String> = self.replayer.iter().filter(|point| point.starts_with("replay.")).collect();
        match dice.random_range(0..3) {
            0 => (self.replayer[dice.random_range(0..self.replayer.len())].clone(), dice.random_range(1..4)),
            _ => (own[dice.random_range(0..own.len())].clone(), 1),
        }
    }
}

/// One thing that is wrong with brokers, or with the way to them.
fn kafka_conditions(dice: &mut StdRng) -> weir_kafka_model::Conditions {
    let slowest = [1, 10, 60].map(Duration::from_millis)[dice.random_range(0..3)];
    let fair = weir_kafka_model::Conditions { slowest, ..Default::default() };
    let one_in = [8, 25][dice.random_range(0..2)];
    match dice.random_range(0..5) {
        0 => weir_kafka_model::Conditions { is_down: true, ..fair },
        1 => weir_kafka_model::Conditions { is_frozen: true, ..fair },
        2 => weir_kafka_model::Conditions { lose_one_in: one_in, lose_answer_one_in: one_in, ..fair },
        3 => fair,
        _ => {
            let latest = [50, 700, 5_000].map(Duration::from_millis)[dice.random_range(0..3)];
            weir_kafka_model::Conditions { late_one_in: one_in, latest, ..fair }
        }
    }
}

/// The way to a server, out of order.
fn link_conditions(dice: &mut StdRng) -> link::Conditions {
    let one_in = |dice: &mut StdRng| [0, 15, 50][dice.random_range(0..3)];
    link::Conditions {
        slowest: [1, 10, 60].map(Duration::from_millis)[dice.random_range(0..3)],
        is_down: dice.random_range(0..3) == 0,
        refuse_one_in: one_in(dice),
        lose_one_in: one_in(dice),
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
        let conditions = link_conditions(dice);
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
