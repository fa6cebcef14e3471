//! The keys of a `[source.NAME]` with the connector `files`.

use super::{EventTimeRange, FilesConfig, followed::Copies};
use crate::{
    definition::{Kind, Reader, duration::millis},
    format::{FormatName, FormatSettings, declared::read_schema},
    source::SourceConnector,
};
use std::time::Duration;

/// Reads them. Without a format nothing is known of the columns: an empty path says so.
pub(super) fn read(keys: &Reader<'_>) -> Box<dyn SourceConnector> {
    let format = FormatSettings::read(keys, &FormatName::FILES);
    let path = keys.required_text("path", "\"jobs/data/clicks\"");
    if keys.value("path").is_some_and(|path| matches!(&path.kind, Kind::Text(text) if text.is_empty())) {
        keys.refuse("path", "the path is empty", "a file, a folder or a URL");
    }
    let in_ms = |duration: Duration| millis(duration).unsigned_abs();
    let files = FilesConfig {
        partitions: read_schema(keys, "partitions").unwrap_or_default(),
        follow: keys.flag("follow").unwrap_or(false),
        batch_rows: keys.positive_integer("batch_rows").and_then(|rows| usize::try_from(rows).ok()),
        poll_ms: keys.positive_duration("poll").map(in_ms),
        discover_ms: keys.positive_duration("discover").map(in_ms),
        rotation_grace_ms: keys.duration("rotation_grace").map(in_ms),
        copies: keys.choice("copies", &[("read", Copies::Read), ("skip", Copies::Skip)]),
        range: read_range(keys),
        ..FilesConfig::at(path)
    };
    Box::new(match format {
        Some(format) => FilesConfig { format, ..files },
        None => FilesConfig { path: String::new(), ..files },
    })
}

/// Event times between two moments; one that is not there leaves that side open.
fn read_range(keys: &Reader<'_>) -> Option<EventTimeRange> {
    let range = keys.table("range")?;
    let from_ms = range.moment("from").unwrap_or(EventTimeRange::ALL.from_ms);
    let to_ms = range.moment("to").unwrap_or(EventTimeRange::ALL.to_ms);
    if from_ms >= to_ms {
        range.refuse("to", "the range ends before it begins", "a time later than `from`");
    }
    range.finish();
    Some(EventTimeRange { from_ms, to_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::testing;
    use serde_json::json;

    fn keys(keys: serde_json::Value) -> (serde_json::Value, Vec<String>) {
        let (files, wrong) = testing::read(keys, read);
        (files.config(), wrong)
    }

    #[test]
    fn keys_become_the_configuration_of_a_node() {
        let (files, wrong) = keys(json!({
            "path": "logs", "format": "click_log", "follow": true, "max_line_bytes": 1000, "poll": "20ms", "discover": "1s",
            "rotation_grace": "0s", "copies": "skip", "batch_rows": 5, "range": { "from": "2022-03-04T00:00:00Z" },
        }));
        assert_eq!(wrong, Vec::<String>::new());
        let expected = json!({
            "path": "logs", "format": "click_log", "follow": true, "max_line_bytes": 1000, "poll_ms": 20,
            "discover_ms": 1000, "rotation_grace_ms": 0, "copies": "skip", "batch_rows": 5,
            "range": { "from_ms": 1_646_352_000_000_i64, "to_ms": i64::MAX },
        });
        assert_eq!(files, expected);
    }

    #[test]
    fn what_is_wrong_is_told_at_its_key() {
        let (files, wrong) =
            keys(json!({ "format": "json", "schema": { "a": "int" }, "poll": "0s", "rotation": "1s" }));
        assert_eq!(files["path"], "", "nothing is known of the columns");
        let expected = ["the key `path` is missing", "poll: `poll` is zero", "rotation: the key `rotation` is unknown"];
        assert_eq!(wrong, expected);
    }
}
