//! The query API, `/v1`, and its OpenAPI document, which is made from the handlers' own descriptions.

use super::{
    Service,
    answers::{AggregatedCount, CountsPerMinute, Filters, FreshnessAnswer, PopularAds, Reconciliations},
    described::{List, NoCounts, OfAd, Refused, Since, SinceWithinDay, UntilUnder},
    parameters::{MOST_ADS, MOST_RANGE_MINUTES, MOST_WINDOW_MINUTES, Parameters, USUAL_ADS},
    tables,
};
use axum::extract::{Path, RawQuery, State, rejection::PathRejection};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use weir_http::{JsonLine, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir queries",
        description = "Counts of clicks on ads, and the rows of any table that a job writes. Times are Unix seconds, of clicks on \
                       minute boundaries; ranges are half-open: `from` is inclusive, `to` exclusive. Answers include everything that is committed, also running counts of the open minute. \
                       Errors are problem details (RFC 9457)."
    ),
    components(schemas(Problem))
)]
struct Document;

/// The routes, with their description.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(aggregated_count))
        .routes(routes!(popular_ads))
        .routes(routes!(counts_per_minute))
        .routes(routes!(filters))
        .routes(routes!(freshness))
        .routes(routes!(reconciliations))
        .merge(tables::routes())
}

pub(super) type Answer<T> = Result<JsonLine<T>, Problem>;

/// How often an ad was clicked in a range of time, and where the job counts that, too, how often it was shown.
#[utoipa::path(
    get,
    path = "/v1/ads/{ad_id}/aggregated_count",
    tag = "clicks",
    params(OfAd, Since, UntilUnder),
    responses((status = 200, body = AggregatedCount), Refused, NoCounts)
)]
async fn aggregated_count(
    State(service): State<Service>,
    ad_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Answer<AggregatedCount> {
    let ad_id = read_ad_id(ad_id)?;
    let parameters = Parameters::read(query.as_deref(), &["from", "to", "filter"])?;
    let range = parameters.range(service.env.wall_clock_ms(), 1, MOST_RANGE_MINUTES)?;
    let filter = parameters.filter();
    let counted = service.store.ad_count(&ad_id, filter, range).await?;
    Ok(JsonLine(AggregatedCount::new(ad_id, &counted, filter, range)))
}

/// The most clicked ads of a window of time.
#[utoipa::path(
    get,
    path = "/v1/ads/popular_ads",
    tag = "clicks",
    params(List, UntilUnder),
    responses((status = 200, body = PopularAds), Refused, NoCounts)
)]
async fn popular_ads(State(service): State<Service>, RawQuery(query): RawQuery) -> Answer<PopularAds> {
    let parameters = Parameters::read(query.as_deref(), &["count", "window", "to", "filter"])?;
    let count = parameters.number("count", &(1..=MOST_ADS), USUAL_ADS)?;
    let range = parameters.window(service.env.wall_clock_ms())?;
    let count = usize::try_from(count).map_err(|_| Problem::bad_request("'count' is below 0"))?;
    let top = service.store.top_ads(parameters.filter(), range, count).await?;
    Ok(JsonLine(PopularAds::new(top, parameters.filter(), range)))
}

/// How often an ad was clicked in each minute of a range of time.
#[utoipa::path(
    get,
    path = "/v1/ads/{ad_id}/counts_per_minute",
    tag = "clicks",
    params(OfAd, SinceWithinDay, UntilUnder),
    responses((status = 200, body = CountsPerMinute), Refused, NoCounts)
)]
async fn counts_per_minute(
    State(service): State<Service>,
    ad_id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Answer<CountsPerMinute> {
    let ad_id = read_ad_id(ad_id)?;
    let parameters = Parameters::read(query.as_deref(), &["from", "to", "filter"])?;
    let range = parameters.range(service.env.wall_clock_ms(), 60, MOST_WINDOW_MINUTES)?;
    let filter = parameters.filter();
    let counted = service.store.minute_counts(&ad_id, filter, range).await?;
    Ok(JsonLine(CountsPerMinute::new(ad_id, counted, filter, range)))
}

/// The filters that clicks are counted under.
#[utoipa::path(
    get,
    path = "/v1/filters",
    tag = "store",
    responses((status = 200, body = Filters), Refused, NoCounts)
)]
async fn filters(State(service): State<Service>, RawQuery(query): RawQuery) -> Answer<Filters> {
    Parameters::read(query.as_deref(), &[])?;
    Ok(JsonLine(service.store.filters().await?.into()))
}

/// How far the store has come, and how long ago that was.
#[utoipa::path(
    get,
    path = "/v1/freshness",
    tag = "store",
    responses((status = 200, body = FreshnessAnswer), Refused, NoCounts)
)]
async fn freshness(State(service): State<Service>, RawQuery(query): RawQuery) -> Answer<FreshnessAnswer> {
    Parameters::read(query.as_deref(), &[])?;
    let freshness = service.store.freshness().await?;
    Ok(JsonLine(FreshnessAnswer::new(freshness, service.env.wall_clock_ms())))
}

/// What the newest comparison of the store with the raw archive has found, job by job.
#[utoipa::path(
    get,
    path = "/v1/reconciliations",
    tag = "store",
    responses((status = 200, body = Reconciliations), Refused, NoCounts)
)]
async fn reconciliations(State(service): State<Service>, RawQuery(query): RawQuery) -> Answer<Reconciliations> {
    Parameters::read(query.as_deref(), &[])?;
    Ok(JsonLine(service.store.reconciliations().await?.into()))
}

fn read_ad_id(ad_id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    match ad_id {
        Ok(Path(ad_id)) if ad_id.is_empty() => Err(Problem::not_found("there is nothing at an ad without an id")),
        Ok(Path(ad_id)) => Ok(ad_id),
        Err(rejection) => {
            Err(Problem::bad_request(format!("the ad's id cannot be decoded: {}", rejection.body_text())))
        }
    }
}
