//! A SQLite store as the shipped job leaves it after some minutes of clicks, made without the job: for every minute the counts
//! of its ads under both filters, and the lists of the most clicked ads of five minutes.
//!
//! Invariant: ad ids have as many digits as there are, so that their order as texts is their order as numbers.

use crate::counts_table::LEAST_LISTED;
use anyhow::{Context, Result};
use clap::Args;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use std::collections::VecDeque;

/// 2022-03-04 00:00 UTC: the first minute, in milliseconds.
pub const START_MS: i64 = 1_646_352_000_000;
/// A minute, in milliseconds.
pub const MINUTE_MS: i64 = 60_000;
/// The filters, as the shipped job has them: all clicks, and those of one country.
pub const FILTERS: [&str; 2] = ["0000", "0012"];
/// Minutes of a window that the job names.
pub const NAMED_MINUTES: usize = 5;
/// Ads of a list.
pub const LISTED: usize = 100;
/// One of so many clicks matches the second filter.
const ONE_IN: u32 = 3;
/// Rows of a statement.
const CHUNK: usize = 1_000;

/// What is in the store.
#[derive(Clone, Debug, Args)]
pub struct FillArguments {
    /// Minutes of clicks that are in the store
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub minutes: u64,
    /// Clicks a second that were made, and that the writer goes on with
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub rate: u64,
    /// Ads
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=9_999_999))]
    pub ads: u64,
    /// Skew of the clicks: 0 is even, 1 is Zipf's own
    #[arg(long, value_name = "S", default_value_t = 0.9)]
    pub skew: f64,
}

/// Clicks that are made up.
pub struct Clicks {
    ads: Zipf<f64>,
    dice: StdRng,
}

/// Clicks of each ad in some time, by filter.
pub type Counts = [Vec<u32>; 2];

impl Clicks {
    /// The same for the same seed.
    pub fn new(arguments: &FillArguments, seed: u64) -> Result<Self> {
        let ads = Zipf::new(arguments.ads as f64, arguments.skew).context("--ads and --skew")?;
        Ok(Clicks { ads, dice: StdRng::seed_from_u64(seed) })
    }

    /// The ad of a click, from 0.
    pub fn ad(&mut self) -> usize {
        self.ads.sample(&mut self.dice) as usize - 1
    }

    /// A click: its ad, and whether it matches the second filter.
    pub fn click(&mut self) -> (usize, bool) {
        (self.ad(), self.dice.random_ratio(1, ONE_IN))
    }
}

/// An ad's id.
pub fn ad_id(ad: usize) -> String {
    format!("ad{ad:07}")
}

/// Makes the tables and fills them. Returns how many counts there are.
pub async fn fill(store: &mut AnyConnection, arguments: &FillArguments) -> Result<u64> {
    for pragma in ["journal_mode = OFF", "synchronous = OFF", "cache_size = -262144"] {
        execute(store, &format!("PRAGMA {pragma}")).await?;
    }
    make_tables(store).await?;
    let mut clicks = Clicks::new(arguments, 1)?;
    let mut window: VecDeque<Counts> = VecDeque::new();
    let ads = usize::try_from(arguments.ads)?;
    let mut rows = 0;
    for minute in 0..arguments.minutes {
        let start_ms = START_MS + minute as i64 * MINUTE_MS;
        let mut counts: Counts = [vec![0; ads], vec![0; ads]];
        for _ in 0..arguments.rate * 60 {
            let (ad, matches) = clicks.click();
            counts[0][ad] += 1;
            counts[1][ad] += u32::from(matches);
        }
        window.truncate(NAMED_MINUTES - 1);
        window.push_front(counts);
        let mut transaction = store.begin().await?;
        for (filter, counts) in FILTERS.into_iter().zip(&window[0]) {
            rows += insert_minute(&mut transaction, start_ms, filter, counts).await?;
        }
        for (place, filter) in FILTERS.into_iter().enumerate() {
            let list = most_clicked(ads, window.iter().map(|counts| counts[place].as_slice()));
            insert_list(&mut transaction, start_ms + MINUTE_MS, filter, &list).await?;
        }
        transaction.commit().await?;
    }
    finish(store, arguments.minutes).await?;
    Ok(rows)
}

async fn make_tables(store: &mut AnyConnection) -> Result<()> {
    for table in ["ad_counts", "ad_counts_hours", "ad_counts_days"] {
        let columns = "click_minute BIGINT NOT NULL, filter_id TEXT NOT NULL, ad_id TEXT NOT NULL, count BIGINT, \
                       revision BIGINT NOT NULL, PRIMARY KEY (click_minute, filter_id, ad_id)";
        execute(store, &format!("CREATE TABLE {table} ({columns}) WITHOUT ROWID")).await?;
    }
    let statements = [
        "CREATE TABLE top_ads (window_end BIGINT NOT NULL, window_start BIGINT NOT NULL, filter_id TEXT NOT NULL, \
         rank BIGINT NOT NULL, ad_id TEXT, count BIGINT, revision BIGINT NOT NULL, \
         PRIMARY KEY (window_end, window_start, filter_id, rank)) WITHOUT ROWID",
        "CREATE TABLE weir_sinks (job TEXT NOT NULL, sink TEXT NOT NULL, table_name TEXT NOT NULL, description TEXT NOT NULL, \
         fence_attempt BIGINT NOT NULL, checkpoint BIGINT NOT NULL, staged_at_ms BIGINT NOT NULL, \
         committed_at_ms BIGINT NOT NULL, owner TEXT NOT NULL, ended BIGINT NOT NULL, PRIMARY KEY (job, sink))",
    ];
    for statement in statements {
        execute(store, statement).await?;
    }
    Ok(())
}

/// Indexes, the sink's own row, and the mode that the job writes in.
async fn finish(store: &mut AnyConnection, minutes: u64) -> Result<()> {
    for table in ["ad_counts", "ad_counts_hours", "ad_counts_days"] {
        let columns = "(click_minute, filter_id, count)";
        execute(store, &format!("CREATE INDEX {table}_index_1 ON {table} {columns} WHERE count >= {LEAST_LISTED}"))
            .await?;
    }
    let description = description().to_string().replace('\'', "''");
    let made_ms = START_MS + minutes as i64 * MINUTE_MS;
    execute(
        store,
        &format!("INSERT INTO weir_sinks VALUES ('ad-click', 'sink.store', 'ad_counts', '{description}', 1, 1, {made_ms}, {made_ms}, '', 0)"),
    )
    .await?;
    let description = json!({ "key": ["window_end", "window_start", "filter_id", "rank"] });
    execute(
        store,
        &format!("INSERT INTO weir_sinks VALUES ('ad-click', 'sink.store_top', 'top_ads', '{description}', 1, 1, {made_ms}, {made_ms}, '', 0)"),
    )
    .await?;
    execute(store, "PRAGMA journal_mode = WAL").await
}

/// How the sink describes itself.
pub fn description() -> serde_json::Value {
    let [all, one_country] = FILTERS;
    json!({ "key": ["click_minute", "filter_id", "ad_id"], "filters": [{ "id": all, "predicate": "true" }, { "id": one_country, "predicate": "country = 'USA'" }] })
}

/// The counts of a minute that are not 0. Returns how many there are.
async fn insert_minute(store: &mut AnyConnection, start_ms: i64, filter: &str, counts: &[u32]) -> Result<u64> {
    let clicked: Vec<(usize, u32)> = counts.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect();
    for chunk in clicked.chunks(CHUNK) {
        let row = |place: usize| format!("($1, $2, ${}, ${}, 0)", 2 * place + 3, 2 * place + 4);
        let rows: Vec<String> = (0..chunk.len()).map(row).collect();
        let sql = format!("INSERT INTO ad_counts VALUES {}", rows.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(start_ms).bind(filter.to_string());
        for (ad, count) in chunk {
            query = query.bind(ad_id(*ad)).bind(i64::from(*count));
        }
        query.execute(&mut *store).await?;
    }
    Ok(clicked.len() as u64)
}

async fn insert_list(store: &mut AnyConnection, end_ms: i64, filter: &str, list: &[(usize, u32)]) -> Result<()> {
    let start_ms = end_ms - NAMED_MINUTES as i64 * MINUTE_MS;
    for (place, (ad, count)) in list.iter().enumerate() {
        let query = sqlx::query("INSERT INTO top_ads VALUES ($1, $2, $3, $4, $5, $6, 0)").bind(end_ms).bind(start_ms);
        let query = query.bind(filter.to_string()).bind(place as i64 + 1).bind(ad_id(*ad)).bind(i64::from(*count));
        query.execute(&mut *store).await?;
    }
    Ok(())
}

/// The most clicked ads of some minutes, ties by ad.
fn most_clicked<'a>(ads: usize, minutes: impl Iterator<Item = &'a [u32]>) -> Vec<(usize, u32)> {
    let mut sums = vec![0; ads];
    for counts in minutes {
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let mut clicked: Vec<(usize, u32)> = sums.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
    let order = |one: &(usize, u32), other: &(usize, u32)| other.1.cmp(&one.1).then(one.0.cmp(&other.0));
    if clicked.len() > LISTED {
        clicked.select_nth_unstable_by(LISTED, order);
        clicked.truncate(LISTED);
    }
    clicked.sort_by(order);
    clicked
}

/// Runs a statement.
pub async fn execute(store: &mut AnyConnection, sql: &str) -> Result<()> {
    let done = sqlx::query(AssertSqlSafe(sql.to_string())).execute(store).await;
    done.map(drop).with_context(|| format!("SQLite: {sql}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_clicked_are_the_most_clicked() {
        let one: Vec<u32> = (0..300).map(|ad| ad % 7).collect();
        let two: Vec<u32> = (0..300).map(|ad| ad % 3).collect();
        let list = most_clicked(300, [one.as_slice(), two.as_slice()].into_iter());
        let mut all: Vec<(usize, u32)> = (0..300).map(|ad| (ad, one[ad] + two[ad])).collect();
        all.sort_by(|left, right| right.1.cmp(&left.1).then(ad_id(left.0).cmp(&ad_id(right.0))));
        assert_eq!(list, all[..LISTED]);
    }
}
