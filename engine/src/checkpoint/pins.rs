//! Savepoints: checkpoints that are pinned. A mark beside the manifest says that a checkpoint is its user's, and is not retired.
//!
//! Invariant: as long as the mark is there, so are the manifest, the mark of its commit and every file that the manifest names, through
//! retirement, sweeps and start-overs. A checkpoint is marked once its results are visible, by the attempt that took it, which does
//! not retire it before: so each mark has its checkpoint.

use super::{CheckpointStore, Manifest};
use crate::{
    env::Env,
    error::Result,
    ids::{CheckpointId, Lineage},
};
use object_store::path::Path;
use std::collections::BTreeSet;

/// Pins a checkpoint of the store's lineage. Done again, it changes nothing.
///
/// # Errors
/// When the store refuses.
pub async fn pin(store: &CheckpointStore, env: &Env, checkpoint: CheckpointId) -> Result<()> {
    env.crash_point("savepoint.committed")?;
    store.create(env, &store.layout().pinned(checkpoint), "{}\n".into()).await?;
    env.crash_point("savepoint.pinned")
}

/// Makes an ordinary checkpoint of it. `false`: it was not pinned.
///
/// # Errors
/// When the store refuses.
pub async fn unpin(store: &CheckpointStore, checkpoint: CheckpointId) -> Result<bool> {
    let path = store.layout().pinned(checkpoint);
    let was_there = store.exists(&path).await?;
    store.delete(&path).await?;
    Ok(was_there)
}

/// The pinned checkpoints of a job, of all its lineages, oldest first.
///
/// # Errors
/// When the store refuses.
pub async fn list(store: &CheckpointStore) -> Result<Vec<(Lineage, CheckpointId)>> {
    Ok(pinned(store, &store.list(&store.layout().all_checkpoints()).await?))
}

/// Those among the objects of a job.
fn pinned(store: &CheckpointStore, paths: &[Path]) -> Vec<(Lineage, CheckpointId)> {
    let of_path = |path: &Path| {
        let lineage = store.layout().lineage_of(path)?;
        let layout = store.layout().clone().in_lineage(lineage);
        let checkpoint = layout.checkpoint_of(path)?;
        (layout.pinned(checkpoint) == *path).then_some((lineage, checkpoint))
    };
    paths.iter().filter_map(of_path).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whatever pinned checkpoints need, of all lineages: manifests, marks, and the files that these name. `paths` are all of the job's
/// objects below [`Layout::all_checkpoints`](super::layout::Layout::all_checkpoints), at least.
///
/// # Errors
/// When a manifest is damaged, or the store refuses.
pub(super) async fn needed(store: &CheckpointStore, paths: &[Path]) -> Result<BTreeSet<Path>> {
    let mut needed = BTreeSet::new();
    for (lineage, checkpoint) in pinned(store, paths) {
        let store = store.clone().in_lineage(lineage);
        let layout = store.layout();
        // One that somebody has removed has no files.
        let Some(content) = store.find(&layout.manifest(checkpoint)).await? else { continue };
        let manifest = Manifest::from_bytes(&content, layout.manifest(checkpoint).as_ref())?;
        needed.extend(manifest.files().map(|file| Path::from(layout.relative(&file.path))));
        needed.extend([layout.manifest(checkpoint), layout.committed(checkpoint), layout.pinned(checkpoint)]);
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::{committed, manifest::tests::manifest, retire},
        ids::Attempt,
    };

    /// A checkpoint of a store's lineage, with a file of its own.
    async fn complete(store: &CheckpointStore, env: &Env, number: u64, attempt: Attempt) {
        let layout = store.layout();
        let file = layout.state_file(attempt, CheckpointId(number), "op", 0);
        store.create(env, &file, "x".into()).await.unwrap();
        let manifest = Manifest { lineage: layout.lineage(), ..manifest(number, &[file.as_ref()]) };
        let bytes = manifest.to_bytes().unwrap();
        store.create(env, &layout.manifest(CheckpointId(number)), bytes.into()).await.unwrap();
        committed::mark(store, env, CheckpointId(number), manifest.attempt).await.unwrap();
    }

    async fn everything(store: &CheckpointStore) -> BTreeSet<String> {
        let all = store.list(store.layout().job()).await.unwrap();
        all.iter().map(ToString::to_string).filter(|path| !path.contains("/attempts/")).collect()
    }

    #[tokio::test]
    async fn what_is_pinned_outlives_sweeps_and_start_overs_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        for url in ["memory:///pins".to_string(), format!("file://{}", folder.path().display())] {
            let env = Env::default();
            let opened = CheckpointStore::open(&url, "job").unwrap();
            let first = opened.claim(&env, Attempt(0), true).await.unwrap();
            let store = opened.clone().in_lineage(first.lineage);
            for number in 1..=4 {
                complete(&store, &env, number, first.attempt).await;
            }
            pin(&store, &env, CheckpointId(2)).await.unwrap();
            pin(&store, &env, CheckpointId(2)).await.unwrap();
            assert_eq!(list(&opened).await.unwrap(), [(first.lineage, CheckpointId(2))]);
            assert_eq!(retire::sweep(&store, &env, 1, Attempt(9)).await.unwrap(), 2);
            assert_eq!(store.checkpoints().await.unwrap(), [CheckpointId(2), CheckpointId(4)], "{url}");

            let second = opened.claim(&env, Attempt(0), true).await.unwrap();
            let newer = opened.clone().in_lineage(second.lineage);
            complete(&newer, &env, 1, second.attempt).await;
            newer.remove_left_behind().await.unwrap();
            retire::sweep(&newer, &env, 1, Attempt(9)).await.unwrap();
            assert_eq!(store.checkpoints().await.unwrap(), [CheckpointId(2)], "{url}");
            let pinned = store.manifest(CheckpointId(2)).await.unwrap();
            for file in pinned.files() {
                assert!(store.exists(&Path::from(file.path.as_str())).await.unwrap(), "{}", file.path);
            }
            assert_eq!(newer.checkpoints().await.unwrap(), [CheckpointId(1)]);

            assert!(unpin(&store, CheckpointId(2)).await.unwrap());
            assert!(!unpin(&store, CheckpointId(2)).await.unwrap());
            newer.remove_left_behind().await.unwrap();
            let left = everything(&opened).await;
            let of_newer = |path: &String| path.contains(&format!("/{:010}/", second.attempt.0));
            assert!(left.iter().all(of_newer), "{left:?}");
        }
    }
}
