//! Savepoints that are found, brought in and forked.

use super::*;
use crate::{
    checkpoint::{manifest::tests::manifest, state_file},
    env::CrashPlan,
    error::ErrorKind,
    graph::{NodeRecord, Remembers},
};

const DEFINITION: &str = "d";

/// A job with one checkpoint in its first lineage that has a file.
async fn original(env: &Env, storage: &str) -> CheckpointStore {
    let opened = CheckpointStore::open(storage, "ad-click").unwrap();
    let claim = opened.claim(env, Attempt(0), true).await.unwrap();
    let store = opened.in_lineage(claim.lineage);
    complete(&store, env, 12).await;
    store
}

async fn complete(store: &CheckpointStore, env: &Env, number: u64) {
    let layout = store.layout();
    let path = layout.state_file(Attempt(1), CheckpointId(number), "dedup.unique", 0);
    store.create(env, &path, "x".into()).await.unwrap();
    let manifest = Manifest {
        job: "ad-click".into(),
        definition: DEFINITION.into(),
        lineage: layout.lineage(),
        results: BTreeMap::from([("sink.counts".into(), CheckpointId(number))]),
        ..manifest(number, &[path.as_ref()])
    };
    let bytes = manifest.to_bytes().unwrap();
    store.create(env, &layout.manifest(CheckpointId(number)), bytes.into()).await.unwrap();
    committed::mark(store, env, CheckpointId(number), Attempt(1)).await.unwrap();
}

fn folder(of: &tempfile::TempDir, name: &str) -> String {
    format!("file://{}/{name}", of.path().display())
}

async fn is_whole(store: &CheckpointStore, env: &Env, manifest: &Manifest) {
    for file in manifest.files() {
        state_file::verify(file, &store.read_state(env, file).await.unwrap()).unwrap();
    }
}

#[test]
fn a_url_says_which_checkpoint_is_meant() {
    let store = CheckpointStore::in_memory("ad-click");
    let url = url_of(&store, Lineage(3), CheckpointId(12));
    assert_eq!(url, "given/jobs/ad-click/checkpoints/0000000003/0000000012.json");
    let at = |lineage| Located {
        storage: "given",
        job: "ad-click",
        lineage: Lineage(lineage),
        checkpoint: CheckpointId(12),
    };
    assert_eq!(located(&url), Some(at(3)));
    assert_eq!(located(&url_of(&store, Lineage(0), CheckpointId(12))), Some(at(0)));
    for other in
        ["s3://bucket/jobs", "file:///a/jobs/x/checkpoints/1/2.committed", "file:///a/jobs/x/checkpoints/2.json"]
    {
        assert_eq!(located(other), None, "{other}");
    }
}

#[tokio::test]
async fn a_savepoint_is_found_by_its_url_or_in_its_storage() {
    let (env, place) = (Env::default(), tempfile::tempdir().unwrap());
    let store = original(&env, &folder(&place, "a")).await;
    let own = CheckpointStore::open(&folder(&place, "own"), "ad-click").unwrap();
    let url = url_of(&store, Lineage(1), CheckpointId(12));
    for url in [&url, &folder(&place, "a")] {
        let found = Savepoint::find(url, &own, "ad-click").await.unwrap();
        assert_eq!(found.manifest.checkpoint, CheckpointId(12));
        assert_eq!(Savepoint::find(url, &own, "another").await.unwrap().manifest.job, "ad-click", "the only one there");
    }
    let missing = url.replace("0012.json", "0013.json");
    let uncommitted = Manifest { lineage: Lineage(1), ..store.manifest(CheckpointId(12)).await.unwrap() };
    let uncommitted = Manifest { checkpoint: CheckpointId(14), ..uncommitted };
    let at = store.layout().manifest(CheckpointId(14));
    store.create(&env, &at, uncommitted.to_bytes().unwrap().into()).await.unwrap();
    let cases = [
        (missing.as_str(), "there is no checkpoint"),
        (&url.replace("0012.json", "0014.json"), "are not visible yet"),
        (&folder(&place, "nothing"), "there is no storage"),
    ];
    for (url, problem) in cases {
        let error = Savepoint::find(url, &own, "ad-click").await.unwrap_err();
        assert!(error.kind == ErrorKind::Definition && error.message.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn what_is_brought_in_is_the_same_job_whatever_becomes_of_the_original() {
    for crash in ["", "export.files_copied", "export.manifest_created"] {
        let (env, place) = (Env::default(), tempfile::tempdir().unwrap());
        let store = original(&env, &folder(&place, "a")).await;
        let own = CheckpointStore::open(&folder(&place, "own"), "ad-click").unwrap();
        let url = url_of(&store, Lineage(1), CheckpointId(12));
        let savepoint = Savepoint::find(&url, &own, "ad-click").await.unwrap();
        if !crash.is_empty() {
            let crashing = Env::default().with_crash_plan(CrashPlan::crash_at(crash, 1));
            savepoint.import(&own, &crashing).await.unwrap_err();
            assert!(own.newest_attempt().await.unwrap().is_none(), "{crash}: it is no job yet");
        }
        let identity = store.identity().await.unwrap();
        savepoint.import(&own, &env).await.unwrap();
        std::fs::remove_dir_all(place.path().join("a")).unwrap();
        let next = own.claim(&env, Attempt(0), false).await.unwrap();
        assert_eq!((next.attempt, next.lineage), (Attempt(2), Lineage(1)), "it goes on");
        let there = own.newest().await.unwrap().unwrap();
        assert_eq!(there, savepoint.manifest);
        is_whole(&own, &env, &there).await;
        assert_eq!(own.identity().await.unwrap(), identity);
    }
}

#[tokio::test]
async fn other_jobs_other_runs_and_what_was_started_over_are_refused() {
    let (env, place) = (Env::default(), tempfile::tempdir().unwrap());
    let store = original(&env, &folder(&place, "a")).await;
    let savepoint = Savepoint::find(&url_of(&store, Lineage(1), CheckpointId(12)), &store, "ad-click").await.unwrap();
    let refused = async |own: &CheckpointStore, problem: &str| {
        let error = savepoint.import(own, &env).await.unwrap_err();
        assert!(error.kind == ErrorKind::Definition && error.message.contains(problem), "{error}");
    };
    refused(&CheckpointStore::in_memory("another"), "--fork").await;
    let other_run = original(&env, &folder(&place, "b")).await;
    refused(&other_run, "another run").await;
    let opened = CheckpointStore::open(&folder(&place, "a"), "ad-click").unwrap();
    savepoint.import(&opened, &env).await.unwrap();
    opened.claim(&env, Attempt(0), true).await.unwrap();
    refused(&opened, "was started over since").await;
}

/// A definition whose sink writes there.
fn record(path: &str) -> String {
    let meaning = BTreeMap::from([("path".to_owned(), path.to_owned())]);
    let sink = NodeRecord { remembers: Remembers::Progress, meaning, rest: String::new() };
    DefinitionRecord { nodes: BTreeMap::from([("sink.counts".to_owned(), sink)]) }.to_text()
}

#[tokio::test]
async fn a_fork_is_another_job_with_the_same_state_and_nothing_written() {
    for crash in ["", "fork.files_copied", "fork.manifest_created"] {
        let (env, place) = (Env::default(), tempfile::tempdir().unwrap());
        let store = original(&env, &folder(&place, "a")).await;
        let own = CheckpointStore::open(&folder(&place, "a"), "fork").unwrap();
        let url = url_of(&store, Lineage(1), CheckpointId(12));
        let savepoint = Savepoint::find(&url, &own, "fork").await.unwrap();
        let savepoint = Savepoint { manifest: Manifest { definition: record("a"), ..savepoint.manifest }, ..savepoint };
        let same = savepoint.fork(&own, &env, &record("a")).await.unwrap_err();
        assert!(same.message.contains("--set sink.counts.path="), "{same}");
        if !crash.is_empty() {
            let crashing = Env::default().with_crash_plan(CrashPlan::crash_at(crash, 1));
            savepoint.fork(&own, &crashing, &record("b")).await.unwrap_err();
        }
        savepoint.fork(&own, &env, &record("b")).await.unwrap();
        savepoint.fork(&own, &env, &record("b")).await.expect("it is there already");
        store.delete(&store.layout().manifest(CheckpointId(12))).await.unwrap();
        for file in savepoint.manifest.files() {
            store.delete(&Path::from(file.path.as_str())).await.unwrap();
        }
        let next = own.claim(&env, Attempt(0), false).await.unwrap();
        assert_eq!((next.attempt, next.lineage), (Attempt(2), Lineage(1)));
        let forked = own.newest().await.unwrap().unwrap();
        assert_eq!((forked.job.as_str(), forked.checkpoint), ("fork", CheckpointId(1)));
        assert_eq!(forked.identity.as_deref(), Some("ad-click"), "record ids stay");
        assert_eq!(forked.results, BTreeMap::from([("sink.counts".into(), CheckpointId(0))]));
        is_whole(&own, &env, &forked).await;
        assert_ne!(own.identity().await.unwrap(), store.identity().await.unwrap());
        assert_eq!(super::super::retire::sweep(&own.current().await.unwrap(), &env, 1, Attempt(2)).await.unwrap(), 0);
        is_whole(&own, &env, &forked).await;
        own.claim(&env, Attempt(0), true).await.unwrap();
        let there = savepoint.fork(&own, &env, &record("c")).await.unwrap_err();
        assert!(there.message.contains("--set job.name="), "{there}");
    }
}

/// Where a storage is named, and no checkpoint in it, each try finds another one.
#[tokio::test]
async fn a_fork_of_the_newest_checkpoint_is_begun_again_although_there_is_a_newer_one() {
    for (crash, place_of_fork) in
        [("fork.files_copied", "b"), ("fork.manifest_created", "b"), ("fork.manifest_created", "a")]
    {
        let (env, place) = (Env::default(), tempfile::tempdir().unwrap());
        let store = original(&env, &folder(&place, "a")).await;
        let own = CheckpointStore::open(&folder(&place, place_of_fork), "fork").unwrap();
        let newest = async || {
            let found = Savepoint::find(&folder(&place, "a"), &own, "fork").await.unwrap();
            Savepoint { manifest: Manifest { definition: record("a"), ..found.manifest }, ..found }
        };
        let crashing = Env::default().with_crash_plan(CrashPlan::crash_at(crash, 1));
        newest().await.fork(&own, &crashing, &record("b")).await.unwrap_err();
        assert!(!is_forked(&own, &record("b")).await.unwrap(), "{crash}: it is no job yet");
        complete(&store, &env, 13).await;
        let savepoint = newest().await;
        assert_eq!(savepoint.manifest.checkpoint, CheckpointId(13));
        savepoint.fork(&own, &env, &record("b")).await.unwrap();
        let forked = own.newest().await.unwrap().unwrap();
        assert!(forked.files().all(|file| file.path.contains("0000000013")), "{crash}: {forked:?}");
        is_whole(&own, &env, &forked).await;
        assert!(committed::is_marked(&own.current().await.unwrap(), forked.checkpoint, FORKING).await.unwrap());
        // From here on there is nothing to find, whatever the original does.
        assert!(is_forked(&own, &record("b")).await.unwrap());
        assert!(!is_forked(&own, &record("c")).await.unwrap() && !is_forked(&store, DEFINITION).await.unwrap());
    }
}
