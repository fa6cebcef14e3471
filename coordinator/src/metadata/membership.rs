//! Who belongs to the coordinators: how one is taken in, and how one is removed.
//!
//! Every step is idempotent and begins from what the log says, so that whoever asked asks again when the leader is gone half-way. A
//! newcomer is a learner first, which counts in no majority, and votes once it has everything. Invariants: a number is given once;
//! whoever is removed stays so; no step is taken after which the majority would be of coordinators that do not answer.

use super::{
    Metadata,
    command::Command,
    raft_types::{Node, StoredMembership},
    settings::{MetadataSettings, list},
};
use futures::future::join_all;
use openraft::{ChangeMembers, ServerState};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use weir_engine::{EngineError, Result};
use weir_proto::{
    transport,
    v1::{IdentifyRequest, Identity as Answer, raft_client::RaftClient},
};

/// How long a coordinator may take to say who it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A learner that lacks no more entries than this is made a voter: it has the rest within a moment.
const NEARLY_ALL: u64 = 100;

/// A coordinator of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub node: u64,
    /// Where it is reached.
    pub address: String,
    /// What it does.
    pub role: Role,
    /// Entries of the log that it has not confirmed yet; known to the leader.
    pub behind: Option<u64>,
    /// How long ago it has answered; known to the leader, of those that have answered it.
    pub answered: Option<Duration>,
}

/// What a coordinator does in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides for all.
    Leader,
    /// It votes, and counts in the majority.
    Voter,
    /// It catches up.
    Learner,
}

impl Role {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Voter => "voter",
            Role::Learner => "learner",
        }
    }
}

/// Who asks to be taken in, or says where it is.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Its number; none: it is given one.
    pub node: Option<u64>,
    /// Its disk.
    pub disk: u64,
    /// Where it is reached.
    pub address: String,
    /// The member whose place it takes.
    pub replaces: Option<u64>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its number.
    pub node: u64,
    /// Whether it votes; else it has to catch up first.
    pub votes: bool,
}

impl Metadata {
    /// Where the others reach this coordinator, by its settings.
    pub fn address(&self) -> &str {
        &self.settings.address
    }

    /// Where others may be found: the members, and those of the settings.
    pub fn known_addresses(&self) -> BTreeSet<String> {
        let members = self.members().into_iter().map(|member| member.address);
        let told = self.settings.peers.values().chain(&self.settings.contacts).cloned();
        members.chain(told).filter(|address| !address.is_empty() && address != self.address()).collect()
    }

    /// What this coordinator says of itself.
    pub fn joining(&self) -> Joining {
        let MetadataSettings { node_id, address, replaces, .. } = &self.settings;
        Joining { node: Some(*node_id), disk: self.identity.disk, address: address.clone(), replaces: *replaces }
    }

    /// All coordinators of the group, as far as this one knows.
    pub fn members(&self) -> Vec<Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let leads = metrics.state == ServerState::Leader;
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let matched = |node: &u64| metrics.replication.as_ref().and_then(|all| all.get(node).copied().flatten());
        let (now, heard) = (self.env.now(), self.peers.heard.lock());
        let answered = |node: &u64| heard.get(node).map(|heard| now - *heard);
        let all = membership.nodes().map(|(node, Node { address, .. })| {
            let is_own = *node == metrics.id;
            let has = matched(node).map_or(0, |at| at.index);
            let behind = metrics.last_log_index.unwrap_or(0).saturating_sub(has);
            Member {
                node: *node,
                address: address.clone(),
                role: match voters.contains(node) {
                    true if metrics.current_leader == Some(*node) => Role::Leader,
                    true => Role::Voter,
                    false => Role::Learner,
                },
                behind: leads.then_some(if is_own { 0 } else { behind }),
                answered: if is_own { Some(Duration::ZERO) } else { answered(node) }.filter(|_| leads),
            }
        });
        all.collect()
    }

    /// Takes a coordinator in, step by step: asked again, it goes on. One that is a member says where it is by now.
    ///
    /// # Errors
    /// `Definition` when it cannot be one; `Fenced` when this coordinator does not lead; `Unavailable` when it is to be tried again.
    pub async fn admit(&self, joining: &Joining) -> Result<Joined> {
        let _one_at_a_time = self.changing.lock().await;
        let (members, voters) = self.membership();
        let known = members.iter().find(|(node, member)| is_it(joining, **node, member));
        let Some((node, member)) = known else {
            check_address(&joining.address)?;
            self.check_reachable_from(joining)?;
            if let Some(replaced) = joining.replaces.filter(|replaced| !members.contains_key(replaced)) {
                return Err(not_there(replaced, &members));
            }
            let node = self.number(joining, &members).await?;
            let newcomer = Node { address: joining.address.clone(), disk: Some(joining.disk) };
            tracing::info!(coordinator = node, address = joining.address, "coordinator joins");
            let learner = ChangeMembers::AddNodes(BTreeMap::from([(node, newcomer)]));
            self.change("take in a coordinator", learner).await?;
            return Ok(Joined { node, votes: false });
        };
        let node = *node;
        if let Some(mine) = joining.node.filter(|mine| *mine != node) {
            return Err(EngineError::definition(format!(
                "the data dir of coordinator {mine} is that of coordinator {node}"
            )));
        }
        let now = Node { address: joining.address.clone(), disk: Some(joining.disk) };
        if *member != now {
            tracing::info!(coordinator = node, address = joining.address, "coordinator says where it is");
            self.change("take down an address", ChangeMembers::SetNodes(BTreeMap::from([(node, now)]))).await?;
        }
        let replaced = joining.replaces.filter(|replaced| members.contains_key(replaced) && *replaced != node);
        if voters.contains(&node) && replaced.is_none() {
            return Ok(Joined { node, votes: true });
        }
        if !voters.contains(&node) && !self.is_nearly_there(node) {
            return Ok(Joined { node, votes: false });
        }
        let after = voters.iter().copied().filter(|voter| Some(*voter) != replaced).chain([node]).collect();
        // Who is silent may be there in a moment.
        self.change_voters(after).await.map_err(|error| EngineError::unavailable(error.message))?;
        if let Some(replaced) = replaced {
            self.forget(replaced).await?;
        }
        tracing::info!(coordinator = node, ?replaced, "coordinator votes");
        Ok(Joined { node, votes: true })
    }

    /// Removes a coordinator for good: its number is not used again.
    ///
    /// # Errors
    /// `Definition` when it is the last one, was never there, or the others would be no majority without it; else as
    /// [`Metadata::admit`].
    pub async fn remove(&self, node: u64) -> Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        let (members, voters) = self.membership();
        if !members.contains_key(&node) {
            return Err(not_there(node, &members));
        }
        if voters.contains(&node) {
            let after: BTreeSet<u64> = voters.iter().copied().filter(|voter| *voter != node).collect();
            if after.is_empty() {
                return Err(EngineError::definition(format!(
                    "coordinator {node} is the only one that votes; stop it instead, or have another one join first"
                )));
            }
            self.change_voters(after).await?;
        }
        self.forget(node).await?;
        tracing::info!(coordinator = node, "coordinator removed");
        Ok(())
    }

    fn membership(&self) -> (BTreeMap<u64, Node>, BTreeSet<u64>) {
        let stored: StoredMembership = self.raft.metrics().borrow().membership_config.as_ref().clone();
        let membership = stored.membership();
        (membership.nodes().map(|(node, member)| (*node, member.clone())).collect(), membership.voter_ids().collect())
    }

    /// The number of a newcomer.
    async fn number(&self, joining: &Joining, members: &BTreeMap<u64, Node>) -> Result<u64> {
        let highest = members.keys().copied().max().unwrap_or(0).max(self.catalog().highest_number());
        let remedy = "start it on an empty --data-dir with --join, and without --node-id; --replace N removes the member that it \
                      takes the place of";
        let node = match joining.node {
            None => highest + 1,
            Some(node) if members.contains_key(&node) => {
                return Err(EngineError::definition(format!(
                    "coordinator {node} is a member with another data dir, where its votes are; without them it could vote twice: {remedy}"
                )));
            }
            Some(node) if node <= highest => {
                return Err(EngineError::definition(format!(
                    "coordinator {node} is not a member: it was removed, or never was one, and numbers up to {highest} are not given again: \
                     {remedy}"
                )));
            }
            Some(node) => node,
        };
        self.decide(Command::CoordinatorNumbered { node }).await?;
        Ok(node)
    }

    fn check_reachable_from(&self, joining: &Joining) -> Result<()> {
        let is_local = |address: &str| address.starts_with("127.") || address.starts_with("localhost:");
        let own = self.address();
        if check_address(own).is_err() || is_local(own) && !is_local(&joining.address) {
            return Err(EngineError::definition(format!(
                "coordinator {} says that it is reached at {own}, which {} cannot: start it again with --advertise HOST:PORT",
                self.settings.node_id, joining.address
            )));
        }
        Ok(())
    }

    fn is_nearly_there(&self, node: u64) -> bool {
        let members = self.members();
        let behind = members.iter().find(|member| member.node == node).and_then(|member| member.behind);
        behind.is_some_and(|behind| behind <= NEARLY_ALL)
    }

    /// Removes a learner from the group.
    async fn forget(&self, node: u64) -> Result<()> {
        let (members, voters) = self.membership();
        if members.contains_key(&node) && !voters.contains(&node) {
            self.keep_numbers(&members).await?;
            self.change("remove a coordinator", ChangeMembers::RemoveNodes(BTreeSet::from([node]))).await?;
        }
        Ok(())
    }

    /// The numbers of the first ones are nowhere else than in the list of members.
    async fn keep_numbers(&self, members: &BTreeMap<u64, Node>) -> Result<()> {
        let highest = members.keys().copied().max().unwrap_or(0);
        if highest > self.catalog().highest_number() {
            self.decide(Command::CoordinatorNumbered { node: highest }).await?;
        }
        Ok(())
    }

    /// Has these vote. Who does not any more is removed.
    async fn change_voters(&self, after: BTreeSet<u64>) -> Result<()> {
        let (members, _) = self.membership();
        let asked = after.iter().filter_map(|node| Some((*node, members.get(node)?)));
        let silent: BTreeSet<u64> = join_all(asked.map(|(node, member)| async move {
            let answers = node == self.settings.node_id || self.answers(node, member).await;
            (!answers).then_some(node)
        }))
        .await
        .into_iter()
        .flatten()
        .collect();
        if (after.len() - silent.len()) * 2 <= after.len() {
            return Err(EngineError::definition(format!(
                "of the coordinators {}, which would be left, {} do not answer: those that do are no majority, and could decide nothing",
                list(after.iter()),
                list(silent.iter())
            )));
        }
        self.keep_numbers(&members).await?;
        self.change("change the coordinators that vote", ChangeMembers::ReplaceAllVoters(after)).await
    }

    async fn answers(&self, node: u64, member: &Node) -> bool {
        let asking = async {
            let channel = transport::connect(self.peers.network.clone(), &member.address, ANSWER_TIMEOUT).await.ok()?;
            let mut client = RaftClient::with_interceptor(channel, self.settings.secret.shown());
            client.identify(IdentifyRequest {}).await.ok()
        };
        let answer = tokio::select! {
            biased;
            answer = asking => answer,
            () = self.env.sleep(ANSWER_TIMEOUT) => None,
        };
        answer.is_some_and(|answer| {
            let Answer { node: number, disk } = answer.into_inner();
            number == node && member.disk.is_none_or(|known| known == disk)
        })
    }

    async fn change(&self, doing: &str, changes: ChangeMembers<u64, Node>) -> Result<()> {
        let limit = self.settings.decision_timeout;
        tokio::select! {
            biased;
            changed = self.raft.change_membership(changes, false) => {
                changed.map(|_| ()).map_err(|error| self.not_written(doing, error))
            }
            () = self.env.sleep(limit) => Err(EngineError::unavailable(format!(
                "cannot {doing}: not decided within {limit:?}, because most coordinators were not reached; it may still be decided"
            ))),
        }
    }
}

fn not_there(node: u64, members: &BTreeMap<u64, Node>) -> EngineError {
    EngineError::definition(format!("there is no coordinator {node}; there are: {}", list(members.keys())))
}

/// Whether it is this member: by its disk, or by its number where its disk was not known yet.
fn is_it(joining: &Joining, node: u64, member: &Node) -> bool {
    match member.disk {
        Some(disk) => disk == joining.disk,
        None => Some(node) == joining.node,
    }
}

fn check_address(address: &str) -> Result<()> {
    let host = address.rsplit_once(':').map(|(host, _)| host);
    match host {
        None | Some("") | Some("0.0.0.0" | "[::]" | "*") => Err(EngineError::definition(format!(
            "'{address}' is no address that other coordinators reach: start the coordinator with --advertise HOST:PORT"
        ))),
        Some(_) => Ok(()),
    }
}
