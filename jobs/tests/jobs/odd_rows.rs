//! Rows with wrong clocks, without keys, and with floats that do not add up: what becomes of them depends on the rows alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::support::{execute, rows};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use weir_engine::task::RunOutcome;
use weir_jobs::{CompileOptions, Job, parse};

/// 2022-03-04 00:00:00 UTC.
const START: i64 = 1_646_352_000_000;
const HOUR: i64 = 3_600_000;

/// The sum of a counter over the operators whose ids begin so.
fn counter(outcome: &RunOutcome, operator: &str, name: &str) -> u64 {
    let operators = outcome.manifest.operators.iter().filter(|found| found.operator.starts_with(operator));
    let subtasks = operators.flat_map(|operator| &operator.subtasks);
    subtasks.filter_map(|subtask| subtask.counters.get(name)).sum()
}

fn compiled(text: &str, parallelism: usize) -> Job {
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    parse("job.toml", text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn text_of(milliseconds: i64) -> String {
    let rows = TimestampMillisecondArray::from(vec![milliseconds]).with_timezone("UTC");
    arrow::util::display::array_value_to_string(&rows, 0).unwrap()
}

/// Writes clicks at these times, all on one ad.
fn write_clicks(folder: &Path, name: &str, format: &str, times: &[i64]) {
    std::fs::create_dir_all(folder).unwrap();
    let line = |time: &i64| match format {
        "csv" => format!("ad1,{}\n", text_of(*time)),
        "json" => format!("{{\"ad_id\": \"ad1\", \"click_timestamp\": \"{}\"}}\n", text_of(*time)),
        _ => format!("[AdClickEvent] ad1, {}, user, 1.2.3.4, USA\n", text_of(*time).replace('T', " ").replace('Z', "")),
    };
    let path = folder.join(format!("{name}.{format}"));
    if format == "parquet" {
        let ads: ArrayRef = Arc::new(StringArray::from_iter_values(times.iter().map(|_| "ad1")));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC"));
        let batch = RecordBatch::try_from_iter([("ad_id", ads), ("click_timestamp", times)]).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(50)).build();
        let file = std::fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        return;
    }
    let header = if format == "csv" { "ad_id,click_timestamp\n" } else { "" };
    std::fs::write(path, header.to_owned() + &times.iter().map(line).collect::<String>()).unwrap();
}

/// Counted, late and dead: of clicks per minute.
fn classes(folder: &Path, format: &str, watermark: &str, batch_rows: usize, parallelism: usize) -> [u64; 3] {
    let schema = match format {
        "csv" | "json" => "schema = { ad_id = \"string\", click_timestamp = \"timestamp\" }",
        _ => "",
    };
    let out = tempfile::tempdir().unwrap();
    let text = format!(
        r#"
[job]
name = "clicks"
[source.clicks]
connector = "files"
path = {folder:?}
format = "{format}"
event_time = "click_timestamp"
watermark = {{ {watermark} }}
batch_rows = {batch_rows}
{schema}
[aggregate.counts]
input = "clicks"
key = ["ad_id"]
window = {{ tumbling = "1m", allowed_lateness = "10m" }}
select = {{ count = "count(*)" }}
[sink.counts]
input = "counts"
connector = "files"
path = {counts:?}
[sink.dead_letters]
input = "clicks.dead_letters"
connector = "files"
path = {dead:?}
"#,
        counts = out.path().join("counts"),
        dead = out.path().join("dead"),
    );
    let outcome = execute(compiled(&text, parallelism), &out.path().join("checkpoints"));
    let dead = out.path().join("dead");
    for batch in if dead.exists() { rows(&dead) } else { Vec::new() } {
        let reasons = batch.column_by_name("reason").unwrap().as_string::<i32>();
        assert!(reasons.iter().flatten().all(|reason| reason.contains("(max_jump) ahead of its file")), "{reasons:?}");
    }
    [("aggregate.counts", "events_counted"), ("late_gate", "late"), ("source", "dead_letters")]
        .map(|(operator, name)| counter(&outcome, operator, name))
}

/// An hour of clicks, one every five seconds, with others put in before some of them.
fn hour_with(others: &[(usize, Vec<i64>)]) -> Vec<i64> {
    let mut times: Vec<i64> = (0..720).map(|n| START + n * 5_000).collect();
    for (at, others) in others.iter().rev() {
        times.splice(at..at, others.iter().copied());
    }
    times
}

const WITH_MAX_JUMP: &str = "delay = \"0s\", max_jump = \"10m\"";

#[test]
fn clicks_of_wrong_clocks_make_no_others_late() {
    let phone = |at: usize, clicks: i64| -> Vec<i64> {
        (0..clicks).map(|n| START + at as i64 * 5_000 + 2 * HOUR + n * 1_000).collect()
    };
    let of_2150 = |clicks: i64| -> Vec<i64> { (0..clicks).map(|n| START + 128 * 365 * 24 * HOUR + n).collect() };
    let folder = tempfile::tempdir().unwrap();
    let variants: Vec<Vec<(usize, Vec<i64>)>> = vec![
        vec![(0, phone(0, 1))],
        vec![(0, of_2150(1))],
        vec![(720, phone(720, 1))],
        vec![(120, phone(120, 3)), (300, of_2150(3))],
        vec![(0, phone(0, 10)), (5, of_2150(2)), (719, of_2150(10))],
        vec![(0, of_2150(100))],
        vec![(200, phone(200, 100)), (720, of_2150(100))],
        (0..700).step_by(3).map(|at| (at, phone(at, 2))).collect(),
    ];
    let formats = ["click_log", "csv", "json", "parquet"];
    for (turn, others) in variants.iter().enumerate() {
        let absurd: u64 = others.iter().map(|(_, others)| others.len() as u64).sum();
        for (shift, (batch_rows, parallelism)) in [(16_384, 1), (13, 3)].into_iter().enumerate() {
            let format = formats[(turn + shift) % 4];
            let input = folder.path().join(format!("{turn}-{shift}"));
            write_clicks(&input, "bad", format, &hour_with(others));
            write_clicks(&input, "good", format, &hour_with(&[]));
            let found = classes(&input, format, WITH_MAX_JUMP, batch_rows, parallelism);
            assert_eq!(found, [1_440, 0, absurd], "variant {turn} as {format}");
        }
    }
}

#[test]
fn clicks_far_behind_are_late_and_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (turn, format) in ["click_log", "parquet"].into_iter().enumerate() {
        let input = folder.path().join(format);
        write_clicks(&input, "a", format, &hour_with(&[(0, vec![0, 1_000]), (300, vec![7])]));
        assert_eq!(classes(&input, format, WITH_MAX_JUMP, 100, 1 + turn), [720, 3, 0], "{format}");
    }
}

#[test]
fn without_max_jump_nothing_is_refused_and_dates_up_to_a_day_ahead_are_believed() {
    let folder = tempfile::tempdir().unwrap();
    write_clicks(folder.path(), "a", "csv", &hour_with(&[(120, vec![START + 2 * HOUR])]));
    // Windows of the first ten minutes are counted, and the one two hours ahead.
    assert_eq!(classes(folder.path(), "csv", "delay = \"0s\"", 100, 2), [121, 600, 0]);
    let of_2150 = START + 128 * 365 * 24 * HOUR;
    write_clicks(folder.path(), "a", "csv", &hour_with(&[(120, vec![of_2150; 100])]));
    assert_eq!(classes(folder.path(), "csv", "delay = \"0s\"", 7, 2), [820, 0, 0]);
}

#[test]
fn a_file_that_was_quiet_for_a_weekend_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let monday = START + 60 * HOUR;
    let times: Vec<i64> = (0..1_500).map(|n| START + n * 1_000).chain((0..3_000).map(|n| monday + n * 1_000)).collect();
    for (format, batch_rows, parallelism) in [("csv", 7, 1), ("parquet", 16_384, 3)] {
        let input = folder.path().join(format);
        write_clicks(&input, "a", format, &times);
        let found = classes(&input, format, WITH_MAX_JUMP, batch_rows, parallelism);
        assert_eq!(found, [1_500 + 2_001, 0, 999], "the thousandth settles it: {format}");
        let sooner = "delay = \"0s\", max_jump = \"10m\", jump_after = { rows = 5, span = \"20s\" }";
        assert_eq!(classes(&input, format, sooner, batch_rows, parallelism), [1_500 + 2_980, 0, 20]);
    }
}

/// Events with an id or none: JSON lines, as they are written by two servers.
const KEYED: &str = r#"
[job]
name = "clicks"
[source.clicks]
connector = "files"
path = IN
format = "json"
schema = { ad = "string", id = "string", server = "string", at = "timestamp", country = "string" }
event_time = "at"
batch_rows = BATCH
[dedup.unique]
input = "clicks"
key = ["id", "server"]
ttl = "1h"
same_event_time = true
NULL_KEY
[aggregate.counts]
input = "unique"
key = ["ad"]
window = { tumbling = "1m" }
select = { count = "count(*)" }
[reduce.top]
input = "counts"
top = { n = 5, by = "count" }
[sink.counts]
input = "counts"
connector = "files"
path = OUT/counts"
[sink.top]
input = "top"
connector = "files"
path = OUT/top"
[sink.without_key]
input = "unique.dead_letters"
connector = "files"
path = OUT/without_key"
"#;

fn keyed(folder: &Path, null_key: &str, batch_rows: usize, parallelism: usize) -> (Job, std::path::PathBuf) {
    let out = folder.join(format!("out-{batch_rows}-{parallelism}-{}", null_key.len()));
    let text = KEYED
        .replace("IN", &format!("{:?}", folder.join("in")))
        .replace("OUT", &format!("\"{}", out.display()))
        .replace("BATCH", &batch_rows.to_string())
        .replace("NULL_KEY", null_key);
    (compiled(&text, parallelism), out)
}

/// Ad and count, with the record's id.
fn counts(folder: &Path) -> BTreeMap<Option<String>, (i64, Vec<u8>)> {
    let mut counts = BTreeMap::new();
    for batch in rows(folder) {
        let ads = batch.column_by_name("ad").unwrap().as_string::<i32>();
        let values = batch.column_by_name("count").unwrap().as_primitive::<Int64Type>();
        let ids = batch.column_by_name("record_id").unwrap().as_fixed_size_binary();
        for row in 0..batch.num_rows() {
            let ad = ads.is_valid(row).then(|| ads.value(row).to_owned());
            let known = counts.insert(ad, (values.value(row), ids.value(row).to_vec()));
            assert!(known.is_none(), "a group twice: {known:?}");
        }
    }
    counts
}

fn write_keyed(folder: &Path) {
    let mut lines = String::new();
    for n in 0..30 {
        let id = ["null".to_owned(), "\"\"".to_owned(), format!("\"e{}\"", n / 6)][n % 3].clone();
        let ad = ["null", "\"\"", "\"a\""][n / 3 % 3];
        let at = text_of(START + n as i64);
        lines += &format!("{{\"ad\": {ad}, \"id\": {id}, \"server\": \"s\", \"at\": \"{at}\", \"country\": \"x\"}}\n");
    }
    std::fs::create_dir_all(folder.join("in")).unwrap();
    std::fs::write(folder.join("in/a.json"), lines).unwrap();
}

#[test]
fn rows_without_a_key_pass_or_are_dead_letters_as_the_definition_says() {
    let folder = tempfile::tempdir().unwrap();
    write_keyed(folder.path());
    let mut first = None;
    for (batch_rows, parallelism) in [(1_000, 1), (1, 3), (4, 2)] {
        let (job, out) = keyed(folder.path(), "", batch_rows, parallelism);
        let outcome = execute(job, &out.join("checkpoints"));
        let of = |operator: &str, name: &str| counter(&outcome, operator, name);
        // Ten have no id; of the ten with an empty one, and of each pair with a given one, one stays.
        assert_eq!((of("dedup", "without_key"), of("dedup", "duplicates")), (10, 9 + 5));
        assert_eq!(of("aggregate.counts", "events_counted"), 16);
        // A group without an ad is none with an empty one, and has an id of its own, the same in every run.
        let counts = counts(&out.join("counts"));
        assert_eq!(counts.len(), 3);
        assert_eq!(counts.values().map(|(count, _)| count).sum::<i64>(), 16);
        let ids: std::collections::BTreeSet<&Vec<u8>> = counts.values().map(|(_, id)| id).collect();
        assert_eq!(ids.len(), 3);
        let top: usize = rows(&out.join("top")).iter().map(RecordBatch::num_rows).sum();
        assert_eq!(top, 3, "each has its rank");
        let ids: Vec<(Option<String>, Vec<u8>)> = counts.into_iter().map(|(ad, (_, id))| (ad, id)).collect();
        assert_eq!(first.get_or_insert_with(|| ids.clone()), &ids);
    }
    let (job, out) = keyed(folder.path(), "null_key = \"dead_letter\"", 7, 2);
    let outcome = execute(job, &out.join("checkpoints"));
    let of = |operator: &str, name: &str| counter(&outcome, operator, name);
    assert_eq!((of("dedup", "without_key"), of("dedup", "dead_letters")), (0, 10));
    assert_eq!(of("aggregate.counts", "events_counted"), 6);
    let dead = rows(&out.join("without_key"));
    assert_eq!(dead.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    let raw = dead[0].column_by_name("raw").unwrap().as_string::<i32>().value(0);
    assert!(raw.contains("\"id\":null") && raw.contains("\"ad\":"), "{raw}");
}

/// Sum as Python's `fsum` finds it: partial sums that do not overlap, and the largest of them rounded at the end.
fn fsum(values: &[f64]) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for value in values {
        let mut value = *value;
        let mut kept = 0;
        for at in 0..partials.len() {
            let (large, small) = match value.abs() < partials[at].abs() {
                true => (partials[at], value),
                false => (value, partials[at]),
            };
            let high = large + small;
            let low = small - (high - large);
            if low != 0.0 {
                partials[kept] = low;
                kept += 1;
            }
            value = high;
        }
        partials.truncate(kept);
        partials.push(value);
    }
    let mut high = partials.pop().unwrap_or(0.0);
    while let Some(next) = partials.pop() {
        let sum = high + next;
        let low = next - (sum - high);
        high = sum;
        if low != 0.0 {
            // Half of the last place, with more of the same sign below: away from zero.
            let twice = low * 2.0;
            let up = high + twice;
            if partials.last().is_some_and(|last| (*last < 0.0) == (low < 0.0)) && twice == up - high {
                high = up;
            }
            break;
        }
    }
    high
}

#[test]
fn sums_of_floats_are_the_same_to_the_last_bit_however_they_are_added_up() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    std::fs::create_dir_all(&input).unwrap();
    let mut expected: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for file in 0..3u64 {
        let mut lines = String::new();
        for n in 0..400u64 {
            let dice = (file * 400 + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
            let scale = [1.0, 0.01, 1e12, -1e-9, 1e150, -1e150][dice as usize % 6];
            let value = (dice >> 20) as f64 / 7.0 * scale;
            let key = format!("k{}", dice / 6 % 3);
            lines +=
                &format!("{{\"key\": \"{key}\", \"value\": {value:?}, \"at\": \"{}\"}}\n", text_of(START + n as i64));
            expected.entry(key).or_default().push(value);
        }
        std::fs::write(input.join(format!("{file}.json")), lines).unwrap();
    }
    for (batch_rows, parallelism) in [(10_000, 1), (1, 4), (37, 3)] {
        let out = folder.path().join(format!("out-{parallelism}"));
        let aggregate = |name: &str, window: &str| {
            format!(
                "[aggregate.{name}]\ninput = \"rows\"\nkey = [\"key\"]\nwindow = {window}\n\
                 select = {{ sum = \"sum(value)\", mean = \"avg(value)\" }}\n\
                 [sink.{name}]\ninput = \"{name}\"\nconnector = \"files\"\npath = {:?}\n",
                out.join(name)
            )
        };
        let text = format!(
            "[job]\nname = \"floats\"\ncheckpoint = {{ interval = \"5ms\" }}\n\
             [source.rows]\nconnector = \"files\"\nformat = \"json\"\npath = {input:?}\nevent_time = \"at\"\n\
             batch_rows = {batch_rows}\nschema = {{ key = \"string\", value = \"float\", at = \"timestamp\" }}\n{}{}{}",
            aggregate("tumbling", "{ tumbling = \"1m\", allowed_lateness = \"1h\" }"),
            aggregate("hopping", "{ hopping = \"4m\", slide = \"2m\", allowed_lateness = \"1h\" }"),
            aggregate("sessions", "{ session = \"1m\", allowed_lateness = \"1h\" }"),
        );
        execute(compiled(&text, parallelism), &out.join("checkpoints"));
        for name in ["tumbling", "hopping", "sessions"] {
            let mut found = 0;
            for batch in rows(&out.join(name)) {
                let keys = batch.column_by_name("key").unwrap().as_string::<i32>();
                let column = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
                let (sums, means) = (column("sum"), column("mean"));
                for row in 0..batch.num_rows() {
                    let values = &expected[keys.value(row)];
                    let sum = fsum(values);
                    assert_eq!(sums.value(row).to_bits(), sum.to_bits(), "{name}: {} {sum}", sums.value(row));
                    assert_eq!(means.value(row).to_bits(), (sum / values.len() as f64).to_bits(), "{name}");
                    found += 1;
                }
            }
            assert_eq!(found, if name == "hopping" { 6 } else { 3 });
        }
    }
}

#[test]
fn a_source_that_nobody_reads_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    write_clicks(&folder.path().join("in"), "a", "click_log", &hour_with(&[]));
    let source = |name: &str| {
        format!(
            "[source.{name}]\nconnector = \"files\"\nformat = \"click_log\"\npath = {:?}\nevent_time = \"click_timestamp\"\n",
            folder.path().join("in")
        )
    };
    let text = format!(
        "[job]\nname = \"two\"\n{}{}{}\
         [map.nowhere]\ninput = \"mapped\"\nwhere = \"ad_id <> ''\"\n\
         [sink.all]\ninput = \"clicks\"\nconnector = \"files\"\npath = {:?}\n",
        source("clicks"),
        source("unread"),
        source("mapped"),
        folder.path().join("out")
    );
    let job = compiled(&text, 1);
    let ids: Vec<&str> = job.graph.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["source.clicks", "sink.all.hold", "sink.all"]);
    let warnings: Vec<String> = job.warnings.iter().map(ToString::to_string).collect();
    for source in ["unread", "mapped"] {
        let said = |warning: &&String| warning.contains(&format!("`{source}`")) && warning.contains("it is not read");
        assert_eq!(warnings.iter().filter(said).count(), 1, "{warnings:?}");
    }
    let outcome = execute(job, &folder.path().join("checkpoints"));
    assert_eq!(counter(&outcome, "source", "events_in"), 720);
}
