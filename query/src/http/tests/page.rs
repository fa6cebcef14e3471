//! The page in headless Chromium. Where no Chromium is installed these tests are skipped; in CI they fail.

use super::{at, clicks};
use crate::{
    http::page::FILES,
    store::{
        Store,
        tests::fixture::{Fixture, MARCH},
    },
};
use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use weir_http::testing::{Browser, check_files, start};

/// Heights of pictures, wide and narrow.
const PICTURE: (u32, u32) = (900, 1500);
/// While the sample's clicks come in: the last minute of [`clicks`] runs.
const LIVE: i64 = MARCH + 902_000 - 60_000;
/// Years later.
const YEARS_LATER: i64 = MARCH + 4 * 31_557_600_000;

#[tokio::test]
async fn the_files_name_nothing_outside_and_hold_no_script_in_the_html() {
    let fixture = clicks().await;
    check_files(&at(&fixture.store, LIVE), &FILES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_clicks_are_listed_and_charted() {
    let Some(browser) = Browser::find() else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, LIVE)).await;
    let page = browser.show(&server, "").await;
    page.is_quiet();
    page.has(&["Live.", "2022-03-04 00:10 to 00:15", "ad000001", "618", "0012 · country = 'USA'"]);
    page.has(&["all 812 counts agree (2022-03-04 00:00 to 00:10 UTC)"]);
    page.has(&["ad-click, checkpoint 120", "clicks on ad000001 from 2022-03-03 23:15 to 2022-03-04 00:15 UTC"]);
    assert_eq!(page.html.matches("class=\"bar\"").count(), 10 + 14, "ten ads, and fourteen minutes that are over");
    assert_eq!(page.html.matches("class=\"bar running\"").count(), 1, "and the one that runs");
    browser.picture(&server, "", "live", PICTURE).await;

    let chosen = "#filter=0012&window=15&count=25&ad=ad000007&span=15";
    let page = browser.show(&server, chosen).await;
    page.is_quiet();
    page.has(&["2022-03-04 00:00 to 00:15", "class=\"chosen\"", "on ad000007 from 2022-03-04 00:00 to 00:15"]);
    browser.picture(&server, chosen, "chosen", PICTURE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_old_clicks_now_is_the_end_of_the_newest_minute() {
    let Some(browser) = Browser::find() else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, YEARS_LATER)).await;
    let page = browser.show(&server, "").await;
    page.is_quiet();
    page.has(&["Past clicks.", "“now” on this page is 2022-03-04 00:15 UTC", "ad000001", "3 years ago"]);
    browser.picture(&server, "", "old", PICTURE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_ended_does_not_grow_stale() {
    let Some(browser) = Browser::find() else { return };
    let fixture = clicks().await;
    fixture.execute("UPDATE weir_sinks SET ended = 1").await;
    let server = start(at(&fixture.store, MARCH + 1_200_000)).await;
    let page = browser.show(&server, "").await;
    page.is_quiet();
    page.has(&["The job has ended.", "“now” on this page is 2022-03-04 00:15 UTC", "every click that the job read"]);
    page.has(&["It ended 4 min ago", "class=\"ended\"", "ad000001", "618"]);
    assert!(!page.html.contains("bar running"), "no minute runs any more");
    browser.picture(&server, "", "ended", PICTURE).await;

    let server = start(at(&fixture.store, YEARS_LATER)).await;
    browser.show(&server, "").await.has(&["The job has ended.", "It ended 3 years ago"]);
    fixture.execute("DELETE FROM ad_counts").await;
    browser.show(&server, "").await.has(&[
        "The job has ended.",
        "It counted no clicks.",
        "Nobody clicked in this window.",
    ]);
    browser.picture(&server, "", "nobody", PICTURE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said() {
    let Some(browser) = Browser::find() else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, LIVE)).await;
    let page = browser.show(&server, "#filter=77").await;
    page.has(&["there is no filter '77'; there are: 0000, 0012"]);
    let page = browser.show(&server, "#ad=nobody").await;
    page.is_quiet();
    page.has(&["Nobody clicked nobody from"]);

    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}/store.sqlite", folder.path().display()), 1).unwrap();
    let server = start(at(&store, LIVE)).await;
    let page = browser.show(&server, "").await;
    page.has(&["nothing has been committed yet: there is no database file"]);
    browser.picture(&server, "", "nothing", PICTURE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_ids_stay_text() {
    let Some(browser) = Browser::find() else { return };
    const HOSTILE: &str = "<img src=x onerror=document.title='owned'>";
    let fixture = Fixture::sqlite().await;
    fixture.commit(1, LIVE).await;
    fixture.insert(60_000, &[(MARCH + 14 * 60_000, "0000", HOSTILE.into(), 5, 0)]).await;
    let server = start(at(&fixture.store, LIVE)).await;
    let escaped: String = HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for view in [String::new(), format!("#ad={escaped}"), format!("#filter={escaped}")] {
        let page = browser.show(&server, &view).await;
        page.has(&["&lt;img src=x onerror="]);
        assert!(
            !page.html.contains("<img src=\"x\"") && !page.html.contains("<img src=x"),
            "{view}: markup came in:\n{}",
            page.html
        );
        assert!(!page.html.contains("<title>owned"), "{view}: a script ran");
        // A resource or script that the policy had to stop would be told of here.
        assert_eq!(page.console.iter().filter(|line| !line.contains("400")).count(), 0, "{view}: {:?}", page.console);
    }
}

/// Answers only the first `good` requests for freshness.
fn flaky(router: Router, good: usize) -> Router {
    let count = Arc::new(AtomicUsize::new(0));
    let gate = move |request: Request, next: Next| {
        let count = count.clone();
        async move {
            let counted = request.uri().path() == "/v1/freshness";
            if counted && count.fetch_add(1, Ordering::SeqCst) >= good { gone() } else { next.run(request).await }
        }
    };
    router.layer(middleware::from_fn(gate))
}

/// What a proxy says while its server restarts.
fn gone() -> Response {
    (axum::http::StatusCode::BAD_GATEWAY, "<html>Bad Gateway</html>").into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_outlives_its_service() {
    let Some(browser) = Browser::find() else { return };
    let fixture = clicks().await;
    let server = start(flaky(at(&fixture.store, LIVE), 1)).await;
    let page = browser.show(&server, "").await;
    page.has(&["Out of reach for", "ad000001", "class=\"stale\""]);
    browser.picture(&server, "", "lost", PICTURE).await;
}
