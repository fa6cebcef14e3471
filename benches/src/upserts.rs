//! How many upserts a second a SQL sink holds: running counts of a Zipf stream of clicks, as an aggregate emits them with every
//! checkpoint, through both phases of the sink, into a table of ads and minutes.
//!
//! A transaction has the counts of so many ads that changed since the one before; the hot ones change every time. Now and then
//! a minute ends, and the next one's rows are all new. Clicks are made up between the measurements, not within them.

use crate::counts_table::{Committed, CountsTable, LEAST_LISTED, counts_batch, running_revision};
use anyhow::Result;
use clap::Args;
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use serde_json::json;
use std::{collections::HashMap, path::PathBuf, time::Duration};
use weir_engine::element::Batch;

/// Arguments of `weir-bench upserts`.
#[derive(Debug, Args)]
pub struct UpsertsArguments {
    /// The database: sqlite:FILE, or postgres://… [default: a SQLite file below the cache]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ads
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    ads: u64,
    /// Skew of the clicks: 0 is even, 1 is Zipf's own
    #[arg(long, value_name = "S", default_value_t = 0.9)]
    skew: f64,
    /// Rows of a transaction
    #[arg(long, value_name = "N", default_value_t = 40_000)]
    rows: usize,
    /// Transactions
    #[arg(long, value_name = "N", default_value_t = 240)]
    transactions: u64,
    /// Transactions until a minute ends
    #[arg(long, value_name = "N", default_value_t = 120)]
    per_minute: u64,
    /// From which count on there is an index of the most clicked ads
    #[arg(long, value_name = "N", default_value_t = LEAST_LISTED)]
    least_listed: u32,
    /// Where the file and what is staged go [default: target/bench-data]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Measures.
///
/// # Errors
/// When the database refuses.
pub fn upserts(arguments: &UpsertsArguments) -> Result<()> {
    let cache = arguments.cache.clone().unwrap_or_else(|| PathBuf::from("target/bench-data"));
    std::fs::create_dir_all(&cache)?;
    let folder = cache.canonicalize()?.join(format!("upserts-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let url = arguments.url.clone().unwrap_or_else(|| format!("sqlite:{}/store.sqlite", folder.display()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = runtime.block_on(measure(arguments, &folder, &url));
    let bytes = std::fs::metadata(folder.join("store.sqlite")).map_or(0, |file| file.len());
    std::fs::remove_dir_all(&folder)?;
    report(arguments, &measured?, bytes);
    Ok(())
}

async fn measure(arguments: &UpsertsArguments, folder: &std::path::Path, url: &str) -> Result<Vec<Committed>> {
    let mut table = CountsTable::open(url, folder, arguments.least_listed, json!({})).await?;
    table.begin_anew().await?;
    let mut clicks = Clicks::new(arguments)?;
    let mut transactions = Vec::new();
    for number in 1..=arguments.transactions {
        transactions.push(table.commit(number, clicks.next(number)?).await?);
    }
    Ok(transactions)
}

/// Running counts of clicks that are made up.
struct Clicks {
    zipf: Zipf<f64>,
    dice: StdRng,
    counts: HashMap<u64, i64>,
    minute: i64,
    rows: usize,
    per_minute: u64,
}

impl Clicks {
    fn new(arguments: &UpsertsArguments) -> Result<Self> {
        Ok(Clicks {
            zipf: Zipf::new(arguments.ads as f64, arguments.skew)?,
            dice: StdRng::seed_from_u64(1),
            counts: HashMap::new(),
            minute: 1_646_352_000_000,
            rows: arguments.rows.min(usize::try_from(arguments.ads)?),
            per_minute: arguments.per_minute,
        })
    }

    /// The counts of the ads that were clicked in one transaction's time.
    fn next(&mut self, number: u64) -> Result<Batch> {
        if number.is_multiple_of(self.per_minute) {
            self.counts.clear();
            self.minute += 60_000;
        }
        let mut changed = HashMap::with_capacity(self.rows);
        while changed.len() < self.rows {
            let ad = self.zipf.sample(&mut self.dice) as u64;
            let count = self.counts.entry(ad).or_default();
            *count += 1;
            changed.insert(ad, *count);
        }
        let rows = changed.into_iter().map(|(ad, count)| ("0000", format!("ad{ad:07}"), count));
        counts_batch(self.minute, running_revision(number), rows)
    }
}

fn report(arguments: &UpsertsArguments, transactions: &[Committed], bytes: u64) {
    let milliseconds = |of: fn(&Committed) -> Duration, share: f64| {
        let mut all: Vec<f64> = transactions.iter().map(|one| of(one).as_secs_f64() * 1e3).collect();
        all.sort_by(f64::total_cmp);
        all.get(((all.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0.0)
    };
    let rows = transactions.len() as f64 * arguments.rows as f64;
    let committing: f64 = transactions.iter().map(|one| one.commit.as_secs_f64()).sum();
    let stage = [0.5, 0.99].map(|share| milliseconds(|one| one.stage, share));
    let commit = [0.5, 0.99, 1.0].map(|share| milliseconds(|one| one.commit, share));
    if arguments.json {
        let measured = json!({
            "ads": arguments.ads, "rows": arguments.rows, "transactions": transactions.len(),
            "upserts_per_second": rows / committing, "stage_ms": { "p50": stage[0], "p99": stage[1] },
            "commit_ms": { "p50": commit[0], "p99": commit[1], "max": commit[2] }, "database_bytes": bytes,
        });
        println!("{measured}");
        return;
    }
    println!("{} transactions of {} rows, {} ads", transactions.len(), arguments.rows, arguments.ads);
    println!("upserts a second   {:>10.0}", rows / committing);
    println!("commit             {:>7.1} ms p50, {:.1} ms p99, {:.1} ms at most", commit[0], commit[1], commit[2]);
    println!("stage              {:>7.1} ms p50, {:.1} ms p99", stage[0], stage[1]);
    println!("database           {:>7.1} MB", bytes as f64 / 1e6);
}
