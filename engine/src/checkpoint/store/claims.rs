//! Claims: the objects that say which attempt of a job may write, and in which lineage.
//!
//! Invariants: no two processes get the same attempt. The newest claim is never removed, so that a process of any age finds out
//! that it was replaced, nor is the oldest, which is the storage's [identity](CheckpointStore::identity).

use super::{CheckpointStore, create_only};
use crate::{
    checkpoint::manifest::checksum,
    env::Env,
    error::{EngineError, Result},
    ids::{Attempt, Lineage},
};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, PutPayload, path::Path};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Claims of attempts that are kept, but for the oldest.
pub(super) const KEPT_CLAIMS: usize = 16;

/// An attempt that was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub attempt: Attempt,
    /// The lineage that it is of.
    pub lineage: Lineage,
    /// Whether that was begun by a start-over: what lineages before it have left is to go.
    pub starts_over: bool,
}

/// A claim as it lies in the storage. Those of earlier versions say nothing of a lineage.
#[derive(Debug, Serialize, Deserialize)]
struct ClaimRecord {
    attempt: Attempt,
    #[serde(default)]
    lineage: Lineage,
    #[serde(default)]
    starts_over: bool,
    process: u32,
    claimed_at_ms: i64,
    /// The text is this claim's own, so that a retried write is distinguished from another's claim.
    nonce: u64,
}

impl CheckpointStore {
    /// Takes the next attempt's number, to continue in the newest lineage. Two processes never get the same one.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn claim_attempt(&self, env: &Env) -> Result<Attempt> {
        Ok(self.claim(env, Attempt(0), false).await?.attempt)
    }

    /// The same, above a number that is known to have been taken; in a lineage of its own if it starts over.
    ///
    /// # Errors
    /// When the store refuses, the newest claim is damaged, or the store replaces what it was told to leave alone.
    pub async fn claim(&self, env: &Env, known: Attempt, starts_over: bool) -> Result<Claim> {
        loop {
            let paths = self.list(&self.layout.attempts()).await?;
            let claimed: Vec<Attempt> = paths.iter().filter_map(|path| self.layout.attempt_of(path)).collect();
            let last = claimed.last().copied();
            let former = match last {
                Some(last) => Some(self.read_claim(last).await?),
                None => None,
            };
            let attempt = Attempt(last.unwrap_or(Attempt(0)).max(known).0 + 1);
            let claim = match former {
                Some(former) if !starts_over => Claim { attempt, ..former },
                _ => Claim { attempt, lineage: Lineage(attempt.0), starts_over },
            };
            let record = ClaimRecord {
                attempt,
                lineage: claim.lineage,
                starts_over: claim.starts_over,
                process: std::process::id(),
                claimed_at_ms: env.wall_clock_ms(),
                nonce: env.nonce(),
            };
            let text = serde_json::to_string_pretty(&record)
                .map_err(|error| EngineError::internal(format!("the claim of attempt {attempt}: {error}")))?;
            let (path, content) = (self.layout.attempt(attempt), Bytes::from(text + "\n"));
            if self.create(env, &path, content.clone()).await? {
                self.refuse_if_it_replaces(&path, content).await?;
                // A claim that was long on its way may come when the one that had this number has been removed.
                if self.attempt_after(attempt).await?.is_none() {
                    self.remove_old_claims(&claimed).await?;
                    return Ok(claim);
                }
            }
        }
    }

    /// Removes claims, but for the newest ones, which say to a process of any age that it was replaced and in which lineage to go
    /// on, and the oldest, which is the storage's [identity](CheckpointStore::identity). So they can be listed however often a job
    /// has failed.
    async fn remove_old_claims(&self, claimed: &[Attempt]) -> Result<()> {
        let many = claimed.len().saturating_sub(KEPT_CLAIMS);
        for attempt in claimed.iter().take(many).skip(1) {
            self.delete(&self.layout.attempt(*attempt)).await?;
        }
        Ok(())
    }

    pub(super) async fn newest_claim(&self) -> Result<Option<Claim>> {
        match self.newest_attempt().await? {
            Some(newest) => Ok(Some(self.read_claim(newest).await?)),
            None => Ok(None),
        }
    }

    async fn read_claim(&self, attempt: Attempt) -> Result<Claim> {
        let path = self.layout.attempt(attempt);
        let record: ClaimRecord = serde_json::from_slice(&self.read(&path).await?).map_err(|error| {
            EngineError::corrupt(format!(
                "storage '{}': the claim '{path}', which says what attempt {attempt} resumes from, is damaged ({error}). Restore \
                 the object from a backup",
                self.url
            ))
        })?;
        Ok(Claim { attempt, lineage: record.lineage, starts_over: record.starts_over })
    }

    /// Everything here rests on objects that are made only where there is none: a store that does not know that is found out by
    /// making one again, with the same content, which harms nothing.
    async fn refuse_if_it_replaces(&self, path: &Path, content: Bytes) -> Result<()> {
        if self.local.is_some() {
            return Ok(());
        }
        match self.store.put_opts(path, PutPayload::from_bytes(content), create_only()).await {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
            Ok(_) => Err(EngineError::definition(format!(
                "storage '{}' overwrites objects that it is told to create only if absent (it ignores 'If-None-Match: *'): \
                 two processes could run the same job without noticing. Use storage that supports conditional writes, as S3 \
                 itself, MinIO, Ceph and R2 do",
                self.url
            ))),
            Err(error) => Err(self.failed("write", path, &error)),
        }
    }

    /// The newest attempt that was claimed after this one: the newest claim is never removed, so a process of any age finds out that
    /// it was replaced. Only what comes behind is asked for.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn attempt_after(&self, attempt: Attempt) -> Result<Option<Attempt>> {
        let (attempts, own) = (self.layout.attempts(), self.layout.attempt(attempt));
        let listed = self.store.list_with_offset(Some(&attempts), &own).map_ok(|object| object.location);
        let later: Vec<Path> = listed.try_collect().await.map_err(|error| self.failed("list", &attempts, &error))?;
        Ok(later.iter().filter_map(|path| self.layout.attempt_of(path)).max())
    }

    /// The newest attempt that was claimed.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn newest_attempt(&self) -> Result<Option<Attempt>> {
        let claimed = self.list(&self.layout.attempts()).await?;
        Ok(claimed.iter().filter_map(|path| self.layout.attempt_of(path)).max())
    }

    /// The oldest claim and the newest of a lineage, oldest first; none where no claim of the lineage is there any more.
    pub(in crate::checkpoint) async fn claims_of(&self, lineage: Lineage) -> Result<Option<BTreeSet<Path>>> {
        let paths = self.list(&self.layout.attempts()).await?;
        let claimed: Vec<Attempt> = paths.iter().filter_map(|path| self.layout.attempt_of(path)).collect();
        for attempt in claimed.iter().rev() {
            if self.read_claim(*attempt).await?.lineage == lineage {
                let ends = claimed.first().into_iter().chain([attempt]);
                return Ok(Some(ends.map(|attempt| self.layout.attempt(*attempt)).collect()));
            }
        }
        Ok(None)
    }

    /// Distinguishes this job in this storage from the same job in any other: the checksum of the oldest claim, which is never
    /// removed.
    ///
    /// # Errors
    /// When the store refuses, or no attempt was ever claimed.
    pub async fn identity(&self) -> Result<String> {
        self.identity.get_or_try_init(|| self.read_identity()).await.cloned()
    }

    async fn read_identity(&self) -> Result<String> {
        let claimed = self.list(&self.layout.attempts()).await?;
        let oldest = claimed.iter().find(|path| self.layout.attempt_of(path).is_some()).ok_or_else(|| {
            EngineError::internal(format!("storage '{}': no attempt of '{}' was claimed", self.url, self.layout.job()))
        })?;
        Ok(checksum(&self.read(oldest).await?))
    }
}
