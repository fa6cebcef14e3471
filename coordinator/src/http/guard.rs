//! What keeps foreign web pages out, and the page from reaching anything but its coordinator.
//!
//! A browser sends a foreign page's plain POST, cookies or not, and only hides the answer. It does not send one with a
//! header or a content type of ours before it has asked whether that is allowed, and we never allow it: no CORS header is
//! ever set. So an action must bear one of both. Reading needs no more than the browser's own rule, which hides answers from
//! foreign pages.

use super::Problem;
use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

/// A header that no foreign page can send; its value does not matter.
pub(super) const REQUEST_HEADER: &str = "x-weir-request";

/// Nothing from elsewhere, nothing written into the page itself, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Refuses everything that changes something and might come from a foreign page.
pub(super) async fn refuse_foreign_posts(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && !is_ours(request.headers()) {
        let detail = format!(
            "an action needs the header '{REQUEST_HEADER}: 1' or 'content-type: application/json', so that no foreign web page \
             can ask for it"
        );
        return Problem::forbidden(detail).into_response();
    }
    next.run(request).await
}

fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // Browsers say where a request comes from; `none` is a person's own doing.
    let foreign =
        text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site != "same-origin" && site != "none");
    let media_type = text(CONTENT_TYPE).and_then(|value| value.split(';').next()).map(str::trim);
    let json = media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    !foreign && (json || headers.contains_key(REQUEST_HEADER))
}

/// Headers of every response.
pub(super) async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // What is shown is true for a second, and the page belongs to the program that serves it.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
