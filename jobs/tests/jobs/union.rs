//! Several outputs that feed one input: their rows flow together, each as late as it is in its own source, and what does not fit
//! together is refused by its first difference.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::support::{execute, rows};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use weir_jobs::explain::ExplainFormat;
use weir_jobs::recalculation::Recalculation;
use weir_jobs::{
    Aggregate, CompileOptions, Dedup, Job, JobBuilder, Map, Sink, Source, Window, parse,
    sink::console::ConsoleSinkConfig, source::files::FilesConfig,
};

/// Two regions in two formats, whose columns are in another order and of which one may be null.
const REGIONS: &str = r#"
[job]
name = "regions"
checkpoint = { interval = "20ms" }

[source.eu]
connector = "files"
path = "IN/eu"
format = "json"
schema = { at = "timestamp", ad = "string", visitor = "string", cost = "int" }
event_time = "at"
watermark = { delay = "1s" }
batch_rows = 3

[source.us]
connector = "files"
path = "IN/us"
format = "csv"
schema = { visitor = "string", cost = "int", ad = "string", at = "timestamp" }
event_time = "at"
watermark = { delay = "1h" }
batch_rows = 2

[map.priced]
input = "us"
select = { ad = "coalesce(ad, 'none')", at = "at", cost = "cost + 0", visitor = "visitor" }

[dedup.unique]
input = ["eu", "priced"]
key = ["ad", "at", "visitor"]
ttl = "2h"

[aggregate.minutes]
input = "unique"
key = ["ad"]
window = { tumbling = "1m", allowed_lateness = "1m" }
select = { n = "count(*)", cost = "sum(cost)" }

[aggregate.apart]
input = ["eu", "us"]
key = ["ad"]
window = { tumbling = "1m", allowed_lateness = "30s" }
select = { n = "count(*)" }

# Both hold the same minutes: only the ids of their records tell them apart.
[aggregate.of_eu]
input = "eu"
key = ["ad"]
window = { tumbling = "1m", allowed_lateness = "30s" }
select = { n = "count(*)" }

[sink.minutes]
input = "minutes"
connector = "files"
path = "OUT/minutes"
roll = "checkpoint"

[sink.results]
input = ["apart", "of_eu"]
connector = "files"
path = "OUT/results"
roll = "checkpoint"

[sink.late]
input = ["minutes.late", "apart.late"]
connector = "files"
path = "OUT/late"
roll = "checkpoint"

[sink.rows]
input = ["eu", "priced"]
connector = "files"
path = "OUT/rows"
roll = "checkpoint"
select = ["visitor as visitor", "ad as ad", "cost as cost"]

[sink.broken]
input = ["eu.dead_letters", "us.dead_letters"]
connector = "files"
path = "OUT/broken"
roll = "checkpoint"
"#;

fn compile(text: &str, folder: &Path, parallelism: usize) -> Job {
    let text = text.replace("IN/", &format!("{}/in/", folder.display()));
    let text = text.replace("OUT/", &format!("{}/out/", folder.display()));
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    parse("regions.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn write_input(folder: &Path) {
    let at = |minute: u32, second: u32| format!("2022-03-04T00:{minute:02}:{second:02}Z");
    let eu = |minute, second, ad: &str, user: &str| {
        format!("{{\"at\":\"{}\",\"ad\":\"{ad}\",\"visitor\":\"{user}\",\"cost\":2}}\n", at(minute, second))
    };
    let mut lines: Vec<String> = (0..10).map(|minute| eu(minute, 5, "a", "u")).collect();
    // A click that was sent twice, one without a cost, one that is late in its own file, and a line that is none.
    lines.push(eu(9, 5, "a", "u"));
    lines.push(format!("{{\"at\":\"{}\",\"ad\":\"b\",\"visitor\":\"v\"}}\n", at(9, 30)));
    lines.push(eu(2, 0, "a", "late"));
    lines.push("{\n".into());
    let us = |minute, second, ad: &str| format!("w,3,{ad},{}\n", at(minute, second));
    let mut clicks = String::from("visitor,cost,ad,at\n");
    for minute in 0..10 {
        clicks += &us(minute, 20, "a");
    }
    // As far behind, and not late here: its source waits for an hour.
    clicks += &us(2, 0, "a");
    clicks += &us(3, 0, "");
    clicks += "w,many,a,2022-03-04T00:00:00Z\n";
    for (name, content) in [("eu/1.json", lines.concat()), ("us/1.csv", clicks)] {
        let path = folder.join("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Per ad, the sums of two columns over the newest revision of each record.
fn sums(batches: &[RecordBatch], columns: &[&str]) -> BTreeMap<String, Vec<i64>> {
    let mut newest: BTreeMap<Vec<u8>, (i32, String, Vec<i64>)> = BTreeMap::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
        for row in 0..batch.num_rows() {
            let id = column("record_id").as_fixed_size_binary().value(row).to_vec();
            let revision = column("revision").as_primitive::<arrow::datatypes::Int32Type>().value(row);
            let values = columns.iter().map(|name| column(name).as_primitive::<Int64Type>().value(row)).collect();
            let ad = column("ad").as_string::<i32>().value(row).to_owned();
            let known = newest.get(&id).map_or(-1, |(known, _, _)| *known);
            if revision > known {
                newest.insert(id, (revision, ad, values));
            }
        }
    }
    let mut sums: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (_, ad, values) in newest.into_values() {
        let sum = sums.entry(ad).or_insert_with(|| vec![0; columns.len()]);
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    sums
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[test]
fn rows_of_several_sources_are_counted_together_each_as_late_as_in_its_own() {
    for parallelism in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        write_input(folder.path());
        execute(compile(REGIONS, folder.path(), parallelism), &folder.path().join("checkpoints"));
        let read = |name: &str| rows(&folder.path().join("out").join(name));
        // Ten clicks of Europe, one of them sent twice, and eleven of America; one of Europe is late.
        let minutes = sums(&read("minutes"), &["n"]);
        let expected = [("a", 21), ("b", 1), ("none", 1)].map(|(ad, n)| (ad.to_owned(), vec![n]));
        assert_eq!(minutes, BTreeMap::from(expected), "parallelism {parallelism}");
        // Not deduplicated; and those of Europe once more, as results of their own.
        let results = sums(&read("results"), &["n"]);
        assert_eq!((results["a"][0], results["b"][0]), (22 + 11, 2), "parallelism {parallelism}");
        assert_eq!(count(&read("late")), 2);
        assert_eq!(count(&read("rows")), 13 + 12);
        assert_eq!(count(&read("broken")), 2);
    }
}

#[test]
fn several_outputs_become_one_stream_of_the_columns_that_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let job = compile(REGIONS, folder.path(), 1);
    let shown = job.explain(ExplainFormat::Text).unwrap();
    assert!(shown.contains("union.dedup.unique.1") && shown.contains("union.dedup.unique.2"), "{shown}");
    let columns = |job: &Job, id: &str| {
        let node = job.graph.nodes.iter().position(|node| node.id == id).unwrap_or_else(|| panic!("{id}\n{shown}"));
        job.notes[node].columns.clone()
    };
    assert_eq!(columns(&job, "union.dedup.unique.1"), ["at", "ad", "visitor", "cost"]);
    assert_eq!(columns(&job, "union.dedup.unique.2"), ["at", "ad", "visitor", "cost"]);
    // What is never null in one of them may be null in the union.
    let priced = job.graph.nodes.iter().find(|node| node.id == "union.dedup.unique.2").unwrap();
    assert_eq!(priced.config["select"][1]["expression"], "case when true then \"ad\" end");
    assert!(priced.config["input"].to_string().contains("\"nullable\":false"), "{}", priced.config["input"]);
    // Only what is late needs all columns.
    let without = REGIONS.replace("\"apart.late\"", "\"of_eu.late\"");
    let job = compile(&without, folder.path(), 1);
    assert_eq!(columns(&job, "union.aggregate.apart.1"), ["at", "ad"]);
    assert_eq!(columns(&job, "union.aggregate.apart.2"), ["at", "ad"]);
}

#[test]
fn a_union_is_built_in_rust_too() {
    let clicks = || Source::of(FilesConfig::at("no/such/folder")).event_time("click_timestamp");
    let minute = Duration::from_secs(60);
    let minutes = || Aggregate::over("both", ["ad_id"], Window::Tumbling { size: minute }).select("n", "count(*)");
    let build = |sink: Sink| {
        JobBuilder::new("both")
            .source("one", clicks())
            .source("other", clicks())
            .map("both", Map::over(["one", "other"]).keep_where("ad_id <> ''"))
            .dedup("unique", Dedup::over(vec!["one", "other"], ["ad_id"], minute))
            .aggregate("minutes", minutes())
            .aggregate("same_minutes", minutes())
            .sink("unique", Sink::of("unique", ConsoleSinkConfig::default()))
            .sink("minutes", sink)
            .build(&CompileOptions::default())
    };
    build(Sink::of(["minutes", "same_minutes"], ConsoleSinkConfig::default())).unwrap();
    let refusal = build(Sink::of(Vec::<String>::new(), ConsoleSinkConfig::default())).unwrap_err().to_string();
    assert!(refusal.contains("sink.minutes.input: it names no node"), "{refusal}");
}

/// What is replaced, by what, and what is told then.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    (
        "input = [\"eu\", \"us\"]",
        "input = [\"eu\", \"uss\"]",
        &["aggregate.apart.input[1]: there is no node `uss`", "did you mean `us`?"],
    ),
    ("input = [\"eu\", \"us\"]", "input = []", &["aggregate.apart.input: it names no node"]),
    ("input = [\"eu\", \"us\"]", "input = [\"eu\", \"us\", \"eu\"]", &["input[2]: `eu` is named twice"]),
    ("input = [\"eu\", \"us\"]", "input = [\"eu\", 3]", &["aggregate.apart.input: `input` is not a list of texts"]),
    (
        "input = [\"eu\", \"us\"]",
        "input = [\"eu\", \"of_eu\"]",
        &["input[1]: `eu` has events, and `of_eu` results", "expected: only events, or only results"],
    ),
    (
        "schema = { at = \"timestamp\", ad = \"string\", visitor = \"string\", cost = \"int\" }",
        "schema = { at = \"timestamp\", ad = \"string\", visitor = \"string\", cost = \"float\" }",
        &["aggregate.apart.input[1]: `cost` is a float in `eu`, and an int in `us`"],
    ),
    (
        "schema = { visitor = \"string\", cost = \"int\", ad = \"string\", at = \"timestamp\" }",
        "schema = { visitor = \"string\", cost = \"int\", ad = \"string\", at = \"timestamp\", more = \"int\" }",
        &["aggregate.apart.input[1]: `us` has a column `more`, and `eu` has none"],
    ),
    (
        "event_time = \"at\"\nwatermark = { delay = \"1h\" }",
        "",
        &["aggregate.apart.input[1]: `eu` has its event time in `at`, and `us` has no event time"],
    ),
    (
        "input = [\"apart\", \"of_eu\"]",
        "running = true\ninput = [\"apart\", \"of_eu\"]",
        &["only an aggregate has running counts, and `apart, of_eu` is none"],
    ),
    (
        "input = \"eu\"\nkey = [\"ad\"]\nwindow = { tumbling = \"1m\"",
        "input = \"eu\"\nkey = [\"ad\"]\nwindow = { tumbling = \"2m\"",
        &["sink.results.input[1]: the windows of `apart` and `of_eu` are not the same"],
    ),
    (
        "[sink.results]",
        "[reduce.top]\ninput = [\"apart\", \"of_eu\"]\ntop = { n = 3, by = \"n\" }\n\n[sink.results]",
        &["reduce.top.input: a reduce ranks the groups of an aggregate", "found: a union"],
    ),
];

#[test]
fn what_does_not_fit_together_is_told_by_its_first_difference() {
    for (right, wrong, told) in MISTAKES {
        assert_eq!(REGIONS.matches(right).count(), 1, "{right:?} is not there exactly once");
        let text = REGIONS.replace(right, wrong);
        let refusal = match parse("regions.toml", &text, &[], &CompileOptions::default()) {
            Ok(_) => panic!("nobody noticed {wrong:?}"),
            Err(refusal) => refusal.to_string(),
        };
        for told in *told {
            assert!(refusal.contains(told), "{wrong:?}: {told:?} is not in\n{refusal}");
        }
    }
}

/// Two records of one key and window are two rows in a table only if their ids are in its key.
#[test]
fn a_table_of_several_results_has_to_tell_them_apart() {
    let table =
        "[sink.stored]\ninput = [\"apart\", \"of_eu\"]\nconnector = \"sql\"\nurl = \"sqlite:x\"\ntable = \"counts\"\n";
    let warnings = |key: &str| {
        let text = format!("{REGIONS}\n{table}{key}\n");
        let job = parse("regions.toml", &text, &[], &CompileOptions::default());
        let job = job.unwrap_or_else(|refusal| panic!("{refusal}"));
        job.warnings.iter().map(ToString::to_string).collect::<String>()
    };
    assert_eq!(warnings(""), "");
    let told = warnings("key = [\"window_start\", \"ad\"]");
    assert!(told.contains("sink.stored.key: the key leaves `record_id` out"), "{told}");
}

/// A table of several results has no rows that a replay could tell from others; and one archive holds the rows of one gate.
#[test]
fn what_a_replay_can_not_tell_apart_it_leaves_alone() {
    let folder = tempfile::tempdir().unwrap();
    let table = |name: &str, input: &str, key: &str| {
        format!("[sink.{name}]\ninput = {input}\nconnector = \"sql\"\nurl = \"sqlite:x\"\ntable = \"{name}\"\n{key}\n")
    };
    let load = |tables: &str| {
        let file = folder.path().join("job.toml");
        std::fs::write(&file, format!("{REGIONS}\n{tables}")).unwrap();
        Recalculation::load(&file, &[], &CompileOptions::default())
    };
    let keyed = "key = [\"window_start\", \"ad\"]";
    let both = load(&[table("of_both", "[\"apart\", \"of_eu\"]", ""), table("counts", "\"apart\"", keyed)].concat());
    let both = both.unwrap_or_else(|refusal| panic!("{refusal}"));
    let names: Vec<&str> = both.tables().iter().map(|table| table.table.as_str()).collect();
    assert_eq!(names, ["counts"]);
    assert!(both.tables()[0].counted.is_some(), "the archive holds the rows of both sources");
    let told = both.left_out()[0].to_string();
    assert!(told.contains("'of_both'") && told.contains("results of several nodes"), "{told}");
    let gates = "[dedup.again]\ninput = \"us\"\nkey = [\"ad\"]\nttl = \"2h\"\n\n[aggregate.of_gates]\ninput = [\"of_us\", \"eu\"]\n\
                 key = [\"ad\"]\nwindow = { tumbling = \"1m\", allowed_lateness = \"1m\" }\nselect = { n = \"count(*)\" }\n\n\
                 [map.of_us]\ninput = \"again\"\nwhere = \"ad <> ''\"\n\n";
    let refusal = load(&format!("{gates}{}", table("gated", "\"of_gates\"", keyed))).unwrap_err().to_string();
    assert!(refusal.contains("aggregate.of_gates: it counts what several gates let through"), "{refusal}");
}

/// Each way has a gate of its own where each has a dedup of its own; what is late is of all of them.
#[test]
fn ways_with_a_dedup_each_have_a_gate_each() {
    let text = r#"
[job]
name = "gates"
[source.one]
connector = "files"
path = "one"
format = "click_log"
event_time = "click_timestamp"
[source.other]
connector = "files"
path = "other"
format = "click_log"
event_time = "click_timestamp"
[dedup.of_one]
input = "one"
key = ["ad_id", "click_timestamp"]
ttl = "1h"
[dedup.of_other]
input = "other"
key = ["user_id", "click_timestamp"]
ttl = "1h"
[aggregate.minutes]
input = ["of_one", "of_other"]
key = ["ad_id"]
window = { tumbling = "1m" }
select = { n = "count(*)" }
[sink.minutes]
input = "minutes"
connector = "console"
[sink.late]
input = "minutes.late"
connector = "files"
path = "out/late"
"#;
    let job = parse("gates.toml", text, &[], &CompileOptions::default()).unwrap_or_else(|refusal| panic!("{refusal}"));
    let named = |beginning: &str| {
        let ids = job.graph.nodes.iter().map(|node| node.id.clone());
        ids.filter(|id| id.starts_with(beginning)).collect::<Vec<_>>()
    };
    assert_eq!(named("late_gate."), ["late_gate.of_one", "late_gate.of_other"]);
    assert_eq!(named("union.sink.late."), ["union.sink.late.1", "union.sink.late.2"]);
}
