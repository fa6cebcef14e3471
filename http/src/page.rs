//! Pages: files that are compiled in. No build step, nothing from elsewhere; a page calls its server's public API.
//!
//! [`FRAME`], [`DOM`], [`SECRET`] and [`ICON`] are for every page: colours and the frame around what it shows, how its elements
//! are made, how it asks its server, and its picture.

use axum::{Router, http::header::CONTENT_TYPE, routing::get};

/// A file of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageFile {
    /// Where it is.
    pub path: &'static str,
    /// What it is.
    pub media_type: &'static str,
    /// What is in it.
    pub text: &'static str,
}

/// Colours, letters and the bar at the top.
pub const FRAME: PageFile = PageFile::css("/page/frame.css", include_str!("page/frame.css"));
/// Makes elements.
pub const DOM: PageFile = PageFile::script("/page/dom.js", include_str!("page/dom.js"));
/// Asks the server, with the secret where it wants one.
pub const SECRET: PageFile = PageFile::script("/page/secret.js", include_str!("page/secret.js"));
/// The picture.
pub const ICON: PageFile = PageFile::new("/page/icon.svg", "image/svg+xml", include_str!("page/icon.svg"));

impl PageFile {
    /// The page itself.
    pub const fn html(path: &'static str, text: &'static str) -> Self {
        PageFile::new(path, "text/html; charset=utf-8", text)
    }

    /// A style sheet.
    pub const fn css(path: &'static str, text: &'static str) -> Self {
        PageFile::new(path, "text/css; charset=utf-8", text)
    }

    /// A script.
    pub const fn script(path: &'static str, text: &'static str) -> Self {
        PageFile::new(path, "text/javascript; charset=utf-8", text)
    }

    const fn new(path: &'static str, media_type: &'static str, text: &'static str) -> Self {
        PageFile { path, media_type, text }
    }
}

/// A route for each file.
pub fn routes<S: Clone + Send + Sync + 'static>(files: &[PageFile]) -> Router<S> {
    files.iter().fold(Router::new(), |router, &PageFile { path, media_type, text }| {
        router.route(path, get(move || async move { ([(CONTENT_TYPE, media_type)], text) }))
    })
}
