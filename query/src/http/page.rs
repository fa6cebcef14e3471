//! The page: it uses the public query API.

use weir_http::page::{DOM, FRAME, ICON, PageFile, SECRET};

/// Its files.
pub(super) const FILES: [PageFile; 10] = [
    PageFile::html("/", include_str!("page/index.html")),
    FRAME,
    DOM,
    SECRET,
    ICON,
    PageFile::css("/page/style.css", include_str!("page/style.css")),
    PageFile::script("/page/main.js", include_str!("page/main.js")),
    PageFile::script("/page/format.js", include_str!("page/format.js")),
    PageFile::script("/page/list.js", include_str!("page/list.js")),
    PageFile::script("/page/chart.js", include_str!("page/chart.js")),
];
