//! `weir savepoint`, and what `--from-savepoint` makes of one: a cluster of real processes, and runs from copies.

use crate::support::{Workplace, borrowed, pause, settings, signal, wait_until};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};
use weir_kafka::{Connection, NewTopic};
use weir_test_support::kafka_server::KafkaServer;

/// Two files of clicks each.
const HALVES: [[u32; 2]; 2] = [[0, 1], [2, 3]];

/// A process that is ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A coordinator and a worker, with their data in `cluster`.
struct Cluster {
    address: String,
    coordinator: Option<Process>,
    _worker: Process,
}

impl Cluster {
    fn start(place: &Workplace) -> Self {
        let (coordinator, address) = coordinator(place, "127.0.0.1:0", None);
        let worker = place.weir(&["worker", "--coordinator", &address, "--slots", "2"]).spawn().unwrap();
        Cluster { address, coordinator: Some(coordinator), _worker: Process(worker) }
    }

    /// The coordinator once more, on the same data; it may be told to crash.
    fn restart(&mut self, place: &Workplace, crash_at: Option<&str>) {
        self.coordinator = None;
        self.coordinator = Some(coordinator(place, &self.address, crash_at).0);
    }

    fn command<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--coordinator", &self.address]].concat()
    }

    fn submit(&self, place: &Workplace, job: &[String], more: &[&str]) {
        let submit = [&["submit", "jobs/ad_click.toml"], &borrowed(job)[..], more].concat();
        assert_eq!(place.done(&self.command(&submit)), "ad-click\n");
    }

    fn savepoint(&self, place: &Workplace, more: &[&str]) -> String {
        let savepoint = [&["savepoint", "ad-click"], more].concat();
        place.done(&self.command(&savepoint)).trim().to_owned()
    }

    fn stop(&self, place: &Workplace) {
        assert_eq!(place.done(&self.command(&["stop", "ad-click"])), "CANCELED\n");
    }
}

fn coordinator(place: &Workplace, listen: &str, crash_at: Option<&str>) -> (Process, String) {
    let mut command =
        place.weir(&["coordinator", "--data-dir", "cluster", "--listen", listen, "--http", "127.0.0.1:0"]);
    if let Some(point) = crash_at {
        command.env("WEIR_CRASH_AT", point);
    }
    let mut process = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on ").and_then(|rest| rest.split_once(',')).map(|(address, _)| address);
    let address = address.unwrap_or_else(|| panic!("the coordinator said '{line}'")).to_owned();
    (process, address)
}

/// The ad-click job, following a folder, with raw clicks as text and often.
fn followed(out: &str, more: &[&str]) -> Vec<String> {
    let often = [
        "source.clicks.follow=true",
        "job.checkpoint.interval=100ms",
        "job.checkpoint.retain=1",
        "sink.raw.format=json",
        "sink.raw.roll=checkpoint",
        "sink.counts.roll=checkpoint",
    ];
    settings("clicks", out, &[&often, more].concat())
}

/// All clicks beside the folder that is followed; returns how many there are in each half.
fn generate(place: &Workplace) -> [u64; 2] {
    place.done(&["generate", "all", "--events", "12000", "--partitions", "4", "--quiet"]);
    fs::create_dir(place.path("clicks")).unwrap();
    HALVES.map(|half| half.into_iter().map(|file| lines(&files(&place.path("all"))[file as usize])).sum())
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn lines(file: &Path) -> u64 {
    fs::read_to_string(file).unwrap().lines().count() as u64
}

fn add(place: &Workplace, half: usize) {
    for file in HALVES[half] {
        let from = &files(&place.path("all"))[file as usize];
        fs::copy(from, place.path("clicks").join(from.file_name().unwrap())).unwrap();
    }
}

/// How often each row is in the raw store, of checkpoints after one and up to another.
fn raw(place: &Workplace, out: &str, (after, up_to): (u64, u64)) -> BTreeMap<String, u64> {
    let mut rows = BTreeMap::new();
    for folder in files(&place.path(out).join("raw")).into_iter().filter(|path| path.is_dir()) {
        for file in files(&folder).iter().filter(|file| file.extension().is_some_and(|end| end == "jsonl")) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let number: u64 = name.split('.').nth(1).and_then(|rest| rest[..8].parse().ok()).unwrap();
            if number > after && number <= up_to {
                for line in fs::read_to_string(file).unwrap().lines() {
                    *rows.entry(line.to_owned()).or_default() += 1;
                }
            }
        }
    }
    rows
}

fn sum(rows: &BTreeMap<String, u64>) -> u64 {
    rows.values().sum()
}

fn together(one: &BTreeMap<String, u64>, other: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut all = one.clone();
    other.iter().for_each(|(row, times)| *all.entry(row.clone()).or_default() += times);
    all
}

fn number_of(url: &str) -> u64 {
    url.rsplit('/').next().unwrap().trim_end_matches(".json").parse().unwrap()
}

fn listed(place: &Workplace) -> Vec<Value> {
    place.json(&["checkpoint", "list", "--data-dir", "cluster"])["ad-click"].as_array().unwrap().clone()
}

/// A job that has read one half, a savepoint of it, and then the other half.
fn with_savepoint(place: &Workplace, cluster: &Cluster, job: &[String], how: &[&str]) -> (String, u64) {
    let [first, second] = generate(place);
    add(place, 0);
    cluster.submit(place, job, &[]);
    place.wait_for_events("cluster", first);
    let url = cluster.savepoint(place, how);
    add(place, 1);
    place.wait_for_events("cluster", first + second);
    (url, first + second)
}

#[test]
fn a_savepoint_stays_and_a_job_goes_back_to_it_only_where_it_is_told_what_comes_twice() {
    let place = Workplace::new();
    let cluster = Cluster::start(&place);
    let job = followed("out", &[]);
    let (url, events) = with_savepoint(&place, &cluster, &job, &[]);
    let number = number_of(&url);
    // It outlives the checkpoints after it, with everything that it needs.
    wait_until("later checkpoints are retired", || {
        let there = listed(&place).iter().filter_map(|one| one["checkpoint"].as_u64()).collect::<Vec<_>>();
        there.contains(&number) && !there.contains(&(number + 1)) && there.last() > Some(&(number + 2))
    });
    let pinned = listed(&place).into_iter().find(|one| one["checkpoint"] == number).unwrap();
    assert_eq!((&pinned["savepoint"], &pinned["committed"]), (&Value::from(url.clone()), &Value::Bool(true)));
    place.done(&["checkpoint", "inspect", &number.to_string(), "--verify", "--data-dir", "cluster"]);
    cluster.stop(&place);

    let all = (0, u64::MAX);
    let (before, after) = (raw(&place, "out", (0, number)), raw(&place, "out", (number, u64::MAX)));
    assert!(sum(&before) > 0 && sum(&after) > 0);
    let mut again = [&["submit", "jobs/ad_click.toml"], &borrowed(&job)[..], &["--from-savepoint", &url]].concat();
    let refused = place.refused(&cluster.command(&again), 2);
    for word in ["sink.raw: those of checkpoint", "--fork", "--rewind"] {
        assert!(refused.contains(word), "'{word}' is missing in: {refused}");
    }
    // With another parallelism, too.
    again.extend(["--rewind", "--parallelism", "2"]);
    let output = place.output(&cluster.command(&again));
    let told = crate::support::complaint(&output);
    assert!(output.status.success() && told.contains("come a second time") && told.contains("sink.raw"), "{told}");
    place.wait_for_events("cluster", events);
    wait_until("it has read all once more", || sum(&raw(&place, "out", all)) == sum(&before) + 2 * sum(&after));
    cluster.stop(&place);
    assert_eq!(
        raw(&place, "out", all),
        together(&before, &together(&after, &after)),
        "what was told, and nothing else"
    );

    let released = place.done(&cluster.command(&["savepoint", "ad-click", "--delete", &url]));
    assert!(released.contains("no savepoint any more"), "{released}");
    place.refused(&cluster.command(&["savepoint", "ad-click", "--delete", &number.to_string()]), 2);
    let refused = place.refused(&cluster.command(&["savepoint", "ad-click"]), 2);
    assert!(refused.contains("CANCELED"), "{refused}");
    cluster.submit(&place, &job, &[]);
    wait_until("what was released is retired", || listed(&place).iter().all(|one| one["checkpoint"] != number));
}

#[test]
fn a_job_that_has_shown_nothing_since_goes_on_from_its_savepoint_and_a_copy_needs_a_place() {
    let place = Workplace::new();
    let cluster = Cluster::start(&place);
    let job = followed("out", &[]);
    let [first, second] = generate(&place);
    add(&place, 0);
    cluster.submit(&place, &job, &[]);
    place.wait_for_events("cluster", first);
    fs::write(place.path("a file"), "").unwrap();
    for (to, problem) in [("a file", "no savepoint can be written to"), ("memory://", "would be gone with the process")]
    {
        let refused = place.refused(&cluster.command(&["savepoint", "ad-click", "--to", to]), 2);
        assert!(refused.contains(problem), "{refused}");
    }
    assert!(listed(&place).iter().all(|one| one["savepoint"].is_null()), "what is refused leaves nothing that stays");
    let url = cluster.savepoint(&place, &[]);
    cluster.stop(&place);
    cluster.submit(&place, &job, &["--from-savepoint", &url]);
    add(&place, 1);
    place.wait_for_events("cluster", first + second);
    cluster.stop(&place);
    let written = sum(&raw(&place, "out", (0, u64::MAX)));
    assert!(written > first && written <= first + second, "nothing is there twice: {written} of {first} and {second}");
}

/// The coordinator is started again as often as it dies, on its way back to a savepoint. What the job reads from there on it reads
/// by the definition that it is given now.
#[test]
fn a_coordinator_that_dies_while_a_job_goes_back_has_it_go_back_once() {
    let place = Workplace::new();
    let mut cluster = Cluster::start(&place);
    let (url, _) = with_savepoint(&place, &cluster, &followed("out", &[]), &[]);
    cluster.stop(&place);
    let all = (0, u64::MAX);
    let before = raw(&place, "out", (0, number_of(&url)));
    let mut expected = raw(&place, "out", all);
    let is_american = |row: &str| serde_json::from_str::<Value>(row).unwrap()["country"] == "USA";
    let mut again = raw(&place, "out", (number_of(&url), u64::MAX));
    again.retain(|row, _| is_american(row));
    assert!(sum(&before) > 0 && sum(&again) > 0);

    let job = followed("out", &["map.valid.where=country = 'USA'"]);
    let back =
        [&["submit", "jobs/ad_click.toml"], &borrowed(&job)[..], &["--from-savepoint", &url, "--rewind"]].concat();
    for point in ["rewind.checked", "rewind.taken_over", "rewind.created"] {
        cluster.restart(&place, Some(point));
        place.done(&cluster.command(&back));
        let dying = cluster.coordinator.as_mut().unwrap();
        wait_until(&format!("{point} is reached"), || dying.0.try_wait().unwrap().is_some());
        cluster.restart(&place, None);
        expected = together(&expected, &again);
        wait_until("it has read all once more", || sum(&raw(&place, "out", all)) >= sum(&expected));
        cluster.stop(&place);
        assert!(raw(&place, "out", all) == expected, "{point}: what was written after the savepoint, once more");
    }
}

/// A job of the same name whose rows go to a topic.
fn to_topic(place: &Workplace, brokers: &str) -> String {
    let job = format!(
        "[job]
name = \"ad-click\"
checkpoint = {{ interval = \"100ms\" }}

[source.clicks]
connector = \"files\"
path = \"clicks\"
format = \"click_log\"
follow = true
event_time = \"click_timestamp\"

[sink.rows]
input = \"clicks\"
connector = \"kafka\"
brokers = \"{brokers}\"
topic = \"rows\"
"
    );
    fs::write(place.path("to_topic.toml"), job).unwrap();
    let topics = ["rows", "rows-of-fork"];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cluster = weir_kafka::connect(&Connection { brokers: brokers.into(), properties: BTreeMap::new() }).unwrap();
    for name in topics {
        let topic = NewTopic { name: name.into(), partitions: 2, replication: None, settings: Vec::new() };
        runtime.block_on(cluster.create(&topic)).unwrap();
    }
    "to_topic.toml".into()
}

/// How often each row is in the topic of a job.
fn sent(place: &Workplace, job: &str, more: &[&str]) -> BTreeMap<String, u64> {
    let mut rows = BTreeMap::new();
    let printed = place.done(&[&["results", job, "rows", "--json"], more].concat());
    printed.lines().for_each(|line| *rows.entry(line.to_owned()).or_default() += 1);
    rows
}

#[test]
fn topics_get_what_a_rewind_names_once_more_and_a_fork_has_its_own() {
    let Some(brokers) = KafkaServer::shared().unwrap() else { return };
    let place = Workplace::new();
    let job = to_topic(&place, &brokers.brokers());
    let cluster = Cluster::start(&place);
    let [first, second] = generate(&place);
    add(&place, 0);
    place.done(&cluster.command(&["submit", &job]));
    place.wait_for_events("cluster", first);
    let url = cluster.savepoint(&place, &[]);
    let before = sent(&place, &job, &[]);
    add(&place, 1);
    place.wait_for_events("cluster", first + second);
    cluster.stop(&place);
    let all = sent(&place, &job, &[]);
    assert_eq!((sum(&before), sum(&all)), (first, first + second));
    let mut after = all.clone();
    for (row, times) in &before {
        *after.get_mut(row).unwrap() -= times;
    }
    after.retain(|_, times| *times > 0);

    let back = ["submit", &job, "--from-savepoint", &url];
    let refused = place.refused(&cluster.command(&back), 2);
    assert!(refused.contains("sink.rows: those of checkpoint") && refused.contains("--rewind"), "{refused}");
    let fork = [&back[..], &["--fork", "--set", "job.name=fork"]].concat();
    let refused = place.refused(&cluster.command(&fork), 2);
    assert!(refused.contains("--set sink.rows.topic="), "{refused}");
    assert!(sent(&place, &job, &[]) == all, "what is refused writes nothing");

    place.done(&cluster.command(&[&back[..], &["--rewind"]].concat()));
    wait_until("it has read all once more", || sum(&sent(&place, &job, &[])) >= sum(&all) + sum(&after));
    cluster.stop(&place);
    let twice = together(&all, &after);
    assert!(sent(&place, &job, &[]) == twice, "what was named came once more");

    let of_fork = ["--set", "sink.rows.topic=rows-of-fork"];
    place.done(&cluster.command(&[&fork[..], &of_fork].concat()));
    wait_until("the fork has read the rest", || sum(&sent(&place, &job, &of_fork)) >= sum(&after));
    assert_eq!(place.done(&cluster.command(&["stop", "fork"])), "CANCELED\n");
    assert!(sent(&place, &job, &of_fork) == after, "the fork has what comes after the savepoint");
    assert!(sent(&place, &job, &[]) == twice, "and the original what it had");
}

#[test]
fn a_copy_starts_a_fork_when_the_original_is_gone_and_never_doubles_what_was_written() {
    let place = Workplace::new();
    let cluster = Cluster::start(&place);
    let tables = |url: &str| format!("sink.store.url=sqlite:{url}");
    let job = followed("out", &["sink.store.enabled=true", &tables("store.sqlite")]);
    let (url, events) = with_savepoint(&place, &cluster, &job, &["--to", "copy"]);
    let number = number_of(&url);
    assert!(listed(&place).iter().all(|one| one["savepoint"].is_null()), "the copy is the savepoint");
    let refused = place.refused(&cluster.command(&["savepoint", "ad-click", "--to", "copy"]), 2);
    assert!(refused.contains("choose another place"), "{refused}");
    cluster.stop(&place);
    let (written, counts) = (raw(&place, "out", (0, u64::MAX)), place.counts("out/counts"));

    let shown = |out: &str, store: &str| {
        let settings = followed(out, &["sink.store.enabled=true", &tables(store)]);
        place.done(&[&["results", "jobs/ad_click.toml", "store", "--json"], &borrowed(&settings)[..]].concat())
    };
    let table = shown("out", "store.sqlite");

    // A table cannot show results twice without getting them wrong.
    let rewound =
        [&["submit", "jobs/ad_click.toml"], &borrowed(&job)[..], &["--from-savepoint", &url, "--rewind"]].concat();
    place.done(&cluster.command(&rewound));
    let status = || place.json(&cluster.command(&["status", "ad-click"]));
    wait_until("the job is refused", || status()["state"] == "FAILED");
    assert!(status()["cause"].as_str().unwrap().contains("a table keeps one row of each key"), "{}", status());

    drop(cluster);
    fs::remove_dir_all(place.path("cluster")).unwrap();
    let run = |name: &str, out: &str, store: &str, more: &[&str]| {
        let name = format!("job.name={name}");
        let mut run =
            vec!["run".to_owned(), "jobs/ad_click.toml".into(), "--data-dir".into(), "new".into(), "--quiet".into()];
        run.extend(followed(out, &["sink.store.enabled=true", &tables(store), &name]));
        run.extend(
            ["--from-savepoint".to_owned(), url.clone()].into_iter().chain(more.iter().map(ToString::to_string)),
        );
        run
    };
    let cases = [
        (run("ad-click", "out", "store.sqlite", &[]), "--rewind"),
        (run("other", "out2", "store2.sqlite", &[]), "--fork"),
        (run("other", "out", "store2.sqlite", &["--fork"]), "--set sink."),
        (run("other", "out2", "store.sqlite", &["--fork"]), "--set sink.store.table="),
    ];
    for (refused, remedy) in &cases {
        let told = place.refused(&borrowed(refused), 2);
        assert!(told.contains(remedy), "'{remedy}' is missing in: {told}");
    }
    assert_eq!((raw(&place, "out", (0, u64::MAX)), place.counts("out/counts")), (written.clone(), counts));

    let fork = place.start(&borrowed(&run("other", "out2", "store2.sqlite", &["--fork"])));
    let mut fork = Process(fork);
    wait_until("the fork has read the rest", || {
        let newest = place.output(&["checkpoint", "inspect", "--data-dir", "new", "--job", "other", "--json"]);
        let newest: Option<Value> = serde_json::from_slice(&newest.stdout).ok();
        newest.is_some_and(|newest| crate::support::counter(&newest, "events_in") >= events)
    });
    signal(&fork.0, "INT");
    assert!(fork.0.wait().unwrap().success());
    let after = raw(&place, "out", (number, u64::MAX));
    assert_eq!(raw(&place, "out2", (0, u64::MAX)), after, "the rows after the savepoint, each once");
    assert_eq!(raw(&place, "out", (0, u64::MAX)), written, "and nothing of the original has changed");
    // Of what the fork has written since, its table shows keys of the original, whose table is as it was.
    let of_keys = |rows: &str| {
        let key = |row: &str| {
            let row: Value = serde_json::from_str(row).unwrap();
            ["click_minute", "filter_id", "ad_id"].map(|column| row[column].to_string())
        };
        rows.lines().map(key).collect::<std::collections::BTreeSet<_>>()
    };
    let (original, forked) = (of_keys(&table), of_keys(&shown("out2", "store2.sqlite")));
    assert!(!forked.is_empty() && forked.is_subset(&original), "{:?}", forked.difference(&original).next());
    assert_eq!(shown("out", "store.sqlite"), table);
}

#[test]
fn a_coordinator_that_dies_between_the_steps_of_a_savepoint_leaves_nothing_half_done() {
    let place = Workplace::new();
    let mut cluster = Cluster::start(&place);
    let [first, _] = generate(&place);
    add(&place, 0);
    cluster.submit(&place, &followed("out", &[]), &[]);
    place.wait_for_events("cluster", first);
    for point in ["savepoint.committed", "savepoint.pinned"] {
        cluster.restart(&place, Some(point));
        let asking = cluster.command(&["savepoint", "ad-click"]).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let asking = Process(place.start(&borrowed(&asking)));
        let dying = cluster.coordinator.as_mut().unwrap();
        wait_until(&format!("{point} is reached"), || dying.0.try_wait().unwrap().is_some());
        pause(Duration::from_millis(200));
        cluster.restart(&place, None);
        let mut asking = asking;
        let done = asking.0.wait().unwrap();
        let mut url = String::new();
        BufReader::new(asking.0.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(done.success(), "{point}");
        let pinned: Vec<_> = listed(&place).into_iter().filter(|one| !one["savepoint"].is_null()).collect();
        assert!(pinned.iter().any(|one| one["savepoint"] == url.trim()), "{point}: {pinned:?}");
        for one in pinned {
            let number = one["checkpoint"].to_string();
            place.done(&["checkpoint", "inspect", &number, "--verify", "--data-dir", "cluster"]);
            place.done(&cluster.command(&["savepoint", "ad-click", "--delete", &number]));
        }
    }
    cluster.stop(&place);
}
