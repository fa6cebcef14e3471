//! Which windows are final: nothing that the live job still reads can change them.

use crate::store::{Grain, Store, integer, quoted, text};
use serde::Deserialize;
use weir_engine::error::{EngineError, Result};
use weir_jobs::recalculation::StoreTable;

/// What a sink says of itself in the store, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
struct Description {
    allowed_lateness_ms: Option<i64>,
}

/// The end of the last window of a table that is final although the job goes on; `None`: there is none yet.
///
/// A row with a revision of 0 or above says that its window has ended, so that the job's event time had reached its end. A
/// window is final when event time has passed its end by the allowed lateness: that of the definition, or of the job that
/// fills the table, whichever is longer.
///
/// # Errors
/// When the store refuses.
pub async fn final_until(store: &Store, table: &StoreTable) -> Result<Option<i64>> {
    let Some(ended) = newest_end(store, table).await? else { return Ok(None) };
    let lateness = table.allowed_lateness_ms.max(lateness_of_sinks(store, table).await?);
    let size = table.windows.size_ms.max(1);
    let until = ended.saturating_sub(lateness);
    Ok(Some(until - until.rem_euclid(size)))
}

/// The end of the newest window that has ended.
async fn newest_end(store: &Store, table: &StoreTable) -> Result<Option<i64>> {
    let Some(start) = &table.windows.start else { return Ok(None) };
    let start = quoted(start);
    let mut newest = None;
    for grain in [Grain::Window, Grain::Hour, Grain::Day] {
        let name = grain.table(&table.table);
        if (grain != Grain::Window && table.sums.is_empty()) || !store.has(&name).await? {
            continue;
        }
        let ended = if table.columns.iter().any(|column| column == "revision") { "WHERE revision >= 0" } else { "" };
        let sql = format!("SELECT {start} FROM {} {ended} ORDER BY {start} DESC LIMIT 1", quoted(&name));
        if let Some(row) = store.rows(&sql, &[]).await?.first() {
            newest = newest.max(Some(integer(row, 0)?.saturating_add(grain.length_ms(table.windows.size_ms))));
        }
    }
    Ok(newest)
}

/// The longest allowed lateness of the sinks that fill a table, as they describe themselves.
async fn lateness_of_sinks(store: &Store, table: &StoreTable) -> Result<i64> {
    if !store.has("weir_sinks").await? {
        return Ok(0);
    }
    let mut longest = 0;
    let sql = "SELECT description FROM weir_sinks WHERE table_name = $1";
    for row in store.rows(sql, &[table.table.as_str().into()]).await? {
        let description: Description = serde_json::from_str(&text(&row, 0)?).map_err(|error| {
            EngineError::corrupt(format!("the description of '{}' in weir_sinks cannot be read: {error}", table.table))
        })?;
        longest = longest.max(description.allowed_lateness_ms.unwrap_or(0));
    }
    Ok(longest)
}
