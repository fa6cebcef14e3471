//! The mark that all of a checkpoint's committables have been committed.
//!
//! Invariant: a mark speaks for one manifest: that of its lineage and number, which it knows by the attempt that wrote it, too. In
//! the nameless lineage, where earlier versions made fresh starts, only the attempt distinguishes a mark from before one from those
//! after it.

use super::CheckpointStore;
use crate::{
    env::Env,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Mark {
    /// Who wrote the manifest.
    attempt: Attempt,
}

/// Whether what the manifest of `attempt` decided is marked as visible.
///
/// # Errors
/// When storage refuses, or a later run has come as far as this checkpoint: what is asked about was forgotten.
pub async fn is_marked(store: &CheckpointStore, checkpoint: CheckpointId, attempt: Attempt) -> Result<bool> {
    let Some(mark) = store.find(&store.layout().committed(checkpoint)).await? else { return Ok(false) };
    // The empty marks of earlier versions name no attempt, and could be of any. They are not trusted: what they may have stood
    // for is committed again, which changes nothing.
    match serde_json::from_slice(&mark) {
        Ok(Mark { attempt: marked }) if marked > attempt => Err(EngineError::fenced(format!(
            "checkpoint {checkpoint} of attempt {attempt} was discarded by a fresh start: attempt {marked} has one with that number"
        ))),
        Ok(Mark { attempt: marked }) => Ok(marked == attempt),
        Err(_) => Ok(false),
    }
}

/// Marks that what the manifest of `attempt` decided is visible. A mark of a forgotten run makes way.
///
/// # Errors
/// As [`is_marked`].
pub async fn mark(store: &CheckpointStore, env: &Env, checkpoint: CheckpointId, attempt: Attempt) -> Result<()> {
    let path = store.layout().committed(checkpoint);
    let content = serde_json::json!(Mark { attempt }).to_string();
    while !store.create(env, &path, content.clone().into()).await? {
        if is_marked(store, checkpoint, attempt).await? {
            return Ok(());
        }
        tracing::warn!(%path, "removing the mark of a run that a fresh start has discarded");
        store.delete(&path).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[tokio::test]
    async fn only_the_mark_of_the_same_attempt_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        for url in ["memory:///".to_string(), format!("file://{}", folder.path().display())] {
            let (store, env) = (CheckpointStore::open(&url, "job").unwrap(), Env::default());
            let (number, path) = (CheckpointId(1), store.layout().committed(CheckpointId(1)));
            store.create(&env, &path, bytes::Bytes::new()).await.unwrap();
            assert!(!is_marked(&store, number, Attempt(1)).await.unwrap(), "nobody's");
            for attempt in [Attempt(1), Attempt(2)] {
                assert!(!is_marked(&store, number, attempt).await.unwrap(), "one of before a fresh start");
                mark(&store, &env, number, attempt).await.unwrap();
                mark(&store, &env, number, attempt).await.expect("twice is fine");
                assert!(is_marked(&store, number, attempt).await.unwrap());
            }
            let late = mark(&store, &env, number, Attempt(1)).await.unwrap_err();
            assert_eq!(late.kind, ErrorKind::Fenced);
            assert!(is_marked(&store, number, Attempt(2)).await.unwrap(), "a late one changes nothing");
        }
    }
}
