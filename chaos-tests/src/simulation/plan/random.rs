//! Plans by chance: what a simulation is made of and what befalls it, all of it from one number.
//!
//! Invariant: what comes later throws dice of its own, or none, so that everything else of a seed stays as it is.

use super::{COORDINATOR, Ending, LEADER, Plan, Planned, PointVisit, Points, Role, Trouble, coordinator, worker};
use crate::{
    job::{JobConfig, Outputs, campaigns::Campaigns},
    oracle::{Others, WindowJoin},
    simulation::{
        link,
        logs::Rotations,
        replays::{Damage, PlannedReplay, REPLAYERS, When, replayer},
        storage::Conditions,
    },
    workload::InputFormat,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::Duration;

impl Plan {
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
        let mut dice = StdRng::seed_from_u64(seed ^ 0x6177_6179);
        if dice.random_range(0..10) == 0 {
            plan.have_storage_away(&mut dice);
        }
        plan
    }

    /// Storage answers nothing but errors for long.
    fn have_storage_away(&mut self, dice: &mut StdRng) {
        let at = Duration::from_millis(dice.random_range(300..6_000));
        let lasts = Duration::from_secs(dice.random_range(10..60));
        let trouble = Trouble::Storage(Conditions { refuse_one_in: 1, ..Conditions::default() });
        self.troubles.push(Planned { at, lasts, trouble });
        self.troubles.sort_by_key(|planned| planned.at);
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
