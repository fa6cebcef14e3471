//! Reads the keys of a Kafka source.

use super::{
    config::{End, KafkaConfig, Start},
    metadata::Metadata,
};
use crate::{
    definition::{Kind, Mistake, Reader, duration::millis},
    format::{Format, FormatName, FormatSettings},
    kafka_connection::KafkaConnection,
    source::{SourceConnector, column_type::DeclaredSchema},
};
use std::collections::BTreeMap;

/// The longest name that a topic may have.
const LONGEST_NAME: usize = 249;

/// Reads the keys of a `[source.NAME]`.
pub(super) fn read(keys: &Reader<'_>) -> Box<dyn SourceConnector> {
    Box::new(settings(keys))
}

fn settings(keys: &Reader<'_>) -> KafkaConfig {
    let connection = KafkaConnection::read(keys);
    let (topics, pattern) = read_topics(keys);
    // Without a format that there is, nothing else is said of columns.
    let unknown = || FormatSettings::from(Format::Json { schema: DeclaredSchema::default() });
    let format = FormatSettings::read(keys, &FormatName::MESSAGES).unwrap_or_else(unknown);
    let start = read_start(keys);
    let group = keys.text("group");
    if start == Start::Group && group.is_none() {
        keys.missing("group", "\"the name of a consumer group\", where `start = \"group\"` begins");
    }
    KafkaConfig {
        connection,
        topics,
        pattern,
        format,
        start,
        end: keys.choice("end", &[("latest", End::Latest)]),
        group,
        metadata: read_metadata(keys),
        discover_ms: keys.positive_duration("discover").map(millis).map(i64::unsigned_abs),
    }
}

fn read_topics(keys: &Reader<'_>) -> (Vec<String>, Option<String>) {
    let (topics, pattern) = (keys.texts("topics"), keys.text("pattern"));
    if topics.is_some() && pattern.is_some() {
        keys.refuse("pattern", "both `topics` and `pattern` say what is read", "one of them");
    } else if !keys.has("topics") && !keys.has("pattern") {
        keys.missing("topics", "[\"clicks\"]");
    }
    for (number, topic) in topics.iter().flatten().enumerate() {
        let at = keys.path.key("topics").index(number);
        if !is_name(topic) {
            let mistake = Mistake::new(at, "no topic can have this name").found(format!("{topic:?}"));
            keys.note(mistake.expected("letters, digits, '.', '_' and '-'; for a pattern, `pattern = \"clicks-*\"`"));
        } else if topics.iter().flatten().take(number).any(|other| other == topic) {
            keys.note(Mistake::new(at, "this topic is there twice").found(format!("{topic:?}")));
        }
    }
    if topics.as_ref().is_some_and(Vec::is_empty) {
        keys.refuse("topics", "no topic is named", "the names of topics, as in [\"clicks\"]");
    }
    if pattern.as_ref().is_some_and(|pattern| !is_pattern(pattern)) {
        let expected =
            "a pattern as for files, such as \"clicks-*\": * for any characters, ? for one, [a-z] for one of these";
        keys.refuse("pattern", "no topic can fit this: it is no regular expression", expected);
    }
    (topics.unwrap_or_default(), pattern)
}

fn is_name(topic: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(topic, "" | "." | "..") && topic.len() <= LONGEST_NAME && topic.chars().all(fits)
}

fn is_pattern(pattern: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '?' | '[' | ']' | '!');
    !pattern.is_empty() && pattern.chars().all(fits)
}

/// `"earliest"`, `"latest"`, `"group"`, or `{ at = "2022-03-04T00:00:00Z" }`.
fn read_start(keys: &Reader<'_>) -> Start {
    let is_table = keys.value("start").is_some_and(|value| matches!(value.kind, Kind::Table(_)));
    if !is_table {
        let words = [("earliest", Start::Earliest), ("latest", Start::Latest), ("group", Start::Group)];
        return keys.choice("start", &words).unwrap_or_default();
    }
    let Some(table) = keys.table("start") else { return Start::default() };
    table.require("at", "\"2022-03-04T00:00:00Z\"");
    let at = table.moment("at");
    table.finish();
    at.map(Start::At).unwrap_or_default()
}

/// `{ COLUMN = "partition", … }`.
fn read_metadata(keys: &Reader<'_>) -> BTreeMap<String, Metadata> {
    let mut metadata = BTreeMap::new();
    for (column, text) in keys.named_texts("metadata").unwrap_or_default() {
        match Metadata::try_from(text.clone()) {
            Ok(found) => {
                metadata.insert(column, found);
            }
            Err(message) => {
                let mistake = Mistake::new(keys.path.key("metadata").key(&column), message);
                keys.note(mistake.one_of("kinds", &Metadata::NAMES).meant(&text, &Metadata::NAMES));
            }
        }
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::testing::read;
    use serde_json::{Value, json};

    fn read_with(more: Value) -> (KafkaConfig, Vec<String>) {
        let mut keys = json!({ "brokers": "a:9092", "topics": ["clicks"], "format": "click_log" });
        for (key, value) in more.as_object().expect("keys") {
            match value {
                Value::Null => keys.as_object_mut().expect("keys").remove(key),
                value => keys.as_object_mut().expect("keys").insert(key.clone(), value.clone()),
            };
        }
        read(keys, settings)
    }

    #[test]
    fn everything_has_its_key() {
        let plain = read_with(json!({}));
        assert_eq!(plain, (KafkaConfig::topics("a:9092", ["clicks"]), Vec::new()));
        let (found, wrong) = read_with(json!({
            "topics": null, "pattern": "clicks-[a-z]*", "start": { "at": "1970-01-01T00:00:05Z" }, "end": "latest",
            "group": "g", "discover": "3s", "metadata": { "p": "partition", "trace": "headers.trace-id" },
            "format": "json", "schema": { "a": "int" },
        }));
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(
            (found.pattern.as_deref(), found.start, found.end),
            (Some("clicks-[a-z]*"), Start::At(5_000), Some(End::Latest))
        );
        assert_eq!((found.group.as_deref(), found.discover_ms), (Some("g"), Some(3_000)));
        assert_eq!(found.metadata["trace"], Metadata::Header("trace-id".into()));
        for (word, start) in [("earliest", Start::Earliest), ("latest", Start::Latest), ("group", Start::Group)] {
            assert_eq!(read_with(json!({ "start": word, "group": "g" })).0.start, start);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (more, expected) in [
            (json!({ "topics": null }), "the key `topics` is missing"),
            (json!({ "topics": [] }), "topics: no topic is named"),
            (json!({ "topics": ["a", "a"] }), "topics[1]: this topic is there twice"),
            (json!({ "topics": ["a*"] }), "topics[0]: no topic can have this name"),
            (json!({ "pattern": "a*" }), "pattern: both `topics` and `pattern` say what is read"),
            (
                json!({ "topics": null, "pattern": "^clicks.+$" }),
                "pattern: no topic can fit this: it is no regular expression",
            ),
            (json!({ "start": "group" }), "the key `group` is missing"),
            (json!({ "start": "first" }), "start: there is no start called `first`"),
            (json!({ "start": { "at": "yesterday" } }), "start.at: `at` is not a point in time"),
            (json!({ "start": {} }), "start: the key `at` is missing"),
            (json!({ "end": "earliest" }), "end: there is no end called `earliest`"),
            (json!({ "metadata": { "x": "partitions" } }), "metadata.x: there is no metadata called `partitions`"),
            (json!({ "format": "parquet" }), "format: there is no format called `parquet`"),
            (json!({ "discover": "0s" }), "discover: `discover` is zero"),
        ] {
            let (_, wrong) = read_with(more.clone());
            assert!(wrong.first().is_some_and(|first| first == expected), "{more}: {wrong:?}");
        }
    }
}
