//! What a sink says about its table, in its row of `weir_sinks`: how the rows came to be, for whoever reads them.

use crate::{shape::Shape, tables::SINKS};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;
use weir_engine::error::{EngineError, Result};

/// What readers of a table should know. It is stored as JSON; a field that is not there says nothing, and what other versions of
/// Weir say beside that is passed over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// What events are counted under; empty: the key has no filter.
    pub filters: Vec<Filter>,
    /// The columns of the primary key, in its order.
    pub key: Vec<String>,
    /// The first of them that is a time.
    pub time: Option<String>,
    /// Length of the windows, in milliseconds; none: its rows are events.
    pub window_ms: Option<i64>,
    /// How long rows that are counted may be held back from the archive, in milliseconds of event time.
    pub archive_held_ms: Option<i64>,
    /// How long a window is corrected after its end, in milliseconds.
    pub allowed_lateness_ms: Option<i64>,
    /// Whether windows that are not over are in it, too.
    pub running: bool,
    /// When rows are rolled up; none: never.
    pub retention: Option<Retention>,
    /// What its columns are; none: a version of Weir has written it that does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
}

/// A predicate that events are counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Filter {
    /// Its id, as in `0012`.
    pub id: String,
    /// Its condition in SQL, as in `country = 'USA'`.
    pub predicate: String,
}

/// When rows are rolled up and removed, measured against the newest time of rows that are final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The key's first column: milliseconds since the epoch.
    pub time: String,
    /// The columns that are added up. All others are part of the key, or the revision.
    pub sum: Vec<String>,
    /// Hours that are older than this, in milliseconds, go to the table of hours.
    pub minutes_ms: i64,
    /// Days that are older than this go on to the table of days.
    pub hours_ms: i64,
    /// Days that are older than this are removed.
    pub days_ms: i64,
}

impl Description {
    /// Reads what a sink says about its table; `of` names one of the two.
    ///
    /// # Errors
    /// When it is no description.
    pub fn read(text: &str, of: &str) -> Result<Self> {
        read(text, of)
    }

    /// A description, as it is stored, with these filters in the place of its own. All else stays, whoever has written it.
    ///
    /// # Errors
    /// When it is no description.
    pub fn with_filters(text: &str, of: &str, filters: &[Filter]) -> Result<String> {
        let mut fields: serde_json::Map<String, serde_json::Value> = read(text, of)?;
        let filters = serde_json::to_value(filters).map_err(|error| EngineError::internal(error.to_string()))?;
        fields.insert("filters".into(), filters);
        Ok(serde_json::Value::Object(fields).to_string())
    }
}

fn read<T: DeserializeOwned>(text: &str, of: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| EngineError::corrupt(format!("the description of '{of}' in {SINKS} cannot be read: {error}")))
}

impl fmt::Display for Description {
    /// As it is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By way of a value, whose fields have the same order as in a job graph.
        let value = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        write!(f, "{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As versions before this type have written it.
    fn stored() -> serde_json::Value {
        json!({
            "filters": [{ "id": "0000", "predicate": "true" }],
            "key": ["click_minute", "filter_id", "ad_id"],
            "time": "click_minute",
            "window_ms": 60_000,
            "archive_held_ms": 0,
            "allowed_lateness_ms": 600_000,
            "running": true,
            "retention": { "time": "click_minute", "sum": ["count"], "minutes_ms": 1, "hours_ms": 2, "days_ms": 3 },
        })
    }

    #[test]
    fn what_is_stored_is_read_and_written_as_it_was() {
        let text = stored().to_string();
        let read = Description::read(&text, "counts").unwrap();
        assert_eq!(read.retention.as_ref().unwrap().days_ms, 3);
        assert_eq!((read.window_ms, read.filters[0].id.as_str()), (Some(60_000), "0000"));
        assert_eq!(read.to_string(), text);
        let events = json!({ "filters": [], "key": ["n"], "time": null, "window_ms": null, "archive_held_ms": 0,
            "allowed_lateness_ms": null, "running": false, "retention": null })
        .to_string();
        assert_eq!(Description::read(&events, "raw").unwrap().to_string(), events);
    }

    #[test]
    fn stores_of_other_versions_are_read() {
        let older = Description::read(r#"{"key":["n"]}"#, "counts").unwrap();
        assert_eq!(older, Description { key: vec!["n".into()], ..Description::default() });
        let mut newer = stored();
        newer["said_later"] = json!({ "by": "another version" });
        let read = Description::read(&newer.to_string(), "counts").unwrap();
        assert_eq!(read, Description::read(&stored().to_string(), "counts").unwrap());
        let error = Description::read("nonsense", "counts").unwrap_err();
        assert!(error.message.contains("'counts' in weir_sinks"), "{error}");
    }

    #[test]
    fn other_filters_leave_all_else_as_it_was() {
        let mut newer = stored();
        newer["said_later"] = json!({ "by": "another version" });
        let filter = Filter { id: "0012".into(), predicate: "country = 'USA'".into() };
        let text = Description::with_filters(&newer.to_string(), "counts", &[filter]).unwrap();
        newer["filters"] = json!([{ "id": "0012", "predicate": "country = 'USA'" }]);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), newer);
        assert!(Description::with_filters("nonsense", "counts", &[]).is_err());
    }
}
