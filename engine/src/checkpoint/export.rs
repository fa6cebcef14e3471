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

/// How often it goes on with a newer checkpoint, when a job that runs has removed the one that was being copied. Each time less is left:
/// the longer a file has been there, the longer it stays.
const TRIES: usize = 50;

/// Files that were copied, each verified.
pub(super) type Copied = BTreeSet<FileRef>;

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
    let (mut tries, mut copied) = (0, Copied::new());
    loop {
        // A start-over begins another lineage, and removes what is copied.
        let from = &from.current().await?;
        let manifest = newest_committed(from).await?;
        tries += 1;
        match copy_besides(&mut copied, from, to, env, &manifest).await {
            Ok(exported) => return Ok(exported),
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

/// Copies the files of a checkpoint, each verified, but for those that were `copied` before. Returns how many there are, and their
/// bytes.
pub(super) async fn copy_files(
    copied: &mut Copied,
    from: &CheckpointStore,
    to: &CheckpointStore,
    env: &Env,
    manifest: &Manifest,
    path_there: impl Fn(&Path) -> Path,
) -> Result<(u64, u64)> {
    let files: BTreeSet<&FileRef> = manifest.files().collect();
    // The newest first, by attempt and checkpoint: they are merged into others before long, and removed.
    for file in files.iter().rev() {
        if copied.contains(*file) {
            continue;
        }
        let path = Path::from(file.path.as_str());
        let content = from.read(&path).await?;
        state_file::verify(file, &content)?;
        put(to, env, &path_there(&path), content).await?;
        copied.insert((*file).clone());
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
    copy_besides(&mut Copied::new(), from, to, env, manifest).await
}

/// The same, where some files were copied before.
async fn copy_besides(
    copied: &mut Copied,
    from: &CheckpointStore,
    to: &CheckpointStore,
    env: &Env,
    manifest: &Manifest,
) -> Result<Exported> {
    let to = to.clone().in_lineage(manifest.lineage);
    let (files, bytes) = copy_files(copied, from, &to, env, manifest, Path::clone).await?;
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
mod tests;
