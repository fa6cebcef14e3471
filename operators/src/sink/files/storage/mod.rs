//! Where files are stored: a local folder or object storage. Paths are relative to the sink's folder, with slashes.
//!
//! Invariant: what [`NewFile::finish`] and [`Storage::publish`] have answered for stays, whatever dies: on a local disk the
//! file and its folders are synced.

mod local;
mod remote;

pub use local::LocalFolder;
#[cfg(test)]
pub(super) use local::explain;
pub use remote::ObjectFolder;

use crate::{
    confinement::{Location, Place},
    memory_stores::memory_store,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::{fmt::Debug, path::PathBuf, sync::Arc};
use url::Url;
use weir_engine::{
    error::{EngineError, Result},
    object_storage,
    operator::Patience,
    patient_store::{self, PatientStore},
};

/// A folder that files are staged and published in.
///
/// All errors name the path and the cause.
pub trait Storage: Debug + Send + Sync {
    /// Starts a file. It is not visible under its name before [`NewFile::finish`] where the storage can do that; a local file
    /// is there at once, which is why files are staged.
    fn create<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Box<dyn NewFile>>>;

    /// Makes a small file that was not there, whole. `false`: there is one already.
    fn create_new<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool>>;

    /// The content of a small file, if it is there.
    fn find<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Size of a file in bytes; `None` when it is not there, which is never a guess.
    fn size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>>;

    /// XXH3-64 of all bytes of a file.
    fn checksum<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// Gives a whole file a second name at which there is none. May fail after it has been done.
    fn publish<'a>(&'a self, staged: &'a str, path: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Removes a file; that it is not there is no error.
    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>>;

    /// All files below a folder (all of them for ""), half-written ones too. A folder that is not there has none.
    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<String>>>;

    /// The same files, and when each was written.
    fn list_with_times<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<TimedFile>>>;

    /// Removes folders that are empty below a folder, and then itself, where folders are things of their own.
    fn prune<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<()>>;

    /// A path for people to read; the folder itself for "".
    fn describe(&self, path: &str) -> String;
}

/// A file, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimedFile {
    /// Its path.
    pub path: String,
    /// When its last byte was written, by the clock of the storage: milliseconds since 1970.
    pub written_ms: i64,
}

/// A file that is being written. Dropped without [`finish`](Self::finish) it is left to a sweep, or never was.
pub trait NewFile: Send {
    /// Appends bytes. Waits where the storage is slow.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>>;

    /// Ends the file; when this returns, it lasts.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<()>>;

    /// Gives the file up, and removes what is there of it.
    fn abort(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Opens a local path, or a URL: `file://`, `s3://` (settings from the environment, `AWS_…`) or `memory://NAME/…` (lives as
/// long as the process).
///
/// # Errors
/// When it is none of these.
pub fn open(path: &str) -> Result<Arc<dyn Storage>> {
    opened(path, None)
}

/// The same for an attempt, which waits for object storage that is away, and for a disk that is full.
///
/// # Errors
/// As of [`open`].
pub fn open_patiently(path: &str, patience: Patience) -> Result<Arc<dyn Storage>> {
    opened(path, Some(patience))
}

fn opened(path: &str, patience: Option<Patience>) -> Result<Arc<dyn Storage>> {
    // A single letter before a colon is a drive, not a scheme.
    let url = Url::parse(path).ok().filter(|url| url.scheme().len() > 1);
    let Some(url) = url else { return Ok(Arc::new(LocalFolder::new(PathBuf::from(path), patience))) };
    match url.scheme() {
        "file" => {
            let folder = url.to_file_path().map_err(|()| {
                EngineError::definition(format!("'{path}' is not a local path; write file:///absolute/path"))
            })?;
            Ok(Arc::new(LocalFolder::new(folder, patience)))
        }
        "memory" => {
            let store = memory_store(url.host_str().unwrap_or_default());
            let store = match patience {
                Some(patience) => Arc::new(PatientStore::new(Arc::clone(&store), store, patience)),
                None => store,
            };
            Ok(Arc::new(ObjectFolder::new(store, url.path(), path)?))
        }
        "s3" => {
            let opened = match patience {
                Some(patience) => patient_store::open(&url, s3_settings(), patience),
                None => object_storage::open(&url, s3_settings()),
            };
            let (store, root) = opened
                .map_err(|error| EngineError::definition(format!("cannot open the storage '{path}': {error}")))?;
            Ok(Arc::new(ObjectFolder::new(store, root.as_ref(), path)?))
        }
        other => Err(EngineError::definition(format!(
            "'{path}': there is no storage '{other}://'; give a folder, or a URL with file://, s3:// or memory://"
        ))),
    }
}

/// Where [`open`] leads.
///
/// # Errors
/// When a URL means no file of this machine.
pub fn locations(path: &str) -> Result<Vec<Location>> {
    let url = Url::parse(path).ok().filter(|url| url.scheme().len() > 1);
    let Some(url) = url else { return Ok(vec![Location::path("path", path)]) };
    Ok(match url.scheme() {
        // What is in memory is private.
        "memory" => Vec::new(),
        "file" => {
            let folder = url.to_file_path();
            vec![Location::path(
                "path",
                folder.map_err(|()| EngineError::definition(format!("'{path}' is not a local path")))?,
            )]
        }
        _ => vec![Location { key: "path", place: Place::of_url(&url) }],
    })
}

/// `AWS_…` from the environment, and a copy that never overwrites unless told otherwise.
fn s3_settings() -> Vec<(String, String)> {
    let defaults = [("aws_copy_if_not_exists".to_string(), "multipart".to_string())];
    defaults.into_iter().chain(object_storage::environment()).collect()
}
