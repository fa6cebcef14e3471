//! Neither a recount nor a replay takes an archive for complete that lacks what the store has counted: because a kill came
//! between two sinks, or because rows are held back before the archive.

use crate::support::{Workplace, borrowed, complaint, counter, pause, rows, signal, wait_until};
use serde_json::Value;
use std::{fs, io::Write, time::Duration};

/// The ad-click job, but for the name of the archive's sink.
const JOB: &str = "late_archive.toml";

/// Lines that are there before the job is started first.
const FIRST: usize = 600;

/// Event time of the first line, more or less.
const START_MS: i64 = 1_646_352_000_000;

/// A workplace with that job, and the lines of an hour and a half of clicks.
fn workplace() -> (Workplace, Vec<String>) {
    let place = Workplace::new();
    let shipped = fs::read_to_string(place.path("jobs/ad_click.toml")).unwrap();
    assert!(shipped.contains("[sink.raw]"));
    fs::write(place.path(JOB), shipped.replace("[sink.raw]", "[sink.zz_raw]")).unwrap();
    place.done(&["generate", "all", "--events", "5400", "--ads", "20", "--event-rate", "1", "--partitions", "1"]);
    let file = fs::read_dir(place.path("all")).unwrap().next().unwrap().unwrap().path();
    let lines = fs::read_to_string(file).unwrap().lines().map(|line| format!("{line}\n")).collect();
    fs::create_dir(place.path("clicks")).unwrap();
    (place, lines)
}

fn append(place: &Workplace, lines: &[String]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(place.path("clicks/0.log")).unwrap();
    file.write_all(lines.concat().as_bytes()).unwrap();
}

/// `weir COMMAND JOB` with what all of these tests set. One checkpoint spans more event time than the allowed lateness.
fn arguments(command: &str, more: &[&str]) -> Vec<String> {
    let common = [
        "source.clicks.path=clicks",
        "source.clicks.follow=true",
        "job.checkpoint.interval=2s",
        "sink.store.enabled=true",
        "sink.store_top.enabled=true",
        "sink.counts.enabled=false",
        "sink.top_ads.enabled=false",
        "sink.late.enabled=false",
    ];
    let common = common.iter().flat_map(|setting| ["--set", setting]);
    [command, JOB].into_iter().chain(common).chain(more.iter().copied()).map(str::to_owned).collect()
}

fn reconcile(place: &Workplace, more: &[&str]) -> Value {
    place.json(&borrowed(&arguments("reconcile", more)))
}

#[test]
fn what_the_store_has_before_the_archive_is_waited_for() {
    let (place, lines) = workplace();
    append(&place, &lines[..FIRST]);
    let job = place.start(&borrowed(&arguments("run", &["--quiet"])));
    place.wait_for_events(".weir", FIRST as u64);
    signal(&job, "INT");
    let stopped = job.wait_with_output().unwrap();
    assert!(stopped.status.success(), "{}", complaint(&stopped));

    // Killed when both tables of the store have the rest, and the archive, which something was in the way of, nothing of it.
    append(&place, &lines[FIRST..]);
    let in_the_way = place.path("out/raw/hour=2022-03-04T01");
    fs::write(&in_the_way, "no folder").unwrap();
    let run = arguments("run", &["--quiet"]);
    let killed = place.weir(&borrowed(&run)).env("WEIR_CRASH_AT", "sql_sink.committed:2").output().unwrap();
    assert!(!killed.status.success());
    fs::remove_file(&in_the_way).unwrap();
    let staged = place.path("out/raw/_staging/ad-click");
    assert!(staged.exists(), "the archive has come as far as the store");
    for data_dir in ["elsewhere", ".weir"] {
        let place_and_wait = ["--data-dir", data_dir, "--wait", "500ms"];
        let complaint = place.refused(&borrowed(&arguments("reconcile", &place_and_wait)), 4);
        assert!(complaint.contains("waiting for the archive to catch up"), "{complaint}");
        assert!(complaint.contains("staged beside it") && complaint.contains("Start it again"), "{complaint}");
        let complaint = place.refused(&borrowed(&arguments("replay", &place_and_wait)), 1);
        assert!(complaint.contains("staged beside it"), "{complaint}");
    }

    let comparing =
        place.start(&borrowed(&arguments("reconcile", &["--data-dir", "elsewhere", "--wait", "100s", "--json"])));
    pause(Duration::from_millis(500));
    let job = place.start(&borrowed(&arguments("run", &["--quiet"])));
    let compared = comparing.wait_with_output().unwrap();
    assert!(compared.status.success(), "{}", complaint(&compared));
    let report: Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert_eq!(report["differing"], 0, "{report}");
    assert!(report["archive_rows"].as_u64().unwrap() > FIRST as u64, "{report}");
    place.done(&borrowed(&arguments("replay", &["--quiet", "--data-dir", "elsewhere"])));
    assert_eq!(reconcile(&place, &["--data-dir", "elsewhere"])["differing"], 0);
    signal(&job, "INT");
    assert!(job.wait_with_output().unwrap().status.success());
}

#[test]
fn checkpoints_of_another_run_do_not_speak_for_the_store() {
    let (place, lines) = workplace();
    append(&place, &lines);
    let job = place.start(&borrowed(&arguments("run", &["--quiet"])));
    place.wait_for_events(".weir", lines.len() as u64);
    signal(&job, "INT");
    assert!(job.wait_with_output().unwrap().status.success());
    let other = [
        "--set",
        "source.clicks.follow=false",
        "--set",
        "sink.store.url=sqlite:other.sqlite",
        "--set",
        "sink.store_top.url=sqlite:other.sqlite",
        "--set",
        "sink.zz_raw.path=other",
        "--set",
        "sink.dead_letters.path=other_dead_letters",
    ];
    place.done(&borrowed(&arguments("run", &[&other[..], &["--quiet", "--data-dir", "finished"]].concat())));
    let own = reconcile(&place, &[]);
    let finished = reconcile(&place, &[&other[..], &["--data-dir", "finished"]].concat());
    assert!(own["to_ms"].as_i64() < finished["to_ms"].as_i64(), "{own} {finished}");
    assert_eq!(reconcile(&place, &["--data-dir", "finished"])["to_ms"], own["to_ms"], "that job is not finished");
}

/// Clicks are held back from the archive for twenty minutes of event time, over a kill.
#[test]
fn windows_of_clicks_that_are_held_back_are_not_final() {
    let (place, lines) = workplace();
    let settings = ["--set", "job.checkpoint.interval=500ms", "--set", "sink.zz_raw.roll={ every = \"20m\" }"];
    let run = arguments("run", &[&settings[..], &["--quiet"]].concat());
    let archived = || rows(&place.path("out/raw")).iter().map(|batch| batch.num_rows()).sum::<usize>();
    append(&place, &lines[..FIRST]);
    let mut job = place.start(&borrowed(&run));
    // Nobody knows yet how old the first ones are.
    wait_until("the first clicks in the archive", || place.path("out/raw").exists() && archived() > FIRST * 9 / 10);
    let at_first = archived();

    // A quarter of an hour on the windows are counted, and the archive has nothing of them.
    append(&place, &lines[FIRST..1_500]);
    place.wait_for_events(".weir", 1_500);
    pause(Duration::from_millis(1_500));
    assert_eq!(archived(), at_first);
    // The definition itself says nothing, which is ten minutes: but the job that runs is what counts.
    for more in [&settings[..], &[]] {
        let report = reconcile(&place, more);
        assert!(report["to_ms"].as_i64().unwrap() < START_MS, "{report}");
    }
    job.kill().unwrap();
    job.wait().unwrap();
    assert_eq!(archived(), at_first);

    // How long they have been held is not known any more.
    let job = place.start(&borrowed(&run));
    wait_until("what was held before the kill", || archived() > 1_400);
    append(&place, &lines[1_500..]);
    place.wait_for_events(".weir", lines.len() as u64);
    let report = reconcile(&place, &settings);
    assert_eq!(report["differing"], 0, "{report}");
    assert!(report["to_ms"].as_i64().unwrap() > START_MS + 45 * 60_000, "{report}");
    signal(&job, "INT");
    assert!(job.wait_with_output().unwrap().status.success());
    let inspected = place.json(&["checkpoint", "inspect", "--job", "ad-click"]);
    let late = counter(&inspected, "late") as usize;
    assert_eq!(archived(), lines.len() - late, "nothing is held back at the end, and nothing is there twice");
    assert_eq!(reconcile(&place, &settings)["differing"], 0);
}
