//! No row ends a job: whatever its columns hold, it is counted, or is a dead letter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::{execute, rows};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{Connection, Row};
use weir_engine::task::RunOutcome;
use weir_jobs::{CompileOptions, Job, parse};

fn compiled(text: &str, parallelism: usize) -> Job {
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    parse("job.toml", text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// The sum of a counter over the operators whose ids begin so.
fn counter(outcome: &RunOutcome, operator: &str, name: &str) -> u64 {
    let operators = outcome.manifest.operators.iter().filter(|found| found.operator.starts_with(operator));
    let subtasks = operators.flat_map(|operator| &operator.subtasks);
    subtasks.filter_map(|subtask| subtask.counters.get(name)).sum()
}

/// Reasons and rows of dead letters.
fn dead_letters(folder: &Path) -> Vec<(String, String)> {
    let mut letters = Vec::new();
    for batch in if folder.exists() { rows(folder) } else { Vec::new() } {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (reasons, raws) = (text("reason"), text("raw"));
        letters.extend((0..batch.num_rows()).map(|row| (reasons.value(row).to_owned(), raws.value(row).to_owned())));
    }
    letters
}

/// The first column of a query over a SQLite file, as text.
fn table(file: &Path, sql: &str) -> Vec<Option<String>> {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = format!("sqlite:{}", file.display());
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.try_get::<Option<String>, _>(0).unwrap()).collect()
    })
}

const TABLE: &str = r#"
[job]
name = "clicks"
[source.clicks]
connector = "files"
path = "IN"
format = "json"
schema = { ad = "string", at = "timestamp", cost = "int", price = "decimal(38, 2)" }
event_time = "at"
watermark = { delay = "1h" }
[aggregate.counts]
input = "clicks"
key = ["ad"]
window = { tumbling = "1m", allowed_lateness = "1h" }
select = { n = "count(*)", cost = "sum(cost)", price = "sum(price)" }
[sink.counts]
input = "counts"
connector = "files"
path = "OUT/counts"
[sink.unsayable]
input = "counts.dead_letters"
connector = "files"
path = "OUT/unsayable"
[sink.store]
input = "counts"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "counts"
key = ["window_start", "ad"]
select = ["window_start", "ad", "n", "cost", "revision"]
[sink.refused]
input = "sink.store.dead_letters"
connector = "files"
path = "OUT/refused"
[sink.raw]
input = "clicks"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "raw"
key = ["ad", "at"]
[sink.refused_raw]
input = "sink.raw.dead_letters"
connector = "files"
path = "OUT/refused_raw"
"#;

fn job_over(folder: &Path, lines: &str, parallelism: usize) -> RunOutcome {
    std::fs::create_dir_all(folder.join("in")).unwrap();
    std::fs::write(folder.join("in/a.json"), lines).unwrap();
    let text = TABLE.replace("IN", &folder.join("in").display().to_string());
    let text = text.replace("OUT", &folder.join("out").display().to_string());
    execute(compiled(&text, parallelism), &folder.join("checkpoints"))
}

#[test]
fn a_null_in_the_key_of_a_table_is_a_dead_letter_and_the_others_are_in() {
    let folder = tempfile::tempdir().unwrap();
    let line =
        |ad: &str, second: u32| format!("{{\"ad\": {ad}, \"at\": \"2022-03-04T00:00:{second:02}Z\", \"cost\": 1}}\n");
    let lines = line("\"a\"", 1) + &line("null", 2) + &line("\"a\"", 3) + &line("\"\"", 4);
    job_over(folder.path(), &lines, 2);
    let store = folder.path().join("out/store.sqlite");
    let found = table(&store, "SELECT ad || ' ' || n FROM counts ORDER BY ad");
    assert_eq!(found, [Some(" 1".to_owned()), Some("a 2".to_owned())]);
    assert_eq!(table(&store, "SELECT ad FROM raw").len(), 3);
    for (of, expected) in [("refused", "\"n\":1"), ("refused_raw", "00:00:02Z")] {
        let letters = dead_letters(&folder.path().join("out").join(of));
        let [(reason, raw)] = letters.as_slice() else { panic!("{of}: {letters:?}") };
        assert!(reason.contains("'ad' is null, and is in the key of the table"), "{reason}");
        assert!(raw.contains("\"ad\":null") && raw.contains(expected), "{raw}");
    }
}

#[test]
fn a_sum_that_its_type_does_not_hold_is_a_dead_letter_and_the_others_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let most = i64::MAX;
    let digits = "9".repeat(36);
    let lines = format!(
        "{{\"ad\": \"a\", \"at\": \"2022-03-04T00:00:01Z\", \"cost\": {most}, \"price\": \"1.25\"}}\n\
         {{\"ad\": \"a\", \"at\": \"2022-03-04T00:00:02Z\", \"cost\": 1, \"price\": \"1.25\"}}\n\
         {{\"ad\": \"b\", \"at\": \"2022-03-04T00:00:01Z\", \"cost\": 1, \"price\": \"{digits}.99\"}}\n\
         {{\"ad\": \"b\", \"at\": \"2022-03-04T00:00:02Z\", \"cost\": 1, \"price\": \"0.01\"}}\n\
         {{\"ad\": \"c\", \"at\": \"2022-03-04T00:00:01Z\", \"cost\": {most}, \"price\": \"{digits}.99\"}}\n\
         {{\"ad\": \"c\", \"at\": \"2022-03-04T00:00:02Z\", \"cost\": 1, \"price\": \"0.01\"}}\n\
         {{\"ad\": \"c\", \"at\": \"2022-03-04T00:00:03Z\", \"cost\": -1, \"price\": \"-0.01\"}}\n"
    );
    let outcome = job_over(folder.path(), &lines, 2);
    let mut found = BTreeMap::new();
    for batch in rows(&folder.path().join("out/counts")) {
        let ads = batch.column_by_name("ad").unwrap().as_string::<i32>();
        let withdrawn = batch.column_by_name("withdrawn").unwrap().as_boolean();
        let costs = batch.column_by_name("cost").unwrap().as_primitive::<Int64Type>();
        let prices = batch.column_by_name("price").unwrap().as_primitive::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            let values = (!withdrawn.value(row)).then(|| (costs.value(row), prices.value(row)));
            assert!(!withdrawn.value(row) || (costs.is_null(row) && prices.is_null(row)));
            assert!(found.insert(ads.value(row).to_owned(), values).is_none());
        }
    }
    let all = 10i128.pow(38) - 1;
    let expected = [("a", None), ("b", None), ("c", Some((most, all)))];
    assert_eq!(found, expected.map(|(ad, values)| (ad.to_owned(), values)).into());
    assert_eq!(table(&folder.path().join("out/store.sqlite"), "SELECT ad FROM counts"), [Some("c".to_owned())]);
    let letters = dead_letters(&folder.path().join("out/unsayable"));
    let of = |ad: &str| letters.iter().find(|(_, raw)| raw.contains(&format!("\"ad\":\"{ad}\""))).unwrap();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(of("a").0.starts_with("the sum 'cost' of this window is 9223372036854775808,"), "{letters:?}");
    assert!(of("b").0.starts_with("the sum 'price' of this window has more than 38 digits"), "{letters:?}");
    assert!(of("a").1.contains("\"window_start\":\"2022-03-04T00:00:00Z\""), "{letters:?}");
    assert_eq!(counter(&outcome, "aggregate.counts", "events_counted"), 7);
}

#[test]
fn what_was_unsayable_comes_back_when_a_correction_can_be_said() {
    let folder = tempfile::tempdir().unwrap();
    // The watermark is an hour behind: the first two windows close with the event of 03:00, and the next two correct them.
    let line = |ad: &str, time: &str, cost: i64| {
        format!("{{\"ad\": \"{ad}\", \"at\": \"2022-03-04T{time}Z\", \"cost\": {cost}}}\n")
    };
    let lines = line("a", "00:00:01", i64::MAX)
        + &line("a", "00:00:02", 5)
        + &line("b", "00:00:01", 7)
        + &line("x", "01:30:00", 1)
        + &line("a", "00:00:03", -6)
        + &line("b", "00:00:02", i64::MAX)
        + &line("x", "01:31:30", 1);
    let text = |folder: &Path| {
        std::fs::create_dir_all(folder.join("in")).unwrap();
        std::fs::write(folder.join("in/a.json"), &lines).unwrap();
        let text = TABLE.replace("IN", &folder.join("in").display().to_string());
        text.replace("OUT", &folder.join("out").display().to_string())
            .replace("delay = \"1h\" }", "delay = \"1h\" }\nbatch_rows = 1")
    };
    execute(compiled(&text(folder.path()), 1), &folder.path().join("checkpoints"));
    let mut found: BTreeMap<(String, i32), Option<i64>> = BTreeMap::new();
    for batch in rows(&folder.path().join("out/counts")) {
        let ads = batch.column_by_name("ad").unwrap().as_string::<i32>();
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        let costs = batch.column_by_name("cost").unwrap().as_primitive::<Int64Type>();
        for row in (0..batch.num_rows()).filter(|row| ads.value(*row) != "x") {
            let cost = costs.is_valid(row).then(|| costs.value(row));
            assert!(found.insert((ads.value(row).to_owned(), revisions.value(row)), cost).is_none());
        }
    }
    let expected = [(("a", 0), None), (("a", 1), Some(i64::MAX - 1)), (("b", 0), Some(7)), (("b", 1), None)];
    assert_eq!(found, expected.map(|((ad, revision), cost)| ((ad.to_owned(), revision), cost)).into());
    let store = folder.path().join("out/store.sqlite");
    let left = table(&store, "SELECT ad || ' ' || cost FROM counts WHERE ad <> 'x'");
    assert_eq!(left, [Some(format!("a {}", i64::MAX - 1))]);
}

/// A value of a column, as JSON.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("1".to_owned()),
        1 => Just("null".to_owned()),
        1 => Just(i64::MAX.to_string()),
        1 => Just(i64::MIN.to_string()),
        1 => Just("0".to_owned()),
        1 => Just("-1".to_owned()),
        1 => (-1_000i64..1_000).prop_map(|n| n.to_string()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("\"a\"".to_owned()),
        1 => Just("null".to_owned()),
        1 => Just("\"\"".to_owned()),
        1 => Just("\"a\\u0000b\"".to_owned()),
        1 => Just("\"../..//x%00\"".to_owned()),
        1 => Just("\"9999-12-31T23:59:59Z\"".to_owned()),
        1 => Just("\"1e999\"".to_owned()),
        1 => Just(format!("\"{}\"", "é".repeat(4_000))),
    ]
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => (0u32..3_600).prop_map(|s| format!("\"2022-03-04T00:{:02}:{:02}Z\"", s / 60, s % 60)),
        1 => Just("null".to_owned()),
        1 => Just("\"0001-01-01T00:00:00Z\"".to_owned()),
        1 => Just("\"9999-12-31T23:59:59Z\"".to_owned()),
        1 => Just("\"1969-12-31T23:59:59Z\"".to_owned()),
        1 => Just("1646352000000".to_owned()),
    ]
}

fn float() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("0.5".to_owned()),
        1 => Just("1.7976931348623157e308".to_owned()),
        1 => Just("-1.7976931348623157e308".to_owned()),
        1 => Just("5e-324".to_owned()),
        1 => Just("-0.0".to_owned()),
        1 => Just("null".to_owned()),
    ]
}

/// An expression over `n`, `m`, `t`, `f` and `at`, with its type.
fn expression() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "n",
        "n + m",
        "n * m",
        "n - m",
        "n / m",
        "n % m",
        "-n",
        "abs(n)",
        "cast(t as bigint)",
        "cast(f as bigint)",
        "cast(n as int)",
        "cast(n * 0.1 as bigint)",
        "cast(round(f) as bigint)",
        "length(t)",
        "length(repeat(t, 3))",
        "cast(to_timestamp_seconds(n) as bigint)",
        "cast(date_trunc('day', to_timestamp_seconds(n)) as bigint)",
        "cast(date_part('year', to_timestamp_millis(n)) as bigint)",
        "cast(to_timestamp(t) as bigint)",
        "case when m = 0 then 0 else n / m end",
        "n << m",
        "n >> m",
        "cast(power(n, m) as bigint)",
        "cast(sqrt(f) as bigint)",
        "ascii(t)",
        "cast(substr(t, n, m) as bigint)",
        "cast(at as bigint) - cast(at + interval '1 day' as bigint)",
        "cast(cast(n as decimal(20, 2)) * cast(m as decimal(18, 2)) as bigint)",
        "coalesce(n, m, 0)",
        "cast(left(t, n) || right(t, m) as bigint)",
        "cast(date_bin(interval '15 minutes', at) as bigint)",
        "cast(factorial(m) as bigint)",
        "gcd(n, m)",
        "lcm(n, m)",
        "cast(strpos(t, 'a') as bigint) / n",
        "cast(chr(n) as bigint)",
        "cast(split_part(t, 'a', n) as bigint)",
    ])
}

#[derive(Debug)]
struct Odd {
    rows: Vec<[String; 5]>,
    map: &'static str,
    condition: &'static str,
    argument: &'static str,
    function: &'static str,
    window: &'static str,
    event_time: &'static str,
    null_key: &'static str,
    parallelism: usize,
    batch_rows: usize,
}

fn odd() -> impl Strategy<Value = Odd> {
    let row = (value(), value(), text(), float(), time()).prop_map(|(n, m, t, f, at)| [n, m, t, f, at]);
    let event_time = prop::sample::select(vec![
        "\"at\"",
        "\"at\"",
        "{ name = \"at\", expression = \"case when at is null then to_timestamp_millis(m) else to_timestamp_millis(n) end\" }",
        "{ name = \"at\", expression = \"case when at is null then to_timestamp_seconds(n) else to_timestamp_seconds(m) end\" }",
    ]);
    let function = prop::sample::select(vec![
        "sum",
        "min",
        "max",
        "avg",
        "count",
        "approx_distinct",
        "stddev",
        "median",
        "bit_xor",
        "last_value",
    ]);
    let window = prop::sample::select(vec![
        "tumbling = \"1m\", allowed_lateness = \"1h\"",
        "hopping = \"3m\", slide = \"1m\"",
        "session = \"2m\", allowed_lateness = \"10m\"",
        "tumbling = \"100000d\", allowed_lateness = \"100000d\"",
        "session = \"300000d\"",
        "tumbling = \"1ms\"",
    ]);
    (
        (prop::collection::vec(row, 1..40), expression(), expression(), expression()),
        (function, window, event_time),
        (prop::sample::select(vec!["pass", "dead_letter"]), 1usize..3, prop::sample::select(vec![1usize, 3, 100])),
    )
        .prop_map(
            |(
                (rows, map, condition, argument),
                (function, window, event_time),
                (null_key, parallelism, batch_rows),
            )| {
                Odd { rows, map, condition, argument, function, window, event_time, null_key, parallelism, batch_rows }
            },
        )
}

fn definition(odd: &Odd, folder: &Path) -> String {
    let Odd { map, condition, argument, function, window, event_time, null_key, batch_rows, .. } = odd;
    let top = match window.starts_with("tumbling") && *function == "sum" {
        true => {
            "[reduce.top]\ninput = \"counts\"\ntop = { n = 3, by = \"x\" }\n[sink.top]\ninput = \"top\"\nconnector = \"files\"\npath = \"OUT/top\"\n"
        }
        false => "",
    };
    let key = if window.starts_with("session") { "" } else { "key = [\"window_start\", \"t\"]" };
    format!(
        r#"
[job]
name = "odd"
[source.clicks]
connector = "files"
path = "IN"
format = "json"
schema = {{ n = "int", m = "int", t = "string", f = "float", at = "timestamp" }}
event_time = {event_time}
batch_rows = {batch_rows}
watermark = {{ delay = "10m" }}
[map.valid]
input = "clicks"
where = "({condition}) is not null"
select = {{ n = "n", m = "m", t = "t", f = "f", at = "at", made = "{map}" }}
[dedup.unique]
input = "valid"
key = ["t", "n", "at"]
ttl = "365000d"
null_key = "{null_key}"
[filters]
all = "true"
some = "n / m > 1 or made > 0"
[aggregate.counts]
input = "unique"
key = ["t", "filter_id"]
window = {{ {window} }}
select = {{ n = "count(*)", x = "{function}({argument})" }}
{top}
[sink.counts]
input = "counts"
connector = "files"
path = "OUT/counts"
partition_by = "hour"
[sink.store]
input = "counts"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "counts"
{key}
[sink.raw]
input = "valid"
connector = "files"
path = "OUT/raw"
partition_by = "hour"
[sink.raw_store]
input = "valid"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "raw"
key = ["t", "at", "n", "m"]
"#
    )
    .replace("IN", &folder.join("in").display().to_string())
    .replace("OUT", &folder.join("out").display().to_string())
}

#[test]
fn no_row_ends_a_job_and_every_row_is_accounted_for() {
    let cases = std::env::var("WEIR_UNUSUAL_ROWS").ok().and_then(|cases| cases.parse().ok()).unwrap_or(20);
    let mut runner = match std::env::var("WEIR_UNUSUAL_ROWS").is_ok() {
        true => TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() }),
        false => {
            let config = Config { cases, failure_persistence: None, ..Config::default() };
            let rng = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, rng)
        }
    };
    let refusals = std::cell::RefCell::new(Vec::new());
    let seen = std::cell::RefCell::new(BTreeSet::new());
    runner
        .run(&odd(), |odd| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("in")).unwrap();
            let line = |row: &[String; 5]| {
                let [n, m, t, f, at] = row;
                format!("{{\"n\": {n}, \"m\": {m}, \"t\": {t}, \"f\": {f}, \"at\": {at}}}\n")
            };
            std::fs::write(folder.path().join("in/a.json"), odd.rows.iter().map(line).collect::<String>()).unwrap();
            let options = CompileOptions { parallelism: Some(odd.parallelism), ..CompileOptions::default() };
            // What the types refuse is told before anything starts.
            let job = match parse("job.toml", &definition(&odd, folder.path()), &[], &options) {
                Ok(job) => job,
                Err(refusal) => {
                    refusals.borrow_mut().push(refusal.to_string());
                    return Ok(());
                }
            };
            let outcome = execute(job, &folder.path().join("checkpoints"));
            let of = |operator: &str, name: &str| counter(&outcome, operator, name);
            let filters = of("filters.", "rows_in") - of("filters.", "filtered_out") - of("filters.", "dead_letters");
            let dead = of("source.", "dead_letters") + of("map.", "dead_letters") + of("dedup.", "dead_letters");
            let classes = [
                filters,
                dead + of("filters.", "dead_letters"),
                of("", "duplicates"),
                of("", "late"),
                of("", "filtered_out"),
            ];
            prop_assert_eq!(classes.iter().sum::<u64>(), odd.rows.len() as u64, "{:?}", classes);
            prop_assert_eq!(of("source.", "events_in"), odd.rows.len() as u64);
            // Every row that goes on is in the table of raw rows, or a dead letter of that.
            let exact =
                |operator: &str, name: &str| outcome.manifest.counters(operator).get(name).copied().unwrap_or(0);
            let raw = exact("sink.raw_store", "rows_in") + exact("sink.raw_store.table", "dead_letters");
            prop_assert_eq!(raw, exact("sink.raw", "rows_in"));
            seen.borrow_mut().extend((0..classes.len()).filter(|class| classes[*class] > 0));
            Ok(())
        })
        .unwrap();
    let refusals = refusals.into_inner();
    assert!(refusals.len() < cases as usize / 2, "{}", refusals.join("\n"));
    assert!(seen.borrow().len() >= 4, "of few classes: {seen:?}");
}
