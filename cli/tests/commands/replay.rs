//! `weir replay` and `weir reconcile` as a user runs them: live counts, replayed counts and the recount are the same, wrong
//! ones are repaired, and no kill changes that.

use crate::support::{Workplace, ad_click, borrowed, complaint, pause, signal, wait_until};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};
use weir_recalculation::store::Store;
use weir_store::row::{integer, text};
use weir_test_support::postgres_server::PostgresServer;

/// A workplace with clicks that a job has counted into a store.
struct Counted {
    place: Workplace,
    settings: Vec<String>,
}

/// Everything in the store that people ask for: name of the table and key → count.
type Contents = BTreeMap<(String, Vec<String>), i64>;

impl Counted {
    /// Runs the ad-click job over a folder of clicks, with what else is set.
    fn run(place: Workplace, clicks: &str, parallelism: usize, wrong: &[&str]) -> Self {
        let counted = Counted { settings: settings(clicks, &[]), place };
        let mut arguments: Vec<String> = ["run", "jobs/ad_click.toml", "--quiet"].map(String::from).into();
        arguments.extend(settings(clicks, wrong));
        arguments.extend(["--parallelism".into(), parallelism.to_string()]);
        counted.place.done(&borrowed(&arguments));
        counted
    }

    /// `weir COMMAND JOB` for this job.
    fn arguments(&self, command: &str, more: &[&str]) -> Vec<String> {
        let command = [command, "jobs/ad_click.toml"].map(String::from).into_iter();
        command.chain(self.settings.clone()).chain(more.iter().map(|one| (*one).to_string())).collect()
    }

    fn replay(&self, more: &[&str]) -> Value {
        self.place.json(&borrowed(&self.arguments("replay", &[&["--quiet"], more].concat())))
    }

    /// The report, whatever it says, and the exit code.
    fn reconcile(&self, more: &[&str]) -> (Value, i32) {
        let output = self.place.output(&borrowed(&self.arguments("reconcile", &[&["--json"], more].concat())));
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", complaint(&output)));
        (report, output.status.code().expect("an exit code"))
    }

    fn assert_reconciled(&self) -> u64 {
        let (report, code) = self.reconcile(&[]);
        assert_eq!((&report["differing"], code), (&Value::from(0), 0), "{report}");
        let matching = report["matching"].as_u64().unwrap();
        assert!(matching > 0, "{report}");
        matching
    }

    fn contents(&self) -> Contents {
        contents(&self.place.path("out/store.sqlite").display().to_string())
    }

    /// What is left of replays: shadow tables, marks of their jobs, checkpoints.
    fn leftovers(&self) -> Vec<String> {
        let path = self.place.path("out/store.sqlite").display().to_string();
        let tables = "SELECT name FROM sqlite_master WHERE name LIKE '%replay\\_%' ESCAPE '\\'";
        let marks = "SELECT job FROM weir_sinks WHERE job LIKE '%replay%' UNION ALL \
                     SELECT job FROM weir_commits WHERE job LIKE '%replay%'";
        let mut left: Vec<String> = [tables, marks].iter().flat_map(|sql| strings(&path, sql)).collect();
        for entry in fs::read_dir(self.place.path(".weir/storage/jobs")).unwrap() {
            let job = entry.unwrap().path();
            if job.to_string_lossy().contains(".replay-") {
                left.extend(files(&job).into_iter().filter(|name| !name.contains("/attempts/")));
            }
        }
        left
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path.display().to_string()] }).collect()
}

/// The same contents, or else the first differences.
fn assert_same(found: &Contents, expected: &Contents, what: &str) {
    let differs = |key: &&(String, Vec<String>)| found.get(*key) != expected.get(*key);
    let mut differing: Vec<_> = found.keys().chain(expected.keys()).filter(differs).collect();
    differing.sort();
    differing.dedup();
    let shown =
        differing.iter().take(10).map(|key| format!("{key:?}: {:?}, not {:?}", found.get(*key), expected.get(*key)));
    let shown: Vec<String> = shown.collect();
    assert!(differing.is_empty(), "{what}: {} differ: {shown:#?}", differing.len());
}

fn of_counts(contents: &Contents) -> Contents {
    contents.clone().into_iter().filter(|((table, _), _)| table == "counts").collect()
}

fn settings(clicks: &str, more: &[&str]) -> Vec<String> {
    let clicks = format!("source.clicks.path={clicks}");
    let common = [clicks.as_str(), "sink.store.enabled=true", "sink.store_top.enabled=true"];
    common.iter().chain(more).flat_map(|setting| ["--set".to_string(), (*setting).to_string()]).collect()
}

/// `store` is a file of SQLite, or a URL.
#[tokio::main(flavor = "current_thread")]
async fn rows(store: &str, sql: &str) -> Vec<sqlx::any::AnyRow> {
    let url = if store.contains("://") { store.to_owned() } else { format!("sqlite:{store}") };
    let store = Store::open(&url).await.expect("a store");
    store.rows(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn strings(path: &str, sql: &str) -> Vec<String> {
    rows(path, sql).iter().map(|row| text(row, 0).expect("a text")).collect()
}

fn contents(path: &str) -> Contents {
    let counts =
        "SELECT 'counts', CAST(click_minute AS TEXT), filter_id, ad_id, count FROM ad_counts WHERE revision >= 0";
    let lists = "SELECT 'top', CAST(window_end AS TEXT), filter_id, rank || ' ' || ad_id, count FROM top_ads";
    let mut found = Contents::new();
    for sql in [counts, lists] {
        for row in rows(path, sql) {
            let key = (1..4).map(|column| text(&row, column).unwrap()).collect();
            found.insert((text(&row, 0).unwrap(), key), integer(&row, 4).unwrap());
        }
    }
    assert!(found.keys().any(|(table, _)| table == "top"), "no lists");
    found
}

#[test]
fn live_replayed_and_recounted_the_sample_clicks_are_the_same() {
    let counted = Counted::run(Workplace::new(), "jobs/data/clicks", 2, &[]);
    let live = counted.contents();
    let matching = counted.assert_reconciled();
    let counts = live.keys().filter(|(table, _)| table == "counts").count();
    assert_eq!(matching, counts as u64);
    let first = counted.replay(&[]);
    assert_eq!((&first["replay"], &first["widened"]), (&Value::from(1), &Value::from(false)), "{first}");
    assert_eq!(first["replaced_rows"], first["new_rows"], "{first}");
    assert_same(&counted.contents(), &live, "replayed");
    let second = counted.replay(&["--parallelism", "3"]);
    assert_eq!((&second["replay"], &second["new_rows"]), (&Value::from(2), &first["new_rows"]), "{second}");
    assert_same(&counted.contents(), &live, "replayed twice");
    assert_eq!(counted.assert_reconciled(), matching);
    assert_eq!(counted.leftovers(), Vec::<String>::new());
    let listed = counted.place.json(&["checkpoint", "list"]);
    assert_eq!(listed.as_object().unwrap().keys().collect::<Vec<_>>(), ["ad-click"]);
    assert_eq!(counted.place.json(&["checkpoint", "inspect"])["job"], "ad-click");
    let states =
        strings(&counted.place.path("out/store.sqlite").display().to_string(), "SELECT state FROM weir_replays");
    assert_eq!(states, ["done", "done"]);
}

#[test]
fn generated_streams_give_the_same_at_any_parallelism() {
    for (seed, parallelism, replays) in [("3", 1, "2"), ("4", 2, "1"), ("5", 3, "2")] {
        let place = Workplace::new();
        // Half an hour before midnight, so that the archive has several hours, and another day.
        let generate = [
            "generate",
            "clicks",
            "--seed",
            seed,
            "--events",
            "6000",
            "--partitions",
            "3",
            "--ads",
            "50",
            "--users",
            "200",
            "--event-rate",
            "1",
            "--start",
            "2022-03-03T23:20:00Z",
            "--out-of-orderness",
            "30s",
            "--late-share",
            "0.05",
            "--duplicate-share",
            "0.1",
            "--broken-share",
            "0.01",
        ];
        place.done(&generate);
        let counted = Counted::run(place, "clicks", parallelism, &[]);
        let live = counted.contents();
        counted.assert_reconciled();
        counted.replay(&["--parallelism", replays]);
        assert_same(&counted.contents(), &live, &format!("seed {seed}"));
        counted.assert_reconciled();
        // A part of it: windows that are not in it stay, and lists over its edges go.
        let part = counted.replay(&["--range", "2022-03-03T23:40:00Z..2022-03-04T00:10:00Z"]);
        assert_eq!(part["to_ms"].as_i64().unwrap() - part["from_ms"].as_i64().unwrap(), 30 * 60_000);
        let after = counted.contents();
        assert_same(&of_counts(&after), &of_counts(&live), &format!("a part, seed {seed}"));
        assert!(after.len() < live.len() && after.iter().all(|(key, count)| live.get(key) == Some(count)));
    }
}

#[test]
fn a_broken_job_is_repaired_by_its_fixed_definition() {
    let right = Counted::run(Workplace::new(), "jobs/data/clicks", 2, &[]);
    let broken =
        Counted::run(Workplace::new(), "jobs/data/clicks", 2, &["filters.0012=country = 'U.S.A.' or ad_id < 'ad5'"]);
    assert_ne!(broken.contents(), right.contents());
    let (report, code) = broken.reconcile(&[]);
    assert_eq!(code, 1, "{report}");
    let differences = report["differences"].as_array().unwrap();
    assert_eq!(differences.len() as u64, report["differing"].as_u64().unwrap());
    assert!(!differences.is_empty() && differences.iter().all(|one| one["filter"] == "0012"), "{report}");
    broken.replay(&[]);
    assert_same(&broken.contents(), &right.contents(), "repaired");
    broken.assert_reconciled();
    // A filter that is new is counted for the past, too, and questions about it are answered.
    let mut fixed = broken;
    fixed.settings = settings("jobs/data/clicks", &["filters.0033=ip like '1%'"]);
    fixed.replay(&[]);
    fixed.assert_reconciled();
    let path = fixed.place.path("out/store.sqlite").display().to_string();
    assert!(strings(&path, "SELECT description FROM weir_sinks")[0].contains("0033"));
    assert!(fixed.contents().keys().any(|(table, key)| table == "counts" && key[1] == "0033"));
}

#[test]
fn the_same_on_postgres() {
    let Some(server) = PostgresServer::start().expect("PostgreSQL starts") else { return };
    let url = server.new_database().expect("a database");
    let stores = [format!("sink.store.url={url}"), format!("sink.store_top.url={url}")];
    let [store, lists] = stores.each_ref().map(String::as_str);
    let right = Counted::run(Workplace::new(), "jobs/data/clicks", 2, &[]).contents();
    let wrong = "filters.0012=ad_id < 'ad5'";
    let mut counted = Counted::run(Workplace::new(), "jobs/data/clicks", 2, &[store, lists, wrong]);
    counted.settings = settings("jobs/data/clicks", &[store, lists]);
    let (report, code) = counted.reconcile(&[]);
    assert_eq!(code, 1, "{report}");
    let arguments = counted.arguments("replay", &["--quiet"]);
    let killed = counted.place.weir(&borrowed(&arguments)).env("WEIR_CRASH_AT", "replay.replaced").output().unwrap();
    assert!(!killed.status.success());
    counted.replay(&[]);
    assert_same(&contents(&url), &right, "on PostgreSQL");
    counted.assert_reconciled();
    counted.replay(&[]);
    assert_same(&contents(&url), &right, "on PostgreSQL, twice");
    let left =
        strings(&url, "SELECT CAST(relname AS TEXT) FROM pg_class WHERE relname LIKE '%replay%' AND relkind = 'r'");
    assert_eq!(left, ["weir_replays"]);
}

#[test]
fn a_replay_that_is_killed_goes_on_or_begins_again() {
    let counted = Counted::run(Workplace::new(), "jobs/data/clicks", 2, &["filters.0012=ad_id < 'ad5'"]);
    let right = Counted::run(Workplace::new(), "jobs/data/clicks", 2, &[]).contents();
    let points = [
        "source.read:3",
        "manifest.created",
        "commit.started",
        "commit.marked",
        "replay.counted",
        "replay.replacing",
        "replay.before_commit",
        "replay.replaced",
        "replay.cleaning",
    ];
    for point in points {
        let arguments = counted.arguments("replay", &["--quiet"]);
        let output = counted.place.weir(&borrowed(&arguments)).env("WEIR_CRASH_AT", point).output().unwrap();
        assert!(!output.status.success(), "it was not killed at {point}: {}", complaint(&output));
    }
    // Another one is begun in between, and leaves the first behind.
    let range = ["--range", "2022-03-04T00:02:00Z..2022-03-04T00:04:00Z", "--quiet"];
    let arguments = counted.arguments("replay", &range);
    let output = counted.place.weir(&borrowed(&arguments)).env("WEIR_CRASH_AT", "replay.counted").output().unwrap();
    assert!(!output.status.success());
    counted.replay(&[]);
    assert_same(&counted.contents(), &right, "after all kills");
    counted.assert_reconciled();
    assert_eq!(counted.leftovers(), Vec::<String>::new());
}

#[test]
fn a_row_that_was_changed_by_hand_is_found() {
    let counted = Counted::run(Workplace::new(), "jobs/data/clicks", 1, &[]);
    let path = counted.place.path("out/store.sqlite").display().to_string();
    let first = "FROM ad_counts WHERE filter_id = '0012' ORDER BY click_minute, ad_id LIMIT 1";
    let ad = strings(&path, &format!("SELECT ad_id {first}")).remove(0);
    let minute = strings(&path, &format!("SELECT CAST(click_minute AS TEXT) {first}")).remove(0);
    rows(
        &path,
        &format!(
            "UPDATE ad_counts SET count = count + 1 WHERE filter_id = '0012' AND ad_id = '{ad}' AND click_minute = {minute}"
        ),
    );
    rows(&path, &format!("INSERT INTO ad_counts VALUES ({minute}, '0000', 'nobody', 5, 0)"));
    rows(
        &path,
        &format!("DELETE FROM ad_counts WHERE filter_id = '0000' AND ad_id = '{ad}' AND click_minute = {minute}"),
    );
    let (report, code) = counted.reconcile(&[]);
    assert_eq!((code, &report["differing"]), (1, &Value::from(3)), "{report}");
    let mut found: Vec<String> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!("{} {} {} {}", one["filter"], one["key"][0], one["store"].is_null(), one["archive"].is_null())
        })
        .collect();
    found.sort();
    let expected = [
        format!("\"0000\" \"{ad}\" true false"),
        "\"0000\" \"nobody\" false true".into(),
        format!("\"0012\" \"{ad}\" false false"),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    // For people it is a table.
    let output = counted.place.output(&borrowed(&counted.arguments("reconcile", &[])));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("nobody") && complaint(&output).contains("3 counts differ"), "{printed}");
    let results = strings(&path, "SELECT CAST(differing AS TEXT) FROM weir_reconciliations ORDER BY made_at_ms");
    assert_eq!(results, ["3", "3"]);
    // What cannot be compared is no difference.
    counted.place.refused(&borrowed(&counted.arguments("reconcile", &["--archive", "nowhere"])), 4);
    counted.place.refused(&borrowed(&counted.arguments("reconcile", &["--store", "mysql://x"])), 2);
    counted.place.refused(&borrowed(&counted.arguments("reconcile", &["--range", "yesterday.."])), 2);
}

#[test]
fn a_replay_without_a_damaged_file_of_the_archive_replaces_nothing_wrongly() {
    let counted = Counted::run(Workplace::new(), "jobs/data/clicks", 2, &[]);
    let live = counted.contents();
    let raw = files(&counted.place.path("out/raw"));
    let file = raw.into_iter().find(|file| file.contains("hour=") && file.ends_with(".parquet")).expect("a file");
    let name = Path::new(&file).file_name().expect("a name").to_string_lossy().into_owned();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
    let refused = counted.place.refused(&borrowed(&counted.arguments("replay", &["--quiet"])), 1);
    assert!(refused.contains(&name) && refused.contains("not replaced: bring the file back"), "{refused}");
    assert_same(&counted.contents(), &live, "after a replay that failed");
    fs::write(&file, &bytes).unwrap();
    counted.replay(&[]);
    assert_same(&counted.contents(), &live, "replayed with the file");
}

#[test]
fn windows_that_the_live_job_still_corrects_are_left_alone() {
    let place = Workplace::new();
    let generate =
        ["generate", "clicks", "--events", "6000", "--ads", "20", "--event-rate", "2", "--late-share", "0.01"];
    place.done(&generate);
    let mut counted = Counted { settings: settings("clicks", &["source.clicks.follow=true"]), place };
    let job = counted.place.start(&borrowed(&counted.arguments("run", &["--quiet"])));
    counted.place.wait_for_events(".weir", 6000);
    let path = counted.place.path("out/store.sqlite").display().to_string();
    let closed = "SELECT CAST(coalesce(max(click_minute), 0) AS TEXT) FROM ad_counts WHERE revision >= 0";
    let lists = "SELECT CAST(count(*) AS TEXT) FROM top_ads";
    let reached = || strings(&path, closed)[0].parse::<i64>().unwrap() >= 1_646_352_000_000 + 40 * 60_000;
    wait_until("closed windows", || reached() && strings(&path, lists)[0] != "0");
    // It runs on beside all of this.
    let before = counted.contents();
    let replayed = counted.replay(&[]);
    // Lists over the end of the range are computed by whoever asks, from minutes of both sides.
    let after = counted.contents();
    assert_same(&of_counts(&after), &of_counts(&before), "beside the live job");
    assert!(after.iter().all(|(key, count)| before.get(key) == Some(count)), "a list has changed");
    let newest: i64 = strings(&path, closed)[0].parse().unwrap();
    // Less the allowed lateness, and the ten minutes for which clicks are held back from the archive.
    assert_eq!(replayed["to_ms"], newest + 60_000 - 600_000 - 600_000, "{replayed}");
    assert_eq!(counted.reconcile(&[]).1, 0);
    let late =
        counted.place.refused(&borrowed(&counted.arguments("replay", &["--range", "..2022-03-04T00:49:00Z"])), 2);
    assert!(late.contains("the latest end that is allowed now"), "{late}");
    let early =
        counted.place.refused(&borrowed(&counted.arguments("replay", &["--range", "2022-03-03T00:00:00Z.."])), 2);
    assert!(early.contains("the archive begins at 2022-03-03T23:00:00Z"), "{early}");
    signal(&job, "INT");
    let output = job.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", complaint(&output));
    counted.settings = settings("clicks", &[]);
    assert_eq!(counted.reconcile(&[]).1, 0, "stopped is not finished");
}

#[test]
fn reconciliations_on_a_schedule_are_metrics() {
    let counted = Counted::run(Workplace::new(), "jobs/data/clicks", 1, &[]);
    let job = counted
        .place
        .start(&borrowed(&counted.arguments("reconcile", &["--every", "100ms", "--listen", "127.0.0.1:0"])));
    let path = counted.place.path("out/store.sqlite").display().to_string();
    let made = || {
        strings(&path, "SELECT name FROM sqlite_master WHERE name = 'weir_reconciliations'").len() == 1
            && strings(&path, "SELECT CAST(count(*) AS TEXT) FROM weir_reconciliations")[0].parse::<i64>().unwrap() >= 3
    };
    wait_until("three reconciliations", made);
    pause(std::time::Duration::from_millis(50));
    signal(&job, "TERM");
    let output = job.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(complaint(&output).contains("metrics at http://127.0.0.1:"), "{}", complaint(&output));
}

/// The clicks of the README's first command: what a newcomer has can be replayed as it is.
#[test]
fn a_job_without_a_store_is_told_what_is_missing() {
    let place = Workplace::new();
    place.done(&borrowed(&ad_click("jobs/data/clicks", "out", ".weir", &[])));
    let missing = place.refused(&["replay", "jobs/ad_click.toml", "--store", "sqlite:out/nothing.sqlite"], 1);
    assert!(missing.contains("the store"), "{missing}");
}
