//! Whose folder it is, which run its files are of, and whether they fit the checkpoint that is resumed from.

use super::*;
use crate::sink::conformance::{JOB, SINK, context, numbers, rows, visible};
use weir_engine::{
    element::Barrier,
    error::ErrorKind,
    ids::CheckpointId,
    operator::{CommitOutcome, Committable},
};

async fn stage(target: &Target, attempt: u64, checkpoint: u64, range: std::ops::Range<i64>) -> Vec<Committable> {
    let mut sink = target.sink(&context(attempt, 0));
    sink.write(rows(range)).await.unwrap();
    sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap()
}

async fn commit(target: &Target, attempt: u64, checkpoint: u64, range: std::ops::Range<i64>) {
    let staged = stage(target, attempt, checkpoint, range).await;
    target.committer(JOB, SINK).commit(CheckpointId(checkpoint), &staged).await.unwrap();
}

#[tokio::test]
async fn a_folder_is_of_one_job_and_one_run() {
    for target in [Target::local(), Target::memory()] {
        let first = target.committer(JOB, SINK);
        first.prepare().await.unwrap();
        first.prepare().await.expect("its own");
        target.committer(JOB, "sink.late").prepare().await.expect("another sink of the same job");
        commit(&target, 1, 1, 0..10).await;
        let other_job = target.committer("another", SINK);
        for refused in [other_job.prepare().await.unwrap_err(), other_job.reset(Lineage(9)).await.unwrap_err()] {
            assert_eq!(refused.kind, ErrorKind::Definition);
            assert!(refused.message.contains("out/counts'") && refused.message.contains(JOB), "{refused}");
        }
        let elsewhere = target.elsewhere();
        let refused = elsewhere.committer(JOB, SINK).prepare().await.unwrap_err();
        assert!(refused.message.contains("another run") && refused.message.contains("--fresh"), "{refused}");
        assert_eq!(visible(&elsewhere).await, numbers(0..10));
        // The user wants it afresh from there, where lineages are counted anew.
        let afresh = elsewhere.in_lineage(1);
        commit(&afresh, 1, 2, 10..20).await;
        afresh.committer(JOB, SINK).reset(Lineage(1)).await.unwrap();
        afresh.committer(JOB, SINK).prepare().await.unwrap();
        assert_eq!((visible(&afresh).await, afresh.leftovers().await), (vec![], 0));
    }
}

#[tokio::test]
async fn what_a_former_lineage_still_does_touches_nothing_of_the_new_one() {
    for target in [Target::local(), Target::memory()] {
        let former = target.in_lineage(1);
        former.committer(JOB, SINK).prepare().await.unwrap();
        commit(&former, 1, 1, 0..10).await;
        let decided = stage(&former, 1, 2, 10..20).await;
        let zombie = former.committer(JOB, SINK);
        let target = former.in_lineage(5);
        let committer = target.committer(JOB, SINK);
        committer.reset(Lineage(5)).await.unwrap();
        committer.prepare().await.unwrap();
        assert_eq!((visible(&target).await, target.leftovers().await), (vec![], 0));
        commit(&target, 5, 1, 100..105).await;
        let unfinished = stage(&target, 5, 2, 105..110).await;
        // It commits, and makes its own start-over: both too late.
        zombie.commit(CheckpointId(2), &decided).await.unwrap_err();
        for lineage in [3, 5] {
            let late = zombie.reset(Lineage(lineage)).await;
            assert_eq!(late.is_err(), lineage < 5, "{late:?}");
            if let Err(error) = late {
                assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
            }
        }
        let late = zombie.prepare().await.unwrap_err();
        assert_eq!(late.kind, ErrorKind::Fenced, "{late}");
        assert_eq!(committer.commit(CheckpointId(2), &unfinished).await.unwrap(), CommitOutcome::Done);
        // A copy that was under way all the time comes to its end.
        let content = target.bytes(&target.results().await[0]).await;
        let mut late = target.storage.create("ad-click-counts-1.00000002-0-0.parquet").await.unwrap();
        late.write(content).await.unwrap();
        late.finish().await.unwrap();
        commit(&target, 5, 3, 110..115).await;
        assert_eq!(visible(&target).await.len(), 20, "readers see it");
        // Until the job is started the next time.
        committer.prepare().await.unwrap();
        committer.compare(CheckpointId(3), true).await.unwrap();
        assert_eq!(visible(&target).await, numbers(100..115));
    }
}

#[tokio::test]
async fn results_that_nobody_knows_of_are_refused() {
    for target in [Target::local(), Target::memory()] {
        commit(&target, 1, 1, 0..10).await;
        let target = target.in_lineage(1);
        let refused = target.committer(JOB, SINK).prepare().await.unwrap_err();
        assert!(refused.message.contains("00000001-0-0.parquet") && refused.message.contains("--fresh"), "{refused}");
        target.committer(JOB, SINK).reset(Lineage(1)).await.unwrap();
        target.committer(JOB, SINK).prepare().await.unwrap();
        assert_eq!(visible(&target).await, numbers(0..0));
    }
}

#[tokio::test]
async fn results_that_are_newer_than_the_checkpoint_are_told() {
    for target in [Target::local(), Target::memory()] {
        let committer = target.committer(JOB, SINK);
        committer.compare(CheckpointId(0), true).await.unwrap();
        for checkpoint in [1, 4] {
            commit(&target, 1, checkpoint, 0..10).await;
        }
        committer.compare(CheckpointId(4), true).await.unwrap();
        committer.compare(CheckpointId(7), true).await.expect("results may be taken away, or moved");
        for restored in [0, 1, 3] {
            let refused = committer.compare(CheckpointId(restored), true).await.unwrap_err();
            let names = [format!("up to checkpoint {restored}"), "00000004-0-0.parquet".into(), "--fresh".into()];
            assert!(names.iter().all(|name| refused.message.contains(name)), "{refused}");
        }
    }
}

#[tokio::test]
async fn staged_files_that_have_changed_are_found_before_somebody_else_commits_them() {
    for target in [Target::local(), Target::memory()] {
        let staged = stage(&target, 1, 1, 0..10).await;
        let committer = target.committer(JOB, SINK);
        committer.verify(&staged).await.unwrap();
        let path = staged[0].payload["staged"].as_str().unwrap();
        let mut damaged = match &target.reader {
            Reader::Local(folder) => std::fs::read(folder.path().join("out/counts").join(path)).unwrap(),
            Reader::Memory(store) => {
                let path = Path::from(format!("out/counts/{path}"));
                store.get(&path).await.unwrap().bytes().await.unwrap().to_vec()
            }
        };
        damaged[40] ^= 1;
        let mut file = target.storage.create(path).await.unwrap();
        file.write(damaged.into()).await.unwrap();
        file.finish().await.unwrap();
        let error = committer.verify(&staged).await.unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains(path), "{error}");
        // Once it is committed, it is nobody's business here.
        committer.commit(CheckpointId(1), &staged).await.unwrap();
        committer.verify(&staged).await.unwrap();
    }
}

#[tokio::test]
async fn files_that_were_staged_somewhere_else_are_told_of() {
    let (target, other) = (Target::local(), Target::local());
    let staged = stage(&target, 1, 1, 0..10).await;
    let error = other.committer(JOB, SINK).commit(CheckpointId(1), &staged).await.unwrap_err();
    assert!(error.message.contains(&target.storage.describe("")), "where they were written: {error}");
    assert!(error.message.contains(&other.storage.describe("")), "{error}");
}
