//! What `weir submit` and `weir run` say about the savepoint that a job is to start from.

use crate::{data_dir::storage_url, failure::Failure};
use clap::Args;
use std::path::Path;
use weir_proto::v1::{FromSavepoint, from_savepoint::Mode};

/// Which savepoint, and as what.
#[derive(Debug, Args)]
pub struct FromSavepointArguments {
    /// Start from this checkpoint instead of the job's newest one: what `weir savepoint` has printed, or the storage of a copy. Refused
    /// where sinks show later results already
    #[arg(long, value_name = "URL", conflicts_with = "fresh")]
    from_savepoint: Option<String>,
    /// Start from it as another job with the same state, whose sinks write elsewhere and have nothing yet
    #[arg(long, requires = "from_savepoint")]
    fork: bool,
    /// Start from it although sinks show later results: these come a second time
    #[arg(long, requires = "from_savepoint", conflicts_with = "fork")]
    rewind: bool,
}

impl FromSavepointArguments {
    /// As it is submitted.
    pub fn read(&self) -> Result<Option<FromSavepoint>, Failure> {
        let Some(given) = &self.from_savepoint else { return Ok(None) };
        let mode = match (self.fork, self.rewind) {
            (true, _) => Mode::Fork,
            (_, true) => Mode::Rewind,
            _ => Mode::Resume,
        };
        Ok(Some(FromSavepoint { url: storage_url(Some(given), Path::new(""))?, mode: mode.into() }))
    }
}
