//! The table that the ad-click job keeps beside its files, read as any consumer would: with one statement.

use crate::oracle::{CountKey, RankKey};
use anyhow::{Context, Result, ensure};
use sqlx::{Connection, Row, any::AnyRow};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Where the job's database lies, below the folder of its outputs.
pub fn database(output: &Path) -> PathBuf {
    output.join("store.sqlite")
}

/// The section of the sink.
pub fn section(output: &Path) -> String {
    let url = format!("sqlite:{}", database(output).display());
    format!(
        r#"[sink.store]
input = "clicks_per_minute"
connector = "sql"
url = {url:?}
table = "ad_counts"
key = ["click_minute", "filter_id", "ad_id"]
select = ["window_start as click_minute", "filter_id", "ad_id", "count", "revision"]
"#
    )
}

/// All counts in the table; none where there is no database.
///
/// # Errors
/// When it cannot be read.
pub fn read(output: &Path) -> Result<Option<BTreeMap<CountKey, i64>>> {
    let Some(rows) = rows(output, "ad_counts", "ad_id, click_minute, filter_id, count")? else { return Ok(None) };
    let mut counts = BTreeMap::new();
    for row in rows {
        let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        ensure!(counts.insert(key, row.try_get(3)?).is_none(), "a key is there twice");
    }
    Ok(Some(counts))
}

/// Ad and clicks by place.
pub type TopAds = BTreeMap<RankKey, (String, i64)>;

/// The lists of top ads of a store; empty where there is none.
///
/// # Errors
/// When they cannot be read.
pub fn read_top_ads(output: &Path) -> Result<TopAds> {
    let mut top = BTreeMap::new();
    for row in rows(output, "top_ads", "window_end, filter_id, rank, ad_id, count")?.unwrap_or_default() {
        let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        ensure!(top.insert(key, (row.try_get(3)?, row.try_get(4)?)).is_none(), "a place is there twice");
    }
    Ok(top)
}

/// All rows of a table. None: there is no database.
fn rows(output: &Path, table: &'static str, columns: &'static str) -> Result<Option<Vec<AnyRow>>> {
    let file = database(output);
    if !file.exists() {
        return Ok(None);
    }
    let url = format!("sqlite:{}", file.display());
    // On a thread of its own: whoever asks may be one of a runtime's, which must not wait.
    let reading = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(fetch(&url, table, columns))
    });
    let rows = reading.join().map_err(|_| anyhow::anyhow!("reading the table panicked"))?;
    rows.with_context(|| format!("the table {table} in {}", file.display())).map(Some)
}

async fn fetch(url: &str, table: &str, columns: &str) -> Result<Vec<AnyRow>> {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(url).await?;
    // The job may not have come so far that it is there.
    let made = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = ?").bind(table.to_owned());
    if made.fetch_all(&mut connection).await?.is_empty() {
        return Ok(Vec::new());
    }
    let all = sqlx::AssertSqlSafe(format!("SELECT {columns} FROM {table}"));
    let rows = sqlx::query(all).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows)
}
