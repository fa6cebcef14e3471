//! Which coordinators a coordinator belongs to: begins with, joins, or has belonged to before.

use crate::failure::Failure;
use clap::Args;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use weir_coordinator::{
    announce::{self, Caller},
    metadata::{Joining, MetadataSettings, Stored, open_file, stored_identity},
};

/// Who belongs to the coordinators.
#[derive(Debug, Args)]
pub struct MembershipArguments {
    /// The number of this coordinator among the first ones [default: what the data dir says; else 1, or the next one with --join]
    #[arg(long, value_name = "N")]
    node_id: Option<u64>,
    /// The coordinators that a new cluster begins with, this one too, as `1=HOST:PORT,2=HOST:PORT,…` [default: this one alone];
    /// once it has begun, the coordinators themselves know who belongs to it
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "join")]
    peers: Vec<String>,
    /// Join the cluster of these coordinators, separated by commas; any one that runs will do
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    join: Vec<String>,
    /// Take the place of coordinator N, which is removed
    #[arg(long, value_name = "N", requires = "join")]
    replace: Option<u64>,
    /// The address to give to workers, users and other coordinators [default: the one in --peers, or the one that it listens on]
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<String>,
}

impl MembershipArguments {
    /// What the metadata is to be opened with, for a coordinator that listens at `listens`. One that is to join is taken in first: its
    /// number is the cluster's to give.
    pub async fn settings(&self, file: &Path, listens: &str, caller: &Caller) -> Result<MetadataSettings, Failure> {
        let Stored { node: owner, disk } = stored_identity(open_file(file)?, caller.env.clone()).await?;
        let peers = self.peers()?;
        let node = match (self.node_id.or(owner), &self.join[..]) {
            (Some(node), _) => node,
            (None, []) => 1,
            (None, _) => {
                let address = self.address(None, listens);
                let joining = Joining { node: None, disk, address, replaces: self.replace };
                let asked: BTreeSet<String> = self.join.iter().cloned().collect();
                announce::join(caller, &joining, &asked).await?.node
            }
        };
        let address = self.address(peers.get(&node), listens);
        // One that was to join and has been given a number begins nothing of its own.
        let begins = self.join.is_empty() && owner.is_none_or(|owner| owner == 1);
        let peers = match peers.is_empty() && begins {
            true => BTreeMap::from([(node, address.clone())]),
            false => peers,
        };
        Ok(MetadataSettings {
            secret: caller.secret.clone(),
            address,
            contacts: self.join.clone(),
            replaces: self.replace,
            ..MetadataSettings::new(node, peers)
        })
    }

    fn address(&self, in_peers: Option<&String>, listens: &str) -> String {
        match &self.advertise {
            None => in_peers.cloned().unwrap_or_else(|| listens.to_owned()),
            Some(told) if told.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => told.clone(),
            Some(host) => format!("{host}:{}", listens.rsplit_once(':').map_or("", |(_, port)| port)),
        }
    }

    fn peers(&self) -> Result<BTreeMap<u64, String>, Failure> {
        let parse = |peer: &String| {
            let parts =
                peer.split_once('=').and_then(|(id, address)| Some((id.trim().parse().ok()?, address.trim().into())));
            parts.ok_or_else(|| Failure::refused(format!("--peers: '{peer}' is not N=HOST:PORT")))
        };
        let mut peers = BTreeMap::new();
        for peer in &self.peers {
            let (node, address): (u64, String) = parse(peer)?;
            if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return Err(Failure::refused(format!("--peers: '{peer}' names no port: N=HOST:PORT is expected")));
            }
            if let Some(other) = peers.insert(node, address.clone()) {
                return Err(Failure::refused(format!(
                    "--peers: coordinator {node} is named twice, at '{other}' and at '{address}': each has a number of its own"
                )));
            }
        }
        Ok(peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        membership: MembershipArguments,
    }

    fn peers(list: &str) -> Result<BTreeMap<u64, String>, String> {
        let arguments = Arguments::parse_from(["coordinator", "--peers", list]);
        arguments.membership.peers().map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn each_coordinator_is_named_once_and_with_its_port() {
        assert_eq!(peers("1=a:1, 2=[::1]:2").unwrap(), BTreeMap::from([(1, "a:1".into()), (2, "[::1]:2".into())]));
        for (list, problem) in [
            ("1=a:1,1=b:2", "coordinator 1 is named twice, at 'a:1' and at 'b:2'"),
            ("1=a:1,2=b", "'2=b' names no port"),
            ("1=a:1,2=b:x", "'2=b:x' names no port"),
            ("1=a:1,b:2", "'b:2' is not N=HOST:PORT"),
        ] {
            let refused = peers(list).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
