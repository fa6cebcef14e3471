//! The table that the ad-click job keeps beside its files, read as any consumer would: with one statement.

use crate::oracle::CountKey;
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
    let file = database(output);
    if !file.exists() {
        return Ok(None);
    }
    let url = format!("sqlite:{}", file.display());
    // On a thread of its own: whoever asks may be one of a runtime's, which must not wait.
    let reading = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(fetch(&url))
    });
    let rows = reading.join().map_err(|_| anyhow::anyhow!("reading the table panicked"))?;
    let mut counts = BTreeMap::new();
    for row in rows.with_context(|| format!("the table in {}", file.display()))? {
        let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        ensure!(counts.insert(key, row.try_get(3)?).is_none(), "a key is there twice");
    }
    Ok(Some(counts))
}

async fn fetch(url: &str) -> Result<Vec<AnyRow>> {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(url).await?;
    // The job may not have come so far that it is there.
    let made = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = 'ad_counts'");
    if made.fetch_all(&mut connection).await?.is_empty() {
        return Ok(Vec::new());
    }
    let all = sqlx::query("SELECT ad_id, click_minute, filter_id, count FROM ad_counts");
    let rows = all.fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows)
}
