//! The keys of a source's connectors.

use serde_json::Map as JsonMap;
use weir_operators::source::column_type::DeclaredSchema;
use weir_operators::source::files::{Copies, EventTimeRange};
use weir_operators::source::generator::ClickStreamConfig;

use super::connector::{FilesSource, Format, SourceConnector};
use super::read_schema::read_schema;
use weir_operators::definition::{Kind, Mistake, Reader, Value};

impl SourceConnector {
    /// Reads the connector's own keys; nothing, where it is not known which connector it is.
    pub(super) fn read(node: &Reader<'_>) -> Option<Self> {
        node.require("connector", "\"files\" or \"generator\"");
        Some(match node.choice("connector", &[("files", true), ("generator", false)])? {
            false => SourceConnector::Generator {
                stream: Box::new(read_generator(node)),
                clicks_per_second: positive(node, "clicks_per_second"),
            },
            true => SourceConnector::Files(read_files(node)),
        })
    }
}

fn read_files(node: &Reader<'_>) -> FilesSource {
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
