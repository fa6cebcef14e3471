//! The page: it reads the public REST interface.

use weir_http::page::{DOM, FRAME, ICON, PageFile, SECRET};

/// Its files.
pub(super) const FILES: [PageFile; 12] = [
    PageFile::html("/", include_str!("page/index.html")),
    FRAME,
    DOM,
    SECRET,
    ICON,
    PageFile::css("/page/style.css", include_str!("page/style.css")),
    PageFile::script("/page/main.js", include_str!("page/main.js")),
    PageFile::script("/page/format.js", include_str!("page/format.js")),
    PageFile::script("/page/graph.js", include_str!("page/graph.js")),
    PageFile::script("/page/charts.js", include_str!("page/charts.js")),
    PageFile::script("/page/job.js", include_str!("page/job.js")),
    PageFile::script("/page/cluster.js", include_str!("page/cluster.js")),
];
