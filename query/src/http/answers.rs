//! The answers of the query API. Times are Unix seconds.

use crate::store::{Counted, Filter, Freshness, Range, Reconciliation, TopAds};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Clicks on one ad.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct AggregatedCount {
    /// The ad.
    #[schema(example = "ad001")]
    pub ad_id: String,
    /// Its clicks in the range; 0 for an ad without clicks.
    #[schema(minimum = 0, example = 7)]
    pub count: i64,
    /// How often it was shown; absent where the job does not count that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, example = 350)]
    pub impressions: Option<i64>,
    /// Its click-through rate, clicks per impression; absent where impressions are, or where it was not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, example = 0.02)]
    pub ctr: Option<f64>,
    /// The filter that they matched.
    #[schema(example = "0000")]
    pub filter: String,
    /// The first second of the range.
    #[schema(example = 1646352000)]
    pub from: i64,
    /// The first second behind the range.
    #[schema(example = 1646352060)]
    pub to: i64,
}

/// The most clicked ads of a window.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct PopularAds {
    /// Most clicked first; of ads with the same number of clicks, the smaller id.
    #[schema(example = json!(["ad001", "ad002"]))]
    pub ad_ids: Vec<String>,
    /// The clicks of each, in the same order.
    #[schema(example = json!([7, 5]))]
    pub counts: Vec<i64>,
    /// How often each was shown, in the same order; absent where the job does not count that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!([350, 100]))]
    pub impressions: Option<Vec<i64>>,
    /// The click-through rate of each, clicks per impression, null where it was not shown; absent where impressions are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!([0.02, 0.05]))]
    pub ctrs: Option<Vec<Option<f64>>>,
    /// The filter that they matched.
    #[schema(example = "0000")]
    pub filter: String,
    /// The first second of the window.
    #[schema(example = 1646352000)]
    pub from: i64,
    /// The first second behind the window.
    #[schema(example = 1646352060)]
    pub to: i64,
}

/// Clicks on one ad, minute by minute.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct CountsPerMinute {
    /// The ad.
    #[schema(example = "ad001")]
    pub ad_id: String,
    /// Its clicks in each minute of the range, 0 where there are none: the first is that of the minute which begins at `from`.
    #[schema(example = json!([7, 0, 2]))]
    pub counts: Vec<i64>,
    /// How often it was shown in each minute; absent where the job does not count that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!([350, 10, 100]))]
    pub impressions: Option<Vec<i64>>,
    /// The filter that they matched.
    #[schema(example = "0000")]
    pub filter: String,
    /// The first second of the range.
    #[schema(example = 1646352000)]
    pub from: i64,
    /// The first second behind the range.
    #[schema(example = 1646352180)]
    pub to: i64,
}

/// A filter.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct NamedFilter {
    /// The key it is queried by.
    #[schema(example = "0012")]
    pub id: String,
    /// Which clicks match it: a condition in SQL over the columns of a click.
    #[schema(example = "country = 'USA'")]
    pub predicate: String,
}

/// All filters.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Filters {
    /// By id.
    pub filters: Vec<NamedFilter>,
}

/// How far the store has come.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct FreshnessAnswer {
    /// Every click that the job had read by then is in the answers: Unix seconds, with milliseconds.
    #[schema(example = 1646352061.25)]
    pub read_until: f64,
    /// Seconds since then. It grows where the job has ended or does not get on.
    #[schema(minimum = 0, example = 0.42)]
    pub behind_seconds: f64,
    /// The start of the first minute that is counted by itself; absent while nothing was clicked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1646352000)]
    pub first_minute: Option<i64>,
    /// The start of the last minute that has clicks; absent while nothing was clicked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1646352840)]
    pub last_minute: Option<i64>,
    /// The clock of this service: Unix seconds, with milliseconds.
    #[schema(example = 1646352061.67)]
    pub now: f64,
    /// The job that made the newest commit.
    #[schema(example = "ad-click")]
    pub job: String,
    /// The checkpoint that it committed.
    #[schema(minimum = 0, example = 120)]
    pub checkpoint: i64,
    /// Whether the job has ended with it, finished or stopped: then all that it has read is in the answers, and nothing more comes
    /// until it is started again.
    pub ended: bool,
}

/// The newest reconciliation of each job.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Reconciliations {
    /// By job; none if there was no reconciliation.
    pub reconciliations: Vec<ReconciliationAnswer>,
}

/// What a comparison of the store with the raw archive has found.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct ReconciliationAnswer {
    /// The job.
    #[schema(example = "ad-click")]
    pub job: String,
    /// When it was made: Unix seconds, with milliseconds.
    #[schema(example = 1646356500.5)]
    pub made_at: f64,
    /// The first second of the range that was compared.
    #[schema(example = 1646352000)]
    pub from: i64,
    /// The first second behind it.
    #[schema(example = 1646355600)]
    pub to: i64,
    /// Counts that are the same in store and archive.
    #[schema(minimum = 0, example = 3201)]
    pub matching: i64,
    /// Counts that differ.
    #[schema(minimum = 0, example = 0)]
    pub differing: i64,
}

impl From<Vec<Reconciliation>> for Reconciliations {
    fn from(found: Vec<Reconciliation>) -> Self {
        let answer = |found: Reconciliation| ReconciliationAnswer {
            job: found.job,
            made_at: found.made_at_ms as f64 / 1000.0,
            from: found.range_ms.0.div_euclid(1000),
            to: found.range_ms.1.div_euclid(1000),
            matching: found.matching,
            differing: found.differing,
        };
        Reconciliations { reconciliations: found.into_iter().map(answer).collect() }
    }
}

/// Both ends of a range in Unix seconds.
fn seconds(range: Range) -> (i64, i64) {
    (range.from_ms() / 1000, range.to_ms() / 1000)
}

/// Clicks per impression, where there are impressions.
fn ctr(clicks: i64, impressions: i64) -> Option<f64> {
    (impressions > 0).then(|| clicks as f64 / impressions as f64)
}

impl AggregatedCount {
    pub(super) fn new(ad_id: String, counted: &Counted<i64>, filter: &str, range: Range) -> Self {
        let Counted { clicks: count, impressions } = *counted;
        let (from, to) = seconds(range);
        let ctr = impressions.and_then(|impressions| ctr(count, impressions));
        AggregatedCount { ad_id, count, impressions, ctr, filter: filter.into(), from, to }
    }
}

impl PopularAds {
    pub(super) fn new(top: TopAds, filter: &str, range: Range) -> Self {
        let (ad_ids, counts): (Vec<_>, Vec<_>) = top.ads.into_iter().map(|ad| (ad.ad_id, ad.count)).unzip();
        let rates = |shown: &Vec<i64>| counts.iter().zip(shown).map(|(clicks, shown)| ctr(*clicks, *shown)).collect();
        let ctrs = top.impressions.as_ref().map(rates);
        let (from, to) = seconds(range);
        PopularAds { ad_ids, counts, impressions: top.impressions, ctrs, filter: filter.into(), from, to }
    }
}

impl CountsPerMinute {
    pub(super) fn new(ad_id: String, counted: Counted<Vec<i64>>, filter: &str, range: Range) -> Self {
        let (from, to) = seconds(range);
        let Counted { clicks: counts, impressions } = counted;
        CountsPerMinute { ad_id, counts, impressions, filter: filter.into(), from, to }
    }
}

impl From<Vec<Filter>> for Filters {
    fn from(filters: Vec<Filter>) -> Self {
        let named = |filter: Filter| NamedFilter { id: filter.id, predicate: filter.predicate };
        Filters { filters: filters.into_iter().map(named).collect() }
    }
}

impl FreshnessAnswer {
    pub(super) fn new(freshness: Freshness, now_ms: i64) -> Self {
        let minute = |ms: i64| ms / 1000;
        FreshnessAnswer {
            read_until: freshness.read_until_ms as f64 / 1000.0,
            // Clocks of two machines differ by a little.
            behind_seconds: (now_ms - freshness.read_until_ms).max(0) as f64 / 1000.0,
            first_minute: freshness.minutes_ms.map(|(first, _)| minute(first)),
            last_minute: freshness.minutes_ms.map(|(_, last)| minute(last)),
            now: now_ms as f64 / 1000.0,
            job: freshness.job,
            checkpoint: freshness.checkpoint,
            ended: freshness.ended,
        }
    }
}
