//! `weir serve` and `weir run --serve`, real processes that are asked over HTTP.

use crate::support::{Workplace, ad_click, borrowed, pause, signal, wait_until};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Most of the sample's clicks are of the quarter of an hour from then on, and none is an hour away.
const FROM: i64 = 1_646_352_000;

/// A process that serves, and what it has said so far.
struct Served {
    child: Child,
    address: String,
    said: std::sync::mpsc::Receiver<String>,
    heard: Vec<String>,
}

impl Served {
    /// Starts it, and waits until it says where its page is.
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, said) = std::sync::mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
        drop(tell);
        let mut served = Served { child, address: String::new(), said, heard: Vec::new() };
        let line = served.hear("page at http://");
        served.address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_string();
        served
    }

    /// The first line, from here on, with a text in it.
    fn hear(&mut self, text: &str) -> String {
        loop {
            let line = self.said.recv_timeout(Duration::from_secs(120));
            let line = line.unwrap_or_else(|_| panic!("it did not say '{text}', but {:#?}", self.heard));
            self.heard.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn count(&self, ad: &str) -> i64 {
        let (status, answer) =
            self.get(&format!("/v1/ads/{ad}/aggregated_count?from={}&to={}", FROM - 3600, FROM + 3600));
        assert_eq!(status, 200, "{answer}");
        answer["count"].as_i64().unwrap()
    }

    /// Ends it by a signal; it ends well.
    fn end(mut self, name: &str) {
        signal(&self.child, name);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {:#?}", self.heard);
    }
}

/// `weir run` of the ad-click job over the sample's clicks, its tables in `store.sqlite`.
fn run(place: &Workplace, more: &[&str], arguments: &[&str]) -> Command {
    let settings = ["sink.store.url=sqlite:store.sqlite", "sink.store_top.url=sqlite:store.sqlite"];
    let job = ad_click("jobs/data/clicks", "out", "data", &[&settings[..], more].concat());
    place.weir(&[&borrowed(&job)[..], &["--serve", "127.0.0.1:0"], arguments].concat())
}

fn serve(place: &Workplace) -> Command {
    place.weir(&["serve", "--store", "sqlite:store.sqlite", "--listen", "127.0.0.1:0"])
}

#[test]
fn a_bounded_job_is_served_on_and_any_number_of_copies_say_the_same() {
    let place = Workplace::new();
    // Before there is a store, a copy says so; it finds the store when it comes.
    let copy = Served::start(serve(&place));
    assert_eq!(copy.get("/v1/freshness").0, 503);

    let mut job = Served::start(run(&place, &[], &["--json"]));
    let summary: Value = serde_json::from_str(&job.hear("{")).unwrap();
    let question = job.hear("curl 'http://");
    let path = question.split(job.address.as_str()).nth(1).unwrap().trim_end_matches('\'').to_string();
    job.hear("still serving at http://");
    let (status, top) = job.get(&path);
    assert_eq!((status, top["ad_ids"].as_array().unwrap().len()), (200, 3), "{path}: {top}");

    let counts: i64 = (0..2000).map(|ad| format!("ad{ad:06}")).map(|ad| job.count(&ad)).sum();
    let counted = summary["events_in"].as_i64().unwrap()
        - summary["duplicates"].as_i64().unwrap()
        - summary["late"].as_i64().unwrap()
        - summary["dead_letters"].as_i64().unwrap();
    assert_eq!(counts, counted, "every click that was counted is in the answers");
    assert_eq!(job.get(&format!("/v1/ads/ad000001/aggregated_count?from={}", FROM + 1)).0, 400);
    assert_eq!(copy.get("/v1/freshness").1["ended"], true, "nothing fresher comes");
    for path in [path.as_str(), "/v1/filters"] {
        assert_eq!(copy.get(path), job.get(path), "{path}");
    }
    let filters = json!([{"id": "0000", "predicate": "true"}, {"id": "0012", "predicate": "country = 'USA'"}]);
    assert_eq!(copy.get("/v1/filters").1["filters"], filters);
    // The five minutes to a full minute are a window that the job counts itself, and the same computed.
    let window = |n: i64| format!("/v1/ads/popular_ads?count={n}&window=5&to={}", FROM + 600);
    let (few, all) = (copy.get(&window(3)).1, copy.get(&window(1000)).1);
    assert_eq!(few["ad_ids"].as_array().unwrap()[..], all["ad_ids"].as_array().unwrap()[..3]);

    job.end("INT");
    assert!(copy.count("ad000001") > 0, "the store stays");
    copy.end("TERM");
}

#[test]
fn a_followed_job_is_visible_while_it_runs_and_one_signal_ends_both() {
    let place = Workplace::new();
    // Tables may have any names.
    let job = Served::start(run(&place, &["source.clicks.follow=true", "sink.store.table=clicks_of_ads"], &[]));
    wait_until("clicks in the store", || job.get("/v1/freshness").1["last_minute"].is_i64());
    wait_until("all of the first minute", || {
        pause(Duration::from_millis(100));
        job.get(&format!("/v1/ads/popular_ads?window=15&count=1&to={}", FROM + 900)).1["counts"][0].as_i64() > Some(10)
    });
    let (_, freshness) = job.get("/v1/freshness");
    assert!(freshness["behind_seconds"].as_f64().unwrap() < 60.0, "{freshness}");
    assert_eq!(freshness["ended"], false);
    let copy = Served::start(serve(&place));
    job.end("INT");
    assert_eq!(copy.get("/v1/freshness").1["ended"], true, "stopped, too");
    copy.end("INT");
}

/// Clicks by country and minute: nothing that the page of clicks on ads could show.
const COUNTRIES: &str = r#"
[job]
name = "countries"

[source.clicks]
connector = "files"
path = "jobs/data/clicks"
format = "click_log"
event_time = "click_timestamp"
watermark = { delay = "15s", max_jump = "1h" }

[aggregate.per_minute]
input = "clicks"
key = ["country"]
window = { tumbling = "1m", allowed_lateness = "10m" }
select = { clicks = "count(*)" }

[sink.store]
input = "per_minute"
connector = "sql"
url = "sqlite:store.sqlite"
table = "countries"
enabled = false
"#;

#[test]
fn a_job_about_something_else_is_served_too() {
    let place = Workplace::new();
    std::fs::write(place.path("countries.toml"), COUNTRIES).unwrap();
    let mut job = Served::start(place.weir(&["run", "countries.toml", "--serve", "127.0.0.1:0"]));
    job.hear("try");
    job.hear("/v1/tables'");
    let question = job.hear("curl 'http://");
    let path = question.split(job.address.as_str()).nth(1).unwrap().trim_end_matches('\'').to_string();
    assert_eq!(path, "/v1/tables/countries?by=clicks&limit=3");
    job.hear("still serving at http://");
    let (status, answer) = job.get(&path);
    assert_eq!((status, answer["rows"].as_array().unwrap().len()), (200, 3), "{answer}");
    let (_, tables) = job.get("/v1/tables");
    let table = &tables["tables"][0];
    assert_eq!((&table["series"], &table["values"]), (&json!(["country"]), &json!(["clicks"])), "{table}");
    assert_eq!((&table["time"], &table["ended"]), (&json!("window_start"), &json!(true)), "{table}");
    let newest = answer["rows"][0]["window_start"].as_i64().unwrap();
    let (_, country) = job.get(&format!("/v1/tables/countries?key=USA&to={newest}&limit=1000"));
    let rows = country["rows"].as_array().unwrap();
    assert!(rows.len() > 5 && rows.iter().all(|row| row["country"] == "USA"), "{country}");
    assert!(rows.windows(2).all(|two| two[0]["window_start"].as_i64() > two[1]["window_start"].as_i64()));
    let copy = Served::start(serve(&place));
    assert_eq!(copy.get(&path), (200, answer));
    for path in ["/v1/freshness", "/v1/filters", "/v1/ads/a/aggregated_count?from=0&to=60"] {
        let (status, problem) = copy.get(path);
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(status, 404, "no clicks on ads are counted: {detail}");
        assert!(
            detail.starts_with("the store has no table of counts") && detail.ends_with("only countries"),
            "{detail}"
        );
    }
    copy.end("TERM");
    job.end("INT");
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_runs() {
    let place = Workplace::new();
    let told = place.refused(&["run", "jobs/talkingdata.toml", "--serve", "127.0.0.1:0"], 2);
    assert!(told.contains("--serve shows tables, but job 'talkingdata' writes none"), "{told}");
    for address in ["127.0.0.1", "127.0.0.1:99999"] {
        let told = place.refused(&["run", "jobs/ad_click.toml", "--quiet", "--serve", address], 2);
        assert!(told.contains(&format!("cannot listen on '{address}': it is no HOST:PORT")), "{told}");
        place.refused(&["serve", "--store", "sqlite:store.sqlite", "--listen", address], 2);
    }
    let told = place.refused(&["serve", "--store", "store.sqlite"], 2);
    assert!(told.contains("sqlite:PATH or postgres://USER@HOST/DATABASE"), "{told}");
    let told = place.refused(&["serve", "--store", "sqlite:store.sqlite", "--listen", "256.0.0.1:1"], 1);
    assert!(told.contains("cannot listen on 256.0.0.1:1"), "{told}");
}
