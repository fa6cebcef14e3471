//! Before an election: whether most voters miss a leader (the pre-vote of Ongaro's dissertation, 9.6, which the library has not got).
//!
//! A coordinator that was cut off or frozen would stand for election again and again, each time for a higher term, and when it is back,
//! that term makes a leader give way whom all others hear. So one stands only while most voters, itself among them, hear no leader;
//! while voters change, most of the old ones and most of the new ones.
//! This only forbids: when an election begins, and who wins it, is left to the library.

use super::{
    leadership::{self, Metrics},
    network::{Peer, Peers},
    raft_types::{Node, Raft},
    settings::MetadataSettings,
};
use futures::{StreamExt, stream::FuturesUnordered};
use openraft::RaftNetworkFactory;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use weir_engine::env::{Env, Moment};

/// When this coordinator has heard a leader last.
pub(super) struct Hearing {
    heard: Mutex<Option<Moment>>,
    patience: Duration,
    env: Env,
}

impl Hearing {
    /// A leader that is silent for longer than `patience` is missed.
    pub fn new(patience: Duration, env: Env) -> Hearing {
        Hearing { heard: Mutex::default(), patience, env }
    }

    /// A leader has spoken.
    pub fn hear(&self) {
        *self.heard.lock() = Some(self.env.now());
    }

    /// Whether this coordinator neither leads nor has heard a leader lately.
    pub fn misses_leader(&self, metrics: &Metrics) -> bool {
        self.is_silent_for(self.patience) && !leadership::leads(metrics, self.patience)
    }

    /// Whether no leader has been heard for so long.
    pub fn is_silent_for(&self, silence: Duration) -> bool {
        self.heard.lock().is_none_or(|heard| self.env.now() - heard > silence)
    }
}

/// Lets the library hold elections, or not.
pub(super) struct Gate {
    raft: Arc<Raft>,
    peers: Peers,
    /// Ways to the other voters, as they were known when they were made.
    voters: BTreeMap<u64, (Node, Peer)>,
    hearing: Arc<Hearing>,
    /// Between two looks.
    interval: Duration,
    /// How long a voter may take to answer.
    limit: Duration,
}

impl Gate {
    pub fn new(raft: Arc<Raft>, peers: Peers, hearing: Arc<Hearing>, settings: &MetadataSettings) -> Gate {
        let (interval, limit) = (settings.heartbeat_interval, settings.election_timeout.0);
        Gate { raft, peers, voters: BTreeMap::new(), hearing, interval, limit }
    }

    /// Until the log stops. (A leader that falls silent is missed well before the library begins an election, which waits for its
    /// lease and for a time-out: the answers are there by then.)
    pub async fn keep(mut self) {
        let env = self.peers.env.clone();
        while let Some(metrics) = self.running() {
            let may = self.hearing.misses_leader(&metrics) && self.most_miss_leader(&metrics).await;
            self.raft.runtime_config().elect(may);
            env.sleep(self.interval).await;
        }
    }

    fn running(&self) -> Option<Metrics> {
        Some(self.raft.metrics().borrow().clone()).filter(|metrics| metrics.running_state.is_ok())
    }

    /// Asks the other voters, until enough have agreed or cannot any more. This one does.
    async fn most_miss_leader(&mut self, metrics: &Metrics) -> bool {
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        self.voters.retain(|voter, (node, _)| voters.contains(voter) && membership.get_node(voter) == Some(node));
        for voter in voters.iter().filter(|voter| **voter != metrics.id) {
            if let (false, Some(node)) = (self.voters.contains_key(voter), membership.get_node(voter)) {
                let peer = self.peers.new_client(*voter, node).await;
                self.voters.insert(*voter, (node.clone(), peer));
            }
        }
        let limit = self.limit;
        let all = self.voters.iter_mut();
        let mut asked: FuturesUnordered<_> =
            all.map(|(voter, (_, peer))| async move { (*voter, peer.pre_vote(limit).await) }).collect();
        let mut agreed = BTreeSet::from([metrics.id]);
        while !are_most(&agreed, membership.get_joint_config()) {
            match asked.next().await {
                Some((voter, Ok(true))) => {
                    agreed.insert(voter);
                }
                Some(_) => {}
                None => return false,
            }
        }
        true
    }
}

/// Whether these are more than half of the voters: of each set, where one is about to replace another.
fn are_most(these: &BTreeSet<u64>, voters: &[BTreeSet<u64>]) -> bool {
    let of_set = |voters: &BTreeSet<u64>| voters.intersection(these).count() * 2 > voters.len();
    !voters.is_empty() && voters.iter().all(of_set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_voters_change_most_of_the_old_ones_and_of_the_new_ones_are_needed() {
        let both = [BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        for (these, one, two) in [
            (&[2, 3][..], true, true),
            (&[2, 4], false, false),
            (&[1, 2], true, false),
            (&[1, 2, 4], true, true),
            (&[3], false, false),
            (&[], false, false),
        ] {
            let these: BTreeSet<u64> = these.iter().copied().collect();
            assert_eq!((are_most(&these, &both[..1]), are_most(&these, &both)), (one, two), "{these:?}");
        }
        assert!(!are_most(&BTreeSet::from([1]), &[]), "a group that has not begun elects nobody");
    }
}
