//! What a definition says of a SQL sink, and what is wrong with it.

use super::*;
use crate::{
    definition::testing::read,
    schema::ColumnSchema,
    sink::{SinkResults, SinkWindows, sql::Retention},
};
use arrow::datatypes::DataType;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn columns() -> ColumnSchema {
    let columns = [
        ("window_start", event_time_type()),
        ("ad_id", DataType::Utf8),
        ("count", DataType::Int64),
        ("revision", DataType::Int32),
        ("withdrawn", DataType::Boolean),
    ];
    let column = |(name, data_type): (&str, DataType)| Column { name: name.into(), data_type, nullable: true };
    ColumnSchema { columns: columns.into_iter().map(column).collect() }
}

fn counted() -> SinkResults {
    let fixed =
        ["record_id", "window_start", "window_end", "ad_id"].map(|name| (name.to_owned(), Some(name.to_owned())));
    SinkResults {
        fixed: fixed.into(),
        key: vec!["ad_id".into()],
        sessions: false,
        windows: SinkWindows::SideBySide,
        withdrawable: false,
        unsayable: true,
        window: MINUTE,
        allowed_lateness: 10 * MINUTE,
        not_sums: Vec::new(),
    }
}

fn given<'a>(columns: &'a ColumnSchema, results: &'a SinkResults) -> SinkGiven<'a> {
    SinkGiven { columns, event_time: None, results: Some(results), has_select: true }
}

fn counts() -> SqlSinkSettings {
    SqlSinkSettings::table("sqlite:store.sqlite", "counts").key(["window_start", "ad_id"])
}

fn told(settings: &SqlSinkSettings) -> Vec<String> {
    let (columns, results) = (columns(), counted());
    let mut mistakes = Vec::new();
    settings.check(&given(&columns, &results), &KeyPath::default(), &mut mistakes);
    mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect()
}

fn retention(minutes: Duration) -> Retention {
    Retention {
        time: "window_start".into(),
        sum: vec!["count".into()],
        minutes_ms: millis(minutes),
        hours_ms: millis(90 * MINUTE),
        days_ms: millis(95 * MINUTE),
    }
}

#[test]
fn keys_become_the_configuration_of_a_node() {
    let keys = json!({
        "url": "sqlite:store.sqlite", "table": "counts", "key": ["window_start", "ad_id"],
        "indexes": [{ "columns": ["ad_id"], "where": "count > 1" }],
        "retention": { "time": "window_start", "sum": ["count"], "minutes": "1h", "hours": "90m", "days": "95m" },
    });
    let (settings, wrong) = read(keys, SqlSinkSettings::read);
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(settings.retention, Some(retention(60 * MINUTE)));
    assert_eq!(told(&settings), Vec::<String>::new());
    let (columns, results) = (columns(), counted());
    let filters = [("0000".to_owned(), "true".to_owned())];
    let job = SinkJob { running: true, filters: &filters, archive_held_ms: 7 };
    let config = settings.config(&given(&columns, &results), &job);
    let stored = SqlSinkConfig::from_json(&config).expect("it fits");
    let names: Vec<&str> = stored.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["window_start", "ad_id", "count", "revision"], "withdrawn rows are not in it");
    assert_eq!((stored.revision.as_deref(), stored.withdrawn.as_deref()), (Some("revision"), Some("withdrawn")));
    let description = &config["description"];
    assert_eq!(description["filters"], json!([{ "id": "0000", "predicate": "true" }]));
    assert_eq!((&description["time"], &description["running"]), (&json!("window_start"), &json!(true)));
    assert_eq!((&description["window_ms"], &description["allowed_lateness_ms"]), (&json!(60_000), &json!(600_000)));
    let shape = json!({ "time": "window_start", "times": ["window_start"], "series": ["ad_id"], "values": ["count"] });
    assert_eq!(description["shape"], shape);
    assert_eq!(settings.note(), "the table counts in sqlite:store.sqlite, key window_start, ad_id, hours after 1h");
}

#[test]
fn what_is_wrong_is_told_at_its_key() {
    assert_eq!(told(&counts()), Vec::<String>::new());
    assert_eq!(told(&SqlSinkSettings::table("mysql://db", "counts").key(["window_start", "ad_id"])).len(), 1);
    let own = told(&SqlSinkSettings { table: "weir_x".into(), ..counts() });
    assert_eq!(own, ["table: names that begin with `weir_` are Weir's own"]);
    assert_eq!(told(&counts().key(["ad_id", "count", "ad_id"])).len(), 1, "what is there twice is told first");
    let without_window = told(&counts().key(["ad_id"]));
    assert!(without_window[0].starts_with("key: the key leaves the window out"), "{without_window:?}");
    assert_eq!(told(&counts().key(["ad_id"]).keep_newest()), Vec::<String>::new());
    let soon = told(&counts().retention(retention(5 * MINUTE)));
    assert_eq!(soon, ["retention.minutes: windows would be summed up that late events may still correct"]);
}

/// SQLite, which tells them apart by nothing, would refuse the table when it is made.
#[test]
fn columns_that_differ_in_capitals_alone_are_refused_for_sqlite() {
    let column = |name: &str| Column { name: name.into(), data_type: DataType::Int64, nullable: true };
    let columns = ColumnSchema { columns: ["k", "n", "K"].map(column).into() };
    for (url, count) in [("sqlite:store.sqlite", 1), ("postgres://db/ads", 0)] {
        let given = SinkGiven { columns: &columns, event_time: None, results: None, has_select: true };
        let mut mistakes = Vec::new();
        SqlSinkSettings::table(url, "t").key(["n"]).check(&given, &KeyPath::default(), &mut mistakes);
        let told: Vec<String> =
            mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect();
        assert_eq!(told.len(), count, "{told:?}");
        assert!(told.iter().all(|told| told.starts_with("select: `k` and `K` are one name in SQLite")), "{told:?}");
    }
}

#[test]
fn a_table_is_its_own_with_all_that_stands_beside_it() {
    let owned = |table: &str, of_ages: bool| {
        let settings = SqlSinkSettings { table: table.into(), ..counts() };
        let settings = if of_ages { settings.retention(retention(60 * MINUTE)) } else { settings };
        settings.owns().unwrap()
    };
    assert!(owned("counts", false).meets(&owned("Counts", false)));
    assert!(owned("counts", true).meets(&owned("counts_hours", false)));
    assert!(!owned("counts", false).meets(&owned("counts_hours", false)));
    assert_eq!(owned("Counts", false).shown, "counts");
}

#[test]
fn a_table_beside_it_is_kept_as_simply_as_it_goes() {
    let settings = counts().retention(retention(60 * MINUTE));
    let named = |table: &str| format!("{table}_new");
    let beside = settings.beside(&Shadow { store: Some("sqlite:other.sqlite"), table: &named }).unwrap();
    let table = beside.table().unwrap();
    assert_eq!((table.table, table.url.as_str(), table.sums.len()), ("counts_new", "sqlite:other.sqlite", 0));
    assert_eq!(table.key, ["window_start", "ad_id"]);
}

#[test]
fn results_are_told_without_passwords() {
    let shown = |url: &str| {
        let config = json!({
            "url": url, "table": "ad_counts", "key": ["ad"], "columns": [{ "name": "ad", "type": "text" }],
        });
        SqlSinkConfig::from_json(&config).unwrap().shown().unwrap()
    };
    assert_eq!(shown("sqlite:out/store.sqlite"), "ad_counts in sqlite:out/store.sqlite");
    assert_eq!(shown("postgres://weir:secret@db/clicks"), "ad_counts in postgres://weir:***@db/clicks");
}
