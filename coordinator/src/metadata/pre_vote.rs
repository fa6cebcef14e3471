//! Before an election: whether most voters miss a leader (the pre-vote of Ongaro's dissertation, 9.6, which the library has not got).
//!
//! A coordinator that was cut off or frozen would stand for election again and again, each time for a higher term, and when it is back,
//! that term makes a leader give way whom all others hear. So one stands only while most voters, itself among them, hear no leader.
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

    /// Asks the other voters, until a majority has agreed or cannot any more. This one does.
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
        let mut asked: FuturesUnordered<_> = self.voters.values_mut().map(|(_, peer)| peer.pre_vote(limit)).collect();
        let mut agreed = usize::from(voters.contains(&metrics.id));
        while agreed * 2 <= voters.len() {
            match asked.next().await {
                Some(answer) => agreed += usize::from(matches!(answer, Ok(true))),
                None => return false,
            }
        }
        true
    }
}
