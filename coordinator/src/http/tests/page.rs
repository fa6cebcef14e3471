//! The page in headless Chromium. Where no Chromium is installed these tests are skipped; in CI they fail.

use super::{fixture, serve_guarded, serve_snapshot};
use crate::{
    http::{Access, page::FILES},
    status::Snapshot,
};
use axum::{
    Router,
    extract::Request,
    http::header::CONTENT_TYPE,
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use weir_http::testing::{Browser, check_files, start};
use weir_proto::secret::ClusterSecret;

/// Heights of pictures, wide and narrow.
const PICTURE: (u32, u32) = (2600, 1800);

#[tokio::test]
async fn the_files_name_nothing_outside_and_hold_no_script_in_the_html() {
    check_files(&serve_snapshot(Snapshot::default(), |_, _| Ok(())), &FILES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_show_jobs_graph_and_workers() {
    let Some(browser) = Browser::find() else { return };
    let server = start(serve_snapshot(fixture::snapshot(), |_, _| Ok(()))).await;

    let page = browser.show(&server, "").await;
    page.has(&["ad-click", "talkingdata", "needs 4 slots, 0 free", "RUNNING", "FAILED", "412 k/s", "of 4"]);
    page.is_quiet();
    browser.picture(&server, "", "jobs", PICTURE).await;

    let page = browser.show(&server, "#/jobs/ad-click").await;
    for operator in fixture::graph().job.nodes {
        page.has(&[&format!("data-operator=\"{}\"", operator.id)]);
    }
    page.has(&["395 k in/s", "362 k out/s", "hash", "backpressure", "57 %", "15.2 s ago"]);
    page.has(&["worker w-b0d518: its connection broke", "duplicates 60,120,881", "1,840", "Drain and finish"]);
    page.has(&["lag 1,204, 1.5 s", "Commits", "1,904", "1.3/s", "41 ms", "312 ms", "0.7 ms"]);
    assert_eq!(page.html.matches("class=\"bar\"").count(), 120, "two charts of 60 bars");
    page.is_quiet();
    browser.picture(&server, "#/jobs/ad-click", "job", PICTURE).await;

    let page = browser.show(&server, "#/jobs/revenue").await;
    page.has(&["'twelve' is not a number"]);
    assert!(!page.html.contains("data-action"), "there is nothing to stop any more");
    browser.picture(&server, "#/jobs/talkingdata", "waiting", PICTURE).await;

    let page = browser.show(&server, "#/workers").await;
    page.has(&["w-1f3a90", "10.0.0.12:7071", "lost", "48 s ago", "4 subtasks"]);
    page.is_quiet();
    browser.picture(&server, "#/workers", "workers", PICTURE).await;

    let page = browser.show(&server, "#/jobs/ad-clik").await;
    page.has(&["there is no job 'ad-clik'; there are: ad-click"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_stay_text() {
    let Some(browser) = Browser::find() else { return };
    let server = start(serve_snapshot(fixture::hostile_snapshot(), |_, _| Ok(()))).await;
    let escaped: String = fixture::HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for view in [String::new(), format!("#/jobs/{escaped}"), "#/workers".into(), format!("#/jobs/{escaped}x")] {
        let page = browser.show(&server, &view).await;
        page.has(&["&lt;img src=x onerror="]);
        assert!(
            !page.html.contains("<img src=\"x\"") && !page.html.contains("<img src=x"),
            "{view}: markup came in:\n{}",
            page.html
        );
        assert_eq!(page.html.matches("<script").count(), 1, "{view}: a script came in");
        assert!(!page.html.contains("<title>owned"), "{view}: a script ran");
        // A resource or script that the policy had to stop would be told of here.
        assert_eq!(page.console.iter().filter(|line| !line.contains("404")).count(), 0, "{view}: {:?}", page.console);
    }
}

/// A person in a hurry: presses a button of the job's view, and answers the question that comes.
const PRESS: &str = r#"
const answer = location.search.slice(1);
const wait = setInterval(() => {
  const button = document.querySelector("[data-action=drain]");
  if (button === null) return;
  clearInterval(wait);
  button.click();
  document.getElementById(answer).click();
}, 50);
"#;

/// Jobs, and whether they are to be drained; absent when they are canceled.
type Asked = Arc<Mutex<Vec<(String, Option<bool>)>>>;

/// The page with that person in it, and what was asked for.
fn pressed() -> (Router, Asked) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let router = serve_snapshot(fixture::snapshot(), move |job, drain| {
        log.lock().push((job.to_string(), drain));
        Ok(())
    });
    let html = FILES[0].text.replace("</head>", "<script type=\"module\" src=\"press.js\"></script></head>");
    let press = get(|| async { ([(CONTENT_TYPE, "text/javascript")], PRESS) });
    let page = get(move || async move { Html(html) });
    (router.route("/press.js", press).route("/pressed", page), asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_asked_for_only_after_a_yes() {
    let Some(browser) = Browser::find() else { return };
    let (router, asked) = pressed();
    let server = start(router).await;
    let page = browser.show(&server, "pressed?confirm-no#/jobs/ad-click").await;
    assert_eq!(*asked.lock(), vec![], "{}", page.html);
    page.is_quiet();

    let page = browser.show(&server, "pressed?confirm-yes#/jobs/ad-click").await;
    page.has(&["ad-click: requested. Its state shows the progress."]);
    assert_eq!(*asked.lock(), vec![("ad-click".to_string(), Some(true))]);
    page.is_quiet();
}

/// Somebody who knows the secret, and types it in as soon as it is asked for.
const TYPE: &str = r#"
const ask = setInterval(() => {
  const field = document.querySelector("input[type=password]");
  if (field === null) return;
  clearInterval(ask);
  field.value = "open sesame";
  [...field.closest("dialog").querySelectorAll("button")].pop().click();
}, 50);
"#;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_is_asked_for_the_secret_where_there_is_one() {
    let Some(browser) = Browser::find() else { return };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let access = Access { keys: ClusterSecret::from("open sesame").into(), ..Access::default() };
    let router = serve_guarded(fixture::snapshot(), access, move |job, drain| {
        log.lock().push((job.to_string(), drain));
        Ok(())
    });
    let html = FILES[0].text.replace("</head>", "<script type=\"module\" src=\"press.js\"></script></head>");
    let press = get(|| async { ([(CONTENT_TYPE, "text/javascript")], format!("{PRESS}{TYPE}")) });
    let router = router.route("/press.js", press).route("/pressed", get(move || async move { Html(html) }));
    let server = start(router).await;
    let page = browser.show(&server, "pressed?confirm-yes#/jobs/ad-click").await;
    page.has(&["ad-click: requested. Its state shows the progress."]);
    assert_eq!(*asked.lock(), vec![("ad-click".to_string(), Some(true))]);
}

/// Answers the cluster's description only for the requests whose number, from 0, is told to be good.
fn flaky(good: impl Fn(usize) -> bool + Clone + Send + Sync + 'static) -> Router {
    let count = Arc::new(AtomicUsize::new(0));
    let gate = move |request: Request, next: Next| {
        let (count, good) = (count.clone(), good.clone());
        async move {
            let counted = request.uri().path() == "/api/v1/cluster";
            if counted && !good(count.fetch_add(1, Ordering::SeqCst)) {
                return gone();
            }
            next.run(request).await
        }
    };
    serve_snapshot(fixture::snapshot(), |_, _| Ok(())).layer(middleware::from_fn(gate))
}

/// What a proxy says while its server restarts.
fn gone() -> Response {
    (axum::http::StatusCode::BAD_GATEWAY, "<html>Bad Gateway</html>").into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_outlives_its_coordinator() {
    let Some(browser) = Browser::find() else { return };
    let server = start(flaky(|request| request == 0)).await;
    let page = browser.show(&server, "").await;
    page.has(&["Coordinator out of reach since", "ad-click", "class=\"stale\""]);

    let server = start(flaky(|request| request > 0)).await;
    let page = browser.show(&server, "").await;
    page.has(&["ad-click"]);
    assert!(!page.html.contains("out of reach since"), "it is back:\n{}", page.html);
}
