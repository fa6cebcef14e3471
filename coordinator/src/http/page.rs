//! The page: files that are compiled in. No build step, nothing from elsewhere; it reads the REST interface like anybody.

use super::Doors;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Path, media type and text of every file.
pub(super) const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page/style.css", CSS, include_str!("page/style.css")),
    ("/page/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/page/main.js", JAVASCRIPT, include_str!("page/main.js")),
    ("/page/dom.js", JAVASCRIPT, include_str!("page/dom.js")),
    ("/page/format.js", JAVASCRIPT, include_str!("page/format.js")),
    ("/page/graph.js", JAVASCRIPT, include_str!("page/graph.js")),
    ("/page/charts.js", JAVASCRIPT, include_str!("page/charts.js")),
    ("/page/job.js", JAVASCRIPT, include_str!("page/job.js")),
    ("/page/cluster.js", JAVASCRIPT, include_str!("page/cluster.js")),
];

/// A route for each file.
pub(super) fn routes() -> Router<Doors> {
    FILES.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, get(move || async move { ([(CONTENT_TYPE, media_type)], text) }))
    })
}
