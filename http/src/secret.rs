//! Requests that need the secret: shown as `Authorization: Bearer SECRET`, and compared before anything else is looked at.

use super::Problem;
use axum::{
    extract::{Request, State},
    http::header::AUTHORIZATION,
    middleware::Next,
    response::{IntoResponse, Response},
};
use weir_proto::secret::ClusterSecret;

/// Refuses requests without the secret, where there is one.
pub async fn demand_secret(State(secret): State<ClusterSecret>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).map(|header| bearer(header.as_bytes()));
    let refused = match shown {
        _ if secret.is_empty() => return next.run(request).await,
        Some(Some(shown)) if secret.is(shown) => return next.run(request).await,
        Some(Some(_)) => "the secret is wrong",
        Some(None) => "the header 'authorization' is not 'Bearer SECRET'",
        None => "this needs the header 'authorization: Bearer SECRET'",
    };
    Problem::unauthorized(format!("{refused}; the secret is set by --secret-file or WEIR_SECRET")).into_response()
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

    async fn asked(secret: &str, header: Option<&[u8]>) -> StatusCode {
        let demand = middleware::from_fn_with_state(ClusterSecret::from(secret), demand_secret);
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
