//! Results that hold no longer are withdrawn: what is left, in files and in tables, is what a recount of the input gives,
//! however the input is cut into batches, at whatever parallelism, and over a stop in the middle.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::support::{execute, execute_until, rows};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqlx::{Connection, Row};
use weir_engine::env::Env;
use weir_jobs::{CompileOptions, Job, parse};

/// Requests that fail or do not, much of them late.
const REQUESTS: &str = r#"
[job]
name = "requests"
checkpoint = { interval = "50ms" }

[source.requests]
connector = "files"
path = "IN"
format = "json"
schema = { host = "string", at = "timestamp", failed = "int" }
event_time = "at"
watermark = { delay = "1s" }
batch_rows = BATCH

[aggregate.minutes]
input = "requests"
key = ["host"]
window = { tumbling = "1m", allowed_lateness = "2h" }
select = { n = "count(*)", errs = "sum(failed)" }

# Which hosts are failing: what ten late good requests refute.
[map.failing]
input = "minutes"
where = "errs * 3 > n"

# Divides by zero where three requests were made.
[map.shares]
input = "failing"
select = { name = "upper(host)", host = "host", minute = "window_start", share = "100 * errs / (n - 3)" }

[reduce.worst]
input = "failing"
top = { n = 4, by = "errs" }

[aggregate.visits]
input = "requests"
key = ["host"]
window = { session = "20s", allowed_lateness = "2h" }
select = { n = "count(*)" }

[map.short]
input = "visits"
where = "n < 3"

[sink.failing]
input = "failing"
connector = "files"
path = "OUT/failing"
select = ["record_id", "host", "window_start", "n", "errs", "revision"]

[sink.shares]
input = "shares"
connector = "files"
path = "OUT/shares"
partition_by = "hour"

[sink.worst]
input = "worst"
connector = "files"
path = "OUT/worst"

[sink.visits]
input = "visits"
connector = "files"
path = "OUT/visits"

[sink.short]
input = "short"
connector = "files"
path = "OUT/short"

[sink.stored_shares]
input = "shares"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "shares"
key = ["minute", "host"]

[sink.stored_visits]
input = "visits"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "visits"

[sink.stored_worst]
input = "worst"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "worst"
key = ["window_end", "rank"]
"#;

/// Milliseconds, host, failed.
type Request = (i64, u8, bool);

const START: i64 = 1_646_352_000_000;
const MINUTE: i64 = 60_000;

/// Hosts that mostly fail first, and are found to be well when the late ones come.
fn requests(seed: u64) -> Vec<Request> {
    let mut state = seed;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut requests = Vec::new();
    for n in 0..400_i64 {
        let on_time = n * 1_500;
        let is_late = below(3) == 0;
        let at = if is_late { on_time - below(240_000) as i64 } else { on_time + below(900) as i64 };
        requests.push((START + at.max(0), below(5) as u8, below(10) < if is_late { 1 } else { 5 }));
    }
    requests
}

fn write(folder: &Path, requests: &[Request]) {
    std::fs::create_dir_all(folder).unwrap();
    for file in 0..2 {
        let mut lines = String::new();
        for (at, host, failed) in requests.iter().filter(|request| request.1 % 2 == file) {
            let (minutes, seconds) = ((at - START) / MINUTE, (at - START) % MINUTE);
            let (hour, minute) = (minutes / 60, minutes % 60);
            let at = format!("2022-03-04T{hour:02}:{minute:02}:{:02}.{:03}Z", seconds / 1_000, seconds % 1_000);
            let _ = writeln!(lines, r#"{{"host":"h{host}","at":"{at}","failed":{}}}"#, u8::from(*failed));
        }
        std::fs::write(folder.join(format!("{file}.json")), lines).unwrap();
    }
}

fn job(folder: &Path, out: &Path, batch_rows: usize, parallelism: usize) -> Job {
    let text = REQUESTS
        .replace("IN", folder.join("in").to_str().unwrap())
        .replace("OUT", out.to_str().unwrap())
        .replace("BATCH", &batch_rows.to_string());
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    let job = parse("requests.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    job
}

/// What holds in the end, a line a result: the highest revision of each record, unless it is withdrawn.
fn holds(batches: &[RecordBatch], columns: &[&str]) -> Vec<String> {
    let mut newest: BTreeMap<Vec<u8>, (i32, Option<String>)> = BTreeMap::new();
    let options = FormatOptions::default().with_null("null").with_timestamp_format(Some("%H:%M:%S%.3f"));
    let options = options.with_timestamp_tz_format(Some("%H:%M:%S%.3f"));
    for batch in batches {
        let ids = batch.column_by_name("record_id").unwrap().as_fixed_size_binary();
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        let withdrawn = batch.column_by_name("withdrawn").unwrap().as_boolean();
        let last = batch.schema().field(batch.num_columns() - 1).name().clone();
        assert_eq!(last, "withdrawn");
        for row in 0..batch.num_rows() {
            let cell = |name: &&str| {
                let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}: {}", batch.schema()));
                ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
            };
            let text = (!withdrawn.value(row)).then(|| columns.iter().map(cell).collect::<Vec<_>>().join(" "));
            let revision = revisions.value(row);
            let held = newest.entry(ids.value(row).to_vec()).or_insert((revision, text.clone()));
            assert!(held.0 != revision || held.1 == text, "a revision is there twice");
            if revision > held.0 {
                *held = (revision, text);
            }
        }
    }
    let mut lines: Vec<String> = newest.into_values().filter_map(|(_, text)| text).collect();
    lines.sort();
    lines
}

fn table(out: &Path, sql: &str) -> Vec<String> {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", out.join("store.sqlite").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap()
    });
    let mut lines: Vec<String> = rows.iter().map(|row| row.try_get(0).unwrap()).collect();
    lines.sort();
    lines
}

fn clock(ms: i64) -> String {
    let ms = ms - START;
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / MINUTE % 60, ms / 1_000 % 60, ms % 1_000)
}

/// What is left of the requests, by a plain recount.
struct Recount {
    failing: Vec<String>,
    shares: Vec<String>,
    worst: Vec<String>,
    visits: Vec<String>,
    short: Vec<String>,
}

fn recount(requests: &[Request]) -> Recount {
    let mut minutes: BTreeMap<(i64, u8), (i64, i64)> = BTreeMap::new();
    for (at, host, failed) in requests {
        let (n, errs) = minutes.entry((at - at.rem_euclid(MINUTE), *host)).or_default();
        (*n, *errs) = (*n + 1, *errs + i64::from(*failed));
    }
    minutes.retain(|_, (n, errs)| *errs * 3 > *n);
    let (mut failing, mut shares) = (Vec::new(), Vec::new());
    let mut lists: BTreeMap<i64, BTreeMap<u8, i64>> = BTreeMap::new();
    for ((minute, host), (n, errs)) in &minutes {
        failing.push(format!("h{host} {} {n} {errs}", clock(*minute)));
        if *n != 3 {
            shares.push(format!("H{host} h{host} {} {}", clock(*minute), 100 * errs / (n - 3)));
        }
        lists.entry(minute + MINUTE).or_default().insert(*host, *errs);
    }
    let mut worst = Vec::new();
    for (end, counts) in lists {
        let mut ranked: Vec<(i64, u8)> = counts.into_iter().map(|(host, errs)| (-errs, host)).collect();
        ranked.sort_unstable();
        for (place, (errs, host)) in ranked.into_iter().take(4).enumerate() {
            worst.push(format!("{} {} h{host} {}", clock(end), place + 1, -errs));
        }
    }
    let (mut visits, mut short) = (Vec::new(), Vec::new());
    for host in 0..5 {
        let mut times: Vec<i64> =
            requests.iter().filter(|request| request.1 == host).map(|request| request.0).collect();
        times.sort_unstable();
        for visit in times.chunk_by(|one, next| next - one < 20_000) {
            let (first, last) = (visit[0], visit[visit.len() - 1] + 20_000);
            let line = format!("h{host} {} {} {}", clock(first), clock(last), visit.len());
            if visit.len() < 3 {
                short.push(line.clone());
            }
            visits.push(line);
        }
    }
    let mut recount = Recount { failing, shares, worst, visits, short };
    for lines in
        [&mut recount.failing, &mut recount.shares, &mut recount.worst, &mut recount.visits, &mut recount.short]
    {
        lines.sort();
    }
    recount
}

#[test]
fn what_is_left_is_what_a_recount_gives() {
    let folder = tempfile::tempdir().unwrap();
    let requests = requests(7);
    write(&folder.path().join("in"), &requests);
    let expected = recount(&requests);
    let mut withdrawals = [0; 4];
    for (run, (batch_rows, parallelism)) in [(1, 1), (3, 2), (40, 3), (10_000, 1)].into_iter().enumerate() {
        let out = folder.path().join(format!("out{run}"));
        let checkpoints = folder.path().join(format!("checkpoints{run}"));
        if run == 1 {
            // It is stopped on its way, and goes on.
            let begun = out.join("failing");
            execute_until(job(folder.path(), &out, batch_rows, 3), &checkpoints, |stop| async move {
                while !begun.exists() {
                    Env::default().sleep(Duration::from_millis(5)).await;
                }
                stop.stop();
            });
        }
        execute(job(folder.path(), &out, batch_rows, parallelism), &checkpoints);
        let all = |sink: &str| rows(&out.join(sink));
        let shown = format!("batches of {batch_rows}, parallelism {parallelism}");
        assert_eq!(holds(&all("failing"), &["host", "window_start", "n", "errs"]), expected.failing, "{shown}");
        assert_eq!(holds(&all("shares"), &["name", "host", "minute", "share"]), expected.shares, "{shown}");
        assert_eq!(holds(&all("worst"), &["window_end", "rank", "host", "errs"]), expected.worst, "{shown}");
        let bounds = ["host", "window_start", "window_end", "n"];
        assert_eq!(holds(&all("visits"), &bounds), expected.visits, "{shown}");
        assert_eq!(holds(&all("short"), &bounds), expected.short, "{shown}");
        let time = |column: &str| {
            format!("strftime('%H:%M:%S', {column} / 1000, 'unixepoch') || '.' || printf('%03d', {column} % 1000)")
        };
        let (minute, start, end) = (time("minute"), time("window_start"), time("window_end"));
        let sql = format!("SELECT name || ' ' || host || ' ' || {minute} || ' ' || share FROM shares");
        assert_eq!(table(&out, &sql), expected.shares, "{shown}");
        let sql = format!("SELECT host || ' ' || {start} || ' ' || {end} || ' ' || n FROM visits");
        assert_eq!(table(&out, &sql), expected.visits, "{shown}");
        let sql = format!("SELECT {end} || ' ' || rank || ' ' || host || ' ' || errs FROM worst");
        assert_eq!(table(&out, &sql), expected.worst, "{shown}");
        let gone = |batches: &[RecordBatch]| -> usize {
            batches.iter().map(|batch| batch.column_by_name("withdrawn").unwrap().as_boolean().true_count()).sum()
        };
        for (withdrawals, sink) in withdrawals.iter_mut().zip(["failing", "shares", "worst", "visits"]) {
            *withdrawals += gone(&all(sink));
        }
    }
    assert!(withdrawals.iter().all(|withdrawals| *withdrawals > 0), "not all has been tried: {withdrawals:?}");
}

/// The first of all examples: 10 requests of which 5 failed, then ten late ones that did not.
#[test]
fn late_good_ones_refute_an_alarm_whatever_the_batches() {
    for batch_rows in [1, 4, 1_000] {
        let folder = tempfile::tempdir().unwrap();
        let at = |n: i64| START + n * 1_000;
        let early = (0..10).map(|n| (at(n), 0, n % 2 == 0));
        // Another minute closes the window, and another refutation comes after that.
        let late = [(at(600), 0, false)].into_iter().chain((10..20).map(|n| (at(n), 0, false)));
        let requests: Vec<Request> = early.chain(late).collect();
        write(&folder.path().join("in"), &requests);
        let out = folder.path().join("out");
        execute(job(folder.path(), &out, batch_rows, 1), &folder.path().join("checkpoints"));
        // In one batch it is never put out, and there is no file.
        let failing = if batch_rows < 1_000 { rows(&out.join("failing")) } else { Vec::new() };
        assert_eq!(holds(&failing, &["host", "n", "errs"]), [""; 0], "batches of {batch_rows}");
        assert_eq!(table(&out, "SELECT host FROM shares"), [""; 0], "batches of {batch_rows}");
        assert_eq!(table(&out, "SELECT host FROM worst"), [""; 0], "batches of {batch_rows}");
    }
}
