//! What the store says about itself: the sinks that fill it, their filters, and how far they have come.

use super::{
    StoreError,
    coverage::bounds,
    range::MINUTE_MS,
    snapshot::{Snapshot, Value, integer, text},
};
use serde::Deserialize;

/// A predicate that clicks are counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Filter {
    /// Its id, as in `0012`.
    pub id: String,
    /// Its condition in SQL, as in `country = 'USA'`.
    pub predicate: String,
}

/// How far the store has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Every click that was read until then is in the answers: milliseconds since the epoch, on the clock of the job.
    pub read_until_ms: i64,
    /// When the newest commit was made, on the clock of the job.
    pub committed_at_ms: i64,
    /// Starts of the first and of the last minute that is counted minute by minute.
    pub minutes_ms: Option<(i64, i64)>,
    /// The job whose commit is the newest, and its checkpoint.
    pub job: String,
    /// The newest checkpoint that is in the store.
    pub checkpoint: i64,
    /// The job has ended with it, finished or stopped: all that it has read is in, and nothing comes until it is started again.
    pub ended: bool,
}

/// What the last reconciliation of a job with its raw archive found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciliation {
    /// The job.
    pub job: String,
    /// When it was made, in milliseconds since the epoch.
    pub made_at_ms: i64,
    /// The first millisecond of event time that was compared, and the first that was not any more.
    pub range_ms: (i64, i64),
    /// Counts that are the same in store and archive.
    pub matching: i64,
    /// Counts that differ.
    pub differing: i64,
}

/// As much of a sink's description as is read here.
#[derive(Debug, Default, Deserialize)]
struct Description {
    #[serde(default)]
    filters: Vec<Filter>,
}

/// The filters of all jobs that count into the store, by id.
pub(super) async fn filters(snapshot: &mut Snapshot) -> Result<Vec<Filter>, StoreError> {
    let sql = "SELECT description FROM weir_sinks WHERE table_name = 'ad_counts' AND checkpoint > 0";
    let rows = snapshot.rows(sql, &[]).await?;
    if rows.is_empty() {
        return Err(nothing_yet());
    }
    let mut filters = Vec::new();
    for row in rows {
        let description = text(&row, 0)?;
        let description: Description = serde_json::from_str(&description).map_err(|error| {
            StoreError::Unavailable(format!("the description of the sink in 'weir_sinks' is not readable: {error}"))
        })?;
        filters.extend(description.filters);
    }
    filters.sort();
    filters.dedup_by(|one, other| one.id == other.id);
    Ok(filters)
}

/// Whether clicks are counted under a filter.
pub(super) async fn check_filter(snapshot: &mut Snapshot, filter_id: &str) -> Result<(), StoreError> {
    let filters = filters(snapshot).await?;
    if filters.is_empty() || filters.iter().any(|filter| filter.id == filter_id) {
        return Ok(());
    }
    let known = filters.into_iter().map(|filter| filter.id).collect();
    Err(StoreError::UnknownFilter { asked: filter_id.into(), known })
}

/// How far the store has come.
pub(super) async fn freshness(snapshot: &mut Snapshot) -> Result<Freshness, StoreError> {
    let newest = "SELECT staged_at_ms, committed_at_ms, job, checkpoint, ended FROM weir_sinks WHERE table_name = 'ad_counts' \
                  AND checkpoint > 0 ORDER BY staged_at_ms DESC LIMIT 1";
    let rows = snapshot.rows(newest, &[]).await?;
    let row = rows.first().ok_or_else(nothing_yet)?;
    Ok(Freshness {
        read_until_ms: integer(row, 0)?,
        committed_at_ms: integer(row, 1)?,
        job: text(row, 2)?,
        checkpoint: integer(row, 3)?,
        ended: integer(row, 4)? != 0,
        minutes_ms: bounds(snapshot, "ad_counts").await?,
    })
}

impl Freshness {
    /// The end of the newest minute that is counted.
    pub fn newest_end_ms(&self) -> Option<i64> {
        self.minutes_ms.map(|(_, last)| last + MINUTE_MS)
    }
}

/// The newest reconciliation of each job.
pub(super) async fn reconciliations(snapshot: &mut Snapshot) -> Result<Vec<Reconciliation>, StoreError> {
    if !snapshot.has("weir_reconciliations") {
        return Ok(Vec::new());
    }
    let sql = "SELECT job, made_at_ms, from_ms, to_ms, matching, differing FROM weir_reconciliations AS one \
               WHERE made_at_ms = (SELECT max(made_at_ms) FROM weir_reconciliations AS of_job WHERE of_job.job = one.job) \
               ORDER BY job";
    let rows = snapshot.rows(sql, &[]).await?;
    let read = |row| {
        Ok(Reconciliation {
            job: text(row, 0)?,
            made_at_ms: integer(row, 1)?,
            range_ms: (integer(row, 2)?, integer(row, 3)?),
            matching: integer(row, 4)?,
            differing: integer(row, 5)?,
        })
    };
    rows.iter().map(read).collect()
}

/// How many counts are corrections, where an index knows.
pub(super) async fn corrections(snapshot: &mut Snapshot) -> Result<Option<i64>, StoreError> {
    let rows = snapshot.rows(snapshot.flavour().indexes(), &[Value::Text("ad_counts")]).await?;
    for row in rows {
        let definition: String = text(&row, 0)?.to_lowercase().split_whitespace().collect();
        if definition.contains("where(revision>0)") || definition.contains("whererevision>0") {
            let counted = "SELECT count(*) FROM ad_counts WHERE revision > 0";
            return Ok(Some(integer(&snapshot.row(counted, &[]).await?, 0)?));
        }
    }
    Ok(None)
}

fn nothing_yet() -> StoreError {
    StoreError::NothingYet("no job has committed clicks to the store".into())
}
