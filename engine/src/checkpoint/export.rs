//! A copy of a job's newest checkpoint in another storage, whole and verified: what a job can be restored from somewhere else.
//!
//! Invariants: a copy has all that its manifest names, and is a checkpoint only once it is whole, for the claims come last; it is
//! of the same job in the same lineage, so that sinks know whose it is: its newest claim is one of the manifest's own lineage,
//! whoever starts the job over meanwhile.

use super::{CheckpointStore, Manifest, committed, manifest::FileRef, state_file};
use crate::{
    env::Env,
    error::{EngineError, Result},
    ids::CheckpointId,
};
use bytes::Bytes;
use object_store::path::Path;
use std::collections::BTreeSet;

/// How often it is begun again with a newer checkpoint, when a job that runs has removed the one that was being copied.
const TRIES: usize = 5;

/// What was copied.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The checkpoint.
    pub manifest: Manifest,
    /// State files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Copies the newest checkpoint whose results are visible to a storage that has nothing of the job yet.
///
/// # Errors
/// When there is none, a file of it is damaged, the other storage has checkpoints of the job already, or one of them refuses.
pub async fn export(from: &CheckpointStore, to: &CheckpointStore, env: &Env) -> Result<Exported> {
    refuse_other(to).await?;
    let mut tries = 0;
    loop {
        // A start-over begins another lineage, and removes what is copied.
        let from = &from.current().await?;
        let manifest = newest_committed(from).await?;
        tries += 1;
        match copy(from, to, env, &manifest).await {
            Ok(copied) => return Ok(copied),
            Err(error) => {
                let is_there = from.exists(&from.layout().manifest(manifest.checkpoint)).await?;
                if is_there || tries >= TRIES {
                    return Err(error);
                }
            }
        }
    }
}

/// Copies a checkpoint that stays and whose results are visible to a storage that has nothing of the job yet.
///
/// # Errors
/// As [`export`].
pub async fn export_pinned(
    from: &CheckpointStore,
    to: &CheckpointStore,
    env: &Env,
    checkpoint: CheckpointId,
) -> Result<Exported> {
    refuse_other(to).await?;
    copy(from, to, env, &from.manifest(checkpoint).await?).await
}

/// Makes sure that a storage has nothing of the job yet.
///
/// # Errors
/// When it has, or does not answer.
pub async fn refuse_other(to: &CheckpointStore) -> Result<()> {
    if to.newest_attempt().await?.is_none() {
        return Ok(());
    }
    Err(EngineError::definition(format!(
        "'{}' already has checkpoints of the job, and a copy would be mixed with them: choose another place, or remove it",
        to.describe(to.layout().job())
    )))
}

/// The newest checkpoint of a lineage whose results are visible.
///
/// # Errors
/// When there is none, or the storage refuses.
pub(super) async fn newest_committed(from: &CheckpointStore) -> Result<Manifest> {
    for number in from.checkpoints().await?.into_iter().rev() {
        // One that goes just now was not the newest.
        let Some(content) = from.find(&from.layout().manifest(number)).await? else { continue };
        let attempt = Manifest::from_bytes(&content, from.layout().manifest(number).as_ref())?.attempt;
        if committed::is_marked(from, number, attempt).await? {
            return from.manifest(number).await;
        }
    }
    Err(EngineError::definition(format!(
        "'{}' has no checkpoint whose results are visible: run the job, or let it continue, until it has one",
        from.describe(from.layout().job())
    )))
}

/// Copies the files of a checkpoint, each verified. Returns how many there are, and their bytes.
pub(super) async fn copy_files(
    from: &CheckpointStore,
    to: &CheckpointStore,
    env: &Env,
    manifest: &Manifest,
    path_there: impl Fn(&Path) -> Path,
) -> Result<(u64, u64)> {
    let files: BTreeSet<&FileRef> = manifest.files().collect();
    for file in &files {
        let path = Path::from(file.path.as_str());
        let content = from.read(&path).await?;
        state_file::verify(file, &content)?;
        put(to, env, &path_there(&path), content).await?;
    }
    Ok((files.len() as u64, files.iter().map(|file| file.bytes).sum()))
}

/// Copies a checkpoint of a lineage, and the claims that say what it is of. Begun again, it goes on.
pub(super) async fn copy(
    from: &CheckpointStore,
    to: &CheckpointStore,
    env: &Env,
    manifest: &Manifest,
) -> Result<Exported> {
    let to = to.clone().in_lineage(manifest.lineage);
    let (files, bytes) = copy_files(from, &to, env, manifest, Path::clone).await?;
    env.crash_point("export.files_copied")?;
    // The oldest is what tells the storage from others, and the newest of the lineage says what lineage is gone on in.
    let Some(claims) = from.claims_of(manifest.lineage).await? else {
        return Err(EngineError::definition(format!(
            "'{}' was started over while checkpoint {} was copied: copy it again",
            from.describe(from.layout().job()),
            manifest.checkpoint
        )));
    };
    put(&to, env, &to.layout().manifest(manifest.checkpoint), manifest.to_bytes()?.into()).await?;
    committed::mark(&to, env, manifest.checkpoint, manifest.attempt).await?;
    env.crash_point("export.manifest_created")?;
    for claim in claims {
        put(&to, env, &claim, from.read(&claim).await?).await?;
    }
    Ok(Exported { manifest: manifest.clone(), files, bytes })
}

/// Makes an object, or finds that an earlier try has made the same.
pub(super) async fn put(to: &CheckpointStore, env: &Env, path: &Path, content: Bytes) -> Result<()> {
    if to.create(env, path, content.clone()).await? || to.read(path).await? == content {
        return Ok(());
    }
    Err(EngineError::definition(format!(
        "'{}' already exists, with other content: choose another place, or remove it",
        to.describe(path)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::manifest::{checksum, tests::manifest},
        ids::{Attempt, Lineage},
    };

    /// Two checkpoints of a lineage that was started over; the results of the newer one are not visible yet.
    async fn running(env: &Env) -> CheckpointStore {
        let store = CheckpointStore::open("memory:///from", "job").unwrap();
        store.claim_attempt(env).await.unwrap();
        let claim = store.claim(env, Attempt(0), true).await.unwrap();
        let store = store.in_lineage(claim.lineage);
        for number in 1..=2 {
            let path = store.layout().state_file(claim.attempt, CheckpointId(number), "op", 0);
            store.create(env, &path, "x".into()).await.unwrap();
            let manifest = Manifest { lineage: claim.lineage, ..manifest(number, &[path.as_ref()]) };
            let (at, content) = (store.layout().manifest(CheckpointId(number)), manifest.to_bytes().unwrap());
            store.create(env, &at, content.into()).await.unwrap();
        }
        committed::mark(&store, env, CheckpointId(1), Attempt(1)).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_copy_is_the_same_job_in_another_place() {
        let env = Env::from_entropy();
        let folder = tempfile::tempdir().unwrap();
        let from = running(&env).await;
        let url = format!("file://{}/backup", folder.path().display());
        let to = CheckpointStore::open(&url, "job").unwrap();
        let copied = export(&from, &to, &env).await.unwrap();
        assert_eq!((copied.manifest.checkpoint.0, copied.files, copied.bytes), (1, 1, 1));
        // Whatever becomes of the original.
        drop(from.clone());
        let found = to.newest().await.unwrap().unwrap();
        assert_eq!((found.lineage, found.checkpoint.0), (Lineage(2), 1));
        for file in found.files() {
            assert_eq!(checksum(&to.read_state(&env, file).await.unwrap()), file.checksum);
        }
        assert!(committed::is_marked(&to.current().await.unwrap(), found.checkpoint, found.attempt).await.unwrap());
        assert_eq!(to.identity().await.unwrap(), from.identity().await.unwrap());
        let next = to.claim(&env, Attempt(0), false).await.unwrap();
        assert_eq!((next.attempt, next.lineage), (Attempt(3), Lineage(2)), "it goes on");
        let again = export(&from, &to, &env).await.unwrap_err();
        assert!(again.message.contains("/backup/jobs/job'"), "{again}");
    }

    /// A start-over takes its claim at any moment, also between the manifest that is copied and the claims.
    #[tokio::test]
    async fn a_copy_is_of_one_lineage_whoever_starts_over_meanwhile() {
        let env = Env::from_entropy();
        let (from, to) = (running(&env).await, CheckpointStore::in_memory("job"));
        let manifest = from.manifest(CheckpointId(1)).await.unwrap();
        let newer = from.claim(&env, Attempt(0), true).await.unwrap();
        copy(&from, &to, &env, &manifest).await.unwrap();
        assert_eq!(to.newest_attempt().await.unwrap(), Some(Attempt(2)), "not the newer lineage's claim");
        let found = to.newest().await.unwrap().map(|found| (found.lineage, found.checkpoint.0));
        assert_eq!(found, Some((Lineage(2), 1)), "it can be gone on from");
        assert_eq!(to.identity().await.unwrap(), from.identity().await.unwrap());
        // So many attempts have come since that nothing says any more who had begun it.
        for _ in 0..20 {
            from.claim(&env, newer.attempt, false).await.unwrap();
        }
        let (again, to) = (from.manifest(CheckpointId(1)).await.unwrap(), CheckpointStore::in_memory("job"));
        let error = copy(&from, &to, &env, &again).await.unwrap_err();
        assert!(error.message.contains("started over while checkpoint 1 was copied"), "{error}");
        assert!(to.newest().await.unwrap().is_none(), "it is no checkpoint");
    }

    #[tokio::test]
    async fn a_copy_begins_with_the_lineage_that_is_the_newest_then() {
        let env = Env::from_entropy();
        let opened = CheckpointStore::open("memory:///started-over", "job").unwrap();
        opened.claim_attempt(&env).await.unwrap();
        let claim = opened.claim(&env, Attempt(0), true).await.unwrap();
        let (path, number) = (opened.layout().clone().in_lineage(claim.lineage), CheckpointId(1));
        let manifest = Manifest { lineage: claim.lineage, ..manifest(1, &[]) };
        opened.create(&env, &path.manifest(number), manifest.to_bytes().unwrap().into()).await.unwrap();
        committed::mark(&opened.current().await.unwrap(), &env, number, manifest.attempt).await.unwrap();
        let to = CheckpointStore::in_memory("job");
        assert_eq!(export(&opened, &to, &env).await.unwrap().manifest.lineage, claim.lineage);
        opened.claim(&env, Attempt(0), true).await.unwrap();
        let none = export(&opened, &CheckpointStore::in_memory("job"), &env).await.unwrap_err();
        assert!(none.message.contains("no checkpoint whose results are visible"), "{none}");
    }

    #[tokio::test]
    async fn what_is_damaged_or_not_there_is_not_copied() {
        let env = Env::from_entropy();
        let from = running(&env).await;
        let found = from.manifest(CheckpointId(1)).await.unwrap();
        let path = Path::from(found.files().next().unwrap().path.as_str());
        let to = CheckpointStore::in_memory("job");
        from.delete(&path).await.unwrap();
        from.create(&env, &path, "y".into()).await.unwrap();
        let damaged = export(&from, &to, &env).await.unwrap_err();
        assert_eq!(damaged.kind, crate::ErrorKind::Corrupt, "{damaged}");
        assert!(to.newest().await.unwrap().is_none(), "it is no checkpoint");
        from.delete(&path).await.unwrap();
        from.create(&env, &path, "x".into()).await.unwrap();
        export(&from, &to, &env).await.expect("begun again, it finds its own");
        let nothing = CheckpointStore::in_memory("job");
        let none = export(&nothing, &CheckpointStore::in_memory("job"), &env).await.unwrap_err();
        assert!(none.message.contains("no checkpoint"), "{none}");
    }
}
