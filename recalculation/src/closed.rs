//! Which windows are final: nothing that the live job still reads can change them, and nothing that it has read of them is kept
//! from the archive.
//!
//! Where rows are held back before the archive's sink, what is final is so much earlier. A row that comes on time is of a window
//! that ends after the watermark less the allowed lateness; and while it is held, the watermark advances by less than rows may
//! be held (the invariant of [`weir_operators::hold`]). When the newest window that has ended does so at *e*, the watermark of
//! every subtask that holds rows had passed *e* before the checkpoint that says so. Hence what that checkpoint has not let go
//! is of windows that end after *e* less the lateness, less the time of holding.

use crate::store::Store;
use weir_engine::error::Result;
use weir_jobs::recalculation::StoreTable;
use weir_store::{
    Description, Grain,
    columns::REVISION,
    quoted,
    row::{integer, text},
    tables::SINKS,
};

/// How far behind event time a job leaves things open, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// For corrections of what is counted.
    lateness_ms: i64,
    /// For rows on their way to the archive.
    held_ms: i64,
}

/// The end of the last window of a table that is final although the job continues; `None`: there is none yet.
///
/// A row with a revision of 0 or above says that its window has ended, so that the job's event time had reached its end. A
/// window is final when event time has passed its end by the allowed lateness and the time for which rows may be held back from
/// the archive: those of the definition, or of the job that fills the table, whichever are longer.
///
/// # Errors
/// When the store refuses.
pub async fn final_until(store: &Store, table: &StoreTable) -> Result<Option<i64>> {
    let Some(ended) = newest_end(store, table).await? else { return Ok(None) };
    let open = left_open(store, table).await?;
    let size = table.windows.size_ms.max(1);
    let until = ended.saturating_sub(open.lateness_ms).saturating_sub(open.held_ms);
    Ok(Some(until - until.rem_euclid(size)))
}

/// The end of the newest window that has ended.
async fn newest_end(store: &Store, table: &StoreTable) -> Result<Option<i64>> {
    let Some(start) = &table.windows.start else { return Ok(None) };
    let start = quoted(start);
    let mut newest = None;
    for grain in Grain::ALL {
        let name = grain.table(&table.table);
        if (grain != Grain::Window && table.sums.is_empty()) || !store.has(&name).await? {
            continue;
        }
        let has_revisions = table.columns.iter().any(|column| column == REVISION);
        let ended = if has_revisions { format!("WHERE {REVISION} >= 0") } else { String::new() };
        let sql = format!("SELECT {start} FROM {} {ended} ORDER BY {start} DESC LIMIT 1", quoted(&name));
        if let Some(row) = store.rows(&sql, &[]).await?.first() {
            newest = newest.max(Some(integer(row, 0)?.saturating_add(grain.length_ms(table.windows.size_ms))));
        }
    }
    Ok(newest)
}

/// What the definition leaves open, and the sinks that fill a table, as they describe themselves.
async fn left_open(store: &Store, table: &StoreTable) -> Result<Open> {
    let mut open = Open { lateness_ms: table.allowed_lateness_ms, held_ms: table.archive_held_ms };
    if !store.has(SINKS).await? {
        return Ok(open);
    }
    let sql = format!("SELECT description FROM {SINKS} WHERE table_name = $1");
    for row in store.rows(&sql, &[table.table.as_str().into()]).await? {
        let description = Description::read(&text(&row, 0)?, &table.table)?;
        open.lateness_ms = open.lateness_ms.max(description.allowed_lateness_ms.unwrap_or(0));
        open.held_ms = open.held_ms.max(description.archive_held_ms.unwrap_or(0));
    }
    Ok(open)
}
