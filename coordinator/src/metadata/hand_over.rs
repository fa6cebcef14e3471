//! The end of a coordinator that leads: another one is asked to lead, before the others miss this one.

use super::{Metadata, leadership};
use openraft::RaftNetworkFactory;
use std::time::Duration;

/// How long it may take to ask one.
const PATIENCE: Duration = Duration::from_millis(500);

impl Metadata {
    /// If this coordinator leads others, has the voter lead that knows the most: to be called when nothing is decided here any more,
    /// since every decision makes the others stand by this one for longer. Where that fails, they elect one of them a little later.
    pub async fn hand_over(&self) {
        let before = self.raft.metrics().borrow().clone();
        if !before.state.is_leader() || leadership::is_alone(&before) {
            return;
        }
        self.raft.runtime_config().heartbeat(false);
        // For so long since they have heard of a leader, voters vote for no other one.
        self.env.sleep(self.settings.election_timeout.1 + self.settings.heartbeat_interval).await;
        let now = self.raft.metrics().borrow().clone();
        let membership = now.membership_config.membership();
        let others = membership.voter_ids().filter(|voter| *voter != now.id);
        let Some(heir) =
            others.max_by_key(|voter| now.replication.as_ref().and_then(|all| all.get(voter).copied().flatten()))
        else {
            return;
        };
        let Some(node) = membership.get_node(&heir) else { return };
        let mut peer = self.peers.clone().new_client(heir, node).await;
        let asked = tokio::select! {
            biased;
            asked = peer.elect() => asked,
            () = self.env.sleep(PATIENCE) => Err(tonic::Status::deadline_exceeded("it does not answer")),
        };
        match asked {
            Ok(()) => tracing::info!(coordinator = heir, "asked to lead in the place of this one, which ends"),
            Err(status) => tracing::info!(coordinator = heir, error = status.message(), "cannot be asked to lead"),
        }
    }
}
