//! The page: files that are compiled in. No build step, nothing from elsewhere; it asks the query API like anybody.

use super::Service;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Path, media type and text of every file.
pub(super) const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page/style.css", CSS, include_str!("page/style.css")),
    ("/page/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/page/main.js", JAVASCRIPT, include_str!("page/main.js")),
    ("/page/dom.js", JAVASCRIPT, include_str!("page/dom.js")),
    ("/page/format.js", JAVASCRIPT, include_str!("page/format.js")),
    ("/page/list.js", JAVASCRIPT, include_str!("page/list.js")),
    ("/page/chart.js", JAVASCRIPT, include_str!("page/chart.js")),
];

/// A route for each file.
pub(super) fn routes() -> Router<Service> {
    FILES.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, get(move || async move { ([(CONTENT_TYPE, media_type)], text) }))
    })
}
