//! An HTTP client for tests: requests in, answers out, over a socket if a browser needs one.
//!
//! Everything here panics where a test has to fail.
#![allow(clippy::missing_panics_doc, reason = "a test that fails panics")]

mod browser;

pub use browser::{Browser, Shown};

use crate::{Limits, PROBLEM_JSON, Problem, page::PageFile, serve};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use tokio::sync::oneshot;
use tower::ServiceExt;
use weir_engine::env::Env;
use weir_proto::net::{Network, TcpNetwork};

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON: {error}: {}", self.text))
    }

    /// The body as a problem, which it must be.
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), PROBLEM_JSON, "{}", self.text);
        let problem: Problem = serde_json::from_str(&self.text).expect("a problem");
        assert_eq!((problem.status, problem.kind.as_str()), (self.status.as_u16(), "about:blank"));
        problem
    }

    /// A header; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header that is text"))
    }
}

/// What a port answers to a request.
pub async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.expect("a router does not fail");
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 24).await.expect("a body");
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).expect("a body that is text"),
    }
}

/// What a port answers to a `GET`.
pub async fn get(router: &Router, path: &str) -> Answer {
    send(router, Request::get(path).body(Body::empty()).expect("a request")).await
}

/// A port on loopback, ended when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub address: String,
    _stop: oneshot::Sender<()>,
}

/// Serves a port on loopback.
pub async fn start(router: Router) -> Server {
    let listener = TcpNetwork.listen("127.0.0.1:0").await.expect("a free port");
    let address = listener.address();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(listener, router, Limits::default(), Env::default(), async {
        let _ = stopped.await;
    }));
    Server { address, _stop: stop }
}

/// The files of a page are served as they are, name nothing outside, and turn no text into markup.
pub async fn check_files(router: &Router, files: &[PageFile]) {
    for PageFile { path, media_type, text } in files {
        let answer = get(router, path).await;
        assert_eq!(answer.header("content-type"), *media_type);
        assert_eq!(answer.text, *text);
        let allowed = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!allowed.contains("http:") && !allowed.contains("https:"), "{path} names another place");
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(sink), "{path} turns text into markup by {sink}");
        }
    }
}

/// Every answer has the headers that keep foreign pages out, and allows none of them anything.
pub async fn check_headers(router: &Router, paths: &[&str]) {
    for path in paths {
        let answer = get(router, path).await;
        assert!(
            answer.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{path}");
    }
}
