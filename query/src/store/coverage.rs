//! What of a range is kept as minutes, hours and days; a click is in exactly one of the three tables.

use super::{
    StoreError,
    range::{Range, Starts},
    snapshot::Snapshot,
};
use weir_store::{
    Grain, MINUTE_MS, Value,
    columns::CLICK_MINUTE,
    row::{integer, integer_or_null},
};

/// Minutes that are looked at one by one for one answer: a month.
pub(super) const MOST_MINUTES: i64 = 31 * 24 * 60;

/// The buckets of a range in one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub grain: Grain,
    pub starts: Starts,
}

/// What of a range is where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Minutes of the range.
    pub minutes: Option<Part>,
    /// Hours, days of the range.
    pub rolled_up: Vec<Part>,
}

impl Coverage {
    /// Looks a range up.
    ///
    /// # Errors
    /// When it cuts through an hour or a day that is kept as one sum, or holds too many minutes.
    pub(super) async fn of(snapshot: &mut Snapshot, range: Range) -> Result<Self, StoreError> {
        let mut coverage = Coverage::default();
        for grain in Grain::ROLLED_UP {
            if !snapshot.tables().has(grain) {
                continue;
            }
            let step_ms = grain.length_ms(MINUTE_MS);
            let Some(bounds) = bounds(snapshot, grain).await? else { continue };
            for at_ms in [range.from_ms(), range.to_ms()] {
                let start = at_ms - at_ms.rem_euclid(step_ms);
                if start != at_ms && exists(snapshot, grain, start).await? {
                    return Err(StoreError::Cut { at_ms, unit_ms: step_ms });
                }
            }
            let starts = range.starts(step_ms, Some(bounds));
            coverage.rolled_up.extend(starts.map(|starts| Part { grain, starts }));
        }
        let starts = range.starts(MINUTE_MS, bounds(snapshot, Grain::Window).await?);
        coverage.minutes = starts.map(|starts| Part { grain: Grain::Window, starts });
        if let Some(Part { starts, .. }) = coverage.minutes {
            let minutes = (starts.end - starts.first) / MINUTE_MS;
            if minutes > MOST_MINUTES {
                return Err(StoreError::TooLong { minutes, most: MOST_MINUTES });
            }
        }
        Ok(coverage)
    }
}

/// The first and the last bucket of a grain, under whatever filter.
pub(super) async fn bounds(snapshot: &mut Snapshot, grain: Grain) -> Result<Option<(i64, i64)>, StoreError> {
    let table = snapshot.tables().of(grain);
    let sql = format!("SELECT (SELECT min({CLICK_MINUTE}) FROM {table}), (SELECT max({CLICK_MINUTE}) FROM {table})");
    let row = snapshot.row(&sql, &[]).await?;
    Ok(integer_or_null(&row, 0)?.zip(integer_or_null(&row, 1)?))
}

async fn exists(snapshot: &mut Snapshot, grain: Grain, start: i64) -> Result<bool, StoreError> {
    let table = snapshot.tables().of(grain);
    let sql = format!("SELECT count(*) FROM (SELECT 1 AS one FROM {table} WHERE {CLICK_MINUTE} = $1 LIMIT 1) AS found");
    Ok(integer(&snapshot.row(&sql, &[Value::Integer(start)]).await?, 0)? > 0)
}
