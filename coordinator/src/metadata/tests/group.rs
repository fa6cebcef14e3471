//! A group of three coordinators: nothing assumes that there is one.

use super::support::{Pipes, jobs, submit};
use crate::door::incoming;
use crate::metadata::{Command, Leadership, MemoryDisk, Metadata, MetadataSettings};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use weir_engine::{ErrorKind, env::Env};
use weir_http::{LimitedListener, Limits};
use weir_proto::{
    net::{SharedNetwork, TcpNetwork},
    secret::ClusterSecret,
    transport,
};

/// One coordinator: its metadata and the server that the others reach it by.
pub struct Member {
    pub node: u64,
    pub metadata: Arc<Metadata>,
    server: JoinHandle<()>,
}

impl Member {
    pub async fn start(settings: MetadataSettings, disk: &MemoryDisk, network: SharedNetwork, env: Env) -> Member {
        let (node, address) = (settings.node_id, settings.address.clone());
        let listener = network.listen(&address).await.unwrap();
        let metadata = Arc::new(Metadata::open(settings, disk.backend(), network, env.clone()).await.unwrap());
        let router = tonic::transport::Server::builder().add_service(metadata.raft_service());
        let server = tokio::spawn(async move {
            router.serve_with_incoming(incoming(LimitedListener::new(listener, Limits::default(), env))).await.unwrap();
        });
        Member { node, metadata, server }
    }

    /// Gone, with every connection.
    pub async fn stop(self) {
        self.server.abort();
        self.metadata.shutdown().await.unwrap();
    }
}

pub fn address(node: u64) -> String {
    format!("coordinator-{node}:1")
}

pub fn settings(node: u64) -> MetadataSettings {
    MetadataSettings::new(node, (1..=3).map(|node| (node, address(node))).collect())
}

/// Whoever of them leads, as soon as one does.
pub async fn leader(members: &BTreeMap<u64, Member>) -> &Member {
    let leads = |member| async move {
        let member: &Member = member;
        let mut leadership = member.metadata.leadership();
        leadership.wait_for(Leadership::is_leader).await.unwrap();
        member
    };
    futures::future::select_all(members.values().map(|member| Box::pin(leads(member)))).await.0
}

pub async fn wait_for_job(member: &Member, job: &str) {
    member.metadata.watch().wait_for(|catalog| catalog.job(job).is_some()).await.unwrap();
}

/// Has a command decided by whoever leads, and says who that was. Right after the start leadership may still move.
pub async fn decide(members: &BTreeMap<u64, Member>, command: Command) -> u64 {
    loop {
        let member = leader(members).await;
        match member.metadata.propose(command.clone()).await {
            Ok(_) => return member.node,
            Err(error) if error.kind == ErrorKind::Fenced => Env::default().sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn start_three(pipes: &Pipes, disks: &[MemoryDisk; 3]) -> BTreeMap<u64, Member> {
    let mut members = BTreeMap::new();
    for node in 1..=3 {
        let disk = &disks[node as usize - 1];
        let member = Member::start(settings(node), disk, pipes.of(&address(node)), Env::seeded(5)).await;
        members.insert(node, member);
    }
    members
}

fn disks() -> [MemoryDisk; 3] {
    [MemoryDisk::new(), MemoryDisk::new(), MemoryDisk::new()]
}

#[tokio::test]
async fn three_go_on_when_their_leader_is_lost_and_it_catches_up_when_it_is_back() {
    let (pipes, disks) = (Pipes::default(), disks());
    let mut members = start_three(&pipes, &disks).await;
    let first = decide(&members, submit("before")).await;
    members.remove(&first).unwrap().stop().await;

    let second = leader(&members).await;
    assert_eq!(jobs(&second.metadata), ["before"], "a leader knows everything that was decided");
    let second = decide(&members, submit("without it")).await;
    let follower = members.values().find(|member| member.node != second).unwrap();
    wait_for_job(follower, "without it").await;
    let refused = follower.metadata.propose(submit("wrong door")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Fenced);
    assert!(refused.message.contains(&address(second)), "{refused}");

    let disk = &disks[first as usize - 1];
    let back = Member::start(settings(first), disk, pipes.of(&address(first)), Env::seeded(6)).await;
    wait_for_job(&back, "without it").await;
    assert_eq!(jobs(&back.metadata), ["before", "without it"]);
}

#[tokio::test]
async fn the_leader_knows_who_answers() {
    let (pipes, disks) = (Pipes::default(), disks());
    let mut members = start_three(&pipes, &disks).await;
    let first = decide(&members, submit("before")).await;
    let lost = (1..=3).find(|node| *node != first).unwrap();
    members.remove(&lost).unwrap().stop().await;
    let long = Duration::from_secs(1);
    loop {
        Env::default().sleep(Duration::from_millis(50)).await;
        // Another one may lead by now, which the lost one has never answered.
        let leader = leader(&members).await;
        let all = leader.metadata.members();
        let answered = |node| all.iter().find(|member| member.node == node).and_then(|member| member.answered);
        let other = members.keys().copied().find(|node| *node != leader.node).unwrap();
        if answered(lost).is_none_or(|ago| ago >= long) && answered(other).is_some_and(|ago| ago < long) {
            let of_follower = members[&other].metadata.members();
            assert!(of_follower.iter().all(|member| member.answered.is_none()), "it does not ask: {of_follower:?}");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_has_another_one_lead_before_they_miss_it() {
    let (pipes, disks) = (Pipes::default(), disks());
    let mut members = start_three(&pipes, &disks).await;
    let first = decide(&members, submit("before")).await;
    let leaving = members.remove(&first).unwrap();
    // By themselves they would elect nobody.
    for member in members.values() {
        member.metadata.gate.abort();
        member.metadata.raft.runtime_config().elect(false);
    }
    leaving.metadata.hand_over().await;
    leaving.stop().await;
    let second = leader(&members).await;
    assert_eq!(jobs(&second.metadata), ["before"]);
    let follower = members.values().find(|member| member.node != second.node).unwrap();
    follower.metadata.hand_over().await;
    second.metadata.propose(submit("a follower has nothing to hand over")).await.unwrap();
}

/// The highest term that any of them knows.
fn term(members: &BTreeMap<u64, Member>) -> u64 {
    let terms = members.values().map(|member| member.metadata.raft.metrics().borrow().current_term);
    terms.max().unwrap()
}

/// Cuts, heals after 10 s, and expects that neither has anybody else lead.
async fn nobody_is_elected_by(cut: impl Fn(&Pipes, u64, u64)) {
    let (pipes, disks) = (Pipes::default(), disks());
    let members = start_three(&pipes, &disks).await;
    let first = decide(&members, submit("before")).await;
    let (before, follower) = (term(&members), (1..=3).find(|node| *node != first).unwrap());
    let pause = Env::default();
    cut(&pipes, first, follower);
    pause.sleep(Duration::from_secs(10)).await;
    members[&first].metadata.propose(submit("meanwhile")).await.unwrap();
    assert!(!jobs(&members[&follower].metadata).contains(&"meanwhile".to_string()), "it is cut off");
    pipes.heal();
    wait_for_job(&members[&follower], "meanwhile").await;
    pause.sleep(Duration::from_secs(2)).await;
    assert_eq!(term(&members), before, "nobody stood for election");
    members[&first].metadata.propose(submit("after")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_was_cut_off_has_no_leader_give_way_when_it_is_back() {
    nobody_is_elected_by(|pipes, _, follower| pipes.cut_off(&address(follower))).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_hear_a_leader_whom_others_hear_stands_for_no_election() {
    nobody_is_elected_by(|pipes, leader, follower| pipes.cut(&address(leader), &address(follower))).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_silent_is_not_named_for_ever() {
    let (pipes, disks) = (Pipes::default(), disks());
    let members = start_three(&pipes, &disks).await;
    let first = decide(&members, submit("before")).await;
    let last = members.values().find(|member| member.node != first).unwrap();
    wait_for_job(last, "before").await;
    (1..=3).filter(|node| *node != last.node).for_each(|node| pipes.cut_off(&address(node)));
    let is_without = |now: &Leadership| matches!(now, Leadership::Follower { leader: None });
    let mut leadership = last.metadata.leadership();
    let noticed = tokio::time::timeout(Duration::from_secs(3), leadership.wait_for(is_without)).await;
    assert!(noticed.is_ok_and(|known| known.is_ok()), "it is alone");
    pipes.heal();
    leadership.wait_for(|now| !is_without(now)).await.unwrap();
}

#[tokio::test]
async fn without_a_majority_nothing_is_decided_and_with_it_everything_goes_on() {
    let (pipes, disks) = (Pipes::default(), disks());
    let members = start_three(&pipes, &disks).await;
    let old = decide(&members, submit("before")).await;
    (1..=3).for_each(|node| pipes.cut_off(&address(node)));
    let alone = &members[&old].metadata;
    let outcome = tokio::time::timeout(Duration::from_millis(500), alone.propose(submit("alone"))).await;
    assert!(!matches!(outcome, Ok(Ok(_))), "one of three decides nothing: {outcome:?}");
    alone.leadership().wait_for(|now| !now.is_leader()).await.unwrap();
    assert_eq!(jobs(alone), ["before"]);
    pipes.heal();
    decide(&members, submit("together")).await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_gives_way_and_takes_over_what_the_others_decided() {
    let (pipes, disks) = (Pipes::default(), disks());
    let mut members = start_three(&pipes, &disks).await;
    let old = decide(&members, submit("before")).await;
    pipes.cut_off(&address(old));
    let isolated = members.remove(&old).unwrap();
    // Nobody tells it; it notices that it hears nobody.
    let (new, ()) = tokio::join!(decide(&members, submit("behind its back")), async {
        isolated.metadata.leadership().wait_for(|now| !now.is_leader()).await.unwrap();
    });
    assert_ne!(new, old);
    assert_eq!(jobs(&isolated.metadata), ["before"]);
    pipes.heal();
    wait_for_job(&isolated, "behind its back").await;
}

#[tokio::test]
async fn one_that_was_away_for_long_is_brought_up_by_a_snapshot() {
    let (pipes, disks) = (Pipes::default(), disks());
    let small = |node| MetadataSettings { snapshot_every: 20, keep_entries: 2, ..settings(node) };
    let mut members = BTreeMap::new();
    for node in 1..=2 {
        let disk = &disks[node as usize - 1];
        members.insert(node, Member::start(small(node), disk, pipes.of(&address(node)), Env::seeded(5)).await);
    }
    decide(&members, submit("early")).await;
    for _ in 0..100 {
        decide(&members, Command::CancelRequested { job: "early".into(), at_ms: 1 }).await;
    }
    decide(&members, submit("late")).await;
    let third = Member::start(small(3), &disks[2], pipes.of(&address(3)), Env::seeded(5)).await;
    wait_for_job(&third, "late").await;
    for member in members.values() {
        wait_for_job(member, "late").await;
        assert!(third.metadata.catalog().jobs().eq(member.metadata.catalog().jobs()));
    }
    // And it can stand on its own feet: its disk has the snapshot that it was given.
    third.stop().await;
    let again = Member::start(small(3), &disks[2], pipes.of(&address(3)), Env::seeded(5)).await;
    wait_for_job(&again, "late").await;
}

#[tokio::test]
async fn three_agree_over_tcp_and_a_stranger_is_refused() {
    let mut peers = BTreeMap::new();
    for node in 1..=3_u64 {
        let listener = weir_proto::net::Network::listen(&TcpNetwork, "127.0.0.1:0").await.unwrap();
        peers.insert(node, listener.address());
    }
    let network: SharedNetwork = Arc::new(TcpNetwork);
    let mut members = BTreeMap::new();
    for node in 1..=3 {
        let settings = MetadataSettings { secret: "ours".into(), ..MetadataSettings::new(node, peers.clone()) };
        members.insert(node, Member::start(settings, &MemoryDisk::new(), network.clone(), Env::seeded(5)).await);
    }
    decide(&members, submit("over tcp")).await;
    for member in members.values() {
        wait_for_job(member, "over tcp").await;
    }
    let channel = transport::connect(network, &peers[&1], Duration::from_secs(1)).await.unwrap();
    let message = |secret: &'static str, target: u64, protocol: u32| {
        let mut request = tonic::Request::new(weir_proto::v1::RaftMessage { json: "{}".into() });
        request.metadata_mut().insert("weir-coordinator", MetadataValue::from(target));
        request.metadata_mut().insert("weir-protocol", MetadataValue::from(protocol));
        let shown = ClusterSecret::from(secret).shown();
        let mut stranger = weir_proto::v1::raft_client::RaftClient::with_interceptor(channel.clone(), shown);
        async move { stranger.vote(request).await.unwrap_err() }
    };
    let ours = weir_proto::PROTOCOL_VERSION;
    assert_eq!(message("theirs", 1, ours).await.code(), tonic::Code::PermissionDenied);
    let refused = message("ours", 1, ours + 1).await;
    assert!(refused.message().contains("coordinator that calls speaks version"), "{refused}");
    assert_eq!(message("ours", 2, ours).await.code(), tonic::Code::FailedPrecondition, "this is coordinator 1");
    assert_eq!(message("ours", 1, ours).await.code(), tonic::Code::InvalidArgument, "that is no message");
}
