//! `weir run` as a user runs it: what it prints, what it refuses, and that kills and stops change no result.

use crate::support::{Workplace, ad_click, borrowed, complaint, pause, signal, wait_until};
use parquet::{
    basic::LogicalType,
    file::reader::{FileReader, SerializedFileReader},
};
use serde_json::Value;
use std::{fs, process::Stdio, time::Duration};

/// The class of every event: together they are all of them.
fn assert_balanced(summary: &Value) {
    let number = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("{key} in {summary}"));
    let counted = summary["aggregates"][0]["counted"].as_u64().unwrap();
    let classes = counted + ["duplicates", "late", "filtered_out", "dead_letters"].map(number).iter().sum::<u64>();
    assert_eq!(number("events_in"), classes, "an event in no class or in two: {summary}");
}

#[test]
fn the_shipped_job_counts_the_shipped_clicks() {
    let place = Workplace::new();
    let printed = place.done(&["run", "jobs/ad_click.toml"]);
    for word in
        ["ad-click: finished", "events in", "counted", "duplicates", "late", "dead letters", "top ads", "out/counts"]
    {
        assert!(printed.contains(word), "'{word}' is missing in:\n{printed}");
    }
    let again = place.json(&["run", "jobs/ad_click.toml"]);
    assert_eq!(again["status"], "finished_before");
    assert_balanced(&again);
    // As bytes: some of the broken lines are no text.
    let lines: usize = fs::read_dir(place.path("jobs/data/clicks"))
        .unwrap()
        .map(|file| fs::read(file.unwrap().path()).unwrap().split(|byte| *byte == b'\n').count() - 1)
        .sum();
    assert_eq!(again["events_in"], lines, "every line is an event");
    for class in ["duplicates", "late", "dead_letters"] {
        assert!(again[class].as_u64() > Some(0), "the sample shows every class: {again}");
    }
    assert!(!again["last_results"]["rows"].as_array().unwrap().is_empty());
}

/// Ads by number, and one that the expression fails on: nobody is deceived about where its clicks are.
#[test]
fn clicks_that_an_expression_fails_on_are_counted_and_kept_where_the_definition_says() {
    let place = Workplace::new();
    let failing = "map.valid.where=1 / (cast(substr(ad_id, 3) as bigint) - 4) >= 0";
    let more = ["filters.odd=10 / (length(ip) - 13) > 0", failing];
    let unread = place.json(&borrowed(&ad_click("jobs/data/clicks", "unread", "unread-data", &more)));
    assert_balanced(&unread);
    let of = |name: &str| unread["unread_dead_letters"][name].as_u64().unwrap_or_default();
    let (of_map, of_filters) = (of("valid.dead_letters"), of("clicks_per_minute.dead_letters"));
    assert!(of_map > 0 && of_filters > 0, "{unread}");
    let sink = "sink.refused={ input = \"valid.dead_letters\", connector = \"files\", path = \"read/refused\" }";
    let arguments = ad_click("jobs/data/clicks", "read", "read-data", &[more[0], more[1], sink]);
    let read = place.json(&borrowed(&arguments));
    assert_eq!(read["unread_dead_letters"].as_object().unwrap().len(), 1, "{read}");
    assert_eq!(read["dead_letters"], unread["dead_letters"]);
    let kept: usize = crate::support::rows(&place.path("read/refused")).iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(kept as u64, of_map);
    let printed = place.done(&borrowed(&arguments));
    assert!(printed.contains("not written anywhere: nothing reads `clicks_per_minute.dead_letters`"), "{printed}");
}

/// Somebody else's trigger is no reason to stop, and none to say nothing.
#[test]
fn rows_that_a_database_refuses_are_counted_in_the_table_at_the_end() {
    let place = Workplace::new();
    fs::write(place.path("clicks.csv"), "ad,n\na,1\nb,2\nc,3\n").unwrap();
    let job = r#"
        [job]
        name = "clicks"
        [source.clicks]
        connector = "files"
        path = "clicks.csv"
        format = "csv"
        schema = { ad = "string", n = "int" }
        [sink.table]
        input = "clicks"
        connector = "sql"
        url = "sqlite:first.sqlite"
        table = "clicks"
        key = ["ad"]
    "#;
    fs::write(place.path("job.toml"), job).unwrap();
    let first = place.json(&["run", "job.toml", "--data-dir", "first", "--quiet"]);
    assert_eq!((&first["outputs"][0]["rows"], &first["outputs"][0]["rejected"]), (&3.into(), &0.into()), "{first}");
    // The same table, which somebody guards.
    let path = |name: &str| place.path(name).display().to_string();
    let made = sqlite(&path("first.sqlite"), "SELECT sql FROM sqlite_master WHERE name = 'clicks'").remove(0);
    sqlite(&path("second.sqlite"), &made);
    let guard = "CREATE TRIGGER guard BEFORE INSERT ON clicks WHEN NEW.n = 2 BEGIN SELECT RAISE(ABORT, 'not two'); END";
    sqlite(&path("second.sqlite"), guard);
    let second = ["run", "job.toml", "--data-dir", "second", "--quiet", "--set", "sink.table.url=sqlite:second.sqlite"];
    let printed = place.done(&second);
    assert!(printed.contains("(3 rows, 1 refused by the target)"), "{printed}");
    let again = place.json(&second);
    assert_eq!((&again["status"], &again["outputs"][0]["rejected"]), (&"finished_before".into(), &1.into()), "{again}");
}

/// The first column, as text, of what a statement gives. The file is made if it is not there.
#[tokio::main(flavor = "current_thread")]
async fn sqlite(file: &str, sql: &str) -> Vec<String> {
    use sqlx::{AssertSqlSafe, Connection, Row};
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&format!("sqlite:{file}?mode=rwc")).await.expect("a store");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

/// The sample's lines bear no event id: each is a click of its own, and who asked for duplicates by id is told so.
#[test]
fn clicks_without_the_key_of_a_dedup_are_counted_and_told() {
    let place = Workplace::new();
    let by_id = ["dedup.unique.key=[\"event_id\"]", "dedup.unique.same_event_time=true"];
    let passed = place.json(&borrowed(&ad_click("jobs/data/clicks", "passed", "passed-data", &by_id)));
    assert_balanced(&passed);
    let number = |summary: &Value, key: &str| summary[key].as_u64().unwrap();
    assert_eq!(number(&passed, "duplicates"), 0);
    assert_eq!(passed["without_key"], passed["operators"]["dedup.unique"]["rows_in"]);
    assert!(number(&passed, "without_key") > 4_000, "{passed}");
    let printed = place.done(&borrowed(&ad_click("jobs/data/clicks", "passed", "passed-data", &by_id)));
    assert!(printed.contains("`unique` found no duplicate") && printed.contains("without key"), "{printed}");

    let refuse = [by_id[0], by_id[1], "dedup.unique.null_key=dead_letter"];
    let refused = place.json(&borrowed(&ad_click("jobs/data/clicks", "refused", "refused-data", &refuse)));
    assert_balanced(&refused);
    assert_eq!(refused["unread_dead_letters"]["unique.dead_letters"], passed["without_key"]);
}

/// Without `max_jump` one date makes most clicks late: then that is said.
#[test]
fn many_late_clicks_are_told_with_what_may_have_done_it() {
    let place = Workplace::new();
    let line = |hour: u32, minute: u32| {
        format!("[AdClickEvent] ad1, 2022-03-04 {hour:02}:{minute:02}:00, u{minute}, i, USA\n")
    };
    let lines: String = (0..5).chain([200]).chain(5..60).map(|at| line(at / 60, at % 60)).collect();
    fs::create_dir(place.path("clicks")).unwrap();
    fs::write(place.path("clicks/a.log"), lines).unwrap();
    let guarded = place.json(&borrowed(&ad_click("clicks", "guarded", "guarded-data", &[])));
    assert_eq!((&guarded["late"], &guarded["dead_letters"]), (&0.into(), &1.into()), "{guarded}");
    assert!(guarded["hints"].as_array().unwrap().is_empty(), "{guarded}");
    let text = fs::read_to_string(place.path("jobs/ad_click.toml")).unwrap();
    fs::write(place.path("believing.toml"), text.replace(", max_jump = \"1h\"", "")).unwrap();
    let mut arguments = ad_click("clicks", "believed", "believed-data", &[]);
    arguments[1] = "believing.toml".into();
    let believed = place.json(&borrowed(&arguments));
    assert!(believed["late"].as_u64() > Some(40), "{believed}");
    let hint = believed["hints"][0].as_str().unwrap();
    assert!(hint.contains("are late") && hint.contains("watermark.max_jump"), "{hint}");
}

#[test]
fn an_event_that_is_late_for_several_aggregates_is_one_late_event() {
    let place = Workplace::new();
    let aggregates: String = ["a", "b", "c", "d"]
        .map(|name| {
            format!(
                "[aggregate.{name}]\ninput = 'clicks'\nkey = ['ad']\nwindow = {{ tumbling = '1m' }}\n\
                 select = {{ {name} = 'count(*)' }}\n\
                 [sink.{name}]\ninput = '{name}'\nconnector = 'files'\npath = 'out/{name}'\n"
            )
        })
        .concat();
    let source = "[job]\nname = 'clicks'\n[source.clicks]\nconnector = 'files'\npath = 'in'\nformat = 'json'\n\
                  schema = { ad = 'string', at = 'timestamp' }\nevent_time = 'at'\nwatermark = { delay = '0s' }\n";
    fs::write(place.path("job.toml"), format!("{source}{aggregates}")).unwrap();
    let line = |hour: u32, second: u32| format!("{{\"ad\":\"x\",\"at\":\"2022-03-04T{hour:02}:00:{second:02}Z\"}}\n");
    let lines: String = [1; 3].map(|hour| line(hour, 0)).into_iter().chain((0..10).map(|at| line(0, at))).collect();
    fs::create_dir(place.path("in")).unwrap();
    fs::write(place.path("in/1.json"), lines).unwrap();
    let text = place.done(&["run", "job.toml", "--quiet"]);
    assert!(text.contains("10 of 13 events are late"), "{text}");
    let shown: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("late")).collect();
    assert_eq!(shown.len(), 4, "{text}");
    assert!(shown[0].starts_with("  late for a") && shown[0].ends_with(" 10"), "{text}");
    let summary = place.json(&["run", "job.toml", "--quiet"]);
    assert_eq!(summary["late_for"], serde_json::json!({ "a": 10, "b": 10, "c": 10, "d": 10 }));
}

#[test]
fn record_ids_are_uuids_to_every_reader() {
    let place = Workplace::new();
    place.done(&["run", "jobs/ad_click.toml", "--quiet"]);
    for folder in ["out/counts", "out/top_ads"] {
        let files = fs::read_dir(place.path(folder)).unwrap().map(|entry| entry.unwrap().path());
        let file = files.filter(|path| path.extension() == Some("parquet".as_ref())).min().expect("a committed file");
        let reader = SerializedFileReader::new(fs::File::open(file).unwrap()).unwrap();
        let column = reader.metadata().file_metadata().schema_descr().column(0);
        assert_eq!((column.name(), column.logical_type_ref()), ("record_id", Some(&LogicalType::Uuid)), "{folder}");
    }
}

#[test]
fn a_finished_job_runs_again_only_afresh() {
    let place = Workplace::new();
    let arguments = ad_click("jobs/data/clicks", "out", "data", &[]);
    let first = place.json(&borrowed(&arguments));
    assert_eq!(first["status"], "finished");
    let counts = place.counts("out/counts");

    let second = place.json(&borrowed(&arguments));
    assert_eq!(second["status"], "finished_before");
    assert_eq!(second["aggregates"], first["aggregates"], "the same table");
    assert!(second["this_run"].is_null());

    // Results of others in the same folder are not this job's to remove.
    fs::write(place.path("out/counts/of-another.parquet"), "not ours").unwrap();
    let mut fresh = borrowed(&arguments);
    fresh.push("--fresh");
    let third = place.json(&fresh);
    assert_eq!(third["status"], "finished");
    assert_eq!(third["this_run"]["events"], first["events_in"], "it read everything again");
    assert_eq!(fs::read_to_string(place.path("out/counts/of-another.parquet")).unwrap(), "not ours");
    fs::remove_file(place.path("out/counts/of-another.parquet")).unwrap();
    assert_eq!(place.counts("out/counts"), counts);
}

#[test]
fn a_start_over_that_was_cut_short_is_done_by_the_next_run() {
    let place = Workplace::new();
    let arguments = ad_click("jobs/data/clicks", "out", "data", &[]);
    place.json(&borrowed(&arguments));
    let counts = place.counts("out/counts");
    fs::write(place.path("data/ad-click/starting-over"), "").unwrap();
    let summary = place.json(&borrowed(&arguments));
    assert_eq!(summary["status"], "finished");
    assert!(!place.path("data/ad-click/starting-over").exists());
    assert_eq!(place.counts("out/counts"), counts);
}

#[test]
fn results_that_were_decided_become_visible_after_the_kill() {
    let place = Workplace::new();
    let arguments = ad_click("jobs/data/clicks", "out", "data", &["job.checkpoint.interval=1h"]);
    place.weir(&borrowed(&arguments)).env("WEIR_CRASH_AT", "manifest.created").output().unwrap();
    assert!(crate::support::rows(&place.path("out/counts")).is_empty(), "nothing is visible before the commit");
    let summary = place.json(&borrowed(&arguments));
    assert_eq!(summary["status"], "recovered");
    assert!(!place.counts("out/counts").0.is_empty());
    assert_eq!(place.json(&borrowed(&arguments))["status"], "finished_before");
}

#[test]
fn a_kill_at_a_named_point_changes_nothing() {
    let place = Workplace::new();
    let often = ["job.checkpoint.interval=20ms"];
    place.json(&borrowed(&ad_click("jobs/data/clicks", "calm", "calm-data", &often)));
    let truth = place.counts("calm/counts");
    let points = [
        "attempt.claimed",
        "source.batch:2",
        "checkpoint.triggered:1",
        "subtask.captured:2",
        "upload.state_file:1",
        "upload.durable:2",
        "manifest.before:1",
        "manifest.created:1",
        "commit.started:1",
        "commit.one_done:1",
        "commit.one_done:2",
        "commit.marked:1",
        "run.committed:1",
    ];
    for (number, point) in points.into_iter().enumerate() {
        let (out, data) = (format!("out{number}"), format!("data{number}"));
        let arguments = ad_click("jobs/data/clicks", &out, &data, &often);
        let crashed = place.weir(&borrowed(&arguments)).env("WEIR_CRASH_AT", point).output().unwrap();
        assert_eq!(crashed.status.code(), None, "{point}: it must die, not end: {}", complaint(&crashed));
        let summary = place.json(&borrowed(&arguments));
        assert_balanced(&summary);
        assert_eq!(place.counts(&format!("{out}/counts")), truth, "{point}");
    }
}

#[test]
fn kills_at_any_moment_change_nothing() {
    let place = Workplace::new();
    place.done(&["generate", "clicks", "--events", "40000", "--ads", "300", "--broken-share", "0.001", "--quiet"]);
    let often = ["job.checkpoint.interval=25ms"];
    let calm = place.json(&borrowed(&ad_click("clicks", "calm", "calm-data", &often)));
    let truth = place.counts("calm/counts");

    let arguments = ad_click("clicks", "out", "data", &often);
    let mut kills = 0;
    // Later and later, so that every part of the run is met and every run gets further.
    for moment in (1..=12).map(|step| Duration::from_millis(step * 35)) {
        let mut child = place.start(&borrowed(&arguments));
        pause(moment);
        child.kill().unwrap();
        kills += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(kills > 0, "it was always done before it was killed");
    let summary = place.json(&borrowed(&arguments));
    assert_balanced(&summary);
    for class in ["events_in", "duplicates", "late", "filtered_out", "dead_letters"] {
        assert_eq!(summary[class], calm[class], "{class}, after {kills} kills");
    }
    assert_eq!(place.counts("out/counts"), truth, "after {kills} kills");
}

#[test]
fn a_followed_job_stops_and_goes_on() {
    let place = Workplace::new();
    place.done(&["generate", "all", "--events", "6000", "--partitions", "1", "--ads", "50", "--quiet"]);
    let lines = fs::read_to_string(place.path("all/part-0000.log")).unwrap();
    let half = lines.lines().take(3000).map(|line| format!("{line}\n")).collect::<String>();
    fs::create_dir(place.path("clicks")).unwrap();
    fs::write(place.path("clicks/server.log"), &half).unwrap();

    let follow = ["source.clicks.follow=true", "job.checkpoint.interval=50ms"];
    let mut arguments = ad_click("clicks", "out", "data", &follow);
    arguments.push("--json".into());
    let child = place.start(&borrowed(&arguments));
    place.wait_for_events("data", 3000);
    signal(&child, "INT");
    let stopped = child.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(0), "{}", complaint(&stopped));
    let summary: Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!((&summary["status"], &summary["events_in"]), (&"stopped".into(), &3000.into()));
    assert_balanced(&summary);

    // The log grows while nobody looks, and on.
    fs::write(place.path("clicks/server.log"), &lines).unwrap();
    let child = place.start(&borrowed(&arguments));
    place.wait_for_events("data", 6000);
    signal(&child, "TERM");
    let stopped = child.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(0), "{}", complaint(&stopped));
    let summary: Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!(summary["events_in"], 6000);
    assert_eq!(summary["this_run"]["events"], 3000, "what was read before is not read again");
    assert!(summary["restored_from"].is_u64());
    assert_balanced(&summary);
}

#[test]
fn one_job_is_run_by_one_process() {
    let place = Workplace::new();
    let follow = ["source.clicks.follow=true", "job.checkpoint.interval=50ms"];
    let arguments = ad_click("jobs/data/clicks", "out", "data", &follow);
    let mut first = place.start(&borrowed(&arguments));
    place.wait_for_events("data", 1);
    let told = place.refused(&borrowed(&arguments), 1);
    assert!(told.contains(&format!("process {}", first.id())), "{told}");

    // The same storage from another data dir: no lock in common. The newer one takes over, and the older one sees it.
    let mut elsewhere = ad_click("jobs/data/clicks", "out", "elsewhere", &follow);
    elsewhere.extend(["--storage".into(), place.path("data/storage").display().to_string()]);
    let second = place.start(&borrowed(&elsewhere));
    let mut code = None;
    wait_until("the first process to give way", || {
        code = first.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(3));
    signal(&second, "INT");
    let second = second.wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", complaint(&second));
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let place = Workplace::new();
    place.done(&["generate", "clicks", "--events", "20000", "--quiet"]);
    // Printed to a pipe that nobody reads: the commit waits for ever.
    let printing = "
        [job]
        name = 'ad-click'
        checkpoint = { interval = '50ms' }
        [source.clicks]
        connector = 'files'
        path = 'clicks'
        format = 'click_log'
        event_time = 'click_timestamp'
        [sink.all]
        input = 'clicks'
        connector = 'console'";
    fs::write(place.path("printing.toml"), printing).unwrap();
    let mut command = place.weir(&["run", "printing.toml", "--data-dir", "data"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    place.wait_for_events("data", 1);
    // Twice at once is one wish: that is how `timeout` sends it.
    signal(&child, "INT");
    signal(&child, "INT");
    pause(Duration::from_millis(600));
    assert!(child.try_wait().unwrap().is_none(), "it ended, though its output is stuck");
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Each click is in ten thousand windows, and all of them are put out in one step that takes minutes.
#[test]
fn a_step_without_end_holds_up_no_stop() {
    let place = Workplace::new();
    let lines = (0..4_320).map(|minute| {
        let (day, hour, at) = (1 + minute / 1_440, minute / 60 % 24, minute % 60);
        format!("[AdClickEvent] ad{:03}, 2022-03-{day:02} {hour:02}:{at:02}:00, user 1, 1.2.3.4, USA\n", minute % 500)
    });
    fs::create_dir(place.path("clicks")).unwrap();
    fs::write(place.path("clicks/a.log"), lines.collect::<String>()).unwrap();
    let week = "
        [job]
        name = 'week'
        [source.clicks]
        connector = 'files'
        path = 'clicks'
        format = 'click_log'
        event_time = 'click_timestamp'
        [aggregate.week]
        input = 'clicks'
        key = ['ad_id']
        window = { hopping = '7d', slide = '1m' }
        select = { count = 'count(*)' }
        [sink.week]
        input = 'week'
        connector = 'files'
        format = 'parquet'
        path = 'week'";
    fs::write(place.path("week.toml"), week).unwrap();
    let mut child = place.start(&["run", "week.toml", "--data-dir", "data", "--quiet", "--stop-timeout", "1s"]);
    pause(Duration::from_secs(3));
    assert!(child.try_wait().unwrap().is_none(), "the step does not take long enough");
    signal(&child, "TERM");
    pause(Duration::from_secs(10));
    let ended = child.try_wait().unwrap();
    if ended.is_none() {
        child.kill().unwrap();
    }
    assert_eq!(ended.expect("it waits for its step").code(), Some(130));
    let output = child.wait_with_output().unwrap();
    assert!(complaint(&output).contains("no last checkpoint within 1s"), "{}", complaint(&output));
}

#[test]
fn mistakes_are_told_with_their_place_before_anything_starts() {
    let place = Workplace::new();
    let definition = fs::read_to_string(place.path("jobs/ad_click.toml")).unwrap();
    let wrong = definition.replace("input = \"unique\"", "input = \"uniqe\"");
    fs::write(place.path("wrong.toml"), &wrong).unwrap();
    let line = 1 + wrong.lines().position(|line| line.contains("uniqe")).unwrap();
    let told = place.refused(&["run", "wrong.toml"], 2);
    assert!(told.contains(&format!("wrong.toml:{line}:")) && told.contains("did you mean `unique`"), "{told}");
    assert!(!place.path(".weir").exists() && !place.path("out").exists(), "nothing was started");

    let told = place.refused(&["explain", "jobs/ad_click.toml", "--set", "source.clicks.formt=csv"], 2);
    assert!(told.contains("formt") && told.contains("format"), "{told}");
    assert!(place.refused(&["run", "nowhere.toml"], 2).contains("nowhere.toml"));
    place.refused(&["run"], 2);
    place.refused(&["run", "jobs/ad_click.toml", "--log", "a=b=c"], 2);
}

#[test]
fn a_changed_definition_is_refused_by_its_checkpoints() {
    let place = Workplace::new();
    place.json(&borrowed(&ad_click("jobs/data/clicks", "out", "data", &[])));
    let changed = ad_click("jobs/data/clicks", "out", "data", &["dedup.unique.ttl=2h"]);
    let told = place.refused(&borrowed(&changed), 2);
    assert!(told.contains("--fresh"), "it says what can be done: {told}");
    assert!(told.contains("`ttl` of `dedup.unique` was 1h and is now 2h"), "it says what it is: {told}");
    // Wider is not another job.
    let mut wider = ad_click("jobs/data/clicks", "out", "data", &[]);
    wider.extend(["--parallelism".into(), "3".into()]);
    assert_eq!(place.json(&borrowed(&wider))["status"], "finished_before");
}

#[test]
fn a_job_goes_on_from_its_checkpoint_after_a_change_of_its_expressions() {
    let place = Workplace::new();
    place.done(&["generate", "clicks", "--events", "100000", "--quiet"]);
    let files = fs::read_dir(place.path("clicks")).unwrap().map(|entry| entry.unwrap().path());
    let lines: usize = files.map(|file| fs::read_to_string(file).unwrap().lines().count()).sum();
    let arguments = |more: &[&str]| {
        let more = [&["job.checkpoint.interval=20ms", "source.clicks.batch_rows=100"], more].concat();
        ad_click("clicks", "out", "data", &more)
    };
    let mended = [
        "map.valid.where=ad_id <> '' and country is not null and country <> 'ATA'",
        "filters.0034=country = 'DEU'",
        "source.clicks.watermark.delay=20s",
        "sink.counts.compression=zstd",
        "sink.extra={ input = \"valid.dead_letters\", connector = \"files\", path = \"extra\" }",
    ];
    let killed = place.weir(&borrowed(&arguments(&[]))).env("WEIR_CRASH_AT", "commit.marked:1").output().unwrap();
    assert_eq!(killed.status.code(), None, "{}", complaint(&killed));
    let output = place.output(&[&borrowed(&arguments(&mended))[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", complaint(&output));
    let told = complaint(&output);
    assert!(told.contains("definition changed: ") && told.contains("resumes from checkpoint"), "{told}");
    for node in ["map.valid", "filters.clicks_per_minute", "source.clicks", "sink.counts", "sink.extra (new)"] {
        assert!(told.contains(node), "{node}: {told}");
    }
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["status"], &summary["events_in"]), (&"finished".into(), &lines.into()));
    assert!(summary["restored_from"].as_u64().is_some_and(|checkpoint| checkpoint >= 1), "{summary}");
}

#[test]
fn what_state_means_is_refused_by_node_and_key() {
    let place = Workplace::new();
    place.json(&borrowed(&ad_click("jobs/data/clicks", "out", "data", &[])));
    for (setting, told) in [
        ("dedup.unique.key=[\"user_id\", \"ip\", \"click_timestamp\"]", "`key` of `dedup.unique`"),
        (
            "aggregate.clicks_per_minute.window.tumbling=30s",
            "`window` of `aggregate.clicks_per_minute` was tumbling 1m",
        ),
        ("aggregate.clicks_per_minute.select={ count = \"count(ip)\" }", "`select` of `aggregate.clicks_per_minute`"),
        ("reduce.top_ads.top.n=7", "`n` of `reduce.top_ads"),
        ("sink.counts.path=elsewhere", "`path` of `sink.counts`"),
        ("source.clicks.path=jobs", "`path` of `source.clicks`"),
    ] {
        let changed = ad_click("jobs/data/clicks", "out", "data", &[setting]);
        let complaint = place.refused(&borrowed(&changed), 2);
        assert!(complaint.contains(told) && complaint.contains("--fresh"), "{setting}: {complaint}");
    }
}

#[test]
fn a_job_that_has_run_and_fails_is_no_mistake_in_an_argument() {
    let place = Workplace::new();
    let arguments = ad_click("jobs/data/clicks", "out", "data", &["map.valid.where=1 / 0 > 0"]);
    let output = place.output(&borrowed(&arguments));
    assert!(complaint(&output).contains("Divide by zero"), "{}", complaint(&output));
    let explained = place.output(&["explain", "jobs/ad_click.toml", "--set", "map.valid.where=1 / 0 > 0"]);
    // Whatever is told before a row is read is told with 2, what ends a job that runs with 1.
    let expected = if explained.status.success() { Some(1) } else { Some(2) };
    assert_eq!(output.status.code(), expected, "{}", complaint(&output));
}

#[test]
fn what_is_refused_leaves_no_start_over_behind() {
    let place = Workplace::new();
    // Nothing that it writes can be asked for counts.
    let arguments = ["run", "jobs/talkingdata.toml", "--data-dir", "data", "--fresh", "--serve", "127.0.0.1:0"];
    place.refused(&arguments, 2);
    let left: Vec<_> = fs::read_dir(place.path("data")).into_iter().flatten().flatten().collect();
    assert!(left.iter().all(|folder| !folder.path().join("starting-over").exists()), "{left:?}");
}

#[test]
fn input_that_is_not_there_is_a_failure_with_its_name() {
    let place = Workplace::new();
    let output = place.output(&borrowed(&ad_click("no/such/folder", "out", "data", &[])));
    assert!(matches!(output.status.code(), Some(1 | 2)), "{}", complaint(&output));
    assert!(complaint(&output).contains("no/such/folder"), "{}", complaint(&output));
}

#[test]
fn files_that_are_passed_over_are_named_and_counted() {
    let place = Workplace::new();
    fs::create_dir(place.path("in")).unwrap();
    let click = "[AdClickEvent] ad1, 2022-03-04 00:00:01, user 1, 10.0.0.1, USA\n";
    for name in ["a.log", "b.log.xz", "_c.log"] {
        fs::write(place.path("in").join(name), click).unwrap();
    }
    std::os::unix::fs::symlink("a.log", place.path("in/current.log")).unwrap();
    let job = ["run", "jobs/ad_click.toml", "--set", "source.clicks.path=in", "--parallelism", "3"];
    let output = place.output(&job);
    assert!(output.status.success(), "{}", complaint(&output));
    let (printed, told) = (String::from_utf8_lossy(&output.stdout), complaint(&output));
    assert!(printed.contains("files passed over  3"), "{printed}");
    for name in ["in/b.log.xz", "in/_c.log", "in/current.log"] {
        assert_eq!(told.matches(name).count(), 1, "{told}");
    }
    let again = place.json(&job);
    assert_eq!((&again["files_passed_over"], &again["events_in"]), (&3.into(), &1.into()));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let place = Workplace::new();
    place.done(&borrowed(&ad_click("jobs/data/clicks", "out", "data", &[])));
    let again = ad_click("jobs/data/clicks", "out", "data", &[]);
    let certs = place.path("certs").display().to_string();
    for arguments in [
        borrowed(&again),
        [&borrowed(&again)[..], &["--json"]].concat(),
        vec!["explain", "jobs/ad_click.toml"],
        vec!["completions", "bash"],
        vec!["checkpoint", "list", "--data-dir", "data", "--json"],
        vec!["generate", "clicks", "--events", "10", "--json"],
        vec!["certs", &certs],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = place.weir(&arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "weir {arguments:?}: {}", complaint(&output));
        assert!(complaint(&output).contains("cannot write to standard output"), "{}", complaint(&output));
    }
}

#[test]
fn a_misspelt_log_level_is_refused() {
    let place = Workplace::new();
    let told = place.refused(&["--log", "inof", "explain", "jobs/ad_click.toml"], 2);
    assert!(told.contains("--log: 'inof' is no log level; write error, warn, info, debug, trace or off"), "{told}");
    let output = place.weir(&["explain", "jobs/ad_click.toml"]).env("WEIR_LOG", "wran").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    assert!(complaint(&output).contains("WEIR_LOG: 'wran' is no log level"), "{}", complaint(&output));
}

#[test]
fn logs_have_colours_on_a_terminal_alone() {
    let place = Workplace::new();
    let arguments = ad_click("jobs/data/clicks", "out", "data", &[]);
    let mut command = place.weir(&[&borrowed(&arguments)[..], &["--log", "info"]].concat());
    let logs = complaint(&command.env_remove("NO_COLOR").output().unwrap());
    assert!(logs.contains("starting") && !logs.contains('\u{1b}'), "{logs:?}");
}

#[test]
fn a_wrong_parallelism_is_told_where_it_was_given() {
    let place = Workplace::new();
    let told = |more: &[&str]| place.refused(&[&["explain", "jobs/ad_click.toml"], more].concat(), 2);
    let none = told(&["--parallelism", "0"]);
    assert!(none.contains("'--parallelism <N>'") && !none.contains("key groups"), "{none}");
    let many = told(&["--parallelism", "9", "--set", "job.max_parallelism=8"]);
    assert!(many.contains("--parallelism asks for more subtasks than there are key groups"), "{many}");
    let none = told(&["--set", "job.parallelism=0"]);
    assert!(!none.contains("more subtasks than key groups"), "{none}");
}
