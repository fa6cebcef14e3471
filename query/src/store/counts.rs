//! Clicks on one ad, and its impressions: a point lookup in the primary key for each bucket of the range, all of them in one statement a table.

use super::{
    StoreError,
    coverage::{Coverage, Part},
    range::Range,
    snapshot::Snapshot,
};
use std::collections::BTreeMap;
use weir_store::{
    DAY_MS, HOUR_MS, MINUTE_MS, Value,
    columns::{AD_ID, CLICK_MINUTE, COUNT, FILTER_ID, IMPRESSIONS},
    row::{integer, text},
};

/// What a store counts of ads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted<T> {
    /// How often they were clicked.
    pub clicks: T,
    /// How often they were shown; none: the job does not count that.
    pub impressions: Option<T>,
}

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

/// Clicks on an ad in a range, and its impressions.
pub(super) async fn ad_count(
    snapshot: &mut Snapshot,
    ad_id: &str,
    filter_id: &str,
    range: Range,
) -> Result<Counted<i64>, StoreError> {
    let coverage = Coverage::of(snapshot, range).await?;
    let with_impressions = snapshot.tables().has_impressions();
    let (mut clicks, mut impressions) = (0, 0);
    let counted = |clicks, impressions| Counted { clicks, impressions: with_impressions.then_some(impressions) };
    if !can_hold(snapshot, ad_id) {
        return Ok(counted(0, 0));
    }
    let sum = |name: &str| format!("CAST(coalesce(sum(c.{name}), 0) AS BIGINT)");
    let shown = if with_impressions { sum(IMPRESSIONS) } else { "0".into() };
    for part in coverage.minutes.iter().chain(&coverage.rolled_up) {
        let sql = format!(
            "{} SELECT {}, {shown} FROM starts CROSS JOIN {} AS c \
             WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND c.{AD_ID} = $4",
            with_starts(part),
            sum(COUNT),
            snapshot.tables().of(part.grain)
        );
        let row = snapshot.row(&sql, &values(part, filter_id, ad_id)).await?;
        clicks += integer(&row, 0)?;
        impressions += if with_impressions { integer(&row, 1)? } else { 0 };
    }
    Ok(counted(clicks, impressions))
}

/// How often each of these ads was shown in a range; none: the job does not count that, or the range cuts through a sum.
pub(super) async fn impressions(
    snapshot: &mut Snapshot,
    ad_ids: &[String],
    filter_id: &str,
    range: Range,
) -> Result<Option<Vec<i64>>, StoreError> {
    if !snapshot.tables().has_impressions() {
        return Ok(None);
    }
    let mut shown: BTreeMap<&str, i64> = ad_ids.iter().map(|ad_id| (ad_id.as_str(), 0)).collect();
    let coverage = match Coverage::of(snapshot, range).await {
        Ok(coverage) => coverage,
        // The clicks of this very window may have been counted in advance; the impressions have not.
        Err(StoreError::Cut { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    for part in coverage.minutes.iter().chain(&coverage.rolled_up).filter(|_| !ad_ids.is_empty()) {
        let mut values = vec![Value::Integer(part.starts.first), Value::Integer(part.starts.end), filter_id.into()];
        let first = values.len() + 1;
        let ads: Vec<String> = (first..first + ad_ids.len()).map(|place| format!("(CAST(${place} AS TEXT))")).collect();
        values.extend(ad_ids.iter().map(Value::from));
        let sql = format!(
            "{}, ads(ad) AS (VALUES {}) SELECT ads.ad, CAST(coalesce(sum(c.{IMPRESSIONS}), 0) AS BIGINT) \
             FROM ads CROSS JOIN starts CROSS JOIN {} AS c \
             WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND c.{AD_ID} = ads.ad GROUP BY ads.ad",
            with_starts(part),
            ads.join(", "),
            snapshot.tables().of(part.grain)
        );
        for row in snapshot.rows(&sql, &values).await? {
            if let Some(shown) = shown.get_mut(text(&row, 0)?.as_str()) {
                *shown += integer(&row, 1)?;
            }
        }
    }
    Ok(Some(ad_ids.iter().map(|ad_id| shown.get(ad_id.as_str()).copied().unwrap_or(0)).collect()))
}

/// Clicks on an ad in each minute of a range, and its impressions.
pub(super) async fn minute_counts(
    snapshot: &mut Snapshot,
    ad_id: &str,
    filter_id: &str,
    range: Range,
) -> Result<Counted<Vec<i64>>, StoreError> {
    let coverage = Coverage::of(snapshot, range).await?;
    if let Some(until_ms) = rolled_up_until(snapshot, &coverage).await? {
        return Err(StoreError::RolledUp { until_ms });
    }
    let with_impressions = snapshot.tables().has_impressions();
    let none = vec![0; usize::try_from(range.minutes()).unwrap_or(0)];
    let mut counted = Counted { impressions: with_impressions.then(|| none.clone()), clicks: none };
    let Some(part) = coverage.minutes.filter(|_| can_hold(snapshot, ad_id)) else { return Ok(counted) };
    let shown = if with_impressions { format!(", coalesce(c.{IMPRESSIONS}, 0)") } else { String::new() };
    let sql = format!(
        "{} SELECT starts.start, c.{COUNT}{shown} FROM starts CROSS JOIN {} AS c \
         WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND c.{AD_ID} = $4",
        with_starts(&part),
        snapshot.tables().of(part.grain)
    );
    for row in snapshot.rows(&sql, &values(&part, filter_id, ad_id)).await? {
        let place = usize::try_from((integer(&row, 0)? - range.from_ms()) / MINUTE_MS).ok();
        let Some(place) = place.filter(|place| *place < counted.clicks.len()) else { continue };
        counted.clicks[place] = integer(&row, 1)?;
        if let Some(impressions) = &mut counted.impressions {
            impressions[place] = integer(&row, 2)?;
        }
    }
    Ok(counted)
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
