//! What questions may say and how they are refused, as the OpenAPI document describes it: each once, for all questions that
//! share it. The rules themselves are in [`parameters`](super::parameters); a test compares the two.
#![expect(
    dead_code,
    reason = "it describes; parameters are read by hand, so that a mistake is told with what would be right"
)]

use utoipa::{IntoParams, IntoResponses};
use weir_http::Problem;

/// Which ad is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfAd {
    /// The ad
    #[param(min_length = 1, example = "ad000001")]
    ad_id: String,
}

/// From when on clicks are counted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// The first second of the range [default: a minute before `to`]
    #[param(nullable = false, minimum = 0, maximum = 253402300740_i64, multiple_of = 60, example = 1646352000)]
    from: Option<i64>,
}

/// From when on minutes are shown.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SinceWithinDay {
    /// The first second of the range, at most a day before `to` [default: an hour before it]
    #[param(nullable = false, minimum = 0, maximum = 253402300740_i64, multiple_of = 60, example = 1646352000)]
    from: Option<i64>,
}

/// Until when clicks are counted, and which.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UntilUnder {
    /// The first second behind what is asked for [default: the end of the current minute]
    #[param(nullable = false, minimum = 0, maximum = 253402300740_i64, multiple_of = 60, example = 1646352900)]
    to: Option<i64>,
    /// Count only clicks that match it [default: 0000, all clicks]
    #[param(nullable = false, example = "0000")]
    filter: Option<String>,
}

/// Which list of ads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// How many ads [default: 100]
    #[param(nullable = false, minimum = 1, maximum = 1000, example = 10)]
    count: Option<i64>,
    /// The length of the window that ends at `to`, in minutes [default: 1]
    #[param(nullable = false, minimum = 1, maximum = 1440, example = 5)]
    window: Option<i64>,
}

/// Which table is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfTable {
    /// The table
    #[param(min_length = 1, example = "ad_counts")]
    name: String,
}

/// Which of its rows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichRows {
    /// Only rows of this key: the value of the table's `series` column; where there are several, a JSON array with a value for each
    #[param(nullable = false, example = json!("[\"0000\",\"ad000001\"]"))]
    key: Option<String>,
    /// The first second of the time that rows are of [default: no bound]
    #[param(nullable = false, minimum = 0, maximum = 253402300740_i64, example = 1646352000)]
    from: Option<i64>,
    /// The first second behind it [default: no bound]
    #[param(nullable = false, minimum = 0, maximum = 253402300740_i64, example = 1646352900)]
    to: Option<i64>,
    /// The column by which rows of one time are in order, the largest first [default: by their key]
    #[param(nullable = false, example = "count")]
    by: Option<String>,
    /// How many rows; of a key, within so many of the table's newest windows [default: 100]
    #[param(nullable = false, minimum = 1, maximum = 1000, example = 10)]
    limit: Option<i64>,
}

/// Why there is no such table.
#[derive(IntoResponses)]
pub(super) enum NoTable {
    /// No sink fills such a table; `detail` says which there are
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Problem),
}

/// Why there is nothing about clicks.
#[derive(IntoResponses)]
pub(super) enum NoCounts {
    /// The store has tables, and none that counts clicks on ads; `detail` says which there are
    #[response(status = 404, content_type = "application/problem+json")]
    None(Problem),
}

/// Why there is no answer.
#[derive(IntoResponses)]
pub(super) enum Refused {
    /// A parameter makes no sense, here or for what is kept; `detail` says what would
    #[response(status = 400, content_type = "application/problem+json")]
    NoSense(Problem),
    /// The secret is needed here, and it is missing or another one
    #[response(status = 401, content_type = "application/problem+json")]
    Locked(Problem),
    /// Nothing has been committed yet, or the store does not answer
    #[response(
        status = 503,
        content_type = "application/problem+json",
        headers(("Retry-After" = i64, description = "Seconds after which to retry"))
    )]
    NoStore(Problem),
}
