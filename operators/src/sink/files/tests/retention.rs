//! What is removed when it is old, and what never is.

use super::*;
use crate::sink::{
    conformance::{JOB, SINK, context, numbers, rows, visible},
    files::{
        config::PartitionBy,
        naming::{Ending, Naming},
    },
};
use std::{
    fs::{self, File},
    path::PathBuf,
    time::{Duration, SystemTime},
};
use weir_engine::{
    element::Barrier,
    env::Env,
    ids::{CheckpointId, Lineage},
    operator::{CommitOutcome, Committable},
};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const KEEP: Duration = Duration::from_secs(30 * 24 * 3_600);

fn keep_ms() -> i64 {
    i64::try_from(KEEP.as_millis()).unwrap()
}

fn for_ever(target: &Target, env: &Env) -> FilesCommitter {
    let context = CommitterContext { env: env.clone(), ..target.committer_context(JOB, SINK) };
    FilesCommitter::new(Arc::clone(&target.storage), &context)
}

fn committer(target: &Target) -> FilesCommitter {
    for_ever(target, &Env::default()).with_retention(keep_ms())
}

/// Commits ten rows for each of some checkpoints; row n is of minute n.
async fn commit_checkpoints(target: &Target, checkpoints: std::ops::RangeInclusive<i64>) -> Vec<Vec<Committable>> {
    let (mut sink, mut all) = (target.sink(&context(1, 0)), Vec::new());
    for n in checkpoints {
        sink.write(rows((n - 1) * 10..n * 10)).await.unwrap();
        let checkpoint = CheckpointId(n.unsigned_abs());
        let staged = sink.stage(Barrier::new(checkpoint)).await.unwrap();
        assert_eq!(committer(target).commit(checkpoint, &staged).await.unwrap(), CommitOutcome::Done);
        all.push(staged);
    }
    all
}

fn folder(target: &Target) -> PathBuf {
    let Reader::Local(folder) = &target.reader else { unreachable!("a local target") };
    folder.path().join("out/counts")
}

/// Makes files look as if they had been written so long before they were.
fn age(target: &Target, paths: &[&str], by: Duration) {
    for path in paths {
        let file = File::options().append(true).open(folder(target).join(path)).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() - by).unwrap();
    }
}

#[tokio::test]
async fn files_go_when_they_have_been_kept_long_enough() {
    let target = Target::local();
    let committed = commit_checkpoints(&target, 1..=4).await;
    let names = target.results().await;
    age(&target, &[&names[0], &names[1]], KEEP + DAY);
    age(&target, &[&names[2]], KEEP - DAY);
    let foreign = ["ad-click-late-00000001-0-0.parquet", "ad-click-counts-notes.parquet", "notes.txt"];
    for name in foreign {
        fs::write(folder(&target).join(name), "not of this sink").unwrap();
    }
    age(&target, &foreign, 100 * DAY);

    assert_eq!(
        committer(&target).expire(CheckpointId(1)).await.unwrap(),
        1,
        "the second is not marked as committed yet"
    );
    let same = committer(&target);
    assert_eq!(same.expire(CheckpointId(4)).await.unwrap(), 1);
    for name in foreign {
        fs::remove_file(folder(&target).join(name)).expect("it is somebody else's");
    }
    assert_eq!(visible(&target).await, numbers(20..40));
    // What stays can be committed again.
    for (checkpoint, staged) in [(3, &committed[2]), (4, &committed[3])] {
        assert_eq!(same.commit(CheckpointId(checkpoint), staged).await.unwrap(), CommitOutcome::AlreadyDone);
    }
    age(&target, &[&names[2]], KEEP + DAY);
    assert_eq!(same.expire(CheckpointId(4)).await.unwrap(), 0, "they are not listed with every commit");
    assert_eq!(committer(&target).expire(CheckpointId(4)).await.unwrap(), 1);
    assert_eq!(visible(&target).await, numbers(30..40));
    age(&target, &[&names[3]], 10_000 * DAY);
    assert_eq!(for_ever(&target, &Env::default()).expire(CheckpointId(4)).await.unwrap(), 0);
}

#[tokio::test]
async fn an_hour_goes_as_a_whole_and_its_folder_with_it() {
    let mut target = Target::local();
    (target.config.partition_by, target.config.partition_column) = (PartitionBy::Hour, Some("time".into()));
    // Rows 0 to 59 are of the first hour, 60 to 89 of the second, by ten a file.
    commit_checkpoints(&target, 1..=9).await;
    let (first, second) = ("hour=1970-01-01T00", "hour=1970-01-01T01");
    let names = target.results().await;
    let of = |hour: &str| names.iter().filter(|name| name.starts_with(hour)).map(String::as_str).collect::<Vec<_>>();
    age(&target, &of(first)[..5], KEEP + DAY);
    age(&target, &of(second), KEEP + DAY);
    let foreign = folder(&target).join(second).join("of-another.parquet");
    fs::write(&foreign, "not ours").unwrap();
    assert_eq!(committer(&target).expire(CheckpointId(9)).await.unwrap(), 3);
    fs::remove_file(&foreign).expect("it is somebody else's, and so the folder stays");
    assert_eq!(visible(&target).await, numbers(0..60), "the first hour has a file that is young");

    age(&target, &of(first), KEEP + DAY);
    assert_eq!(committer(&target).expire(CheckpointId(9)).await.unwrap(), 6);
    assert!(!folder(&target).join(first).exists(), "an empty folder is not left behind");
    commit_checkpoints(&target, 10..=10).await;
    assert_eq!(visible(&target).await, numbers(90..100));
}

#[tokio::test]
async fn objects_go_by_the_time_that_the_store_gives_them() {
    let target = Target::memory();
    commit_checkpoints(&target, 1..=2).await;
    let now = Env::default().wall_clock_ms();
    let after = |wait: Duration| {
        let then = now + i64::try_from(wait.as_millis()).unwrap();
        let env = Env::simulated(1, Arc::new(move || then));
        for_ever(&target, &env).with_retention(keep_ms())
    };
    assert_eq!(after(KEEP - DAY).expire(CheckpointId(2)).await.unwrap(), 0);
    assert_eq!(after(KEEP + DAY).expire(CheckpointId(1)).await.unwrap(), 1);
    assert_eq!(visible(&target).await, numbers(10..20));
}

#[tokio::test]
async fn many_are_removed_over_several_commits() {
    let target = Target::local();
    fs::create_dir_all(folder(&target)).unwrap();
    let (naming, ending) = (Naming::new(JOB, SINK), Ending::of(&target.config));
    for k in 0..2_100 {
        let path = folder(&target).join(naming.committed(None, (Lineage::NAMELESS, CheckpointId(1)), (0, k), ending));
        File::create(path).unwrap().set_modified(SystemTime::UNIX_EPOCH + DAY).unwrap();
    }
    let committer = committer(&target);
    let mut removed = Vec::new();
    for checkpoint in 2..=5 {
        removed.push(committer.expire(CheckpointId(checkpoint)).await.unwrap());
    }
    assert_eq!(removed, [1_000, 1_000, 100, 0]);
    assert!(target.results().await.is_empty());
}
