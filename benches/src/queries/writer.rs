//! Writes as the job does while it is read: each half second the running counts that have changed, through the SQL sink.

use super::fill::{self, Clicks, FILTERS, FillArguments, MINUTE_MS, START_MS, ad_id};
use crate::{
    child,
    counts_table::{CountsTable, LEAST_LISTED, counts_batch, running_revision},
    latencies::Latencies,
};
use anyhow::{Context, Result, anyhow, ensure};
use sqlx::{AnyConnection, Connection};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// From one commit to the next.
const INTERVAL: Duration = Duration::from_millis(500);
/// Commits of a minute.
const PER_MINUTE: u64 = 120;

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// How long a transaction took.
    pub commits: Latencies,
    /// The most bytes that SQLite's write-ahead log had.
    pub longest_log: u64,
    /// From the first to the last.
    pub seconds: f64,
}

/// Writes from a thread of its own until it is told to end.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Written>>>,
}

impl Writer {
    /// Begins with the minute behind those that are in the file; rows are staged beside it.
    pub fn begin(file: &Path, arguments: &FillArguments) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, file, arguments) = (stop.clone(), file.to_path_buf(), arguments.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(write(&file, &arguments, &stopped))
        });
        Writer { stop, thread: Some(thread) }
    }

    /// Ends it.
    pub fn end(mut self) -> Result<Written> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("ended before")?;
        thread.join().map_err(|_| anyhow!("the writer panicked"))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // What is measured has failed already.
            let _ = thread.join();
        }
    }
}

async fn write(file: &Path, arguments: &FillArguments, stop: &AtomicBool) -> Result<Written> {
    let (url, log) = (format!("sqlite:{}", file.display()), format!("{}-wal", file.display()));
    let folder = file.parent().context("the store is in no folder")?;
    let mut table = CountsTable::open(&url, folder, LEAST_LISTED, fill::description()).await?;
    take_over(&url, &table).await?;
    let mut clicks = Clicks::new(arguments, 2)?;
    let (begun, mut written, mut number) = (child::now(), Written::default(), 0);
    let mut counts: HashMap<(usize, usize), i64> = HashMap::new();
    while !stop.load(Ordering::SeqCst) {
        if number % PER_MINUTE == 0 {
            counts.clear();
        }
        let mut changed: HashMap<(usize, usize), i64> = HashMap::new();
        for _ in 0..arguments.rate * INTERVAL.as_millis() as u64 / 1_000 {
            let (ad, matches) = clicks.click();
            for filter in 0..=usize::from(matches) {
                let count = counts.entry((filter, ad)).or_default();
                *count += 1;
                changed.insert((filter, ad), *count);
            }
        }
        let minute_ms = START_MS + (arguments.minutes + number / PER_MINUTE) as i64 * MINUTE_MS;
        let (checkpoint, rows) = (number + 2, changed.len() as u64);
        let changed = changed.into_iter().map(|((filter, ad), count)| (FILTERS[filter], ad_id(ad), count));
        let batch = counts_batch(minute_ms, running_revision(checkpoint), changed)?;
        let committed = table.commit(checkpoint, batch).await?;
        written.rows += rows;
        written.longest_log = written.longest_log.max(std::fs::metadata(&log)?.len());
        written.commits.add(committed.commit.as_secs_f64() * 1e3);
        number += 1;
        child::pause((begun + INTERVAL * number as u32).saturating_duration_since(child::now()));
    }
    written.seconds = (child::now() - begun).as_secs_f64();
    Ok(written)
}

/// The store was filled by nobody's checkpoints: from now on by these.
async fn take_over(url: &str, table: &CountsTable) -> Result<()> {
    let mut store = AnyConnection::connect(url).await.context("the writer has no store")?;
    let owned = sqlx::query("UPDATE weir_sinks SET owner = $1").bind(table.owner().await?).execute(&mut store).await?;
    ensure!(owned.rows_affected() == 2, "the store has {} sinks", owned.rows_affected());
    store.close().await?;
    table.prepare().await
}
