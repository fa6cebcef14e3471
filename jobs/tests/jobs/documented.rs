//! What the pages of the docs say of functions and of defaults is what the code has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use weir_jobs::duration::show;
use weir_operators::expression::{aggregates, functions};
use weir_operators::format::DEFAULT_MAX_LINE_BYTES;
use weir_operators::lookup::{self, Missing, OnFailure};
use weir_operators::over::MOST_ANEW;
use weir_operators::sink::http;
use weir_operators::source::JumpAfter;
use weir_operators::source::files::DEFAULT_ROTATION_GRACE_MS;
use weir_operators::source::kafka::{self, Start};
use weir_operators::source::settings::{BATCH_ROWS, DISCOVER_INTERVAL, POLL_INTERVAL};
use weir_operators::window::{MOST_OPEN_WINDOWS, MOST_WINDOWS};

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// The page of functions. `WEIR_WRITE_DOCS=1` writes it anew.
#[test]
fn the_page_of_functions_has_those_that_there_are() {
    let written = std::fs::read_to_string(page("functions.md")).unwrap_or_default();
    let head = written.split("\n## ").next().unwrap_or_default().trim_end();
    let mut expected = format!("{head}\n");
    let mut about = String::new();
    for function in aggregates().into_iter().chain(functions()) {
        if function.about != about {
            about.clone_from(&function.about);
            let _ = write!(expected, "\n## {about}\n\n| function | |\n|---|---|\n");
        }
        let call = if function.call.is_empty() { format!("{}(…)", function.names[0]) } else { function.call.clone() };
        let others: Vec<String> = function.names[1..].iter().map(|name| format!("`{name}`")).collect();
        let others = if others.is_empty() { String::new() } else { format!(" Also {}.", others.join(", ")) };
        let does = if function.does.is_empty() { String::new() } else { format!("{}.", function.does) };
        let cell = |text: String| text.replace('|', "\\|");
        let _ = writeln!(expected, "| `{}` | {} |", cell(call), cell(format!("{does}{others}").trim().to_owned()));
    }
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        std::fs::write(page("functions.md"), &expected).unwrap();
    }
    assert!(head.starts_with("# "), "the page has a heading");
    let first = expected.lines().zip(written.lines()).find(|(right, found)| right != found);
    assert!(expected == written, "WEIR_WRITE_DOCS=1 writes it anew; the first difference: {first:?}");
}

/// The rows of the tables of a page, by the heading and the key: what stands in the second column.
fn table_rows(text: &str) -> BTreeMap<(String, String), String> {
    let mut rows = BTreeMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(found) = line.strip_prefix('#') {
            heading = found.trim_matches(['#', ' ', '`']).replace('`', "");
        }
        let Some(row) = line.strip_prefix('|') else { continue };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [keys, value, ..] = cells.as_slice() else { continue };
        for (number, key) in keys.split(", ").enumerate() {
            let value = if keys.contains(", ") { value.split(", ").nth(number).unwrap_or_default() } else { value };
            rows.insert((heading.clone(), key.trim_matches('`').to_owned()), value.to_owned());
        }
    }
    rows
}

#[test]
fn the_defaults_of_definitions_are_those_that_are_told() {
    let written = std::fs::read_to_string(page("job-definition.md")).unwrap();
    let rows = table_rows(&written);
    let job = weir_jobs::Checkpoint::default();
    let jump = JumpAfter::default();
    let nothing = compiled("", "", "", "", "");
    let jump_span = show(std::time::Duration::from_millis(jump.span_ms.unsigned_abs()));
    let own = [
        ("[job]", "checkpoint.interval", format!("`{}`", show(job.interval))),
        ("[job]", "checkpoint.retain", format!("`{}`", job.retain)),
        ("[job]", "max_parallelism", format!("`{}`", nothing["max_parallelism"])),
        ("[source.NAME]", "watermark.delay", "`0s`".into()),
        ("[source.NAME]", "watermark.idle_after", "none".into()),
        ("[source.NAME]", "watermark.max_jump", "none".into()),
        ("[source.NAME]", "watermark.max_ahead", "none".into()),
        ("[source.NAME]", "watermark.max_drift", "none".into()),
        ("[source.NAME]", "watermark.by_partition", "`false`".into()),
        ("connector = \"files\"", "delimiter", "`,`".into()),
        ("connector = \"files\"", "follow", "`false`".into()),
        ("connector = \"files\"", "max_line_bytes", format!("{} MiB", DEFAULT_MAX_LINE_BYTES >> 20)),
        ("connector = \"files\"", "batch_rows", format!("`{BATCH_ROWS}`")),
        ("connector = \"files\"", "poll", format!("`{}`", show(POLL_INTERVAL))),
        ("connector = \"files\"", "discover", format!("`{}`", show(DISCOVER_INTERVAL))),
        (
            "connector = \"files\"",
            "rotation_grace",
            format!("`{}`", show(std::time::Duration::from_millis(DEFAULT_ROTATION_GRACE_MS))),
        ),
        ("connector = \"kafka\"", "delimiter", "`,`".into()),
        ("connector = \"kafka\"", "max_line_bytes", format!("{} MiB", DEFAULT_MAX_LINE_BYTES >> 20)),
        ("connector = \"kafka\"", "start", format!("`{}`", serde_json::json!(Start::default()))),
        ("connector = \"kafka\"", "discover", format!("`{}`", show(kafka::DISCOVER_INTERVAL))),
        ("[dedup.NAME]", "same_event_time", "`false`".into()),
        ("[dedup.NAME]", "null_key", "`pass`".into()),
        ("[lookup.NAME]", "in_flight", format!("`{}`", lookup::config::IN_FLIGHT)),
        ("[lookup.NAME]", "timeout", format!("`{}`", show(lookup::config::TIMEOUT))),
        ("[lookup.NAME]", "cache", "none".into()),
        ("[lookup.NAME]", "headers", "none".into()),
        ("[lookup.NAME]", "on_failure", format!("`{}`", named(OnFailure::default(), &OnFailure::NAMES))),
        ("[lookup.NAME]", "missing", format!("`{}`", named(Missing::default(), &Missing::NAMES))),
        ("[aggregate.NAME]", "window.allowed_lateness", "`0s`".into()),
        ("[over.NAME]", "allowed_lateness", "`0s`".into()),
        ("[over.NAME]", "once", "`false`".into()),
        ("[sink.NAME]", "enabled", "`true`".into()),
        (FILES_SINK, "format", "`parquet`".into()),
        (FILES_SINK, "compression", "`none`".into()),
        (FILES_SINK, "partition_by", "`none`".into()),
        (HTTP_SINK, "format", "`json`".into()),
        (HTTP_SINK, "batch", format!("`{}`", http::config::BATCH)),
        (HTTP_SINK, "timeout", format!("`{}`", show(http::config::TIMEOUT))),
        ("connector = \"console\"", "format", "`table`".into()),
        ("connector = \"sql\"", "key", "`[\"record_id\"]`".into()),
        (KAFKA_SINK, "format", "`json`".into()),
        (KAFKA_SINK, "key", "`[\"record_id\"]` for results, none for events".into()),
        (KAFKA_SINK, "partition_by", "`key`".into()),
        (KAFKA_SINK, "delivery", "`exactly_once`".into()),
        (KAFKA_SINK, "transaction_timeout", "`30s`".into()),
    ];
    for (heading, key, value) in &own {
        let found = rows.get(&((*heading).to_owned(), (*key).to_owned()));
        assert_eq!(found, Some(value), "{heading} {key}");
    }
    assert!(written.contains(&format!("rows = {}, span = \"{jump_span}\"", jump.rows)));
    assert!(written.contains(&format!("at most {MOST_WINDOWS} windows")), "the limit of windows");
    assert!(written.contains(&format!("at most {MOST_OPEN_WINDOWS} windows open")), "the limit of open windows");
    assert!(
        written.contains(&format!("sees more than {MOST_ANEW} is a dead letter")),
        "the limit of rows that are seen"
    );
    // A definition that leaves all of them out, and one that says all of them, are the same job.
    let all = compiled(
        "checkpoint = { interval = \"1s\", retain = 3 }\nmax_parallelism = 128\nparallelism = 1",
        "watermark = { delay = \"0s\", by_partition = false }\nfollow = false",
        "same_event_time = false\nnull_key = \"pass\"",
        ", allowed_lateness = \"0s\"",
        "enabled = true\ncompression = \"none\"\npartition_by = \"none\"\nformat = \"parquet\"\nrunning = false",
    );
    assert_eq!(nothing, all);
    let said = "key = [\"record_id\"]\nformat = \"json\"\npartition_by = \"key\"\ndelivery = \"exactly_once\"\ntransaction_timeout = \"30s\"\nrunning = false";
    assert_eq!(compiled_to_kafka(""), compiled_to_kafka(said));
    let to_http = "connector = \"http\"\nurl = \"http://localhost:1/hook\"";
    let said = "format = \"json\"\nbatch = 500\nheaders = {}\ntimeout = \"10s\"\nrunning = false";
    assert_eq!(compiled_to(to_http), compiled_to(&format!("{to_http}\n{said}")));
    let printed = "connector = \"console\"";
    assert_eq!(compiled_to(printed), compiled_to(&format!("{printed}\nformat = \"table\"\nrunning = false")));
}

const FILES_SINK: &str = "connector = \"files\" in a sink";
const HTTP_SINK: &str = "connector = \"http\"";
const KAFKA_SINK: &str = "connector = \"kafka\" in a sink";

fn compiled_to_kafka(sink: &str) -> serde_json::Value {
    compiled_to(&format!("connector = \"kafka\"\nbrokers = \"localhost:9092\"\ntopic = \"counts\"\n{sink}"))
}

fn compiled_to(sink: &str) -> serde_json::Value {
    let text = format!(
        r#"
[job]
name = "j"
[source.clicks]
connector = "files"
path = "in"
format = "click_log"
event_time = "click_timestamp"
[aggregate.counts]
input = "clicks"
key = ["ad_id"]
window = {{ tumbling = "1m" }}
select = {{ n = "count(*)" }}
[sink.counts]
input = "counts"
{sink}
"#
    );
    let job = weir_jobs::parse("job.toml", &text, &[], &weir_jobs::CompileOptions::default());
    serde_json::to_value(job.unwrap_or_else(|refusal| panic!("{refusal}")).graph).unwrap()
}

/// As a definition has it.
fn named<T: PartialEq>(value: T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| name)
}

/// The example of a Kafka source compiles, and its note says what it reads.
#[test]
fn the_example_of_a_kafka_source_is_a_definition() {
    let written = std::fs::read_to_string(page("job-definition.md")).unwrap();
    let section = written.split("### `connector = \"kafka\"`").nth(1).unwrap();
    let example = section.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let text = format!(
        "[job]\nname = \"j\"\n{example}\n[sink.out]\ninput = \"clicks\"\nconnector = \"files\"\npath = \"out\"\n"
    );
    let job = weir_jobs::parse("job.toml", &text, &[], &weir_jobs::CompileOptions::default());
    let job = job.unwrap_or_else(|refusal| panic!("{refusal}"));
    let explained = job.explain(weir_jobs::explain::ExplainFormat::Text).unwrap();
    assert!(explained.contains("topic clicks in Kafka at kafka1:9092,kafka2:9092 (json)"), "{explained}");
    assert!(!explained.contains("KAFKA_PASSWORD"), "{explained}");
}

/// The example of a schema that follows from the columns compiles: nobody has to be asked for it.
#[test]
fn the_example_of_a_registered_schema_is_a_definition() {
    let written = std::fs::read_to_string(page("job-definition.md")).unwrap();
    let section = written.split("#### Avro in a sink").nth(1).unwrap();
    let example = section.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let is_of_it = |line: &&str| line.starts_with("format") || line.contains("register = true");
    let lines: Vec<&str> = example.lines().filter(is_of_it).collect();
    assert_eq!(lines.len(), 2);
    let graph = compiled_to_kafka(&lines.join("\n"));
    let sink = graph["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "sink.counts").unwrap();
    let schema = sink["config"]["format"]["avro"]["pinned"].as_str().unwrap();
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    assert_eq!(schema["name"], "counts");
    let n = schema["fields"].as_array().unwrap().iter().find(|field| field["name"] == "n").unwrap();
    assert!(n["type"] == "long" || n["type"][1] == "long", "{n}");
}

/// The example of a join compiles, and its note says what it does.
#[test]
fn the_example_of_a_join_is_a_definition() {
    let written = std::fs::read_to_string(page("job-definition.md")).unwrap();
    let section = written.split("## `[join.NAME]`").nth(1).unwrap();
    let example = section.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let text = format!(
        r#"[job]
name = "j"
[source.orders]
connector = "files"
path = "in/orders"
format = "json"
schema = {{ order_id = "string", user_id = "string", ordered_at = "timestamp" }}
event_time = "ordered_at"
[source.clicks]
connector = "files"
path = "in/clicks"
format = "click_log"
event_time = "click_timestamp"
{example}
[sink.out]
input = ["attributed", "attributed.unmatched"]
connector = "console"
"#
    );
    let job = weir_jobs::parse("job.toml", &text, &[], &weir_jobs::CompileOptions::default());
    let job = job.unwrap_or_else(|refusal| panic!("{refusal}"));
    let explained = job.explain(weir_jobs::explain::ExplainFormat::Text).unwrap();
    let does = "orders with the last of clicks of the same user_id, up to 7d before, rows up to 1h late";
    assert!(explained.contains(does), "{explained}");
    assert!(explained.contains("left rows for 1h of event time, right rows for 169h"), "{explained}");
}

/// So does that of a join of results.
#[test]
fn the_example_of_a_join_of_results_is_a_definition() {
    let written = std::fs::read_to_string(page("job-definition.md")).unwrap();
    let section = written.split("### Joins of results").nth(1).unwrap();
    let example = section.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let source = |name: &str| {
        format!(
            "[source.{name}]\nconnector = \"files\"\npath = \"in/{name}\"\nformat = \"click_log\"\nevent_time = \"click_timestamp\"\n"
        )
    };
    let sink = "[sink.out]\ninput = \"rates\"\nconnector = \"console\"\n";
    let text = format!("[job]\nname = \"j\"\n{}{}{example}{sink}", source("clicks"), source("impressions"));
    let job = weir_jobs::parse("job.toml", &text, &[], &weir_jobs::CompileOptions::default());
    let job = job.unwrap_or_else(|refusal| panic!("{refusal}"));
    let explained = job.explain(weir_jobs::explain::ExplainFormat::Text).unwrap();
    let does = "clicks_per_minute left join impressions_per_minute on the window, ad_id, tumbling 1m";
    assert!(explained.contains(does), "{explained}");
    assert!(explained.contains("the newest results of both sides, until 10m after their window"), "{explained}");
}

fn compiled(job: &str, source: &str, dedup: &str, window: &str, sink: &str) -> serde_json::Value {
    let text = format!(
        r#"
[job]
name = "j"
{job}
[source.clicks]
connector = "files"
path = "in"
format = "click_log"
event_time = "click_timestamp"
{source}
[dedup.unique]
input = "clicks"
key = ["user_id"]
ttl = "1h"
{dedup}
[aggregate.counts]
input = "unique"
key = ["ad_id"]
window = {{ tumbling = "1m"{window} }}
select = {{ n = "count(*)" }}
[sink.counts]
input = "counts"
connector = "files"
path = "out"
{sink}
"#
    );
    let job = weir_jobs::parse("job.toml", &text, &[], &weir_jobs::CompileOptions::default());
    serde_json::to_value(job.unwrap_or_else(|refusal| panic!("{refusal}")).graph).unwrap()
}
