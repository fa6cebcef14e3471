//! The files sink on a local disk, in an object store, and on a storage that fails.

mod avro;
mod faults;
mod formats;
mod owners;
mod retention;
mod text;

use super::{Compression, FileFormat, FilesCommitter, FilesSink, FilesSinkConfig, storage};
use crate::{
    format::avro::AvroSettings,
    schema::ColumnSchema,
    sink::conformance::{self, SinkUnderTest},
};
use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray},
    datatypes::Int64Type,
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{path::PathBuf, sync::Arc};
use storage::{LocalFolder, ObjectFolder, Storage};
use tempfile::TempDir;
use weir_engine::{
    checkpoint::{CheckpointStore, Staging},
    element::{Barrier, Batch},
    env::Env,
    ids::{CheckpointId, Lineage},
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
            storage: Arc::new(LocalFolder::new(path.clone(), None)),
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

    /// With files of another format.
    pub fn with(mut self, format: FileFormat, compression: Compression) -> Self {
        (self.config.format, self.config.compression) = (format, compression);
        if format == FileFormat::Avro {
            self = self.for_rows(&conformance::rows(0..1).columns);
        }
        self
    }

    /// With a schema of Avro that follows from the columns of rows.
    pub fn for_rows(mut self, rows: &RecordBatch) -> Self {
        let columns = ColumnSchema::from(rows.schema_ref().as_ref());
        self.config.schema = AvroSettings::default().for_columns("row", &columns);
        self
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
        let endings = [".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst", ".avro"];
        all.into_iter().filter(|path| endings.iter().any(|ending| path.ends_with(ending))).collect()
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
                if path.ends_with(".avro") {
                    numbers.extend(avro::numbers(&self.bytes(&path).await));
                    continue;
                }
                if !path.ends_with(".parquet") {
                    numbers.extend(text::numbers(&path, &self.bytes(&path).await));
                    continue;
                }
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
    conformance::check_all(|| hourly(Target::local())).await;
}

#[tokio::test]
async fn compressed_files_keep_the_contract() {
    conformance::check_all(|| {
        let mut target = Target::memory();
        target.config.compression = Compression::Zstd;
        target
    })
    .await;
}

#[tokio::test]
async fn files_of_text_keep_the_contract() {
    for (format, compression) in [
        (FileFormat::Json, Compression::None),
        (FileFormat::Json, Compression::Zstd),
        (FileFormat::Csv, Compression::None),
        (FileFormat::Csv, Compression::Gzip),
    ] {
        conformance::check_all(|| hourly(Target::memory()).with(format, compression)).await;
    }
    conformance::check_all(|| Target::local().with(FileFormat::Json, Compression::Gzip)).await;
}

#[tokio::test]
async fn files_of_avro_keep_the_contract() {
    conformance::check_all(|| Target::local().with(FileFormat::Avro, Compression::None)).await;
    conformance::check_all(|| hourly(Target::memory()).with(FileFormat::Avro, Compression::Zstd)).await;
}

/// The folders below the sink's own, without those that have files in them.
fn empty_folders(target: &Target) -> Vec<PathBuf> {
    let Reader::Local(folder) = &target.reader else { unreachable!("a local target") };
    let (mut empty, mut folders) = (Vec::new(), vec![folder.path().join("out/counts")]);
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.extend(entries.iter().filter(|path| path.is_dir()).cloned());
        if entries.is_empty() {
            empty.push(folder);
        }
    }
    empty
}

fn hourly(mut target: Target) -> Target {
    target.config.partition_by = super::config::PartitionBy::Hour;
    target.config.partition_column = Some("time".into());
    target
}

#[tokio::test]
async fn no_empty_folder_is_left_when_an_attempt_ends_or_all_is_forgotten() {
    let target = hourly(Target::local());
    let mut subtasks = [0, 1].map(|subtask| target.sink(&conformance::context(1, subtask)));
    let committer = target.committer(conformance::JOB, conformance::SINK);
    for (number, last) in [(1, false), (2, true)] {
        let checkpoint = CheckpointId(number);
        let mut staged = Vec::new();
        for (subtask, sink) in (0..).zip(&mut subtasks) {
            // Nothing comes to the second one before the last checkpoint.
            if subtask == 0 && !last {
                sink.write(conformance::rows(subtask * 100..subtask * 100 + 100)).await.unwrap();
            }
            staged.extend(sink.stage(Barrier { checkpoint, last }).await.unwrap());
        }
        assert!(!staged.is_empty());
        committer.commit(checkpoint, &staged).await.unwrap();
        committer.commit(checkpoint, &staged).await.expect("it may be repeated");
    }
    assert_eq!(conformance::visible(&target).await, conformance::numbers(0..100));
    assert_eq!(empty_folders(&target), Vec::<PathBuf>::new());
    assert!(!target.storage.list("").await.unwrap().iter().any(|path| path.starts_with("_staging")));
    assert_eq!(committer.reset(Lineage(2)).await.unwrap(), 2);
    assert_eq!(empty_folders(&target), Vec::<PathBuf>::new(), "the sink's own says whose it is");
}

/// Whatever the times are, each row is in a folder below the sink's own.
#[tokio::test]
async fn rows_with_odd_times_have_a_folder_like_all_others() {
    const HOUR: i64 = 3_600_000;
    let times =
        [None, Some(i64::MIN), Some(i64::MAX), Some(-1), Some(0), Some(253_402_300_800_000), Some(-62_200_000 * HOUR)];
    for target in [hourly(Target::local()), hourly(Target::memory())] {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..times.len() as i64));
        let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC"));
        let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, false), ("time", column, true)]).unwrap();
        let mut sink = target.sink(&conformance::context(1, 0));
        sink.write(Batch::new(rows)).await.unwrap();
        let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
        let committer = target.committer(conformance::JOB, conformance::SINK);
        committer.commit(CheckpointId(1), &staged).await.unwrap();
        assert_eq!(conformance::visible(&target).await, conformance::numbers(0..times.len() as i64));
        let results = target.results().await;
        assert_eq!(results.len(), times.len(), "{results:?}");
        for path in results {
            let parts: Vec<&str> = path.split('/').collect();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+');
            let hour = parts[0].strip_prefix("hour=");
            assert!(parts.len() == 2 && hour.is_some_and(|hour| hour.chars().all(plain)), "{path}");
        }
    }
}
