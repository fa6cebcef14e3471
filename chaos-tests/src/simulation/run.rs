//! Runs a plan step by step: the hosts, the troubles that befall them, and what must hold meanwhile.

use super::{
    campaigns::Table,
    hosts::{self, World},
    invariants::Invariants,
    job::{Files, SlowFactory},
    kafka::Kafka,
    link::{self, Link},
    logs::Logs,
    plan::{COORDINATOR, LEADER, Plan, Planned, Points, Role, Trouble, coordinator, worker},
    power::Power,
    replays::{self, PlannedReplay, When},
    storage::{Conditions, Weather},
    trace::Trace,
    verdict::{self, Beside},
    webhook::Webhook,
    wrong::{WrongDisk, WrongPart},
};
use crate::{
    faults::{mutants::MutantFactory, store::FaultyStore},
    job::kafka::PROGRESS,
    joins::WindowJoinMutants,
    topics,
};
use anyhow::{Context, Result, anyhow};
use object_store::ObjectStore;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use weir_engine::operator::Factory;
use weir_kafka::TopicPartition;
use weir_operators::Registry;

/// After the last trouble is over, a job must be at its end within this.
const MUST_END_WITHIN: Duration = Duration::from_secs(60);
/// Every so many steps the results are looked at.
const LOOK_EVERY: u64 = 16;
/// Every so many steps the lookups' table says something else.
const CHANGE_EVERY: u64 = 61;
/// Every so many steps Kafka's topics are compacted.
const COMPACT_EVERY: u64 = 700;

/// What came of a simulation.
#[derive(Debug)]
pub struct Outcome {
    /// What was wrong, if anything.
    pub verdict: Result<()>,
    /// What happened, with all details.
    pub details: Vec<String>,
    /// The same for people.
    pub story: Vec<String>,
    /// The crash points that were passed.
    pub passed: BTreeMap<Role, BTreeSet<String>>,
    /// Processes that ended before the job did.
    pub ended: usize,
    /// Virtual time that it took.
    pub took: Duration,
}

impl Outcome {
    /// What happened, in order, without how many bytes a connection took at once: the folder of tables and followed logs, which is
    /// another one each time, is part of messages. Nor is it told where that is.
    pub fn course(&self) -> Vec<String> {
        let told = |detail: &String| {
            let end = detail.split_once(" takes Ok(").map_or(detail.len(), |(before, _)| before.len());
            without_folders(&detail[..end])
        };
        let mut course: Vec<String> = self.details.iter().map(told).collect();
        course.dedup();
        course
    }
}

/// A line without the names of temporary folders, which are others each time.
fn without_folders(line: &str) -> String {
    let mut parts = line.split("/.tmp");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| line + "/" + part.split_once('/').map_or("", |(_, rest)| rest))
}

/// Runs a plan.
pub fn run(plan: &Plan) -> Outcome {
    run_with(plan, None)
}

/// Runs a plan with a part that is built wrong.
pub fn run_with(plan: &Plan, wrong: Option<WrongPart>) -> Outcome {
    let trace = Trace::default();
    let mut passed = BTreeMap::new();
    let mut ended = 0;
    let verdict = simulate(plan, wrong, &trace, &mut passed, &mut ended);
    Outcome { verdict, details: trace.story(true), story: trace.story(false), passed, ended, took: trace.elapsed() }
}

/// The crash points that there are: those that some runs pass in which both kinds of processes end.
///
/// # Errors
/// When one of these runs fails.
pub fn crash_points() -> Result<Points> {
    let mut found: BTreeMap<Role, BTreeSet<String>> = BTreeMap::new();
    for (seed, host) in [(1, COORDINATOR.to_owned()), (2, worker(1))] {
        let mut plan = Plan::calm(seed);
        let (at, lasts) = (Duration::from_millis(1_500), Duration::from_millis(100));
        plan.troubles.push(Planned { at, lasts, trouble: Trouble::Crash(host) });
        let outcome = run(&plan);
        outcome.verdict.with_context(|| format!("looking for crash points: {plan}"))?;
        outcome.passed.into_iter().for_each(|(role, points)| found.entry(role).or_default().extend(points));
    }
    let mut with_store = Plan::calm(3);
    let at = When::At(Duration::from_millis(2_500));
    with_store.job.to_webhook = true;
    with_store.replay(vec![PlannedReplay { when: at, host: 1, from: None, to: None, damage: None }]);
    let outcome = run(&with_store);
    let story = outcome.story.join("\n");
    outcome.verdict.with_context(|| format!("looking for crash points: {with_store}{story}"))?;
    let mut of = |role| found.remove(&role).unwrap_or_default().into_iter().collect::<Vec<_>>();
    let (coordinator, worker) = (of(Role::Coordinator), of(Role::Worker));
    let mut passed = outcome.passed;
    let replayer = passed.remove(&Role::Replayer).unwrap_or_default().into_iter().collect();
    let passed: Vec<String> = passed.into_values().flatten().collect();
    let of = |sink: &str| passed.iter().filter(|point| point.starts_with(sink)).cloned().collect();
    let (database, webhook) = (of("sql_sink."), of("http_sink."));
    Ok(Points { coordinator, worker, database, replayer, kafka: Vec::new(), webhook })
}

/// Those that only a worker passes that writes to Kafka; [`crash_points`] has none of them.
///
/// # Errors
/// When a run in which nothing goes wrong fails.
pub fn kafka_points() -> Result<Vec<String>> {
    let mut to_kafka = Plan::calm(4);
    to_kafka.job.to_kafka = true;
    let outcome = run(&to_kafka);
    outcome.verdict.with_context(|| format!("looking for crash points: {to_kafka}{}", outcome.story.join("\n")))?;
    let passed = outcome.passed.into_values().flatten();
    Ok(passed.filter(|point| point.starts_with("kafka.")).collect::<BTreeSet<_>>().into_iter().collect())
}

fn simulate(
    plan: &Plan,
    wrong: Option<WrongPart>,
    trace: &Trace,
    passed: &mut BTreeMap<Role, BTreeSet<String>>,
    ended: &mut usize,
) -> Result<()> {
    let power = Power::default();
    let weather = Weather::new(plan.seed, power.clone(), trace.clone());
    let mut storage: Option<Arc<dyn ObjectStore>> = None;
    let database = Link::new("database", plan.seed ^ 0xdb, trace.clone());
    let files = Files::new(plan, |objects| {
        let faulty = FaultyStore::new(objects, weather.clone());
        storage.insert(faulty).clone()
    })?;
    let storage = storage.context("the files were made over a store")?;
    let wrong_kafka = match wrong {
        Some(WrongPart::Kafka(wrong)) => Some(wrong),
        _ => None,
    };
    let kafka = Kafka::new(plan.seed, &power, trace, wrong_kafka);
    if plan.job.from_kafka {
        kafka.fill_clicks(&files.input())?;
    }
    topics::create_outputs(kafka.model());
    let is_believed = wrong == Some(WrongPart::WebhookBelieved);
    let webhook = Webhook::new(plan.seed, power.clone(), trace.clone(), is_believed);
    let campaigns = files.campaigns(plan)?;
    let graph = files.graph(plan)?;
    let registry: Arc<dyn Factory> = match wrong {
        Some(WrongPart::Operators(mutant)) => MutantFactory::new(Arc::new(Registry), mutant),
        Some(WrongPart::WindowJoin(mutant)) => WindowJoinMutants::new(Arc::new(Registry), mutant),
        _ => Arc::new(Registry),
    };
    let factory = SlowFactory::new(registry, plan.pace);
    let replays = files.replays(plan)?;
    let mut world = World::new(plan.clone(), power, trace.clone(), storage, database, factory, wrong);
    world.replays.clone_from(&replays);
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(plan.seed).simulation_duration(Duration::from_secs(100_000)).tcp_capacity(1024);
    builder
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(plan.latency.max(Duration::from_millis(2)));
    builder.enable_random_order();
    let mut simulation = builder.build();
    for number in 1..=plan.coordinators {
        let of_coordinator = world.clone();
        simulation.host(coordinator(number), move || hosts::run_coordinator(of_coordinator.clone(), number));
    }
    for number in 1..=plan.slots.len() {
        let of_worker = world.clone();
        simulation.host(worker(number), move || hosts::run_worker(of_worker.clone(), number));
    }
    for (number, host) in (1..).zip(world.replayers()) {
        let of_replayer = world.clone();
        simulation.host(host, move || replays::run_replayer(of_replayer.clone(), number));
    }
    simulation.client("user", hosts::user(world.clone(), graph));
    let logs = files.logs(plan)?;
    let beside = Beside { kafka: &kafka, webhook: &webhook, campaigns: campaigns.as_ref() };
    let mut driver = Driver::new(plan, &world, simulation, weather, &beside, &files, logs);
    let finished = driver.drive();
    *ended = driver.ended;
    if let Err(error) = &finished {
        trace.note(format!("wrong: {error:#}"));
    }
    trace.seal();
    // Whatever still runs ends with the simulation, and says what it passed.
    drop(driver);
    *passed = world.passed();
    finished?;
    kafka.come_to_rest();
    verdict::check(plan, &files, replays.as_ref(), &beside)
}

struct Driver<'a> {
    plan: &'a Plan,
    world: &'a World,
    simulation: turmoil::Sim<'a>,
    weather: Weather,
    kafka: &'a Kafka,
    webhook: &'a Webhook,
    campaigns: Option<&'a Table>,
    files: &'a Files,
    logs: Option<Logs>,
    invariants: Invariants,
    dice: StdRng,
    upcoming: Vec<Planned>,
    /// Troubles that last, and when they are over.
    lasting: Vec<(Duration, Trouble)>,
    /// When hosts are started again.
    restarts: BTreeMap<String, Duration>,
    disk: WrongDisk,
    /// Hosts whose power was cut, and whose end nobody is to hear of.
    without_power: BTreeSet<String>,
    ended: usize,
    /// When something last went wrong.
    healed_at: Duration,
}

impl<'a> Driver<'a> {
    fn new(
        plan: &'a Plan,
        world: &'a World,
        simulation: turmoil::Sim<'a>,
        weather: Weather,
        beside: &Beside<'a>,
        files: &'a Files,
        logs: Option<Logs>,
    ) -> Self {
        let mut upcoming = plan.troubles.clone();
        upcoming.reverse();
        Driver {
            plan,
            world,
            simulation,
            weather,
            kafka: beside.kafka,
            webhook: beside.webhook,
            campaigns: beside.campaigns,
            files,
            logs,
            invariants: Invariants::default(),
            dice: StdRng::seed_from_u64(plan.seed ^ 0xd15c),
            upcoming,
            lasting: Vec::new(),
            restarts: BTreeMap::new(),
            disk: WrongDisk::new(world.disks[0].clone(), world.wrong),
            without_power: BTreeSet::new(),
            ended: 0,
            healed_at: plan.heals_at(),
        }
    }

    fn drive(&mut self) -> Result<()> {
        let mut steps = 0u64;
        loop {
            let now = self.simulation.elapsed();
            self.world.trace.set_time(now);
            self.weather.serve(now);
            self.serve_kafka(steps);
            self.begin_troubles(now);
            self.end_troubles(now);
            self.clear_away_the_ended(now);
            self.restart(now);
            self.write_logs(now, steps)?;
            if let Some(campaigns) = self.campaigns.filter(|_| steps.is_multiple_of(CHANGE_EVERY)) {
                campaigns.change()?;
            }
            let finished = self.simulation.step().map_err(|error| anyhow!("{error}"))?;
            self.let_stand(now);
            self.disk.observe(now);
            self.invariants.look(&self.world.trace, self.world.metadata().as_deref())?;
            if steps.is_multiple_of(LOOK_EVERY) || finished {
                self.invariants.check_committed(&self.files.committed()?)?;
                self.world.replays.iter().try_for_each(replays::Replays::look)?;
            }
            if finished {
                // What is still under way comes, too.
                self.weather.serve_all();
                return self.invariants.check_committed(&self.files.committed()?);
            }
            if now > self.healed_at + MUST_END_WITHIN {
                let read = match &self.logs {
                    Some(logs) => format!("; of {} lines it has read {}", logs.written(), self.files.lines_read()?),
                    None => String::new(),
                };
                return Err(anyhow!(
                    "nothing has gone wrong since {:?}, and {MUST_END_WITHIN:?} later the job is not at its end{read}",
                    self.healed_at
                ));
            }
            steps += 1;
        }
    }

    /// What has come is done, and now and then topics are compacted.
    fn serve_kafka(&mut self, steps: u64) {
        if !self.plan.job.to_kafka && !self.plan.job.from_kafka {
            return;
        }
        self.kafka.model().serve();
        if steps.is_multiple_of(COMPACT_EVERY) {
            self.kafka.model().compact(self.dice.random_range(1..8));
        }
    }

    fn begin_troubles(&mut self, now: Duration) {
        while self.upcoming.last().is_some_and(|next| next.at <= now) {
            let Some(Planned { lasts, mut trouble, .. }) = self.upcoming.pop() else { return };
            if let Trouble::Crash(host) | Trouble::PowerCut(host) | Trouble::Freeze(host) | Trouble::Isolate(host) =
                &mut trouble
                && host == LEADER
            {
                *host = self.world.leader().unwrap_or_else(|| COORDINATOR.into());
            }
            self.world.trace.note(format!("trouble for {lasts:?}: {trouble:?}"));
            match &trouble {
                Trouble::Crash(host) => self.end_process(host, "it is killed", now + lasts),
                Trouble::PowerCut(host) if self.has_ended(host) => {
                    self.end_process(host, "its power is cut", now + lasts);
                }
                Trouble::PowerCut(host) => {
                    let others: Vec<String> = self.others(host);
                    // Nobody hears the system close its connections.
                    others.iter().for_each(|other| self.simulation.partition(host.as_str(), other.as_str()));
                    if let Some(disk) = self.world.disk(host) {
                        disk.crash_torn(&mut self.dice);
                    }
                    self.end_process(host, "its power is cut", now + lasts);
                    self.without_power.insert(host.clone());
                }
                Trouble::Isolate(host) => {
                    let others: Vec<String> = self.others(host);
                    others.iter().for_each(|other| self.simulation.partition(host.as_str(), other.as_str()));
                }
                Trouble::Cut(a, b) => self.simulation.partition(a.as_str(), b.as_str()),
                Trouble::OneWayCut(from, to) => self.simulation.partition_oneway(from.as_str(), to.as_str()),
                Trouble::Hold(a, b) => self.simulation.hold(a.as_str(), b.as_str()),
                Trouble::SlowLink(a, b, latency) => {
                    self.simulation.set_link_max_message_latency(a.as_str(), b.as_str(), *latency);
                }
                Trouble::Freeze(host) => {
                    if let Some(process) = self.world.power.of(host) {
                        process.freeze("it is stopped");
                    }
                }
                Trouble::Leave(host) => self.world.ask_to_leave(host),
                Trouble::Storage(conditions) => self.weather.set(*conditions),
                Trouble::Database(conditions) => self.world.database.set(*conditions),
                Trouble::Webhook(conditions) => self.webhook.link().set(*conditions),
                Trouble::Kafka(conditions) => self.kafka.model().set(*conditions),
                Trouble::KafkaCut(host) => self.kafka.model().set_cut(host, true),
                Trouble::KafkaOpen => {
                    let to = TopicPartition { topic: PROGRESS.into(), partition: 0 };
                    self.kafka.model().leave_open(&format!("neighbour {now:?}"), &to, lasts);
                }
            }
            self.lasting.push((now + lasts, trouble));
        }
    }

    fn end_troubles(&mut self, now: Duration) {
        let (over, lasting) = std::mem::take(&mut self.lasting).into_iter().partition(|(until, _)| *until <= now);
        self.lasting = lasting;
        for (_, trouble) in over {
            let others = if let Trouble::Isolate(host) = &trouble { self.others(host) } else { Vec::new() };
            let simulation = &mut self.simulation;
            match &trouble {
                Trouble::Crash(_) | Trouble::PowerCut(_) | Trouble::KafkaOpen => continue,
                Trouble::Isolate(host) => {
                    others.iter().for_each(|other| simulation.repair(host.as_str(), other.as_str()));
                }
                Trouble::Cut(a, b) => simulation.repair(a.as_str(), b.as_str()),
                Trouble::OneWayCut(from, to) => simulation.repair_oneway(from.as_str(), to.as_str()),
                Trouble::Hold(a, b) => simulation.release(a.as_str(), b.as_str()),
                Trouble::SlowLink(a, b, _) => {
                    let latency = self.plan.latency.max(Duration::from_millis(2));
                    simulation.set_link_max_message_latency(a.as_str(), b.as_str(), latency);
                }
                Trouble::Freeze(host) => {
                    if let Some(process) = self.world.power.of(host) {
                        process.thaw();
                    }
                    continue;
                }
                Trouble::Leave(host) => {
                    if self.world.is_to_leave(host) && !self.has_ended(host) {
                        self.end_process(host, "it has not left in time", now);
                    }
                    continue;
                }
                Trouble::Storage(_) => self.weather.set(Conditions::default()),
                Trouble::Database(_) => self.world.database.set(link::Conditions::default()),
                Trouble::Webhook(_) => self.webhook.link().set(link::Conditions::default()),
                Trouble::Kafka(_) => self.kafka.model().set(weir_kafka_model::Conditions::default()),
                Trouble::KafkaCut(host) => self.kafka.model().set_cut(host, false),
            }
            self.world.trace.note(format!("over: {trouble:?}"));
        }
    }

    /// Lets servers write, and looks whether all of it has been read.
    fn write_logs(&mut self, now: Duration, steps: u64) -> Result<()> {
        let Some(logs) = &mut self.logs else { return Ok(()) };
        if steps.is_multiple_of(LOOK_EVERY) && logs.is_waiting(now) {
            let read = self.files.lines_read()?;
            logs.set_read(read);
            if logs.is_over() && read >= logs.written() {
                self.world.set_all_read();
            }
        }
        let done = logs.go_on(now)?;
        done.iter().for_each(|step| self.world.trace.note(format!("server {}: {:?}", step.server, step.act)));
        Ok(())
    }

    /// Processes that have frozen at a point stand for as long as they are to.
    fn let_stand(&mut self, now: Duration) {
        for (host, lasts) in self.world.take_standing() {
            self.lasting.push((now + lasts, Trouble::Freeze(host)));
            self.healed_at = self.healed_at.max(now + lasts);
        }
    }

    fn has_ended(&self, host: &str) -> bool {
        self.world.power.of(host).is_none_or(|process| process.has_ended())
    }

    fn others(&self, host: &str) -> Vec<String> {
        let mut others = self.world.hosts();
        others.push("user".into());
        others.retain(|other| other != host);
        others
    }

    fn end_process(&mut self, host: &str, cause: &str, restart_at: Duration) {
        if let Some(process) = self.world.power.of(host) {
            process.end(cause);
        }
        let restart = self.restarts.entry(host.into()).or_insert(restart_at);
        *restart = restart_at.max(*restart);
    }

    /// What an ended process has left goes, once its connections are closed.
    fn clear_away_the_ended(&mut self, now: Duration) {
        for host in self.world.hosts() {
            let is_closed = self.world.power.of(&host).is_some_and(|process| process.is_closed());
            if !is_closed || !self.simulation.is_host_running(host.as_str()) {
                continue;
            }
            self.simulation.crash(host.as_str());
            if self.without_power.remove(&host) {
                let others = self.others(&host);
                others.iter().for_each(|other| self.simulation.repair(host.as_str(), other.as_str()));
            }
            if Role::of(&host) == Role::Replayer {
                // A command that is done or has failed; the next one is given soon.
                self.restarts.entry(host).or_insert(now + self.plan.restart_after);
                continue;
            }
            self.ended += 1;
            let restart = *self.restarts.entry(host).or_insert(now + self.plan.restart_after);
            self.healed_at = self.healed_at.max(restart);
        }
    }

    fn restart(&mut self, now: Duration) {
        let due: Vec<String> =
            self.restarts.iter().filter(|(_, at)| **at <= now).map(|(host, _)| host.clone()).collect();
        for host in due {
            self.restarts.remove(&host);
            if host == COORDINATOR {
                self.disk.before_start();
            }
            self.simulation.bounce(host.as_str());
        }
    }
}
