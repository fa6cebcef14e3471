//! A storage that does not tell lineages apart: as if their names were not in the paths of checkpoints. What was completed
//! before a start-over, however late it comes, is taken for a checkpoint of whoever asks.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use std::{collections::BTreeMap, fmt, sync::Arc};
use weir_engine::{checkpoint::Manifest, ids::Lineage};

/// Over a storage that is right.
#[derive(Debug)]
pub struct BlindStore {
    inner: Arc<dyn ObjectStore>,
}

/// A manifest's place: of all checkpoints of its job, its lineage, and its own name.
struct Place {
    checkpoints: Path,
    lineage: u64,
    name: String,
}

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
        let [before @ .., folder, lineage, name] = parts.as_slice() else { return None };
        let lineage = lineage.parse().ok().filter(|_| folder == "checkpoints" && name.ends_with(".json"))?;
        let checkpoints = Path::from_iter(before.iter().chain([folder]).map(String::as_str));
        Some(Place { checkpoints, lineage, name: name.clone() })
    }
}

impl BlindStore {
    /// Over this one.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(BlindStore { inner })
    }

    /// The manifest of that name of an older lineage, as one of this lineage.
    async fn of_an_older_lineage(&self, wanted: &Place) -> Result<Option<Bytes>> {
        let all: Vec<ObjectMeta> = self.inner.list(Some(&wanted.checkpoints)).try_collect().await?;
        for object in all {
            let is_it = |found: &Place| found.name == wanted.name && found.lineage < wanted.lineage;
            if Place::of(&object.location).is_some_and(|found| is_it(&found)) {
                let content = self.inner.get(&object.location).await?.bytes().await?;
                return Ok(in_lineage(&content, wanted.lineage));
            }
        }
        Ok(None)
    }
}

fn in_lineage(manifest: &[u8], lineage: u64) -> Option<Bytes> {
    let manifest = Manifest::from_bytes(manifest, "a manifest").ok()?;
    Manifest { lineage: Lineage(lineage), ..manifest }.to_bytes().ok().map(Bytes::from)
}

impl fmt::Display for BlindStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for BlindStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.get_opts(path, options.clone()).await;
        let (Err(Error::NotFound { .. }), Some(wanted)) = (&found, Place::of(path)) else { return found };
        let Some(content) = self.of_an_older_lineage(&wanted).await? else { return found };
        let answer = InMemory::new();
        answer.put(path, content.into()).await?;
        answer.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    /// Of a lineage's folder: its own, and manifests of older ones under names of its own.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let manifest = prefix.map(|prefix| prefix.clone().join("0.json"));
        let (Some(own), Some(folder)) = (manifest.and_then(|path| Place::of(&path)), prefix.cloned()) else {
            return self.inner.list(prefix);
        };
        let inner = self.inner.clone();
        let listed = async move {
            let mut found: BTreeMap<Path, ObjectMeta> = BTreeMap::new();
            let all: Vec<ObjectMeta> = match inner.list(Some(&own.checkpoints)).try_collect().await {
                Ok(all) => all,
                Err(error) => return vec![Err(error)],
            };
            for object in all {
                let older = Place::of(&object.location).filter(|place| place.lineage < own.lineage);
                let location = match older {
                    Some(place) => folder.clone().join(place.name),
                    None if object.location.prefix_matches(&folder) => object.location.clone(),
                    None => continue,
                };
                found.entry(location.clone()).or_insert(ObjectMeta { location, ..object });
            }
            found.into_values().map(Ok).collect()
        };
        futures::stream::once(listed).flat_map(futures::stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
