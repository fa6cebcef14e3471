//! What definitions become: where gates stand, which columns flow, which operators are made.

use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_engine::graph::{Edge, Node, Partitioner};
use weir_jobs::{
    Aggregate, Checkpoint, CompileOptions, Dedup, Format, Job, JobBuilder, Map, Reduce, Sink, Source, Window,
    sink::console::ConsoleSinkConfig,
    sink::files::{FilesSinkSettings, Roll},
    source::files::FilesConfig,
    source::generator::{ClickStreamConfig, GeneratorConfig},
};
use weir_operators::ports;
use weir_operators::source::column_type::{ColumnType, DeclaredSchema};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A sink that prints.
fn console(input: &str) -> Sink {
    Sink::of(input, ConsoleSinkConfig::default())
}

/// Files in a folder.
fn files(path: &str) -> FilesSinkSettings {
    FilesSinkSettings::at(path)
}

fn clicks() -> Source {
    clicks_in(FilesConfig::at("in"))
}

fn clicks_in(files: FilesConfig) -> Source {
    Source::of(files).event_time("click_timestamp").watermark_delay(Duration::from_secs(15))
}

fn per_minute(input: &str) -> Aggregate {
    Aggregate::over(input, ["ad_id"], Window::Tumbling { size: MINUTE })
        .allowed_lateness(10 * MINUTE)
        .select("count", "count(*)")
}

fn build(builder: JobBuilder) -> Job {
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    builder.build(&options).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn node<'a>(job: &'a Job, id: &str) -> &'a Node {
    let ids: Vec<&str> = job.graph.nodes.iter().map(|node| node.id.as_str()).collect();
    job.graph.nodes.iter().find(|node| node.id == id).unwrap_or_else(|| panic!("no {id} among {ids:?}"))
}

fn edge_into<'a>(job: &'a Job, id: &str) -> &'a Edge {
    let to = job.graph.nodes.iter().position(|node| node.id == id).expect("the node is there");
    job.graph.edges.iter().find(|edge| edge.to == to).expect("it has an input")
}

/// The producer of a node's input, with the port if it is not the main one.
fn input_of(job: &Job, id: &str) -> String {
    let edge = edge_into(job, id);
    let from = &job.graph.nodes[edge.from].id;
    if edge.port == Port::MAIN { from.clone() } else { format!("{from}.{}", edge.port.name()) }
}

fn names(columns: &Value) -> Vec<&str> {
    columns.as_array().expect("columns").iter().map(|column| column["name"].as_str().expect("a name")).collect()
}

fn gates(job: &Job) -> Vec<&str> {
    job.graph.nodes.iter().filter(|node| node.kind == "late_gate").map(|node| node.id.as_str()).collect()
}

/// Only where time can go on without a file is there a second gate, and both feed the late output.
#[test]
fn a_followed_source_has_a_gate_behind_the_exchange_too() {
    let job = |source: Source| {
        build(
            JobBuilder::new("job")
                .source("clicks", source)
                .dedup("unique", Dedup::over("clicks", ["user_id"], HOUR))
                .aggregate("counts", per_minute("unique"))
                .sink("out", console("counts"))
                .sink("late", console("counts.late")),
        )
    };
    assert_eq!(gates(&job(clicks())), ["late_gate.unique"]);
    let job = job(clicks_in(FilesConfig::at("in").follow(true)));
    assert_eq!(node(&job, "late_gate.unique.merged").kind, "merged_late_gate");
    let edge = edge_into(&job, "late_gate.unique.merged");
    assert_eq!((&edge.partitioner, &edge.columns), (&Partitioner::Hash { key: vec!["user_id".into()] }, &None));
    assert_eq!(edge_into(&job, "dedup.unique").partitioner, Partitioner::Forward);
    let late = job.graph.nodes.iter().position(|node| node.id == "sink.late").expect("the sink");
    let from = |edge: &Edge| (job.graph.nodes[edge.from].id.clone(), edge.port);
    let inputs: Vec<_> = job.graph.edges.iter().filter(|edge| edge.to == late).map(from).collect();
    assert_eq!(inputs, [("late_gate.unique".into(), ports::LATE), ("late_gate.unique.merged".into(), ports::LATE)]);
}

#[test]
fn a_source_reads_what_is_needed_and_no_more() {
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .aggregate("counts", per_minute("clicks"))
            .sink("out", console("counts")),
    );
    assert_eq!(names(&node(&job, "source.clicks").config["columns"]), ["ad_id", "click_timestamp"]);
}

#[test]
fn an_exchange_carries_what_is_needed_and_a_dedup_copies_what_is_needed() {
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .map("valid", Map::over("clicks").keep_where("country <> ''"))
            .dedup("unique", Dedup::over("valid", ["user_id", "ip"], HOUR))
            .aggregate("counts", per_minute("unique"))
            .sink("out", console("counts")),
    );
    let read = ["ad_id", "click_timestamp", "user_id", "ip", "country"];
    assert_eq!(names(&node(&job, "source.clicks").config["columns"]), read);
    // Nobody needs the country behind the condition.
    let select = &node(&job, "map.valid").config["select"];
    assert_eq!(names(select), ["ad_id", "click_timestamp", "user_id", "ip"]);
    let edge = edge_into(&job, "dedup.unique");
    assert_eq!(edge.partitioner, Partitioner::Hash { key: vec!["user_id".into(), "ip".into()] });
    assert_eq!(edge.columns, None, "all four that come are needed");
    assert_eq!(node(&job, "dedup.unique").config["output"], json!(["ad_id", "click_timestamp"]));
    assert_eq!(node(&job, "dedup.unique").config["same_event_time"], false);
}

#[test]
fn a_sink_of_all_columns_makes_its_producers_keep_them() {
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .aggregate("counts", per_minute("clicks"))
            .sink("out", console("counts"))
            .sink("late", console("counts.late")),
    );
    assert_eq!(names(&node(&job, "source.clicks").config["columns"]).len(), 6);
    assert_eq!(input_of(&job, "sink.late"), "late_gate.counts.late");
}

#[test]
fn unread_columns_of_a_map_are_not_computed() {
    let map = Map::over("clicks")
        .select("ad", "ad_id")
        .select("at", "click_timestamp")
        .select("never", "upper(user_id)")
        .select("shout", "upper(country)");
    let aggregate =
        Aggregate::over("renamed", ["ad"], Window::Session { gap: MINUTE }).select("longest", "max(length(shout))");
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .map("renamed", map)
            .aggregate("sessions", aggregate)
            .sink("out", console("sessions")),
    );
    assert_eq!(names(&node(&job, "map.renamed").config["select"]), ["ad", "at", "shout"]);
    assert_eq!(names(&node(&job, "source.clicks").config["columns"]), ["ad_id", "click_timestamp", "country"]);
    // The event time goes by another name behind the map, and the argument is a column.
    let config = &node(&job, "aggregate.sessions").config;
    assert_eq!(config["time_column"], "at");
    assert_eq!(config["window"], json!({ "session": { "gap_ms": 60_000 } }));
    let argument = config["aggregates"][0]["argument"].as_str().unwrap();
    assert!(names(&node(&job, "map.sessions.arguments").config["select"]).contains(&argument));
}

#[test]
fn one_gate_stands_above_the_first_dedup_for_all_aggregates_behind_it() {
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .dedup("first", Dedup::over("clicks", ["user_id"], HOUR))
            .map("between", Map::over("first").keep_where("ad_id <> ''"))
            .dedup("second", Dedup::over("between", ["ip"], HOUR))
            .aggregate("a", per_minute("second"))
            .aggregate("b", per_minute("first"))
            .sink("out_a", console("a"))
            .sink("out_b", console("b"))
            .sink("late_a", console("a.late"))
            .sink("late_b", console("b.late"))
            .sink("late_dedup", console("second.late")),
    );
    assert_eq!(gates(&job), ["late_gate.first"]);
    for sink in ["sink.late_a", "sink.late_b", "sink.late_dedup"] {
        assert_eq!(input_of(&job, sink), "late_gate.first.late");
    }
    let rule = &node(&job, "late_gate.first").config["rule"];
    assert_eq!(rule["window"]["allowed_lateness_ms"], 600_000);
}

#[test]
fn without_a_dedup_every_aggregate_has_a_gate_of_its_own() {
    let hourly = Aggregate::over("clicks", ["ad_id"], Window::Tumbling { size: HOUR }).select("n", "count(*)");
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .aggregate("minutes", per_minute("clicks"))
            .aggregate("hours", hourly)
            .sink("a", console("minutes"))
            .sink("b", console("hours")),
    );
    assert_eq!(gates(&job), ["late_gate.minutes", "late_gate.hours"]);
}

#[test]
fn a_dedup_without_aggregates_is_guarded_by_what_it_remembers() {
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .dedup("long", Dedup::over("clicks", ["user_id"], 2 * HOUR))
            .dedup("short", Dedup::over("long", ["ip"], HOUR))
            .sink("out", console("short"))
            .sink("late", console("long.late")),
    );
    assert_eq!(gates(&job), ["late_gate.long"]);
    assert_eq!(node(&job, "late_gate.long").config["rule"], json!({ "ttl": { "ttl_ms": 3_600_000 } }));
    assert_eq!(input_of(&job, "sink.late"), "late_gate.long.late");
}

#[test]
fn filters_stand_before_every_aggregate_that_asks_for_them() {
    let filtered = Aggregate::over("clicks", ["filter_id"], Window::Tumbling { size: MINUTE }).select("n", "count(*)");
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .filter("0000", "true")
            .filter("0012", "country = 'USA'")
            .aggregate("with", filtered)
            .aggregate("without", per_minute("clicks"))
            .reduce("top", Reduce::top("without", 3, "count"))
            .sink("a", console("with"))
            .sink("b", console("top")),
    );
    let filters: Vec<&Node> = job.graph.nodes.iter().filter(|node| node.kind == "filters").collect();
    assert_eq!(filters.len(), 1);
    assert_eq!(filters[0].config["output"], json!(["click_timestamp"]), "the country is for the condition only");
    assert_eq!(input_of(&job, "aggregate.with.local"), "filters.with");
    assert_eq!(input_of(&job, "aggregate.without.local"), "late_gate.without");
}

#[test]
fn sinks_of_the_same_node_share_it_and_hourly_ones_know_their_column() {
    let raw = Sink::of("clicks", files("out/raw").partition_by_hour(None));
    let counts = Sink::of("counts", files("out/counts").partition_by_hour(None)).select([
        "ad_id",
        "window_start as minute",
        "count",
    ]);
    let job = build(
        JobBuilder::new("job")
            .source("clicks", clicks())
            .aggregate("counts", per_minute("clicks"))
            .sink("raw", raw)
            .sink("counts", counts)
            .sink("shown", console("counts")),
    );
    assert_eq!(node(&job, "sink.raw").config["partition_column"], "click_timestamp");
    assert_eq!(node(&job, "sink.counts").config["partition_column"], "minute");
    assert_eq!(input_of(&job, "sink.shown"), "aggregate.counts");
    assert_eq!(input_of(&job, "sink.counts"), "sink.counts.hold");
    assert_eq!(input_of(&job, "sink.counts.hold"), "sink.counts.select");
}

/// Rows are held in the sink's own chain, with the columns that it writes; not where the next barrier comes soon enough.
#[test]
fn files_that_are_begun_less_often_than_checkpoints_have_their_rows_held() {
    let rolled = |every_ms: u64| {
        let roll = Roll::Every { every: Duration::from_millis(every_ms), bytes: None };
        let raw = Sink::of("clicks", files("out/raw").roll(roll)).select(["ad_id", "click_timestamp as at"]);
        let checkpoint = Checkpoint { interval: Duration::from_millis(400), ..Checkpoint::default() };
        let job = JobBuilder::new("job").checkpoint(checkpoint).source("clicks", clicks());
        job.sink("raw", raw)
    };
    let job = build(rolled(1_000));
    let hold = node(&job, "sink.raw.hold");
    assert_eq!((hold.kind.as_str(), hold.parallelism), ("hold", 2));
    assert_eq!(names(&hold.config["columns"]), ["ad_id", "at"]);
    assert_eq!((&hold.config["time_ms"], &hold.config["barriers"]), (&json!(1_000), &json!(3)));
    assert_eq!(hold.config["bytes"], 8 << 20);
    assert_eq!(input_of(&job, "sink.raw"), "sink.raw.hold");
    assert_eq!(input_of(&job, "sink.raw.hold"), "sink.raw.select");
    assert!(["sink.raw", "sink.raw.hold"].iter().all(|id| edge_into(&job, id).partitioner == Partitioner::Forward));
    let job = build(rolled(400));
    assert_eq!(input_of(&job, "sink.raw"), "sink.raw.select");

    let every_minute = files("out/raw").roll(Roll::Every { every: MINUTE, bytes: None });
    let odd = Sink::of("clicks", every_minute).select(["ad_id", "arrow_cast(ad_id, 'LargeBinary') as price"]);
    let job = JobBuilder::new("job").source("clicks", clicks()).sink("raw", odd);
    let told = job.build(&CompileOptions::default()).unwrap_err().to_string();
    assert!(told.contains("sink.raw.roll") && told.contains("price"), "{told}");
}

/// Where a definition does not say when files are begun, it is as seldom as suits their rows.
#[test]
fn rows_are_held_for_as_long_as_nobody_waits_for_them() {
    let shown = Map::over("counts").select("ad", "ad_id").select("n", "count + 1");
    let odd = ["ad_id", "arrow_cast(ad_id, 'LargeBinary') as price"];
    let sinks = [
        ("counts", Sink::of("counts", files("out/counts")), Some(60_000)),
        ("shown", Sink::of("shown", files("out/shown")), Some(60_000)),
        ("top", Sink::of("top", files("out/top")), Some(60_000)),
        ("live", Sink::of("counts", files("out/live")).running(true), None),
        ("eager", Sink::of("counts", files("out/eager").roll(Roll::Checkpoint)), None),
        ("late", Sink::of("counts.late", files("out/late")), Some(600_000)),
        ("broken", Sink::of("clicks.dead_letters", files("out/broken")), Some(600_000)),
        ("raw", Sink::of("counts.on_time", files("out/raw").partition_by_hour(None)), Some(600_000)),
        ("all", Sink::of("clicks", files("out/all")), Some(60_000)),
        ("odd", Sink::of("clicks", files("out/odd")).select(odd), None),
        ("lines", console("counts"), None),
    ];
    let mut job = JobBuilder::new("job")
        .source("clicks", clicks())
        .aggregate("counts", per_minute("clicks").emit_every(Duration::from_secs(1)))
        .map("shown", shown)
        .reduce("top", Reduce::top("counts", 3, "count"));
    for (name, sink, _) in &sinks {
        job = job.sink(*name, sink.clone());
    }
    let job = build(job);
    for (name, _, expected) in sinks {
        let hold = job.graph.nodes.iter().find(|node| node.id == format!("sink.{name}.hold"));
        assert_eq!(hold.and_then(|hold| hold.config["time_ms"].as_i64()), expected, "{name}");
    }
}

#[test]
fn declared_columns_and_generated_ones() {
    let schema =
        DeclaredSchema::new([("at", ColumnType::Timestamp), ("who", ColumnType::String), ("n", ColumnType::Integer)]);
    let csv = FilesConfig::at("in").format(Format::Csv { schema, delimiter: ';' }).follow(true);
    let csv = Source::of(csv).event_time("at");
    let stream = ClickStreamConfig { seed: 7, ..ClickStreamConfig::default() };
    let job = build(
        JobBuilder::new("job")
            .source("csv", csv)
            .source("made", Source::of(GeneratorConfig { stream, clicks_per_second: Some(1_000) }))
            .sink("a", console("csv"))
            .sink("b", console("made")),
    );
    let config = &node(&job, "source.csv").config;
    assert_eq!((config["delimiter"].as_str(), config["follow"].as_bool()), (Some(";"), Some(true)));
    assert_eq!(names(&config["columns"]), ["at", "who", "n"]);
    let config = &node(&job, "source.made").config;
    assert_eq!((config["stream"]["seed"].as_u64(), config["clicks_per_second"].as_u64()), (Some(7), Some(1_000)));
}

#[test]
fn parallelism_of_the_command_line_goes_before_that_of_the_definition() {
    let builder = || JobBuilder::new("job").source("clicks", clicks()).sink("out", console("clicks"));
    let of = |builder: JobBuilder, options: CompileOptions| builder.build(&options).unwrap().graph.nodes[0].parallelism;
    let standard = CompileOptions { default_parallelism: Some(4), ..CompileOptions::default() };
    assert_eq!(of(builder(), standard.clone()), 4);
    assert_eq!(of(builder().parallelism(3), standard.clone()), 3);
    assert_eq!(of(builder().parallelism(3), CompileOptions { parallelism: Some(5), ..standard }), 5);
    assert_eq!(of(builder(), CompileOptions::default()), 1);
    // A machine with more processors than key groups.
    let many = CompileOptions { default_parallelism: Some(64), ..CompileOptions::default() };
    assert_eq!(of(builder().max_parallelism(8), many), 8);
}

#[test]
fn mistakes_of_a_built_job_name_the_key() {
    let job = JobBuilder::new("job").source("clicks", clicks()).map("valid", Map::over("click").keep_where("true"));
    let refusal = job.build(&CompileOptions::default()).unwrap_err();
    let told = refusal.to_string();
    assert!(told.starts_with("error: map.valid.input: there is no node `click`"), "{told}");
    assert!(told.contains("did you mean `clicks`?"), "{told}");
    let twice = JobBuilder::new("job").source("a", clicks()).sink("x", console("a")).sink("x", console("a"));
    assert!(
        twice.build(&CompileOptions::default()).unwrap_err().to_string().contains("the name `x` is taken by `sink.x`")
    );
}
