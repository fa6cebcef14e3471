//! A record that kills its operator each time: the job ends in FAILED and names the record, where it is and what it does, after
//! a few restarts; whatever the operator, on whatever worker.

use std::{fmt::Write, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};
use weir_engine::{
    Result,
    checkpoint::CheckpointStore,
    element::{Barrier, Batch},
    env::Env,
    graph::Node,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source},
    state::Snapshot,
};
use weir_jobs::{CompileOptions, load};
use weir_local::{OneProcess, Settings, Submission};
use weir_operators::Registry;

/// Builds operators of one kind so that a certain user's click kills them.
struct Poisoned {
    kind: &'static str,
    panics: bool,
}

struct Victim {
    inner: Box<dyn Operator>,
    panics: bool,
}

impl Operator for Victim {
    fn process(&mut self, input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        // Whatever the columns are by now: the user's name or the ad's is among them.
        let rows =
            arrow::util::pretty::pretty_format_batches(std::slice::from_ref(&batch.columns)).unwrap().to_string();
        if rows.contains("poison") {
            assert!(!self.panics, "a poisoned click");
            return Err(weir_engine::EngineError::internal("a poisoned click"));
        }
        self.inner.process(input, batch, out)
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.inner.watermark(watermark, out)
    }

    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        self.inner.prepare_snapshot(barrier, out)
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Snapshot> {
        self.inner.snapshot(checkpoint)
    }

    fn restore(&mut self, segment: &str, rows: &arrow::array::RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        self.inner.restore(segment, rows, key_groups)
    }
}

impl Factory for Poisoned {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        Registry.source(node, context)
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        let inner = Registry.operator(node, context)?;
        Ok(if node.kind == self.kind { Box::new(Victim { inner, panics: self.panics }) } else { inner })
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        Registry.sink(node, context)
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        Registry.committer(node, context)
    }
}

const CLICKS: usize = 5_000;

/// Writes so many files; in which of them the poisoned line is, and where it begins.
fn write_clicks(folder: &Path, files: usize) -> (String, usize) {
    let (mut lines, mut poisoned) = (String::new(), Default::default());
    for click in 0..CLICKS {
        let name = format!("{}.log", click * files / CLICKS);
        if click == 3_456 {
            poisoned = (name.clone(), lines.len());
            lines.push_str("[AdClickEvent] ad-poison, 2022-03-04 00:00:07, user poison, 1.2.3.4, USA\n");
        }
        let (ad, second) = (click % 50, click / 100);
        writeln!(lines, "[AdClickEvent] ad{ad:03}, 2022-03-04 00:00:{second:02}, user {click}, 1.2.3.4, USA").unwrap();
        if (click + 1) % (CLICKS / files) == 0 {
            std::fs::write(folder.join(name), std::mem::take(&mut lines)).unwrap();
        }
    }
    poisoned
}

/// How a job ended.
struct Ended {
    cause: String,
    restarts: usize,
    /// In which file the poisoned line is, and where it begins.
    poisoned: (String, usize),
}

async fn run_poisoned(kind: &'static str, panics: bool, files: usize) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let clicks = folder.path().join("clicks");
    std::fs::create_dir(&clicks).unwrap();
    let poisoned = write_clicks(&clicks, files);
    let mut settings = vec![format!("source.clicks.path={}", clicks.display())];
    for sink in ["counts", "top_ads", "late", "dead_letters", "raw"] {
        settings.push(format!("sink.{sink}.path={}", folder.path().join(sink).display()));
    }
    let definition = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs/ad_click.toml"));
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let job = load(definition, &settings, &options).unwrap();

    let storage = format!("file://{}", folder.path().join("storage").display());
    let store = CheckpointStore::open(&storage, &job.graph.name).unwrap();
    let settings = Settings {
        workers: NonZeroUsize::new(2).unwrap(),
        restarts: 10,
        first_backoff: Duration::from_millis(10),
        channel_bytes: 1 << 16,
        ..Settings::new(job.graph, store, Env::seeded(1), Arc::new(Poisoned { kind, panics }))
    };
    let process = OneProcess::start(settings).await.unwrap();
    let (notices, mut told) = tokio::sync::mpsc::unbounded_channel();
    let running = process.run(Submission { notices, ..Submission::new("test") });
    let ended = tokio::time::timeout(Duration::from_secs(120), running).await.expect("not in an endless loop");
    let mut restarts = 0;
    while told.try_recv().is_ok() {
        restarts += 1;
    }
    Ended { cause: ended.unwrap_err().to_string(), restarts, poisoned }
}

fn check(ended: &Ended) {
    let Ended { cause, restarts, poisoned: (file, at) } = ended;
    assert!(cause.contains("the same record each time"), "{cause}");
    assert!(
        cause.contains(&format!("offset {at} of")) && cause.contains(&format!("/{file}'")),
        "{file} at {at}: {cause}"
    );
    assert!(cause.contains("a poisoned click"), "{cause}");
    assert!((1..=3).contains(restarts), "{restarts} restarts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_record_is_named_by_an_operator_beside_its_source() {
    let ended = run_poisoned("map", false, 1).await;
    check(&ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_record_is_named_though_its_operator_panics_on_another_worker() {
    let ended = run_poisoned("dedup", true, 1).await;
    check(&ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_record_is_named_though_rows_of_many_small_files_were_one_batch() {
    let ended = run_poisoned("dedup", false, 100).await;
    check(&ended);
}
