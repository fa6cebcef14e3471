//! A prefix in object storage.
//!
//! An object appears whole or not at all, by nature. Publishing is a copy that does not overwrite, where the store has one;
//! where it has none, a plain copy: the committer has looked before, and all who commit copy the same bytes.

use super::{NewFile, Storage};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, buffered::BufWriter, path::Path};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use weir_engine::error::{EngineError, Result};
use xxhash_rust::xxh3::Xxh3;

/// Objects smaller than this go out in one request, larger ones in parts of this size.
const PART_BYTES: usize = 8 << 20;

/// Parts under way at a time, for one file.
const PARTS: usize = 4;

/// A prefix in object storage.
#[derive(Clone, Debug)]
pub struct ObjectFolder {
    store: Arc<dyn ObjectStore>,
    root: Path,
    url: String,
}

impl ObjectFolder {
    /// The objects below `root`. `url` is what errors call it.
    ///
    /// # Errors
    /// When `root` is not a path.
    pub fn new(store: Arc<dyn ObjectStore>, root: &str, url: &str) -> Result<Self> {
        let root = Path::parse(root.trim_matches('/'))
            .map_err(|error| EngineError::definition(format!("'{url}' is not a path in object storage: {error}")))?;
        Ok(ObjectFolder { store, root, url: url.trim_end_matches('/').into() })
    }

    fn at(&self, path: &str) -> Path {
        path.split('/').filter(|part| !part.is_empty()).fold(self.root.clone(), |path, part| path.join(part))
    }

    fn failed(&self, doing: &str, path: &str, error: &Error) -> EngineError {
        EngineError::io(format!("cannot {doing} '{}': {error}", self.describe(path)))
    }
}

impl Storage for ObjectFolder {
    fn create<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Box<dyn NewFile>>> {
        let writer =
            BufWriter::with_capacity(Arc::clone(&self.store), self.at(path), PART_BYTES).with_max_concurrency(PARTS);
        let doing = format!("cannot write '{}'", self.describe(path));
        async move { Ok(Box::new(ObjectFile { writer, doing }) as Box<dyn NewFile>) }.boxed()
    }

    fn create_new<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool>> {
        async move {
            let create_only = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(&self.at(path), content.clone().into(), create_only).await {
                Ok(_) => Ok(true),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(self.failed("write", path, &error)),
            }
        }
        .boxed()
    }

    fn find<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        async move {
            let read = async { self.store.get(&self.at(path)).await?.bytes().await };
            match read.await {
                Ok(content) => Ok(Some(content)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(self.failed("read", path, &error)),
            }
        }
        .boxed()
    }

    fn size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>> {
        async move {
            match self.store.head(&self.at(path)).await {
                Ok(found) => Ok(Some(found.size)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(self.failed("look up", path, &error)),
            }
        }
        .boxed()
    }

    fn checksum<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>> {
        async move {
            let read = async {
                let mut bytes = self.store.get(&self.at(path)).await?.into_stream();
                let mut hasher = Xxh3::new();
                while let Some(bytes) = bytes.next().await {
                    hasher.update(&bytes?);
                }
                Ok(hasher.digest())
            };
            read.await.map_err(|error| self.failed("read", path, &error))
        }
        .boxed()
    }

    fn publish<'a>(&'a self, staged: &'a str, path: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let (from, to) = (self.at(staged), self.at(path));
            let copied = match self.store.copy_if_not_exists(&from, &to).await {
                Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => self.store.copy(&from, &to).await,
                copied => copied,
            };
            copied.map_err(|error| self.failed(&format!("copy '{staged}' to"), path, &error))
        }
        .boxed()
    }

    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            match self.store.delete(&self.at(path)).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.failed("remove", path, &error)),
            }
        }
        .boxed()
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        async move {
            let prefix = self.at(folder);
            let listed = self.store.list(Some(&prefix)).map_ok(|object| object.location).try_collect::<Vec<_>>().await;
            let listed = listed.map_err(|error| self.failed("list", folder, &error))?;
            let mut paths: Vec<String> = listed
                .iter()
                .filter_map(|path| {
                    let parts: Vec<_> = path.prefix_match(&self.root)?.collect();
                    Some(parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>().join("/"))
                })
                .collect();
            paths.sort();
            Ok(paths)
        }
        .boxed()
    }

    fn prune<'a>(&'a self, _folder: &'a str) -> BoxFuture<'a, Result<()>> {
        // A prefix without objects is no thing.
        futures::future::ready(Ok(())).boxed()
    }

    fn describe(&self, path: &str) -> String {
        format!("{}/{path}", self.url).trim_end_matches('/').into()
    }
}

/// An object that is being written: in one request if it stays small, in parts if not.
struct ObjectFile {
    writer: BufWriter,
    doing: String,
}

impl NewFile for ObjectFile {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        async move {
            let put = self.writer.put(bytes).await;
            put.map_err(|error| EngineError::io(format!("{}: {error}", self.doing)))
        }
        .boxed()
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        async move {
            let ended = self.writer.shutdown().await;
            ended.map_err(|error| EngineError::io(format!("{}: {error}", self.doing)))
        }
        .boxed()
    }

    fn abort(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            // Best effort: parts of an upload that never ends are for the bucket's own rules to remove.
            let _ = self.writer.abort().await;
        }
        .boxed()
    }
}
