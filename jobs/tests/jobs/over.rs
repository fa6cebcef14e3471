//! Rows that see the rows before them: what goes out is what a recount of the input gives, whatever crashes, at whatever
//! parallelism and batch size; what stands behind them sees events that are never late; and what of them is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{execute_until, rows};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use weir_engine::checkpoint::CheckpointStore;
use weir_engine::env::{CrashPlan, Env};
use weir_engine::task::StopSignal;
use weir_jobs::explain::ExplainFormat;
use weir_jobs::{CompileOptions, Job, JobBuilder, Over, parse, sink, source};
use weir_local::{Settings, Submission, run};
use weir_operators::Registry;

const JOB: &str = r#"
[job]
name = "clicks"
checkpoint = { interval = "40ms" }

[source.clicks]
connector = "files"
path = "IN"
format = "json"
schema = { user = "string", at = "timestamp", cost = "int" }
event_time = "at"
watermark = { delay = "2s" }
batch_rows = BATCH

# More than three clicks of one user within ten seconds, once a burst.
[over.bursts]
input = "clicks"
key = ["user"]
within = "10s"
select = { user = "\"user\"", at = "at", n = "count(*)", spent = "sum(cost)" }
where = "n > 3"
once = true

# Late rows are waited for here. Rows behind it are in time nevertheless.
[over.changes]
input = "clicks"
key = ["user"]
within = "1m"
rows = 3
allowed_lateness = "20s"
select = { who = "\"user\"", clicked_at = "at", change = "cost - lag(cost)", most = "max(cost * 2)" }

[aggregate.changes_per_minute]
input = "changes"
key = ["who"]
window = { tumbling = "1m" }
select = { n = "count(*)", ups = "count(*) filter (where change > 0)" }

[sink.bursts]
input = "bursts"
connector = "files"
path = "OUT/bursts"

[sink.changes]
input = "changes"
connector = "files"
path = "OUT/changes"
roll = "checkpoint"

[sink.minutes]
input = "changes_per_minute"
connector = "files"
path = "OUT/minutes"

[sink.late]
input = "bursts.late"
connector = "files"
path = "OUT/late"

[sink.later]
input = "changes.late"
connector = "files"
path = "OUT/later"
"#;

const START: i64 = 1_646_352_000_000;
const SECOND: i64 = 1_000;

/// User, event time, cost.
type Click = (u8, i64, i64);

/// Two files of clicks, in bursts and not: mostly in order, some behind, few far behind, many of the same time.
fn clicks() -> [Vec<Click>; 2] {
    let mut state = 7_u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % n) as i64
    };
    let mut files = [Vec::new(), Vec::new()];
    for n in 0..900_i64 {
        let behind = match below(20) {
            0 => below(60) * SECOND,
            1..=5 => below(2_000),
            _ => 0,
        };
        let at = (n * 700 - behind).max(0) / 500 * 500;
        let user = if n / 60 % 3 == 0 { below(2) } else { below(9) } as u8;
        files[below(2) as usize].push((user, START + at, below(5)));
    }
    files
}

fn write(folder: &Path, files: &[Vec<Click>]) {
    std::fs::create_dir_all(folder).unwrap();
    for (file, clicks) in files.iter().enumerate() {
        let mut lines = String::new();
        for (user, at, cost) in clicks {
            let _ = writeln!(lines, r#"{{"user":"u{user}","at":{at},"cost":{cost}}}"#);
        }
        std::fs::write(folder.join(format!("{file}.json")), lines).unwrap();
    }
}

/// The clicks that are not late, where rows may be so late beyond the delay of two seconds; and how many are.
fn in_time(files: &[Vec<Click>], lateness: i64) -> (Vec<Click>, usize) {
    let (mut kept, mut late) = (Vec::new(), 0);
    for clicks in files {
        // Event time starts with the third click, and is what two of the first three agree on.
        let mut newest = i64::MIN;
        for (position, click) in clicks.iter().enumerate() {
            let watermark = if position < 3 { i64::MIN } else { newest - 2 * SECOND };
            if click.1 + lateness.max(1) <= watermark {
                late += 1;
            } else {
                kept.push(*click);
            }
            newest = newest.max(click.1);
        }
    }
    kept.sort_by_key(|(user, at, cost)| (*user, *at, *cost));
    (kept, late)
}

/// The clicks that begin a burst, with how many there are and what they cost.
fn bursts(clicks: &[Click]) -> Vec<(u8, i64, i64, i64)> {
    let mut found = Vec::new();
    let mut before: Option<(Click, bool)> = None;
    for click in clicks {
        let seen: Vec<&Click> = clicks
            .iter()
            .filter(|other| other.0 == click.0 && other.1 <= click.1 && other.1 > click.1 - 10 * SECOND)
            .collect();
        let is_many = seen.len() > 3;
        let goes_on =
            before.is_some_and(|(last, was_many)| was_many && last.0 == click.0 && last.1 > click.1 - 10 * SECOND);
        if is_many && !goes_on {
            found.push((click.0, click.1, seen.len() as i64, seen.iter().map(|click| click.2).sum()));
        }
        before = Some((*click, is_many));
    }
    found.sort_unstable();
    found
}

/// Each click, its change of cost, and twice the largest cost of it and the two before it, all of the last minute.
fn changes(clicks: &[Click]) -> Vec<(u8, i64, Option<i64>, i64)> {
    let mut found = Vec::new();
    for (position, click) in clicks.iter().enumerate() {
        let near = |other: &&Click| other.0 == click.0 && other.1 > click.1 - 60 * SECOND;
        let two: Vec<&Click> = clicks[position.saturating_sub(2)..position].iter().filter(near).collect();
        let before = position.checked_sub(1).map(|position| &clicks[position]).filter(near);
        let most = two.iter().map(|other| other.2).chain([click.2]).max().unwrap();
        found.push((click.0, click.1, before.map(|before| click.2 - before.2), 2 * most));
    }
    found.sort_unstable();
    found
}

/// How many changes, and how many upwards, per user and minute.
fn minutes(changes: &[(u8, i64, Option<i64>, i64)]) -> BTreeMap<(u8, i64), (i64, i64)> {
    let mut counted: BTreeMap<(u8, i64), (i64, i64)> = BTreeMap::new();
    for (user, at, change, _) in changes {
        let counts = counted.entry((*user, at - at.rem_euclid(60 * SECOND))).or_default();
        *counts = (counts.0 + 1, counts.1 + i64::from(*change > Some(0)));
    }
    counted
}

struct Read<'a>(&'a RecordBatch);

impl Read<'_> {
    fn user(&self, name: &str, row: usize) -> u8 {
        let users = self.0.column_by_name(name).unwrap().as_string::<i32>();
        users.value(row).strip_prefix('u').unwrap().parse().unwrap()
    }

    fn time(&self, name: &str, row: usize) -> i64 {
        self.0.column_by_name(name).unwrap().as_primitive::<TimestampMillisecondType>().value(row)
    }

    fn integer(&self, name: &str, row: usize) -> Option<i64> {
        let column = self.0.column_by_name(name).unwrap().as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    }
}

/// What a folder has, row by row, sorted.
fn read<T: Ord>(folder: &Path, row: impl Fn(&Read<'_>, usize) -> T) -> Vec<T> {
    let batches = if folder.exists() { rows(folder) } else { Vec::new() };
    let mut found: Vec<T> = batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(|at| row(&Read(batch), at)).collect::<Vec<_>>())
        .collect();
    found.sort_unstable();
    found
}

fn job(folder: &Path, out: &Path, batch_rows: usize, parallelism: usize) -> Job {
    let text = JOB
        .replace("IN", folder.join("in").to_str().unwrap())
        .replace("OUT", out.to_str().unwrap())
        .replace("BATCH", &batch_rows.to_string());
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    let job = parse("clicks.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    job
}

/// Compares all that was written with a recount.
fn check(out: &Path, files: &[Vec<Click>], shown: &str) {
    let (on_time, late) = in_time(files, 0);
    let found = read(&out.join("bursts"), |batch, row| {
        let number = |name: &str| batch.integer(name, row).unwrap();
        (batch.user("user", row), batch.time("at", row), number("n"), number("spent"))
    });
    assert_eq!(found, bursts(&on_time), "bursts, {shown}");
    assert!(found.len() > 10, "only {} bursts", found.len());
    let count = |folder: &str| read(&out.join(folder), |batch, row| batch.time("at", row)).len();
    assert_eq!(count("late"), late, "late, {shown}");
    let (on_time, later) = in_time(files, 20 * SECOND);
    let expected = changes(&on_time);
    let found = read(&out.join("changes"), |batch, row| {
        let most = batch.integer("most", row).unwrap();
        (batch.user("who", row), batch.time("clicked_at", row), batch.integer("change", row), most)
    });
    assert_eq!(found, expected, "changes, {shown}");
    assert_eq!(count("later"), later, "later, {shown}");
    assert!(0 < later && later < late, "{later} and {late} are late");
    let found: BTreeMap<(u8, i64), (i64, i64)> = read(&out.join("minutes"), |batch, row| {
        let number = |name: &str| batch.integer(name, row).unwrap();
        ((batch.user("who", row), batch.time("window_start", row)), (number("n"), number("ups")))
    })
    .into_iter()
    .collect();
    assert_eq!(found, minutes(&expected), "minutes, {shown}");
}

#[test]
fn what_goes_out_is_what_a_recount_gives() {
    let folder = tempfile::tempdir().unwrap();
    let files = clicks();
    write(&folder.path().join("in"), &files);
    for (run, (batch_rows, parallelism)) in [(1, 2), (7, 8), (10_000, 1)].into_iter().enumerate() {
        let out = folder.path().join(format!("out{run}"));
        let checkpoints = folder.path().join(format!("checkpoints{run}"));
        if run == 0 {
            // It is stopped on its way, and goes on with another parallelism.
            let begun = out.join("changes");
            execute_until(job(folder.path(), &out, batch_rows, 3), &checkpoints, |stop| async move {
                while !begun.exists() {
                    Env::default().sleep(Duration::from_millis(5)).await;
                }
                stop.stop();
            });
        }
        crate::support::execute(job(folder.path(), &out, batch_rows, parallelism), &checkpoints);
        check(&out, &files, &format!("batches of {batch_rows}, parallelism {parallelism}"));
    }
}

/// Runs a job until it ends, or crashes as planned. Whether it did.
fn crashes(job: Job, checkpoints: &Path, plan: &Arc<CrashPlan>) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = CheckpointStore::open(&format!("file://{}", checkpoints.display()), &job.graph.name).unwrap();
    let env = Env::default().with_crash_plan(plan.clone());
    let settings = Settings::new(job.graph, store, env, Arc::new(Registry));
    let ended = runtime.block_on(run(settings, Submission::new("test"), StopSignal::default()));
    if let Err(error) = &ended {
        assert!(plan.crashed(), "{error}");
    }
    plan.crashed()
}

#[test]
fn crashes_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = clicks();
    write(&folder.path().join("in"), &files);
    let points = [
        ("subtask.captured", 4),
        ("subtask.batch", 150),
        ("upload.durable", 5),
        ("manifest.created", 2),
        ("commit.one_done", 2),
        ("source.batch", 40),
        ("restore.part", 2),
    ];
    let mut crashed = 0;
    for parallelism in [1, 3] {
        let out = folder.path().join(format!("out{parallelism}"));
        let checkpoints = folder.path().join(format!("checkpoints{parallelism}"));
        for (run, (point, visit)) in points.into_iter().enumerate() {
            let job = job(folder.path(), &out, 3, (parallelism + run) % 4 + 1);
            crashed += usize::from(crashes(job, &checkpoints, &CrashPlan::crash_at(point, visit)));
        }
        crate::support::execute(job(folder.path(), &out, 3, parallelism), &checkpoints);
        check(&out, &files, &format!("after crashes, parallelism {parallelism}"));
    }
    assert!(crashed >= 6, "only {crashed} crashes");
}

#[test]
fn a_job_made_in_rust_is_the_same() {
    let text = r#"
[job]
name = "clicks"
[source.clicks]
connector = "files"
path = "in"
format = "click_log"
event_time = "click_timestamp"
[over.recent]
input = "clicks"
key = ["user_id"]
within = "10s"
rows = 5
allowed_lateness = "1m"
select = { user_id = "user_id", at = "click_timestamp", n = "count(*)" }
where = "n > 3"
once = true
[sink.recent]
input = "recent"
connector = "console"
"#;
    let written =
        parse("clicks.toml", text, &[], &CompileOptions::default()).unwrap_or_else(|refusal| panic!("{refusal}"));
    let recent = Over::of("clicks", ["user_id"], Duration::from_secs(10))
        .rows(5)
        .allowed_lateness(Duration::from_secs(60))
        .select("user_id", "user_id")
        .select("at", "click_timestamp")
        .select("n", "count(*)")
        .keep_where("n > 3")
        .once();
    let clicks = source::files::FilesConfig::at("in");
    let built = JobBuilder::new("clicks")
        .source("clicks", weir_jobs::Source::of(clicks).event_time("click_timestamp"))
        .over("recent", recent)
        .sink("recent", weir_jobs::Sink::of("recent", sink::console::ConsoleSinkConfig::default()))
        .build(&CompileOptions::default())
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(serde_json::to_value(written.graph).unwrap(), serde_json::to_value(built.graph).unwrap());
}

#[test]
fn what_it_does_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let explained = job(folder.path(), &folder.path().join("out"), 10, 2).explain(ExplainFormat::Text).unwrap();
    for said in [
        "user, at, n = count(*), spent = sum(cost) over rows of user within 10s; where n > 3, once in succession",
        "the last 3 rows of user within 1m",
        "allowed lateness 20s",
        "late: 20s or more behind",
    ] {
        assert!(explained.contains(said), "{said}: {explained}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |from: &str, to: &str| {
        assert!(JOB.contains(from), "{from}");
        let text = JOB.replacen(from, to, 1).replace("BATCH", "10");
        match parse("clicks.toml", &text, &[], &CompileOptions::default()) {
            Ok(_) => panic!("{to} is accepted"),
            Err(refusal) => refusal.to_string(),
        }
    };
    let lag = "cost - lag(cost)";
    for (from, to, expected) in [
        ("within = \"10s\"\n", "", "within"),
        ("within = \"10s\"", "within = \"0s\"", "within"),
        ("rows = 3", "rows = 0", "rows"),
        ("key = [\"user\"]", "key = [\"usr\"]", "usr"),
        ("where = \"n > 3\"\n", "", "no condition that rows could meet in succession"),
        ("where = \"n > 3\"", "where = \"m > 3\"", "there is no column `m`"),
        ("where = \"n > 3\"", "where = \"cost > 3\"", "there is no column `cost`"),
        (lag, "cost - lag(cst)", "there is no column `cst`"),
        (lag, "cost - lag(cost, 3)", "a row sees the 3 last ones"),
        (lag, "cost - lag(cost, 0)", "a whole number from 1"),
        (lag, "cst - lag(cost)", "there is no column `cst`"),
        (lag, "cost - lag(\\\"user\\\")", "valid types"),
        ("max(cost * 2)", "sum(\\\"user\\\")", "`sum` is not defined for a string"),
        ("max(cost * 2)", "median()", "takes one argument"),
        ("max(cost * 2)", "lag(sum(cost))", "is an aggregate"),
        (
            "most = \"max(cost * 2)\"",
            "most = \"max(cost * 2)\", clicked = \"\\\"most/1\\\"\"",
            "there is no column `most/1`",
        ),
        ("clicked_at = \"at\", ", "", "the `select` of `over.changes` leaves `at` out"),
        ("input = \"bursts.late\"", "input = \"changes_per_minute.late\"", "is never late"),
        ("[over.bursts]\ninput = \"clicks\"", "[over.bursts]\ninput = \"changes_per_minute\"", "its rows are results"),
        (
            "[over.bursts]\ninput = \"clicks\"",
            "[dedup.unique]\ninput = \"clicks\"\nkey = [\"user\", \"at\"]\nttl = \"1h\"\n\n[aggregate.n]\ninput = \"unique\"\n\
             key = [\"user\"]\nwindow = { tumbling = \"1m\" }\nselect = { n = \"count(*)\" }\n\n[over.bursts]\ninput = \"unique\"",
            "would not agree on which rows are late",
        ),
    ] {
        let refusal = refused(from, to);
        assert!(refusal.contains(expected), "{to}: {expected}: {refusal}");
    }
}

/// The definitions that the page shows, over data for them.
#[test]
fn the_examples_of_the_docs_do_what_is_said_of_them() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/job-definition.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("## `[over.NAME]`").nth(1).unwrap();
    let examples = section.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        r#"
[job]
name = "docs"
[source.clicks]
connector = "files"
path = "{}"
format = "csv"
schema = {{ user_id = "string", ad_id = "string", click_timestamp = "timestamp" }}
event_time = "click_timestamp"
[source.prices]
connector = "files"
path = "{}"
format = "csv"
schema = {{ product = "string", at = "timestamp", price = "decimal(12, 2)" }}
event_time = "at"
{examples}
[sink.bursts]
input = "bursts"
connector = "files"
path = "{}"
format = "csv"
[sink.moves]
input = "moves"
connector = "files"
path = "{}"
format = "csv"
"#,
        at("clicks.csv"),
        at("prices.csv"),
        at("bursts"),
        at("moves")
    );
    // One user clicks every 400 ms for twenty seconds and again after a minute, another one every second.
    let mut clicks = "user_id,ad_id,click_timestamp\n".to_owned();
    for n in 0..400_i64 {
        let millis = 1_646_352_000_000 + n * 200;
        if n % 2 == 0 && !(100..350).contains(&n) {
            let _ = writeln!(clicks, "hasty,ad{},{millis}", n % 3);
        }
        if n % 5 == 0 {
            let _ = writeln!(clicks, "calm,ad1,{millis}");
        }
    }
    std::fs::write(at("clicks.csv"), clicks).unwrap();
    let prices = "product,at,price\nshoe,2022-03-04T08:00:00Z,50.00\nshoe,2022-03-04T10:00:00Z,51.00\n\
                  hat,2022-03-04T10:30:00Z,9.00\nshoe,2022-03-04T11:00:00Z,70.00\nshoe,2022-03-06T08:00:00Z,20.00\n";
    std::fs::write(at("prices.csv"), prices).unwrap();
    let job = parse("docs.toml", &text, &[], &CompileOptions::default()).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    crate::support::execute(job, &folder.path().join("checkpoints"));
    let lines = |name: &str| {
        let mut lines: Vec<String> = Vec::new();
        for entry in folder.path().join(name).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "csv") {
                lines.extend(std::fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned));
            }
        }
        lines.sort();
        lines
    };
    // The twenty-first click of a burst is eight seconds after its first.
    let bursts = ["hasty,2022-03-04T00:00:08Z,21,3", "hasty,2022-03-04T00:01:18Z,21,3"];
    assert_eq!(lines("bursts"), bursts);
    // 70 is 19 more than before, and the usual price is 57; two days later nobody knows what it was.
    assert_eq!(lines("moves").len(), 1, "{:?}", lines("moves"));
    assert!(lines("moves")[0].starts_with("shoe,2022-03-04T11:00:00Z,70.00,19.00,57"), "{:?}", lines("moves"));
}
