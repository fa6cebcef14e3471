//! Sinks that keep tables: what becomes of a definition's, and what a user is told about mistakes in it.

use std::fmt::Write as _;

use serde_json::json;
use weir_jobs::{
    CompileOptions, Job, Refusal, Sink, Source, parse,
    sink::sql::{SqlIndex, SqlSinkSettings},
    source::files::FilesConfig,
};

/// A definition without mistakes.
const RIGHT: &str = r#"[job]
name = "clicks"

[source.clicks]
connector = "files"
path = "in"
format = "click_log"
event_time = "click_timestamp"
watermark = { delay = "15s" }

[filters]
all = "true"
usa = "country = 'USA'"

[aggregate.per_minute]
input = "clicks"
key = ["ad_id", "filter_id"]
window = { tumbling = "1m", allowed_lateness = "10m" }
select = { count = "count(*)", users = "approx_distinct(user_id)" }
emit = { every = "1s" }

[sink.store]
connector = "sql"
input = "per_minute"
url = "sqlite:out/store.sqlite"
table = "ad_counts"
key = ["click_minute", "filter_id", "ad_id"]
select = ["window_start as click_minute", "filter_id", "ad_id", "count", "revision"]
indexes = [{ columns = ["click_minute", "count"], where = "count >= 32" }]
retention = { time = "click_minute", sum = ["count"], minutes = "2d", hours = "90d", days = "1095d" }

[sink.results]
connector = "sql"
input = "per_minute"
url = "postgres://me:secret@localhost/clicks"
table = "results"
running = false
"#;

/// Name, what is replaced, by what.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("no url", "url = \"sqlite:out/store.sqlite\"\n", ""),
    ("a url of a database that is not known", "sqlite:out/store.sqlite", "mysql://me:secret@localhost/clicks"),
    ("a url that names no file", "sqlite:out/store.sqlite", "sqlite:"),
    ("a path for a url", "sqlite:out/store.sqlite", "out/store.sqlite"),
    ("no table", "table = \"results\"\n", ""),
    ("a name that no table may have", "\"ad_counts\"", "\"ad-counts\""),
    ("a name that is taken", "\"ad_counts\"", "\"weir_sinks\""),
    ("an empty key", "key = [\"click_minute\", \"filter_id\", \"ad_id\"]", "key = []"),
    (
        "a key column that is not written",
        "\"click_minute\", \"filter_id\", \"ad_id\"]\n",
        "\"click_minute\", \"add_id\"]\n",
    ),
    (
        "a key column twice",
        "\"click_minute\", \"filter_id\", \"ad_id\"]\n",
        "\"click_minute\", \"ad_id\", \"ad_id\"]\n",
    ),
    ("the revision in the key", "\"filter_id\", \"ad_id\"]\n", "\"filter_id\", \"ad_id\", \"revision\"]\n"),
    ("no key, and no record id", "key = [\"click_minute\", \"filter_id\", \"ad_id\"]\n", ""),
    ("no revision", "\"count\", \"revision\"]", "\"count\"]"),
    (
        "a column that no table may have",
        "\"count\", \"revision\"]",
        "\"count\", \"count as \\\"a b\\\"\", \"revision\"]",
    ),
    ("an index of nothing known", "columns = [\"click_minute\", \"count\"]", "columns = [\"click_minute\", \"cuont\"]"),
    ("an index without columns", "columns = [\"click_minute\", \"count\"], ", ""),
    ("an unknown key of an index", "where = \"count", "wher = \"count"),
    ("indexes that are none", "[{ columns = [\"click_minute\", \"count\"], where = \"count >= 32\" }]", "\"count\""),
    ("a time that is not first in the key", "time = \"click_minute\"", "time = \"filter_id\""),
    ("a time that is not there", "time = \"click_minute\"", "time = \"minute\""),
    ("a sum of what does not add up", "\"count\", \"revision\"]", "\"users as count\", \"revision\"]"),
    ("a column that nobody adds up", "\"count\", \"revision\"]", "\"count\", \"users\", \"revision\"]"),
    ("what can still be corrected", "minutes = \"2d\"", "minutes = \"10m\""),
    ("days that are shorter than hours", "days = \"1095d\"", "days = \"1d\""),
    ("a retention without a span", "hours = \"90d\", ", ""),
    (
        "two sinks with one table",
        "url = \"postgres://me:secret@localhost/clicks\"\ntable = \"results\"",
        "url = \"sqlite:out/store.sqlite\"\ntable = \"ad_counts_hours\"",
    ),
];

fn compile(text: &str) -> Result<Job, Refusal> {
    parse("job.toml", text, &[], &CompileOptions::default())
}

fn config<'a>(job: &'a Job, id: &str) -> &'a serde_json::Value {
    &job.graph.nodes.iter().find(|node| node.id == id).unwrap_or_else(|| panic!("no {id}")).config
}

#[test]
fn a_table_is_told_all_it_needs() {
    let job = compile(RIGHT).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    let store = config(&job, "sink.store");
    let column = |name: &str, of: &str| json!({ "name": name, "type": of });
    let columns = [
        column("click_minute", "big_int"),
        column("filter_id", "text"),
        column("ad_id", "text"),
        column("count", "big_int"),
        column("revision", "big_int"),
    ];
    assert_eq!(store["columns"], json!(columns));
    assert_eq!(store["revision"], "revision");
    let retention = json!({
        "time": "click_minute", "sum": ["count"],
        "minutes_ms": 172_800_000_i64, "hours_ms": 7_776_000_000_i64, "days_ms": 94_608_000_000_i64,
    });
    let description = json!({
        "filters": [{ "id": "all", "predicate": "true" }, { "id": "usa", "predicate": "country = 'USA'" }],
        "key": ["click_minute", "filter_id", "ad_id"], "time": "click_minute", "window_ms": 60_000,
        "allowed_lateness_ms": 600_000, "archive_held_ms": 0, "running": true, "retention": retention,
        "shape": { "time": "click_minute", "times": ["click_minute"], "series": ["filter_id", "ad_id"], "values": ["count"] },
    });
    assert_eq!(store["description"], description);
    let results = config(&job, "sink.results");
    assert_eq!(results["key"], json!(["record_id"]));
    assert_eq!(results["columns"][0], column("record_id", "bytes"));
    assert_eq!(results["description"]["running"], false);
    let shape = &results["description"]["shape"];
    assert_eq!((&shape["time"], &shape["series"]), (&json!("window_start"), &json!(["ad_id", "filter_id"])));
    assert_eq!(shape["times"], json!(["window_start", "window_end"]));
}

#[test]
fn a_password_is_not_shown() {
    let job = compile(RIGHT).unwrap_or_else(|refusal| panic!("{refusal}"));
    let shown = job.notes.iter().map(|note| note.does.clone()).collect::<String>();
    assert!(shown.contains("the table results in postgres://me:***@localhost/clicks"), "{shown}");
    let explained = job.explain(weir_jobs::explain::ExplainFormat::Json).unwrap();
    assert!(explained.contains("postgres://me:***@localhost/clicks"), "{explained}");
    let printed = format!("{shown} {explained} {job:?} {:?}", job.graph);
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn events_need_no_revision() {
    let events = RIGHT.replace(
        "input = \"per_minute\"\nurl = \"postgres://me:secret@localhost/clicks\"\ntable = \"results\"\nrunning = false",
        "input = \"clicks\"\nurl = \"sqlite:out/clicks.sqlite\"\ntable = \"clicks\"\nkey = [\"user_id\", \"ad_id\"]",
    );
    let job = compile(&events).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(config(&job, "sink.results")["revision"], serde_json::Value::Null);
}

#[test]
fn the_builder_makes_the_same() {
    let mut builder = weir_jobs::JobBuilder::new("clicks");
    let clicks = Source::of(FilesConfig::at("in")).event_time("click_timestamp");
    let index = SqlIndex { columns: vec!["ad_id".into()], condition: None };
    let table = SqlSinkSettings::table("sqlite:out/clicks.sqlite", "clicks").key(["user_id", "ad_id"]).index(index);
    let sink = Sink::of("clicks", table);
    builder = builder.source("clicks", clicks).sink("table", sink);
    let job = builder.build(&CompileOptions::default()).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(config(&job, "sink.table")["indexes"], json!([{ "columns": ["ad_id"] }]));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let mut told = String::new();
    for (name, right, wrong) in MISTAKES {
        assert!(RIGHT.contains(right), "{name}: {right:?} is not there");
        let refusal = match compile(&RIGHT.replacen(right, wrong, 1)) {
            Err(refusal) => refusal.to_string(),
            Ok(_) => panic!("{name}: nobody noticed"),
        };
        let _ = writeln!(told, "### {name}\n\n{refusal}\n");
    }
    insta::assert_snapshot!(told);
}

/// The sink of all results, with other settings.
fn results(input: &str, settings: &str) -> Result<Job, Refusal> {
    let maps = r#"
[aggregate.visits]
input = "clicks"
key = ["ad_id"]
window = { session = "1m" }
select = { count = "count(*)" }

[map.many]
input = "per_minute"
where = "count > 9"

[map.shares]
input = "per_minute"
select = { ad = "ad_id", minute = "window_start", hour = "date_trunc('hour', window_start)", share = "60 / count" }

[sink.others]
connector = "files"
input = "shares"
path = "out/shares"

[sink.many]
connector = "files"
input = "many"
path = "out/many"

[sink.visits]
connector = "files"
input = "visits"
path = "out/visits"
select = ["ad_id", "count"]
"#;
    let sink =
        "input = \"per_minute\"\nurl = \"postgres://me:secret@localhost/clicks\"\ntable = \"results\"\nrunning = false";
    assert!(RIGHT.contains(sink));
    let settings = format!("input = \"{input}\"\nurl = \"sqlite:out/results.sqlite\"\ntable = \"results\"\n{settings}");
    compile(&format!("{}{maps}", RIGHT.replace(sink, &settings)))
}

#[test]
fn a_key_must_tell_results_apart() {
    for (input, settings, words) in [
        ("per_minute", "key = [\"ad_id\", \"filter_id\"]", "leaves the window out"),
        ("per_minute", "key = [\"ad_id\", \"filter_id\"]", "`keep = \"newest\"`: the row of the newest window is kept"),
        ("per_minute", "key = [\"window_start\", \"ad_id\", \"count\"]", "`count` is computed"),
        (
            "per_minute",
            "key = [\"window_end\", \"ad_id\", \"filter_id\"]\nkeep = \"newest\"",
            "every window has a row of its own",
        ),
        ("per_minute", "keep = \"newest\"", "every window has a row of its own"),
        ("per_minute", "key = [\"ad_id\"]\nkeep = \"oldest\"", "newest"),
        (
            "per_minute",
            "key = [\"ad_id\"]\nkeep = \"newest\"\nselect = [\"ad_id\", \"revision\"]",
            "which window a row is of",
        ),
        ("many", "key = [\"ad_id\"]\nkeep = \"newest\"", "may be withdrawn"),
        ("shares", "key = [\"minute\", \"share\"]", "`share` is computed"),
        ("visits", "key = [\"window_start\", \"ad_id\"]", "a session that grows is another record"),
        ("visits", "key = [\"ad_id\"]\nkeep = \"newest\"", "a session that grows is another record"),
        ("clicks", "key = [\"ad_id\"]\nkeep = \"newest\"", "its rows are events"),
        (
            "per_minute",
            "key = [\"window_end\"]\nselect = [\"window_end\", \"count as withdrawn\", \"revision\"]",
            "a column `withdrawn` of their own",
        ),
    ] {
        let refusal = match results(input, settings) {
            Err(refusal) => refusal.to_string(),
            Ok(_) => panic!("{input} {settings}: nobody noticed"),
        };
        assert!(refusal.contains(words), "{input} {settings}: {refusal}");
    }
}

#[test]
fn what_may_be_withdrawn_has_a_table_that_knows() {
    let of = |input: &str, settings: &str| {
        let job = results(input, settings).unwrap_or_else(|refusal| panic!("{input} {settings}: {refusal}"));
        let sink = config(&job, "sink.results").clone();
        let names = |columns: &serde_json::Value| -> Vec<String> {
            columns.as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap().to_owned()).collect()
        };
        let warnings: String = job.warnings.iter().map(ToString::to_string).collect();
        (
            sink["withdrawn"].clone(),
            names(&sink["columns"]),
            warnings,
            job.explain(weir_jobs::explain::ExplainFormat::Text).unwrap(),
        )
    };
    let (withdrawn, columns, warnings, _) = of("per_minute", "key = [\"window_end\", \"filter_id\", \"ad_id\"]");
    assert_eq!((withdrawn, warnings.as_str()), (json!(null), ""), "counts are corrected, and never withdrawn");
    assert_eq!(columns.last().unwrap(), "revision");
    let (withdrawn, columns, warnings, _) = of("many", "");
    assert_eq!((withdrawn, warnings.as_str()), (json!("withdrawn"), ""));
    assert_eq!(columns.last().unwrap(), "revision", "what is withdrawn is not in a table");
    let (withdrawn, columns, _, _) = of("shares", "key = [\"minute\", \"ad\"]");
    assert_eq!(
        (withdrawn, columns),
        (json!("withdrawn"), ["record_id", "ad", "minute", "hour", "share", "revision"].map(String::from).to_vec())
    );
    assert_eq!(of("visits", "").0, json!("withdrawn"));
    assert_eq!(of("visits", "key = [\"ad_id\", \"record_id\"]").0, json!("withdrawn"));
    let (withdrawn, _, warnings, shown) = of("per_minute", "key = [\"ad_id\", \"filter_id\"]\nkeep = \"newest\"");
    assert_eq!((withdrawn, warnings.as_str()), (json!(null), ""));
    assert!(shown.contains("key ad_id, filter_id, the newest window of each"), "{shown}");
    assert!(shown.contains("where count > 9; withdraws results that no longer match"), "{shown}");
    assert!(of("per_minute", "key = [\"window_end\", \"ad_id\"]").2.contains("the key leaves `filter_id` out"));
    assert!(of("shares", "key = [\"hour\", \"ad\"]").2.contains("unless a computed column tells them apart"));
}

#[test]
fn a_select_over_results_carries_what_makes_them_results() {
    let job = results("many", "").unwrap_or_else(|refusal| panic!("{refusal}"));
    let columns = |id: &str| {
        let node = job.graph.nodes.iter().position(|node| node.id == id).unwrap_or_else(|| panic!("no {id}"));
        job.notes[node].columns.join(" ")
    };
    assert_eq!(columns("map.shares"), "record_id ad minute hour share revision withdrawn");
    assert_eq!(columns("sink.visits.select"), "ad_id count withdrawn", "what may be withdrawn says so");
}

#[test]
fn references_to_secrets_are_checked_and_left_as_they_are() {
    let with = |url: &str| RIGHT.replace("postgres://me:secret@localhost/clicks", url);
    let url = "postgres://me:${env:WEIRD_PASSWORD_OF_NOBODY}@localhost/clicks";
    let job = compile(&with(url)).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(config(&job, "sink.results")["url"], url, "it is for whoever opens the connection");
    let here = CompileOptions { runs_here: true, ..CompileOptions::default() };
    let refused = parse("job.toml", &with(url), &[], &here).unwrap_err().to_string();
    let line = RIGHT.lines().position(|line| line.starts_with("url = \"postgres")).unwrap() + 1;
    for part in [&format!("job.toml:{line}"), "sink.results.url", "'WEIRD_PASSWORD_OF_NOBODY' is not set"] {
        assert!(refused.contains(part), "no '{part}' in {refused}");
    }
    for (wrong, part) in [
        ("postgres://me:${env:}@localhost/clicks", "a variable's name"),
        ("postgres://me:${vault:x}@localhost/clicks", "no such reference"),
        ("postgres://me:${env:A@localhost/clicks", "has no end"),
        ("postgres://me:${env:WEIR_SECRET}@localhost/clicks", "the process's own"),
        ("${env:WEIRD_URL_OF_NOBODY}", "begins with its kind"),
    ] {
        let refused = compile(&with(wrong)).unwrap_err().to_string();
        assert!(refused.contains(part), "{wrong}: {refused}");
    }
}
