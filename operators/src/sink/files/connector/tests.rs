//! What a definition says of a files sink, and what is wrong with it.

use super::*;
use crate::{
    definition::testing::read,
    schema::{Column, ColumnSchema},
};
use arrow::datatypes::DataType;
use serde_json::json;

fn columns(of: &[(&str, DataType)]) -> ColumnSchema {
    let column = |(name, data_type): &(&str, DataType)| Column {
        name: (*name).to_owned(),
        data_type: data_type.clone(),
        nullable: true,
    };
    ColumnSchema { columns: of.iter().map(column).collect() }
}

fn given(columns: &ColumnSchema) -> SinkGiven<'_> {
    SinkGiven { columns, event_time: None, results: None, has_select: false }
}

const JOB: SinkJob<'static> = SinkJob { running: false, filters: &[], archive_held_ms: 0 };

fn told(settings: &FilesSinkSettings, columns: &ColumnSchema) -> Vec<String> {
    let mut mistakes = Vec::new();
    settings.check(&given(columns), &KeyPath::default(), &mut mistakes);
    mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect()
}

#[test]
fn keys_become_the_configuration_of_a_node() {
    let keys = json!({
        "format": "parquet", "path": "out", "compression": "zstd", "partition_by": "hour", "retention": "2d",
        "roll": { "every": "5m", "bytes": 7 },
    });
    let (settings, wrong) = read(keys, FilesSinkSettings::read);
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(settings.roll, Some(Roll::Every { every: Duration::from_secs(300), bytes: Some(7) }));
    let rows = columns(&[("n", DataType::Int64), ("at", event_time_type())]);
    let expected = json!({
        "path": "out", "format": "parquet", "compression": "zstd", "partition_by": "hour", "partition_column": "at",
        "retention_ms": 172_800_000,
    });
    assert_eq!(settings.config(&given(&rows), &JOB), expected);
    assert_eq!(settings.note(), "Parquet files at out, one folder per hour, kept for 2d");
    assert_eq!(settings.archive(), Some(Archive { path: "out", expires: true }));
    let plain = FilesSinkSettings::at("out");
    assert_eq!(plain.config(&given(&rows), &JOB), json!({ "path": "out", "format": "parquet", "compression": "none" }));
    assert_eq!(plain.archive(), None);
}

#[test]
fn what_is_wrong_is_told_at_its_key() {
    let keys = json!({ "path": "out", "format": "orc", "retention": "1s", "roll": "never", "rol": 1 });
    let (_, wrong) = read(keys, FilesSinkSettings::read);
    let expected = [
        "format: there is no format called `orc`",
        "roll: this does not say when new files are started",
        "retention: files would be removed as soon as they are written",
        "rol: the key `rol` is unknown",
    ];
    assert_eq!(wrong, expected);
    let two = columns(&[("a", event_time_type()), ("b", event_time_type()), ("n", DataType::Int64)]);
    let hourly = |column: Option<&str>| FilesSinkSettings::at("out").partition_by_hour(column.map(str::to_owned));
    assert_eq!(told(&hourly(None), &two), ["partition_by: it is not clear which column's hour is meant"]);
    assert_eq!(told(&hourly(Some("a")), &two), Vec::<String>::new());
    assert_eq!(told(&hourly(Some("c")), &two), ["partition_column: there is no column `c`"]);
    assert_eq!(told(&hourly(Some("n")), &two), ["partition_column: `n` is an int"]);
    assert_eq!(told(&FilesSinkSettings::at(" "), &two), ["path: this names no folder"]);
}

#[test]
fn text_has_words_for_what_fits_into_a_line() {
    let of = |format, rows: &[(&str, DataType)]| told(&FilesSinkSettings::at("out").format(format), &columns(rows));
    let list = DataType::new_list(DataType::Int64, true);
    let nested = [("n", DataType::Int64), ("list", list)];
    assert_eq!(of(FileFormat::Json, &nested), Vec::<String>::new());
    assert_eq!(of(FileFormat::Csv, &nested), ["input: `list` is a list, and a field of a CSV holds one value"]);
    assert_eq!(
        of(FileFormat::Csv, &nested[..1]),
        ["input: `n` is the only column, and a CSV has no line for a null in it"]
    );
    let snappy = json!({ "path": "out", "format": "json", "compression": "snappy" });
    let (_, wrong) = read(snappy, FilesSinkSettings::read);
    assert_eq!(wrong, ["compression: there are no JSON lines that are compressed with snappy"]);
    let csv = json!({ "path": "out", "format": "csv", "compression": "gzip", "partition_by": "hour" });
    let (csv, wrong) = read(csv, FilesSinkSettings::read);
    assert_eq!((wrong, csv.note()), (vec![], "CSV files at out, one folder per hour".to_owned()));
    assert_eq!(csv.archive(), None, "counts are recalculated from Parquet alone");
}

#[test]
fn rows_are_held_as_it_suits_them_unless_it_is_said() {
    let rhythm = |running, beside| SinkRhythm { checkpoint_interval: Duration::from_secs(1), running, beside };
    let held = |settings: &FilesSinkSettings, running, beside| {
        settings.hold(&rhythm(running, beside)).map(|rule| rule.time_ms)
    };
    let settings = FilesSinkSettings::at("out");
    assert_eq!(held(&settings, false, false), Some(60_000));
    assert_eq!(held(&settings, false, true), Some(600_000));
    assert_eq!(held(&settings, true, false), None);
    let every = Roll::Every { every: Duration::from_secs(5), bytes: None };
    assert_eq!(held(&settings.clone().roll(every), true, false), Some(5_000));
    assert_eq!(held(&settings.roll(Roll::Checkpoint), false, true), None);
}

#[test]
fn folders_are_the_same_however_they_are_written() {
    let owned = |path: &str| FilesSinkSettings::at(path).owns().unwrap();
    assert!(owned("out/a").meets(&owned("./out//a/")) && owned("/out/a").meets(&owned("file:///out")));
    assert!(!owned("out").meets(&owned("/out")) && !owned("out/a").meets(&owned("out/ab")));
    assert_eq!(owned("./out//a/").shown, "out/a");
    assert!(owned("/a/out/raw").meets(&owned("/a/b/../out/raw")) && owned("out/raw").meets(&owned("x/../out/raw")));
    assert!(!owned("/a/out/raw").meets(&owned("/a/out/../raw")));
    let here = std::env::current_dir().unwrap();
    assert!(owned("out/raw").meets(&owned(&here.join("out/raw").display().to_string())));
    assert!(FilesSinkSettings::at("").owns().is_none());
}

#[test]
fn committed_files_are_found_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["hour=2022-03-04T00", "_staging"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in ["hour=2022-03-04T00/job-counts-00000001-0-0.parquet", "_staging/job-counts-x.parquet", "other.parquet"]
    {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let at = |path: String| FilesSinkConfig::at(path).files_here("job", "sink.counts");
    let found = at(format!("file://{}", folder.path().display())).unwrap();
    let names: Vec<_> = found.files.unwrap().iter().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["job-counts-00000001-0-0.parquet"]);
    assert!(at("s3://bucket/out".into()).is_none());
    assert_eq!(at("no/such/folder".into()).unwrap().files.unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn avro_has_the_schema_of_the_columns_or_one_of_a_file() {
    let rows = columns(&[("n", DataType::Int64), ("text", DataType::Utf8)]);
    let keys = json!({ "path": "out", "format": "avro", "compression": "deflate" });
    let (derived, wrong) = read(keys, FilesSinkSettings::read);
    assert_eq!((wrong, told(&derived, &rows)), (vec![], vec![]));
    let config = derived.config(&given(&rows), &JOB);
    let schema: serde_json::Value = serde_json::from_str(config["schema"]["pinned"].as_str().unwrap()).unwrap();
    assert_eq!((&schema["name"], &schema["fields"][1]["name"]), (&json!("row"), &json!("text")));
    assert_eq!(config["compression"], "deflate");
    assert_eq!(derived.note(), "Avro files at out");
    FilesSinkConfig::from_json(&config).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = |fields: serde_json::Value| {
        let path = folder.path().join("rows.avsc");
        std::fs::write(&path, json!({ "type": "record", "name": "clicks", "fields": fields }).to_string()).unwrap();
        let (settings, wrong) =
            read(json!({ "path": "out", "format": "avro", "schema": { "file": path } }), FilesSinkSettings::read);
        assert_eq!(wrong, Vec::<String>::new());
        settings
    };
    let n = |of: serde_json::Value| json!({ "name": "n", "type": ["null", of] });
    let text = |of: serde_json::Value| json!({ "name": "text", "type": ["null", of] });
    let fits = file(json!([n(json!("long")), text(json!("string"))]));
    assert_eq!(told(&fits, &rows), Vec::<String>::new());
    let pinned = fits.config(&given(&rows), &JOB)["schema"]["pinned"].as_str().unwrap().to_owned();
    assert!(pinned.contains("clicks"), "{pinned}");
    let some = [n(json!("int")), text(json!({ "type": "enum", "name": "e", "symbols": ["a"] }))];
    assert_eq!(
        told(&file(json!(some)), &rows),
        [
            "input: its field of type int doesn't hold every value that `n` may have",
            "input: its field of type enum doesn't hold every value that `text` may have",
        ]
    );
    let uuid = file(json!([n(json!("long")), text(json!({ "type": "string", "logicalType": "uuid" }))]));
    assert_eq!(told(&uuid, &rows), ["input: its field of type uuid doesn't hold every value that `text` may have"]);
    let no_null = file(json!([{ "name": "n", "type": "long" }, { "name": "other", "type": "long" }]));
    assert_eq!(
        told(&no_null, &rows),
        [
            "input: `n` may be null, and its field of type long takes no null",
            "input: the schema has no field for the column `text`",
            "schema: the field `other` must have a value, and there is no column for it",
        ]
    );
    let span = columns(&[("span", DataType::Duration(arrow::datatypes::TimeUnit::Second))]);
    assert_eq!(told(&derived, &span), ["input: Avro has no type for `span`, which is a span of time"]);
}

#[test]
fn keys_that_are_not_for_a_format_are_told() {
    let wrong = |keys| read(keys, FilesSinkSettings::read).1;
    assert_eq!(
        wrong(json!({ "path": "out", "format": "avro", "compression": "gzip", "schema": { "registry": "http://r" } })),
        [
            "compression: there are no Avro files that are compressed with gzip",
            "schema: the key `file` is missing",
            "schema.registry: the key `registry` is unknown",
        ]
    );
    assert_eq!(wrong(json!({ "path": "out", "schema": {} })), ["schema: only files of Avro have one"]);
    assert_eq!(
        wrong(json!({ "path": "out", "compression": "deflate" })),
        ["compression: there are no Parquet files that are compressed with deflate"]
    );
}
