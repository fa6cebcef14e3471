//! One seed, one run: the same entries at the same places of the log, and the same patience before an election.
//!
//! (Runs of a whole group in virtual time are compared where the cluster is simulated.)

use super::support::{alone, submit, tcp};
use crate::metadata::{
    MemoryDisk, Metadata, MetadataSettings,
    database::{Database, LOG, failed},
    record,
    runtime::{SeededRuntime, with_dice},
};
use redb::ReadableTable;
use weir_engine::env::Env;

/// Everything in the log, but for the times, which are for people.
async fn entries(disk: &MemoryDisk) -> Vec<String> {
    let database = Database::open(disk.backend(), Env::default()).await.unwrap();
    let read = database.read("read", |transaction| {
        let log = transaction.open_table(LOG).map_err(failed("read"))?;
        let entries = log.iter().map_err(failed("read"))?.map(|item| {
            let (index, stored) = item.unwrap();
            let mut entry: serde_json::Value = record::decode("an entry", stored.value()).unwrap();
            if let Some(elected) = entry.pointer_mut("/payload/Normal/leader_elected/at_ms") {
                *elected = 0.into();
            }
            format!("{}: {entry}", index.value())
        });
        Ok(entries.collect())
    });
    read.await.unwrap()
}

/// A run with restarts in it.
async fn run(seed: u64) -> Vec<String> {
    let disk = MemoryDisk::new();
    let settings = MetadataSettings { snapshot_every: 25, keep_entries: 10, ..alone() };
    for round in 0..3 {
        let metadata = Metadata::open(settings.clone(), disk.backend(), tcp(), Env::seeded(seed)).await.unwrap();
        for number in 0..20 {
            metadata.propose(submit(&format!("{round}-{number}"))).await.unwrap();
        }
        metadata.shutdown().await.unwrap();
    }
    entries(&disk).await
}

#[tokio::test]
async fn a_group_of_one_writes_the_same_log_again() {
    let (first, second) = (run(1).await, run(1).await);
    // A snapshot is taken beside the proposing, so where the log was cut off last is not compared.
    let length = first.len().min(second.len());
    assert!(length >= 10, "{length} entries are left");
    assert_eq!(first[first.len() - length..], second[second.len() - length..]);
}

#[tokio::test]
async fn a_coordinator_throws_its_own_dice_and_the_same_ones_again() {
    let throw = |seed, node| async move {
        let dice = Env::seeded(seed).rng(&format!("elections of coordinator {node}"));
        let config = alone().raft_config().unwrap();
        let draw = || config.new_rand_election_timeout::<SeededRuntime>();
        with_dice(dice, async { [draw(), draw(), draw(), draw()] }).await
    };
    assert_eq!(throw(1, 1).await, throw(1, 1).await);
    assert_ne!(throw(1, 1).await, throw(1, 2).await, "or they would stand against each other for ever");
    assert_ne!(throw(1, 1).await, throw(2, 1).await);
}
