//! Results as users and other programs get them: `weir results`, JSON lines on standard output, a webhook.

use crate::support::{Counts, Workplace, ad_click, borrowed, complaint, signal};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    process::{ChildStdout, Stdio},
};
use weir_test_support::web_server::{Answer, Posted, WebServer};

/// Counts per minute, and each click, of whatever is in the folder `in`.
const JOB: &str = r#"
[job]
name = "clicks"
checkpoint = { interval = "100ms" }

[source.clicks]
connector = "files"
path = "in"
format = "json"
schema = { ad = "string", at = "timestamp", price = "decimal(12, 2)" }
event_time = "at"
watermark = { delay = "0s" }

[aggregate.minutes]
input = "clicks"
key = ["ad"]
window = { tumbling = "1m", allowed_lateness = "1h" }
select = { n = "count(*)", spent = "sum(price)" }
"#;

fn place_with(sinks: &str) -> Workplace {
    let place = Workplace::new();
    fs::create_dir(place.path("in")).unwrap();
    fs::write(place.path("job.toml"), format!("{JOB}\n{sinks}")).unwrap();
    place
}

/// A click of an ad, some seconds after midnight.
fn click(ad: &str, second: u32) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!("{{\"ad\":\"{ad}\",\"at\":\"2022-03-04T00:{minute:02}:{second:02}Z\",\"price\":1.50}}\n")
}

fn lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

fn by_id(rows: Vec<Value>) -> BTreeMap<String, Value> {
    let count = rows.len();
    let rows: BTreeMap<String, Value> =
        rows.into_iter().map(|row| (row["record_id"].as_str().unwrap().to_owned(), row)).collect();
    assert_eq!(rows.len(), count, "each record once");
    rows
}

#[test]
fn the_truth_is_the_same_from_files_of_every_format_and_from_a_table() {
    let place = Workplace::new();
    let mut found = Vec::new();
    for (format, more) in [
        ("parquet", vec!["sink.store.enabled=true", "sink.store.url=sqlite:store.sqlite"]),
        ("json", vec!["sink.counts.compression=zstd"]),
        ("csv", vec!["sink.counts.compression=gzip", "sink.counts.partition_by=hour"]),
    ] {
        let format_key = format!("sink.counts.format={format}");
        let more: Vec<&str> = more.into_iter().chain([format_key.as_str()]).collect();
        let data_dir = format!("{format}-data");
        let run = ad_click("jobs/data/clicks", format, &data_dir, &more);
        let summary = place.json(&borrowed(&run));
        assert!(!summary["last_results"].is_null(), "{format}");
        let mut look = vec!["results".to_owned(), "jobs/ad_click.toml".to_owned()];
        look.extend(crate::support::settings("jobs/data/clicks", format, &more));
        let of = |sink: &str| lines(&place.done(&[&borrowed(&look)[..], &[sink, "--json"]].concat()));
        let counts = by_id(of("counts"));
        assert_eq!(counts.len() as u64, summary["outputs"][1]["rows"].as_u64().unwrap(), "{summary}");
        assert_eq!(of("dead_letters").len(), 17);
        if format == "parquet" {
            assert_eq!(counts.len(), Counts::read(&place.path("parquet/counts")).0.len());
            let names = ["click_minute", "filter_id", "ad_id", "count", "revision"];
            let bare = |row: &Value| names.map(|name| row[name].to_string());
            let table: BTreeSet<_> = of("store").iter().map(bare).collect();
            assert_eq!(table, counts.values().map(bare).collect::<BTreeSet<_>>());
        }
        found.push(counts);
    }
    assert!(found[0] == found[1] && found[0] == found[2]);
    assert!(found[0].values().any(|row| row["count"].as_i64() > Some(1)), "rows have values");
}

#[test]
fn revisions_and_withdrawals_are_seen_through() {
    let place = place_with(
        r#"
        [map.few]
        input = "minutes"
        where = "n < 3"
        [sink.minutes]
        input = "minutes"
        connector = "files"
        path = "out/minutes"
        format = "json"
        roll = "checkpoint"
        [sink.few]
        input = "few"
        connector = "files"
        path = "out/few"
        format = "csv"
        roll = "checkpoint"
        [sink.none]
        input = "minutes"
        connector = "console"
        "#,
    );
    // The second minute closes the first; then comes what is late, and allowed.
    let first = [click("a", 1), click("b", 2), click("c", 3), click("a", 65), click("z", 600)].concat();
    let late = [click("a", 4), click("a", 5), click("b", 6)].concat();
    fs::write(place.path("in/1.json"), first + &late).unwrap();
    place.done(&["run", "job.toml", "--quiet"]);
    let rows = lines(&place.done(&["results", "job.toml", "minutes", "--json"]));
    let shown: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {} {}", row["window_start"].as_str().unwrap(), row["ad"], row["n"], row["spent"]))
        .collect();
    let expected = [
        r#"2022-03-04T00:10:00Z "z" 1 1.5"#,
        r#"2022-03-04T00:01:00Z "a" 1 1.5"#,
        r#"2022-03-04T00:00:00Z "a" 3 4.5"#,
        r#"2022-03-04T00:00:00Z "b" 2 3.0"#,
        r#"2022-03-04T00:00:00Z "c" 1 1.5"#,
    ];
    assert_eq!(shown, expected, "the newest window first");
    let few = place.done(&["results", "job.toml", "few"]);
    let table: Vec<Vec<&str>> = few.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(table[0][..3], ["ad", "window_start", "window_end"]);
    let ads: Vec<&str> = table[1..].iter().map(|row| row[0]).collect();
    assert_eq!(ads, ["z", "a", "b", "c"], "what was withdrawn is not there:\n{few}");
    let limited = place.output(&["results", "job.toml", "few", "-n", "1"]);
    assert_eq!(String::from_utf8_lossy(&limited.stdout).lines().count(), 2);
    assert_eq!(complaint(&limited), "1 of 4 rows\n");

    let refused = place.refused(&["results", "job.toml", "minuts"], 2);
    assert!(refused.contains("no sink `minuts`; it has few, minutes, none"), "{refused}");
    let refused = place.refused(&["results", "job.toml", "none"], 2);
    assert!(refused.contains("keeps no results that could be read back"), "{refused}");
    let refused = place.refused(&["results", "clicks", "minutes"], 2);
    assert!(refused.contains("no file 'clicks'") && refused.contains("on a cluster"), "{refused}");
    fs::write(place.path("empty.toml"), fs::read_to_string(place.path("job.toml")).unwrap().replace("out/", "no/"))
        .unwrap();
    let nothing = place.output(&["results", "empty.toml", "minutes"]);
    assert_eq!((nothing.stdout.len(), complaint(&nothing)), (0, "no results yet\n".to_owned()));
}

fn next(printed: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    lines(&line).remove(0)
}

#[test]
fn what_is_committed_is_followed() {
    let place = place_with(
        r#"
        [sink.minutes]
        input = "minutes"
        connector = "files"
        path = "out"
        format = "json"
        roll = "checkpoint"
        "#,
    );
    let mut file = fs::File::create(place.path("in/1.json")).unwrap();
    file.write_all([click("a", 1), (600..604).map(|second| click("z", second)).collect()].concat().as_bytes()).unwrap();
    file.flush().unwrap();
    let job = place.start(&["run", "job.toml", "--quiet", "--set", "source.clicks.follow=true"]);
    let mut followed = place.start(&["results", "job.toml", "minutes", "--follow", "--json"]);
    let mut printed = BufReader::new(followed.stdout.take().unwrap());
    let first = next(&mut printed);
    assert_eq!((&first["ad"], &first["n"], &first["revision"]), (&"a".into(), &1.into(), &0.into()));
    // A correction comes with the next step of event time.
    file.write_all([click("a", 2), click("z", 604)].concat().as_bytes()).unwrap();
    let second = next(&mut printed);
    assert_eq!((&second["record_id"], &second["n"]), (&first["record_id"], &2.into()));
    assert_eq!(second["revision"], 1);
    // Nobody reads any more: the next row ends it, without a word.
    drop(printed);
    file.write_all([click("a", 3), click("z", 605)].concat().as_bytes()).unwrap();
    let ended = followed.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), complaint(&ended)), (Some(0), String::new()));
    signal(&job, "TERM");
    assert!(job.wait_with_output().unwrap().status.success());
}

#[test]
fn rows_of_a_table_are_not_withdrawn() {
    let place = place_with(
        r#"
        [map.few]
        input = "minutes"
        where = "n < 3"
        [sink.files]
        input = "few"
        connector = "files"
        path = "out"
        format = "json"
        [sink.table]
        input = "few"
        connector = "sql"
        url = "sqlite:store.sqlite"
        table = "few"
        "#,
    );
    fs::write(place.path("in/1.json"), [click("a", 1), click("b", 65)].concat()).unwrap();
    place.done(&["run", "job.toml", "--quiet"]);
    for sink in ["files", "table"] {
        let rows = lines(&place.done(&["results", "job.toml", sink, "--json"]));
        assert!(rows.len() == 2 && rows.iter().all(|row| row["withdrawn"] == false), "{sink}: {rows:?}");
    }
}

#[test]
fn following_ends_well_when_it_is_asked_to() {
    let place = place_with(
        r#"
        [sink.minutes]
        input = "minutes"
        connector = "files"
        path = "out"
        format = "json"
        "#,
    );
    fs::write(place.path("in/1.json"), click("a", 1)).unwrap();
    place.done(&["run", "job.toml", "--quiet"]);
    for name in ["INT", "TERM"] {
        let mut followed = place.start(&["results", "job.toml", "minutes", "--follow", "--json"]);
        let mut printed = BufReader::new(followed.stdout.take().unwrap());
        assert_eq!(next(&mut printed)["n"], 1);
        signal(&followed, name);
        let ended = followed.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), complaint(&ended)), (Some(0), String::new()), "{name}");
    }
}

const LINES: &str = r#"
[sink.lines]
input = "minutes"
connector = "console"
format = "json"
"#;

#[test]
fn json_lines_have_standard_output_to_themselves() {
    let place = place_with(LINES);
    let clicks: String = (0..600).map(|second| click(&format!("ad{}", second % 7), second)).collect();
    fs::write(place.path("in/1.json"), clicks).unwrap();
    let run = place.output(&["run", "job.toml"]);
    assert!(run.status.success());
    let rows = lines(&String::from_utf8(run.stdout.clone()).unwrap());
    assert_eq!(rows.len(), 70);
    assert_eq!(rows.iter().map(|row| row["n"].as_i64().unwrap()).sum::<i64>(), 600);
    assert!(complaint(&run).contains("clicks: finished") && complaint(&run).contains("printed (70 rows)"));
    let again = place.output(&["run", "job.toml", "--json", "--quiet"]);
    let summary: Value = serde_json::from_str(&complaint(&again)).unwrap();
    assert_eq!((again.stdout.len(), &summary["status"]), (0, &"finished_before".into()));
    // A table is for people, and shares standard output with the summary.
    let table = place.done(&["run", "job.toml", "--fresh", "--quiet", "--set", "sink.lines.format=table"]);
    assert!(table.contains("| record_id ") && table.contains("clicks: finished"), "{table}");
}

#[test]
fn a_reader_that_leaves_ends_the_job_quietly() {
    let place = place_with(LINES);
    let clicks: String = (0..600).map(|second| click("a", second)).collect();
    let mut file = fs::File::create(place.path("in/1.json")).unwrap();
    file.write_all(clicks.as_bytes()).unwrap();
    let mut job = place.start(&["run", "job.toml", "--quiet", "--set", "source.clicks.follow=true"]);
    let mut printed = BufReader::new(job.stdout.take().unwrap());
    assert_eq!(next(&mut printed)["n"], 60);
    drop(printed);
    file.write_all((600..700).map(|second| click("a", second)).collect::<String>().as_bytes()).unwrap();
    let ended = job.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), complaint(&ended)), (Some(0), String::new()));
    // It has stopped with a checkpoint, and continues there.
    let mut again = place.start(&["run", "job.toml", "--quiet", "--set", "source.clicks.follow=true"]);
    let mut printed = BufReader::new(again.stdout.take().unwrap());
    file.write_all(click("a", 720).as_bytes()).unwrap();
    while next(&mut printed)["n"] != 40 {}
    signal(&again, "TERM");
    let ended = again.wait_with_output().unwrap();
    assert!(
        ended.status.success() && complaint(&ended).contains("after resuming from checkpoint"),
        "{}",
        complaint(&ended)
    );
}

#[test]
fn a_killed_job_posts_again_what_it_had_posted_with_the_same_keys() {
    let server = WebServer::start();
    let place = place_with(&format!(
        "
        [sink.hook]
        input = 'minutes'
        connector = 'http'
        url = 'http://{}/hooks'
        batch = 3
        headers = {{ Authorization = 'Bearer ${{env:HOOK_TOKEN}}' }}
        rejected_path = 'out/rejected'
        ",
        server.address()
    ));
    let clicks: String = (0..600).map(|second| click(&format!("ad{}", second % 2), second)).collect();
    fs::write(place.path("in/1.json"), clicks).unwrap();
    let missing = place.refused(&["run", "job.toml", "--quiet"], 2);
    assert!(missing.contains("'HOOK_TOKEN' is not set") && missing.contains("headers"), "{missing}");
    let run = |crash_at: Option<&str>| {
        let mut command = place.weir(&["run", "job.toml", "--quiet"]);
        command.env("HOOK_TOKEN", "open sesame").stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(point) = crash_at {
            command.env("WEIR_CRASH_AT", point);
        }
        command.output().unwrap()
    };
    assert!(!run(Some("http_sink.posted:2")).status.success());
    let before = server.taken();
    assert_eq!(before.len(), 2);
    assert_eq!(before[0].headers["authorization"], "Bearer open sesame");
    // The server has a bad day, too, and does not like one of the rows.
    server.answer(|posted| match posted.body.contains("\"ad\":\"ad1\",\"window_start\":\"2022-03-04T00:09:00Z\"") {
        true => Answer::of(400),
        false => Answer::of(202),
    });
    let done = run(None);
    let printed = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && printed.contains("(20 rows, 1 refused by the target)"),
        "{}{printed}",
        complaint(&done)
    );
    assert!(complaint(&done).contains("the server refuses a row"), "{}", complaint(&done));
    let taken = server.taken();
    let (last, after) = (&taken[1], &taken[2..]);
    let is_again = |again: &&Posted| again.headers == last.headers && again.body == last.body;
    assert!(after.iter().any(|again| is_again(&again)), "what was not noted is posted again, the same");
    let rows = taken.iter().flat_map(|posted| serde_json::from_str::<Vec<Value>>(&posted.body).unwrap());
    let mut found = BTreeMap::new();
    for row in rows {
        let key = format!("{}-{}", row["record_id"].as_str().unwrap(), row["revision"]);
        assert_eq!(row["idempotency_key"], key);
        assert_eq!(*found.entry(key).or_insert_with(|| row.clone()), row);
    }
    let kept = fs::read_dir(place.path("out/rejected")).unwrap().next().unwrap().unwrap().path();
    let kept = lines(&fs::read_to_string(kept).unwrap());
    assert_eq!(kept.len(), 1);
    found.insert(kept[0]["idempotency_key"].as_str().unwrap().to_owned(), kept[0]["row"].clone());
    assert_eq!((found.len(), found.values().map(|row| row["n"].as_i64().unwrap()).sum::<i64>()), (20, 600));
    let refused = place.refused(&["results", "job.toml", "hook"], 2);
    assert!(refused.contains("keeps no results"), "{refused}");
}
