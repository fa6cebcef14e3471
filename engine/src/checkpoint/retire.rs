//! Retirement: which checkpoints and files are deleted. The decision is pure; only the owner of the current attempt executes it.
//!
//! Invariant: a file that a retained manifest names is never removed, nor one that the current attempt wrote for a checkpoint
//! that is not complete yet, nor anything of a [pinned](pins) checkpoint. Only checkpoints of the store's lineage are retired; those of former ones are no longer used.
//!
//! What there is, is listed when an attempt starts, and only then: from there on the attempt knows what it has completed, so
//! that retiring costs what goes, however much there is.

use super::{CheckpointStore, manifest::Manifest, pins};
use crate::{
    env::Env,
    error::Result,
    ids::{Attempt, CheckpointId},
};
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};

/// The completed checkpoints that are there, and the state files that each needs.
#[derive(Debug)]
pub struct Completed {
    retain: usize,
    files: BTreeMap<CheckpointId, BTreeSet<String>>,
    /// Those of them that stay.
    pinned: BTreeSet<CheckpointId>,
}

/// What goes.
#[derive(Debug, Default, PartialEq)]
pub struct Outdated {
    /// Oldest first.
    pub checkpoints: Vec<CheckpointId>,
    /// Files that only these need.
    pub files: BTreeSet<String>,
}

impl Completed {
    /// None so far. The newest `retain` are kept, and at least one.
    pub fn new(retain: usize) -> Self {
        Completed { retain: retain.max(1), files: BTreeMap::new(), pinned: BTreeSet::new() }
    }

    /// Those in a store.
    ///
    /// # Errors
    /// When a manifest is damaged or the store refuses.
    pub async fn list(store: &CheckpointStore, retain: usize) -> Result<Self> {
        let mut completed = Completed::new(retain);
        for checkpoint in store.checkpoints().await? {
            completed.add(&store.manifest(checkpoint).await?);
        }
        let own = store.current().await?.layout().lineage();
        let pinned = pins::list(store).await?;
        completed.pinned = pinned.into_iter().filter(|(of, _)| *of == own).map(|(_, pinned)| pinned).collect();
        Ok(completed)
    }

    /// One more.
    pub fn add(&mut self, manifest: &Manifest) {
        let files = manifest.files().map(|file| file.path.clone()).collect();
        self.files.insert(manifest.checkpoint, files);
    }

    /// One of them stays.
    pub fn pin(&mut self, checkpoint: CheckpointId) {
        self.pinned.insert(checkpoint);
    }

    /// It goes when others of its age go.
    pub fn unpin(&mut self, checkpoint: CheckpointId) {
        self.pinned.remove(&checkpoint);
    }

    /// Takes out what goes when all up to `committed` are: all of these but for the newest
    /// checkpoints, of whatever state, and those that are pinned.
    pub fn take_outdated(&mut self, committed: CheckpointId) -> Outdated {
        let ordinary: Vec<CheckpointId> =
            self.files.keys().filter(|checkpoint| !self.pinned.contains(checkpoint)).copied().collect();
        let many = ordinary.len().saturating_sub(self.retain);
        let checkpoints: Vec<CheckpointId> = ordinary.into_iter().take(many).collect();
        let checkpoints: Vec<_> = checkpoints.into_iter().take_while(|checkpoint| *checkpoint <= committed).collect();
        let released: Vec<_> = checkpoints.iter().filter_map(|checkpoint| self.files.remove(checkpoint)).collect();
        let is_needed = |file: &String| self.files.values().any(|needed| needed.contains(file));
        let files = released.into_iter().flatten().filter(|file| !is_needed(file)).collect();
        Outdated { checkpoints, files }
    }
}

/// Removes what goes. Manifests go first: a file is removed only when nothing names it any more. What a crash leaves behind goes
/// the next time an attempt starts ([`sweep`]).
///
/// # Errors
/// When the store refuses.
pub async fn remove(store: &CheckpointStore, env: &Env, outdated: &Outdated) -> Result<()> {
    for checkpoint in &outdated.checkpoints {
        env.crash_point("retire.before_manifest")?;
        store.delete(&store.layout().manifest(*checkpoint)).await?;
        env.crash_point("retire.before_mark")?;
        store.delete(&store.layout().committed(*checkpoint)).await?;
    }
    for path in &outdated.files {
        env.crash_point("retire.before_file")?;
        store.delete(&Path::from(path.as_str())).await?;
    }
    Ok(())
}

/// At the start of an attempt: retires what is outdated, and removes what crashes and former attempts have left behind, namely
/// state files that no manifest names, marks without a checkpoint, what former lineages have written too late, and empty folders.
/// All checkpoints of the store's lineage are committed; only these are retired. Returns how many state files went.
///
/// # Errors
/// When a manifest is damaged or the store refuses.
pub async fn sweep(store: &CheckpointStore, env: &Env, retain: usize, attempt: Attempt) -> Result<usize> {
    let mut completed = Completed::list(store, retain).await?;
    let newest = completed.files.keys().next_back().copied();
    let outdated = newest.map(|newest| completed.take_outdated(newest)).unwrap_or_default();
    let removed = outdated.files.len();
    remove(store, env, &outdated).await?;
    let of_checkpoints = store.list(&store.layout().all_checkpoints()).await?;
    let pinned = pins::needed(store, &of_checkpoints).await?;
    remove_orphans(store, &completed, &of_checkpoints, &pinned).await?;
    let needed: BTreeSet<&str> = completed.files.values().flatten().map(String::as_str).collect();
    let mut garbage = store.list(&store.layout().state()).await?;
    garbage.retain(|path| {
        let of_former_attempt = store.layout().writer_of(path).is_some_and(|writer| writer < attempt);
        of_former_attempt && !needed.contains(path.as_ref()) && !pinned.contains(path)
    });
    for path in &garbage {
        env.crash_point("retire.before_file")?;
        store.delete(path).await?;
    }
    store.remove_empty_folders(env).await?;
    Ok(removed + garbage.len())
}

/// Removes the marks of checkpoints that are not there, for a crash came between the removals of the two; and what former lineages
/// have written too late.
async fn remove_orphans(
    store: &CheckpointStore,
    completed: &Completed,
    of_checkpoints: &[Path],
    pinned: &BTreeSet<Path>,
) -> Result<()> {
    let layout = store.layout();
    for path in of_checkpoints.iter().filter(|path| !pinned.contains(*path)) {
        let of = layout.checkpoint_of(path);
        let is_orphan = of.is_some_and(|of| *path == layout.committed(of) && !completed.files.contains_key(&of));
        if is_orphan || layout.is_left_behind(path) {
            store.delete(path).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::manifest::tests::manifest, ids::Lineage};

    fn completed(retain: usize, manifests: &[(u64, &[&str])]) -> Completed {
        let mut completed = Completed::new(retain);
        manifests.iter().for_each(|(n, files)| completed.add(&manifest(*n, files)));
        completed
    }

    fn outdated(checkpoints: &[u64], files: &[&str]) -> Outdated {
        Outdated {
            checkpoints: checkpoints.iter().map(|n| CheckpointId(*n)).collect(),
            files: files.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_newest_are_kept_and_never_none() {
        let four: [(u64, &[&str]); 4] = [(1, &["a"]), (2, &["b"]), (3, &["c"]), (4, &["d"])];
        for (retain, gone, files) in [(3, &[1][..], &["a"][..]), (0, &[1, 2, 3], &["a", "b", "c"]), (4, &[], &[])] {
            assert_eq!(completed(retain, &four).take_outdated(CheckpointId(4)), outdated(gone, files));
        }
    }

    #[test]
    fn what_is_not_committed_stays() {
        let mut four = completed(1, &[(1, &["a"]), (2, &["b"]), (3, &["c"]), (4, &["d"])]);
        assert_eq!(four.take_outdated(CheckpointId(2)), outdated(&[1, 2], &["a", "b"]));
        assert_eq!(four.take_outdated(CheckpointId(3)), outdated(&[3], &["c"]));
        assert_eq!(four.take_outdated(CheckpointId(4)), outdated(&[], &[]), "the newest is kept");
    }

    #[test]
    fn what_is_pinned_stays_with_its_files_until_it_is_released() {
        let mut four = completed(1, &[(1, &["a"]), (2, &["a", "b"]), (3, &["b", "c"]), (4, &["d"])]);
        four.pin(CheckpointId(2));
        assert_eq!(four.take_outdated(CheckpointId(4)), outdated(&[1, 3], &["c"]), "none is retained less for it");
        four.unpin(CheckpointId(2));
        assert_eq!(four.take_outdated(CheckpointId(4)), outdated(&[2], &["a", "b"]));
    }

    #[test]
    fn a_file_goes_with_the_last_that_needs_it() {
        let mut three = completed(1, &[(1, &["a", "b"]), (2, &["a", "c"]), (3, &["c"])]);
        assert_eq!(three.take_outdated(CheckpointId(1)), outdated(&[1], &["b"]));
        assert_eq!(three.take_outdated(CheckpointId(3)), outdated(&[2], &["a"]));
    }

    #[tokio::test]
    async fn a_sweep_takes_what_only_dead_attempts_need() {
        let folder = tempfile::tempdir().unwrap();
        for url in ["memory:///".to_string(), format!("file://{}", folder.path().display())] {
            let (store, env) = (CheckpointStore::open(&url, "job").unwrap(), Env::default());
            let file = |attempt: u64, name: &str| store.layout().state_file(Attempt(attempt), CheckpointId(1), name, 0);
            let (old, shared, orphan, fresh) = (file(1, "old"), file(1, "shared"), file(1, "orphan"), file(2, "fresh"));
            for path in [&old, &shared, &orphan, &fresh] {
                store.create(&env, path, "x".into()).await.unwrap();
            }
            for (n, files) in [(1, vec![old.as_ref(), shared.as_ref()]), (2, vec![shared.as_ref()])] {
                let bytes = manifest(n, &files).to_bytes().unwrap();
                store.create(&env, &store.layout().manifest(CheckpointId(n)), bytes.into()).await.unwrap();
            }
            assert_eq!(sweep(&store, &env, 1, Attempt(2)).await.unwrap(), 2);
            let left = store.list(&store.layout().state()).await.unwrap();
            assert_eq!(left, [shared, fresh], "a retained file and one in the making stay");
        }
    }

    #[tokio::test]
    async fn a_sweep_takes_what_former_lineages_left_and_nothing_of_later_ones() {
        let env = Env::default();
        let store = CheckpointStore::in_memory("job");
        let lineages = [0, 3, 5].map(|lineage| store.clone().in_lineage(Lineage(lineage)));
        // The numbers of former lineages are higher: they had come further.
        for (own, newest) in lineages.iter().zip([9, 6, 2]) {
            let layout = own.layout();
            let state = layout.state_file(Attempt(layout.lineage().0.max(1)), CheckpointId(1), "op", 0);
            store.create(&env, &state, "x".into()).await.unwrap();
            for n in newest - 1..=newest {
                let manifest = Manifest { lineage: layout.lineage(), ..manifest(n, &[state.as_ref()]) };
                let bytes = manifest.to_bytes().unwrap();
                store.create(&env, &layout.manifest(CheckpointId(n)), bytes.into()).await.unwrap();
                store.create(&env, &layout.committed(CheckpointId(n)), "x".into()).await.unwrap();
            }
            store.create(&env, &layout.committed(CheckpointId(newest + 7)), "an orphan".into()).await.unwrap();
        }
        let [nameless, own, later] = &lineages;
        let of_later = store.list(&later.layout().checkpoints()).await.unwrap();
        sweep(own, &env, 1, Attempt(4)).await.unwrap();
        assert_eq!(own.checkpoints().await.unwrap(), [CheckpointId(6)]);
        assert!(nameless.checkpoints().await.unwrap().is_empty());
        let mut left = vec![own.layout().committed(CheckpointId(6)), own.layout().manifest(CheckpointId(6))];
        left.extend(of_later);
        assert_eq!(store.list(&own.layout().all_checkpoints()).await.unwrap(), left);
        let state = [3, 5].map(|attempt| store.layout().state_file(Attempt(attempt), CheckpointId(1), "op", 0));
        assert_eq!(store.list(&store.layout().state()).await.unwrap(), state);
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
            let outdated = Completed::list(&store, 1).await.unwrap().take_outdated(CheckpointId(3));
            remove(&store, &crashing, &outdated).await.unwrap_err();
            sweep(&store, &env, 1, Attempt(2)).await.unwrap();
            assert_eq!(store.checkpoints().await.unwrap(), [CheckpointId(3)], "{point}");
            let left = [store.layout().committed(CheckpointId(3)), store.layout().manifest(CheckpointId(3))];
            assert_eq!(store.list(&store.layout().checkpoints()).await.unwrap(), left, "{point}");
            assert_eq!(store.list(&store.layout().state()).await.unwrap(), [path(3)], "{point}");
        }
    }
}
