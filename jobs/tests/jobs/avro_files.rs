//! What a sink has written as Avro is a source of another job.

use crate::support::{execute, rows};
use arrow::util::pretty::pretty_format_batches;
use std::path::Path;
use weir_jobs::{CompileOptions, parse};

const WRITES: &str = r#"
[job]
name = "writes"
checkpoint = { interval = "20ms" }

[source.clicks]
connector = "generator"
events = 3000
ads = 30
rate = 20
event_time = "click_timestamp"

[aggregate.minutes]
input = "clicks"
key = ["ad_id"]
window = { tumbling = "1m" }
select = { count = "count(*)", first = "min(click_timestamp)" }

[sink.avro]
input = "minutes"
connector = "files"
format = "avro"
compression = "zstd"
path = "FOLDER/avro"
select = ["ad_id", "window_start", "count", "first", "revision"]

[sink.parquet]
input = "minutes"
connector = "files"
path = "FOLDER/parquet"
select = ["ad_id", "window_start", "count", "first", "revision"]
"#;

const READS: &str = r#"
[job]
name = "reads"

[source.counts]
connector = "files"
path = "FOLDER/avro"
format = "avro"

[sink.again]
input = "counts"
connector = "files"
path = "FOLDER/again"
"#;

fn run(definition: &str, folder: &Path) {
    let text = definition.replace("FOLDER", &folder.display().to_string());
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let job = parse("job.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    execute(job, &folder.join("checkpoints"));
}

/// The rows as text, sorted.
fn shown(folder: &Path) -> Vec<String> {
    let batches = rows(folder);
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    assert!(rows > 20, "{rows} rows");
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<String> = table.lines().skip(3).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn files_of_avro_are_a_source_again() {
    let folder = tempfile::tempdir().unwrap();
    run(WRITES, folder.path());
    run(READS, folder.path());
    assert_eq!(shown(&folder.path().join("again")), shown(&folder.path().join("parquet")));
}
