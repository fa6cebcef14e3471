//! The commands of a cluster: the processes it is made of ([`coordinator`], [`worker`]), and what a user asks of it
//! ([`submit`], [`jobs`], [`savepoint`]), all over one kind of [`connection`]. What is printed of a description (`list`, `status`, `render`)
//! are pure functions.

mod cache;
mod confinement;
pub mod connection;
pub mod coordinator;
pub mod coordinators;
pub mod jobs;
mod list;
mod membership;
mod render;
pub mod savepoint;
mod status;
pub mod submit;
pub mod worker;

#[cfg(test)]
mod tests;

use crate::failure::Failure;
use clap::Args;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use weir_engine::checkpoint::{CheckpointStore, OpenStore};
use weir_proto::secret::{ClusterSecret, Keys};

/// The shared secret of a cluster.
#[derive(Clone, Debug, Args)]
pub struct SecretArguments {
    /// File with the secret that coordinators, workers and users of a cluster share, and that a port with pages asks for
    /// [default: none, or WEIR_SECRET]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// A token that lets read, and change nothing.
#[derive(Clone, Debug, Args)]
pub struct ReadTokenArguments {
    /// File with a token that lets read jobs, pages, metrics and results, and change nothing [default: none, or WEIR_READ_TOKEN]
    #[arg(long, visible_alias = "token-file", value_name = "FILE")]
    read_token_file: Option<PathBuf>,
}

impl SecretArguments {
    /// The secret; empty where there is none.
    pub fn read(&self) -> Result<ClusterSecret, Failure> {
        read_secret("--secret-file", self.secret_file.as_deref(), "WEIR_SECRET")
    }
}

impl ReadTokenArguments {
    /// The token; empty where there is none.
    pub fn read(&self) -> Result<ClusterSecret, Failure> {
        read_secret("--read-token-file", self.read_token_file.as_deref(), "WEIR_READ_TOKEN")
    }

    /// The token beside a secret.
    pub fn beside(&self, secret: ClusterSecret) -> Result<Keys, Failure> {
        let read_token = self.read()?;
        if !read_token.is_empty() && read_token == secret {
            return Err(Failure::refused(
                "the read-only token is the secret: whoever has it could do everything; make another one",
            ));
        }
        Ok(Keys { secret, read_token })
    }
}

/// What is in a file, or else in a variable of the environment.
fn read_secret(flag: &str, file: Option<&Path>, variable: &str) -> Result<ClusterSecret, Failure> {
    let Some(file) = file else {
        return Ok(std::env::var(variable).unwrap_or_default().into());
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::refused(format!("{flag} '{}': {error}", file.display())))?;
    match text.trim() {
        "" => Err(Failure::refused(format!("{flag} '{}' is empty", file.display()))),
        secret => Ok(secret.into()),
    }
}

/// Opens checkpoint stores in storage of the URL's kind.
fn open_store() -> OpenStore {
    Arc::new(CheckpointStore::open)
}
