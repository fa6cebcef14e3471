//! The kill test with Kafka on both sides: a job reads clicks from a topic and writes counts to topics, while a seed picks who is
//! killed, frozen or crashes in the midst of a commit: workers, the coordinator, the broker; and when nothing gets through between
//! workers and broker, or only half of it, while both are well.
//!
//! [`producing`] produces [`clicks`], [`definition`] is the job, [`link`] its way to the broker, and in the end [`results`] has a
//! consumer of another make read everything ([`records`]): each `(record_id, revision)` is there once, and the newest ones are what
//! a recount of the topic says.

pub mod clicks;
pub mod definition;
pub mod link;
pub mod producing;
pub mod records;
pub mod results;
pub mod topics;

use super::{
    processes::{ClusterProcesses, ClusterSettings, Member, brief},
    waiting::{now, pause, wait_for},
};
use crate::job::{JOB, JobConfig};
use anyhow::{Context, Result, anyhow, ensure};
use clicks::{Clicks, PARTITIONS};
use definition::{CLICKS, COUNTS, OUTPUTS};
use link::{Cut, Link};
use producing::Producing;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use results::Compared;
use std::{fmt, path::PathBuf, time::Duration};
use topics::Topics;
use weir_engine::checkpoint::{CheckpointStore, Manifest};
use weir_test_support::{kafka_server::KafkaServer, needs_python};

/// Where a commit to Kafka may be interrupted.
const CRASH_POINTS: [&str; 4] = ["kafka.fenced", "kafka.progress_read", "kafka.sent", "kafka.committed"];
/// Longer than the job's transactions may last.
const LONGER_THAN_A_TRANSACTION: Duration = Duration::from_secs(12);
const WORKERS: usize = 3;

/// What a run is.
#[derive(Clone, Debug)]
pub struct KafkaRun {
    /// Picks whom and when.
    pub seed: u64,
    /// Faults.
    pub faults: usize,
    /// Whether every fault is printed.
    pub verbose: bool,
}

/// What happened in a run whose results were right.
#[derive(Clone, Debug)]
pub struct Report {
    /// Faults of each kind.
    pub faults: Vec<(String, usize)>,
    /// Commits that a crash interrupted, by the point.
    pub crashes: Vec<&'static str>,
    /// Attempts of the job.
    pub attempts: u64,
    /// Number of the last checkpoint.
    pub checkpoints: u64,
    /// Connections of workers to the broker that were cut off.
    pub cut_off: usize,
    /// Transactions with counts, since the coordinator was started last.
    pub transactions: u64,
    /// What was compared.
    pub compared: Compared,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compared { clicks, counts, running, not_counted: [late, dead] } = self.compared;
        let faults: Vec<String> = self.faults.iter().map(|(what, times)| format!("{times} × {what}")).collect();
        write!(
            f,
            "right: {}; crashed at {:?}; {} connections cut off; {} attempts, {} checkpoints; {clicks} clicks, {counts} counts and {running} running \
             ones in all revisions, {late} late, {dead} dead letters",
            faults.join(", "),
            self.crashes,
            self.cut_off,
            self.attempts,
            self.checkpoints
        )
    }
}

/// What a seed may do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    KillWorker,
    KillCoordinator,
    KillBroker,
    FreezeWorker,
    FreezeBroker,
    /// For longer than a transaction may last, in one of two ways.
    HoldBack,
    /// The same, and connections end.
    CutOff,
    Crash(&'static str),
}

impl Fault {
    /// Each kind once; a good third of them are crashes in a commit.
    fn all() -> Vec<Fault> {
        let others = [
            Fault::KillWorker,
            Fault::KillCoordinator,
            Fault::KillBroker,
            Fault::FreezeWorker,
            Fault::FreezeBroker,
            Fault::HoldBack,
            Fault::CutOff,
        ];
        others.into_iter().chain(CRASH_POINTS.map(Fault::Crash)).collect()
    }
}

impl KafkaRun {
    /// Runs it. `None`: there is no Kafka here, or no consumer in Python, which has been said.
    ///
    /// # Errors
    /// With what is wrong, and the ends of all logs.
    pub fn run(&self) -> Result<Option<Report>> {
        let Some(python) = needs_python(&["confluent_kafka"]) else { return Ok(None) };
        let Some(broker) = KafkaServer::start()? else { return Ok(None) };
        let (behind, before) = broker.proxy_ports();
        let mut running = Running {
            run: self,
            python,
            topics: Topics::of(&broker.brokers())?,
            config: JobConfig { checkpoint_interval_ms: 200, ..JobConfig::default() },
            cluster: ClusterProcesses::start(ClusterSettings::new()?, WORKERS)?,
            link: Link::begin(before, behind)?,
            broker,
            dice: StdRng::seed_from_u64(self.seed),
            done: Vec::new(),
            crashes: Vec::new(),
            cut_off: 0,
        };
        let done = running.run();
        done.map(Some)
            .with_context(|| format!("seed {}, after {:?}\n{}", self.seed, running.done, running.cluster.tails()))
    }
}

struct Running<'a> {
    run: &'a KafkaRun,
    python: PathBuf,
    topics: Topics,
    config: JobConfig,
    cluster: ClusterProcesses,
    link: Link,
    broker: KafkaServer,
    dice: StdRng,
    done: Vec<Fault>,
    crashes: Vec<&'static str>,
    cut_off: usize,
}

impl Running<'_> {
    fn run(&mut self) -> Result<Report> {
        self.topics.make([CLICKS].into_iter().chain(OUTPUTS).map(String::from), PARTITIONS)?;
        self.submit()?;
        let producing = Producing::begin(self.broker.brokers(), Clicks::new(self.run.seed));
        self.wait_for_progress()?;
        let mut deck = Vec::new();
        while self.done.len() < self.run.faults {
            if deck.is_empty() {
                deck = Fault::all();
                deck.shuffle(&mut self.dice);
            }
            // It was filled just now, if it was empty.
            let fault = deck.pop().unwrap_or(Fault::KillWorker);
            if self.run.verbose {
                println!("{fault:?}");
            }
            self.inflict(fault).with_context(|| format!("{fault:?}"))?;
            self.done.push(fault);
            if self.dice.random_bool(0.5) {
                self.wait_for_progress().with_context(|| format!("after {fault:?}"))?;
            }
        }
        producing.finish()?;
        self.wait_until_all_is_read()?;
        self.cluster.done(&["stop", JOB, "--drain", "--no-wait"])?;
        let job = self.cluster.wait_for_job(JOB, "the end", |job| {
            matches!(job["state"].as_str(), Some("FINISHED" | "FAILED" | "CANCELED"))
        })?;
        ensure!(job["state"] == "FINISHED", "{}", brief(&job));
        let compared =
            results::check(&self.python, &self.broker.brokers(), &self.cluster.path("clicks"), &self.config, &OUTPUTS)?;
        let number = |key: &str| job[key].as_u64().unwrap_or_default();
        let sinks = job["graph"]["operators"].as_array().into_iter().flatten();
        let counts = sinks.filter(|sink| sink["id"] == format!("sink.{COUNTS}"));
        Ok(Report {
            faults: self.counted(),
            crashes: self.crashes.clone(),
            attempts: number("attempt"),
            checkpoints: number("last_checkpoint"),
            cut_off: self.cut_off,
            transactions: counts.filter_map(|sink| sink["commits"]["transactions"].as_u64()).sum(),
            compared,
        })
    }

    fn counted(&self) -> Vec<(String, usize)> {
        let times = |fault: &Fault| self.done.iter().filter(|done| *done == fault).count();
        Fault::all().iter().map(|fault| (format!("{fault:?}"), times(fault))).filter(|(_, times)| *times > 0).collect()
    }

    fn submit(&self) -> Result<()> {
        let path = self.cluster.path("ad_click_kafka.toml");
        let (_, link) = self.broker.proxy_ports();
        std::fs::write(&path, definition::definition(&self.config, &format!("127.0.0.1:{link}"), &OUTPUTS))?;
        self.cluster.done(&["submit", &path.display().to_string(), "--parallelism", "2"])?;
        Ok(())
    }

    fn inflict(&mut self, fault: Fault) -> Result<()> {
        let worker = Member::Worker(self.dice.random_range(0..WORKERS));
        match fault {
            Fault::KillWorker => self.replace(worker, 3_000),
            Fault::KillCoordinator => self.replace(Member::Coordinator, 1_500),
            Fault::FreezeWorker => {
                self.cluster.freeze(worker)?;
                pause(self.cluster.settings.heartbeat_timeout.mul_f64(self.dice.random_range(1.2..2.5)));
                self.cluster.thaw(worker)
            }
            Fault::KillBroker => {
                self.broker.kill()?;
                pause(Duration::from_millis(self.dice.random_range(0..3_000)));
                Ok(self.broker.restart()?)
            }
            Fault::FreezeBroker => {
                self.broker.stop()?;
                pause(LONGER_THAN_A_TRANSACTION);
                Ok(self.broker.go_on()?)
            }
            Fault::HoldBack => {
                let cut = if self.dice.random_bool(0.5) { Cut::Silent } else { Cut::NoAnswers };
                let arrives = self.dice.random_bool(0.5);
                self.cut_off += self.link.cut(cut);
                pause(LONGER_THAN_A_TRANSACTION);
                self.link.mend(arrives);
                self.wait_for_progress().with_context(|| format!("{cut:?}, late: {arrives}"))
            }
            Fault::CutOff => {
                self.cut_off += self.link.cut(Cut::Closed);
                let enough = now() + LONGER_THAN_A_TRANSACTION;
                // A source names Kafka, and a commit its sink.
                self.cluster.wait_for_job(JOB, "a word about what it waits for", |job| {
                    let waits = |what: &str| what.contains("Kafka") || what.contains("waits for its target");
                    job["waiting_for"].as_str().is_some_and(waits)
                })?;
                pause(enough.saturating_duration_since(now()));
                self.link.mend(true);
                self.wait_for_progress()
            }
            Fault::Crash(point) => self.crash(point),
        }
    }

    fn replace(&mut self, member: Member, longest_ms: u64) -> Result<()> {
        self.cluster.kill(member)?;
        pause(Duration::from_millis(self.dice.random_range(0..longest_ms)));
        self.cluster.start_member(member)
    }

    /// Has all workers crash at a point, whichever of them commits; the others are started again as they were.
    fn crash(&mut self, point: &'static str) -> Result<()> {
        let visit = format!("{point}:{}", self.dice.random_range(1..4));
        for number in 0..WORKERS {
            self.cluster.kill(Member::Worker(number))?;
            self.cluster.start_member_to_crash(Member::Worker(number), Some(&visit))?;
        }
        let enough = now() + Duration::from_secs(20);
        while now() < enough && (0..WORKERS).all(|number| self.cluster.runs(Member::Worker(number))) {
            pause(Duration::from_millis(50));
        }
        for number in 0..WORKERS {
            let worker = Member::Worker(number);
            if self.cluster.runs(worker) {
                self.cluster.kill(worker)?;
            } else {
                self.crashes.push(point);
            }
            self.cluster.start_member(worker)?;
        }
        Ok(())
    }

    fn newest(&self) -> Result<Option<Manifest>> {
        let store = CheckpointStore::open(&self.cluster.storage(), JOB).map_err(|error| anyhow!("{error}"))?;
        self.topics.runtime().block_on(store.newest()).map_err(|error| anyhow!("{error}"))
    }

    fn wait_for_progress(&self) -> Result<()> {
        let events = |manifest: Option<Manifest>| manifest.map_or(0, |manifest| events_in(&manifest));
        let before = events(self.newest()?);
        wait_for("more clicks in a checkpoint", || Ok((events(self.newest()?) > before).then_some(())))
    }

    fn wait_until_all_is_read(&self) -> Result<()> {
        let all = self.topics.records(CLICKS, PARTITIONS)?;
        let mut read = 0;
        let waited = wait_for("all clicks in a checkpoint", || {
            read = self.newest()?.as_ref().map_or(0, events_in);
            Ok((read >= all).then_some(()))
        });
        waited.with_context(|| format!("{read} of {all} clicks are read"))
    }
}

/// Clicks that were read by a checkpoint.
pub(super) fn events_in(manifest: &Manifest) -> u64 {
    manifest.counters("source.clicks").get("events_in").copied().unwrap_or_default()
}
