//! `weir replay` and `weir reconcile`: counting again from the raw archive, and what both commands need for it.

mod metrics;
pub mod reconcile;
pub mod replay;

use crate::{data_dir, definition::DefinitionArguments, failure::Failure};
use clap::Args;
use std::{path::PathBuf, sync::Arc, time::Duration};
use weir_engine::{checkpoint::CheckpointStore, env::Env, hidden::Hidden};
use weir_jobs::{duration, recalculation::Recalculation};
use weir_operators::{moment, source::files::EventTimeRange};
use weir_recalculation::place::{Place, PlaceSettings};

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
    /// How long to wait for the archive to catch up with the store [default: 30s plus two of the job's
    /// checkpoints]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("write {}", duration::EXAMPLES))
}

impl PlaceArguments {
    /// Opens the store; the archive is where `archive` says, or else the definition.
    pub async fn open(&self, recalculation: Recalculation, archive: Option<&str>, env: &Env) -> Result<Place, Failure> {
        for table in recalculation.left_out() {
            eprintln!("note: {table}");
        }
        let storage = self.storage.as_deref().or(recalculation.checkpoint_storage());
        let settings = PlaceSettings {
            store: self.store.clone(),
            archive: archive.map(str::to_owned),
            checkpoints: data_dir::storage_url(storage, &self.data_dir)?,
            open_checkpoints: Arc::new(CheckpointStore::open),
            patience: self.wait,
        };
        Ok(Place::open(recalculation, settings, env).await?)
    }
}

/// Says why something takes a while.
fn tell(quiet: bool) -> impl Fn(&str) {
    move |what| {
        if !quiet {
            eprintln!("{what}");
        }
    }
}

/// `2022-03-04T00:00:00Z to 2022-03-04T06:00:00Z`
fn shown(range: EventTimeRange) -> String {
    format!("{} to {}", moment::show(range.from_ms), moment::show(range.to_ms))
}
