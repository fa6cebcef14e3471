//! `weir replay` and `weir reconcile`: counting again from the raw archive, and what both commands need for it.

mod metrics;
pub mod reconcile;
pub mod replay;

use crate::{data_dir, definition::DefinitionArguments, failure::Failure};
use clap::Args;
use std::{path::PathBuf, time::Duration};
use weir_engine::{checkpoint::CheckpointStore, env::Env};
use weir_jobs::recalculation::{Recalculation, StoreTable};
use weir_operators::{
    moment,
    source::files::{ArchivePart, EventTimeRange, archive_parts},
};
use weir_recalculation::{ground::Ground, records, store::Store};

/// How long the sinks of a job may take to commit what one of them has committed already.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);
/// How often they are asked.
const COMMIT_POLL: Duration = Duration::from_millis(50);

/// Which job, and where what it has written is.
#[derive(Debug, Args)]
pub struct PlaceArguments {
    #[command(flatten)]
    pub definition: DefinitionArguments,
    /// Where the job keeps its checkpoints on this machine: they say whether it is finished
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    pub data_dir: PathBuf,
    /// Where checkpoints are instead: a folder, or a URL with file://, s3:// or memory://
    #[arg(long, value_name = "URL")]
    pub storage: Option<String>,
    /// The store: sqlite:PATH or postgres://… [default: what the definition says]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
}

/// A job whose counts are in a store and whose events are in an archive.
pub struct Place {
    pub recalculation: Recalculation,
    /// The tables, with the store that is meant.
    pub tables: Vec<StoreTable>,
    pub store: Store,
    pub store_url: String,
    /// Where the archive is.
    pub archive: String,
    /// Where checkpoints are.
    pub checkpoints: String,
}

impl PlaceArguments {
    /// Opens the store; the archive is where `archive` says, or else the definition.
    pub async fn open(&self, recalculation: Recalculation, archive: Option<&str>) -> Result<Place, Failure> {
        let mut tables = recalculation.tables().to_vec();
        let store_url = match &self.store {
            Some(url) => url.clone(),
            None => one_store(&tables)?,
        };
        tables.iter_mut().for_each(|table| table.url.clone_from(&store_url));
        let Some(archive) = archive.or(recalculation.archive()) else {
            return Err(Failure::refused(
                "the definition has no sink that writes the archive, so say where it is; such a sink has connector = \"files\", \
                 input = \"AGGREGATE.on_time\" and partition_by = \"hour\"",
            ));
        };
        let storage = self.storage.as_deref().or(recalculation.checkpoint_storage());
        let checkpoints = data_dir::storage_url(storage, &self.data_dir)?;
        let store = Store::open(&store_url).await?;
        Ok(Place { tables, store, store_url, archive: archive.to_owned(), checkpoints, recalculation })
    }
}

impl Place {
    /// Whether the job has read all of its input and committed what came of it, so that nothing is corrected any more.
    pub async fn is_finished(&self) -> Result<bool, Failure> {
        let store = CheckpointStore::open(&self.checkpoints, self.recalculation.job())?;
        let Some(newest) = store.newest().await? else { return Ok(false) };
        Ok(newest.last && store.exists(&store.layout().committed(newest.checkpoint)).await?)
    }

    /// The files of the archive, and what limits a range of it.
    pub async fn look(&self, env: &Env) -> Result<(Vec<ArchivePart>, Ground), Failure> {
        let finished = self.is_finished().await?;
        let parts = archive_parts(&self.archive).await?;
        let ground = Ground::of(&self.store, &self.tables, &parts, finished).await?;
        // What is final has been read; that it is in the archive, too, is sure when the job's other sinks have committed what
        // the store has.
        self.wait_for_archive(env).await?;
        Ok((archive_parts(&self.archive).await?, ground))
    }

    /// Waits until all sinks of the job have committed the checkpoint that is in the store.
    async fn wait_for_archive(&self, env: &Env) -> Result<(), Failure> {
        let job = self.recalculation.job();
        let checkpoints = CheckpointStore::open(&self.checkpoints, job)?;
        let Some(in_store) = records::newest_checkpoint(&self.store, job).await? else { return Ok(()) };
        let until = env.now() + COMMIT_PATIENCE;
        loop {
            let known = checkpoints.checkpoints().await?;
            let mut newest_committed = None;
            for checkpoint in known.iter().rev() {
                if checkpoints.exists(&checkpoints.layout().committed(*checkpoint)).await? {
                    newest_committed = Some(*checkpoint);
                    break;
                }
            }
            // Without any checkpoint here the job runs elsewhere, and nobody can tell.
            if known.is_empty() || newest_committed.is_some_and(|newest| newest.0 >= in_store) {
                return Ok(());
            }
            if env.now() >= until {
                let waited = "the job does not commit what it has completed, so that the archive may lack events that are counted";
                return Err(Failure::failed(format!("{waited}: checkpoint {in_store}; start it, or wait for it")));
            }
            env.sleep(COMMIT_POLL).await;
        }
    }
}

/// The store that all tables are in.
fn one_store(tables: &[StoreTable]) -> Result<String, Failure> {
    let urls: Vec<&str> = tables.iter().map(|table| table.url.as_str()).collect();
    match urls.as_slice() {
        [first, others @ ..] if others.iter().all(|other| other == first) => Ok((*first).to_owned()),
        _ => Err(Failure::refused(
            "the sinks of the definition fill several stores: say with --store which one is meant",
        )),
    }
}

/// `2022-03-04T00:00:00Z to 2022-03-04T06:00:00Z`
fn shown(range: EventTimeRange) -> String {
    format!("{} to {}", moment::show(range.from_ms), moment::show(range.to_ms))
}
