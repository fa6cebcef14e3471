//! Ports that strangers hold connections to, and what a process with few descriptors makes of it: real processes, one of them
//! limited by the shell.

use crate::support::{Workplace, ad_click, borrowed, settings, signal, wait_until};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// More than a process with so few descriptors can hold.
const STRANGERS: usize = 400;
const DESCRIPTORS: &str = "256";

/// A process that is ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `weir` with few descriptors, however many the machine would give it.
fn limited(place: &Workplace, arguments: &[&str]) -> Command {
    let weir = place.weir(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"")]);
    command.arg(weir.get_program()).args(weir.get_args()).stdin(Stdio::null());
    command.current_dir(place.path("")).env_remove("WEIR_LOG").env_remove("WEIR_CRASH_AT");
    command
}

/// Starts it and reads what it says until there is a line with this in it. What it says later is read away.
fn start(mut command: Command, text: &str) -> (Process, String) {
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let (tell, said) = std::sync::mpsc::channel();
    let streams: [Box<dyn Read + Send>; 2] =
        [Box::new(process.0.stdout.take().unwrap()), Box::new(process.0.stderr.take().unwrap())];
    for stream in streams {
        let tell = tell.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
    }
    let mut heard = Vec::new();
    loop {
        let line = said.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("'{text}' not in {heard:#?}"));
        if line.contains(text) {
            return (process, line);
        }
        heard.push(line);
    }
}

/// The address behind a text, up to what cannot be part of one.
fn address(line: &str, before: &str) -> String {
    let rest = line.split(before).nth(1).unwrap_or_else(|| panic!("no '{before}' in '{line}'"));
    rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect()
}

/// Connections that say nothing, or half of something.
fn strangers(address: &str) -> Vec<TcpStream> {
    (0..STRANGERS)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            if number % 2 == 0 {
                // It may be closed already.
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: ");
            }
            stream
        })
        .collect()
}

fn ask(address: &str, method: &str, path: &str, headers: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {path}: '{answer}'"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn idle_connections_stop_neither_a_job_nor_its_answers() {
    let place = Workplace::new();
    let tables = ["sink.store.url=sqlite:store.sqlite", "sink.store_top.url=sqlite:store.sqlite"];
    let more = [&tables[..], &["source.clicks.follow=true"]].concat();
    let job = ad_click("jobs/data/clicks", "out", "data", &more);
    let (mut job, line) =
        start(limited(&place, &[&borrowed(&job)[..], &["--serve", "127.0.0.1:0"]].concat()), "page at http://");
    let address = address(&line, "http://");
    let held = strangers(&address);
    // The job reads, checkpoints and commits, and whoever asks is answered.
    wait_until("clicks in the store", || ask(&address, "GET", "/v1/freshness", "").1["last_minute"].is_i64());
    place.wait_for_events("data", 4217);
    for _ in 0..10 {
        assert_eq!(ask(&address, "GET", "/v1/filters", "").0, 200);
    }
    signal(&job.0, "INT");
    assert!(job.0.wait().unwrap().success());
    drop(held);
}

#[test]
fn idle_connections_stop_no_cluster_and_actions_need_the_secret() {
    let place = Workplace::new();
    std::fs::write(place.path("secret"), "open sesame\n").unwrap();
    // The sample is elsewhere, behind a link.
    let sample = std::fs::canonicalize(place.path("jobs/data")).unwrap();
    let (sample, own) = (sample.to_str().unwrap(), place.path(""));
    let guards = ["--secret-file", "secret", "--allow-path", own.to_str().unwrap(), "--allow-path", sample];
    let ports = ["--data-dir", "cluster", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let (coordinator, line) =
        start(limited(&place, &[&["coordinator"], &ports[..], &guards].concat()), "page at http://");
    let (rpc, page) = (address(&line, "listening on "), address(&line, "http://"));
    let worker = ["worker", "--coordinator", &rpc, "--slots", "2"];
    let _worker = Process(limited(&place, &[&worker[..], &guards].concat()).spawn().unwrap());
    let held = [strangers(&rpc), strangers(&page)];

    let user = ["--coordinator", &rpc, "--secret-file", "secret"];
    let submit = ["submit", "jobs/ad_click.toml", "--parallelism", "1"];
    let job = settings("jobs/data/clicks", "out", &["source.clicks.follow=true"]);
    place.done(&[&submit[..], &user, &borrowed(&job)].concat());
    let status = || ask(&page, "GET", "/api/v1/jobs/ad-click", "").1;
    wait_until("a commit", || status()["committed"].as_u64() > Some(0));
    let attempt = status()["attempt"].clone();
    let more = [strangers(&rpc), strangers(&page)];
    let before = status()["committed"].as_u64().unwrap();
    wait_until("more commits", || status()["committed"].as_u64() > Some(before + 3));
    assert_eq!(status()["attempt"], attempt, "the job was not disturbed");

    let cancel = |headers: &str| {
        ask(&page, "POST", "/api/v1/jobs/ad-click/cancel", &format!("X-Weir-Request: 1\r\n{headers}")).0
    };
    assert_eq!(cancel(""), 401);
    assert_eq!(cancel("Authorization: Bearer open barley\r\n"), 401);
    assert_eq!(status()["state"], "RUNNING");
    assert_eq!(cancel("Authorization: Bearer open sesame\r\n"), 202);
    wait_until("the end", || status()["state"] == "CANCELED");

    // What is outside of the paths that are allowed is refused at once, with the flag that would allow it.
    let job = settings("/etc", "out", &[]);
    let refused = place.refused(&[&submit[..], &user, &["--fresh"], &borrowed(&job)].concat(), 2);
    assert!(
        refused.contains("'source.clicks' may not use `path` = '/etc'") && refused.contains("--allow-path /etc"),
        "{refused}"
    );
    // A relative one only its worker can judge.
    let job = settings("jobs/../../../../../../../../../etc", "out", &[]);
    place.done(&[&submit[..], &user, &["--fresh"], &borrowed(&job)].concat());
    wait_until("a refusal", || status()["state"] == "FAILED");
    assert!(status()["cause"].as_str().unwrap().contains("--allow-path"), "{}", status()["cause"]);

    let mode = |path: &str| std::fs::metadata(place.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("cluster"), mode("cluster/storage"), mode("cluster/coordinator.redb")), (0o700, 0o700, 0o600));
    drop((coordinator, held, more));
}

#[test]
fn secrets_of_a_definition_are_looked_for_where_the_job_runs() {
    let place = Workplace::new();
    let settings = ["--set", "sink.store.enabled=true", "--set"];
    let by_variable = "sink.store.url=postgres://me:${env:WEIRD_TEST_PASSWORD}@127.0.0.1:1/clicks";
    let run = [&["run", "jobs/ad_click.toml"], &settings[..], &[by_variable]].concat();
    let refused = place.refused(&run, 2);
    for part in ["'WEIRD_TEST_PASSWORD' is not set", "sink.store.url", "--set"] {
        assert!(refused.contains(part), "no '{part}' in {refused}");
    }
    // Whoever only checks it need not have it, and nobody is shown it.
    let explain = [&["explain", "jobs/ad_click.toml"], &settings[..], &[by_variable]].concat();
    let mut command = place.weir(&explain);
    let shown = command.env("WEIRD_TEST_PASSWORD", "hunter2").output().unwrap();
    assert!(shown.status.success() && !String::from_utf8_lossy(&shown.stdout).contains("hunter2"));
    place.done(&explain);
    let misspelt = by_variable.replace("${env:", "${environment:");
    let refused = place.refused(&[&["explain", "jobs/ad_click.toml"], &settings[..], &[&misspelt]].concat(), 2);
    assert!(refused.contains("${env:NAME} or ${file:PATH}"), "{refused}");
    // A store by reference is filled and served, and the folder of the job is its owner's alone.
    std::fs::write(place.path("name"), "store.sqlite\n").unwrap();
    let by_file = ["--set", "sink.store.enabled=true", "--set", "sink.store.url=sqlite:${file:name}"];
    place.done(&[&borrowed(&ad_click("jobs/data/clicks", "out", "data", &[]))[..], &by_file].concat());
    assert!(place.path("store.sqlite").exists());
    let mode = |path: &str| std::fs::metadata(place.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode("data"), mode("data/storage"), mode("data/ad-click"), mode("data/ad-click/lock")),
        (0o700, 0o700, 0o700, 0o600)
    );
}
