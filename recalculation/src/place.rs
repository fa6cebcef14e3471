//! Where the counts of a job are, where the events that they were counted from are, and where its checkpoints are.

use crate::{archived::Progress, ground::Ground, store::Store};
use std::{collections::BTreeSet, fmt, time::Duration};
use weir_engine::{
    checkpoint::{CheckpointStore, OpenStore},
    env::Env,
    error::{EngineError, Result},
    hidden::Hidden,
};
use weir_jobs::recalculation::{Recalculation, StoreTable};
use weir_operators::source::files::{ArchivePart, archive_parts};

/// How long the archive may be behind the store, besides the time that the job's checkpoints take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said about a place beside the definition.
pub struct PlaceSettings {
    /// The store instead of the one in the definition.
    pub store: Option<Hidden<String>>,
    /// The archive instead of the one that the definition writes.
    pub archive: Option<String>,
    /// Where checkpoints are: a storage URL.
    pub checkpoints: String,
    /// Opens them.
    pub open_checkpoints: OpenStore,
    /// How long the archive may be behind the store, if not as long as usual.
    pub patience: Option<Duration>,
}

/// A job whose counts are in a store and whose events are in an archive.
pub struct Place {
    /// Its definition.
    pub recalculation: Recalculation,
    /// The tables, with the store that is meant.
    pub tables: Vec<StoreTable>,
    /// The store.
    pub store: Store,
    /// Its address.
    pub store_url: Hidden<String>,
    /// Where the archive is.
    pub archive: String,
    checkpoints: String,
    open_checkpoints: OpenStore,
    patience: Duration,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("job", &self.recalculation.job()).field("archive", &self.archive).finish()
    }
}

impl Place {
    /// Opens the store.
    ///
    /// # Errors
    /// When the definition does not say where store or archive are, and the settings do not either; when the store refuses.
    pub async fn open(recalculation: Recalculation, settings: PlaceSettings, env: &Env) -> Result<Self> {
        let PlaceSettings { store, archive, checkpoints, open_checkpoints, patience } = settings;
        let mut tables = recalculation.tables().to_vec();
        let store_url = match store {
            Some(url) => url,
            None => one_store(&tables)?.into(),
        };
        tables.iter_mut().for_each(|table| table.url.clone_from(&store_url));
        let Some(archive) = archive.or_else(|| recalculation.archive().map(str::to_owned)) else {
            return Err(EngineError::definition(
                "the definition has no sink that writes the archive, so say where it is; such a sink has connector = \"files\", \
                 input = \"AGGREGATE.on_time\" and partition_by = \"hour\", in Parquet",
            ));
        };
        let store = Store::open_in(&store_url, env).await?;
        // A file may be staged from the beginning of its checkpoint on.
        let patience = patience.unwrap_or(PATIENCE + 2 * recalculation.checkpoint_interval());
        Ok(Place { recalculation, tables, store, store_url, archive, checkpoints, open_checkpoints, patience })
    }

    /// The checkpoints of a job of this name.
    ///
    /// # Errors
    /// When there can be none at that address.
    pub fn checkpoints(&self, job: &str) -> Result<CheckpointStore> {
        (self.open_checkpoints)(&self.checkpoints, job)
    }

    /// The files of the archive, and what limits a range of it. `tell` is called when that takes a while.
    ///
    /// # Errors
    /// When store, archive or checkpoints cannot be read, or the archive does not come as far as the store.
    pub async fn look(&self, env: &Env, tell: impl Fn(&str)) -> Result<(Vec<ArchivePart>, Ground)> {
        let checkpoints = self.checkpoints(self.recalculation.job())?;
        let progress = Progress {
            job: self.recalculation.job(),
            store: &self.store,
            tables: &self.tables,
            checkpoints: &checkpoints,
            archives: &self.archives(),
        };
        let finished = progress.is_finished().await?;
        let mut parts = archive_parts(&self.archive).await?;
        if self.recalculation.archive_expires() {
            parts = without_first_hour(parts);
        }
        let ground = Ground::of(&self.store, &self.tables, &parts, finished).await?;
        // What is final has been read; now it has to be in the archive, too.
        progress.wait_for_archive(env, self.patience, tell).await?;
        Ok((archive_parts(&self.archive).await?, ground))
    }

    /// Where the archive is read, and where the job writes it: one may be a part, or another name, of the other.
    fn archives(&self) -> BTreeSet<String> {
        let own = self.recalculation.archive().map(str::to_owned);
        own.into_iter().chain([self.archive.clone()]).collect()
    }
}

/// The first hour of an archive with a retention may be there in part only: files are removed one after the other.
fn without_first_hour(parts: Vec<ArchivePart>) -> Vec<ArchivePart> {
    let hour = |part: Option<&ArchivePart>| part.map(|part| part.hour_ms);
    let first = hour(parts.first());
    match first == hour(parts.last()) {
        true => parts,
        false => parts.into_iter().filter(|part| Some(part.hour_ms) != first).collect(),
    }
}

/// The store that all tables are in.
fn one_store(tables: &[StoreTable]) -> Result<String> {
    let urls: Vec<&str> = tables.iter().map(|table| table.url.as_str()).collect();
    match urls.as_slice() {
        [first, others @ ..] if others.iter().all(|other| other == first) => Ok((*first).to_owned()),
        _ => {
            Err(EngineError::definition("the sinks of the definition write to several stores: choose one with --store"))
        }
    }
}
