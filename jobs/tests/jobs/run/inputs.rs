//! Inputs as other programs leave them: each is counted as what it says, or is a dead letter.

use crate::support::{execute, rows};
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, NullArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::Int64Type;
use flate2::{Compression, write::GzEncoder};
use parquet::arrow::ArrowWriter;
use std::{collections::BTreeMap, fs, io::Write, path::Path, sync::Arc};
use weir_jobs::{CompileOptions, parse};

/// What every definition here has in common.
const JOB: &str = r#"
[job]
name = "clicks"
checkpoint = { interval = "20ms" }

[source.clicks]
connector = "files"
path = "BASE/in"
event_time = "click_timestamp"
SOURCE

[aggregate.counts]
input = "clicks"
key = [KEY]
window = { tumbling = "1m", allowed_lateness = "10m" }
select = { clicks = "count(*)" }

[sink.counts]
input = "counts"
connector = "files"
path = "BASE/counts"

[sink.dead_letters]
input = "clicks.dead_letters"
connector = "files"
path = "BASE/dead_letters"
"#;

/// The counts by key, and the reasons of the dead letters.
fn counted(base: &Path, source: &str, key: &[&str]) -> (BTreeMap<String, i64>, Vec<String>) {
    let keys: Vec<String> = key.iter().map(|key| format!("{key:?}")).collect();
    let text =
        JOB.replace("BASE", &base.display().to_string()).replace("SOURCE", source).replace("KEY", &keys.join(", "));
    let options = CompileOptions::default();
    let job = parse("clicks.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    execute(job, &base.join("state"));
    let mut counts = BTreeMap::new();
    for batch in rows(&base.join("counts")) {
        let n = batch.column_by_name("clicks").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let text = |key: &&str| {
                let column = batch.column_by_name(key).unwrap();
                arrow::util::display::array_value_to_string(column, row).unwrap()
            };
            *counts.entry(key.iter().map(text).collect::<Vec<_>>().join(" ")).or_default() += n.value(row);
        }
    }
    let mut dead = Vec::new();
    let refused = base.join("dead_letters");
    for batch in if refused.exists() { rows(&refused) } else { Vec::new() } {
        let reasons = batch.column_by_name("reason").unwrap().as_string::<i32>();
        dead.extend(reasons.iter().map(|reason| reason.unwrap().to_owned()));
    }
    (counts, dead)
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn only(key: &str, n: i64) -> BTreeMap<String, i64> {
    BTreeMap::from([(key.to_owned(), n)])
}

const CLICK: &str = "[AdClickEvent] ad1, 2022-03-04 00:00:01, user 1, 10.0.0.1, USA\n";

#[test]
fn a_first_click_behind_a_byte_order_mark_is_counted() {
    let line = "{\"ad_id\": \"ad1\", \"click_timestamp\": \"2022-03-04T00:00:01Z\"}\n";
    let json = folder(&[("a.json", format!("\u{feff}{}", line.repeat(2)).as_bytes())]);
    let source = "format = \"json\"\nschema = { ad_id = \"string\", click_timestamp = \"timestamp\" }";
    assert_eq!(counted(json.path(), source, &["ad_id"]), (only("ad1", 2), Vec::new()));
    let log = folder(&[("a.log", format!("\u{feff}{}", CLICK.repeat(2)).as_bytes())]);
    assert_eq!(counted(log.path(), "format = \"click_log\"", &["ad_id"]), (only("ad1", 2), Vec::new()));
}

#[test]
fn a_line_break_in_a_quoted_field_makes_no_click() {
    let text = "ad_id,click_timestamp,note\nad1,2022-03-04 00:00:01,\"what the user typed\n\
        ad9,2022-03-04 00:00:05,buy ad9\nend\"\nad1,2022-03-04 00:00:02,\n";
    let csv = folder(&[("a.csv", text.as_bytes())]);
    let source =
        "format = \"csv\"\nschema = { ad_id = \"string\", click_timestamp = \"timestamp\", note = \"string\" }";
    assert_eq!(counted(csv.path(), source, &["ad_id"]), (only("ad1", 2), Vec::new()));
}

#[test]
fn a_compressed_log_is_counted_with_the_others() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(CLICK.repeat(2).as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let logs = folder(&[("clicks.log", CLICK.as_bytes()), ("clicks.log.1.gz", &packed), ("cut.log.gz", &packed[..20])]);
    let (counts, dead) = counted(logs.path(), "format = \"click_log\"", &["ad_id"]);
    assert_eq!((counts, dead.len()), (only("ad1", 3), 1));
    assert!(dead[0].contains("the gzip file is cut off"), "{dead:?}");
}

#[test]
fn parquet_files_of_one_feed_need_not_be_alike() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, country: Option<ArrayRef>, n: ArrayRef| {
        let path = folder.path().join("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let ads: ArrayRef = Arc::new(StringArray::from(vec!["ad1"; n.len()]));
        let times = TimestampMillisecondArray::from(vec![1_646_352_001_000; n.len()]).with_timezone("UTC");
        let mut columns: Vec<(&str, ArrayRef)> = vec![("ad_id", ads), ("click_timestamp", Arc::new(times)), ("n", n)];
        columns.extend(country.map(|country| ("country", country)));
        let columns = columns.into_iter().map(|(name, column)| (name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    write("missing.parquet", None, Arc::new(Int32Array::from(vec![7])));
    write("null.parquet", Some(Arc::new(NullArray::new(1))), Arc::new(NullArray::new(1)));
    write("usual.parquet", Some(Arc::new(StringArray::from(vec!["USA"]))), Arc::new(Int32Array::from(vec![8])));
    let expected = BTreeMap::from([("ad1  ".to_owned(), 1), ("ad1  7".to_owned(), 1), ("ad1 USA 8".to_owned(), 1)]);
    let columns = "schema = { ad_id = \"string\", click_timestamp = \"timestamp\", country = \"string\", n = \"int\" }";
    for source in [format!("format = \"parquet\"\n{columns}"), "format = \"parquet\"".to_owned()] {
        for made in ["state", "counts", "dead_letters"] {
            let _ = fs::remove_dir_all(folder.path().join(made));
        }
        let found = counted(folder.path(), &source, &["ad_id", "country", "n"]);
        assert_eq!(found, (expected.clone(), Vec::new()), "{source}");
    }
}

#[test]
fn folders_are_columns() {
    let logs = folder(&[
        ("site=a%2Fb/day=2022-03-04/clicks.log", CLICK.as_bytes()),
        ("site=__HIVE_DEFAULT_PARTITION__/day=2022-03-05/clicks.log", CLICK.as_bytes()),
        ("site=c/day=never/clicks.log", CLICK.as_bytes()),
    ]);
    let source = "format = \"click_log\"\npartitions = { site = \"string\", day = \"date\" }";
    let (counts, dead) = counted(logs.path(), source, &["site", "day"]);
    assert_eq!(counts, BTreeMap::from([(" 2022-03-05".to_owned(), 1), ("a/b 2022-03-04".to_owned(), 1)]));
    assert!(dead.len() == 1 && dead[0].contains("the folder day=never"), "{dead:?}");
}
