//! Clicks on one ad: a point lookup in the primary key for each bucket of the range, all of them in one statement a table.

use super::{
    StoreError,
    coverage::{Coverage, Part},
    range::Range,
    snapshot::Snapshot,
};
use weir_store::{
    DAY_MS, HOUR_MS, MINUTE_MS, Value,
    columns::{AD_ID, CLICK_MINUTE, COUNT, FILTER_ID},
    row::integer,
};

/// The starts of a part as a table `starts`: the values $1 (the first) and $2 (the end) belong to it.
pub(super) fn with_starts(part: &Part) -> String {
    format!("WITH RECURSIVE {}", starts_table("starts", part, 1))
}

/// The starts of a part as a table of that name; the values at `place` (the first) and behind it (the end) belong to it.
pub(super) fn starts_table(name: &str, part: &Part, place: usize) -> String {
    let (step, end) = (part.starts.step_ms, place + 1);
    format!(
        "{name}(start) AS (SELECT CAST(${place} AS BIGINT) UNION ALL \
         SELECT start + {step} FROM {name} WHERE start + {step} < CAST(${end} AS BIGINT))"
    )
}

/// Clicks on an ad in a range.
pub(super) async fn ad_count(
    snapshot: &mut Snapshot,
    ad_id: &str,
    filter_id: &str,
    range: Range,
) -> Result<i64, StoreError> {
    let coverage = Coverage::of(snapshot, range).await?;
    if !can_hold(snapshot, ad_id) {
        return Ok(0);
    }
    let mut total = 0;
    for part in coverage.minutes.iter().chain(&coverage.rolled_up) {
        let sql = format!(
            "{} SELECT CAST(coalesce(sum(c.{COUNT}), 0) AS BIGINT) FROM starts CROSS JOIN {} AS c \
             WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND c.{AD_ID} = $4",
            with_starts(part),
            snapshot.tables().of(part.grain)
        );
        total += integer(&snapshot.row(&sql, &values(part, filter_id, ad_id)).await?, 0)?;
    }
    Ok(total)
}

/// Clicks on an ad in each minute of a range.
pub(super) async fn minute_counts(
    snapshot: &mut Snapshot,
    ad_id: &str,
    filter_id: &str,
    range: Range,
) -> Result<Vec<i64>, StoreError> {
    let coverage = Coverage::of(snapshot, range).await?;
    if let Some(until_ms) = rolled_up_until(snapshot, &coverage).await? {
        return Err(StoreError::RolledUp { until_ms });
    }
    let mut counts = vec![0; usize::try_from(range.minutes()).unwrap_or(0)];
    let Some(part) = coverage.minutes.filter(|_| can_hold(snapshot, ad_id)) else { return Ok(counts) };
    let sql = format!(
        "{} SELECT starts.start, c.{COUNT} FROM starts CROSS JOIN {} AS c \
         WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND c.{AD_ID} = $4",
        with_starts(&part),
        snapshot.tables().of(part.grain)
    );
    for row in snapshot.rows(&sql, &values(&part, filter_id, ad_id)).await? {
        let place = usize::try_from((integer(&row, 0)? - range.from_ms()) / MINUTE_MS).ok();
        if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
            *count = integer(&row, 1)?;
        }
    }
    Ok(counts)
}

/// Where the last bucket of the range ends that is kept as an hour or a day.
async fn rolled_up_until(snapshot: &mut Snapshot, coverage: &Coverage) -> Result<Option<i64>, StoreError> {
    let mut until = None;
    for part in &coverage.rolled_up {
        let sql = format!(
            "SELECT CAST(coalesce(max({CLICK_MINUTE}), -1) AS BIGINT) FROM {} WHERE {CLICK_MINUTE} >= $1 AND {CLICK_MINUTE} < $2",
            snapshot.tables().of(part.grain)
        );
        let bounds = [Value::Integer(part.starts.first), Value::Integer(part.starts.end)];
        let last = integer(&snapshot.row(&sql, &bounds).await?, 0)?;
        if last >= 0 {
            until = until.max(Some(last + part.starts.step_ms));
        }
    }
    debug_assert!(until.is_none_or(|until| until % HOUR_MS == 0 || until % DAY_MS == 0));
    Ok(until)
}

fn values<'a>(part: &Part, filter_id: &'a str, ad_id: &'a str) -> [Value<'a>; 4] {
    [Value::Integer(part.starts.first), Value::Integer(part.starts.end), filter_id.into(), ad_id.into()]
}

/// Whether a text may be asked for; one that the database cannot hold is nowhere.
pub(super) fn can_hold(snapshot: &Snapshot, text: &str) -> bool {
    snapshot.dialect().can_hold(text)
}
