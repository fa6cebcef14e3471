//! The kill test: a job follows click logs that grow, while a seed picks which process is killed or frozen, and when. They
//! come back after a while. With a store, its query service and its database are among them, and a reader asks meanwhile. At the end the job is drained, in the midst of which once more somebody is killed, and what is
//! committed is compared with the recount.
//!
//! Whom and when follow from the seed; what the processes are doing then does not: they are real.

use super::{
    clicks::{Appending, ClickLogs},
    job::{ClusterJob, Compared},
    processes::{ClusterProcesses, ClusterSettings, Member, brief},
    reader::{Reader, Seen},
    serving::{Serving, Store},
    store_check::StoreCompared,
    waiting::{now, pause},
};
use crate::job::{JOB, JobConfig};
use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;
use std::{fmt, time::Duration};
use weir_engine::env::Moment;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(20);
/// So many faults after one another may find the job without a moment of peace; then it must complete a checkpoint.
const FAULTS_IN_A_ROW: usize = 4;

/// What a run is.
#[derive(Clone, Debug)]
pub struct KillRun {
    /// Picks whom and when.
    pub seed: u64,
    /// Kills, at least.
    pub kills: usize,
    /// How long to go on, at least.
    pub at_least: Duration,
    /// Workers of the cluster.
    pub workers: usize,
    /// Slots that the job needs.
    pub parallelism: usize,
    /// The longest wait between two faults.
    pub longest_pause: Duration,
    /// What the processes are told.
    pub settings: ClusterSettings,
    /// Whether every fault is printed.
    pub verbose: bool,
}

/// What happened in a run whose results were right.
#[derive(Clone, Debug)]
pub struct Report {
    /// Workers killed.
    pub worker_kills: usize,
    /// Coordinators killed.
    pub coordinator_kills: usize,
    /// Workers frozen for longer than their time-out, and thawed.
    pub worker_freezes: usize,
    /// Coordinators frozen for longer than the lease, and thawed.
    pub coordinator_freezes: usize,
    /// Query services killed.
    pub query_kills: usize,
    /// Databases killed.
    pub database_kills: usize,
    /// Attempts of the job.
    pub attempts: u64,
    /// Number of the last checkpoint.
    pub checkpoints: u64,
    /// What was compared.
    pub compared: Compared,
    /// The same of the store, if there was one, and what a reader saw meanwhile.
    pub served: Option<(StoreCompared, Seen)>,
}

impl Report {
    /// Processes killed.
    pub fn kills(&self) -> usize {
        self.worker_kills + self.coordinator_kills + self.query_kills + self.database_kills
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { worker_kills, coordinator_kills, worker_freezes, coordinator_freezes, .. } = self;
        let Compared { lines, count_rows, not_counted: [late, duplicates, dead, refused] } = self.compared;
        write!(
            f,
            "right: {worker_kills} workers and {coordinator_kills} coordinators killed, {worker_freezes} workers and \
             {coordinator_freezes} coordinators frozen and thawed; {} attempts, {} checkpoints; {lines} lines, {count_rows} \
             rows of counts, {late} late, {duplicates} duplicates, {dead} dead letters, {refused} refused by expressions",
            self.attempts, self.checkpoints
        )?;
        let Some((store, seen)) = &self.served else { return Ok(()) };
        write!(
            f,
            "; {} query services and {} databases killed; in the store {} counts, {} places, {} commits; {} answers at the \
             end, {} meanwhile, {} of them risen, {} questions unanswered",
            self.query_kills,
            self.database_kills,
            store.counts,
            store.places,
            store.commits,
            store.answers,
            seen.answers,
            seen.rises,
            seen.unanswered
        )
    }
}

impl KillRun {
    /// A run of the length that a test suite can bear.
    ///
    /// # Errors
    /// When there is no `weir` to run.
    pub fn short(seed: u64) -> Result<Self> {
        Ok(KillRun {
            seed,
            kills: 20,
            at_least: Duration::ZERO,
            workers: 3,
            parallelism: 2,
            longest_pause: Duration::from_millis(4000),
            settings: ClusterSettings::new()?,
            verbose: false,
        })
    }

    /// A shorter one for a job that fills a store.
    ///
    /// # Errors
    /// When there is no `weir` to run.
    pub fn short_serving(seed: u64) -> Result<Self> {
        Ok(KillRun { kills: 9, longest_pause: Duration::from_millis(1500), ..KillRun::short(seed)? })
    }

    /// Runs it.
    ///
    /// # Errors
    /// With what is wrong, and the ends of all logs.
    pub fn run(&self) -> Result<Report> {
        self.run_with(None)
    }

    /// Runs it with a job that fills a store, which is served.
    ///
    /// # Errors
    /// With what is wrong, and the ends of all logs.
    pub fn run_serving(&self, store: Store) -> Result<Report> {
        self.run_with(Some(store))
    }

    fn run_with(&self, store: Option<Store>) -> Result<Report> {
        let mut cluster = ClusterProcesses::start(self.settings.clone(), self.workers)?;
        let mut config = JobConfig { parallelism: self.parallelism, ..ClusterJob::followed() };
        if let Some(store) = store {
            cluster.serve(store)?;
            config.store = Some(cluster.serving()?.url.clone());
        }
        let job = ClusterJob::new(&cluster, config)?;
        let mut running = Running {
            run: self,
            job,
            dice: StdRng::seed_from_u64(self.seed),
            due: Vec::new(),
            deck: Vec::new(),
            report: Counts::default(),
            begun: now(),
            cluster,
        };
        let done = running.run();
        done.with_context(|| format!("seed {}, after {:?}\n{}", self.seed, running.report, running.cluster.tails()))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    worker_kills: usize,
    coordinator_kills: usize,
    worker_freezes: usize,
    coordinator_freezes: usize,
    query_kills: usize,
    database_kills: usize,
}

impl Counts {
    fn kills(&self) -> usize {
        self.worker_kills + self.coordinator_kills + self.query_kills + self.database_kills
    }
}

/// What a seed may do to somebody.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillWorkers(usize),
    KillCoordinator,
    KillQueryService,
    KillDatabase,
    FreezeWorker,
    FreezeCoordinator,
}

struct Running<'a> {
    run: &'a KillRun,
    cluster: ClusterProcesses,
    job: ClusterJob,
    dice: StdRng,
    /// Who comes back when.
    due: Vec<(Moment, Member)>,
    /// Faults that are next, with a store: all kinds must come, also in a short run.
    deck: Vec<Fault>,
    report: Counts,
    begun: Moment,
}

impl Running<'_> {
    fn run(&mut self) -> Result<Report> {
        let logs = ClickLogs::create(self.job.input(), self.run.seed)?;
        self.job.submit(&self.cluster)?;
        let appending = Appending::begin(logs);
        let reader = self.cluster.serving().ok().map(|serving| Reader::begin(serving.address.clone()));
        self.wait_for_progress()?;
        self.begun = now();
        let mut in_a_row = 0;
        while !self.is_enough() {
            let wait = self.dice.random_range(0..self.run.longest_pause.as_millis() as u64);
            self.live_on(Duration::from_millis(wait))?;
            self.fault()?;
            in_a_row += 1;
            if in_a_row == FAULTS_IN_A_ROW {
                in_a_row = 0;
                self.all_come_back()?;
                self.wait_for_progress()?;
            }
        }
        self.all_come_back()?;
        appending.finish()?;
        self.job.wait_until_all_is_read()?;
        self.drain()?;
        let compared = self.job.check()?;
        let served = match reader {
            Some(reader) => {
                let seen = reader.finish()?;
                Some((self.job.check_store(self.cluster.serving()?, &seen)?, seen))
            }
            None => None,
        };
        let Counts {
            worker_kills,
            coordinator_kills,
            worker_freezes,
            coordinator_freezes,
            query_kills,
            database_kills,
        } = self.report;
        let status = self.cluster.job(JOB)?;
        let strange = strange_causes(&status);
        ensure!(strange.is_empty(), "restarts for other reasons than those who were killed or frozen: {strange:?}");
        let number = |key: &str| status[key].as_u64().unwrap_or_default();
        Ok(Report {
            worker_kills,
            coordinator_kills,
            worker_freezes,
            coordinator_freezes,
            query_kills,
            database_kills,
            attempts: number("attempt"),
            checkpoints: number("last_checkpoint"),
            compared,
            served,
        })
    }

    fn is_enough(&self) -> bool {
        self.report.kills() >= self.run.kills && now() - self.begun >= self.run.at_least
    }

    /// Stops the job with `--drain`, and kills somebody before that is done.
    fn drain(&mut self) -> Result<()> {
        let told = self.cluster.done(&["stop", JOB, "--drain", "--no-wait"])?;
        self.say(&format!("drain: {}", told.trim()));
        let wait = self.dice.random_range(0..150);
        pause(Duration::from_millis(wait));
        let has_database = self.cluster.serving().is_ok_and(Serving::has_database);
        let victim = match self.dice.random_range(0..3) {
            0 => Member::Coordinator,
            1 if has_database => Member::Database,
            _ => self.pick_worker()?.context("no worker")?,
        };
        self.kill(victim)?;
        self.all_come_back()?;
        let job = self.cluster.wait_for_job(JOB, "the end", |job| {
            matches!(job["state"].as_str(), Some("FINISHED" | "FAILED" | "CANCELED"))
        })?;
        ensure!(job["state"] == "FINISHED", "{}", brief(&job));
        Ok(())
    }

    /// Lets time pass, in which those come back whose time it is.
    fn live_on(&mut self, duration: Duration) -> Result<()> {
        let end = now() + duration;
        while now() < end {
            self.bring_back(|due| due <= now())?;
            pause(TICK);
        }
        if self.cluster.is_awake(Member::Coordinator) {
            self.cluster.probe()?;
        }
        Ok(())
    }

    /// At once; but those that are frozen stay so for their time, or they would not be replaced.
    fn all_come_back(&mut self) -> Result<()> {
        let due: Vec<(Moment, Member)> = self.due.clone();
        let frozen = due.into_iter().filter(|(_, member)| self.cluster.runs(*member)).map(|(at, _)| at).max();
        while frozen.is_some_and(|at| now() < at) {
            self.bring_back(|due| due <= now())?;
            pause(TICK);
        }
        self.bring_back(|_| true)
    }

    fn bring_back(&mut self, is_due: impl Fn(Moment) -> bool) -> Result<()> {
        let (back, due): (Vec<_>, Vec<_>) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| is_due(*at));
        self.due = due;
        for (_, member) in back {
            if self.cluster.runs(member) {
                self.say(&format!("{member} thaws"));
                self.cluster.thaw(member)?;
            } else {
                self.say(&format!("{member} comes back"));
                self.cluster.start_member(member)?;
            }
        }
        Ok(())
    }

    fn fault(&mut self) -> Result<()> {
        match self.next_fault() {
            Fault::KillWorkers(count) => self.kill_workers(count),
            Fault::KillCoordinator => self.kill_if_awake(Member::Coordinator),
            Fault::KillQueryService => self.kill_if_awake(Member::QueryService),
            Fault::KillDatabase => self.kill_if_awake(Member::Database),
            Fault::FreezeWorker => self.freeze_worker(),
            Fault::FreezeCoordinator => self.freeze_coordinator(),
        }
    }

    fn next_fault(&mut self) -> Fault {
        let Ok(serving) = self.cluster.serving() else {
            return match self.dice.random_range(0..100) {
                0..55 => Fault::KillWorkers(1),
                55..65 => Fault::KillWorkers(2),
                65..80 => Fault::KillCoordinator,
                80..94 => Fault::FreezeWorker,
                _ => Fault::FreezeCoordinator,
            };
        };
        if self.deck.is_empty() {
            let database = serving.has_database().then_some(Fault::KillDatabase);
            let all = [Fault::KillWorkers(1), Fault::KillWorkers(2), Fault::KillCoordinator, Fault::KillQueryService];
            self.deck = all.into_iter().chain([Fault::FreezeWorker]).chain(database).chain(database).collect();
            self.deck.shuffle(&mut self.dice);
        }
        // It was filled just now, if it was empty.
        self.deck.pop().unwrap_or(Fault::KillWorkers(1))
    }

    fn kill_workers(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            if let Some(victim) = self.pick_worker()? {
                self.kill(victim)?;
            }
        }
        Ok(())
    }

    fn kill_if_awake(&mut self, victim: Member) -> Result<()> {
        if self.cluster.is_awake(victim) { self.kill(victim) } else { Ok(()) }
    }

    fn kill(&mut self, victim: Member) -> Result<()> {
        self.cluster.kill(victim)?;
        let (count, longest) = match victim {
            Member::Coordinator | Member::Peer(_) => (&mut self.report.coordinator_kills, 1500),
            Member::Worker(_) => (&mut self.report.worker_kills, 4000),
            Member::QueryService => (&mut self.report.query_kills, 1500),
            Member::Database => (&mut self.report.database_kills, 3000),
        };
        *count += 1;
        let away = Duration::from_millis(self.dice.random_range(0..longest));
        self.away(victim, "is killed", away);
        Ok(())
    }

    fn freeze_worker(&mut self) -> Result<()> {
        let Some(victim) = self.pick_worker()? else { return Ok(()) };
        self.cluster.freeze(victim)?;
        self.report.worker_freezes += 1;
        let away = self.run.settings.heartbeat_timeout.mul_f64(self.dice.random_range(1.2..2.5));
        self.away(victim, "freezes", away);
        Ok(())
    }

    fn freeze_coordinator(&mut self) -> Result<()> {
        if !self.cluster.is_awake(Member::Coordinator) {
            return Ok(());
        }
        self.cluster.freeze(Member::Coordinator)?;
        self.report.coordinator_freezes += 1;
        let away = self.run.settings.lease().mul_f64(self.dice.random_range(1.2..2.5));
        self.away(Member::Coordinator, "freezes", away);
        Ok(())
    }

    fn away(&mut self, member: Member, what: &str, duration: Duration) {
        self.say(&format!("{member} {what} for {} ms", duration.as_millis()));
        self.due.push((now() + duration, member));
    }

    /// One that is awake; three times out of four one that does something for the job.
    fn pick_worker(&mut self) -> Result<Option<Member>> {
        let (prefers_busy, number) = (self.dice.random_range(0..4) > 0, self.dice.random_range(0..1_000_000));
        let workers = (0..self.run.workers).map(Member::Worker);
        let awake: Vec<Member> = workers.filter(|worker| self.cluster.is_awake(*worker)).collect();
        let mut busy = Vec::new();
        if prefers_busy && self.cluster.is_awake(Member::Coordinator) {
            let job = self.cluster.job(JOB)?;
            for worker in &awake {
                if hosts(&job, self.cluster.pid(*worker)?) {
                    busy.push(*worker);
                }
            }
        }
        let among = if busy.is_empty() { awake } else { busy };
        Ok(if among.is_empty() { None } else { Some(among[number % among.len()]) })
    }

    /// Waits for a checkpoint that begins from now on, and for its results. What is complete but not committed yet is none.
    fn wait_for_progress(&mut self) -> Result<()> {
        let number = |job: &Value, key: &str| job[key].as_u64().unwrap_or_default();
        let is_known = |job: &Value| job["id"].is_string();
        let before = number(&self.cluster.wait_for_job(JOB, "an answer", is_known)?, "last_checkpoint");
        let job = self.cluster.wait_for_job(JOB, "progress", |job| number(job, "committed") > before + 1)?;
        self.say(&format!("goes on: {}", brief(&job)));
        Ok(())
    }

    fn say(&self, what: &str) {
        if self.run.verbose {
            println!("{:8.3} s  {what}", (now() - self.begun).as_secs_f64());
        }
    }
}

/// Causes of restarts that name nobody who was killed or frozen.
fn strange_causes(job: &Value) -> Vec<String> {
    let known = ["was lost", "its coordinator was restarted", "the slots were taken"];
    let restarts = job["restarts"].as_array().into_iter().flatten();
    let causes = restarts.filter_map(|restart| restart["cause"].as_str().map(String::from));
    causes.filter(|cause| !known.iter().any(|known| cause.contains(known))).collect()
}

/// Whether a job has subtasks on the worker with this process id, which is part of the worker's name.
fn hosts(job: &Value, pid: u32) -> bool {
    let prefix = format!("w-{pid}-");
    let mut subtasks = job["subtasks"].as_array().into_iter().flatten();
    subtasks.any(|subtask| subtask["worker"].as_str().is_some_and(|worker| worker.starts_with(&prefix)))
}
