//! Who takes part: the processes of the cluster and the servers around it, each at an end of the network, which can be killed,
//! frozen, cut off and started again.

use super::{disk::SmallDisk, schedule::Role};
use crate::cluster::{
    namespaces::{End, Network},
    processes::{ClusterProcesses, ClusterSettings, Member, RemoteStorage},
    serving::Store,
};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, fmt, time::Duration};
use weir_test_support::{
    kafka_server::KafkaServer,
    s3_server::{BUCKET, S3Server},
};

/// Coordinators, of which one may be away.
pub const COORDINATORS: usize = 3;
/// Workers; the job needs the slots of two.
pub const WORKERS: usize = 3;
/// Slots of a worker.
pub const SLOTS: usize = 2;
/// Of a member's own disk.
const DISK_MIB: usize = 64;

/// Somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A process of the cluster, or its database.
    Member(Member),
    /// Kafka.
    Broker,
    /// S3.
    Storage,
}

impl Party {
    fn all() -> Vec<Party> {
        let coordinators = (1..=COORDINATORS).map(coordinator);
        let members = coordinators.chain((0..WORKERS).map(Member::Worker)).chain([Member::Database]);
        members.map(Party::Member).chain([Party::Broker, Party::Storage]).collect()
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Member(member) => member.fmt(f),
            Party::Broker => f.write_str("broker"),
            Party::Storage => f.write_str("storage"),
        }
    }
}

fn coordinator(number: usize) -> Member {
    if number == 1 { Member::Coordinator } else { Member::Peer(number) }
}

/// All of them. What is declared first goes first: a disk before the folder that it is mounted in, the network last.
#[derive(Debug)]
pub struct Parties {
    disks: BTreeMap<Member, SmallDisk>,
    /// The processes, and the store that is served.
    pub cluster: ClusterProcesses,
    /// Kafka.
    pub broker: KafkaServer,
    storage: S3Server,
    /// Between all of them.
    pub network: Network,
}

impl Parties {
    /// Starts everybody. `None`: something is missing here, which has been said.
    ///
    /// # Errors
    /// When somebody does not start.
    pub fn start(heartbeat_timeout: Duration) -> Result<Option<Self>> {
        let all = Party::all();
        let Some(network) = Network::new(all.len())? else { return Ok(None) };
        let place = |party: Party| network.place(end_of(party));
        let started = std::thread::scope(|scope| {
            let broker = scope.spawn(|| KafkaServer::start_at(place(Party::Broker)));
            let storage = scope.spawn(|| S3Server::start_at(place(Party::Storage)));
            let store = Store::postgres_at(place(Party::Member(Member::Database)));
            (broker.join(), storage.join(), store)
        });
        let (Ok(broker), Ok(storage), store) = started else {
            bail!("a server was not started: its thread has panicked")
        };
        let (Some(broker), Some(storage), Some(store)) = (broker?, storage?, store?) else { return Ok(None) };
        let members =
            all.into_iter().filter_map(|party| if let Party::Member(member) = party { Some(member) } else { None });
        let places = members.map(|member| (member, place(Party::Member(member)))).collect();
        let everything = vec!["--allow-url".to_owned(), "*".to_owned()];
        let settings = ClusterSettings {
            slots: SLOTS,
            heartbeat_timeout,
            coordinators: COORDINATORS,
            places,
            storage: Some(RemoteStorage { url: format!("s3://{BUCKET}"), environment: storage.environment() }),
            coordinator_arguments: everything.clone(),
            worker_arguments: everything,
            secret: "of this test".into(),
            ..ClusterSettings::new()?
        };
        let cluster = ClusterProcesses::new(settings)?;
        let mut parties = Parties { disks: BTreeMap::new(), cluster, broker, storage, network };
        let workers = (0..WORKERS).map(Member::Worker);
        for member in parties.cluster.all_coordinators().into_iter().chain(workers) {
            let disk = SmallDisk::mount(&parties.cluster.own_folder(member), DISK_MIB)?;
            parties.disks.insert(member, disk);
        }
        parties.cluster.begin(WORKERS)?;
        parties.cluster.serve(store)?;
        Ok(Some(parties))
    }

    /// Settings of an S3 client, to look into the storage.
    pub fn storage_settings(&self) -> Vec<(String, String)> {
        let environment = self.storage.environment();
        environment.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
    }

    /// Who has a role now, and none of these. `None`: nobody.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub fn who(&mut self, role: Role, job: &str, but: &[Party]) -> Result<Option<Party>> {
        let candidates = match role {
            Role::Leader => self.leader()?.into_iter().collect(),
            Role::Follower => {
                let leader = self.leader()?;
                let all = self.cluster.all_coordinators().into_iter().map(Party::Member);
                all.filter(|one| Some(*one) != leader).collect()
            }
            Role::Worker => self.workers(job)?,
            Role::OtherWorker => self.workers(job)?.into_iter().skip(1).collect(),
            Role::Broker => vec![Party::Broker],
            Role::Database => vec![Party::Member(Member::Database)],
            Role::Storage => vec![Party::Storage],
        };
        Ok(candidates.into_iter().find(|party| !but.contains(party)))
    }

    fn leader(&self) -> Result<Option<Party>> {
        Ok(self.cluster.leader()?.map(Party::Member))
    }

    /// All workers, those that run subtasks first.
    fn workers(&mut self, job: &str) -> Result<Vec<Party>> {
        let status = self.cluster.job(job)?;
        let subtasks = status["subtasks"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = subtasks.iter().filter_map(|subtask| subtask["worker"].as_str()).collect();
        let mut workers = Vec::new();
        for member in (0..WORKERS).map(Member::Worker) {
            // Its process id is part of its name.
            let prefix = self.cluster.pid(member).map(|pid| format!("w-{pid}-")).unwrap_or_default();
            let is_busy = !prefix.is_empty() && names.iter().any(|name| name.starts_with(&prefix));
            workers.push((!is_busy, member));
        }
        workers.sort();
        Ok(workers.into_iter().map(|(_, member)| Party::Member(member)).collect())
    }

    /// Kills somebody.
    ///
    /// # Errors
    /// When he does not run.
    pub fn kill(&mut self, party: Party) -> Result<()> {
        match party {
            Party::Member(member) => self.cluster.kill(member),
            Party::Broker => Ok(self.broker.kill()?),
            Party::Storage => Ok(self.storage.kill()?),
        }
    }

    /// Starts somebody again who was killed.
    ///
    /// # Errors
    /// When he does not start.
    pub fn start_again(&mut self, party: Party) -> Result<()> {
        match party {
            Party::Member(member) => self.cluster.start_member(member),
            Party::Broker => Ok(self.broker.restart()?),
            Party::Storage => Ok(self.storage.restart()?),
        }
    }

    /// Freezes somebody.
    ///
    /// # Errors
    /// When he does not run.
    pub fn freeze(&mut self, party: Party) -> Result<()> {
        match party {
            Party::Member(member) => self.cluster.freeze(member),
            Party::Broker => Ok(self.broker.stop()?),
            Party::Storage => Ok(self.storage.stop()?),
        }
    }

    /// Has somebody go on who was frozen.
    ///
    /// # Errors
    /// When he does not run.
    pub fn thaw(&mut self, party: Party) -> Result<()> {
        match party {
            Party::Member(member) => self.cluster.thaw(member),
            Party::Broker => Ok(self.broker.go_on()?),
            Party::Storage => Ok(self.storage.go_on()?),
        }
    }

    /// Somebody's own disk.
    ///
    /// # Errors
    /// When he has none.
    pub fn disk(&self, party: Party) -> Result<&SmallDisk> {
        let Party::Member(member) = party else { bail!("{party} has no disk of its own") };
        self.disks.get(&member).with_context(|| format!("{party} has no disk of its own"))
    }
}

/// The end of the network that somebody is at.
pub fn end_of(party: Party) -> End {
    // The database is one of them, the query service is not.
    Party::all().iter().position(|one| *one == party).unwrap_or(End::MAX)
}
