//! What the columns of a table are to readers that know nothing of the job.

use super::check::stored;
use crate::{
    columns::{RECORD_ID, REVISION, WINDOW_END, WINDOW_START},
    schema::Column,
    sink::{SinkGiven, SinkResults},
};
use arrow::datatypes::DataType;
use weir_store::Shape;

/// The shape of a table with this primary key.
pub(super) fn of(given: &SinkGiven<'_>, key: &[String]) -> Shape {
    let names = |wanted: fn(&DataType) -> bool| {
        stored(given).filter(move |column| wanted(&column.data_type)).map(|column| column.name.clone())
    };
    let times: Vec<String> = names(is_time).collect();
    let (time, series) = match given.results {
        Some(results) => (window(given, results, key), groups(given, results, key)),
        None => {
            let in_key = || times.iter().find(|time| key.contains(time)).cloned();
            let time = given.event_time.map(str::to_owned).filter(|time| times.contains(time)).or_else(in_key);
            let series = key.iter().filter(|name| Some(*name) != time.as_ref()).cloned().collect();
            (time, series)
        }
    };
    let is_value = |name: &String| name != REVISION && !series.contains(name) && !key.contains(name);
    let values = names(DataType::is_numeric).filter(is_value).collect();
    Shape { time, times, series, values }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// The column that says which window a result is of: one of the key, if there is one.
fn window(given: &SinkGiven<'_>, results: &SinkResults, key: &[String]) -> Option<String> {
    let is = |name: &str, bound: &str| results.origin(name) == Some(bound);
    let in_key = key.iter().map(String::as_str).find(|name| is(name, WINDOW_START) || is(name, WINDOW_END));
    let of = |bound: &'static str| given.columns.names().find(move |name| is(name, bound));
    in_key.or_else(|| of(WINDOW_START)).or_else(|| of(WINDOW_END)).map(str::to_owned)
}

/// The columns that tell the results of one window apart: those of the key, and of the groups.
fn groups(given: &SinkGiven<'_>, results: &SinkResults, key: &[String]) -> Vec<String> {
    let identifies = |name: &str| [RECORD_ID, WINDOW_START, WINDOW_END].contains(&results.origin(name).unwrap_or(""));
    let mut series: Vec<String> = key.iter().filter(|name| !identifies(name)).cloned().collect();
    let groups =
        |column: &&Column| results.origin(&column.name).is_some_and(|name| results.key.iter().any(|key| key == name));
    for column in stored(given).filter(groups) {
        let known = series.iter().any(|name| results.origin(name) == results.origin(&column.name));
        if !known {
            series.push(column.name.clone());
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event_time::event_time_type, schema::ColumnSchema, sink::SinkWindows};
    use std::time::Duration;

    fn columns(columns: &[(&str, DataType)]) -> ColumnSchema {
        let column = |(name, data_type): &(&str, DataType)| Column {
            name: (*name).into(),
            data_type: data_type.clone(),
            nullable: true,
        };
        ColumnSchema { columns: columns.iter().map(column).collect() }
    }

    fn of_results(given: &ColumnSchema, fixed: &[(&str, &str)], groups: &[&str], key: &[&str]) -> Shape {
        let results = SinkResults {
            windows: SinkWindows::SideBySide,
            fixed: fixed.iter().map(|(name, origin)| ((*name).to_owned(), Some((*origin).to_owned()))).collect(),
            key: groups.iter().map(ToString::to_string).collect(),
            sessions: false,
            withdrawable: false,
            unsayable: false,
            window: Duration::from_secs(60),
            allowed_lateness: Duration::ZERO,
            not_sums: Vec::new(),
        };
        let given = SinkGiven { columns: given, event_time: None, results: Some(&results), has_select: true };
        of(&given, &key.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn shape(time: Option<&str>, times: &[&str], series: &[&str], values: &[&str]) -> Shape {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Shape { time: time.map(Into::into), times: owned(times), series: owned(series), values: owned(values) }
    }

    #[test]
    fn results_are_told_apart_by_their_groups_whatever_the_key_is() {
        let written = columns(&[
            ("record_id", DataType::FixedSizeBinary(16)),
            ("minute", event_time_type()),
            ("window_end", event_time_type()),
            ("path", DataType::Utf8),
            ("hits", DataType::Int64),
            ("bytes", DataType::Float64),
            ("revision", DataType::Int32),
        ]);
        let fixed =
            [("record_id", "record_id"), ("minute", "window_start"), ("window_end", "window_end"), ("path", "path")];
        let times = ["minute", "window_end"];
        let by = |key: &[&str]| of_results(&written, &fixed, &["path"], key);
        let values = ["hits", "bytes"];
        assert_eq!(by(&["record_id"]), shape(Some("minute"), &times, &["path"], &values));
        assert_eq!(by(&["window_end", "path"]), shape(Some("window_end"), &times, &["path"], &values));
        assert_eq!(by(&["path"]), shape(Some("minute"), &times, &["path"], &values));
        let one_group = of_results(&written, &fixed[..3], &[], &["minute"]);
        assert_eq!(one_group, shape(Some("minute"), &times, &[], &values));
    }

    #[test]
    fn events_follow_one_another_by_their_time() {
        let written = columns(&[("id", DataType::Int64), ("at", event_time_type()), ("cost", DataType::Int64)]);
        let given = |event_time| SinkGiven { columns: &written, event_time, results: None, has_select: false };
        let key = ["id".to_owned()];
        assert_eq!(of(&given(Some("at")), &key), shape(Some("at"), &["at"], &["id"], &["cost"]));
        assert_eq!(of(&given(None), &key), shape(None, &["at"], &["id"], &["cost"]));
        let by_time = ["at".to_owned(), "id".to_owned()];
        assert_eq!(of(&given(None), &by_time), shape(Some("at"), &["at"], &["id"], &["cost"]));
    }
}
