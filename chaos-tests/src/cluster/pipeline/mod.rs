//! The kill test of the whole pipeline of an ad business: what people do goes to Kafka, a job per region counts it, another finds
//! the ads that led to orders, a third loads what the regions have counted into a store, and a consumer paces budgets. A seed picks
//! who is killed when: workers, the coordinator, the broker, the consumer.
//!
//! [`business`] is what people do, [`jobs`] are the shipped definitions, [`pacing`] is the consumer. In the end [`results`] compares
//! what is in topics, [stores](store) and files with a [`recount`]: every count, every order and every budget, and each
//! `(record_id, revision)` is there once.

pub mod business;
pub mod jobs;
pub mod pacing;
pub mod recount;
mod report;
pub mod results;
pub mod store;

use super::{
    kafka::{producing::Producing, records, topics::Topics},
    processes::{ClusterProcesses, ClusterSettings, Member, brief},
    waiting::{now, pause, wait_for},
};
use anyhow::{Context, Result, anyhow, ensure};
use business::{Business, PARTITIONS, REGIONS};
use jobs::{ATTRIBUTION, UNION, counts_of, readers, running_counts_of};
use pacing::Pacing;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
pub use report::Report;
use std::{path::PathBuf, time::Duration};
use weir_engine::{
    checkpoint::{CheckpointStore, Manifest},
    env::Moment,
};
use weir_test_support::{kafka_server::KafkaServer, needs_python};

const WORKERS: usize = 3;
/// Those of two workers are enough for all jobs.
const SLOTS: usize = 3;
/// How often it is looked whether somebody is to come back.
const TICK: Duration = Duration::from_millis(20);
/// So many faults after one another may find the jobs without a moment of peace.
const FAULTS_IN_A_ROW: usize = 8;

/// What a run is.
#[derive(Clone, Debug)]
pub struct PipelineRun {
    /// Picks whom and when.
    pub seed: u64,
    /// Kills.
    pub faults: usize,
    /// The longest wait between two of them.
    pub longest_pause: Duration,
    /// Whether every fault is printed.
    pub verbose: bool,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Member(Member),
    Broker,
    Consumer,
}

impl Victim {
    /// The longest that it stays away, in milliseconds.
    fn longest_away(self) -> u64 {
        match self {
            Victim::Member(Member::Worker(_)) => 3_000,
            Victim::Member(_) | Victim::Consumer => 1_500,
            Victim::Broker => 2_000,
        }
    }
}

impl PipelineRun {
    /// Runs it. `None`: there is no Kafka here, or no consumer in Python, which has been said.
    ///
    /// # Errors
    /// With what is wrong, and the ends of all logs.
    pub fn run(&self) -> Result<Option<Report>> {
        let Some(python) = needs_python(&["confluent_kafka"]) else { return Ok(None) };
        let Some(broker) = KafkaServer::start()? else { return Ok(None) };
        let cluster = ClusterProcesses::start(ClusterSettings { slots: SLOTS, ..ClusterSettings::new()? }, WORKERS)?;
        let brokers = broker.brokers();
        let paced = running_counts_of(REGIONS[0]);
        let mut running = Running {
            run: self,
            topics: Topics::of(&brokers)?,
            pacing: Pacing::new(&python, cluster.path("pacing"), brokers, paced)?,
            dice: StdRng::seed_from_u64(self.seed),
            begun: now(),
            due: Vec::new(),
            killed: Vec::new(),
            python,
            broker,
            cluster,
        };
        let done = running.run();
        done.map(Some).with_context(|| {
            let tails = [running.cluster.tails(), running.pacing.log()].concat();
            format!("seed {}, after {:?}\n{tails}", self.seed, running.killed)
        })
    }
}

struct Running<'a> {
    run: &'a PipelineRun,
    python: PathBuf,
    topics: Topics,
    broker: KafkaServer,
    cluster: ClusterProcesses,
    pacing: Pacing,
    dice: StdRng,
    begun: Moment,
    /// Who comes back when.
    due: Vec<(Moment, Victim)>,
    killed: Vec<Victim>,
}

impl Running<'_> {
    fn run(&mut self) -> Result<Report> {
        self.topics.make(jobs::topics(), PARTITIONS)?;
        self.submit()?;
        self.pacing.start()?;
        let producing = Producing::begin(self.broker.brokers(), Business::new(self.run.seed));
        self.wait_for_progress()?;
        self.kill_many()?;
        producing.finish()?;
        let jobs = self.finish()?;
        let (python, brokers) = (&self.python, self.broker.brokers());
        let expected = results::recount(python, &brokers, &self.cluster.path("sent"))?;
        let paid = expected.clicks(REGIONS[0]);
        wait_for("all clicks to be paid for", || Ok((self.pacing.paid()? == paid).then_some(())))?;
        let stopped = pacing::to_stop(&paid);
        wait_for("all ads that are to stop to be told", || Ok((self.pacing.stopped()? == stopped).then_some(())))?;
        self.pacing.kill()?;
        let compared = results::check(python, &brokers, &self.cluster, &expected, &self.pacing)?;
        Ok(Report::new(&self.killed, jobs, compared))
    }

    fn submit(&self) -> Result<()> {
        let brokers = self.broker.brokers();
        for region in REGIONS {
            jobs::submit_counts(&self.cluster, &brokers, region)?;
        }
        jobs::submit_attribution(&self.cluster, &brokers)?;
        jobs::submit_union(&self.cluster, &brokers)
    }

    fn kill_many(&mut self) -> Result<()> {
        let mut deck = Vec::new();
        while self.killed.len() < self.run.faults {
            let wait = self.dice.random_range(0..self.run.longest_pause.as_millis() as u64);
            self.live_on(Duration::from_millis(wait))?;
            if deck.is_empty() {
                let worker = || Victim::Member(Member::Worker(0));
                deck = vec![worker(), worker(), Victim::Member(Member::Coordinator), Victim::Broker];
                deck.extend([Victim::Consumer; 2]);
                deck.shuffle(&mut self.dice);
            }
            // It was filled just now, if it was empty.
            let victim = match deck.pop().unwrap_or(Victim::Consumer) {
                Victim::Member(Member::Worker(_)) => Victim::Member(Member::Worker(self.dice.random_range(0..WORKERS))),
                other => other,
            };
            self.kill(victim)?;
            if self.killed.len().is_multiple_of(FAULTS_IN_A_ROW) {
                self.all_come_back()?;
                self.wait_for_progress()?;
            }
        }
        self.all_come_back()
    }

    /// Has somebody killed who is there, and come back after a while.
    fn kill(&mut self, victim: Victim) -> Result<()> {
        if self.due.iter().any(|(_, away)| *away == victim) {
            // Who is away cannot be killed: it is waited for.
            self.bring_back(|_, one| one == victim)?;
        }
        let away = Duration::from_millis(self.dice.random_range(0..victim.longest_away()));
        self.say(&format!("{victim:?} is killed for {} ms", away.as_millis()));
        match victim {
            Victim::Member(member) => self.cluster.kill(member)?,
            Victim::Broker => self.broker.kill()?,
            Victim::Consumer => self.pacing.kill()?,
        }
        self.killed.push(victim);
        self.due.push((now() + away, victim));
        Ok(())
    }

    /// Lets time pass, in which those come back whose time it is.
    fn live_on(&mut self, duration: Duration) -> Result<()> {
        let end = now() + duration;
        loop {
            self.bring_back(|due, _| due <= now())?;
            if now() >= end {
                return Ok(());
            }
            pause(TICK);
        }
    }

    fn all_come_back(&mut self) -> Result<()> {
        self.bring_back(|_, _| true)
    }

    fn bring_back(&mut self, is_due: impl Fn(Moment, Victim) -> bool) -> Result<()> {
        let all = std::mem::take(&mut self.due);
        let (back, due): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, victim)| is_due(*at, *victim));
        self.due = due;
        for (_, victim) in back {
            self.say(&format!("{victim:?} comes back"));
            match victim {
                Victim::Member(member) => self.cluster.start_member(member)?,
                Victim::Broker => self.broker.restart()?,
                Victim::Consumer => self.pacing.start()?,
            }
        }
        Ok(())
    }

    /// Has all jobs read to the end and stop, one after the other as they depend on one another; somebody is killed meanwhile. The
    /// attempts and the checkpoints of each.
    fn finish(&mut self) -> Result<Vec<(String, u64, u64)>> {
        for (job, sources) in readers() {
            let mut all = 0;
            for (_, topic) in &sources {
                all += self.topics.records(topic, PARTITIONS)?;
            }
            self.wait_until_read(&job, &sources.iter().map(|(source, _)| *source).collect::<Vec<_>>(), all)?;
        }
        let mut ended = Vec::new();
        let first = REGIONS.map(jobs::counts_job).into_iter().chain([ATTRIBUTION.to_owned()]);
        ended.extend(self.drain(&first.collect::<Vec<_>>())?);
        let counts = REGIONS.map(counts_of);
        let counts: Vec<&str> = counts.iter().map(String::as_str).collect();
        let written = records::read(&self.python, &self.broker.brokers(), &counts)?;
        self.wait_until_read(UNION, &REGIONS, written.values().map(|records| records.len() as u64).sum())?;
        ended.extend(self.drain(&[UNION.to_owned()])?);
        Ok(ended)
    }

    fn drain(&mut self, jobs: &[String]) -> Result<Vec<(String, u64, u64)>> {
        for job in jobs {
            self.cluster.done(&["stop", job, "--drain", "--no-wait"])?;
        }
        let wait = self.dice.random_range(0..150);
        pause(Duration::from_millis(wait));
        let worker = self.dice.random_range(0..WORKERS);
        self.kill(Victim::Member(Member::Worker(worker)))?;
        self.all_come_back()?;
        let mut ended = Vec::new();
        for job in jobs {
            let status = self.cluster.wait_for_job(job, "the end", |job| {
                matches!(job["state"].as_str(), Some("FINISHED" | "FAILED" | "CANCELED"))
            })?;
            ensure!(status["state"] == "FINISHED", "{job}: {}", brief(&status));
            let number = |key: &str| status[key].as_u64().unwrap_or_default();
            ended.push((job.clone(), number("attempt"), number("last_checkpoint")));
        }
        Ok(ended)
    }

    fn newest(&self, job: &str) -> Result<Option<Manifest>> {
        let store = CheckpointStore::open(&self.cluster.storage(), job).map_err(|error| anyhow!("{error}"))?;
        self.topics.runtime().block_on(store.newest()).map_err(|error| anyhow!("{error}"))
    }

    /// Records that a job has read from these sources, as its newest checkpoint says.
    fn read_by(&self, job: &str, sources: &[&str]) -> Result<u64> {
        let Some(manifest) = self.newest(job)? else { return Ok(0) };
        let events = |source: &&str| manifest.counters(&format!("source.{source}")).get("events_in").copied();
        Ok(sources.iter().filter_map(events).sum())
    }

    fn wait_until_read(&self, job: &str, sources: &[&str], all: u64) -> Result<()> {
        let mut read = 0;
        let waited = wait_for(&format!("all records in a checkpoint of {job}"), || {
            read = self.read_by(job, sources)?;
            Ok((read >= all).then_some(()))
        });
        waited.with_context(|| format!("{read} of {all} records are read"))
    }

    /// Waits until each job has read more.
    fn wait_for_progress(&self) -> Result<()> {
        let union = (UNION.to_owned(), REGIONS.to_vec());
        let readers =
            readers().into_iter().map(|(job, sources)| (job, sources.into_iter().map(|(name, _)| name).collect()));
        let all: Vec<(String, Vec<&str>)> = readers.chain([union]).collect();
        for (job, sources) in all {
            let before = self.read_by(&job, &sources)?;
            wait_for(&format!("{job} to read on"), || Ok((self.read_by(&job, &sources)? > before).then_some(())))?;
        }
        Ok(())
    }

    fn say(&self, what: &str) {
        if self.run.verbose {
            println!("{:8.3} s  {what}", (now() - self.begun).as_secs_f64());
        }
    }
}
