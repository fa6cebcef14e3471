//! Windows of every kind, as jobs that run: against a count of all events, one by one, in words of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::support::{execute, execute_until, rows};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use weir_jobs::explain::ExplainFormat;
use weir_jobs::{CompileOptions, Job, parse};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// 2024-03-08 00:00 UTC. In New York the clock is set forward two days later, at 07:00 UTC.
const BEGIN: i64 = 1_709_856_000_000;
const SPRING: i64 = BEGIN + 2 * DAY + 7 * HOUR;

/// An event: ad, time, value.
type Event = (String, i64, i64);

/// Events of four days in files, each nearly in the order of time.
fn events(folder: &Path) -> Vec<Event> {
    std::fs::create_dir_all(folder).unwrap();
    let mut seed: u64 = 42;
    let mut dice = move |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % sides
    };
    let mut all = Vec::new();
    for file in 0..4 {
        let mut text = String::new();
        for place in 0..600_i64 {
            let behind = match dice(20) {
                // Out of time, where a job minds.
                0 => dice(12 * 3_600_000),
                1..6 => dice(900_000),
                _ => 0,
            };
            let at = BEGIN + place * 4 * DAY / 600 - behind as i64;
            let ad = format!("ad{}", dice(5).min(dice(7)));
            let value = dice(100) as i64 - 20;
            let _ = writeln!(text, "{{\"ad\": \"{ad}\", \"at\": {at}, \"v\": {value}}}");
            all.push((ad, at, value));
        }
        std::fs::write(folder.join(format!("{file}.json")), text).unwrap();
    }
    all
}

fn source(folder: &Path, delay: &str) -> String {
    format!(
        "[job]\nname = \"windows\"\ncheckpoint = {{ interval = \"100ms\" }}\n\n[source.events]\nconnector = \"files\"\n\
         path = \"{}/in\"\nformat = \"json\"\nschema = {{ ad = \"string\", at = {{ type = \"timestamp\", unit = \"ms\" }}, v = \"int\" }}\n\
         event_time = \"at\"\nbatch_rows = 50\nwatermark = {{ delay = \"{delay}\" }}\n",
        folder.display()
    )
}

fn sink(folder: &Path, name: &str, input: &str) -> String {
    format!(
        "[sink.{name}]\ninput = \"{input}\"\nconnector = \"files\"\nroll = \"checkpoint\"\npath = \"{}/{name}\"\n",
        folder.display()
    )
}

fn compiled(text: &str, parallelism: usize) -> Job {
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    parse("windows.toml", text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
}

fn refused(text: &str) -> String {
    parse("windows.toml", text, &[], &CompileOptions::default()).err().unwrap_or_else(|| panic!("{text}")).to_string()
}

/// A window and a key with what is in it: rows and sum.
type Counts = BTreeMap<(i64, i64, String), (i64, i64)>;

/// The highest revision of each record, of those that are not withdrawn.
fn latest(batches: &[RecordBatch]) -> Vec<(RecordBatch, usize)> {
    let mut newest: BTreeMap<Vec<u8>, (i32, usize, usize)> = BTreeMap::new();
    for (at, batch) in batches.iter().enumerate() {
        let ids = batch.column_by_name("record_id").unwrap().as_fixed_size_binary();
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let (id, revision) = (ids.value(row).to_vec(), revisions.value(row));
            let held = newest.get(&id).copied();
            assert!(held.is_none_or(|held| held.0 != revision), "revision {revision} is there twice");
            if held.is_none_or(|held| held.0 < revision) {
                newest.insert(id, (revision, at, row));
            }
        }
    }
    let row = |(_, at, row): (i32, usize, usize)| (batches[at].clone(), row);
    let holds =
        |(batch, row): &(RecordBatch, usize)| !batch.column_by_name("withdrawn").unwrap().as_boolean().value(*row);
    newest.into_values().map(row).filter(holds).collect()
}

fn time(batch: &RecordBatch, name: &str, row: usize) -> i64 {
    batch.column_by_name(name).unwrap().as_primitive::<TimestampMillisecondType>().value(row)
}

fn integer(batch: &RecordBatch, name: &str, row: usize) -> i64 {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row)
}

fn ad(batch: &RecordBatch, row: usize) -> String {
    batch.column_by_name("ad").unwrap().as_string::<i32>().value(row).to_owned()
}

fn counts(folder: &Path) -> Counts {
    let mut counts = Counts::new();
    for (batch, row) in latest(&rows(folder)) {
        let key = (time(&batch, "window_start", row), time(&batch, "window_end", row), ad(&batch, row));
        let before = counts.insert(key, (integer(&batch, "n", row), integer(&batch, "total", row)));
        assert!(before.is_none(), "one record for each window and key");
    }
    counts
}

/// All events of an output.
fn events_in(folder: &Path) -> Vec<Event> {
    let mut all = Vec::new();
    for batch in rows(folder) {
        all.extend(
            (0..batch.num_rows()).map(|row| (ad(&batch, row), time(&batch, "at", row), integer(&batch, "v", row))),
        );
    }
    all
}

/// What clocks in New York showed in those days.
fn in_new_york(moment: i64) -> i64 {
    moment - if moment < SPRING { 5 * HOUR } else { 4 * HOUR }
}

/// The first moment at which they showed that, or more.
fn of_new_york(shown: i64) -> i64 {
    if shown <= in_new_york(SPRING - 1) { shown + 5 * HOUR } else { (shown + 4 * HOUR).max(SPRING) }
}

fn of_seoul(shown: i64) -> i64 {
    shown - 9 * HOUR
}

/// Kinds of windows: how they are written, and the windows that an event is in.
#[allow(clippy::type_complexity, reason = "a list of names and functions")]
const KINDS: &[(&str, &str, fn(i64) -> Vec<(i64, i64)>)] = &[
    ("remainder", "hopping = \"60m\", slide = \"25m\"", |at| {
        let starts = (0..=60).map(|n| at - n * 60_000).map(|at| at - at.rem_euclid(60_000));
        let starts: BTreeSet<i64> = starts.filter(|start| start.rem_euclid(25 * 60_000) == 0).collect();
        let all = starts.into_iter().map(|start| (start, start + HOUR));
        all.filter(|(start, end)| (*start..*end).contains(&at)).collect()
    }),
    ("offset", "tumbling = \"1h\", offset = \"17s\"", |at| {
        let start = (at - 17_000).div_euclid(HOUR) * HOUR + 17_000;
        vec![(start, start + HOUR)]
    }),
    ("hopping_offset", "hopping = \"3h\", slide = \"2h\", offset = \"90m\"", |at| {
        let last = (at - 90 * 60_000).div_euclid(2 * HOUR) * 2 * HOUR + 90 * 60_000;
        let all = [last - 2 * HOUR, last].map(|start| (start, start + 3 * HOUR));
        all.into_iter().filter(|window| at < window.1).collect()
    }),
    ("seoul", "tumbling = \"1d\", timezone = \"Asia/Seoul\"", |at| {
        let day = (at + 9 * HOUR).div_euclid(DAY) * DAY;
        vec![(of_seoul(day), of_seoul(day + DAY))]
    }),
    ("new_york", "tumbling = \"1d\", timezone = \"America/New_York\"", |at| {
        let day = in_new_york(at).div_euclid(DAY) * DAY;
        vec![(of_new_york(day), of_new_york(day + DAY))]
    }),
    ("two_days", "hopping = \"2d\", slide = \"1d\", timezone = \"America/New_York\", offset = \"6h\"", |at| {
        let day = (in_new_york(at) - 6 * HOUR).div_euclid(DAY) * DAY + 6 * HOUR;
        [day - DAY, day].map(|start| (of_new_york(start), of_new_york(start + 2 * DAY))).to_vec()
    }),
    ("hours", "tumbling = \"2h\", timezone = \"America/New_York\"", |at| {
        let start = in_new_york(at).div_euclid(2 * HOUR) * 2 * HOUR;
        vec![(of_new_york(start), of_new_york(start + 2 * HOUR))]
    }),
    ("growing", "cumulating = \"1d\", step = \"6h\"", |at| {
        let day = at.div_euclid(DAY) * DAY;
        (1..=4).map(|n| (day, day + n * 6 * HOUR)).filter(|window| at < window.1).collect()
    }),
    ("growing_day", "cumulating = \"1d\", step = \"1h\", timezone = \"America/New_York\"", |at| {
        let day = in_new_york(at).div_euclid(DAY) * DAY;
        // The step from two to three is over when it begins.
        let steps: BTreeSet<i64> = (1..=24).map(|n| of_new_york(day + n * HOUR)).collect();
        steps.into_iter().map(|end| (of_new_york(day), end)).filter(|window| at < window.1).collect()
    }),
];

fn recount(events: &[Event], windows_of: fn(i64) -> Vec<(i64, i64)>) -> Counts {
    let mut counts = Counts::new();
    for (ad, at, value) in events {
        for (start, end) in windows_of(*at) {
            let count = counts.entry((start, end, ad.clone())).or_default();
            *count = (count.0 + 1, count.1 + value);
        }
    }
    counts
}

/// All kinds over one source, each with its late rows.
fn all_kinds(folder: &Path, delay: &str, lateness: &str) -> String {
    let mut text = source(folder, delay);
    for (name, window, _) in KINDS {
        let _ = writeln!(
            text,
            "[aggregate.{name}]\ninput = \"events\"\nkey = [\"ad\"]\nwindow = {{ {window}, allowed_lateness = \"{lateness}\" }}\n\
             select = {{ n = \"count(*)\", total = \"sum(v)\" }}\n"
        );
        text.push_str(&sink(folder, name, name));
        text.push_str(&sink(folder, &format!("{name}_late"), &format!("{name}.late")));
        text.push_str(&sink(folder, &format!("{name}_on_time"), &format!("{name}.on_time")));
    }
    text
}

#[test]
fn every_kind_counts_what_is_in_its_windows() {
    let mut of_one = BTreeMap::new();
    for parallelism in [1, 4] {
        let folder = tempfile::tempdir().unwrap();
        let mut all = events(&folder.path().join("in"));
        all.sort();
        execute(compiled(&all_kinds(folder.path(), "30m", "20m"), parallelism), &folder.path().join("checkpoints"));
        for (name, _, windows_of) in KINDS {
            let of = |part: &str| folder.path().join(format!("{name}{part}"));
            let (on_time, late) = (events_in(&of("_on_time")), events_in(&of("_late")));
            assert!(*name != "offset" || late.len() > 20, "some are late: {}", late.len());
            let mut both: Vec<Event> = on_time.iter().chain(&late).cloned().collect();
            both.sort();
            assert!(both == all, "{name}: each event is late or on time");
            let found = counts(&of(""));
            assert!(found.len() > 10, "{name}: {found:?}");
            assert_eq!(found, recount(&on_time, *windows_of), "{name}");
            // Which of them is late is said by each file alone.
            let before = of_one.entry(*name).or_insert_with(|| found.clone());
            assert_eq!(*before, found, "{name}: at whatever parallelism");
        }
    }
}

#[test]
fn stopped_and_continued_at_another_parallelism_the_counts_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let all = events(&folder.path().join("in"));
    let text = all_kinds(folder.path(), "12h", "1h") + GLOBAL;
    let text = text + &sink(folder.path(), "ever", "ever") + &sink(folder.path(), "lives", "lives");
    let checkpoints = folder.path().join("checkpoints");
    for (parallelism, after_ms) in [(3, 40), (1, 25), (4, 30)] {
        execute_until(compiled(&text, parallelism), &checkpoints, |stop| async move {
            weir_engine::env::Env::default().sleep(std::time::Duration::from_millis(after_ms)).await;
            stop.stop();
        });
    }
    execute(compiled(&text, 2), &checkpoints);
    for (name, _, windows_of) in KINDS {
        assert!(events_in_or_none(&folder.path().join(format!("{name}_late"))).is_empty(), "{name}: none is late");
        assert_eq!(counts(&folder.path().join(name)), recount(&all, *windows_of), "{name}");
    }
    check_global(folder.path(), &all);
}

/// A sink without rows makes no folder.
fn events_in_or_none(folder: &Path) -> Vec<Event> {
    if folder.exists() { events_in(folder) } else { Vec::new() }
}

const GLOBAL: &str = r#"
[aggregate.ever]
input = "events"
key = ["ad"]
window = { global = true }
select = { n = "count(*)", total = "sum(v)" }

[aggregate.lives]
input = "events"
key = ["ad", "v"]
window = { global = true, ttl = "12h" }
emit = { every = "40ms" }
select = { n = "count(*)", latest = "max(at)" }
"#;

/// The results of [`GLOBAL`], where nothing was late.
fn check_global(folder: &Path, all: &[Event]) {
    let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut times: BTreeMap<(String, i64), Vec<i64>> = BTreeMap::new();
    for (ad, at, value) in all {
        let total = totals.entry(ad.clone()).or_default();
        *total = (total.0 + 1, total.1 + value);
        times.entry((ad.clone(), *value)).or_default().push(*at);
    }
    let ever = latest(&rows(&folder.join("ever")));
    let found: BTreeMap<_, _> =
        ever.iter().map(|(rows, at)| (ad(rows, *at), (integer(rows, "n", *at), integer(rows, "total", *at)))).collect();
    assert_eq!((found.len(), found), (ever.len(), totals), "one record per key");
    let names: Vec<String> = ever[0].0.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["record_id", "ad", "n", "total", "revision", "withdrawn"]);
    let last_life = |mut times: Vec<i64>| {
        times.sort_unstable();
        let begin = times.windows(2).rposition(|pair| pair[1] - pair[0] >= 12 * HOUR).map_or(0, |at| at + 1);
        ((times.len() - begin) as i64, times[times.len() - 1])
    };
    let lives: BTreeMap<_, _> = times.into_iter().map(|(key, times)| (key, last_life(times))).collect();
    let found = latest(&rows(&folder.join("lives")));
    let count = |(rows, at): &(RecordBatch, usize)| {
        ((ad(rows, *at), integer(rows, "v", *at)), (integer(rows, "n", *at), time(rows, "latest", *at)))
    };
    assert_eq!(found.iter().map(count).collect::<BTreeMap<_, _>>(), lives);
    assert!(lives.values().any(|life| life.0 == 1) && lives.values().any(|life| life.0 > 2));
}

#[test]
fn without_windows_a_key_has_one_row_in_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let all = events(&folder.path().join("in"));
    let table = format!(
        "[sink.table]\ninput = \"ever\"\nconnector = \"sql\"\nurl = \"sqlite:{}/store.sqlite\"\ntable = \"ever\"\nkey = [\"ad\"]\n\
         select = [\"ad\", \"n\", \"total\", \"revision\"]\n",
        folder.path().display()
    );
    let text = source(folder.path(), "12h") + GLOBAL + &table + &sink(folder.path(), "ever", "ever");
    let text = text + &sink(folder.path(), "lives", "lives");
    let job = compiled(&text, 4);
    let shown = job.explain(ExplainFormat::Text).unwrap();
    assert!(shown.contains("no window, emitted with every checkpoint"), "{shown}");
    assert!(shown.contains("grows with the number of keys"), "{shown}");
    assert!(shown.contains("no window, forgotten after 12h of silence, emitted every 40ms"), "{shown}");
    execute(job, &folder.path().join("checkpoints"));
    check_global(folder.path(), &all);
    let url = format!("sqlite:{}/store.sqlite", folder.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows: Vec<(String, i64, i64)> = runtime.block_on(async {
        use sqlx::{Connection, Row};
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let rows = sqlx::query("SELECT ad, n, total FROM ever ORDER BY ad").fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    });
    let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (ad, _, value) in &all {
        let total = totals.entry(ad.clone()).or_default();
        *total = (total.0 + 1, total.1 + value);
    }
    let expected: Vec<(String, i64, i64)> = totals.into_iter().map(|(ad, (n, total))| (ad, n, total)).collect();
    assert_eq!(rows, expected);
}

/// What a list says: window, rank, ad, count.
type Ranks = BTreeSet<(i64, i64, i32, String, i64)>;

/// The lists of counts, by sorting each window.
fn ranked(counts: &Counts, n: usize, ranking: &str) -> Ranks {
    let mut windows: BTreeMap<(i64, i64), Vec<(i64, String)>> = BTreeMap::new();
    for ((start, end, ad), (count, _)) in counts {
        windows.entry((*start, *end)).or_default().push((-count, ad.clone()));
    }
    let mut ranks = Ranks::new();
    for ((start, end), mut ads) in windows {
        ads.sort();
        for (at, (count, ad)) in ads.iter().enumerate() {
            let before = || ads.iter().filter(|other| other.0 < *count);
            let rank = match ranking {
                "rank" => before().count() + 1,
                "dense_rank" => before().map(|other| other.0).collect::<BTreeSet<_>>().len() + 1,
                _ => at + 1,
            };
            if rank <= n {
                ranks.insert((start, end, rank as i32, ad.clone(), -count));
            }
        }
    }
    ranks
}

fn ranks(folder: &Path) -> Ranks {
    let of = |(batch, row): (RecordBatch, usize)| {
        let rank = batch.column_by_name("rank").unwrap().as_primitive::<Int32Type>().value(row);
        (
            time(&batch, "window_start", row),
            time(&batch, "window_end", row),
            rank,
            ad(&batch, row),
            integer(&batch, "n", row),
        )
    };
    latest(&rows(folder)).into_iter().map(of).collect()
}

#[test]
fn lists_of_every_kind_of_window_are_ranked_as_sql_does() {
    for parallelism in [1, 4] {
        let folder = tempfile::tempdir().unwrap();
        events(&folder.path().join("in"));
        let mut text = source(folder.path(), "30m");
        let more = ("sessions", "session = \"5m\"", "");
        let kinds: Vec<(&str, &str, &str)> =
            KINDS.iter().map(|(name, window, _)| (*name, *window, "")).chain([more]).collect();
        let rankings = ["row_number", "rank", "dense_rank"];
        for (number, (name, window, _)) in kinds.iter().enumerate() {
            let ranking = rankings[number % 3];
            let _ = writeln!(
                text,
                "[aggregate.{name}]\ninput = \"events\"\nkey = [\"ad\"]\nwindow = {{ {window}, allowed_lateness = \"1h\" }}\n\
                 select = {{ n = \"count(*)\", total = \"sum(v)\" }}\n\
                 [reduce.{name}_top]\ninput = \"{name}\"\nrank = \"{ranking}\"\ntop = {{ n = 2, by = \"n\" }}\n"
            );
            text.push_str(&sink(folder.path(), name, name));
            text.push_str(&sink(folder.path(), &format!("{name}_top"), &format!("{name}_top")));
        }
        execute(compiled(&text, parallelism), &folder.path().join("checkpoints"));
        for (number, (name, _, _)) in kinds.iter().enumerate() {
            let expected = ranked(&counts(&folder.path().join(name)), 2, rankings[number % 3]);
            assert!(expected.len() > 3, "{name}");
            assert_eq!(ranks(&folder.path().join(format!("{name}_top"))), expected, "{name} at {parallelism}");
        }
    }
}

#[test]
fn minutes_are_put_together_to_any_windows_that_consist_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let all = events(&folder.path().join("in"));
    let mut text = source(folder.path(), "12h");
    text.push_str(
        "[aggregate.pieces]\ninput = \"events\"\nkey = [\"ad\"]\nwindow = { tumbling = \"5m\" }\n\
         select = { n = \"count(*)\", total = \"sum(v)\" }\n",
    );
    let kinds: Vec<_> = KINDS.iter().filter(|(name, ..)| *name != "offset").collect();
    for (name, window, _) in &kinds {
        let _ = writeln!(
            text,
            "[reduce.{name}]\ninput = \"pieces\"\nrank = \"rank\"\nwindow = {{ {window} }}\ntop = {{ n = 3, by = \"n\" }}\n"
        );
        text.push_str(&sink(folder.path(), name, name));
    }
    execute(compiled(&text, 3), &folder.path().join("checkpoints"));
    for (name, _, windows_of) in kinds {
        assert_eq!(ranks(&folder.path().join(name)), ranked(&recount(&all, *windows_of), 3, "rank"), "{name}");
    }
}

/// A definition with one aggregate and what is behind it.
fn with_window(window: &str, behind: &str) -> String {
    source(Path::new("."), "1m")
        + &format!(
            "[aggregate.counts]\ninput = \"events\"\nkey = [\"ad\"]\nwindow = {{ {window} }}\nselect = {{ n = \"count(*)\" }}\n\
             [sink.out]\ninput = \"counts\"\nconnector = \"console\"\n{behind}"
        )
}

#[test]
fn windows_that_make_no_sense_are_refused_with_what_would_be_right() {
    for (window, place, words) in [
        ("hopping = \"20s\", slide = \"60s\"", "aggregate.counts.window", "a `slide` of at most 20s, the size"),
        ("hopping = \"30d\", slide = \"1m\"", "aggregate.counts.window", "at most 10080 windows"),
        ("cumulating = \"1d\"", "aggregate.counts.window", "step = \"1h\""),
        ("cumulating = \"1d\", step = \"7h\"", "aggregate.counts.window", "a size that is a multiple of the step"),
        ("cumulating = \"30d\", step = \"1m\"", "aggregate.counts.window", "a longer `step`"),
        ("tumbling = \"1m\", step = \"1s\"", "aggregate.counts.window.step", "only a cumulating window has a step"),
        ("tumbling = \"1m\", slide = \"1s\"", "aggregate.counts.window.slide", "only a hopping window has a slide"),
        ("tumbling = \"1m\", ttl = \"1s\"", "aggregate.counts.window.ttl", "only a global window has a ttl"),
        ("tumbling = \"1m\", offset = \"77s\"", "aggregate.counts.window.offset", "such as 17s, which is the same"),
        ("tumbling = \"1m\", offset = \"1m\"", "aggregate.counts.window.offset", "it would change nothing"),
        ("tumbling = \"1m\", offset = \"-1s\"", "aggregate.counts.window.offset", "`offset` is not a duration"),
        ("session = \"1m\", offset = \"1s\"", "aggregate.counts.window.offset", "begin with their events"),
        ("tumbling = \"1d\", timezone = \"Asia/Soul\"", "aggregate.counts.window.timezone", "`Asia/Seoul`"),
        ("tumbling = \"90m\", timezone = \"Asia/Seoul\"", "aggregate.counts.window.timezone", "windows of whole hours"),
        ("tumbling = \"1d\", timezone = 9", "aggregate.counts.window.timezone", "is not a text"),
        ("global = false", "aggregate.counts.window.global", "`global = true`, or another kind of window"),
        ("global = true, tumbling = \"1m\"", "aggregate.counts.window", "several kinds of windows are given"),
        ("global = true, allowed_lateness = \"1m\"", "aggregate.counts.window.allowed_lateness", "never closes"),
        ("global = true, ttl = \"0s\"", "aggregate.counts.window.ttl", "is zero"),
        ("global = true, timezone = \"Asia/Seoul\"", "aggregate.counts.window.timezone", "whatever the clock shows"),
    ] {
        let told = refused(&with_window(window, ""));
        assert!(told.contains(place) && told.contains(words), "{window}: {told}");
        assert_eq!(told.matches("windows.toml:").count(), 1, "one mistake is told of once: {told}");
    }
}

#[test]
fn lists_that_cannot_be_are_refused_with_what_would_be_right() {
    let top = |more: &str| {
        format!(
            "[reduce.top]\ninput = \"counts\"\ntop = {{ n = 2, by = \"n\" }}\n{more}\n[sink.top]\ninput = \"top\"\nconnector = \"console\"\n"
        )
    };
    for (window, reduce, words) in [
        ("global = true", "", "the global window never is"),
        ("hopping = \"2m\", slide = \"1m\"", "window = { tumbling = \"4m\" }", "those don't lie side by side"),
        ("tumbling = \"1m\"", "window = { session = \"4m\" }", "no kind of window is given"),
        ("tumbling = \"1m\"", "window = { hopping = \"4m\", slide = \"30s\" }", "multiples of 1m"),
        ("tumbling = \"1m\"", "window = { cumulating = \"1h\", step = \"90s\" }", "multiples of 1m"),
        (
            "tumbling = \"1m\", offset = \"17s\"",
            "window = { tumbling = \"4m\" }",
            "begin within windows of the aggregate",
        ),
        ("tumbling = \"1h\"", "window = { tumbling = \"1d\", timezone = \"Asia/Kolkata\" }", "at most 15m"),
        (
            "tumbling = \"1h\", timezone = \"Asia/Seoul\"",
            "window = { tumbling = \"1d\" }",
            "begin by another clock than those of the aggregate",
        ),
        ("tumbling = \"1m\"", "rank = \"denserank\"", "`dense_rank`"),
    ] {
        let told = refused(&with_window(window, &top(reduce)));
        assert!(told.contains("reduce.top") && told.contains(words), "{window} {reduce}: {told}");
    }
    for (window, reduce) in [
        ("tumbling = \"1h\"", "window = { tumbling = \"1d\", timezone = \"Asia/Seoul\" }"),
        ("tumbling = \"1m\", offset = \"17s\"", "window = { hopping = \"4m\", slide = \"2m\", offset = \"77s\" }"),
        ("tumbling = \"1h\", timezone = \"Asia/Seoul\"", "window = { tumbling = \"1d\", timezone = \"Asia/Seoul\" }"),
    ] {
        compiled(&with_window(window, &top(reduce)), 1);
    }
}

#[test]
fn tables_of_such_windows_are_checked() {
    let table = |more: &str| {
        format!("[sink.table]\ninput = \"counts\"\nconnector = \"sql\"\nurl = \"sqlite:s\"\ntable = \"t\"\n{more}\n")
    };
    let growing = "cumulating = \"1d\", step = \"1h\"";
    for (window, more, words) in [
        (growing, "key = [\"window_start\", \"ad\"]", "`window_end` in it, or `keep = \"newest\"`"),
        ("global = true", "key = [\"ad\"]\nkeep = \"newest\"", "the newest stays anyway"),
        ("global = true", "key = [\"n\"]", "a correction that changes it would be a second row"),
        (
            "tumbling = \"1m\", offset = \"17s\"",
            "key = [\"window_start\", \"ad\"]\nselect = [\"window_start\", \"ad\", \"n\", \"revision\"]\n\
             retention = { time = \"window_start\", sum = [\"n\"], minutes = \"2d\", hours = \"90d\", days = \"1095d\" }",
            "tumbling windows without `offset` and `timezone`",
        ),
        (
            growing,
            "key = [\"window_end\", \"ad\"]\nselect = [\"window_end\", \"ad\", \"n\", \"revision\"]\n\
             retention = { time = \"window_end\", sum = [\"n\"], minutes = \"2d\", hours = \"90d\", days = \"1095d\" }",
            "which an hour would sum up several times",
        ),
    ] {
        let told = refused(&with_window(window, &table(more)));
        assert!(told.contains("sink.table") && told.contains(words), "{window} {more}: {told}");
    }
    for (window, more) in [
        (growing, "key = [\"window_end\", \"ad\"]"),
        (growing, "key = [\"window_start\", \"ad\"]\nkeep = \"newest\""),
        ("global = true", "key = [\"ad\"]"),
        ("global = true", ""),
    ] {
        compiled(&with_window(window, &table(more)), 1);
    }
}

#[test]
fn what_a_dedup_remembers_is_long_enough_for_the_longest_day() {
    let with_ttl = |window: &str, ttl: &str| {
        let dedup =
            format!("[dedup.unique]\ninput = \"events\"\nkey = [\"v\", \"at\"]\nttl = \"{ttl}\"\n\n[aggregate.counts]");
        let text = with_window(window, "").replace("[aggregate.counts]", &dedup);
        text.replacen("[aggregate.counts]\ninput = \"events\"", "[aggregate.counts]\ninput = \"unique\"", 1)
    };
    let new_york = "tumbling = \"1d\", timezone = \"America/New_York\"";
    let told = refused(&with_ttl(new_york, "1d"));
    assert!(told.contains("dedup.unique.ttl") && told.contains("25h"), "{told}");
    compiled(&with_ttl(new_york, "25h"), 1);
    // Nothing is late for the global window but for the dedup, which has the gate.
    let job = compiled(&with_ttl("global = true", "1h"), 1);
    let shown = job.explain(ExplainFormat::Text).unwrap();
    assert!(shown.contains("late: 1h or more behind"), "{shown}");
    let told = refused(&with_ttl("global = true, ttl = \"2h\"", "1h"));
    assert!(told.contains("at least window + allowed_lateness, 2h"), "{told}");
}

#[test]
fn a_changed_zone_or_offset_is_another_window() {
    let meaning = |window: &str| {
        let job = compiled(&with_window(window, ""), 1);
        let text = serde_json::to_string(&job.graph).unwrap();
        let node = job.graph.nodes.iter().find(|node| node.id == "aggregate.counts").unwrap();
        assert!(text.contains("aggregate.counts"));
        node.config.clone()
    };
    assert_ne!(meaning("tumbling = \"1d\", timezone = \"Asia/Seoul\""), meaning("tumbling = \"1d\""));
    let plain = meaning("tumbling = \"1d\"");
    assert!(plain.get("timezone").is_none() && plain.get("offset_ms").is_none(), "as it was before there were any");
}
