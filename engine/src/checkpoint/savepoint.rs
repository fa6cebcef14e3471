//! A checkpoint that a job is started from because its user says so: found by its URL, and brought into the job's own storage.
//!
//! Invariants: what is brought in is the same job, whose sinks go on ([`Savepoint::import`]), or a *fork* ([`Savepoint::fork`]): another
//! job with the same state, whose sinks are its own and have nothing yet. Either is whole before a claim says that it is there, and
//! bringing it in again changes nothing.

use super::{
    CheckpointStore, Layout, Manifest, committed,
    export::{self, Copied, put},
    manifest,
};
use crate::{
    env::Env,
    error::{EngineError, Result},
    graph::DefinitionRecord,
    ids::{Attempt, CheckpointId, Lineage},
};
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};

/// The attempt, and with it the lineage, that brings a fork's first checkpoint in.
const FORKING: Attempt = Attempt(1);

/// The checkpoint that a fork begins with.
const FIRST: CheckpointId = CheckpointId(1);

/// A checkpoint somewhere.
#[derive(Clone, Debug)]
pub struct Savepoint {
    /// Where it lies, in its lineage.
    store: CheckpointStore,
    /// What it consists of. Its results are visible.
    pub manifest: Manifest,
}

/// What the URL of a manifest says.
#[derive(Debug, PartialEq, Eq)]
struct Located<'a> {
    storage: &'a str,
    job: &'a str,
    lineage: Lineage,
    checkpoint: CheckpointId,
}

/// The URL of a checkpoint's manifest, which the checkpoint is found by.
pub fn url_of(store: &CheckpointStore, lineage: Lineage, checkpoint: CheckpointId) -> String {
    let layout = store.layout().clone().in_lineage(lineage);
    format!("{}/{}", store.url().trim_end_matches('/'), layout.manifest(checkpoint))
}

/// The checkpoint of a job that the URL of a manifest names, in whatever storage.
pub fn named(url: &str, job: &str) -> Option<(Lineage, CheckpointId)> {
    located(url).filter(|located| located.job == job).map(|located| (located.lineage, located.checkpoint))
}

fn located(url: &str) -> Option<Located<'_>> {
    let (storage, rest) = url.rsplit_once("/jobs/")?;
    let (job, of_checkpoints) = rest.split_once("/checkpoints/")?;
    let (folder, name) = of_checkpoints.split_once('/')?;
    let folder: u64 = folder.parse().ok()?;
    let (lineage, checkpoint) = match name.strip_suffix(".json")? {
        "manifest" => (Lineage::NAMELESS, folder),
        number => (Lineage(folder), number.parse().ok()?),
    };
    Some(Located { storage, job, lineage, checkpoint: CheckpointId(checkpoint) })
}

impl Savepoint {
    /// Finds a checkpoint by the URL of its manifest, or the newest one of a storage whose results are visible: of the job of this name,
    /// or of the only one. `own` is the storage of the job that is to be started.
    ///
    /// # Errors
    /// When there is none, its results are not visible yet, or the storage refuses.
    pub async fn find(url: &str, own: &CheckpointStore, job: &str) -> Result<Self> {
        let Some(Located { storage, job, lineage, checkpoint }) = located(url) else {
            let store = open(url, own, job)?;
            let store = match store.newest_attempt().await? {
                Some(_) => store,
                None => store.of_job(&only_job(&store, job).await?),
            };
            let store = store.current().await?;
            let manifest = export::newest_committed(&store).await?;
            return Ok(Savepoint { store, manifest });
        };
        let store = open(storage, own, job)?.in_lineage(lineage);
        if !store.exists(&store.layout().manifest(checkpoint)).await? {
            return Err(EngineError::definition(format!(
                "there is no checkpoint '{url}': `weir checkpoint list --storage {storage}` shows those that there are"
            )));
        }
        let manifest = store.manifest(checkpoint).await?;
        if !committed::is_marked(&store, checkpoint, manifest.attempt).await? {
            return Err(EngineError::definition(format!(
                "the results of checkpoint {checkpoint} of job '{job}' are not visible yet: a job is started from a checkpoint that is \
                 committed, as each savepoint is"
            )));
        }
        Ok(Savepoint { store, manifest })
    }

    /// Whether the job that `own` belongs to can go on from it, instead of from its own newest checkpoint.
    ///
    /// # Errors
    /// When it is another job's or another run's, or the job was started over since.
    pub async fn check(&self, own: &CheckpointStore) -> Result<()> {
        let (savepoint, name) = (self.shown(), own.layout().job().filename().unwrap_or_default().to_owned());
        if self.manifest.job != name {
            return Err(EngineError::definition(format!(
                "{savepoint} is not of job '{name}': give the job that name, or start it with --fork, as a job of its own with the same state"
            )));
        }
        let Some(newest) = own.newest_attempt().await? else { return Ok(()) };
        let elsewhere = !self.is_in(own);
        if elsewhere && own.identity().await? != self.store.identity().await? {
            return Err(EngineError::definition(format!(
                "{savepoint} is of another run of job '{name}' than the checkpoints in '{}': start from it in another storage, or with --fork \
                 under another name",
                own.url()
            )));
        }
        if elsewhere && self.newest_claim().await?.is_some_and(|brought| newest < brought) {
            return Ok(());
        }
        let lineage = own.current().await?.layout().lineage();
        if lineage != self.manifest.lineage {
            return Err(EngineError::definition(format!(
                "job '{name}' was started over since {savepoint}, and what it had written until then was removed: start from it with --fork, \
                 under another name and with other outputs"
            )));
        }
        Ok(())
    }

    /// Brings it into a storage that has nothing of the job yet, or an older state of it: as the same job, which goes on with the same
    /// sinks. Call it before the next attempt is claimed there.
    ///
    /// # Errors
    /// As [`Savepoint::check`]; when a file is damaged, or a storage refuses.
    pub async fn import(&self, own: &CheckpointStore, env: &Env) -> Result<()> {
        self.check(own).await?;
        let (there, brought) = (own.newest_attempt().await?, self.newest_claim().await?);
        if self.is_in(own) || there.is_some() && there >= brought {
            return Ok(());
        }
        export::copy(&self.store, own, env, &self.manifest).await.map(drop)
    }

    /// Brings its files into the storage of the same job, where they may be already.
    ///
    /// # Errors
    /// When a file is damaged, or a storage refuses.
    pub async fn bring_files(&self, own: &CheckpointStore, env: &Env) -> Result<()> {
        if self.is_in(own) {
            return Ok(());
        }
        let copied = export::copy_files(&mut Copied::new(), &self.store, own, env, &self.manifest, Path::clone).await;
        copied.map(drop)
    }

    /// Brings it into a storage that has nothing of the job yet: as another job of this definition, with the same state and sinks that
    /// have nothing yet.
    ///
    /// # Errors
    /// When there is something of the job, a sink would write to where the original's does, the state does not fit the definition, or
    /// a storage refuses.
    pub async fn fork(&self, own: &CheckpointStore, env: &Env, definition: &str) -> Result<()> {
        self.check_fork(definition)?;
        let own = own.clone().in_lineage(Lineage(FORKING.0));
        let layout = own.layout().clone();
        let forked = self.forked(&layout, definition);
        let (at, content) = (layout.manifest(forked.checkpoint), forked.to_bytes()?);
        if own.newest_attempt().await?.is_some() {
            // It was brought in before.
            if own.find(&at).await?.is_some_and(|there| there == content) {
                return Ok(());
            }
            let name = &forked.job;
            return Err(EngineError::definition(format!(
                "'{}' already has checkpoints of job '{name}', and a fork begins with none: give it another name (--set job.name=…), or \
                 another storage",
                own.describe(layout.job())
            )));
        }
        let path_there = |path: &Path| forked_path(&layout, path);
        export::copy_files(&mut Copied::new(), &self.store, &own, env, &self.manifest, path_there).await?;
        env.crash_point("fork.files_copied")?;
        // An earlier try was interrupted, and the original has a newer checkpoint now. Nobody can have gone on from what that try has
        // made: nothing is claimed.
        if own.find(&at).await?.is_some_and(|there| there != content) {
            own.delete(&layout.committed(forked.checkpoint)).await?;
            own.delete(&at).await?;
        }
        put(&own, env, &at, content.into()).await?;
        committed::mark(&own, env, forked.checkpoint, forked.attempt).await?;
        env.crash_point("fork.manifest_created")?;
        own.claim(env, Attempt(0), false).await.map(drop)
    }

    /// Whether a definition can be a fork.
    ///
    /// # Errors
    /// When a sink would write to where the original's does, or the state does not fit.
    pub fn check_fork(&self, definition: &str) -> Result<()> {
        DefinitionRecord::check_fork(&self.manifest.definition, definition).map_err(|why| {
            EngineError::definition(format!("{} cannot be forked by this definition: {why}", self.shown()))
        })
    }

    fn forked(&self, layout: &Layout, definition: &str) -> Manifest {
        let original = &self.manifest;
        let identity = Some(original.identity.clone().unwrap_or_else(|| original.job.clone()));
        let sinks = original.results.keys().chain(original.committables.iter().map(|one| &one.sink));
        let mut forked = Manifest {
            format_version: manifest::format_version(identity.as_deref()),
            job: layout.job().filename().unwrap_or_default().into(),
            identity,
            definition: definition.into(),
            lineage: layout.lineage(),
            checkpoint: FIRST,
            attempt: FORKING,
            last: false,
            committables: Vec::new(),
            uncommitted: Vec::new(),
            results: sinks.map(|sink| (sink.clone(), CheckpointId(0))).collect(),
            ..original.clone()
        };
        forked
            .files_mut()
            .for_each(|file| file.path = forked_path(layout, &Path::from(file.path.as_str())).to_string());
        forked
    }

    fn is_in(&self, own: &CheckpointStore) -> bool {
        self.store.url() == own.url() && self.store.layout().job() == own.layout().job()
    }

    async fn newest_claim(&self) -> Result<Option<Attempt>> {
        let claims = self.store.claims_of(self.manifest.lineage).await?;
        Ok(claims.into_iter().flatten().filter_map(|path| self.store.layout().attempt_of(&path)).max())
    }

    /// For people.
    pub fn shown(&self) -> String {
        format!("checkpoint {} of job '{}'", self.manifest.checkpoint, self.manifest.job)
    }
}

/// A file of the original among the fork's: in a folder that no attempt of it writes to.
fn forked_path(layout: &Layout, path: &Path) -> Path {
    let name = path.parts().skip(3).map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("-");
    layout.state_of(FORKING, CheckpointId(0)).join(name)
}

/// The storage of a job; not opened again where it is one's own.
fn open(url: &str, own: &CheckpointStore, job: &str) -> Result<CheckpointStore> {
    match url.trim_end_matches('/') == own.url().trim_end_matches('/') {
        true => Ok(own.of_job(job)),
        false => CheckpointStore::open_existing(url, job),
    }
}

/// Whether a fork by this definition was brought in before, of whatever checkpoint: the job goes on from that one, although the original
/// may have a newer one by now, or be gone.
///
/// # Errors
/// When the storage refuses, or what is there is damaged.
pub async fn is_forked(own: &CheckpointStore, definition: &str) -> Result<bool> {
    if own.newest_attempt().await?.is_none() {
        return Ok(false);
    }
    let at = own.layout().clone().in_lineage(Lineage(FORKING.0)).manifest(FIRST);
    let Some(content) = own.find(&at).await? else { return Ok(false) };
    let there = Manifest::from_bytes(&content, at.as_ref())?;
    Ok(there.attempt == FORKING && there.identity.is_some() && there.definition == definition)
}

/// The one job that has anything in a storage, besides the one that is wanted and has no checkpoints there.
async fn only_job(store: &CheckpointStore, wanted: &str) -> Result<String> {
    let jobs = Layout::jobs();
    let paths = store.list(&jobs).await?;
    let name = |path: &Path| path.prefix_match(&jobs)?.next().map(|part| part.as_ref().to_owned());
    let names: BTreeSet<String> = paths.iter().filter_map(name).filter(|name| name != wanted).collect();
    match names.len() {
        1 => Ok(names.into_iter().next().unwrap_or_default()),
        0 => Err(EngineError::definition(format!("there are no checkpoints in '{}'", store.url()))),
        _ => Err(EngineError::definition(format!(
            "there are checkpoints of several jobs in '{}', and none of '{wanted}': give the URL of one, as `weir savepoint` prints it",
            store.url()
        ))),
    }
}

/// By sink: what comes a second time when a job goes on from a savepoint.
pub type Repeated = BTreeMap<String, Repeat>;

/// Results of one sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The savepoint's newest.
    pub after: CheckpointId,
    /// The newest that is visible.
    pub up_to: CheckpointId,
}

/// What is visible of later checkpoints than a savepoint.
pub fn repeated(savepoint: &Manifest, visible: &manifest::Results) -> Repeated {
    let of_sink = |(sink, up_to): (&String, &CheckpointId)| {
        let after = savepoint.results.get(sink).copied().unwrap_or(CheckpointId(0));
        (*up_to > after).then(|| (sink.clone(), Repeat { after, up_to: *up_to }))
    };
    visible.iter().filter_map(of_sink).collect()
}

/// The same for people, by sink.
pub fn tell(repeated: &Repeated) -> String {
    let of_sink = |(sink, Repeat { after, up_to }): (&String, &Repeat)| match up_to.0 - after.0 {
        1 => format!("{sink}: those of checkpoint {up_to}"),
        _ => format!("{sink}: those of checkpoints {} to {up_to}", after.next()),
    };
    repeated.iter().map(of_sink).collect::<Vec<_>>().join("; ")
}

/// What a start from a savepoint is refused with when later results are visible.
pub fn refuse(savepoint: &Manifest, repeated: &Repeated) -> EngineError {
    EngineError::definition(format!(
        "checkpoint {} of job '{}' is older than what its sinks show, and results would be there twice ({}). Start from the newest checkpoint, \
         without --from-savepoint; or with --fork, as a job of its own with another name and other outputs; or with --rewind, if these \
         results may come again",
        savepoint.checkpoint,
        savepoint.job,
        tell(repeated)
    ))
}

#[cfg(test)]
mod tests;
