//! The page in headless Chromium. Where no Chromium is installed these tests say so and pass.
//!
//! `WEIR_SCREENSHOTS=DIR` keeps pictures of every view, light and dark, wide and narrow, for eyes to judge.

use super::{Server, at, clicks, get, start};
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
use std::{
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::process::Command;

/// A browser that has not come to an end by then never will.
const PATIENCE: Duration = Duration::from_secs(90);
/// While the sample's clicks come in: the last minute of [`clicks`] runs.
const LIVE: i64 = MARCH + 902_000 - 60_000;
/// Years later.
const YEARS_LATER: i64 = MARCH + 4 * 31_557_600_000;

fn chromium() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found =
        names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()));
    if found.is_none() {
        eprintln!("skipped: no Chromium is installed");
    }
    found
}

/// Runs Chromium on an address; what it wrote to standard output, and what the page said to the console.
async fn browse(program: &PathBuf, address: &str, arguments: &[String]) -> (String, Vec<String>) {
    let profile = tempfile::tempdir().unwrap();
    let browser = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-sync", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars"])
        // Whatever is not our server does not exist.
        .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(address)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, browser).await.expect("Chromium comes to an end").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let console = errors.lines().filter(|line| line.contains("CONSOLE")).map(Into::into).collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

/// The page's elements, three seconds of its time after it was opened.
async fn elements(program: &PathBuf, server: &Server, view: &str) -> (String, Vec<String>) {
    let address = format!("http://{}/{view}", server.address);
    browse(program, &address, &["--dump-dom".into(), "--virtual-time-budget=3000".into()]).await
}

/// Pictures of a view, when they are asked for.
async fn picture(program: &PathBuf, server: &Server, view: &str, name: &str) {
    let Some(folder) = std::env::var_os("WEIR_SCREENSHOTS") else { return };
    std::fs::create_dir_all(&folder).unwrap();
    for (looks, scheme) in [("light", 1), ("dark", 0)] {
        for (width, height) in [(1440, 900), (500, 1500)] {
            let file = PathBuf::from(&folder).join(format!("{name}-{looks}-{width}.png"));
            let arguments = [
                format!("--screenshot={}", file.display()),
                format!("--window-size={width},{height}"),
                format!("--blink-settings=preferredColorScheme={scheme}"),
                "--virtual-time-budget=6000".into(),
            ];
            browse(program, &format!("http://{}/{view}", server.address), &arguments).await;
            assert!(file.is_file(), "no picture at {}", file.display());
        }
    }
}

fn assert_shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "'{text}' is not on the page:\n{page}");
    }
}

#[tokio::test]
async fn the_files_name_nothing_outside_and_hold_no_script_in_the_html() {
    let fixture = clicks().await;
    let router = at(&fixture.store, LIVE);
    for (path, media_type, text) in FILES {
        let answer = get(&router, path).await;
        assert_eq!(answer.header("content-type"), media_type);
        assert_eq!(answer.text, text);
        let allowed = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!allowed.contains("http:") && !allowed.contains("https:"), "{path} names another place");
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(sink), "{path} turns text into markup by {sink}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_clicks_are_listed_and_charted() {
    let Some(program) = chromium() else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, LIVE)).await;
    let (page, console) = elements(&program, &server, "").await;
    assert_eq!(console, Vec::<String>::new());
    assert_shows(&page, &["Live.", "2022-03-04 00:10 to 00:15", "ad000001", "618", "0012 · country = 'USA'"]);
    assert_shows(&page, &["all 812 counts agree (2022-03-04 00:00 to 00:10 UTC)"]);
    assert_shows(
        &page,
        &["ad-click, checkpoint 120", "clicks on ad000001 from 2022-03-03 23:15 to 2022-03-04 00:15 UTC"],
    );
    assert_eq!(page.matches("class=\"bar\"").count(), 10 + 14, "ten ads, and fourteen minutes that are over");
    assert_eq!(page.matches("class=\"bar running\"").count(), 1, "and the one that runs");
    picture(&program, &server, "", "live").await;

    let chosen = "#filter=0012&window=15&count=25&ad=ad000007&span=15";
    let (page, console) = elements(&program, &server, chosen).await;
    assert_eq!(console, Vec::<String>::new());
    assert_shows(
        &page,
        &["2022-03-04 00:00 to 00:15", "class=\"chosen\"", "on ad000007 from 2022-03-04 00:00 to 00:15"],
    );
    picture(&program, &server, chosen, "chosen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_old_clicks_now_is_the_end_of_the_newest_minute() {
    let Some(program) = chromium() else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, YEARS_LATER)).await;
    let (page, console) = elements(&program, &server, "").await;
    assert_eq!(console, Vec::<String>::new());
    assert_shows(&page, &["Past clicks.", "“now” on this page is 2022-03-04 00:15 UTC", "ad000001", "3 years ago"]);
    picture(&program, &server, "", "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said() {
    let Some(program) = chromium() else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, LIVE)).await;
    let (page, _) = elements(&program, &server, "#filter=77").await;
    assert_shows(&page, &["there is no filter '77'; there are: 0000, 0012"]);
    let (page, console) = elements(&program, &server, "#ad=nobody").await;
    assert_eq!(console, Vec::<String>::new());
    assert_shows(&page, &["Nobody clicked nobody from"]);

    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}/store.sqlite", folder.path().display()), 1).unwrap();
    let server = start(at(&store, LIVE)).await;
    let (page, _) = elements(&program, &server, "").await;
    assert_shows(&page, &["nothing has been committed yet: there is no database file"]);
    picture(&program, &server, "", "nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_ids_stay_text() {
    let Some(program) = chromium() else { return };
    const HOSTILE: &str = "<img src=x onerror=document.title='owned'>";
    let fixture = Fixture::sqlite().await;
    fixture.commit(1, LIVE).await;
    fixture.insert(60_000, &[(MARCH + 14 * 60_000, "0000", HOSTILE.into(), 5, 0)]).await;
    let server = start(at(&fixture.store, LIVE)).await;
    let escaped: String = HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for view in [String::new(), format!("#ad={escaped}"), format!("#filter={escaped}")] {
        let (page, console) = elements(&program, &server, &view).await;
        assert_shows(&page, &["&lt;img src=x onerror="]);
        assert!(!page.contains("<img src=\"x\"") && !page.contains("<img src=x"), "{view}: markup came in:\n{page}");
        assert!(!page.contains("<title>owned"), "{view}: a script ran");
        // A resource or script that the policy had to stop would be told of here.
        assert_eq!(console.iter().filter(|line| !line.contains("400")).count(), 0, "{view}: {console:?}");
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
    let Some(program) = chromium() else { return };
    let fixture = clicks().await;
    let server = start(flaky(at(&fixture.store, LIVE), 1)).await;
    let (page, _) = elements(&program, &server, "").await;
    assert_shows(&page, &["Out of reach for", "ad000001", "class=\"stale\""]);
    picture(&program, &server, "", "lost").await;
}
