//! Object storage that is waited for: a request that fails in a way that waiting can heal is sent again, for as long as somebody
//! wants its answer. So an attempt lives through a storage that is away, and whoever ends the attempt ends the waiting. What is
//! refused (no such bucket, access denied) is told at once.
//!
//! A request whose answer was lost is sent again, too: a create that was done then finds an object, as any other does that comes too
//! late. Who creates has to compare before giving it up as another's.

use crate::{availability, error::ErrorKind, object_storage, operator::Patience};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use std::{fmt, ops::Range, sync::Arc};
use url::Url;

/// Opens the storage that an S3 URL is in, with these settings; and where in it.
///
/// # Errors
/// When the URL or a setting is wrong. No server is asked.
pub fn open(url: &Url, settings: Vec<(String, String)>, patience: Patience) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let (store, path) = object_storage::open_with_few_retries(url, settings.clone())?;
    let (uploads, _) = object_storage::open_for_uploads(url, settings)?;
    Ok((Arc::new(PatientStore::new(store, uploads, patience)), path))
}

/// Asks until there is an answer that stays.
async fn until_answered<T, F: Future<Output = Result<T>>>(
    patience: &Patience,
    request: impl FnMut() -> F,
) -> Result<T> {
    let passes = |error: &object_store::Error| availability::kind_of(error) == ErrorKind::Unavailable;
    patience.until_answered("the storage", passes, request).await
}

/// A storage, and who waits for it.
#[derive(Clone, Debug)]
pub struct PatientStore {
    store: Arc<dyn ObjectStore>,
    /// The same for objects that are sent in parts: one part cannot be sent again from here, so the client has to be patient itself.
    uploads: Arc<dyn ObjectStore>,
    patience: Patience,
}

impl PatientStore {
    /// `uploads` is the same storage by a client that repeats the requests of an upload itself.
    pub fn new(store: Arc<dyn ObjectStore>, uploads: Arc<dyn ObjectStore>, patience: Patience) -> Self {
        PatientStore { store, uploads, patience }
    }

    /// What a listing gives, all of it.
    fn listed(
        &self,
        list: impl Fn(&dyn ObjectStore) -> BoxStream<'static, Result<ObjectMeta>> + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let Self { store, patience, .. } = self.clone();
        let all = async move {
            let all = until_answered(&patience, || list(store.as_ref()).try_collect::<Vec<_>>()).await?;
            Ok::<_, object_store::Error>(stream::iter(all.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }
}

impl fmt::Display for PatientStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for PatientStore {
    async fn put_opts(&self, path: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = || self.store.put_opts(path, content.clone(), options.clone());
        until_answered(&self.patience, put).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let begin = || self.uploads.put_multipart_opts(path, options.clone());
        until_answered(&self.patience, begin).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let get = async || whole(self.store.get_opts(path, options.clone()).await?).await;
        until_answered(&self.patience, get).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        until_answered(&self.patience, || self.store.get_ranges(path, ranges)).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let Self { store, patience, .. } = self.clone();
        let delete = move |path: Path| {
            let (store, patience) = (Arc::clone(&store), patience.clone());
            async move { until_answered(&patience, || store.delete(&path)).await.map(|()| path) }
        };
        paths.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.listed(move |store| store.list(prefix.as_ref()))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        self.listed(move |store| store.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        until_answered(&self.patience, || self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        until_answered(&self.patience, || self.store.copy_opts(from, to, options.clone())).await
    }
}

/// An object with its content at hand: a connection that breaks on the way is then part of the request.
async fn whole(found: GetResult) -> Result<GetResult> {
    if matches!(found.payload, GetResultPayload::File(..)) {
        return Ok(found);
    }
    let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
    let content = found.bytes().await?;
    let payload = GetResultPayload::Stream(stream::once(future::ready(Ok(content))).boxed());
    Ok(GetResult { payload, meta, range, attributes })
}

#[cfg(test)]
mod tests;
