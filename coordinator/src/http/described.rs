//! What requests for a job may say and how they are refused, as the OpenAPI document describes it: each once, for all requests
//! that share it.
#![expect(dead_code, reason = "it describes; what is wrong with a request is told in words of its own")]

use utoipa::{IntoParams, IntoResponses};
use weir_http::Problem;

/// Which job.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfJob {
    /// The job's id
    id: String,
}

/// Why nothing is shown.
#[derive(IntoResponses)]
pub(super) enum Locked {
    /// Reading needs the secret here, and it is missing or another one
    #[response(status = 401, content_type = "application/problem+json")]
    Locked(Problem),
}

/// Why there is nothing to show.
#[derive(IntoResponses)]
pub(super) enum NoJob {
    /// Reading needs the secret here, and it is missing or another one
    #[response(status = 401, content_type = "application/problem+json")]
    Locked(Problem),
    /// The id is unreadable
    #[response(status = 400, content_type = "application/problem+json")]
    NoSense(Problem),
    /// There is no such job
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Problem),
}

/// Why something is not done.
#[derive(IntoResponses)]
pub(super) enum Refused {
    /// The id or a parameter makes no sense
    #[response(status = 400, content_type = "application/problem+json")]
    NoSense(Problem),
    /// The secret is missing, or another one
    #[response(status = 401, content_type = "application/problem+json")]
    Locked(Problem),
    /// It might come from a foreign page, or the token that was shown lets read only
    #[response(status = 403, content_type = "application/problem+json")]
    Foreign(Problem),
    /// There is no such job
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Problem),
    /// Not in the job's state
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// Not by this coordinator, or not now
    #[response(
        status = 503,
        content_type = "application/problem+json",
        headers(("Retry-After" = i64, description = "Seconds after which to retry"))
    )]
    NotNow(Problem),
}
