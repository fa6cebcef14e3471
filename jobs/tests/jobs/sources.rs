//! Clicks as all sorts of programs write them, each counted by a job: times in every dress, values below others, event times
//! that are computed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{execute, execute_until, rows};
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType};
use parquet::arrow::ArrowWriter;
use weir_jobs::{CompileOptions, Job, parse};

/// 2022-03-04T00:00:00Z.
const DAY: i64 = 1_646_352_000_000;
const MINUTE: i64 = 60_000;

/// A folder with files in it, and a job that counts the clicks of each ad per minute.
struct Case {
    folder: tempfile::TempDir,
    source: String,
}

/// Clicks by ad and minute of the day, and the reasons of dead letters in the order of the files.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    clicks: BTreeMap<(String, i64), i64>,
    dead_letters: Vec<String>,
}

impl Case {
    /// `source` is what a definition says beside connector and path.
    fn new(source: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        Case { folder, source: source.to_owned() }
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.folder.path().join("in").join(name), content).unwrap();
        self
    }

    fn parquet<const N: usize>(self, name: &str, columns: [(&str, ArrayRef); N]) -> Self {
        let rows =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
        let file = std::fs::File::create(self.folder.path().join("in").join(name)).unwrap();
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        self
    }

    fn definition(&self, run: &str) -> String {
        let folder = self.folder.path().to_str().unwrap();
        format!(
            r#"
[job]
name = "clicks"
checkpoint = {{ interval = "50ms" }}

[source.clicks]
connector = "files"
path = "{folder}/in"
{}

[aggregate.counts]
input = "clicks"
key = ["ad_id"]
window = {{ tumbling = "1m", allowed_lateness = "10m" }}
select = {{ n = "count(*)" }}

[sink.counts]
input = "counts"
connector = "files"
path = "{folder}/{run}/counts"

[sink.dead_letters]
input = "clicks.dead_letters"
connector = "files"
path = "{folder}/{run}/dead_letters"
"#,
            self.source
        )
    }

    fn job(&self, run: &str, parallelism: usize) -> Job {
        let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
        parse("job.toml", &self.definition(run), &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn run(&self, run: &str, parallelism: usize) -> Counted {
        let folder = self.folder.path();
        execute(self.job(run, parallelism), &folder.join(run).join("checkpoints"));
        counted(&folder.join(run))
    }

    /// Runs it, and sees that nothing depends on the parallelism.
    fn count(&self) -> Counted {
        let counted = self.run("one", 1);
        let mut spread = self.run("three", 3);
        spread.dead_letters.sort();
        let mut sorted = Counted { clicks: counted.clicks.clone(), dead_letters: counted.dead_letters.clone() };
        sorted.dead_letters.sort();
        assert_eq!(sorted, spread);
        counted
    }

    /// What explain says of a definition with a mistake.
    fn refusal(&self) -> String {
        parse("job.toml", &self.definition("none"), &[], &CompileOptions::default()).expect_err("a mistake").to_string()
    }

    /// Asserts that all is counted and nothing is a dead letter.
    fn counts(&self, expected: &[(&str, i64, i64)]) {
        let counted = self.count();
        let expected: BTreeMap<(String, i64), i64> =
            expected.iter().map(|(ad, minute, n)| ((ad.to_string(), *minute), *n)).collect();
        assert_eq!((&counted.clicks, &counted.dead_letters), (&expected, &vec![]), "{}", self.source);
    }
}

#[test]
fn a_source_that_cannot_be_read_is_named_once() {
    let case = Case::new("format = \"click_log\"\nevent_time = \"click_timestamp\"");
    std::fs::remove_dir(case.folder.path().join("in")).unwrap();
    let ended = std::panic::catch_unwind(|| case.run("one", 1));
    let told = ended.err().and_then(|told| told.downcast::<String>().ok()).expect("the job does not end well");
    assert_eq!(told.matches("source.clicks: ").count(), 1, "{told}");
}

fn counted(folder: &Path) -> Counted {
    let mut counted = Counted::default();
    for batch in rows_if_any(&folder.join("counts")) {
        let ads = cast(batch.column_by_name("ad_id").unwrap(), &DataType::Utf8).unwrap();
        let starts = batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMillisecondType>().clone();
        let counts = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
        for row in 0..batch.num_rows() {
            let key = (ads.as_string::<i32>().value(row).to_owned(), (starts.value(row) - DAY) / MINUTE);
            counted.clicks.insert(key, counts.value(row));
        }
    }
    for batch in rows_if_any(&folder.join("dead_letters")) {
        let reasons = batch.column_by_name("reason").unwrap().as_string::<i32>().clone();
        counted.dead_letters.extend(reasons.iter().map(|reason| reason.unwrap().to_owned()));
    }
    counted
}

fn rows_if_any(folder: &Path) -> Vec<RecordBatch> {
    if folder.exists() { rows(folder) } else { Vec::new() }
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn seconds_in_json_are_refused_until_they_are_said_to_be_some() {
    let lines: String = (0..10)
        .map(|minute| format!("{{\"ad_id\": \"ad1\", \"click_timestamp\": {}}}\n", 1_646_352_001 + minute * 60))
        .collect();
    let guessed = Case::new(
        "format = \"json\"\nschema = { ad_id = \"string\", click_timestamp = \"timestamp\" }\nevent_time = \"click_timestamp\"",
    );
    let counted = guessed.file("a.json", &lines).count();
    assert_eq!((counted.clicks.len(), counted.dead_letters.len()), (0, 10));
    let reason = &counted.dead_letters[0];
    assert!(reason.starts_with("click_timestamp 1646352001 ") && reason.contains("unit = \"s\""), "{reason}");
    let expected: Vec<_> = (0..10).map(|minute| ("ad1", minute, 1)).collect();
    for unit in ["", "\"", "e0"] {
        let lines = match unit {
            "\"" => lines.replace(": 16", ": \"16").replace('}', "\"}"),
            "e0" => lines.replace('}', ".25}"),
            _ => lines.clone(),
        };
        let said = "format = \"json\"\nschema = { ad_id = \"string\", click_timestamp = { type = \"timestamp\", unit = \"s\" } }\nevent_time = \"click_timestamp\"";
        Case::new(said).file("a.json", lines).counts(&expected);
    }
}

#[test]
fn times_of_other_writers_are_read() {
    let source = "schema = { ad_id = \"string\", click_timestamp = \"timestamp\" }\nevent_time = \"click_timestamp\"";
    let times = [
        "2022-03-04T00:00:59",
        "2022-03-04T00:01",
        "2022-03-04T00:01Z",
        "2022-03-04T00:01:00+0000",
        "2022-03-04 00:01:00+00",
        "2022-03-04 00:01:00 UTC",
        "2022-03-04T00:01:00,250",
        "2022-03-04T00:01:00Z[UTC]",
        "2022-03-04T01:01:00.123456789+01:00[Europe/Paris]",
        "Fri, 04 Mar 2022 00:01:00 GMT",
        "04/Mar/2022:00:01:00 +0000",
    ];
    let json: String =
        times.iter().map(|time| format!("{{\"ad_id\": \"ad1\", \"click_timestamp\": \"{time}\"}}\n")).collect();
    let counted = Case::new(&format!("format = \"json\"\n{source}")).file("a.json", json).count();
    assert_eq!(counted.clicks.into_values().collect::<Vec<_>>(), [1, 9]);
    assert_eq!(counted.dead_letters.len(), 1);
    assert!(counted.dead_letters[0].contains("`format` in the schema"), "{:?}", counted.dead_letters);
    let csv = format!("format = \"csv\"\n{source}");
    let lines = "ad_id,click_timestamp\nad1,1646352001000\nad1,\"2022-03-04 00:00:02+00\"\n";
    Case::new(&csv).file("epoch.csv", lines).counts(&[("ad1", 0, 2)]);
}

#[test]
fn a_web_servers_times_are_read_by_format_and_by_expression() {
    let lines = "ad_id\tat\nad1\t[04/Mar/2022:00:00:01 +0000]\nad2\t[04/Mar/2022:09:01:01 +0900]\nad1\t-\n";
    let format = "format = \"csv\"\ndelimiter = \"\\t\"\nschema = { ad_id = \"string\", at = { type = \"timestamp\", format = \"[%d/%b/%Y:%H:%M:%S %z]\" } }\nevent_time = \"at\"";
    let expression = "format = \"csv\"\ndelimiter = \"\\t\"\nschema = { ad_id = \"string\", at = \"string\" }\nevent_time = \"to_timestamp(at, '[%d/%b/%Y:%H:%M:%S %z]')\"";
    for (source, reason) in [(format, "it is not as format"), (expression, "to_timestamp(at")] {
        for batch_rows in [1, 100] {
            let case = Case::new(&format!("{source}\nbatch_rows = {batch_rows}")).file("access.log", lines);
            let counted = case.count();
            assert_eq!(counted.clicks, BTreeMap::from([(("ad1".into(), 0), 1), (("ad2".into(), 1), 1)]), "{source}");
            assert_eq!(counted.dead_letters.len(), 1, "{:?}", counted.dead_letters);
            assert!(counted.dead_letters[0].contains(reason), "{:?}", counted.dead_letters);
        }
    }
}

#[test]
fn event_times_are_computed_of_columns() {
    let csv = |schema: &str, event_time: &str| {
        format!("format = \"csv\"\nschema = {{ ad_id = \"string\", {schema} }}\nevent_time = {event_time}")
    };
    let two = csv("day = \"string\", clock = \"string\"", "\"to_timestamp(day || ' ' || clock)\"");
    Case::new(&two)
        .file("a.csv", "day,clock,ad_id\n2022-03-04,00:00:01,ad1\n2022-03-04,00:01:59,ad1\n")
        .counts(&[("ad1", 0, 1), ("ad1", 1, 1)]);
    let date = csv(
        "day = \"date\", seconds = \"int\"",
        "\"to_timestamp_seconds(cast(to_unixtime(day) as bigint) + seconds)\"",
    );
    Case::new(&date).file("a.csv", "day,seconds,ad_id\n2022-03-04,61,ad1\n").counts(&[("ad1", 1, 1)]);
    let seconds = csv("at = \"int\"", "{ name = \"clicked_at\", expression = \"to_timestamp_seconds(at)\" }");
    Case::new(&seconds).file("a.csv", "ad_id,at\nad1,1646352061\n").counts(&[("ad1", 1, 1)]);
    let same_name = csv("event_time = \"int\"", "\"to_timestamp_millis(event_time * 1000)\"");
    Case::new(&same_name).file("a.csv", "ad_id,event_time\nad1,1646352061\n").counts(&[("ad1", 1, 1)]);
    let american = csv("at = \"string\"", "\"to_timestamp(at, '%m/%d/%Y %I:%M:%S %p')\"");
    Case::new(&american).file("a.csv", "ad_id,at\nad1,03/04/2022 12:01:00 AM\n").counts(&[("ad1", 1, 1)]);
    let log = "format = \"click_log\"\nevent_time = \"click_timestamp - interval '9 hours'\"";
    let line = "[AdClickEvent] ad1, 2022-03-04 09:02:01, user 1, 1.1.1.1, KOR\n";
    Case::new(log).file("a.log", line).counts(&[("ad1", 2, 1)]);
}

#[test]
fn a_null_event_time_is_a_dead_letter_with_its_line() {
    let source =
        "format = \"json\"\nschema = { ad_id = \"string\", at = \"int\" }\nevent_time = \"to_timestamp_seconds(at)\"";
    let lines = "{\"ad_id\":\"ad1\"}\n{\"ad_id\":\"ad1\",\"at\":1646352001}\nno json\n{\"ad_id\":\"ad2\",\"at\":9223372036854775807}\n";
    let case = Case::new(source).file("a.json", lines);
    let counted = case.count();
    assert_eq!(counted.clicks, BTreeMap::from([(("ad1".into(), 0), 1)]));
    assert_eq!(counted.dead_letters.len(), 3, "{:?}", counted.dead_letters);
    assert!(counted.dead_letters[0].contains("the event time event_time is null"), "{:?}", counted.dead_letters);
    let batches = rows(&case.folder.path().join("one/dead_letters"));
    let raws: Vec<String> = batches
        .iter()
        .flat_map(|batch| {
            let raws = batch.column_by_name("raw").unwrap().as_string::<i32>().clone();
            (0..raws.len()).map(|row| raws.value(row).to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let mut expected: Vec<&str> = lines.lines().collect();
    expected.remove(1);
    assert_eq!(raws, expected);
}

#[test]
fn nested_json_is_read_by_path() {
    let source = r#"format = "json"
schema = { ad_id = { path = "ad.id", type = "string" }, at = { path = "meta.times.0", type = "timestamp", unit = "ms" }, user = "string" }
event_time = "at""#;
    let lines = "{\"user\":\"u\",\"ad\":{\"id\":\"ad1\",\"name\":\"x\"},\"meta\":{\"times\":[1646352001000,1]}}\n\
                 {\"ad\":{},\"meta\":{\"times\":[1646352061000]}}\n{\"ad\":{\"id\":\"ad1\"},\"meta\":{\"times\":[]}}\n";
    let counted = Case::new(source).file("a.json", lines).count();
    assert_eq!(counted.clicks.into_values().sum::<i64>(), 2);
    assert!(counted.dead_letters[0].contains("the event time at is empty"), "{:?}", counted.dead_letters);
}

#[test]
fn times_without_a_zone_are_of_the_declared_one() {
    let source = r#"format = "csv"
delimiter = ";"
schema = { ad_id = "string", at = { type = "timestamp", format = "%d.%m.%Y %H:%M:%S", timezone = "Europe/Berlin" } }
event_time = "at""#;
    Case::new(source).file("a.csv", "ad_id;at\nad1;04.03.2022 01:03:00\n").counts(&[("ad1", 3, 1)]);
}

#[test]
fn parquet_times_of_every_kind_are_read() {
    let ads = || texts(&["ad1", "ad1"]);
    let seconds = || -> ArrayRef { Arc::new(Int64Array::from(vec![1_646_352_001, 1_646_352_061])) };
    let both = [("ad1", 0, 1), ("ad1", 1, 1)];
    let declared =
        |at: &str| format!("format = \"parquet\"\nschema = {{ ad_id = \"string\", at = {at} }}\nevent_time = \"at\"");
    let unit = declared("{ type = \"timestamp\", unit = \"s\" }");
    Case::new(&unit).parquet("a.parquet", [("ad_id", ads()), ("at", seconds())]).counts(&both);
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1_646_352_001.5, 1_646_352_061.0]));
    Case::new(&unit).parquet("a.parquet", [("ad_id", ads()), ("at", floats)]).counts(&both);
    let web = declared("{ type = \"timestamp\", format = \"%d/%b/%Y:%H:%M:%S %z\" }");
    let texts_of = texts(&["04/Mar/2022:00:00:01 +0000", "04/Mar/2022:00:01:01 +0000"]);
    Case::new(&web).parquet("a.parquet", [("ad_id", ads()), ("at", texts_of)]).counts(&both);
    let usual = texts(&["2022-03-04 00:00:01", "2022-03-04T00:01:01Z"]);
    Case::new(&declared("\"timestamp\"")).parquet("a.parquet", [("ad_id", ads()), ("at", usual)]).counts(&both);
    let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![DAY * 1_000, (DAY + MINUTE) * 1_000]));
    Case::new(&declared("\"timestamp\""))
        .parquet("a.parquet", [("ad_id", ads()), ("at", micros.clone())])
        .counts(&both);
    let undeclared = "format = \"parquet\"\nevent_time = \"at\"";
    Case::new(undeclared).parquet("a.parquet", [("ad_id", ads()), ("at", micros)]).counts(&both);
    let nanos =
        TimestampNanosecondArray::from(vec![DAY * 1_000_000, (DAY + MINUTE) * 1_000_000]).with_timezone("+09:00");
    Case::new(undeclared).parquet("a.parquet", [("ad_id", ads()), ("at", Arc::new(nanos))]).counts(&both);
    let expression =
        "format = \"parquet\"\nevent_time = { name = \"clicked_at\", expression = \"to_timestamp_seconds(at)\" }";
    Case::new(expression).parquet("a.parquet", [("ad_id", ads()), ("at", seconds())]).counts(&both);
    let dates =
        cast(&Int64Array::from(vec![DAY, DAY + MINUTE]), &DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
    let of_date = "format = \"parquet\"\nevent_time = \"cast(day as date)\"";
    Case::new(of_date).parquet("a.parquet", [("ad_id", ads()), ("day", dates)]).counts(&[("ad1", 0, 2)]);
}

#[test]
fn what_is_no_time_in_parquet_is_a_dead_letter_with_its_row() {
    let source = "format = \"parquet\"\nbatch_rows = 2\nschema = { ad_id = \"string\", at = \"timestamp\" }\nevent_time = \"at\"";
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(DAY), Some(DAY / 1_000), None, Some(DAY + MINUTE)]));
    let case =
        Case::new(source).parquet("a.parquet", [("ad_id", texts(&["ad1", "ad2", "ad3", "ad4"])), ("at", numbers)]);
    let counted = case.count();
    assert_eq!(counted.clicks, BTreeMap::from([(("ad1".into(), 0), 1), (("ad4".into(), 1), 1)]));
    assert!(counted.dead_letters[0].contains("unit = \"s\""), "{:?}", counted.dead_letters);
    assert!(counted.dead_letters[1].contains("is empty"), "{:?}", counted.dead_letters);
    let batches = rows(&case.folder.path().join("one/dead_letters"));
    let offsets: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(offsets, [1, 2]);
}

#[test]
fn decimals_are_added_up_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let csv = "ad_id,at,price\nad1,2022-03-04 00:00:01,0.10\nad1,2022-03-04 00:00:02,0.20\nad2,2022-03-04 00:00:03,19.99\nad1,2022-03-04 00:00:04,0.305\n";
    std::fs::write(folder.path().join("a.csv"), csv).unwrap();
    let text = r#"
[job]
name = "spend"
checkpoint = { interval = "20ms" }

[source.clicks]
connector = "files"
path = "OUT/a.csv"
format = "csv"
schema = { ad_id = "string", at = "timestamp", price = "decimal(10, 2)" }
event_time = "at"

[dedup.unique]
input = "clicks"
key = ["price", "at"]
ttl = "1h"

[map.dear]
input = "unique"
where = "price >= 0.10 and price <> 0.15"

[aggregate.spend]
input = "dear"
key = ["ad_id"]
window = { tumbling = "1m" }
select = { spend = "sum(price)", doubled = "sum(price * 2)", most = "max(price)", mean = "avg(price)", prices = "approx_distinct(price)" }

[aggregate.by_price]
input = "dear"
key = ["price"]
window = { tumbling = "1m" }
select = { n = "count(*)" }

[sink.spend]
input = "spend"
connector = "files"
path = "OUT/spend"

[sink.by_price]
input = "by_price"
connector = "files"
path = "OUT/by_price"

[sink.table]
input = "by_price"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "by_price"
key = ["window_start", "price"]
select = ["window_start", "price", "n", "revision"]
"#;
    let text = text.replace("OUT", folder.path().to_str().unwrap());
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let job = parse("spend.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    execute(job, &folder.path().join("checkpoints"));
    let mut spends = BTreeMap::new();
    for batch in rows(&folder.path().join("spend")) {
        let shown = |name: &str, row| {
            let column = batch.column_by_name(name).unwrap();
            arrow::util::display::array_value_to_string(column, row).unwrap()
        };
        for row in 0..batch.num_rows() {
            let values = ["spend", "doubled", "most", "mean", "prices"].map(|name| shown(name, row));
            spends.insert(shown("ad_id", row), values);
        }
    }
    assert_eq!(spends["ad1"], ["0.30", "0.60", "0.20", "0.15", "2"], "0.305 has too many digits");
    assert_eq!(spends["ad2"], ["19.99", "39.98", "19.99", "19.99", "1"]);
    let prices: usize = rows(&folder.path().join("by_price")).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(prices, 3);
}

#[test]
fn what_cannot_be_meant_is_told_by_explain() {
    let csv = |schema: &str, event_time: &str| {
        let source =
            format!("format = \"csv\"\nschema = {{ ad_id = \"string\", {schema} }}\nevent_time = {event_time}");
        Case::new(&source).refusal()
    };
    let has = |told: String, parts: &[&str]| {
        for part in parts {
            assert!(told.contains(part), "{part:?} is not in: {told}");
        }
    };
    has(csv("at = \"int\"", "\"at\""), &["source.clicks.event_time", "is an int", "to_timestamp_seconds(at)"]);
    has(csv("at = \"timestamp\"", "\"att\""), &["there is no column `att`", "`at`"]);
    has(csv("at = \"int\"", "\"to_timestamp_seconds(atx)\""), &["event_time", "atx"]);
    has(csv("at = \"int\"", "\"at * 1000\""), &["event_time", "the event time is an int", "to_timestamp_seconds"]);
    has(
        csv("at = \"int\", event_time = \"string\"", "\"to_timestamp_seconds(at)\""),
        &["there is a column `event_time` already"],
    );
    has(csv("at = \"int\"", "{ expression = \"to_timestamp_seconds(at)\" }"), &["the key `name` is missing"]);
    has(csv("at = \"int\"", "\"now()\""), &["event_time", "now"]);
    has(csv("at = { type = \"timestamp\", unit = \"sec\" }", "\"at\""), &["schema.at.unit", "`sec`"]);
    has(
        csv("at = { type = \"timestamp\", format = \"%H:%M\" }", "\"at\""),
        &["schema.at.format", "a year, a month and a day"],
    );
    has(csv("at = { type = \"timestamp\", timezone = \"Mars\" }", "\"at\""), &["schema.at.timezone", "Mars"]);
    has(csv("at = { type = \"int\", unit = \"s\" }", "\"at\""), &["schema.at.unit", "column of type int"]);
    has(csv("at = { type = \"timestamp\", path = \"x.y\" }", "\"at\""), &["schema.at.path", "only the values of JSON"]);
    has(csv("at = { typ = \"timestamp\" }", "\"at\""), &["schema.at", "`typ` is unknown"]);
    has(csv("at = \"decimal(50, 2)\"", "\"at\""), &["schema.at", "1 to 38 digits"]);
    has(csv("at = 7", "\"at\""), &["schema.at", "no type is given"]);
}

/// A followed file: the rows that come later, too.
#[test]
fn computed_event_times_of_followed_files() {
    let source = "format = \"json\"\nfollow = true\npoll = \"5ms\"\nschema = { ad_id = \"string\", at = \"int\" }\nevent_time = \"to_timestamp_seconds(at)\"";
    let case = Case::new(source).file("a.json", "{\"ad_id\":\"ad1\",\"at\":1646352001}\n");
    let (folder, job) = (case.folder.path().to_owned(), case.job("live", 2));
    execute_until(job, &folder.join("checkpoints"), |stop| async move {
        let more =
            "{\"ad_id\":\"ad1\",\"at\":1646352002}\n{\"ad_id\":\"ad1\",\"at\":1646353000}\n{\"ad_id\":\"ad1\"}\n";
        let mut file = std::fs::OpenOptions::new().append(true).open(folder.join("in/a.json")).unwrap();
        std::io::Write::write_all(&mut file, more.as_bytes()).unwrap();
        // The last of them is a dead letter, and comes when all before it have.
        while counted(&folder.join("live")).dead_letters.is_empty() {
            weir_engine::env::Env::default().sleep(Duration::from_millis(20)).await;
        }
        stop.stop();
    });
    let counted = counted(&case.folder.path().join("live"));
    assert_eq!(counted.clicks, BTreeMap::from([(("ad1".into(), 0), 2)]));
}

/// Decimals in Parquet flow as they are, with or without a schema.
#[test]
fn parquet_decimals_flow() {
    let prices = || -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![Some(110), Some(220)]).with_precision_and_scale(9, 2).unwrap())
    };
    let micros =
        || -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![DAY * 1_000, (DAY + MINUTE) * 1_000])) };
    for schema in ["", "schema = { ad_id = \"decimal(9, 2)\", at = \"timestamp\" }\n"] {
        let source = format!("format = \"parquet\"\n{schema}event_time = \"at\"");
        let case = Case::new(&source).parquet("a.parquet", [("ad_id", prices()), ("at", micros())]);
        case.counts(&[("1.10", 0, 1), ("2.20", 1, 1)]);
    }
}
