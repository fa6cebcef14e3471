//! Coordinators that come, go, are replaced, and come back.

use super::{
    group::{Member, address, decide, leader, settings, wait_for_job},
    support::{Pipes, jobs, submit},
};
use crate::metadata::{Joined, Joining, MemoryDisk, MetadataSettings, Role, stored_identity};
use std::{collections::BTreeMap, time::Duration};
use weir_engine::{EngineError, ErrorKind, env::Env};

type Members = BTreeMap<u64, Member>;

async fn start(pipes: &Pipes, settings: MetadataSettings, disk: &MemoryDisk) -> Member {
    let network = pipes.of(&settings.address);
    Member::start(settings, disk, network, Env::seeded(5)).await
}

/// What a coordinator says of itself to whoever leads, until it votes or is refused for good.
async fn announce(members: &Members, joining: &Joining) -> Result<Joined, EngineError> {
    loop {
        match leader(members).await.metadata.admit(joining).await {
            Ok(joined) if joined.votes => return Ok(joined),
            Err(error) if error.kind == ErrorKind::Definition => return Err(error),
            Ok(_) | Err(_) => Env::default().sleep(Duration::from_millis(20)).await,
        }
    }
}

/// An empty one is taken in, and votes.
async fn join(pipes: &Pipes, members: &mut Members, at: u64, replaces: Option<u64>) -> u64 {
    let disk = MemoryDisk::new();
    let stored = stored_identity(disk.backend(), Env::seeded(100 + at)).await.unwrap();
    let joining = Joining { node: None, disk: stored.disk, address: address(at), replaces };
    let node = loop {
        match leader(members).await.metadata.admit(&joining).await {
            Ok(joined) => break joined.node,
            Err(error) => assert_ne!(error.kind, ErrorKind::Definition, "{error}"),
        }
        Env::default().sleep(Duration::from_millis(20)).await;
    };
    members.insert(node, start(pipes, MetadataSettings::joining(node, address(at)), &disk).await);
    assert_eq!(announce(members, &joining).await.unwrap(), Joined { node, votes: true });
    node
}

/// The numbers of those that vote, as the leader knows them.
async fn voters(members: &Members) -> Vec<u64> {
    let all = leader(members).await.metadata.members();
    all.into_iter().filter(|member| member.role != Role::Learner).map(|member| member.node).collect()
}

async fn three(pipes: &Pipes, disks: &[MemoryDisk; 3]) -> Members {
    let mut members = Members::new();
    for (node, disk) in (1..=3).zip(disks) {
        members.insert(node, start(pipes, settings(node), disk).await);
    }
    for node in 1..=3 {
        announce(&members, &members[&node].metadata.joining()).await.unwrap();
    }
    members
}

fn disks() -> [MemoryDisk; 3] {
    [MemoryDisk::new(), MemoryDisk::new(), MemoryDisk::new()]
}

#[tokio::test]
async fn one_grows_to_three_and_shrinks_to_one() {
    let pipes = Pipes::default();
    let alone = start(&pipes, MetadataSettings::alone(1, address(1)), &MemoryDisk::new()).await;
    let mut members = Members::from([(1, alone)]);
    decide(&members, submit("alone")).await;
    assert_eq!(join(&pipes, &mut members, 2, None).await, 2);
    assert_eq!(join(&pipes, &mut members, 3, None).await, 3);
    assert_eq!(voters(&members).await, [1, 2, 3]);
    for member in members.values() {
        wait_for_job(member, "alone").await;
    }
    // Now one may be lost, the first as well.
    members.remove(&1).unwrap().stop().await;
    decide(&members, submit("without the first")).await;

    leader(&members).await.metadata.remove(1).await.unwrap();
    let leads = leader(&members).await.node;
    let other = if leads == 2 { 3 } else { 2 };
    members[&leads].metadata.remove(other).await.unwrap();
    members.remove(&other).unwrap().stop().await;
    decide(&members, submit("alone again")).await;
    let refused = members[&leads].metadata.remove(leads).await.unwrap_err();
    assert!(refused.message.contains("the only one that votes"), "{refused}");
    assert_eq!(jobs(&members[&leads].metadata), ["alone", "alone again", "without the first"]);
}

#[tokio::test]
async fn a_dead_one_is_replaced_and_does_no_harm_when_it_is_back() {
    let (pipes, disks) = (Pipes::default(), disks());
    let mut members = three(&pipes, &disks).await;
    decide(&members, submit("before")).await;
    let leads = leader(&members).await.node;
    let dead = (1..=3).find(|node| *node != leads).unwrap();
    members.remove(&dead).unwrap().stop().await;
    let newcomer = join(&pipes, &mut members, 4, Some(dead)).await;
    assert_eq!(newcomer, 4);
    assert!(!voters(&members).await.contains(&dead));
    wait_for_job(&members[&4], "before").await;
    decide(&members, submit("with the new one")).await;

    // Back, with all that it had: it is told that it does not belong, and has no voice.
    let back = start(&pipes, settings(dead), &disks[dead as usize - 1]).await;
    let refused = announce(&members, &back.metadata.joining()).await.unwrap_err();
    assert!(refused.message.contains("was removed"), "{refused}");
    decide(&members, submit("afterwards")).await;
    assert!(!back.metadata.leadership().borrow().is_leader());
    assert!(!jobs(&back.metadata).contains(&"with the new one".to_owned()));

    // The new one counts: of three, another may die.
    let third = members.keys().copied().find(|node| *node != leads && *node != 4).unwrap();
    members.remove(&third).unwrap().stop().await;
    decide(&members, submit("with two of the three")).await;
}

#[tokio::test]
async fn a_number_without_its_disk_has_no_voice_and_is_refused() {
    let (pipes, disks) = (Pipes::default(), disks());
    let mut members = three(&pipes, &disks).await;
    decide(&members, submit("before")).await;
    for member in members.values() {
        wait_for_job(member, "before").await;
    }
    let leads = leader(&members).await.node;
    let lost = (1..=3).find(|node| *node != leads).unwrap();
    members.remove(&lost).unwrap().stop().await;
    let empty = MemoryDisk::new();
    stored_identity(empty.backend(), Env::seeded(77)).await.unwrap();
    let wiped = start(&pipes, settings(lost), &empty).await;
    let refused = announce(&members, &wiped.metadata.joining()).await.unwrap_err();
    assert!(refused.message.contains("with another data dir"), "{refused}");
    // With the leader gone, one that remembers is left: no majority, whatever the one that has forgotten says.
    members.remove(&leads).unwrap().stop().await;
    let alone = members.values().next().unwrap();
    let elected = tokio::time::timeout(Duration::from_secs(2), async {
        alone.metadata.leadership().wait_for(|now| now.is_leader()).await.unwrap();
    });
    assert!(elected.await.is_err(), "a coordinator that has forgotten its votes has voted");
    assert!(jobs(&wiped.metadata).is_empty());
}

#[tokio::test]
async fn what_would_leave_no_majority_is_refused() {
    let (pipes, disks) = (Pipes::default(), disks());
    let mut members = three(&pipes, &disks).await;
    let leads = leader(&members).await.node;
    let (dead, alive) = if leads == 1 { (2, 3) } else { (1, 5 - leads) };
    members.remove(&dead).unwrap().stop().await;
    let refused = leader(&members).await.metadata.remove(alive).await.unwrap_err();
    assert!(refused.message.contains("no majority"), "{refused}");
    let unknown = leader(&members).await.metadata.remove(9).await.unwrap_err();
    assert!(unknown.message.contains("there is no coordinator 9; there are: 1, 2, 3"), "{unknown}");
    leader(&members).await.metadata.remove(dead).await.unwrap();
    decide(&members, submit("two are left")).await;
    let again = Joining { node: Some(dead), disk: 1, address: address(8), replaces: None };
    assert!(announce(&members, &again).await.unwrap_err().message.contains("not given again"));
}

#[tokio::test]
async fn the_one_that_leads_may_be_removed() {
    let (pipes, disks) = (Pipes::default(), disks());
    let mut members = three(&pipes, &disks).await;
    decide(&members, submit("before")).await;
    let leads = leader(&members).await.node;
    members[&leads].metadata.remove(leads).await.unwrap();
    let removed = members.remove(&leads).unwrap();
    removed.metadata.leadership().wait_for(|now| !now.is_leader()).await.unwrap();
    decide(&members, submit("afterwards")).await;
    assert_eq!(voters(&members).await.len(), 2);
    assert_eq!(leader(&members).await.metadata.members().len(), 2);
    let again = announce(&members, &removed.metadata.joining()).await.unwrap_err();
    assert!(again.message.contains("was removed"), "{again}");
}
