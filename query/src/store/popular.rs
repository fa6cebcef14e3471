//! The most clicked ads of a window: as the job has counted them in advance, or from the minute counts; exact either way.

use super::{
    StoreError, catalog,
    counts::{starts_table, with_starts},
    coverage::{Coverage, Part},
    range::Range,
    snapshot::Snapshot,
    threshold::Heads,
};
use weir_store::{
    Value,
    columns::{AD_ID, CLICK_MINUTE, COUNT, FILTER_ID, RANK, WINDOW_END, WINDOW_START},
    row::{integer, integer_or_null, text},
};

/// An ad and its clicks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdCount {
    /// The ad.
    pub ad_id: String,
    /// Its clicks in the window.
    pub count: i64,
}

/// How the most clicked ads were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The job had counted this very window.
    Precomputed,
    /// From the minutes' lists of large counts, which prove it.
    Lists,
    /// From all counts of the window.
    AllCounts,
}

/// The most clicked ads of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopAds {
    /// Most clicked first, ties by ad id, ascending.
    pub ads: Vec<AdCount>,
    /// How often each of them was shown in the window; none: the job does not count that, or keeps sums that the window cuts.
    pub impressions: Option<Vec<i64>>,
    /// How they were found.
    pub source: Source,
}

impl TopAds {
    fn of(ads: Vec<AdCount>, source: Source) -> Self {
        TopAds { ads, impressions: None, source }
    }
}

/// The `n` most clicked ads of a range.
pub(super) async fn top_ads(
    snapshot: &mut Snapshot,
    filter_id: &str,
    range: Range,
    n: usize,
) -> Result<TopAds, StoreError> {
    if n == 0 {
        return Ok(TopAds::of(Vec::new(), Source::AllCounts));
    }
    if let Some(ads) = precomputed(snapshot, filter_id, range, n).await? {
        return Ok(TopAds::of(ads, Source::Precomputed));
    }
    let coverage = Coverage::of(snapshot, range).await?;
    let parts: Vec<Part> = coverage.minutes.iter().chain(&coverage.rolled_up).copied().collect();
    match parts.as_slice() {
        [] => Ok(TopAds::of(Vec::new(), Source::AllCounts)),
        [minutes] if coverage.rolled_up.is_empty() => of_minutes(snapshot, filter_id, minutes, n).await,
        parts => all_counts(snapshot, filter_id, parts, n).await,
    }
}

/// What the job has counted for this very window; `None` when it has not, or keeps fewer ads than are asked for.
async fn precomputed(
    snapshot: &mut Snapshot,
    filter_id: &str,
    range: Range,
    n: usize,
) -> Result<Option<Vec<AdCount>>, StoreError> {
    for table in snapshot.tables().tops() {
        let sql = format!(
            "SELECT {AD_ID}, {COUNT} FROM {table} WHERE {WINDOW_END} = $1 AND {WINDOW_START} = $2 AND {FILTER_ID} = $3 \
             AND {COUNT} > 0 ORDER BY {RANK} LIMIT CAST($4 AS BIGINT)"
        );
        let (end, start) = (Value::Integer(range.to_ms()), Value::Integer(range.from_ms()));
        let ads = ad_counts(snapshot, &sql, &[end, start, Value::from(filter_id), limit(n)]).await?;
        if ads.len() >= n {
            return Ok(Some(ads));
        }
    }
    Ok(None)
}

/// From the minutes' lists of large counts, as far as they prove it; else from all counts.
async fn of_minutes(snapshot: &mut Snapshot, filter_id: &str, minutes: &Part, n: usize) -> Result<TopAds, StoreError> {
    let Some(least) = catalog::least_listed(snapshot).await? else {
        return all_counts(snapshot, filter_id, &[*minutes], n).await;
    };
    let (heads, guess) = lists(snapshot, filter_id, minutes, n, least).await?;
    // Where no minute lists so many ads, little was clicked, and all counts are soon read.
    if let Some(guess) = guess {
        let listed = reached(snapshot, filter_id, minutes, n, Level { from: guess, least }).await?;
        let level = match heads.level_below(listed) {
            Some(level) => Some((level, listed)),
            None => {
                let level = Level { from: guess, least };
                let look = Look { level, most_unseen: UNKNOWN, reached: 0, minutes: heads.minutes() };
                let ads = candidates(snapshot, filter_id, minutes, n, look).await?;
                let reached = if ads.len() < n { 0 } else { ads.last().map_or(0, |ad| ad.count) };
                heads.level_below(reached).map(|level| (level, reached))
            }
        };
        if let Some((level, reached)) = level {
            // The list is soon read, a lookup takes long: twice as deep, most totals are known without any.
            let level = Level { from: (level / 2).max(least), least };
            let look = Look { level, most_unseen: heads.most_unseen(level.from), reached, minutes: heads.minutes() };
            let ads = candidates(snapshot, filter_id, minutes, n, look).await?;
            return Ok(TopAds::of(ads, Source::Lists));
        }
    }
    all_counts(snapshot, filter_id, &[*minutes], n).await
}

/// The heads of the minutes' lists, and a level at which a first look shows about `n` ads in most minutes: what the n-th of
/// a list has, of a minute that is rather quiet. (Of the quietest it would be far too low: that is the minute that runs.)
async fn lists(
    snapshot: &mut Snapshot,
    filter_id: &str,
    minutes: &Part,
    n: usize,
    least: i64,
) -> Result<(Heads, Option<i64>), StoreError> {
    let table = snapshot.tables().of(minutes.grain);
    let list = format!(
        "FROM {table} AS c WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND c.{COUNT} >= {least} \
         ORDER BY c.{COUNT} DESC LIMIT 1"
    );
    let sql = format!(
        "{} SELECT (SELECT c.{COUNT} {list}), (SELECT c.{COUNT} {list} OFFSET CAST($4 AS BIGINT)) FROM starts \
         WHERE EXISTS (SELECT 1 FROM {table} AS c WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3)",
        with_starts(minutes)
    );
    let [first, end] = bounds(minutes);
    let rows = snapshot.rows(&sql, &[first, end, Value::from(filter_id), limit(n - 1)]).await?;
    let heads = rows.iter().map(|row| integer_or_null(row, 0)).collect::<Result<Vec<_>, _>>()?;
    let nth = rows.iter().map(|row| integer_or_null(row, 1)).collect::<Result<Vec<_>, _>>()?;
    let mut nth: Vec<i64> = nth.into_iter().flatten().collect();
    nth.sort_unstable();
    Ok((Heads::new(least, heads), nth.get(nth.len() / 4).copied()))
}

/// Counts from a level on, in lists that begin at `least`.
#[derive(Clone, Copy, Debug)]
struct Level {
    from: i64,
    least: i64,
}

impl Level {
    /// As a condition; the value $4 is the level. It comes first: SQLite begins to read where the first condition says, and
    /// takes from the second only that the index of large counts may be read.
    fn condition(self) -> String {
        format!("c.{COUNT} >= $4 AND c.{COUNT} >= {}", self.least)
    }
}

/// What at least `n` ads have reached for certain: the n-th best sum of those counts that are at `level` or above. 0 when
/// there are not so many.
async fn reached(
    snapshot: &mut Snapshot,
    filter_id: &str,
    minutes: &Part,
    n: usize,
    level: Level,
) -> Result<i64, StoreError> {
    let sql = format!(
        "{} SELECT CAST(sum(c.{COUNT}) AS BIGINT) AS total FROM starts CROSS JOIN {} AS c \
         WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND {} \
         GROUP BY c.{AD_ID} ORDER BY total DESC LIMIT 1 OFFSET CAST($5 AS BIGINT)",
        with_starts(minutes),
        snapshot.tables().of(minutes.grain),
        level.condition(),
    );
    let [first, end] = bounds(minutes);
    let values = [first, end, Value::from(filter_id), Value::Integer(level.from), limit(n - 1)];
    snapshot.rows(&sql, &values).await?.first().map_or(Ok(0), |row| Ok(integer(row, 0)?))
}

/// More than any ad can have, and small enough to be added to.
const UNKNOWN: i64 = i64::MAX / 4;

/// Which ads are looked at: those at `level` or above in some minute, and of these only those that can have `reached` as
/// much as the n-th best, given that an ad has at most `most_unseen` where it is below the level everywhere.
#[derive(Clone, Copy, Debug)]
struct Look {
    level: Level,
    most_unseen: i64,
    reached: i64,
    /// How many minutes of the window have any count: an ad that is seen in so many has no others.
    minutes: i64,
}

/// The totals over the window of the ads of a look, the best `n`.
async fn candidates(
    snapshot: &mut Snapshot,
    filter_id: &str,
    minutes: &Part,
    n: usize,
    look: Look,
) -> Result<Vec<AdCount>, StoreError> {
    let table = snapshot.tables().of(minutes.grain);
    // A minute in which an ad is seen adds its count to what the ad can have, and takes `level - 1` from it.
    let sql = format!(
        "{}, candidates({AD_ID}, listed, seen) AS (\
         SELECT c.{AD_ID}, CAST(sum(c.{COUNT}) AS BIGINT), count(*) FROM starts CROSS JOIN {table} AS c \
         WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND {} \
         GROUP BY c.{AD_ID} HAVING CAST(sum(c.{COUNT}) AS BIGINT) + $5 - count(*) * ($4 - 1) >= $6), \
         totals({AD_ID}, total) AS (SELECT {AD_ID}, CASE WHEN seen = $7 THEN listed ELSE (\
         SELECT CAST(sum(c.{COUNT}) AS BIGINT) FROM starts CROSS JOIN {table} AS c \
         WHERE c.{CLICK_MINUTE} = starts.start AND c.{FILTER_ID} = $3 AND c.{AD_ID} = candidates.{AD_ID}) END FROM candidates) \
         SELECT c.{AD_ID}, c.total FROM totals AS c ORDER BY c.total DESC, {} LIMIT CAST($8 AS BIGINT)",
        with_starts(minutes),
        look.level.condition(),
        by_bytes(snapshot),
    );
    let [first, end] = bounds(minutes);
    let values = [
        first,
        end,
        Value::from(filter_id),
        Value::Integer(look.level.from),
        Value::Integer(look.most_unseen),
        Value::Integer(look.reached),
        Value::Integer(look.minutes),
        limit(n),
    ];
    ad_counts(snapshot, &sql, &values).await
}

/// From all counts of the parts. An ad that was shown and never clicked has a count, too, of 0.
async fn all_counts(snapshot: &mut Snapshot, filter_id: &str, parts: &[Part], n: usize) -> Result<TopAds, StoreError> {
    let (mut tables, mut counts, mut values) = (Vec::new(), Vec::new(), vec![Value::from(filter_id), limit(n)]);
    for part in parts {
        let starts = format!("starts_of_{:?}", part.grain);
        tables.push(starts_table(&starts, part, values.len() + 1));
        counts.push(format!(
            "SELECT c.{AD_ID} AS {AD_ID}, c.{COUNT} AS clicks FROM {starts} CROSS JOIN {} AS c \
             WHERE c.{CLICK_MINUTE} = {starts}.start AND c.{FILTER_ID} = $1",
            snapshot.tables().of(part.grain)
        ));
        values.extend(bounds(part));
    }
    let sql = format!(
        "WITH RECURSIVE {} SELECT c.{AD_ID}, CAST(sum(c.clicks) AS BIGINT) AS total FROM ({}) AS c \
         GROUP BY c.{AD_ID} HAVING sum(c.clicks) > 0 ORDER BY total DESC, {} LIMIT CAST($2 AS BIGINT)",
        tables.join(", "),
        counts.join(" UNION ALL "),
        by_bytes(snapshot),
    );
    let ads = ad_counts(snapshot, &sql, &values).await?;
    Ok(TopAds::of(ads, Source::AllCounts))
}

/// Ad ids in the order of their bytes.
fn by_bytes(snapshot: &Snapshot) -> String {
    snapshot.dialect().by_bytes(&format!("c.{AD_ID}"))
}

async fn ad_counts(snapshot: &mut Snapshot, sql: &str, values: &[Value<'_>]) -> Result<Vec<AdCount>, StoreError> {
    let rows = snapshot.rows(sql, values).await?;
    rows.iter().map(|row| Ok(AdCount { ad_id: text(row, 0)?, count: integer(row, 1)? })).collect()
}

fn bounds(part: &Part) -> [Value<'static>; 2] {
    [Value::Integer(part.starts.first), Value::Integer(part.starts.end)]
}

fn limit(n: usize) -> Value<'static> {
    Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}
