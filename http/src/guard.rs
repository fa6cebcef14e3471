//! Keeps foreign web pages from requesting actions (CSRF).
//!
//! A browser sends a foreign page's plain POST, cookies or not, and only hides the answer. It does not send one with a
//! header or a content type of ours before it has asked whether that is allowed, and we never allow it: no CORS header is
//! ever set. So an action must have one of both.
//!
//! A page whose own name suddenly means this machine (DNS rebinding) is not foreign to the browser any more: it may send every
//! header. But it cannot help that the browser says by which name it came. So a browser, which always sends `Origin` with a
//! POST, must have come by an address, by `localhost`, or by a name that is ours. Programs may use any name.
//!
//! Reading needs no more than the browser's own rule, which hides answers from foreign pages.

use super::Problem;
use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, Method,
        header::{CONTENT_TYPE, HOST, ORIGIN},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{net::IpAddr, sync::Arc};

/// A header that no foreign page can send; its value does not matter.
pub const REQUEST_HEADER: &str = "x-weir-request";

/// Names that a port is known by, besides addresses and `localhost`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustedHosts(Arc<[String]>);

impl TrustedHosts {
    /// These, without ports.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        TrustedHosts(names.into_iter().map(|name| plain(&name)).collect())
    }

    /// Whether no other site can make a browser use this name.
    fn trusts(&self, host: &str) -> bool {
        let host = plain(host);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.0.contains(&host)
    }
}

/// A name as names are compared.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Refuses what changes something and might come from a foreign page.
pub async fn refuse_foreign(State(hosts): State<TrustedHosts>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && !is_ours(request.headers()) {
        let detail = format!(
            "an action needs the header '{REQUEST_HEADER}: 1' or 'content-type: application/json', so that no foreign web page \
             can ask for it"
        );
        return Problem::forbidden(detail).into_response();
    }
    match host(&request).filter(|host| !reads && is_browser(request.headers()) && !hosts.trusts(host)) {
        Some(host) => Problem::forbidden(format!(
            "a browser cannot request an action under the name '{host}': any web page can take such a name. Use an \
             address or 'localhost', or start with --allowed-host {host} if that name is yours"
        ))
        .into_response(),
        None => next.run(request).await,
    }
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

fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN)
}

/// The name under which the caller addresses us, without its port. What cannot be parsed is given whole, and never trusted.
fn host(request: &Request) -> Option<String> {
    let Some(header) = request.headers().get(HOST) else {
        return request.uri().host().map(Into::into);
    };
    let text = String::from_utf8_lossy(header.as_bytes());
    Some(text.parse::<Authority>().map_or_else(|_| text.to_string(), |authority| authority.host().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::send;
    use axum::{Router, body::Body, http::StatusCode, middleware, routing::post};

    async fn asked(headers: &[(&str, &str)]) -> StatusCode {
        let hosts = TrustedHosts::new(["Weir.Example.com".into()]);
        let guarded = middleware::from_fn_with_state(hosts, refuse_foreign);
        let router = Router::new().route("/", post(|| async {}).get(|| async {})).route_layer(guarded);
        let mut request = Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = send(&router, request.body(Body::empty()).unwrap()).await;
        if answer.status != StatusCode::OK {
            assert_eq!(answer.problem().status, 403);
        }
        answer.status
    }

    #[tokio::test]
    async fn a_browser_comes_by_a_name_that_no_other_page_can_have() {
        for host in [
            "127.0.0.1:7071",
            "10.0.0.7",
            "[::1]:7071",
            "[fe80::1]",
            "localhost:7071",
            "LOCALHOST",
            "weir.localhost:7071",
            "weir.example.com",
            "WEIR.example.com.:443",
        ] {
            let headers = [("x-weir-request", "1"), ("origin", "http://whoever"), ("host", host)];
            assert_eq!(asked(&headers).await, StatusCode::OK, "{host}");
        }
        for host in
            ["evil.example:7071", "localhost.evil.example", "127.0.0.1.evil.example", "not-localhost", "a b", "", "@:"]
        {
            let headers = [("x-weir-request", "1"), ("origin", "http://whoever"), ("host", host)];
            assert_eq!(asked(&headers).await, StatusCode::FORBIDDEN, "{host}");
            let headers = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
            let headers = [&headers[..], &[("origin", "http://evil.example"), ("host", host)]].concat();
            assert_eq!(asked(&headers).await, StatusCode::FORBIDDEN, "{host}");
        }
    }

    #[tokio::test]
    async fn programs_come_by_whatever_name_they_know() {
        assert_eq!(
            asked(&[("x-weir-request", "1"), ("host", "coordinator.cluster.internal:7071")]).await,
            StatusCode::OK
        );
        assert_eq!(asked(&[("x-weir-request", "1")]).await, StatusCode::OK);
        assert_eq!(asked(&[("host", "127.0.0.1")]).await, StatusCode::FORBIDDEN, "without a mark of ours");
    }

    #[tokio::test]
    async fn everybody_may_read() {
        let guarded = middleware::from_fn_with_state(TrustedHosts::default(), refuse_foreign);
        let router = Router::new().route("/", post(|| async {}).get(|| async {})).route_layer(guarded);
        let request = Request::get("/").header("host", "evil.example").header("origin", "http://evil.example");
        assert_eq!(send(&router, request.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    }
}
