//! The databases that the jobs and the consumer fill, read as anybody would read them.

use super::recount::Counts;
use anyhow::{Context, Result, ensure};
use sqlx::{AnyConnection, Connection, Row, any::AnyRow};
use std::{collections::BTreeMap, path::Path};

/// The rows of a statement.
///
/// # Errors
/// When the database is not there, or has no such table.
pub fn rows(database: &Path, sql: &str) -> Result<Vec<AnyRow>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite:{}", database.display());
        let mut connection = AnyConnection::connect(&url).await.with_context(|| url.clone())?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await;
        connection.close().await?;
        rows.with_context(|| format!("{url}: {sql}"))
    })
}

/// Clicks and impressions of all regions.
///
/// # Errors
/// When they cannot be read.
pub fn counts(database: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    for row in rows(database, "SELECT click_minute, filter_id, ad_id, count, impressions FROM ad_counts")? {
        let place = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        ensure!(counts.insert(place, (row.try_get(3)?, row.try_get(4)?)).is_none(), "a count is there twice");
    }
    Ok(counts)
}

/// The ad that led to each order.
///
/// # Errors
/// When they cannot be read.
pub fn orders(database: &Path) -> Result<BTreeMap<String, Option<String>>> {
    let mut orders = BTreeMap::new();
    for row in rows(database, "SELECT order_id, ad_id FROM attributed_orders")? {
        let order: String = row.try_get(0)?;
        ensure!(orders.insert(order.clone(), row.try_get(1)?).is_none(), "{order} is there twice");
    }
    Ok(orders)
}
