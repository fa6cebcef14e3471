//! Chaos on real processes, each in a network namespace of its own: three coordinators, three workers, Kafka, PostgreSQL and an S3
//! server. A job counts clicks from a topic into topics and a store, with its checkpoints on S3, while a [`schedule`] kills, freezes
//! and cuts off whoever it likes, loses packets and fills disks. In the end the topics, read by a consumer of another make, and the
//! store hold exactly what a recount of the clicks says.
//!
//! [`parties`] are those who take part, [`watch`] is a reader of the store, [`recovery`] says how long each fault was felt, and
//! [`timeline`] draws all of it on a page.
//!
//! Invariant: after every fault, when it is over, results come again within [`ChaosRun::patience`]; and no job gives up.

pub mod disk;
pub mod parties;
pub mod recovery;
mod report;
mod running;
pub mod schedule;
pub mod timeline;
pub mod watch;

pub use report::Report;

use anyhow::{Context, Result};
use parties::Parties;
use running::Running;
use schedule::{Form, Step};
use std::time::Duration;
use weir_test_support::needs_python;

/// What a run is.
#[derive(Clone, Debug)]
pub struct ChaosRun {
    /// Picks what happens.
    pub seed: u64,
    /// Faults.
    pub faults: usize,
    /// How long they are, and how many at a time.
    pub form: Form,
    /// The only kind of fault, if not all.
    pub only: Option<String>,
    /// Silence after which a worker is taken for dead.
    pub heartbeat_timeout: Duration,
    /// From one checkpoint of the job to the next.
    pub checkpoint_interval: Duration,
    /// After so long without a fault there must be results again: much more than it takes, on a machine that has other work.
    pub patience: Duration,
    /// Whether every fault is printed.
    pub verbose: bool,
}

impl ChaosRun {
    /// One that a test suite can bear.
    pub fn short(seed: u64) -> Self {
        ChaosRun {
            seed,
            faults: 6,
            form: Form::Short,
            only: None,
            heartbeat_timeout: Duration::from_millis(1_500),
            checkpoint_interval: Duration::from_millis(500),
            patience: Duration::from_secs(120),
            verbose: false,
        }
    }

    /// A long one, with the time-outs and the interval that there are without a word.
    pub fn long(seed: u64, faults: usize) -> Self {
        ChaosRun {
            faults,
            form: Form::Long,
            heartbeat_timeout: Duration::from_secs(3),
            checkpoint_interval: Duration::from_secs(1),
            patience: Duration::from_secs(600),
            verbose: true,
            ..ChaosRun::short(seed)
        }
    }

    /// What happens in it.
    pub fn schedule(&self) -> Vec<Step> {
        schedule::schedule(self.seed, self.faults, self.form, self.only.as_deref())
    }

    /// Runs it. `None`: something is missing here, which has been said.
    ///
    /// # Errors
    /// When no results come any more, a job gives up, or a fault cannot be made; with the ends of all logs. Results that are wrong are no
    /// error here: the report says so.
    pub fn run(&self) -> Result<Option<Report>> {
        let Some(python) = needs_python(&["confluent_kafka"]) else { return Ok(None) };
        let Some(parties) = Parties::start(self.heartbeat_timeout)? else { return Ok(None) };
        let mut running = Running::begin(self, python, parties)?;
        let done = running.run();
        done.map(Some).with_context(|| running.story())
    }
}
