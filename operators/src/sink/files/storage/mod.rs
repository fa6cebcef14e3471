//! Where files lie: a local folder or object storage. Paths are relative to the sink's folder, with slashes.
//!
//! Invariant: what [`NewFile::finish`] and [`Storage::publish`] have answered for stays, whatever dies: on a local disk the
//! file and its folders are synced.

mod local;
mod remote;

pub use local::LocalFolder;
#[cfg(test)]
pub(super) use local::explain;
pub use remote::ObjectFolder;

use crate::memory_stores::memory_store;
use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use std::{fmt::Debug, path::PathBuf, sync::Arc};
use url::Url;
use weir_engine::error::{EngineError, Result};

/// A folder that files are staged and published in.
///
/// All errors name the path and the cause.
pub trait Storage: Debug + Send + Sync {
    /// Begins a file. Nobody sees it under its name before [`NewFile::finish`] where the storage can do that; a local file
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

    /// Removes folders that are empty below a folder, and then itself, where folders are things of their own.
    fn prune<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<()>>;

    /// A path for people to read; the folder itself for "".
    fn describe(&self, path: &str) -> String;
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
    // A single letter before a colon is a drive, not a scheme.
    let url = Url::parse(path).ok().filter(|url| url.scheme().len() > 1);
    let Some(url) = url else { return Ok(Arc::new(LocalFolder::new(PathBuf::from(path)))) };
    match url.scheme() {
        "file" => {
            let folder = url.to_file_path().map_err(|()| {
                EngineError::definition(format!("'{path}' is not a local path; write file:///absolute/path"))
            })?;
            Ok(Arc::new(LocalFolder::new(folder)))
        }
        "memory" => {
            let store = memory_store(url.host_str().unwrap_or_default());
            Ok(Arc::new(ObjectFolder::new(store, url.path(), path)?))
        }
        "s3" => {
            let (store, root) = object_store::parse_url_opts(&url, s3_settings())
                .map_err(|error| EngineError::definition(format!("cannot open the storage '{path}': {error}")))?;
            let store: Arc<dyn ObjectStore> = Arc::from(store);
            Ok(Arc::new(ObjectFolder::new(store, root.as_ref(), path)?))
        }
        other => Err(EngineError::definition(format!(
            "'{path}': there is no storage '{other}://'; give a folder, or a URL with file://, s3:// or memory://"
        ))),
    }
}

/// `AWS_…` from the environment, and a copy that never overwrites unless told otherwise.
fn s3_settings() -> Vec<(String, String)> {
    let environment = std::env::vars().filter(|(key, _)| key.starts_with("AWS_"));
    let defaults = [("aws_copy_if_not_exists".to_string(), "multipart".to_string())];
    defaults.into_iter().chain(environment.map(|(key, value)| (key.to_lowercase(), value))).collect()
}
