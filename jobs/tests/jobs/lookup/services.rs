//! HTTP services: slow ones, those that fail, and those that are away.

use super::Bench;
use crate::support::{execute, execute_until};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use weir_engine::env::Env;
use weir_test_support::web_server::{Answer, Posted, WebServer};

/// The ad that a request is about.
pub fn ad_of(posted: &Posted) -> String {
    posted.request.rsplit('/').next().unwrap_or_default().split(['?', ' ']).next().unwrap_or_default().to_owned()
}

/// An object.
pub fn json(body: impl Into<String>) -> Answer {
    Answer::Status(200, "Content-Type: application/json\r\n".into(), body.into())
}

/// The keys of a lookup at a server.
pub fn lookup(server: &WebServer, more: &str) -> String {
    format!(
        "connector = \"http\"\nurl = \"http://{}/ads/{{ad_id}}\"\nschema = {{ budget = \"int\" }}\n{more}",
        server.address()
    )
}

/// Keeps a server's thread from answering for a while.
pub fn doze(span: Duration) {
    let lock = Mutex::new(());
    let guard = lock.lock().unwrap();
    let _ = Condvar::new().wait_timeout(guard, span).unwrap();
}

async fn pause(ms: u64) {
    Env::default().sleep(Duration::from_millis(ms)).await;
}

fn requests(server: &WebServer) -> BTreeMap<String, usize> {
    let mut requests = BTreeMap::new();
    for (posted, _) in server.posted() {
        *requests.entry(ad_of(&posted)).or_default() += 1;
    }
    requests
}

#[test]
fn each_answer_becomes_what_it_means() {
    let server = WebServer::start();
    let tries = Mutex::new(BTreeMap::<String, usize>::new());
    server.answer(move |posted| {
        let ad = ad_of(posted);
        let tried = {
            let mut tries = tries.lock().unwrap();
            let tried = tries.entry(ad.clone()).or_default();
            *tried += 1;
            *tried
        };
        match (ad.as_str(), tried) {
            ("unknown", _) => Answer::of(404),
            ("empty", _) => Answer::of(204),
            ("refused", _) => Answer::Status(422, String::new(), "no such ad".into()),
            ("flaky", 1) => Answer::of(503),
            ("flaky", 2) => Answer::None,
            ("down", _) => Answer::of(500),
            ("silent", _) => {
                doze(Duration::from_secs(4));
                json("{\"budget\": 9}")
            }
            ("odd", _) => json("{\"budget\": \"much\"}"),
            ("lines", _) => json("{\n  \"budget\": 5,\n  \"other\": [1, 2]\n}\n"),
            ("a%20b%2F..%3F%26", _) => json("{\"budget\": 6}"),
            ("plain", _) => json("{\"budget\": 7}"),
            _ => json("null"),
        }
    });
    let ads = [
        "plain", "unknown", "empty", "refused", "flaky", "down", "silent", "odd", "lines", "a b/..?&", "..", "", "none",
    ];
    for (on_failure, is_null) in [("dead_letter", false), ("null", true)] {
        let bench = Bench::new(ads.map(Some).into_iter().chain([None]));
        let more = format!(
            "timeout = \"1s\"\nretries = {{ times = 2, pause = \"5ms\", longest_pause = \"10ms\" }}\non_failure = \"{on_failure}\""
        );
        execute(bench.job(&lookup(&server, &more), 2), &bench.checkpoints());
        let (out, refused) = (bench.out(), bench.refused());
        let budget = |ad: &str| {
            let n = ads.iter().position(|other| *other == ad).unwrap() as i64;
            out.get(&n).map(|row| row.get("budget").cloned().unwrap_or_default())
        };
        for (ad, expected) in [("plain", "7"), ("lines", "5"), ("a b/..?&", "6")] {
            assert_eq!(budget(ad).as_deref(), Some(expected), "{ad}");
        }
        // What is flaky has an answer at the third time.
        for ad in ["unknown", "empty", "none", "flaky"] {
            assert_eq!(budget(ad).as_deref(), Some(""), "{ad}: {refused:?}");
        }
        assert!(out.contains_key(&(ads.len() as i64)), "a row without a key is not asked about");
        for (ad, part) in [
            ("refused", "it answers 422 Unprocessable Entity: no such ad"),
            ("down", "it answers 500 Internal Server Error (asked 3 times)"),
            ("silent", "(asked 3 times)"),
            ("odd", "the answer is not what is expected"),
            ("..", "cannot stand in a URL"),
            ("\"\"", "cannot stand in a URL"),
        ] {
            let ad_shown = ad.trim_matches('"');
            if is_null {
                assert_eq!(budget(ad_shown).as_deref(), Some(""), "{ad}");
                continue;
            }
            assert_eq!(budget(ad_shown), None, "{ad}");
            let raw = format!("\"ad_id\":\"{ad_shown}\"");
            let told = refused.iter().find(|(row, _)| row.contains(&raw)).map(|(_, reason)| reason.as_str());
            assert!(told.is_some_and(|told| told.contains(part)), "{ad}: {told:?}");
        }
        assert_eq!(refused.len(), if is_null { 0 } else { 6 }, "{refused:?}");
    }
    assert_eq!(requests(&server)["down"], 6, "three times in each run");
}

/// As the documentation has it: `title` before `price`, and each with its own value.
#[test]
fn values_of_an_answer_are_under_their_names() {
    let server = WebServer::start();
    server.answer(|_| json("{\"title\": \"Shoes\", \"offer\": {\"price\": \"9.99\"}}"));
    let bench = Bench::new(["a"].map(Some));
    let lookup = format!(
        "connector = \"http\"\nurl = \"http://{}/ads/{{ad_id}}\"\n\
         schema = {{ title = \"string\", price = {{ type = \"decimal(12, 2)\", path = \"offer.price\" }} }}",
        server.address()
    );
    execute(bench.job(&lookup, 1), &bench.checkpoints());
    let out = bench.out();
    assert_eq!((out[&0]["title"].as_str(), out[&0]["price"].as_str()), ("Shoes", "9.99"));
    assert_eq!(bench.columns(), ["n", "ad_id", "at", "title", "price"]);
}

#[test]
fn equal_keys_are_asked_about_once_and_so_many_at_a_time() {
    let server = WebServer::start();
    let (now, most) = (Arc::new(Mutex::new((0, 0))), 4);
    let seen = now.clone();
    server.answer(move |posted| {
        {
            let mut seen = seen.lock().unwrap();
            seen.0 += 1;
            seen.1 = seen.1.max(seen.0);
        }
        doze(Duration::from_millis(3));
        seen.lock().unwrap().0 -= 1;
        json(format!("{{\"budget\": {}}}", ad_of(posted).len()))
    });
    let names: Vec<String> = (0..900).map(|n| "x".repeat(1 + n % 40)).collect();
    let bench = Bench::new(names.iter().map(|name| Some(name.as_str())));
    let more = format!("in_flight = {most}\ncache = {{ ttl = \"1h\" }}");
    execute(bench.job(&lookup(&server, &more), 1), &bench.checkpoints());
    let out = bench.out();
    assert_eq!(out.len(), 900);
    for (n, row) in &out {
        assert_eq!(row["budget"], (1 + n % 40).to_string());
    }
    assert!(requests(&server).values().all(|count| *count == 1), "{:?}", requests(&server));
    assert_eq!(now.lock().unwrap().1, most, "as many as allowed, and no more");
}

/// A door that is closed until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let mut open = self.0.lock().unwrap();
        while !*open {
            open = self.1.wait_timeout(open, Duration::from_secs(60)).unwrap().0;
        }
    }
}

/// The newest checkpoint that is complete, by the names of the files of all lineages.
fn newest_checkpoint(bench: &Bench) -> u64 {
    let below = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = below(bench.checkpoints().join("jobs/looked-up/checkpoints")).flat_map(|entry| below(entry.path()));
    let number = |name: &str| name.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    files.filter_map(|file| number(&file.file_name().to_string_lossy())).max().unwrap_or(0)
}

/// No answer comes before some checkpoints are complete.
fn check_barriers(names: &[String], parallelism: usize) {
    let (server, gate) = (WebServer::start(), Arc::new(Gate::default()));
    let waiting = gate.clone();
    server.answer(move |_| {
        waiting.wait();
        json("{\"budget\": 1}")
    });
    let bench = Bench::new(names.iter().map(|name| Some(name.as_str())));
    let job = bench.job(&lookup(&server, "in_flight = 10\ntimeout = \"100s\""), parallelism);
    let opened = gate.clone();
    let newest = || newest_checkpoint(&bench);
    execute_until(job, &bench.checkpoints(), |_| async move {
        let env = Env::default();
        let began = env.now();
        // All of the input has been read by then, and the job has not ended.
        while newest() < 5 {
            assert!(env.now() - began < Duration::from_secs(50), "no barrier passes: checkpoint {}", newest());
            pause(10).await;
        }
        opened.open();
    });
    let out = bench.out();
    assert_eq!(out.len(), names.len());
    assert!(out.values().all(|row| row["budget"] == "1"));
}

#[test]
fn barriers_pass_a_service_that_does_not_answer() {
    check_barriers(&(0..300).map(|n| format!("ad{n}")).collect::<Vec<_>>(), 2);
}

/// More rows than may wait: the others are read because barriers are behind them.
#[test]
fn barriers_pass_a_lookup_that_is_full() {
    check_barriers(&(0..40_000).map(|n| format!("ad{}", n % 50)).collect::<Vec<_>>(), 1);
}

#[test]
fn what_was_answered_before_a_stop_is_not_asked_again() {
    let (server, gate) = (WebServer::start(), Arc::new(Gate::default()));
    let waiting = gate.clone();
    server.answer(move |posted| {
        let ad = ad_of(posted);
        if ad == "slow" {
            waiting.wait();
        }
        json(format!("{{\"budget\": {}}}", ad.len()))
    });
    // All stand behind the first, which is not answered.
    let names: Vec<String> = std::iter::once("slow".to_owned()).chain((0..50).map(|n| format!("ad{n:03}"))).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(all.iter().map(|name| Some(*name)));
    let keys = lookup(&server, "timeout = \"60s\"");
    let answered = || server.posted().len();
    execute_until(bench.job(&keys, 1), &bench.checkpoints(), |stop| async move {
        while answered() < 50 {
            pause(10).await;
        }
        pause(100).await;
        stop.stop();
    });
    assert_eq!(bench.out().len(), 0, "nothing overtakes the first");
    gate.open();
    execute(bench.job(&keys, 3), &bench.checkpoints());
    let out = bench.out();
    assert_eq!(out.len(), 51);
    for (n, name) in names.iter().enumerate() {
        assert_eq!(out[&(n as i64)]["budget"], name.len().to_string());
    }
    let requests = requests(&server);
    assert!(requests.iter().all(|(ad, count)| ad == "slow" || *count == 1), "{requests:?}");
}

#[test]
fn a_service_that_is_away_is_waited_for_where_nothing_may_be_missing() {
    let (server, is_up) = (WebServer::start(), Arc::new(AtomicBool::new(false)));
    let up = is_up.clone();
    server.answer(move |_| if up.load(Ordering::SeqCst) { json("{\"budget\": 3}") } else { Answer::of(503) });
    let bench = Bench::new(["a", "b", "c"].map(Some));
    let job = bench
        .job(&lookup(&server, "on_failure = \"fail\"\nretries = { pause = \"10ms\", longest_pause = \"20ms\" }"), 1);
    let tried = || server.posted().len();
    execute_until(job, &bench.checkpoints(), |_| async move {
        // More often than it would be with an end.
        while tried() < 40 {
            pause(10).await;
        }
        is_up.store(true, Ordering::SeqCst);
    });
    assert!(bench.out().values().all(|row| row["budget"] == "3"));
    assert_eq!((bench.out().len(), bench.refused().len()), (3, 0));
}
