//! The files sink on a local disk, in an object store, and on a storage that fails.

mod faults;
mod formats;
mod owners;

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
use weir_engine::{
    checkpoint::{CheckpointStore, Staging},
    env::Env,
    ids::Lineage,
    operator::{Committer, CommitterContext, OperatorContext, Sink},
};

/// A folder to write to, and a way to read what is in it.
pub(super) struct Target {
    pub storage: Arc<dyn Storage>,
    pub reader: Reader,
    pub config: FilesSinkConfig,
    /// Of the checkpoints.
    pub store: CheckpointStore,
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
            store: checkpoints(),
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
            store: checkpoints(),
        }
    }

    /// The same folder, for a run whose checkpoints lie elsewhere.
    pub fn elsewhere(self) -> Self {
        Target { store: checkpoints(), ..self }
    }

    /// The same, in the lineage that a start-over by this attempt begins.
    pub fn in_lineage(self, lineage: u64) -> Self {
        Target { store: self.store.in_lineage(Lineage(lineage)), ..self }
    }

    pub fn committer_context(&self, job: &str, sink: &str) -> CommitterContext {
        CommitterContext { staging: Staging::new(self.store.clone(), sink), ..CommitterContext::single(job, sink) }
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

/// A checkpoint storage of its own, in the nameless lineage.
fn checkpoints() -> CheckpointStore {
    let store = CheckpointStore::in_memory(conformance::JOB);
    store.claim_attempt(&Env::from_entropy()).now_or_never().unwrap().unwrap();
    store.in_lineage(Lineage::NAMELESS)
}

impl SinkUnderTest for Target {
    fn sink(&self, context: &OperatorContext) -> Box<dyn Sink> {
        let staging = Staging::new(self.store.clone(), &context.operator);
        let context = OperatorContext { staging, ..context.clone() };
        Box::new(FilesSink::new(self.config.clone(), Arc::clone(&self.storage), &context))
    }

    fn committer(&self, job: &str, sink: &str) -> Arc<dyn Committer> {
        Arc::new(FilesCommitter::new(Arc::clone(&self.storage), &self.committer_context(job, sink)))
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
