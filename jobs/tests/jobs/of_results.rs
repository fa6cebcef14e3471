//! Aggregates of aggregates: what is left of them in the end, in files and in tables, is what a recount of the input gives,
//! however the input is cut into batches, at whatever parallelism, and over a stop in the middle; and what of them is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::support::{execute, execute_until, rows};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use sqlx::{Connection, Row};
use weir_engine::env::Env;
use weir_jobs::{CompileOptions, Job, parse};

const JOB: &str = r#"
[job]
name = "requests"
checkpoint = { interval = "50ms" }

[source.requests]
connector = "files"
path = "IN"
format = "json"
schema = { host = "string", zone = "string", at = "timestamp", failed = "int" }
event_time = "at"
watermark = { delay = "1s" }
batch_rows = BATCH

[aggregate.minutes]
input = "requests"
key = ["zone", "host"]
window = { tumbling = "1m", allowed_lateness = "2h" }
select = { n = "count(*)", errs = "sum(failed)" }

# Fives of minutes, and tens that overlap of these.
[aggregate.fives]
input = "minutes"
key = ["host"]
window = { tumbling = "5m" }
select = { n = "sum(n)", minutes = "count(*)", most = "max(n)", rest = "sum(n - errs)" }

[aggregate.tens]
input = "fives"
key = ["host"]
window = { hopping = "10m", slide = "5m" }
select = { n = "sum(n)", fives = "count(*)" }

# All hosts together.
[aggregate.total]
input = "fives"
key = []
window = { tumbling = "10m" }
select = { hosts = "count(distinct host)", n = "sum(n)", busy = "count(*) filter (where n > 12)" }

# A minute and the one before it.
[aggregate.changes]
input = "minutes"
key = ["zone", "host"]
window = { hopping = "2m", slide = "1m" }
select = { now = "last_value(n)", before = "first_value(n)", minutes = "count(*)" }

[map.growing]
input = "changes"
where = "minutes = 2 and now > before"

# What ten late good requests refute.
[map.failing]
input = "minutes"
where = "errs * 3 > n"
select = { zone = "zone", errs = "errs", window_end = "window_end" }

[aggregate.zones]
input = "failing"
key = ["zone"]
window = { tumbling = "5m" }
select = { minutes = "count(*)", errs = "sum(errs)" }

[aggregate.visits]
input = "requests"
key = ["zone", "host"]
window = { session = "20s", allowed_lateness = "2h" }
select = { n = "count(*)" }

[aggregate.visits_per_zone]
input = "visits"
key = ["zone"]
window = { tumbling = "5m" }
select = { visits = "count(*)", n = "sum(n)" }

[sink.fives]
input = "fives"
connector = "files"
path = "OUT/fives"

[sink.tens]
input = "tens"
connector = "files"
path = "OUT/tens"

[sink.zones]
input = "zones"
connector = "files"
path = "OUT/zones"

[sink.total]
input = "total"
connector = "files"
path = "OUT/total"

[sink.growing]
input = "growing"
connector = "files"
path = "OUT/growing"

[sink.visits]
input = "visits_per_zone"
connector = "files"
path = "OUT/visits"

[sink.stored_zones]
input = "zones"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "zones"
key = ["window_start", "zone"]
"#;

/// Milliseconds, host, failed.
type Request = (i64, u8, bool);

const START: i64 = 1_646_352_000_000;
const MINUTE: i64 = 60_000;
const FIVE: i64 = 5 * MINUTE;

/// Hosts that mostly fail first, and are found to be well when the late ones come.
fn requests(seed: u64) -> Vec<Request> {
    let mut state = seed;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut requests = Vec::new();
    for n in 0..600_i64 {
        let on_time = n * 2_500;
        let is_late = below(3) == 0;
        let at = if is_late { on_time - below(700_000) as i64 } else { on_time + below(900) as i64 };
        requests.push((START + at.max(0), below(5) as u8, below(10) < if is_late { 1 } else { 5 }));
    }
    requests
}

fn zone(host: u8) -> &'static str {
    if host < 2 { "east" } else { "west" }
}

fn write(folder: &Path, requests: &[Request]) {
    std::fs::create_dir_all(folder).unwrap();
    for file in 0..2 {
        let mut lines = String::new();
        for (at, host, failed) in requests.iter().filter(|request| request.1 % 2 == file) {
            let zone = zone(*host);
            let _ = writeln!(lines, r#"{{"host":"h{host}","zone":"{zone}","at":{at},"failed":{}}}"#, u8::from(*failed));
        }
        std::fs::write(folder.join(format!("{file}.json")), lines).unwrap();
    }
}

fn job(folder: &Path, out: &Path, batch_rows: usize, parallelism: usize) -> Job {
    let text = JOB
        .replace("IN", folder.join("in").to_str().unwrap())
        .replace("OUT", out.to_str().unwrap())
        .replace("BATCH", &batch_rows.to_string());
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    let job = parse("requests.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    job
}

/// A key, and the start of a window in milliseconds.
type Group = (String, i64);

/// A group that holds, and its values.
type Held = (Group, Vec<i64>);

/// The values of groups, column by column.
type Groups = BTreeMap<Group, Vec<i64>>;

/// What holds in the end: the highest revision of each record, unless it is withdrawn.
fn holds(batches: &[RecordBatch], key: &str, columns: &[&str]) -> Groups {
    let of = |batch: &RecordBatch, row| match batch.column_by_name(key) {
        Some(column) => column.as_string::<i32>().value(row).to_owned(),
        None => String::new(),
    };
    let mut newest: BTreeMap<Vec<u8>, (i32, Option<Held>)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}: {}", batch.schema()));
        for row in 0..batch.num_rows() {
            let id = column("record_id").as_fixed_size_binary().value(row).to_vec();
            let revision = column("revision").as_primitive::<Int32Type>().value(row);
            assert!(seen.insert((id.clone(), revision)), "a revision is there twice");
            let start = column("window_start").as_primitive::<TimestampMillisecondType>().value(row);
            let group = (of(batch, row), start);
            let values = columns.iter().map(|name| column(name).as_primitive::<Int64Type>().value(row)).collect();
            let held = (!column("withdrawn").as_boolean().value(row)).then_some((group, values));
            if newest.get(&id).is_none_or(|known| known.0 < revision) {
                newest.insert(id, (revision, held));
            }
        }
    }
    newest.into_values().filter_map(|(_, held)| held).collect()
}

fn add(groups: &mut Groups, group: Group, values: &[i64]) {
    let held = groups.entry(group).or_insert_with(|| vec![0; values.len()]);
    held.iter_mut().zip(values).for_each(|(held, value)| *held += value);
}

struct Recount {
    fives: Groups,
    tens: Groups,
    total: Groups,
    growing: Groups,
    zones: Groups,
    visits: Groups,
}

fn recount(requests: &[Request]) -> Recount {
    let mut minutes: BTreeMap<(i64, u8), (i64, i64)> = BTreeMap::new();
    for (at, host, failed) in requests {
        let (n, errs) = minutes.entry((at - at.rem_euclid(MINUTE), *host)).or_default();
        (*n, *errs) = (*n + 1, *errs + i64::from(*failed));
    }
    let (mut fives, mut tens, mut zones, mut visits) = <(Groups, Groups, Groups, Groups)>::default();
    let (mut total, mut growing) = (Groups::new(), Groups::new());
    let mut hosts: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    for ((minute, host), (n, errs)) in &minutes {
        let (host_name, start) = (format!("h{host}"), minute - minute.rem_euclid(FIVE));
        let five = fives.entry((host_name.clone(), start)).or_insert_with(|| vec![0; 4]);
        *five = vec![five[0] + n, five[1] + 1, five[2].max(*n), five[3] + n - errs];
        if let Some((before, _)) = minutes.get(&(minute - MINUTE, *host))
            && n > before
        {
            growing.insert((host_name, minute - MINUTE), vec![*n, *before]);
        }
        if errs * 3 > *n {
            add(&mut zones, (zone(*host).to_owned(), start), &[1, *errs]);
        }
    }
    for ((host, start), five) in &fives {
        for ten in [start - FIVE, *start] {
            add(&mut tens, (host.clone(), ten), &[five[0], 1]);
        }
        let ten = start - start.rem_euclid(2 * FIVE);
        hosts.entry(ten).or_default().insert(host);
        add(&mut total, (String::new(), ten), &[0, five[0], i64::from(five[0] > 12)]);
    }
    for ((_, ten), total) in &mut total {
        total[0] = hosts[ten].len() as i64;
    }
    for host in 0..5 {
        let mut times: Vec<i64> =
            requests.iter().filter(|request| request.1 == host).map(|request| request.0).collect();
        times.sort_unstable();
        for visit in times.chunk_by(|one, next| next - one < 20_000) {
            let last = visit[visit.len() - 1] + 20_000 - 1;
            add(&mut visits, (zone(host).to_owned(), last - last.rem_euclid(FIVE)), &[1, visit.len() as i64]);
        }
    }
    Recount { fives, tens, total, growing, zones, visits }
}

fn table(out: &Path) -> Groups {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", out.join("store.sqlite").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        sqlx::query("SELECT zone, window_start, minutes, errs FROM zones").fetch_all(&mut connection).await.unwrap()
    });
    let group = |row: &sqlx::any::AnyRow| ((row.get(0), row.get(1)), vec![row.get(2), row.get(3)]);
    rows.iter().map(group).collect()
}

#[test]
fn what_is_left_is_what_a_recount_gives() {
    let folder = tempfile::tempdir().unwrap();
    let requests = requests(11);
    write(&folder.path().join("in"), &requests);
    let expected = recount(&requests);
    let mut corrected = 0;
    for (run, (batch_rows, parallelism)) in [(1, 1), (3, 2), (40, 3), (10_000, 1)].into_iter().enumerate() {
        let out = folder.path().join(format!("out{run}"));
        let checkpoints = folder.path().join(format!("checkpoints{run}"));
        if run == 1 {
            // It is stopped on its way, and goes on with another parallelism.
            let begun = out.join("fives");
            execute_until(job(folder.path(), &out, batch_rows, 3), &checkpoints, |stop| async move {
                while !begun.exists() {
                    Env::default().sleep(Duration::from_millis(5)).await;
                }
                stop.stop();
            });
        }
        execute(job(folder.path(), &out, batch_rows, parallelism), &checkpoints);
        let shown = format!("batches of {batch_rows}, parallelism {parallelism}");
        let all = |sink: &str| rows(&out.join(sink));
        assert_eq!(holds(&all("fives"), "host", &["n", "minutes", "most", "rest"]), expected.fives, "{shown}");
        assert_eq!(holds(&all("tens"), "host", &["n", "fives"]), expected.tens, "{shown}");
        assert_eq!(holds(&all("total"), "", &["hosts", "n", "busy"]), expected.total, "{shown}");
        assert_eq!(holds(&all("growing"), "host", &["now", "before"]), expected.growing, "{shown}");
        assert_eq!(holds(&all("zones"), "zone", &["minutes", "errs"]), expected.zones, "{shown}");
        assert_eq!(holds(&all("visits"), "zone", &["visits", "n"]), expected.visits, "{shown}");
        assert_eq!(table(&out), expected.zones, "{shown}");
        let revisions = |batch: &RecordBatch| {
            let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
            revisions.values().iter().filter(|revision| **revision > 0).count()
        };
        corrected += all("zones").iter().map(revisions).sum::<usize>();
    }
    assert!(corrected > 0, "no group of results was ever corrected");
}

#[test]
fn what_results_do_not_have_is_refused() {
    let refused = |from: &str, to: &str| {
        assert!(JOB.contains(from), "{from}");
        let text = JOB.replacen(from, to, 1).replace("BATCH", "10");
        parse("requests.toml", &text, &[], &CompileOptions::default()).unwrap_err().to_string()
    };
    let fives = "window = { tumbling = \"5m\" }\nselect = { n = \"sum(n)\"";
    for (from, to, expected) in [
        (
            "key = [\"host\"]\nwindow = { tumbling = \"5m\" }",
            "key = [\"errs\"]\nwindow = { tumbling = \"5m\" }",
            "a correction of a result may change its `errs`",
        ),
        (
            fives,
            "window = { tumbling = \"5m\", allowed_lateness = \"1h\" }\nselect = { n = \"sum(n)\"",
            "results are never late",
        ),
        (
            fives,
            "window = { session = \"5m\" }\nselect = { n = \"sum(n)\"",
            "sessions and the global window are made of events",
        ),
        (
            "window = { tumbling = \"1m\", allowed_lateness = \"2h\" }",
            "window = { global = true }",
            "its rows are of all of event time",
        ),
        (fives, "window = { tumbling = \"30s\" }\nselect = { n = \"sum(n)\"", "shorter than those of its results"),
        (
            fives,
            "window = { tumbling = \"5m\" }\nemit = { every = \"1s\" }\nselect = { n = \"sum(n)\"",
            "an aggregate of results has no running counts",
        ),
        ("errs = \"errs\", window_end = \"window_end\"", "errs = \"errs\"", "its rows have no `window_end`"),
        (
            "input = \"tens\"\nconnector",
            "input = \"tens.late\"\nconnector",
            "`tens` aggregates results, which are never late",
        ),
    ] {
        let refusal = refused(from, to);
        assert!(refusal.contains(expected), "{expected}: {refusal}");
    }
}
