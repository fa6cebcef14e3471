//! What a user is told about every kind of mistake: each is made in a definition that is right otherwise.

use std::fmt::Write as _;

use weir_jobs::{CompileOptions, Refusal, parse};

/// A definition without mistakes.
const RIGHT: &str = r#"[job]
name = "clicks"

[source.clicks]
connector = "files"
path = "in"
format = "click_log"
event_time = "click_timestamp"
watermark = { delay = "15s" }

[map.valid]
input = "clicks"
where = "ad_id <> ''"

[dedup.unique]
input = "valid"
key = ["ad_id", "user_id", "click_timestamp"]
ttl = "1h"

[filters]
all = "true"

[aggregate.per_minute]
input = "unique"
key = ["ad_id", "filter_id"]
window = { tumbling = "1m", allowed_lateness = "10m" }
select = { count = "count(*)", users = "approx_distinct(user_id)" }

[reduce.top]
input = "per_minute"
window = { hopping = "5m", slide = "1m" }
top = { n = 3, by = "count", per = ["filter_id"] }

[sink.counts]
input = "per_minute"
connector = "files"
path = "out/counts"

[sink.top]
input = "top"
connector = "console"
"#;

/// Name, what is replaced, by what.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("not TOML", "connector = \"console\"", "connector = console\""),
    ("a key twice", "ttl = \"1h\"", "ttl = \"1h\"\nttl = \"2h\""),
    ("no section [job]", "[job]\nname = \"clicks\"\n", ""),
    ("no name", "name = \"clicks\"", ""),
    ("a name that can't be a path", "name = \"clicks\"", "name = \"../clicks\""),
    ("an unknown key", "ttl = \"1h\"", "ttl = \"1h\"\nsame_eventtime = true"),
    ("an unknown section", "[filters]", "[filter]"),
    ("a missing input", "input = \"unique\"\n", ""),
    ("a misspelt node", "input = \"unique\"", "input = \"uniqe\""),
    ("a node that reads from itself", "input = \"valid\"", "input = \"unique\""),
    ("a circle", "input = \"clicks\"", "input = \"unique\""),
    ("an input that is a sink", "input = \"top\"", "input = \"counts\""),
    ("an unknown output", "input = \"top\"", "input = \"per_minute.lte\""),
    ("dead letters of a sink that computes nothing", "input = \"top\"", "input = \"sink.counts.dead_letters\""),
    ("an argument that reads the filter", "\"approx_distinct(user_id)\"", "\"count(nullif(filter_id, user_id))\""),
    ("an output of a node without it", "input = \"top\"", "input = \"valid.late\""),
    ("a misspelt connector", "connector = \"console\"", "connector = \"consol\""),
    ("a missing connector", "connector = \"console\"", ""),
    ("a misspelt format", "format = \"click_log\"", "format = \"clicklog\""),
    ("csv without a schema", "format = \"click_log\"", "format = \"csv\""),
    (
        "an unknown column type",
        "format = \"click_log\"",
        "format = \"csv\"\nschema = { click_timestamp = \"timestmp\", ad_id = \"string\", user_id = \"string\" }",
    ),
    ("a schema for a click log", "format = \"click_log\"", "format = \"click_log\"\nschema = { a = \"int\" }"),
    ("a delimiter where there is none", "format = \"click_log\"", "format = \"click_log\"\ndelimiter = \";\""),
    ("Parquet that is not there", "format = \"click_log\"", "format = \"parquet\""),
    (
        "lines in folders by hour",
        "watermark = { delay = \"15s\" }",
        "watermark = { delay = \"15s\", by_partition = true }",
    ),
    (
        "a range of what is no archive",
        "format = \"click_log\"",
        "format = \"click_log\"\nrange = { from = 1646352000 }",
    ),
    (
        "a range that ends before it begins",
        "format = \"click_log\"",
        "format = \"click_log\"\nrange = { from = \"2022-03-04T01:00:00Z\", to = 2022-03-04T00:00:00Z }",
    ),
    ("a range that begins at no time", "format = \"click_log\"", "format = \"click_log\"\nrange = { from = \"noon\" }"),
    ("an event time that is no column", "event_time = \"click_timestamp\"", "event_time = \"click_time\""),
    ("an event time that is no timestamp", "event_time = \"click_timestamp\"", "event_time = \"user_id\""),
    ("no event time", "event_time = \"click_timestamp\"\n", ""),
    ("a duration without a unit", "delay = \"15s\"", "delay = \"15\""),
    ("a duration that is a number", "delay = \"15s\"", "delay = 15"),
    ("a text that is a number", "path = \"in\"", "path = 7"),
    ("a table that is a text", "watermark = { delay = \"15s\" }", "watermark = \"15s\""),
    ("a condition with a syntax error", "where = \"ad_id <> ''\"", "where = \"ad_id <> '' and\""),
    ("a condition with an open quote", "where = \"ad_id <> ''\"", "where = \"ad_id <> '\""),
    ("a condition with a misspelt column", "where = \"ad_id <> ''\"", "where = \"ad_id <> '' and contry = 'USA'\""),
    ("a condition with a misspelt function", "where = \"ad_id <> ''\"", "where = \"lowr(ad_id) <> ''\""),
    ("a condition that is no condition", "where = \"ad_id <> ''\"", "where = \"ad_id\""),
    ("a condition of types that don't fit", "where = \"ad_id <> ''\"", "where = \"click_timestamp + ad_id > 1\""),
    ("a condition with an aggregate", "where = \"ad_id <> ''\"", "where = \"count(*) > 1\""),
    ("a condition with a subquery", "where = \"ad_id <> ''\"", "where = \"ad_id in (select 1)\""),
    (
        "a requirement with a misspelt column",
        "where = \"ad_id <> ''\"",
        "require = { \"it has no country\" = \"contry is not null\" }",
    ),
    ("a requirement without a reason", "where = \"ad_id <> ''\"", "require = { \"\" = \"ad_id <> ''\" }"),
    ("a requirement that is no text", "where = \"ad_id <> ''\"", "require = { \"no ad\" = true }"),
    ("a condition that reads a clock", "where = \"ad_id <> ''\"", "where = \"click_timestamp < now()\""),
    ("a map that does nothing", "where = \"ad_id <> ''\"", ""),
    (
        "a map that loses the event time",
        "where = \"ad_id <> ''\"",
        "select = { ad_id = \"ad_id\", user_id = \"user_id\" }",
    ),
    ("a key column that is not there", "\"user_id\", \"click_timestamp\"]", "\"user\", \"click_timestamp\"]"),
    ("a key column twice", "\"user_id\", \"click_timestamp\"]", "\"user_id\", \"user_id\"]"),
    ("an empty key", "key = [\"ad_id\", \"user_id\", \"click_timestamp\"]", "key = []"),
    ("a key that is a text", "key = [\"ad_id\", \"user_id\", \"click_timestamp\"]", "key = \"ad_id\""),
    ("a ttl that is too short", "ttl = \"1h\"", "ttl = \"5m\""),
    ("no ttl", "ttl = \"1h\"", ""),
    ("filter_id without filters", "[filters]\nall = \"true\"\n", ""),
    ("a filter with a misspelt column", "all = \"true\"", "all = \"true\"\nusa = \"contry = 'USA'\""),
    ("filters that nobody uses", "key = [\"ad_id\", \"filter_id\"]", "key = [\"ad_id\"]"),
    ("no window", "window = { tumbling = \"1m\", allowed_lateness = \"10m\" }", ""),
    ("two kinds of windows", "tumbling = \"1m\", allowed", "tumbling = \"1m\", session = \"1m\", allowed"),
    ("a misspelt kind of window", "tumbling = \"1m\", allowed", "tumbeling = \"1m\", allowed"),
    ("a hopping window without a slide", "tumbling = \"1m\", allowed", "hopping = \"1m\", allowed"),
    ("a slide longer than the window", "tumbling = \"1m\", allowed", "hopping = \"1m\", slide = \"70s\", allowed"),
    ("a window of nothing", "tumbling = \"1m\", allowed", "tumbling = \"0s\", allowed"),
    ("an unknown aggregate", "\"count(*)\"", "\"cuont(*)\""),
    ("what is no aggregate", "\"count(*)\"", "\"ad_id\""),
    ("an aggregate with a misspelt column", "approx_distinct(user_id)", "approx_distinct(userid)"),
    ("an aggregate that is not defined for a type", "approx_distinct(user_id)", "sum(user_id)"),
    ("a distinct sum", "approx_distinct(user_id)", "sum(distinct user_id)"),
    ("a percentile that is none", "approx_distinct(user_id)", "percentile_cont(length(user_id), 95)"),
    ("an aggregate of two with one", "approx_distinct(user_id)", "max_by(user_id)"),
    ("a second argument that does not fit", "approx_distinct(user_id)", "corr(length(user_id), user_id)"),
    ("a filter that is no condition", "approx_distinct(user_id)", "count(*) filter (where user_id)"),
    ("a filter with a misspelt column", "approx_distinct(user_id)", "count(*) filter (where contry = 'USA')"),
    ("a filter that reads the filter", "approx_distinct(user_id)", "count(*) filter (where filter_id = 'all')"),
    ("a truth value that is none", "approx_distinct(user_id)", "bool_and(user_id)"),
    ("a list without an end", "approx_distinct(user_id)", "array_agg(user_id, 1000000000)"),
    ("an aggregate with the name of a key", "users = ", "ad_id = "),
    ("an aggregate with a name of ours", "users = ", "revision = "),
    ("an aggregate with a reserved name", "users = ", "key_hash = "),
    (
        "a dedup of results",
        "[reduce.top]",
        "[dedup.again]\ninput = \"per_minute\"\nkey = [\"ad_id\"]\nttl = \"1h\"\n\n[reduce.top]",
    ),
    (
        "an aggregate of results with what only events have",
        "[reduce.top]",
        "[aggregate.per_hour]\ninput = \"per_minute\"\nkey = [\"count\"]\nwindow = { session = \"1h\", allowed_lateness = \"1m\" }\nemit = { every = \"1s\" }\nselect = { n = \"sum(count)\" }\n\n[reduce.top]",
    ),
    ("a reduce of what is no aggregate", "input = \"per_minute\"\nwindow", "input = \"unique\"\nwindow"),
    ("a reduce by what is not computed", "by = \"count\"", "by = \"cuont\""),
    ("a reduce by what can't be added up", "by = \"count\"", "by = \"users\""),
    ("a reduce per what is not in the key", "per = [\"filter_id\"]", "per = [\"country\"]"),
    ("a reduce per everything", "per = [\"filter_id\"]", "per = [\"filter_id\", \"ad_id\"]"),
    ("a reduce of no ranks", "n = 3", "n = 0"),
    ("a reduce over pieces of windows", "hopping = \"5m\", slide = \"1m\"", "hopping = \"5m\", slide = \"30s\""),
    (
        "a column that a sink selects",
        "path = \"out/counts\"",
        "path = \"out/counts\"\nselect = [\"ad_id\", \"counts\"]",
    ),
    ("a selected column without a name", "path = \"out/counts\"", "path = \"out/counts\"\nselect = [\"count * 2\"]"),
    (
        "a selected name twice",
        "path = \"out/counts\"",
        "path = \"out/counts\"\nselect = [\"ad_id\", \"count as ad_id\"]",
    ),
    ("a partition that is misspelt", "path = \"out/counts\"", "path = \"out/counts\"\npartition_by = \"hours\""),
    (
        "a partition by what is no timestamp",
        "path = \"out/counts\"",
        "path = \"out/counts\"\npartition_by = \"hour\"\npartition_column = \"count\"",
    ),
    ("two sinks in one folder", "connector = \"console\"", "connector = \"files\"\npath = \"./out//counts/\""),
    ("running counts of what emits none", "path = \"out/counts\"", "path = \"out/counts\"\nrunning = true"),
    ("running counts of what is no aggregate", "connector = \"console\"", "connector = \"console\"\nrunning = true"),
    (
        "running counts of sessions",
        "window = { tumbling = \"1m\", allowed_lateness = \"10m\" }",
        "window = { session = \"1m\" }\nemit = { every = \"500ms\" }",
    ),
    ("an emit without a span", "[reduce.top]", "emit = {}\n\n[reduce.top]"),
    (
        "a sink that is not enabled, and wrong",
        "path = \"out/counts\"",
        "path = \"out/counts\"\nselect = [\"cuont\"]\nenabled = false",
    ),
    (
        "a reader of a sink that is not enabled",
        "path = \"out/counts\"",
        "path = \"out/counts\"\nselect = [\"count\"]\nenabled = false\n\n[sink.failed]\ninput = \"sink.counts.dead_letters\"\nconnector = \"files\"\npath = \"out/failed\"",
    ),
    ("a node of a taken name", "[map.valid]", "[map.clicks]"),
    ("a sink of a taken name", "[sink.top]", "[sink.counts]"),
    ("a name that can't be referred to", "[map.valid]", "[map.\"va.lid\"]"),
    ("a node that nobody reads", "input = \"valid\"", "input = \"clicks\""),
    ("no source", "[source.clicks]", "[source_.clicks]"),
    ("too much parallelism", "name = \"clicks\"", "name = \"clicks\"\nparallelism = 9\nmax_parallelism = 8"),
    ("a checkpoint interval of nothing", "name = \"clicks\"", "name = \"clicks\"\ncheckpoint = { interval = \"0s\" }"),
    (
        "aggregates that disagree on what is late",
        "[reduce.top]",
        "[aggregate.per_hour]\ninput = \"unique\"\nkey = [\"ad_id\"]\nwindow = { tumbling = \"1h\" }\nselect = { n = \"count(*)\" }\n\n[reduce.top]",
    ),
    ("a window in a hundred thousand", "tumbling = \"1m\", allowed", "hopping = \"100000d\", slide = \"1ms\", allowed"),
    ("a top list in too many windows", "hopping = \"5m\", slide = \"1m\"", "hopping = \"30d\", slide = \"1m\""),
    ("windows open without bound", "allowed_lateness = \"10m\"", "allowed_lateness = \"70d\""),
    ("windows held open by a delay", "delay = \"15s\"", "delay = \"70d\""),
    ("a ttl of a million years", "ttl = \"1h\"", "ttl = \"1000000000d\""),
    ("a lateness of a million years", "allowed_lateness = \"10m\"", "allowed_lateness = \"999999999999d\""),
    ("a duration in nanoseconds", "delay = \"15s\"", "delay = \"1ns\""),
    ("too many ranks", "n = 3", "n = 2000000000"),
    (
        "a format that is not known, and columns of another",
        "format = \"click_log\"",
        "format = \"orc\"\nschema = { a = \"int\" }",
    ),
    (
        "an event time that is computed in a map",
        "where = \"ad_id <> ''\"",
        "select = { ad_id = \"ad_id\", user_id = \"user_id\", click_timestamp = \"date_trunc('second', click_timestamp)\" }",
    ),
    (
        "an event time under another name",
        "where = \"ad_id <> ''\"",
        "select = { ad_id = \"ad_id\", user_id = \"user_id\", click_timestamp = \"country\" }",
    ),
    (
        "a column that is a word of SQL",
        "event_time = \"click_timestamp\"\nwatermark = { delay = \"15s\" }\n\n[map.valid]\ninput = \"clicks\"\nwhere = \"ad_id <> ''\"",
        "event_time = \"click_timestamp\"\n\n[map.named]\ninput = \"clicks\"\nselect = { user = \"user_id\", ad_id = \"ad_id\", user_id = \"user_id\", click_timestamp = \"click_timestamp\" }\n\n[map.valid]\ninput = \"named\"\nwhere = \"user <> ''\"",
    ),
    (
        "a column that is a keyword",
        "event_time = \"click_timestamp\"\nwatermark = { delay = \"15s\" }\n\n[map.valid]\ninput = \"clicks\"\nwhere = \"ad_id <> ''\"",
        "event_time = \"click_timestamp\"\n\n[map.named]\ninput = \"clicks\"\nselect = { interval = \"user_id\", ad_id = \"ad_id\", user_id = \"user_id\", click_timestamp = \"click_timestamp\" }\n\n[map.valid]\ninput = \"named\"\nwhere = \"interval <> ''\"",
    ),
    (
        "a column with a hyphen",
        "event_time = \"click_timestamp\"\nwatermark = { delay = \"15s\" }\n\n[map.valid]\ninput = \"clicks\"\nwhere = \"ad_id <> ''\"",
        "event_time = \"click_timestamp\"\n\n[map.named]\ninput = \"clicks\"\nselect = { event-name = \"user_id\", ad_id = \"ad_id\", user_id = \"user_id\", click_timestamp = \"click_timestamp\" }\n\n[map.valid]\ninput = \"named\"\nwhere = \"event-name <> ''\"",
    ),
    ("a value inside of another", "where = \"ad_id <> ''\"", "where = \"ad.id <> ''\""),
    ("a field of a column", "where = \"ad_id <> ''\"", "where = \"ad_id.id <> ''\""),
    ("a field in brackets", "where = \"ad_id <> ''\"", "where = \"ad_id['id'] <> ''\""),
    ("a sum of what is no number", "approx_distinct(user_id)", "sum(click_timestamp)"),
    (
        "several mistakes at once",
        "where = \"ad_id <> ''\"\n\n[dedup.unique]\ninput = \"valid\"",
        "where = \"contry <> ''\"\n\n[dedup.unique]\ninput = \"vald\"\nfoo = 1",
    ),
];

fn compile(text: &str, settings: &[&str]) -> Result<weir_jobs::Job, Refusal> {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    parse("job.toml", text, &settings, &CompileOptions::default())
}

#[test]
fn the_definition_is_right_without_them() {
    let job = compile(RIGHT, &[]).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let mut told = String::new();
    for (name, right, wrong) in MISTAKES {
        assert_eq!(RIGHT.matches(right).count(), 1, "{name}: {right:?} is not there exactly once");
        let text = RIGHT.replace(right, wrong);
        let _ = writeln!(told, "### {name}\n");
        match compile(&text, &[]) {
            Ok(job) => {
                assert!(!job.warnings.is_empty(), "{name}: nobody noticed");
                for warning in job.warnings {
                    let _ = writeln!(told, "{warning}\n");
                }
            }
            Err(refusal) => {
                let _ = writeln!(told, "{refusal}\n");
            }
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn what_names_of_files_are_made_of_is_checked() {
    let long = "n".repeat(101);
    let told = |text: &str| compile(text, &[]).unwrap_err().to_string();
    let job = told(&RIGHT.replacen("name = \"", &format!("name = \"{long}"), 1));
    assert!(job.contains("job.name: the name is too long") && job.contains("100 characters at most"), "{job}");
    let sink = told(&RIGHT.replace("[sink.counts]", &format!("[sink.{long}]")));
    assert!(sink.contains("the name is too long") && sink.contains("found: 101 characters"), "{sink}");
    let nowhere = told(&RIGHT.replace("path = \"out/counts\"", "path = \" \""));
    assert!(nowhere.contains("sink.counts.path: this names no folder"), "{nowhere}");
    let nothing = compile(RIGHT, &["source.clicks.path="]).unwrap_err().to_string();
    assert!(nothing.contains("source.clicks.path: the path is empty") && nothing.contains("a folder"), "{nothing}");
    assert!(!nothing.contains("no nodes"), "{nothing}");
    let checkpointed = |storage: &str| compile(RIGHT, &[&format!("job.checkpoint.storage={storage}")]);
    let unknown = checkpointed("ftp://host/path").unwrap_err().to_string();
    assert!(unknown.contains("job.checkpoint.storage: there is no 'ftp://'"), "{unknown}");
    assert!(unknown.contains("file://, s3:// or memory://"), "{unknown}");
    for storage in ["file:///var/weir", "s3://bucket/weir", "memory:///weir", "checkpoints", "/var/weir"] {
        assert!(checkpointed(storage).is_ok(), "{storage}");
    }
    assert!(compile(&RIGHT.replace("[sink.counts]", &format!("[sink.{}]", &long[1..])), &[]).is_ok());
}

/// The definition reads lines from `in`.
#[test]
fn a_sink_in_the_folder_of_a_source_is_refused() {
    let told = |path: &str| {
        let path = format!("sink.counts.path={path}");
        compile(RIGHT, &[&path, "sink.counts.format=json"]).err().map(|refusal| refusal.to_string())
    };
    let here = std::env::current_dir().unwrap();
    for path in ["in", "in/out", "./in//out/", &here.join("in/out").display().to_string()] {
        let told = told(path).unwrap_or_default();
        assert!(
            told.contains("sink.counts.path: the source `clicks` would read what is written there"),
            "{path}: {told}"
        );
    }
    for path in ["inner", "out/in", "in/.out", "in/_out", "s3://in/out"] {
        assert_eq!(told(path), None, "{path}");
    }
}

/// When files are begun, and when they go.
#[test]
fn the_times_of_files_are_checked() {
    let cases = [
        ("roll = \"never\"", "sink.counts.roll", "found: \"never\""),
        ("roll = \"30s\"", "sink.counts.roll", "{ every = \"1m\" }, or \"checkpoint\""),
        ("roll = {}", "sink.counts.roll", "every = \"1m\""),
        ("roll = { every = \"0s\" }", "sink.counts.roll.every", "is zero"),
        ("roll = { every = \"1m\", bytes = 0 }", "sink.counts.roll.bytes", "a whole number from 1 to"),
        ("roll = { every = \"1m\", size = 5 }", "sink.counts.roll", "size"),
        ("retention = \"10s\"", "sink.counts.retention", "a minute or more"),
        ("retention = 30", "sink.counts.retention", "a number and a unit"),
        ("retention = { days = \"30d\" }", "sink.counts.retention", "a number and a unit"),
    ];
    for (line, place, words) in cases {
        let text = RIGHT.replace("path = \"out/counts\"", &format!("path = \"out/counts\"\n{line}"));
        let told = compile(&text, &[]).unwrap_err().to_string();
        assert!(told.contains(place) && told.contains(words), "{line}: {told}");
    }
}

/// Whether or not it does something else, too.
#[test]
fn a_map_without_a_column_is_refused() {
    for select in ["select = {}", "where = \"ad_id <> ''\"\nselect = {}"] {
        let told = compile(&RIGHT.replace("where = \"ad_id <> ''\"", select), &[]).unwrap_err().to_string();
        assert!(told.contains("map.valid.select: it passes on no column"), "{told}");
        assert!(told.contains("expected: at least one column"), "{told}");
    }
}

#[test]
fn mistakes_in_overrides_name_the_override() {
    let settings = [
        "source.clicks.pth=/data",
        "dedup.unique.key=[\"event_di\"]",
        "nonsense",
        "map.valid.where=contry = 'USA'",
        "source.clicks.watermark.delay=soon",
    ];
    insta::assert_snapshot!(compile(RIGHT, &settings).unwrap_err());
}

/// What follows from a wrong override, in the file, comes behind it.
#[test]
fn a_wrong_override_is_told_first() {
    let told = compile(RIGHT, &["aggregate.per_minute.key=\"ad_id\""]).unwrap_err().to_string();
    assert!(told.starts_with("error: --set aggregate.per_minute.key="), "{told}");
    assert!(told.matches("error: ").count() > 1, "{told}");
}

#[test]
fn overrides_change_and_add_keys() {
    let settings = [
        "source.clicks.path=/data/a=b",
        "dedup.unique.key=[\"event_id\"]",
        "job.parallelism=3",
        "filters.usa=country = 'USA'",
        "sink.raw={ input = \"valid\", connector = \"files\", path = \"out/raw\", partition_by = \"hour\" }",
    ];
    let job = compile(RIGHT, &settings).unwrap_or_else(|refusal| panic!("{refusal}"));
    let node = |id: &str| job.graph.nodes.iter().find(|node| node.id == id).unwrap();
    assert_eq!(node("source.clicks").config["path"], "/data/a=b");
    assert_eq!(node("dedup.unique").config["key"], serde_json::json!(["event_id"]));
    assert_eq!(node("dedup.unique").config["same_event_time"], false);
    assert_eq!(node("filters.per_minute").config["filters"][1]["id"], "usa");
    assert_eq!(node("sink.raw").config["partition_column"], "click_timestamp");
    assert!(job.graph.nodes.iter().all(|node| node.parallelism == 3 || node.kind == "window_count"));
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let error = weir_jobs::load("no/such/job.toml".as_ref(), &[], &CompileOptions::default()).unwrap_err();
    assert!(error.to_string().contains("no/such/job.toml"), "{error}");
}
