//! The table that the ad-click job keeps beside its files, read as any consumer would: with one statement.

use crate::oracle::{CountKey, RankKey};
use anyhow::{Context, Result, ensure};
use sqlx::{AnyConnection, Connection, Row, any::AnyRow};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Where the job's database lies, below the folder of its outputs.
pub fn database(output: &Path) -> PathBuf {
    output.join("store.sqlite")
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

/// Everything that a store's tables of counts and lists hold, with revisions, and what else there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Count and revision.
    pub counts: BTreeMap<CountKey, (i64, i64)>,
    /// Ad, count and revision by place.
    pub lists: BTreeMap<RankKey, (String, i64, i64)>,
    /// Names of the tables.
    pub tables: Vec<String>,
}

/// Reads all of it as it is at one moment.
///
/// # Errors
/// When it cannot be read.
pub fn contents(output: &Path) -> Result<Contents> {
    let mut contents = Contents::default();
    if !database(output).exists() {
        return Ok(contents);
    }
    on_thread(&database(output), |mut connection| async move {
        contents.tables = tables(&mut connection).await?;
        let has = |table: &str| contents.tables.iter().any(|known| known == table);
        let (has_counts, has_lists) = (has("ad_counts"), has("top_ads"));
        sqlx::query("BEGIN").execute(&mut connection).await?;
        if has_counts {
            let all = "SELECT ad_id, click_minute, filter_id, count, revision FROM ad_counts";
            for row in sqlx::query(all).fetch_all(&mut connection).await? {
                let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                let twice = contents.counts.insert(key, (row.try_get(3)?, row.try_get(4)?));
                ensure!(twice.is_none(), "a key is there twice");
            }
        }
        if has_lists {
            let all = "SELECT window_end, filter_id, rank, ad_id, count, revision FROM top_ads";
            for row in sqlx::query(all).fetch_all(&mut connection).await? {
                let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                let twice = contents.lists.insert(key, (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?));
                ensure!(twice.is_none(), "a place is there twice");
            }
        }
        connection.close().await?;
        Ok(contents)
    })
}

/// Changes a store as nobody should. False: somebody else writes just now, or there is no table yet.
///
/// # Errors
/// When it fails otherwise.
pub fn change(output: &Path, sql: String) -> Result<bool> {
    if !database(output).exists() {
        return Ok(false);
    }
    on_thread(&database(output), |mut connection| async move {
        sqlx::query("PRAGMA busy_timeout = 0").execute(&mut connection).await?;
        let changed = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await;
        connection.close().await?;
        match changed {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().contains("locked") || error.to_string().contains("no such table") => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    })
}

async fn tables(connection: &mut AnyConnection) -> Result<Vec<String>> {
    let all = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
    all.fetch_all(connection).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// All rows of a table. None: there is no database.
fn rows(output: &Path, table: &'static str, columns: &'static str) -> Result<Option<Vec<AnyRow>>> {
    if !database(output).exists() {
        return Ok(None);
    }
    on_thread(&database(output), |mut connection| async move {
        // The job may not have come so far that it is there.
        if !tables(&mut connection).await?.iter().any(|known| known == table) {
            return Ok(Vec::new());
        }
        let all = sqlx::AssertSqlSafe(format!("SELECT {columns} FROM {table}"));
        let rows = sqlx::query(all).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(rows)
    })
    .map(Some)
}

/// Asks the database on a thread of its own: whoever asks may be one of a runtime's, which must not wait.
pub(crate) fn on_thread<T, F>(file: &Path, ask: impl FnOnce(AnyConnection) -> F + Send) -> Result<T>
where
    T: Send,
    F: Future<Output = Result<T>>,
{
    let url = format!("sqlite:{}", file.display());
    let asking = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            sqlx::any::install_default_drivers();
            ask(AnyConnection::connect(&url).await?).await
        })
    };
    let answer = std::thread::scope(|scope| scope.spawn(asking).join());
    let answer = answer.map_err(|_| anyhow::anyhow!("asking the database panicked"))?;
    answer.with_context(|| format!("the database {}", file.display()))
}
