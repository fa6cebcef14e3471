//! The context of an operator: where it runs, and the counters it keeps.

use super::{Patience, Waiting, canceled::Canceled, lags::Lags, pace::Pace, waits::Waits};
use crate::{checkpoint::Staging, element::Origin, env::Env, ids::Attempt, key_group::KeyGroupRange};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Where an instance of an operator runs.
#[derive(Clone, Debug)]
pub struct OperatorContext {
    /// The job's name: part of paths and of commit markers.
    pub job: String,
    /// What record ids are made from: the same live and in a replay.
    pub identity: String,
    /// The node's id, such as `dedup.unique`.
    pub operator: String,
    /// Index of this instance.
    pub subtask: usize,
    /// Number of instances.
    pub parallelism: usize,
    /// Number of key groups of the job.
    pub max_parallelism: u16,
    /// The key groups that this instance owns.
    pub key_groups: KeyGroupRange,
    /// The current attempt.
    pub attempt: Attempt,
    /// Time and chance.
    pub env: Env,
    /// Counters of this instance; they are part of every checkpoint and continue after a restore.
    pub counters: Counters,
    /// Where a sink stages what its target cannot hold unseen.
    pub staging: Staging,
    /// Records that the last attempt failed on: a source gives them out one by one, so that the next failure names one.
    pub suspect: Option<Arc<Origin>>,
    /// Whether this instance is to end: what takes long asks now and then.
    pub canceled: Canceled,
    /// Where a source says that it waits for what it reads, and a sink for the storage that it writes to.
    pub waits: Waits,
    /// Where a source says how much it has not read yet.
    pub lags: Lags,
    /// Where a source whose subtasks wait for each other says how far it is, and hears of the others.
    pub pace: Pace,
}

impl OperatorContext {
    /// For a single instance of an operator, as tests want it.
    pub fn single(job: &str, operator: &str) -> Self {
        let max_parallelism = crate::key_group::DEFAULT_MAX_PARALLELISM;
        OperatorContext {
            job: job.into(),
            identity: job.into(),
            operator: operator.into(),
            subtask: 0,
            parallelism: 1,
            max_parallelism,
            key_groups: KeyGroupRange::all(max_parallelism),
            attempt: Attempt(1),
            env: Env::default(),
            counters: Counters::default(),
            staging: Staging::in_memory(job, operator),
            suspect: None,
            canceled: Canceled::default(),
            waits: Waits::default(),
            lags: Lags::default(),
            pace: Pace::default(),
        }
    }

    /// For a storage that this sink writes to.
    pub fn patience(&self) -> Patience {
        let (env, waits) = (self.env.clone(), self.waits.clone());
        Patience { env, waits, job: self.job.clone(), node: self.operator.clone() }
    }
}

/// The context of a committer: it belongs to no subtask and no attempt.
#[derive(Clone, Debug)]
pub struct CommitterContext {
    /// The job's name.
    pub job: String,
    /// The sink's node id, such as `sink.counts`.
    pub sink: String,
    /// Time and chance.
    pub env: Env,
    /// What the sink has staged.
    pub staging: Staging,
    /// Where the committer says that it waits for its target.
    pub waits: Waits,
}

impl CommitterContext {
    /// For a sink alone, as tests want it.
    pub fn single(job: &str, sink: &str) -> Self {
        CommitterContext {
            job: job.into(),
            sink: sink.into(),
            env: Env::default(),
            staging: Staging::in_memory(job, sink),
            waits: Waits::default(),
        }
    }

    /// For a piece of work for which the target, as the log is to call it (`the database`), may have to be waited for.
    pub fn waiting(&self, target: &'static str) -> Waiting {
        self.patience().waiting(target)
    }

    /// For a storage that is the sink's target.
    pub fn patience(&self) -> Patience {
        let (env, waits) = (self.env.clone(), self.waits.clone());
        Patience { env, waits, job: self.job.clone(), node: self.sink.clone() }
    }
}

/// Named counters, exactly once: a checkpoint holds their values as of its barrier. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<String, Counter>>>);

/// One counter. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// The counter of that name, made at its first use.
    pub fn counter(&self, name: &str) -> Counter {
        let mut all = self.0.lock();
        match all.get(name) {
            Some(counter) => counter.clone(),
            None => all.entry(name.to_string()).or_default().clone(),
        }
    }

    /// All values now.
    pub fn values(&self) -> BTreeMap<String, u64> {
        let all = self.0.lock();
        all.iter().map(|(name, counter)| (name.clone(), counter.get())).collect()
    }

    /// Adds the values of a checkpoint.
    pub fn restore(&self, values: &BTreeMap<String, u64>) {
        for (name, value) in values {
            self.counter(name).add(*value);
        }
    }
}
