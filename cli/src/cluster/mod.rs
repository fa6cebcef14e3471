//! The commands of a cluster: the processes it is made of ([`coordinator`], [`worker`]), and what a user asks of it
//! ([`submit`], [`jobs`], [`savepoint`]), all over one kind of [`connection`]. What is printed of a description (`list`, `status`, `render`)
//! are pure functions.

mod cache;
mod confinement;
pub mod connection;
pub mod coordinator;
pub mod jobs;
mod list;
mod render;
pub mod savepoint;
mod status;
pub mod submit;
pub mod worker;

#[cfg(test)]
mod tests;

use crate::failure::Failure;
use clap::Args;
use std::{path::PathBuf, sync::Arc};
use weir_engine::checkpoint::{CheckpointStore, OpenStore};
use weir_proto::secret::ClusterSecret;

/// The shared secret of a cluster.
#[derive(Clone, Debug, Args)]
pub struct SecretArguments {
    /// File with the secret that coordinators, workers and users of a cluster share, and that a port with pages asks for
    /// [default: none, or WEIR_SECRET]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretArguments {
    /// The secret; empty where there is none.
    pub fn read(&self) -> Result<ClusterSecret, Failure> {
        let Some(file) = &self.secret_file else {
            return Ok(std::env::var("WEIR_SECRET").unwrap_or_default().into());
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::refused(format!("--secret-file '{}': {error}", file.display())))?;
        match text.trim() {
            "" => Err(Failure::refused(format!("--secret-file '{}' is empty", file.display()))),
            secret => Ok(secret.into()),
        }
    }
}

/// Opens checkpoint stores in storage of the URL's kind.
fn open_store() -> OpenStore {
    Arc::new(CheckpointStore::open)
}
