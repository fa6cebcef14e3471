//! The pages: clicks on ads, and any table. They use the public query API.

use super::Service;
use crate::store::COUNTS_KEY;
use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use std::time::Duration;
use weir_http::page::{DOM, FRAME, ICON, PageFile, SECRET};

/// The page with the most clicked ads.
const CLICKS: PageFile = PageFile::html("/clicks", include_str!("page/index.html"));
/// The page with the newest rows of any table.
const TABLES: PageFile = PageFile::html("/tables", include_str!("page/tables.html"));

/// How long the store may take to say what it is about.
const PATIENCE: Duration = Duration::from_millis(500);

/// Their files.
pub(super) const FILES: [PageFile; 14] = [
    CLICKS,
    TABLES,
    FRAME,
    DOM,
    SECRET,
    ICON,
    PageFile::css("/page/style.css", include_str!("page/style.css")),
    PageFile::script("/page/main.js", include_str!("page/main.js")),
    PageFile::script("/page/format.js", include_str!("page/format.js")),
    PageFile::script("/page/list.js", include_str!("page/list.js")),
    PageFile::script("/page/chart.js", include_str!("page/chart.js")),
    PageFile::script("/page/tables.js", include_str!("page/tables.js")),
    PageFile::script("/page/rows.js", include_str!("page/rows.js")),
    PageFile::script("/page/series.js", include_str!("page/series.js")),
];

/// The page of the store: clicks, unless its tables are known to be about something else.
pub(super) async fn front(State(service): State<Service>) -> Response {
    let is_about_clicks = match tokio::time::timeout(PATIENCE, service.store.tables()).await {
        Ok(Ok(tables)) => tables.iter().any(|table| table.key == COUNTS_KEY),
        // The page waits for the store, and finds out by itself.
        Ok(Err(_)) | Err(_) => true,
    };
    let PageFile { media_type, text, .. } = if is_about_clicks { CLICKS } else { TABLES };
    ([(CONTENT_TYPE, media_type)], text).into_response()
}
