//! Requests that need the secret: shown as `Authorization: Bearer SECRET`, and compared before anything else is looked at.

use super::Problem;
use axum::{
    extract::{Request, State},
    http::{
        HeaderValue,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use weir_proto::secret::{Denied, Keys, READ_ONLY, Right};

/// What requests have to show, and for what.
#[derive(Clone, Debug)]
pub struct Demand {
    /// What lets in.
    pub keys: Keys,
    /// What the requests do.
    pub right: Right,
}

/// Refuses requests that do not show what they need.
pub async fn demand_secret(State(demand): State<Demand>, request: Request, next: Next) -> Response {
    let Demand { keys, right } = demand;
    if keys.is_open(right) {
        return next.run(request).await;
    }
    let refused = match request.headers().get(AUTHORIZATION).map(|header| bearer(header.as_bytes())) {
        Some(None) => "the header 'authorization' is not 'Bearer SECRET'",
        shown => match keys.judge(shown.flatten(), right) {
            Ok(()) => return next.run(request).await,
            Err(Denied::Wrong) => "the secret is wrong",
            Err(Denied::Missing) => "this needs the header 'authorization: Bearer SECRET'",
            Err(Denied::ReadOnly) => return read_only(),
        },
    };
    let set_by = match right {
        Right::Read => "--secret-file or WEIR_SECRET, and a token for reading by --read-token-file or WEIR_READ_TOKEN",
        Right::Act => "--secret-file or WEIR_SECRET",
    };
    Problem::unauthorized(format!("{refused}; the secret is set by {set_by}")).into_response()
}

/// As RFC 6750 tells a program that its token is right, and not enough.
fn read_only() -> Response {
    let mut response = Problem::forbidden(READ_ONLY).into_response();
    let why = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, why);
    response
}

/// What follows `Bearer`, in upper or lower case.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, shown) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| shown.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::send;
    use axum::{Router, body::Body, http::StatusCode, middleware, routing::get};
    use weir_proto::secret::ClusterSecret;

    async fn asked(secret: &str, header: Option<&[u8]>) -> StatusCode {
        let keys = Keys::from(ClusterSecret::from(secret));
        let demand = middleware::from_fn_with_state(Demand { keys, right: Right::Act }, demand_secret);
        let router = Router::new().route("/", get(|| async {})).route_layer(demand);
        let mut request = Request::get("/");
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let answer = send(&router, request.body(Body::empty()).unwrap()).await;
        if answer.status != StatusCode::OK {
            assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
            assert!(answer.problem().detail.contains("--secret-file"));
            assert!(!answer.text.contains("sesame"));
        }
        answer.status
    }

    #[tokio::test]
    async fn only_whoever_shows_the_secret_is_let_in() {
        for right in ["Bearer open sésame", "bearer open sésame", "BEARER  open sésame "] {
            assert_eq!(asked("open sésame", Some(right.as_bytes())).await, StatusCode::OK, "{right}");
        }
        let wrong = ["", "Bearer", "Bearer ", "Bearer open", "Bearer open sesame", "Basic open sésame", "open sésame"];
        for wrong in wrong {
            assert_eq!(asked("open sésame", Some(wrong.as_bytes())).await, StatusCode::UNAUTHORIZED, "{wrong}");
        }
        assert_eq!(asked("open sésame", None).await, StatusCode::UNAUTHORIZED);
        assert_eq!(asked("", None).await, StatusCode::OK);
        assert_eq!(asked("", Some(b"Bearer whatever")).await, StatusCode::OK);
    }
}
