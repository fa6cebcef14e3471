//! What was decided survives: restarts, crashes at any moment, snapshots; and what is damaged is refused.

use super::support::{alone, jobs, open, submit, tcp};
use crate::metadata::{
    Command, FromSavepoint, JobStatus, Leadership, MemoryDisk, Metadata, MetadataSettings, SavepointMode, check_backup,
    open_file, restore,
};
use rand::RngExt;
use std::{path::Path, sync::Arc};
use weir_engine::{ErrorKind, Result, env::Env};

async fn open_path(path: &Path) -> Result<Metadata> {
    Metadata::open(alone(), open_file(path)?, tcp(), Env::seeded(1)).await
}

#[tokio::test]
async fn a_group_of_one_leads_at_once_and_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/metadata.redb");
    let metadata = open_path(&path).await.unwrap();
    assert!(metadata.leadership().borrow().is_leader());
    metadata.propose(submit("first")).await.unwrap();
    let Err(busy) = open_path(&path).await else { panic!("two have it open") };
    assert_eq!(busy.kind, ErrorKind::Definition);
    assert!(busy.message.contains("another coordinator"), "{busy}");
    metadata.shutdown().await.unwrap();
    assert!(metadata.propose(submit("too late")).await.is_err());

    let again = open_path(&path).await.unwrap();
    assert_eq!(jobs(&again), ["first"], "it leads, so everything decided is applied");
    assert_eq!(again.catalog().leader().unwrap().elections, 2);
    let files: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["metadata.redb"], "no draft is left");
}

#[test]
fn what_was_decided_survives_being_dropped_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.redb");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for round in 0..5 {
        let first = runtime();
        let decided = first.block_on(async {
            let metadata = Arc::new(open_path(&path).await.unwrap());
            // One is decided for certain; the others are on their way when everything is dropped.
            for number in 1..20 {
                let metadata = metadata.clone();
                tokio::spawn(async move { metadata.propose(submit(&format!("{round}-{number}"))).await });
            }
            metadata.propose(submit(&format!("{round}-0"))).await.unwrap();
            jobs(&metadata)
        });
        drop(first);
        runtime().block_on(async {
            let metadata = open_path(&path).await.unwrap();
            let known = jobs(&metadata);
            assert!(decided.iter().all(|job| known.contains(job)), "{decided:?} were decided, {known:?} are known");
            metadata.shutdown().await.unwrap();
        });
    }
}

#[tokio::test]
async fn a_thousand_decisions_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.redb");
    let metadata = open_path(&path).await.unwrap();
    for number in 0..1000 {
        metadata.propose(submit(&format!("job-{number:04}"))).await.unwrap();
    }
    let before = metadata.catalog();
    metadata.shutdown().await.unwrap();
    let again = open_path(&path).await.unwrap();
    assert!(before.jobs().eq(again.catalog().jobs()));
    assert_eq!(again.catalog().jobs().count(), 1000);
}

#[tokio::test]
async fn snapshots_keep_the_disk_bounded() {
    let disk = MemoryDisk::new();
    let settings = MetadataSettings { snapshot_every: 100, keep_entries: 20, ..alone() };
    let open = || Metadata::open(settings.clone(), disk.backend(), tcp(), Env::seeded(1));
    let metadata = open().await.unwrap();
    metadata.propose(submit("a")).await.unwrap();
    let request = || Command::StopRequested { job: "a".into(), drain: true, at_ms: 2 };
    let mut sizes = Vec::new();
    for _ in 0..10 {
        for _ in 0..150 {
            metadata.propose(request()).await.unwrap();
        }
        sizes.push(disk.synced_bytes().len());
    }
    assert!(sizes[9] <= sizes[2], "1,500 entries, and it grows no more: {sizes:?}");
    let before = metadata.catalog();
    metadata.shutdown().await.unwrap();
    let again = open().await.unwrap();
    assert!(before.jobs().eq(again.catalog().jobs()), "snapshot and log together are the whole");
}

/// Proposes until the disk crashes under it, and returns what was decided for certain.
async fn propose_until_crash(disk: &MemoryDisk, round: u64, after_syncs: u64, torn: bool, env: &Env) -> Vec<String> {
    let metadata = Metadata::open(
        MetadataSettings { snapshot_every: 20, keep_entries: 5, ..alone() },
        disk.backend(),
        tcp(),
        env.clone(),
    )
    .await
    .unwrap();
    let mut decided = jobs(&metadata);
    let crash_at = disk.syncs() + after_syncs;
    let crash = async {
        while disk.syncs() < crash_at {
            tokio::task::yield_now().await;
        }
        if torn { disk.crash_torn(&mut env.rng(&format!("torn {round}"))) } else { disk.crash() }
    };
    let propose = async {
        for number in 0.. {
            let job = format!("{round:03}-{number:03}");
            match metadata.propose(submit(&job)).await {
                Ok(_) => decided.push(job),
                Err(_) => break,
            }
        }
    };
    tokio::join!(propose, crash);
    metadata.shutdown().await.unwrap();
    decided
}

#[tokio::test]
async fn a_crash_of_the_disk_at_any_moment_loses_nothing_decided() {
    for torn in [false, true] {
        let env = Env::seeded(7);
        let mut dice = env.rng("crashes");
        let disk = MemoryDisk::new();
        for round in 0..12 {
            let decided = propose_until_crash(&disk, round, dice.random_range(0..40), torn, &env).await;
            let metadata = open(&disk).await.unwrap();
            let known = jobs(&metadata);
            let lost: Vec<_> = decided.iter().filter(|job| !known.contains(job)).collect();
            assert!(lost.is_empty(), "round {round}, torn {torn}: lost {lost:?}");
            metadata.shutdown().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_disk_that_refuses_stops_the_log_with_its_own_error() {
    let disk = MemoryDisk::new();
    let metadata = open(&disk).await.unwrap();
    metadata.propose(submit("before")).await.unwrap();
    disk.refuse_writes(true);
    let error = metadata.propose(submit("lost")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "it is full: {error}");
    assert!(error.message.contains("refuses to write"), "{error}");
    let mut catalog = metadata.watch();
    while catalog.changed().await.is_ok() {}
    assert_eq!(metadata.why_stopped().kind, ErrorKind::Unavailable, "who sees it by the catalog's end knows why");
    let mut leadership = metadata.leadership();
    leadership.wait_for(|now| matches!(now, Leadership::Stopped { .. })).await.unwrap();
    assert_eq!(metadata.failure().map(|failure| failure.kind), Some(ErrorKind::Unavailable), "waiting heals it");
    assert!(metadata.propose(submit("after")).await.is_err());
    disk.refuse_writes(false);
    metadata.shutdown().await.unwrap();
    disk.crash();
    assert_eq!(jobs(&open(&disk).await.unwrap()), ["before"]);
}

#[tokio::test]
async fn damage_is_refused_or_harmless_but_never_a_loss() {
    let whole = MemoryDisk::new();
    let metadata = Metadata::open(
        MetadataSettings { snapshot_every: 10, keep_entries: 2, ..alone() },
        whole.backend(),
        tcp(),
        Env::seeded(1),
    )
    .await
    .unwrap();
    for number in 0..30 {
        metadata.propose(submit(&format!("{number:02}"))).await.unwrap();
    }
    let expected = jobs(&metadata);
    metadata.shutdown().await.unwrap();
    let bytes = whole.synced_bytes();
    let mut dice = Env::seeded(3).rng("damage");
    let (mut refused, mut harmless) = (0, 0);
    for _ in 0..150 {
        let disk = MemoryDisk::blank();
        let (at, flip, cut) = (dice.random_range(0..bytes.len()), dice.random_range(1..=255_u8), dice.random_bool(0.2));
        disk.damage(|content| {
            content.extend_from_slice(&bytes);
            if cut { content.truncate(at) } else { content[at] ^= flip }
        });
        match open(&disk).await {
            Ok(metadata) => {
                assert_eq!(jobs(&metadata), expected, "byte {at} (cut: {cut})");
                harmless += 1;
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Corrupt, "byte {at} (cut: {cut}): {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} refused, {harmless} harmless");
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.redb");
    open_path(&path).await.unwrap().shutdown().await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 1, 100, 4096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let Err(error) = open_path(&path).await else { panic!("{length} of {} bytes opened", whole.len()) };
        assert_eq!(error.kind, ErrorKind::Corrupt, "{length} bytes: {error}");
        assert!(error.message.contains("restore it from a backup"), "{error}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), length as u64, "it is left as it was");
    }
}

#[tokio::test]
async fn a_group_begins_from_a_backup_and_discards_nothing_by_it() {
    let before = open(&MemoryDisk::new()).await.unwrap();
    before.propose(submit("kept")).await.unwrap();
    let back_to = FromSavepoint { url: "file:///there".into(), mode: SavepointMode::Rewind };
    for (name, start_over, back) in [("afresh", true, None), ("back", false, Some(back_to))] {
        let mut command = submit(name);
        let Command::Submit { fresh, from_savepoint, .. } = &mut command else { unreachable!() };
        (*fresh, *from_savepoint) = (start_over, back);
        before.propose(command).await.unwrap();
    }
    let backup = before.backup().await.unwrap();
    before.propose(submit("later")).await.unwrap();

    let disk = MemoryDisk::new();
    let restored = restore(&backup, disk.backend(), Env::seeded(2)).await.unwrap();
    assert_eq!((restored.node, restored.jobs, restored.canceled), (2, 3, vec!["afresh".to_owned(), "back".to_owned()]));
    for _ in 0..2 {
        let settings = MetadataSettings::alone(2, "127.0.0.1:1");
        let again = Metadata::open(settings, disk.backend(), tcp(), Env::seeded(2)).await.unwrap();
        assert_eq!(jobs(&again), ["afresh", "back", "kept"]);
        assert_eq!(again.catalog().job("kept"), before.catalog().job("kept"));
        for name in ["afresh", "back"] {
            let job = again.catalog().job(name).cloned().unwrap();
            let is_pending = job.fresh_start_pending || job.from_savepoint.is_some();
            assert!(job.status == JobStatus::Canceled && !is_pending, "{job:?}");
        }
        again.propose(Command::CancelRequested { job: "kept".into(), at_ms: 1 }).await.unwrap();
        before.propose(Command::CancelRequested { job: "kept".into(), at_ms: 1 }).await.unwrap();
        again.shutdown().await.unwrap();
    }
    check_backup(&backup).unwrap();
    let mut damaged = backup.clone();
    damaged[100] ^= 1;
    // The stream broke after a piece.
    let torn = backup[..backup.len() / 2].to_vec();
    for broken in [damaged, torn, Vec::new()] {
        assert_eq!(check_backup(&broken).unwrap_err().kind, ErrorKind::Corrupt);
        let refused = restore(&broken, MemoryDisk::new().backend(), Env::seeded(3)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Corrupt);
    }
}
