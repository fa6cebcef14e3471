//! The files sink on a local disk, in an object store, and on a storage that fails.

mod faults;
mod formats;

use super::{FilesCommitter, FilesSink, FilesSinkConfig, storage};
use crate::sink::conformance::{self, SinkUnderTest};
use arrow::{array::AsArray, array::RecordBatch, datatypes::Int64Type};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;
use storage::{LocalFolder, ObjectFolder, Storage};
use tempfile::TempDir;
use weir_engine::operator::{Committer, OperatorContext, Sink};

/// A folder to write to, and a way to read what is in it.
pub(super) struct Target {
    pub storage: Arc<dyn Storage>,
    pub reader: Reader,
    pub config: FilesSinkConfig,
}

pub(super) enum Reader {
    Local(TempDir),
    Memory(Arc<InMemory>),
}

impl Target {
    pub fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The folder itself is made by the sink.
        let path = folder.path().join("out/counts");
        Target {
            storage: Arc::new(LocalFolder::new(path.clone())),
            reader: Reader::Local(folder),
            config: FilesSinkConfig::at(path.to_str().unwrap()),
        }
    }

    pub fn memory() -> Self {
        let store = Arc::new(InMemory::new());
        let folder =
            ObjectFolder::new(Arc::clone(&store) as Arc<dyn ObjectStore>, "out/counts", "memory://test/out/counts");
        Target {
            storage: Arc::new(folder.unwrap()),
            reader: Reader::Memory(store),
            config: FilesSinkConfig::at("memory://test/out/counts"),
        }
    }

    /// Names of all files that are results by their names, relative to the sink's folder.
    pub async fn results(&self) -> Vec<String> {
        let all = self.storage.list("").await.unwrap();
        all.into_iter().filter(|path| path.ends_with(".parquet")).collect()
    }

    pub async fn bytes(&self, path: &str) -> Bytes {
        match &self.reader {
            Reader::Local(folder) => std::fs::read(folder.path().join("out/counts").join(path)).unwrap().into(),
            Reader::Memory(store) => {
                let path = Path::from(format!("out/counts/{path}"));
                store.get(&path).await.unwrap().bytes().await.unwrap()
            }
        }
    }

    /// All rows of a result; fails where a file is not whole.
    pub async fn read(&self, path: &str) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.bytes(path).await).unwrap().build().unwrap();
        reader.map(|batch| batch.unwrap()).collect()
    }
}

impl SinkUnderTest for Target {
    fn sink(&self, context: &OperatorContext) -> Box<dyn Sink> {
        Box::new(FilesSink::new(self.config.clone(), Arc::clone(&self.storage), context))
    }

    fn committer(&self, job: &str, sink: &str) -> Arc<dyn Committer> {
        Arc::new(FilesCommitter::new(Arc::clone(&self.storage), job, sink, &weir_engine::env::Env::default()))
    }

    fn visible(&self) -> BoxFuture<'_, Vec<i64>> {
        async {
            let mut numbers = Vec::new();
            for path in self.results().await {
                for batch in self.read(&path).await {
                    numbers.extend(batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values());
                }
            }
            numbers
        }
        .boxed()
    }

    fn leftovers(&self) -> BoxFuture<'_, usize> {
        async { self.storage.list("_staging").await.unwrap().len() }.boxed()
    }
}

#[tokio::test]
async fn a_local_folder_keeps_the_contract() {
    conformance::check_all(Target::local).await;
}

#[tokio::test]
async fn an_object_store_keeps_the_contract() {
    conformance::check_all(Target::memory).await;
}

#[tokio::test]
async fn hourly_folders_keep_the_contract() {
    conformance::check_all(|| {
        let mut target = Target::local();
        target.config.partition_by = super::config::PartitionBy::Hour;
        target.config.partition_column = Some("time".into());
        target
    })
    .await;
}

#[tokio::test]
async fn compressed_files_keep_the_contract() {
    conformance::check_all(|| {
        let mut target = Target::memory();
        target.config.compression = super::config::Compression::Zstd;
        target
    })
    .await;
}
