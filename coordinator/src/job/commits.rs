//! What the sinks of all jobs have committed so far, as workers say when they have: how often, in how many transactions, and how
//! long it took. For people; nothing is decided by it. It begins at zero with this process.

use crate::status::CommitsView;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use weir_engine::{env::Moment, rate::Rate};
use weir_proto::v1 as pb;

/// The median and the longest are those of so many of a sink's newest commits.
const RECENT: usize = 100;

/// By job and sink. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CommitsSoFar(Arc<Mutex<BTreeMap<String, BTreeMap<String, OfSink>>>>);

#[derive(Debug, Default)]
struct OfSink {
    commits: u64,
    transactions: u64,
    duration_us: u64,
    /// How long the newest took, oldest first; microseconds.
    recent_us: VecDeque<u64>,
    /// Of transactions.
    rate: Rate,
}

impl CommitsSoFar {
    /// A worker has made commits of a job.
    pub fn add(&self, job: &str, commits: &[pb::SinkCommit]) {
        let mut all = self.0.lock();
        for commit in commits {
            let of_job = all.entry(job.to_owned()).or_default();
            of_job.entry(commit.sink.clone()).or_default().add(commit);
        }
    }

    /// What the sinks of a job have committed, by their node ids. Ask often: rates are taken from how the numbers rise in between.
    pub fn views(&self, job: &str, now: Moment) -> BTreeMap<String, CommitsView> {
        let mut all = self.0.lock();
        let of_job = all.get_mut(job).into_iter().flatten();
        of_job.map(|(sink, of_sink)| (sink.clone(), of_sink.view(now))).collect()
    }

    /// Forgets all other jobs.
    pub fn keep(&self, jobs: &BTreeSet<&str>) {
        self.0.lock().retain(|job, _| jobs.contains(job.as_str()));
    }
}

impl OfSink {
    fn add(&mut self, commit: &pb::SinkCommit) {
        self.commits += 1;
        self.transactions += commit.transactions;
        self.duration_us += commit.took_us;
        if self.recent_us.len() >= RECENT {
            self.recent_us.pop_front();
        }
        self.recent_us.push_back(commit.took_us);
    }

    fn view(&mut self, now: Moment) -> CommitsView {
        self.rate.read(now, self.transactions);
        let mut sorted: Vec<u64> = self.recent_us.iter().copied().collect();
        sorted.sort_unstable();
        CommitsView {
            commits: self.commits,
            transactions: self.transactions,
            transactions_per_second: self.rate.per_second(),
            duration_us: self.duration_us,
            last_us: self.recent_us.back().copied().unwrap_or(0),
            median_us: sorted.get(sorted.len() / 2).copied().unwrap_or(0),
            longest_us: sorted.last().copied().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weir_engine::env::Env;

    fn commit(sink: &str, took_us: u64, transactions: u64) -> pb::SinkCommit {
        pb::SinkCommit { sink: sink.into(), took_us, transactions }
    }

    #[test]
    fn each_sink_has_its_own_numbers() {
        let (so_far, now) = (CommitsSoFar::default(), Env::default().now());
        assert!(so_far.views("a", now).is_empty());
        so_far.add("a", &[commit("sink.x", 5_000, 2), commit("sink.y", 100, 0)]);
        so_far.add("a", &[commit("sink.x", 1_000, 1), commit("sink.x", 3_000, 1)]);
        let views = so_far.views("a", now);
        let expected = CommitsView {
            commits: 3,
            transactions: 4,
            transactions_per_second: 0.0,
            duration_us: 9_000,
            last_us: 3_000,
            median_us: 3_000,
            longest_us: 5_000,
        };
        assert_eq!(views["sink.x"], expected);
        assert_eq!((views["sink.y"].commits, views["sink.y"].transactions, views["sink.y"].last_us), (1, 0, 100));
        assert!(so_far.views("b", now).is_empty());
        so_far.keep(&BTreeSet::from(["b"]));
        assert!(so_far.views("a", now).is_empty());
    }

    #[test]
    fn transactions_a_second_are_those_between_looks() {
        let (so_far, began) = (CommitsSoFar::default(), Env::default().now());
        so_far.add("a", &[commit("sink.x", 10, 1)]);
        for second in 0..10 {
            so_far.views("a", began + Duration::from_secs(second));
            so_far.add("a", &[commit("sink.x", 10, 3)]);
        }
        let view = &so_far.views("a", began + Duration::from_secs(10))["sink.x"];
        assert_eq!((view.transactions, view.transactions_per_second), (31, 3.0));
    }

    #[test]
    fn a_long_commit_is_shown_for_a_while_and_costs_no_memory() {
        let (so_far, now) = (CommitsSoFar::default(), Env::default().now());
        so_far.add("a", &[commit("sink.x", 9_000_000, 1)]);
        for _ in 1..RECENT {
            so_far.add("a", &[commit("sink.x", 7, 1)]);
        }
        let view = so_far.views("a", now)["sink.x"];
        assert_eq!((view.median_us, view.longest_us), (7, 9_000_000));
        so_far.add("a", &[commit("sink.x", 7, 1)]);
        let view = so_far.views("a", now)["sink.x"];
        assert_eq!((view.longest_us, view.commits, view.duration_us), (7, 101, 9_000_700));
        assert_eq!(so_far.0.lock()["a"]["sink.x"].recent_us.len(), RECENT);
    }
}
