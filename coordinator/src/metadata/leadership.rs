//! The current leader, as one coordinator knows it.
//!
//! Invariant: a coordinator says that it leads only after an entry of its own term was applied here: then so is everything
//! that was decided before, and [`catalog`](super::Metadata::catalog) is the truth to act on.

use super::{
    command::Command,
    pre_vote::Hearing,
    raft_types::{Node, Raft},
};
use openraft::ServerState;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use weir_engine::env::Env;

/// See [`follow`].
const STANDS: u32 = 2;
const MISSED: u32 = 3;

pub(super) type Metrics = openraft::RaftMetrics<u64, Node>;

/// Whether this coordinator leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It does; everything decided before is applied. Left when another one is heard of, or most have not been heard for as
    /// long as it takes to elect another one.
    Leader {
        /// The term that it leads in; it rises with every election.
        term: u64,
    },
    /// It does not.
    Follower {
        /// Who does, and at which address, if anybody is known to.
        leader: Option<(u64, String)>,
    },
    /// Its log has stopped: shut down, or its disk has failed. Final.
    Stopped {
        /// What the log said last.
        reason: String,
    },
}

impl Leadership {
    /// Whether it leads.
    pub fn is_leader(&self) -> bool {
        matches!(self, Leadership::Leader { .. })
    }
}

/// Follows the log's state and publishes it, until the log stops.
///
/// `patience`: a leader that has not heard most of the others for so long may have been replaced without knowing. It stands by what it
/// does for [`STANDS`] times as long, since on a busy machine it is more likely that nobody got a turn, and giving way makes all
/// workers register anew: meanwhile nothing of it is decided. One that this coordinator has not heard for [`MISSED`] times as long is
/// none any more, as far as is known here.
pub(super) async fn follow(
    raft: Arc<Raft>,
    hearing: Arc<Hearing>,
    patience: Duration,
    env: Env,
    tell: watch::Sender<Leadership>,
) {
    let mut metrics = raft.metrics();
    loop {
        let now = metrics.borrow_and_update().clone();
        let leadership = match &now.running_state {
            Err(reason) => {
                tell.send_replace(Leadership::Stopped { reason: reason.to_string() });
                return;
            }
            Ok(()) if leads(&now, patience * STANDS) => match &*tell.borrow() {
                Leadership::Leader { term } if *term == now.current_term => None,
                _ => Some(Leadership::Leader { term: now.current_term }),
            },
            Ok(()) => {
                let leader = leader_of(&now).filter(|_| !hearing.is_silent_for(patience * MISSED));
                Some(Leadership::Follower { leader })
            }
        };
        match leadership {
            Some(Leadership::Leader { term }) => {
                let first = Command::LeaderElected { node: now.id, at_ms: env.wall_clock_ms() };
                // Refused when leadership was lost meanwhile: the next state says so.
                if raft.client_write(first).await.is_ok() && still_leads(&raft, term, patience * STANDS) {
                    tracing::info!(node = now.id, term, "coordinator leads");
                    change(&tell, Leadership::Leader { term });
                }
            }
            Some(other) => change(&tell, other),
            None => {}
        }
        let follows = matches!(&*tell.borrow(), Leadership::Follower { leader: Some(_) });
        tokio::select! {
            biased;
            changed = metrics.changed() => if changed.is_err() {
                tell.send_replace(Leadership::Stopped { reason: "shut down".into() });
                return;
            },
            // That a leader is silent changes nothing by itself.
            () = env.sleep(patience), if follows => {}
        }
    }
}

/// Whether it leads, and has heard most of the others within `patience`.
pub(super) fn leads(metrics: &Metrics, patience: Duration) -> bool {
    let silence = Duration::from_millis(metrics.millis_since_quorum_ack.unwrap_or(0));
    // Nobody else could lead in the place of one that is alone, however long its disk takes.
    metrics.state == ServerState::Leader && (silence <= patience || is_alone(metrics))
}

/// Whether nobody else votes.
pub(super) fn is_alone(metrics: &Metrics) -> bool {
    metrics.membership_config.membership().voter_ids().eq([metrics.id])
}

fn still_leads(raft: &Raft, term: u64, patience: Duration) -> bool {
    let metrics = raft.metrics();
    let now = metrics.borrow();
    now.current_term == term && leads(&now, patience)
}

fn leader_of(metrics: &Metrics) -> Option<(u64, String)> {
    // It may take itself for the leader still; see `leads`.
    let leader = metrics.current_leader.filter(|leader| *leader != metrics.id)?;
    let address =
        metrics.membership_config.membership().get_node(&leader).map_or(String::new(), |node| node.address.clone());
    Some((leader, address))
}

fn change(tell: &watch::Sender<Leadership>, to: Leadership) {
    tell.send_if_modified(|now| {
        let changed = *now != to;
        *now = to;
        changed
    });
}
