//! Runs a compiled job as `weir run` does, and reads what its sinks wrote.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_engine::checkpoint::CheckpointStore;
use weir_engine::env::Env;
use weir_engine::task::{RunOutcome, StopSignal};
use weir_jobs::Job;
use weir_local::{Settings, Submission, run};
use weir_operators::Registry;

/// Runs a bounded job to its end.
#[allow(dead_code, reason = "every test file takes what it needs of this one")]
pub fn execute(job: Job, checkpoints: &Path) -> RunOutcome {
    execute_until(job, checkpoints, |_| std::future::pending())
}

/// Runs a job until it ends, or until `asked` has asked it to stop.
#[allow(dead_code, reason = "every test file takes what it needs of this one")]
pub fn execute_until<F: Future<Output = ()>>(
    job: Job,
    checkpoints: &Path,
    asked: impl FnOnce(StopSignal) -> F,
) -> RunOutcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let url = format!("file://{}", checkpoints.display());
    let store = CheckpointStore::open(&url, &job.graph.name).unwrap();
    let settings = Settings::new(job.graph, store, Env::default(), Arc::new(Registry));
    let stop = StopSignal::default();
    let running = run(settings, Submission::new("test"), stop.clone());
    let outcome = runtime.block_on(async {
        tokio::pin!(running);
        tokio::select! {
            outcome = &mut running => outcome,
            () = asked(stop) => running.await,
        }
    });
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

/// All rows that were committed below a folder.
#[allow(dead_code, reason = "every test file takes what it needs of this one")]
pub fn rows(folder: &Path) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']));
        if path.is_dir() && !hidden {
            batches.extend(rows(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            let file = std::fs::File::open(path).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            batches.extend(reader.map(|batch| batch.unwrap()));
        }
    }
    batches
}
