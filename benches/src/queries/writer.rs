//! Writes as the job does while it is read: each half second the running counts that have changed, in one transaction.

use super::fill::{Clicks, FILTERS, FillArguments, MINUTE_MS, START_MS, ad_id, execute};
use crate::{child, latencies::Latencies};
use anyhow::{Context, Result, anyhow};
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use std::{
    collections::BTreeMap,
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
/// Rows of a statement.
const CHUNK: usize = 500;

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// How long a transaction took.
    pub commits: Latencies,
    /// From the first to the last.
    pub seconds: f64,
}

/// Writes from a thread of its own until it is told to end.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Written>>>,
}

impl Writer {
    /// Begins with the minute behind those that are there.
    pub fn begin(url: &str, arguments: &FillArguments) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, url, arguments) = (stop.clone(), url.to_string(), arguments.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(write(&url, &arguments, &stopped))
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

async fn write(url: &str, arguments: &FillArguments, stop: &AtomicBool) -> Result<Written> {
    let mut store = AnyConnection::connect(url).await.context("the writer has no store")?;
    for pragma in ["journal_mode = WAL", "synchronous = FULL", "busy_timeout = 60000"] {
        execute(&mut store, &format!("PRAGMA {pragma}")).await?;
    }
    let mut clicks = Clicks::new(arguments, 2)?;
    let (begun, mut written, mut number) = (child::now(), Written::default(), 0);
    let mut counts: BTreeMap<(usize, usize), i64> = BTreeMap::new();
    while !stop.load(Ordering::SeqCst) {
        if number % PER_MINUTE == 0 {
            counts.clear();
        }
        let mut changed: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        for _ in 0..arguments.rate * INTERVAL.as_millis() as u64 / 1_000 {
            let (ad, matches) = clicks.click();
            for filter in 0..=usize::from(matches) {
                let count = counts.entry((filter, ad)).or_default();
                *count += 1;
                changed.insert((filter, ad), *count);
            }
        }
        let minute_ms = START_MS + (arguments.minutes + number / PER_MINUTE) as i64 * MINUTE_MS;
        let began = child::now();
        commit(&mut store, minute_ms, number as i64 + 2, changed).await.map(|rows| written.rows += rows)?;
        written.commits.add((child::now() - began).as_secs_f64() * 1e3);
        number += 1;
        child::pause((begun + INTERVAL * number as u32).saturating_duration_since(child::now()));
    }
    written.seconds = (child::now() - begun).as_secs_f64();
    Ok(written)
}

/// One transaction of a checkpoint: the rows, the higher revision wins, and the mark.
async fn commit(
    store: &mut AnyConnection,
    minute_ms: i64,
    checkpoint: i64,
    changed: BTreeMap<(usize, usize), i64>,
) -> Result<u64> {
    let revision = i64::from(i32::MIN) + checkpoint;
    let rows: Vec<((usize, usize), i64)> = changed.into_iter().collect();
    execute(store, "BEGIN IMMEDIATE").await?;
    for chunk in rows.chunks(CHUNK) {
        let row = |place: usize| format!("($1, ${}, ${}, ${}, $2)", 3 * place + 3, 3 * place + 4, 3 * place + 5);
        let values: Vec<String> = (0..chunk.len()).map(row).collect();
        let sql = format!(
            "INSERT INTO ad_counts (click_minute, filter_id, ad_id, count, revision) VALUES {} \
             ON CONFLICT (click_minute, filter_id, ad_id) DO UPDATE SET count = excluded.count, \
             revision = excluded.revision WHERE excluded.revision > ad_counts.revision",
            values.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(minute_ms).bind(revision);
        for ((filter, ad), count) in chunk {
            query = query.bind(FILTERS[*filter]).bind(ad_id(*ad)).bind(*count);
        }
        query.execute(&mut *store).await?;
    }
    let now_ms = child::wall_clock_ms();
    let mark =
        format!("UPDATE weir_sinks SET checkpoint = {checkpoint}, staged_at_ms = {now_ms}, committed_at_ms = {now_ms}");
    execute(store, &mark).await?;
    execute(store, "COMMIT").await?;
    Ok(rows.len() as u64)
}
