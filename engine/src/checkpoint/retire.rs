//! Retiring: which checkpoints and files go. The decision is pure; only the owner of the current attempt carries it out.
//!
//! Invariant: a file that a retained manifest names is never removed, nor one that the current attempt wrote for a checkpoint
//! that is not complete yet.

use super::{CheckpointStore, layout::Layout, manifest::Manifest};
use crate::{
    env::Env,
    error::Result,
    ids::{Attempt, CheckpointId},
};
use object_store::path::Path;
use std::collections::BTreeSet;

/// The checkpoints to forget, all but the newest `retain`, oldest first. At least one is always kept.
pub fn outdated(completed: &[CheckpointId], retain: usize) -> &[CheckpointId] {
    &completed[..completed.len().saturating_sub(retain.max(1))]
}

/// The state files that nobody needs: named by no retained manifest, and either written by a former attempt or named by a
/// manifest that is being forgotten.
pub fn garbage(
    layout: &Layout,
    files: Vec<Path>,
    retained: &[Manifest],
    forgotten: &[Manifest],
    attempt: Attempt,
) -> Vec<Path> {
    let paths = |manifests: &[Manifest]| -> BTreeSet<String> {
        manifests.iter().flat_map(Manifest::files).map(|file| file.path.clone()).collect()
    };
    let (needed, released) = (paths(retained), paths(forgotten));
    let of_former_attempt = |path: &Path| layout.writer_of(path).is_some_and(|writer| writer < attempt);
    files
        .into_iter()
        .filter(|path| !needed.contains(path.as_ref()))
        .filter(|path| released.contains(path.as_ref()) || of_former_attempt(path))
        .collect()
}

/// Forgets outdated checkpoints and removes what only they needed. Manifests go first: a file is removed only when nothing
/// names it any more. What a crash leaves behind goes the next time an attempt starts (`thorough`).
///
/// # Errors
/// When the store refuses.
pub async fn retire(
    store: &CheckpointStore,
    env: &Env,
    retain: usize,
    attempt: Attempt,
    thorough: bool,
) -> Result<usize> {
    let completed = store.checkpoints().await?;
    let outdated = outdated(&completed, retain);
    if outdated.is_empty() && !thorough {
        return Ok(0);
    }
    let mut forgotten = Vec::new();
    for checkpoint in outdated {
        forgotten.push(store.manifest(*checkpoint).await?);
    }
    let mut retained = Vec::new();
    for checkpoint in &completed[outdated.len()..] {
        retained.push(store.manifest(*checkpoint).await?);
    }
    let files = match thorough {
        true => store.list(&store.layout().state()).await?,
        false => {
            let named: BTreeSet<&str> =
                forgotten.iter().flat_map(Manifest::files).map(|file| file.path.as_str()).collect();
            named.into_iter().map(Path::from).collect()
        }
    };
    for checkpoint in outdated {
        env.crash_point("retire.before_manifest")?;
        store.delete(&store.layout().manifest(*checkpoint)).await?;
        env.crash_point("retire.before_mark")?;
        store.delete(&store.layout().committed(*checkpoint)).await?;
    }
    if thorough {
        remove_orphans(store).await?;
    }
    let garbage = garbage(store.layout(), files, &retained, &forgotten, attempt);
    for path in &garbage {
        env.crash_point("retire.before_file")?;
        store.delete(path).await?;
    }
    Ok(garbage.len())
}

/// Removes the marks of checkpoints that are not there, for a crash came between the removals of the two; and what former lineages
/// have written too late.
async fn remove_orphans(store: &CheckpointStore) -> Result<()> {
    let (completed, layout) = (store.checkpoints().await?, store.layout());
    for path in store.list(&layout.all_checkpoints()).await? {
        let of = layout.checkpoint_of(&path);
        let is_orphan = of.is_some_and(|of| path == layout.committed(of) && !completed.contains(&of));
        if is_orphan || layout.is_left_behind(&path) {
            store.delete(&path).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::manifest::tests::manifest;

    #[test]
    fn the_newest_are_kept_and_never_none() {
        let ids = [1, 2, 3, 4].map(CheckpointId);
        assert_eq!(outdated(&ids, 3), [CheckpointId(1)]);
        assert_eq!(outdated(&ids, 0), &ids[..3]);
        assert!(outdated(&ids[..1], 3).is_empty());
    }

    #[test]
    fn a_file_goes_when_nothing_retained_names_it() {
        let layout = Layout::new("job");
        let file = |attempt: u64, name: &str| layout.state_file(Attempt(attempt), CheckpointId(1), name, 0);
        let (old, shared, orphan, fresh) = (file(1, "old"), file(1, "shared"), file(1, "orphan"), file(2, "fresh"));
        let forgotten = [manifest(1, &[old.as_ref(), shared.as_ref()])];
        let retained = [manifest(2, &[shared.as_ref()])];
        let files = vec![old.clone(), shared, orphan.clone(), fresh];
        let garbage = garbage(&layout, files, &retained, &forgotten, Attempt(2));
        assert_eq!(garbage, [old, orphan], "a retained file and one in the making stay");
    }

    #[tokio::test]
    async fn retiring_again_after_a_crash_leaves_the_same() {
        use crate::env::CrashPlan;
        for point in ["retire.before_manifest", "retire.before_mark", "retire.before_file"] {
            let store = CheckpointStore::open("memory:///", "job").unwrap();
            let env = Env::default();
            let path = |n: u64| store.layout().state_file(Attempt(1), CheckpointId(n), "op", 0);
            for n in 1..=3 {
                store.create(&env, &path(n), "x".into()).await.unwrap();
                let bytes = manifest(n, &[path(n).as_ref(), path(3).as_ref()]).to_bytes().unwrap();
                store.create(&env, &store.layout().manifest(CheckpointId(n)), bytes.into()).await.unwrap();
                store.create(&env, &store.layout().committed(CheckpointId(n)), "x".into()).await.unwrap();
            }
            let crashing = Env::default().with_crash_plan(CrashPlan::crash_at(point, 1));
            retire(&store, &crashing, 1, Attempt(1), false).await.unwrap_err();
            retire(&store, &env, 1, Attempt(2), true).await.unwrap();
            assert_eq!(store.checkpoints().await.unwrap(), [CheckpointId(3)], "{point}");
            let left = [store.layout().committed(CheckpointId(3)), store.layout().manifest(CheckpointId(3))];
            assert_eq!(store.list(&store.layout().checkpoints()).await.unwrap(), left, "{point}");
            assert_eq!(store.list(&store.layout().state()).await.unwrap(), [path(3)], "{point}");
        }
    }
}
