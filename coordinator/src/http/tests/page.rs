//! The page in headless Chromium. Where no Chromium is installed these tests say so and pass.
//!
//! `WEIR_SCREENSHOTS=DIR` keeps pictures of every view, light and dark, wide and narrow, for eyes to judge.

use super::{fixture, get, serve_snapshot};
use crate::{
    http::{page::FILES, router, serve},
    status::{Snapshot, StatusBoard},
};
use axum::{
    Router,
    extract::Request,
    http::header::CONTENT_TYPE,
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get as get_route,
};
use std::{
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{process::Command, sync::oneshot};
use weir_engine::env::Env;
use weir_proto::net::{Network, TcpNetwork};

/// A browser that has not come to an end by then never will.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server on loopback, ended when it is dropped.
struct Server {
    address: String,
    _stop: oneshot::Sender<()>,
}

async fn start(router: Router) -> Server {
    let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
    let address = listener.address();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(listener, router, Env::default(), async {
        let _ = stopped.await;
    }));
    Server { address, _stop: stop }
}

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
        for (width, height) in [(1440, 2600), (500, 1800)] {
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
    let router = serve_snapshot(Snapshot::default(), |_, _| Ok(()));
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
async fn the_views_show_jobs_graph_and_workers() {
    let Some(program) = chromium() else { return };
    let server = start(serve_snapshot(fixture::snapshot(), |_, _| Ok(()))).await;

    let (page, console) = elements(&program, &server, "").await;
    assert_shows(&page, &["ad-click", "talkingdata", "needs 4 slots, 0 free", "RUNNING", "FAILED", "412 k/s", "of 4"]);
    assert_eq!(console, Vec::<String>::new());
    picture(&program, &server, "", "jobs").await;

    let (page, console) = elements(&program, &server, "#/jobs/ad-click").await;
    for operator in fixture::graph().job.nodes {
        assert_shows(&page, &[&format!("data-operator=\"{}\"", operator.id)]);
    }
    assert_shows(&page, &["395 k in/s", "362 k out/s", "hash", "backpressure", "57 %", "15.2 s behind"]);
    assert_shows(
        &page,
        &["worker w-b0d518: its connection broke", "duplicates 60,120,881", "1,840", "Drain and finish"],
    );
    assert_eq!(page.matches("class=\"bar\"").count(), 120, "two charts of 60 bars");
    assert_eq!(console, Vec::<String>::new());
    picture(&program, &server, "#/jobs/ad-click", "job").await;

    let (page, _) = elements(&program, &server, "#/jobs/revenue").await;
    assert_shows(&page, &["'twelve' is not a number"]);
    assert!(!page.contains("data-action"), "there is nothing to stop any more");
    picture(&program, &server, "#/jobs/talkingdata", "waiting").await;

    let (page, console) = elements(&program, &server, "#/workers").await;
    assert_shows(&page, &["w-1f3a90", "10.0.0.12:7071", "lost", "48 s ago", "4 subtasks"]);
    assert_eq!(console, Vec::<String>::new());
    picture(&program, &server, "#/workers", "workers").await;

    let (page, _) = elements(&program, &server, "#/jobs/ad-clik").await;
    assert_shows(&page, &["there is no job 'ad-clik'; there are: ad-click"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_stay_text() {
    let Some(program) = chromium() else { return };
    let server = start(serve_snapshot(fixture::hostile_snapshot(), |_, _| Ok(()))).await;
    let escaped: String = fixture::HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for view in [String::new(), format!("#/jobs/{escaped}"), "#/workers".into(), format!("#/jobs/{escaped}x")] {
        let (page, console) = elements(&program, &server, &view).await;
        assert_shows(&page, &["&lt;img src=x onerror="]);
        assert!(!page.contains("<img src=\"x\"") && !page.contains("<img src=x"), "{view}: markup came in:\n{page}");
        assert_eq!(page.matches("<script").count(), 1, "{view}: a script came in");
        assert!(!page.contains("<title>owned"), "{view}: a script ran");
        // A resource or script that the policy had to stop would be told of here.
        assert_eq!(console.iter().filter(|line| !line.contains("404")).count(), 0, "{view}: {console:?}");
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
        log.lock().unwrap().push((job.to_string(), drain));
        Ok(())
    });
    let html = FILES[0].2.replace("</head>", "<script type=\"module\" src=\"press.js\"></script></head>");
    let press = get_route(|| async { ([(CONTENT_TYPE, "text/javascript")], PRESS) });
    let page = get_route(move || async move { Html(html) });
    (router.route("/press.js", press).route("/pressed", page), asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_asked_for_only_after_a_yes() {
    let Some(program) = chromium() else { return };
    let (router, asked) = pressed();
    let server = start(router).await;
    let (page, console) = elements(&program, &server, "pressed?confirm-no#/jobs/ad-click").await;
    assert_eq!(*asked.lock().unwrap(), vec![], "{page}");
    assert_eq!(console, Vec::<String>::new());

    let (page, console) = elements(&program, &server, "pressed?confirm-yes#/jobs/ad-click").await;
    assert_shows(&page, &["ad-click: asked for. Its state says how far it is."]);
    assert_eq!(*asked.lock().unwrap(), vec![("ad-click".to_string(), Some(true))]);
    assert_eq!(console, Vec::<String>::new());
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
    let Some(program) = chromium() else { return };
    let server = start(flaky(|request| request == 0)).await;
    let (page, _) = elements(&program, &server, "").await;
    assert_shows(&page, &["Coordinator out of reach since", "ad-click", "class=\"stale\""]);

    let server = start(flaky(|request| request > 0)).await;
    let (page, _) = elements(&program, &server, "").await;
    assert_shows(&page, &["ad-click"]);
    assert!(!page.contains("out of reach since"), "it is back:\n{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_ends_when_it_is_told_even_with_a_silent_connection() {
    let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
    let address = listener.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let (actions, _asked) = tokio::sync::mpsc::channel(1);
    let router = router(StatusBoard::default(), actions);
    let serving = tokio::spawn(serve(listener, router, Env::default(), async {
        let _ = stopped.await;
    }));
    let _silent = TcpNetwork.connect(&address).await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), serving).await.expect("it ends").unwrap().unwrap();
    assert!(TcpNetwork.connect(&address).await.is_err(), "nobody listens any more");
}
