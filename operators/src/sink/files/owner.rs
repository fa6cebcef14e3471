//! Whose results a folder holds: a mark in it says which job has it, in which checkpoint storage, since which lineage. Without it two
//! jobs that don't know of each other would fill one folder, and readers would count twice.
//!
//! Invariant: a folder with a mark has results of its job alone, of the lineage of the mark and of later ones; what a former lineage
//! of the job still writes there, however late, is distinguished from them by its name.

use super::{naming::Naming, storage::Storage};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_engine::{
    error::{EngineError, Result},
    ids::Lineage,
};

/// The mark's name in the sink's folder. Readers of results pass over what begins with `_`.
const MARK: &str = "_owner.json";

/// Who has a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The job.
    pub job: String,
    /// Distinguishes its checkpoint storage from any other.
    pub storage: String,
    /// The lineage that has begun here.
    pub lineage: Lineage,
}

impl Owner {
    /// Takes a folder without an owner, or finds that it is its own.
    ///
    /// # Errors
    /// When it is another's, or contains unknown results of this sink.
    pub async fn take(&self, storage: &dyn Storage, naming: &Naming) -> Result<()> {
        loop {
            match self.find(storage).await? {
                Some(owner) if owner.lineage == self.lineage && owner.is_same(self) => {
                    return self.refuse_if_it_replaces(storage).await;
                }
                Some(owner) => {
                    self.refuse_another(&owner, storage)?;
                    self.refuse_results(storage, naming).await?;
                    storage.remove(MARK).await?;
                }
                None => self.refuse_results(storage, naming).await?,
            }
            self.put(storage).await?;
        }
    }

    /// Takes a folder for a lineage that a start-over has begun, once what was before in it has been removed.
    ///
    /// # Errors
    /// When it is another job's.
    pub async fn take_afresh(&self, storage: &dyn Storage) -> Result<()> {
        loop {
            match self.find(storage).await? {
                Some(owner) if owner == *self => return Ok(()),
                Some(owner) => {
                    self.refuse_other_job(&owner, storage)?;
                    storage.remove(MARK).await?;
                }
                None => {}
            }
            self.put(storage).await?;
        }
    }

    /// Whether a start-over may remove what is here. `true`: also what has its own lineage and later ones, because it is of a run with
    /// other checkpoints, which had lineages of its own.
    ///
    /// # Errors
    /// When it is another job's, or a later lineage has it.
    pub async fn is_anothers(&self, storage: &dyn Storage) -> Result<bool> {
        let Some(owner) = self.find(storage).await? else { return Ok(false) };
        self.refuse_other_job(&owner, storage)?;
        Ok(owner.storage != self.storage)
    }

    /// The lineage that has begun in a folder, if it has an owner.
    ///
    /// # Errors
    /// When the storage does not say.
    pub async fn lineage_of(storage: &dyn Storage) -> Result<Option<Lineage>> {
        let mark = storage.find(MARK).await?;
        Ok(mark.and_then(|mark| serde_json::from_slice::<Owner>(&mark).ok()).map(|owner| owner.lineage))
    }

    async fn find(&self, storage: &dyn Storage) -> Result<Option<Owner>> {
        let Some(content) = storage.find(MARK).await? else { return Ok(None) };
        serde_json::from_slice(&content).map(Some).map_err(|error| {
            EngineError::corrupt(format!(
                "'{}', which says whose results these are, is damaged ({error}): remove it if they belong to job '{}'",
                storage.describe(MARK),
                self.job
            ))
        })
    }

    async fn put(&self, storage: &dyn Storage) -> Result<()> {
        storage.create_new(MARK, self.content()?).await.map(drop)
    }

    fn content(&self) -> Result<Bytes> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| EngineError::internal(format!("whose folder it is cannot be written as JSON: {error}")))?;
        Ok(Bytes::from(text + "\n"))
    }

    /// The same mark once more: harmless, and it shows whether the storage keeps what is there.
    async fn refuse_if_it_replaces(&self, storage: &dyn Storage) -> Result<()> {
        if !storage.create_new(MARK, self.content()?).await? {
            return Ok(());
        }
        Err(EngineError::definition(format!(
            "'{}' was created although it existed: the storage overwrites objects that it is told to create only if absent (it \
             ignores 'If-None-Match: *'), or somebody has just removed it. Use storage that supports conditional writes, as S3 \
             itself, MinIO, Ceph and R2 do",
            storage.describe(MARK)
        )))
    }

    fn is_same(&self, other: &Owner) -> bool {
        self.job == other.job && self.storage == other.storage
    }

    fn refuse_another(&self, owner: &Owner, storage: &dyn Storage) -> Result<()> {
        self.refuse_other_job(owner, storage)?;
        if owner.storage == self.storage {
            return Ok(());
        }
        Err(EngineError::definition(format!(
            "the folder '{}' contains the results of another run of job '{}', whose checkpoints lie elsewhere (another --data-dir or \
             storage, or one that was removed): both together would count twice. Run the job from there; or start it with --fresh, \
             which removes them; or let it write into another folder",
            storage.describe(""),
            self.job
        )))
    }

    fn refuse_other_job(&self, owner: &Owner, storage: &dyn Storage) -> Result<()> {
        if owner.job != self.job {
            return Err(EngineError::definition(format!(
                "the folder '{}' contains the results of job '{}', and two jobs in one folder would be counted as one: let job '{}' \
                 write into another; or remove the folder, if job '{}' is needed no more",
                storage.describe(""),
                owner.job,
                self.job,
                owner.job
            )));
        }
        if owner.storage == self.storage && owner.lineage > self.lineage {
            return Err(EngineError::fenced(format!(
                "the folder '{}' was started over by attempt {}: what job '{}' wrote before no longer belongs in it",
                storage.describe(""),
                owner.lineage,
                self.job
            )));
        }
        Ok(())
    }

    /// Results of this sink whose name is not of this lineage are of a run that nothing else is known of.
    async fn refuse_results(&self, storage: &dyn Storage, naming: &Naming) -> Result<()> {
        let all = storage.list("").await?;
        let is_of_another = |path: &&String| naming.committed_by(path).is_some_and(|(of, _)| of != self.lineage);
        let mut others = all.iter().filter(is_of_another);
        let Some(first) = others.next() else { return Ok(()) };
        Err(EngineError::definition(format!(
            "there are results of another run of job '{}' already, such as '{}' ({} in all): both together would count twice. Start \
             with --fresh, which removes them; or remove them; or let the job write into another folder",
            self.job,
            storage.describe(first),
            1 + others.count()
        )))
    }
}
