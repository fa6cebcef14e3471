//! A SQLite file that somebody takes away, or puts another one in the place of, while it is written to.

use super::*;
use conformance::{numbers, visible};
use futures::future::join;
use std::{fs, path::PathBuf};
use weir_engine::{ErrorKind, operator::CommitOutcome};

fn path_of(target: &Target) -> PathBuf {
    PathBuf::from(target.config.url.trim_start_matches("sqlite:"))
}

/// What SQLite keeps beside a file that is open.
fn beside(target: &Target) -> [PathBuf; 2] {
    ["sqlite-wal", "sqlite-shm"].map(|ending| path_of(target).with_extension(ending))
}

/// Waits until the sink says that it waits, and why.
async fn until_it_waits(target: &Target, why: &str) {
    until(why, || target.waits.now().get(SINK).is_some_and(|wait| wait.cause.contains(why))).await;
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_waited_for_and_nothing_is_made_in_its_place() {
    let target = Target::sqlite();
    let committer = target.prepared().await;
    committer.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
    let second = target.staged(1, 10..20, 2).await;
    let (path, away) = (path_of(&target), path_of(&target).with_extension("away"));
    fs::rename(&path, &away).unwrap();
    let bringing_back = async {
        until_it_waits(&target, "no longer there").await;
        assert!(!path.exists());
        assert_ne!(target.leftovers().await, 0, "what is staged stays");
        fs::rename(&away, &path).unwrap();
    };
    let (committed, ()) = join(committer.commit(CheckpointId(2), &second), bringing_back).await;
    assert_eq!(committed.unwrap(), CommitOutcome::Done);
    assert_eq!((visible(&target).await, target.leftovers().await), (numbers(0..20), 0));
}

#[tokio::test]
async fn another_file_in_its_place_is_written_to_by_no_commit_and_compared_by_the_next_attempt() {
    let target = Target::sqlite();
    let committer = target.prepared().await;
    let (path, backup) = (path_of(&target), path_of(&target).with_extension("backup"));
    committer.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
    target.execute(&format!("VACUUM INTO '{}'", backup.display())).await;
    committer.commit(CheckpointId(2), &target.staged(1, 10..20, 2).await).await.unwrap();
    let third = target.staged(1, 20..30, 3).await;
    fs::rename(&path, path.with_extension("former")).unwrap();
    fs::rename(&backup, &path).unwrap();
    tokio::select! {
        done = committer.commit(CheckpointId(3), &third) => panic!("it is not the same file: {done:?}"),
        () = until_it_waits(&target, "another one than the job has opened") => {}
    }
    assert_ne!(target.leftovers().await, 0, "what is staged stays");
    // As the message says: they are the former one's.
    for file in beside(&target) {
        fs::remove_file(file).unwrap();
    }
    committer.prepare().await.unwrap();
    let behind = committer.compare(CheckpointId(2), true).await.unwrap_err();
    assert!(behind.kind == ErrorKind::Corrupt && behind.message.contains("is at checkpoint 1,"), "{behind}");
    assert_eq!(visible(&target).await, numbers(0..10));
}

#[tokio::test]
async fn a_start_over_makes_a_file_that_is_gone() {
    let target = Target::sqlite();
    let committer = target.prepared().await;
    committer.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
    let [log, index] = beside(&target);
    for file in [path_of(&target), log, index] {
        fs::remove_file(file).unwrap();
    }
    committer.reset(Lineage(2)).await.unwrap();
    committer.prepare().await.unwrap();
    committer.commit(CheckpointId(1), &target.staged(3, 20..25, 1).await).await.unwrap();
    assert_eq!((visible(&target).await, target.leftovers().await), (numbers(20..25), 0));
}
