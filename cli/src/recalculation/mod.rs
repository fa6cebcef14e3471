//! `weir replay` and `weir reconcile`: counting again from the raw archive, and what both commands need for it.

mod metrics;
pub mod reconcile;
pub mod replay;

use crate::{data_dir, definition::DefinitionArguments, failure::Failure};
use clap::Args;
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use weir_engine::{checkpoint::CheckpointStore, env::Env, hidden::Hidden};
use weir_jobs::{
    duration,
    recalculation::{Recalculation, StoreTable},
};
use weir_operators::{
    moment,
    source::files::{ArchivePart, EventTimeRange, archive_parts},
};
use weir_recalculation::{archived::Progress, ground::Ground, store::Store};

/// How long the archive may be behind the store, besides the time that the job's checkpoints take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which job, and where what it has written is.
#[derive(Debug, Args)]
pub struct PlaceArguments {
    #[command(flatten)]
    pub definition: DefinitionArguments,
    /// Where the job keeps its checkpoints on this machine: they say whether it is finished, and what is committed
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    pub data_dir: PathBuf,
    /// Where checkpoints are instead: a folder, or a URL with file://, s3:// or memory://
    #[arg(long, value_name = "URL")]
    pub storage: Option<String>,
    /// The store: sqlite:PATH or postgres://… [default: what the definition says]
    #[arg(long, value_name = "URL")]
    pub store: Option<Hidden<String>>,
    /// How long the job may take to put into the archive what the store has counted already [default: 30s, and two of its
    /// checkpoints]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("write {}", duration::EXAMPLES))
}

/// A job whose counts are in a store and whose events are in an archive.
pub struct Place {
    pub recalculation: Recalculation,
    /// The tables, with the store that is meant.
    pub tables: Vec<StoreTable>,
    pub store: Store,
    pub store_url: Hidden<String>,
    /// Where the archive is.
    pub archive: String,
    /// Where checkpoints are.
    pub checkpoints: String,
    /// How long the archive may be behind the store.
    pub patience: Duration,
}

impl PlaceArguments {
    /// Opens the store; the archive is where `archive` says, or else the definition.
    pub async fn open(&self, recalculation: Recalculation, archive: Option<&str>) -> Result<Place, Failure> {
        for table in recalculation.left_out() {
            eprintln!("note: {table}");
        }
        let mut tables = recalculation.tables().to_vec();
        let store_url = match &self.store {
            Some(url) => url.clone(),
            None => one_store(&tables)?.into(),
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
        // A file may be staged from the beginning of its checkpoint on.
        let patience = self.wait.unwrap_or(PATIENCE + 2 * recalculation.checkpoint_interval());
        let archive = archive.to_owned();
        Ok(Place { tables, store, store_url, archive, checkpoints, patience, recalculation })
    }
}

impl Place {
    /// The files of the archive, and what limits a range of it.
    pub async fn look(&self, env: &Env, quiet: bool) -> Result<(Vec<ArchivePart>, Ground), Failure> {
        let checkpoints = CheckpointStore::open(&self.checkpoints, self.recalculation.job())?;
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
        let tell = |what: &str| {
            if !quiet {
                eprintln!("{what}");
            }
        };
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
