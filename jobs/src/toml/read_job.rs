//! The definition's tree → the builder. Knows the sections and their keys; what the values mean is checked when the
//! builder compiles.

use std::time::Duration;

use serde_json::Map as JsonMap;
use weir_operators::dedup::NullKey;
use weir_operators::source::JumpAfter;
use weir_operators::source::column_type::DeclaredSchema;
use weir_operators::source::files::{Copies, EventTimeRange};
use weir_operators::source::generator::ClickStreamConfig;

use super::read_schema::read_schema;
use super::read_sql_sink::read_sql_sink;
use crate::builder::JobBuilder;
use crate::spec::{
    Aggregate, Checkpoint, Compression, Dedup, EventTime, FilesSink, FilesSource, Format, LONGEST_NAME, Map, NodeBody,
    Reduce, Roll, Sink, SinkConnector, Source, SourceConnector, Window,
};
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;
use weir_operators::definition::duration::millis;
use weir_operators::definition::{Kind, Value};
use weir_operators::definition::{Mistakes, Reader};

/// Reads all sections. The builder holds whatever could be read; it is to be built only if there are no mistakes.
pub(crate) fn read_job(tree: &Value) -> (JobBuilder, Vec<Mistake>) {
    let mistakes = Mistakes::default();
    let root = Reader::new(tree, KeyPath::default(), &mistakes);
    let mut builder = read_job_section(&root);
    for (kind, read) in SECTIONS {
        let Some(section) = root.table(kind) else { continue };
        for (name, node) in section.children() {
            check_name(name, &node, &mistakes);
            builder = builder.node(name, read(node));
        }
    }
    if let Some(filters) = root.table("filters") {
        for id in filters.keys() {
            if let Some(condition) = filters.text(id) {
                builder = builder.filter(id, condition);
            }
        }
    }
    root.finish();
    (builder, mistakes.into_vec())
}

type ReadNode = fn(Reader<'_>) -> NodeBody;

/// The sections with nodes in them.
const SECTIONS: [(&str, ReadNode); 6] = [
    ("source", |node| NodeBody::Source(read_source(node))),
    ("map", |node| NodeBody::Map(read_map(node))),
    ("dedup", |node| NodeBody::Dedup(read_dedup(node))),
    ("aggregate", |node| NodeBody::Aggregate(read_aggregate(node))),
    ("reduce", |node| NodeBody::Reduce(read_reduce(node))),
    ("sink", |node| NodeBody::Sink(read_sink(node))),
];

fn check_name(name: &str, node: &Reader<'_>, mistakes: &Mistakes) {
    let right = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(right) {
        let mistake = Mistake::on_key(node.path.clone(), format!("`{name}` can't be the name of a node"));
        mistakes.add(mistake.expected("letters, digits, `_` and `-`"));
    } else if name.len() > LONGEST_NAME {
        let mistake =
            Mistake::on_key(node.path.clone(), "the name is too long: names of files and tables are made of it");
        let expected = format!("{LONGEST_NAME} characters at most");
        mistakes.add(mistake.found(format!("{} characters", name.len())).expected(expected));
    }
}

fn read_job_section(root: &Reader<'_>) -> JobBuilder {
    let Some(job) = root.table("job") else {
        root.missing("job", "{ name = \"ad-click\" }");
        return JobBuilder::new("");
    };
    let mut builder = JobBuilder::new(job.required_text("name", "\"ad-click\""));
    if let Some(section) = job.table("checkpoint") {
        let standard = Checkpoint::default();
        let retain = section.integer("retain", 1..=1_000_000).and_then(|retain| usize::try_from(retain).ok());
        builder = builder.checkpoint(Checkpoint {
            interval: section.positive_duration("interval").unwrap_or(standard.interval),
            storage: section.text("storage"),
            retain: retain.unwrap_or(standard.retain),
        });
        section.finish();
    }
    if let Some(parallelism) = job.integer("parallelism", 1..=i64::from(u16::MAX)) {
        builder = builder.parallelism(usize::try_from(parallelism).unwrap_or(1));
    }
    if let Some(groups) = job.integer("max_parallelism", 1..=i64::from(u16::MAX)) {
        builder = builder.max_parallelism(u16::try_from(groups).unwrap_or(u16::MAX));
    }
    job.finish();
    builder
}

fn read_source(node: Reader<'_>) -> Source {
    node.require("connector", "\"files\" or \"generator\"");
    let connector = match node.choice("connector", &[("files", true), ("generator", false)]) {
        None => return unreadable(node),
        Some(false) => SourceConnector::Generator {
            stream: Box::new(read_generator(&node)),
            clicks_per_second: positive(&node, "clicks_per_second"),
        },
        Some(true) => SourceConnector::Files(read_files_source(&node)),
    };
    let mut source = Source::new(connector);
    source.event_time = read_event_time(&node);
    if let Some(watermark) = node.table("watermark") {
        if let SourceConnector::Files(files) = &mut source.connector {
            files.by_partition = watermark.flag("by_partition").unwrap_or(false);
        }
        source.delay = watermark.duration("delay").unwrap_or_default();
        source.idle_after = watermark.positive_duration("idle_after");
        source.max_jump = watermark.positive_duration("max_jump");
        source.jump_after = read_jump_after(&watermark);
        source.max_ahead = watermark.positive_duration("max_ahead");
        watermark.finish();
    }
    node.finish();
    source
}

/// `jump_after = { rows = 1000, span = "10m" }`; what is missing is as it would be without the key.
fn read_jump_after(watermark: &Reader<'_>) -> Option<JumpAfter> {
    let table = watermark.table("jump_after")?;
    let standard = JumpAfter::default();
    let most = i64::try_from(JumpAfter::MOST_ROWS).unwrap_or(i64::MAX);
    let rows = table.integer("rows", 1..=most).and_then(|rows| u64::try_from(rows).ok()).unwrap_or(standard.rows);
    let span_ms = table.duration("span").map_or(standard.span_ms, millis);
    table.finish();
    Some(JumpAfter { rows, span_ms })
}

/// A column or an expression, or `{ name = "clicked_at", expression = "..." }`.
fn read_event_time(node: &Reader<'_>) -> Option<EventTime> {
    if !matches!(node.value("event_time")?.kind, Kind::Table(_)) {
        return Some(EventTime { name: None, expression: node.text("event_time")? });
    }
    let table = node.table("event_time")?;
    table.require("name", "\"clicked_at\"");
    table.require("expression", "\"to_timestamp_seconds(at)\"");
    let (name, expression) = (table.text("name"), table.text("expression"));
    table.finish();
    Some(EventTime { name: Some(name?), expression: expression? })
}

/// A source of which not even the connector is known: no other key can be judged, and no column.
fn unreadable(node: Reader<'_>) -> Source {
    node.ignore_others();
    Source::files("")
}

fn read_files_source(node: &Reader<'_>) -> FilesSource {
    let schema = read_schema(node, "schema");
    let delimiter = read_delimiter(node);
    let formats = [("click_log", 0), ("csv", 1), ("json", 2), ("parquet", 3)];
    node.require("format", "\"click_log\", \"csv\", \"json\" or \"parquet\"");
    let chosen = node.choice("format", &formats);
    // Without a format nothing is known of the columns: an empty path says so.
    let path = node.required_text("path", "\"jobs/data/clicks\"");
    let path = if chosen.is_some() { path } else { String::new() };
    let format = match chosen {
        Some(1) => Format::Csv { schema: declared(node, schema), delimiter: delimiter.unwrap_or(',') },
        Some(2) => Format::Json { schema: declared(node, schema) },
        Some(3) => Format::Parquet { schema },
        _ => {
            if schema.is_some() && node.text("format").as_deref() == Some("click_log") {
                node.refuse("schema", "a click log has its columns already", "no `schema`, or another format");
            }
            Format::ClickLog
        }
    };
    if delimiter.is_some() && !matches!(format, Format::Csv { .. }) {
        node.refuse("delimiter", "only csv has a delimiter", "no `delimiter`, or `format = \"csv\"`");
    }
    FilesSource {
        path,
        format,
        partitions: read_schema(node, "partitions").unwrap_or_default(),
        follow: node.flag("follow").unwrap_or(false),
        max_line_bytes: positive(node, "max_line_bytes"),
        batch_rows: positive(node, "batch_rows"),
        poll: node.positive_duration("poll"),
        discover: node.positive_duration("discover"),
        rotation_grace: node.duration("rotation_grace"),
        copies: node.choice("copies", &[("read", Copies::Read), ("skip", Copies::Skip)]),
        by_partition: false,   // Said under `watermark`.
        all_or_nothing: false, // For replays.
        range: read_range(node),
    }
}

/// Event times between two moments; one that is not there leaves that side open.
fn read_range(node: &Reader<'_>) -> Option<EventTimeRange> {
    let range = node.table("range")?;
    let from_ms = range.moment("from").unwrap_or(EventTimeRange::ALL.from_ms);
    let to_ms = range.moment("to").unwrap_or(EventTimeRange::ALL.to_ms);
    if from_ms >= to_ms {
        range.refuse("to", "the range ends before it begins", "a time later than `from`");
    }
    range.finish();
    Some(EventTimeRange { from_ms, to_ms })
}

/// A whole number from 1 to 2^30.
fn positive(node: &Reader<'_>, key: &str) -> Option<u64> {
    node.integer(key, 1..=1 << 30).and_then(|number| u64::try_from(number).ok())
}

fn declared(node: &Reader<'_>, schema: Option<DeclaredSchema>) -> DeclaredSchema {
    node.require("schema", "{ ad_id = \"string\", click_timestamp = \"timestamp\" }");
    schema.unwrap_or_default()
}

fn read_delimiter(node: &Reader<'_>) -> Option<char> {
    let text = node.text("delimiter")?;
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(char::from(*byte)),
        _ => {
            node.refuse("delimiter", "this can't stand between two values", "one ASCII character, as in \";\"");
            None
        }
    }
}

/// The generator's settings are those of `weir generate`, under the same names.
fn read_generator(node: &Reader<'_>) -> ClickStreamConfig {
    let mut config = ClickStreamConfig::default();
    let Ok(serde_json::Value::Object(known)) = serde_json::to_value(&config) else {
        return config;
    };
    for key in known.keys() {
        let Some(value) = node.value(key) else { continue };
        match with_setting(&config, key, value) {
            Ok(changed) => config = changed,
            Err(error) => {
                let mistake = Mistake::new(node.path.key(key), error.to_string());
                node.note(mistake.found(value.kind.show()));
            }
        }
    }
    config
}

fn with_setting(config: &ClickStreamConfig, key: &str, value: &Value) -> serde_json::Result<ClickStreamConfig> {
    let mut settings = serde_json::to_value(config)?;
    settings[key] = to_json(value);
    serde_json::from_value(settings)
}

fn to_json(value: &Value) -> serde_json::Value {
    match &value.kind {
        Kind::Table(entries) => {
            let entries = entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.value)));
            serde_json::Value::Object(entries.collect::<JsonMap<_, _>>())
        }
        Kind::Array(values) => values.iter().map(to_json).collect(),
        Kind::Text(text) | Kind::Datetime(text) => text.clone().into(),
        Kind::Integer(number) => (*number).into(),
        Kind::Float(number) => (*number).into(),
        Kind::Boolean(value) => (*value).into(),
    }
}

fn read_map(node: Reader<'_>) -> Map {
    let input = node.required_text("input", "the name of a node, in quotes");
    let map = Map { input, condition: node.text("where"), select: node.named_texts("select") };
    if map.condition.is_none()
        && map.select.is_none()
        && node.value("where").is_none()
        && node.value("select").is_none()
    {
        node.missing(
            "where",
            "\"a condition\", or select = { name = \"an expression\" }: without both it does nothing",
        );
    }
    node.finish();
    map
}

fn read_dedup(node: Reader<'_>) -> Dedup {
    let input = node.required_text("input", "the name of a node, in quotes");
    node.require("key", "[\"event_id\"]");
    node.require("ttl", "\"1h\"");
    let dedup = Dedup {
        input,
        key: node.texts("key").unwrap_or_default(),
        ttl: node.positive_duration("ttl").unwrap_or_default(),
        same_event_time: node.flag("same_event_time").unwrap_or(false),
        null_key: node
            .choice("null_key", &[("pass", NullKey::Pass), ("dead_letter", NullKey::DeadLetter)])
            .unwrap_or_default(),
    };
    node.finish();
    dedup
}

fn read_aggregate(node: Reader<'_>) -> Aggregate {
    let input = node.required_text("input", "the name of a node, in quotes");
    node.require("key", "[\"ad_id\"]");
    node.require("window", "{ tumbling = \"1m\" }");
    node.require("select", "{ count = \"count(*)\" }");
    let (window, allowed_lateness) = match node.table("window") {
        Some(window) => {
            let lateness = window.duration("allowed_lateness").unwrap_or_default();
            (read_window(window, true), lateness)
        }
        None => (None, Duration::ZERO),
    };
    let aggregate = Aggregate {
        input,
        key: node.texts("key").unwrap_or_default(),
        window: window.unwrap_or(Window::Tumbling { size: Duration::from_secs(60) }),
        allowed_lateness,
        select: node.named_texts("select").unwrap_or_default(),
        emit: read_every(&node, "emit", "\"500ms\""),
    };
    node.finish();
    aggregate
}

/// `KEY = { every = "500ms" }`
fn read_every(node: &Reader<'_>, key: &str, example: &str) -> Option<Duration> {
    let table = node.table(key)?;
    table.require("every", example);
    let every = table.positive_duration("every");
    table.finish();
    every
}

/// Exactly one of `tumbling`, `hopping` with `slide`, and `session`.
fn read_window(window: Reader<'_>, sessions: bool) -> Option<Window> {
    let expected = if sessions {
        "one of { tumbling = \"1m\" }, { hopping = \"5m\", slide = \"1m\" } and { session = \"30m\" }"
    } else {
        "one of { tumbling = \"1m\" } and { hopping = \"5m\", slide = \"1m\" }"
    };
    let tumbling = window.positive_duration("tumbling");
    let hopping = window.positive_duration("hopping");
    let slide = window.positive_duration("slide");
    let session = if sessions { window.positive_duration("session") } else { None };
    let written = ["tumbling", "hopping", "session"].iter().filter(|key| window.has(key)).count();
    let read = match (tumbling, hopping, session) {
        _ if written != 1 => {
            let message =
                if written == 0 { "this says no kind of window" } else { "this says several kinds of windows" };
            window.note(Mistake::new(window.path.clone(), message).expected(expected));
            None
        }
        (Some(size), None, None) => Some(Window::Tumbling { size }),
        (None, Some(size), None) => match slide {
            Some(slide) => Some(Window::Hopping { size, slide }),
            None => {
                if !window.has("slide") {
                    window.missing("slide", "\"1m\"");
                }
                None
            }
        },
        (None, None, Some(gap)) => Some(Window::Session { gap }),
        _ => None,
    };
    if window.has("slide") && !window.has("hopping") && written == 1 {
        window.refuse("slide", "only a hopping window slides", expected);
    }
    window.finish();
    read
}

fn read_reduce(node: Reader<'_>) -> Reduce {
    let mut reduce = Reduce::top(node.required_text("input", "the name of an aggregate, in quotes"), 0, "");
    match node.table("top") {
        Some(top) => {
            top.require("n", "100");
            reduce.n = top.integer("n", 1..=1_000_000).and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
            reduce.by = top.required_text("by", "\"count\"");
            reduce.per = top.texts("per").unwrap_or_default();
            top.finish();
        }
        None => node.missing("top", "{ n = 100, by = \"count\" }"),
    }
    reduce.window = node.table("window").and_then(|window| read_window(window, false));
    node.finish();
    reduce
}

type ReadSink = fn(&Reader<'_>) -> SinkConnector;

fn read_sink(node: Reader<'_>) -> Sink {
    let input = node.required_text("input", "the name of a node, in quotes");
    node.require("connector", "\"files\", \"sql\" or \"console\"");
    let connectors: [(&str, ReadSink); 3] = [
        ("files", |node| SinkConnector::Files(read_files_sink(node))),
        ("sql", |node| SinkConnector::Sql(read_sql_sink(node))),
        ("console", |_| SinkConnector::Console),
    ];
    let connector = match node.choice("connector", &connectors) {
        Some(read) => read(&node),
        None => {
            node.ignore_others();
            return Sink::console(input);
        }
    };
    let sink = Sink {
        select: node.texts("select"),
        running: node.flag("running"),
        enabled: node.flag("enabled").unwrap_or(true),
        ..Sink::new(input, connector)
    };
    node.finish();
    sink
}

fn read_files_sink(node: &Reader<'_>) -> FilesSink {
    // There is one format so far; it is written out in definitions so that they stay right when there are more.
    node.choice("format", &[("parquet", ())]);
    let compressions = [Compression::None, Compression::Snappy, Compression::Zstd].map(|one| (one.name(), one));
    FilesSink {
        path: node.required_text("path", "\"out/counts\""),
        compression: node.choice("compression", &compressions).unwrap_or(Compression::None).name(),
        hourly: node.choice("partition_by", &[("hour", true), ("none", false)]).unwrap_or(false),
        partition_column: node.text("partition_column"),
        roll: read_roll(node),
        retention: read_files_retention(node),
    }
}

/// The largest and the smallest `bytes` of a `roll`.
const ROLL_BYTES: std::ops::RangeInclusive<i64> = 1..=1 << 30;

/// `roll = { every = "1m" }`, perhaps with `bytes`, or `roll = "checkpoint"`.
fn read_roll(node: &Reader<'_>) -> Option<Roll> {
    match &node.value("roll")?.kind {
        Kind::Text(text) if text == "checkpoint" => return Some(Roll::Checkpoint),
        Kind::Table(_) => {}
        _ => {
            let expected = "{ every = \"1m\" }, or \"checkpoint\": a file with every checkpoint that has rows";
            node.refuse("roll", "this does not say when files are begun", expected);
            return None;
        }
    }
    let roll = node.table("roll")?;
    roll.require("every", "\"1m\"");
    let every = roll.positive_duration("every");
    let bytes = roll.integer("bytes", ROLL_BYTES).map(i64::unsigned_abs);
    roll.finish();
    Some(Roll::Every { every: every?, bytes })
}

/// Shorter ones would remove what nobody has had the time to read.
const SHORTEST_RETENTION: Duration = Duration::from_secs(60);

fn read_files_retention(node: &Reader<'_>) -> Option<Duration> {
    let retention = node.positive_duration("retention")?;
    if retention < SHORTEST_RETENTION {
        node.refuse(
            "retention",
            "files would be removed as soon as they are there",
            "a minute or more, such as \"30d\"",
        );
        return None;
    }
    Some(retention)
}
