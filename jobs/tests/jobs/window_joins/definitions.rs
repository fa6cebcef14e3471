//! Definitions of joins of results: what is wrong with one is said where it is written, and the builder makes the same of it.

use std::fmt::Write as _;
use std::time::Duration;

use weir_jobs::sink::console::ConsoleSinkConfig;
use weir_jobs::source::files::FilesConfig;
use weir_jobs::{
    Aggregate, CompileOptions, Job, JobBuilder, JoinType, Refusal, Sink, Source, Window, WindowJoin, explain, parse,
};

const RIGHT: &str = r#"[job]
name = "ads"

[source.clicked]
connector = "files"
path = "in/clicked"
format = "json"
schema = { ad = "string", page = "int", shop = "string", price = "float", at = "timestamp" }
event_time = "at"

[source.seen]
connector = "files"
path = "in/seen"
format = "json"
schema = { ad = "string", page = "string", at = "timestamp" }
event_time = "at"

[aggregate.clicks]
input = "clicked"
key = ["ad", "page"]
window = { tumbling = "1m", allowed_lateness = "10m" }
select = { n = "count(*)", shop = "max(shop)" }

[aggregate.views]
input = "seen"
key = ["ad", "page"]
window = { tumbling = "1m", allowed_lateness = "20m" }
select = { n = "count(*)" }

[join.ctr]
left = "clicks"
right = "views"
on = ["ad"]
type = "left"
select = { ad = "left.ad", clicks = "left.n", views = "right.n" }

[sink.ctr]
input = "ctr"
connector = "console"
"#;

/// Name, what is replaced, by what.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("an unknown type", "type = \"left\"", "type = \"outer\""),
    ("bounds", "type = \"left\"", "type = \"left\"\nwithin = { before = \"1m\", after = \"0s\" }"),
    ("a match", "type = \"left\"", "type = \"left\"\nmatch = \"last\""),
    ("neither a type nor bounds", "type = \"left\"\n", ""),
    ("bounds for results", "type = \"left\"", "within = { before = \"1m\", after = \"0s\" }\nmatch = \"last\""),
    ("an unknown key", "type = \"left\"", "type = \"left\"\nwindow = \"1m\""),
    ("no on", "on = [\"ad\"]\n", ""),
    ("events", "right = \"views\"", "right = \"seen\""),
    ("other windows", "allowed_lateness = \"20m\"", "allowed_lateness = \"20m\", offset = \"10s\""),
    ("sessions", "{ tumbling = \"1m\", allowed_lateness = \"10m\" }", "{ session = \"1m\" }"),
    ("no windows", "{ tumbling = \"1m\", allowed_lateness = \"10m\" }", "{ global = true }"),
    ("two aggregates as one side", "right = \"views\"", "right = [\"views\", \"views_again\"]"),
    ("ranks", "right = \"views\"", "right = \"top\""),
    ("a join of events", "right = \"views\"", "right = \"attributed\""),
    ("a map without the window", "right = \"views\"", "right = \"bare\""),
    ("a value", "on = [\"ad\"]", "on = { shop = \"ad\" }"),
    ("types that differ", "on = [\"ad\"]", "on = [\"ad\", \"page\"]"),
    ("a column that is not there", "on = [\"ad\"]", "on = [\"add\"]"),
    ("the window", "on = [\"ad\"]", "on = [\"ad\", \"window_end\"]"),
    ("a column of the right twice", "on = [\"ad\"]", "on = { ad = \"ad\", page = \"ad\" }"),
    ("a name that results have", "views = \"right.n\"", "window_start = \"right.n\""),
    ("no side", "views = \"right.n\"", "views = \"n\""),
    ("an output that it has not", "input = \"ctr\"", "input = \"ctr.unmatched\""),
    (
        "an aggregate by a value of it",
        "[sink.ctr]\ninput = \"ctr\"",
        "[aggregate.fives]\ninput = \"ctr\"\nkey = [\"views\"]\nwindow = { tumbling = \"5m\" }\nselect = { n = \"count(*)\" }\n\n[sink.ctr]\ninput = \"fives\"",
    ),
    (
        "ranks by a key that is not there",
        "[sink.ctr]\ninput = \"ctr\"",
        "[reduce.best]\ninput = \"ctr\"\ntop = { n = 3, by = \"clicks\" }\n\n[sink.ctr]\ninput = \"best\"",
    ),
    ("running counts", "connector = \"console\"", "connector = \"console\"\nrunning = true"),
];

/// What only some of the mistakes need.
const MORE: &str = r#"
[aggregate.views_again]
input = "seen"
key = ["ad", "page"]
window = { tumbling = "1m", allowed_lateness = "20m" }
select = { n = "count(*)" }

[reduce.top]
input = "views"
top = { n = 3, by = "n" }

[join.attributed]
left = "clicked"
right = "seen"
on = ["ad"]
within = { before = "1m", after = "0s" }
match = "last"
select = { ad = "left.ad", at = "left.at" }

[map.bare]
input = "views"
select = { ad = "ad", n = "n" }
"#;

fn compile(text: &str) -> Result<Job, Refusal> {
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    parse("ads.toml", text, &[], &options)
}

#[test]
fn the_definition_without_mistakes_compiles() {
    let job = compile(RIGHT).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(explain::ExplainFormat::Text).unwrap());
}

#[test]
fn every_mistake_is_said_where_it_is() {
    let mut out = String::new();
    for (name, from, to) in MISTAKES {
        assert!(RIGHT.contains(from), "{name}: {from}");
        let needs_more = ["views_again", "top\"", "attributed", "bare"].iter().any(|node| to.contains(node));
        let more = if needs_more { MORE } else { "" };
        let refusal = match compile(&(RIGHT.replacen(from, to, 1) + more)) {
            Err(refusal) => refusal.to_string(),
            Ok(_) => panic!("{name}: it compiles"),
        };
        let errors = refusal.split("\n\n").filter(|part| !part.contains("nothing reads from"));
        let _ = write!(out, "## {name}\n\n{}\n\n", errors.collect::<Vec<_>>().join("\n\n"));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_built_in_rust_is_what_is_written() {
    let minute = Duration::from_secs(60);
    let written = r#"
[job]
name = "ads"
[source.clicks]
connector = "files"
path = "in/clicks"
format = "click_log"
event_time = "click_timestamp"
[aggregate.ads]
input = "clicks"
key = ["ad_id"]
window = { tumbling = "1m" }
select = { n = "count(*)" }
[aggregate.users]
input = "clicks"
key = ["user_id"]
window = { tumbling = "1m", allowed_lateness = "2m" }
select = { n = "count(*)" }
[join.both]
left = "ads"
right = "users"
on = { ad_id = "user_id" }
type = "full"
[sink.out]
input = "both"
connector = "console"
"#;
    let aggregate =
        |key: &str| Aggregate::over("clicks", [key], Window::Tumbling { size: minute }).select("n", "count(*)");
    let built = JobBuilder::new("ads")
        .source("clicks", Source::of(FilesConfig::at("in/clicks")).event_time("click_timestamp"))
        .aggregate("ads", aggregate("ad_id"))
        .aggregate("users", aggregate("user_id").allowed_lateness(2 * minute))
        .window_join("both", WindowJoin::of("ads", "users", JoinType::Full).on_columns("ad_id", "user_id"))
        .sink("out", Sink::of("both", ConsoleSinkConfig::default()));
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let built = built.build(&options).unwrap_or_else(|refusal| panic!("{refusal}"));
    let parsed = compile(written).unwrap_or_else(|refusal| panic!("{refusal}"));
    let json = |job: &Job| serde_json::to_value(&job.graph).unwrap();
    assert_eq!(json(&built), json(&parsed));
    let join = built.graph.nodes.iter().find(|node| node.id == "join.both").unwrap();
    let select = join.config["select"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap());
    assert_eq!(select.collect::<Vec<_>>(), ["ad_id", "n"], "of two columns with one name that of the left");
    assert_eq!(join.config["allowed_lateness_ms"], 120_000, "as long as either side is corrected");
}
