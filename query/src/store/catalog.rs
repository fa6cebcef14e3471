//! The store's metadata: the sinks that write it, their filters, and their progress.

use super::{StoreError, coverage::bounds, snapshot::Snapshot};
use weir_store::{
    Description, Filter, Grain, MINUTE_MS, Value,
    columns::{CLICK_MINUTE, COUNT, FILTER_ID, REVISION},
    row::{integer, text},
    tables::{RECONCILIATIONS, SINKS},
};

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

/// A sink that fills a table of the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Sink {
    pub job: String,
    pub table: String,
    pub description: Description,
    /// The newest checkpoint that is in; 0: none.
    pub checkpoint: i64,
    pub staged_at_ms: i64,
    pub committed_at_ms: i64,
    pub ended: bool,
}

/// All sinks that fill tables of the store.
pub(super) async fn sinks(snapshot: &mut Snapshot) -> Result<Vec<Sink>, StoreError> {
    let sql = format!(
        "SELECT job, table_name, description, checkpoint, staged_at_ms, committed_at_ms, ended FROM {SINKS} \
         ORDER BY table_name"
    );
    let read = |row| {
        let table = text(row, 1)?;
        let description = Description::read(&text(row, 2)?, &table);
        Ok(Sink {
            job: text(row, 0)?,
            table,
            description: description.map_err(|error| StoreError::Unavailable(error.message))?,
            checkpoint: integer(row, 3)?,
            staged_at_ms: integer(row, 4)?,
            committed_at_ms: integer(row, 5)?,
            ended: integer(row, 6)? != 0,
        })
    };
    snapshot.rows(&sql, &[]).await?.iter().map(read).collect()
}

/// The filters that clicks are counted under, by id.
pub(super) fn filters(snapshot: &Snapshot) -> Result<Vec<Filter>, StoreError> {
    if snapshot.tables().counts.checkpoint > 0 { Ok(snapshot.tables().filters()) } else { Err(nothing_yet()) }
}

/// Whether clicks are counted under a filter.
pub(super) fn check_filter(snapshot: &Snapshot, filter_id: &str) -> Result<(), StoreError> {
    let filters = filters(snapshot)?;
    if filters.is_empty() || filters.iter().any(|filter| filter.id == filter_id) {
        return Ok(());
    }
    let known = filters.into_iter().map(|filter| filter.id).collect();
    Err(StoreError::UnknownFilter { asked: filter_id.into(), known })
}

/// How far the store has come.
pub(super) async fn freshness(snapshot: &mut Snapshot) -> Result<Freshness, StoreError> {
    let minutes_ms = bounds(snapshot, Grain::Window).await?;
    let counts = &snapshot.tables().counts;
    if counts.checkpoint == 0 {
        return Err(nothing_yet());
    }
    Ok(Freshness {
        read_until_ms: counts.staged_at_ms,
        committed_at_ms: counts.committed_at_ms,
        job: counts.job.clone(),
        checkpoint: counts.checkpoint,
        ended: counts.ended,
        minutes_ms,
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
    if !snapshot.tables().has_reconciliations() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT job, made_at_ms, from_ms, to_ms, matching, differing FROM {RECONCILIATIONS} AS one \
         WHERE made_at_ms = (SELECT max(made_at_ms) FROM {RECONCILIATIONS} AS of_job WHERE of_job.job = one.job) \
         ORDER BY job"
    );
    let rows = snapshot.rows(&sql, &[]).await?;
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
    let of_corrections = format!("where{REVISION}>0");
    if !indexes(snapshot).await?.iter().any(|index| index.ends_with(&of_corrections)) {
        return Ok(None);
    }
    let counted = format!("SELECT count(*) FROM {} WHERE {REVISION} > 0", snapshot.tables().of(Grain::Window));
    Ok(Some(integer(&snapshot.row(&counted, &[]).await?, 0)?))
}

/// From which count on the minutes have an index by minute, filter and count; the lowest of several. The job says from which:
/// `indexes = [{ columns = ["click_minute", "filter_id", "count"], where = "count >= 8" }]`.
pub(super) async fn least_listed(snapshot: &mut Snapshot) -> Result<Option<i64>, StoreError> {
    let (condition, listed) = (format!("where{COUNT}>="), format!("({CLICK_MINUTE},{FILTER_ID},{COUNT})"));
    let limit = |index: &String| {
        let (columns, limit) = index.split_once(&condition)?;
        columns.ends_with(&listed).then(|| limit.parse().ok())?
    };
    Ok(indexes(snapshot).await?.iter().filter_map(limit).min())
}

/// The definitions of the indexes of the minutes: in small letters, without spaces, quotes, and the parentheses that
/// PostgreSQL puts around a condition.
async fn indexes(snapshot: &mut Snapshot) -> Result<Vec<String>, StoreError> {
    let table = snapshot.tables().counts.table.clone();
    let rows = snapshot.rows(snapshot.dialect().indexes_of_table(), &[Value::from(&table)]).await?;
    let plain = |row| {
        let mut index = text(row, 0)?.to_lowercase();
        index.retain(|character| character != '"' && !character.is_whitespace());
        Ok(match index.rsplit_once("where(") {
            Some((columns, condition)) => format!("{columns}where{}", condition.trim_end_matches(')')),
            None => index,
        })
    };
    rows.iter().map(plain).collect()
}

fn nothing_yet() -> StoreError {
    StoreError::NothingYet("no job has committed clicks to the store".into())
}
