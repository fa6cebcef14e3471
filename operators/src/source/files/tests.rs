//! Tests of files that are read once: every line comes out once, whatever the files, the parallelism and the restarts.

mod avro;
mod packed;
mod partitioned;
mod records;
mod small;
mod unlike;

use super::{
    FilesConfig,
    bounded::{BoundedFiles, RecordSettings},
    decoders::Decoders,
    lines::LineSettings,
    listing::Location,
    local_file::LocalFile,
    source,
};
use crate::format::LineFormat;
use crate::source::{
    reader::SourceReader,
    settings::SourceSettings,
    split_reader::{Connector, RestoredSplit},
};
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Int64Type;
use object_store::{ObjectStoreExt, memory::InMemory};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{fs, path::Path, sync::Arc};
use weir_engine::{
    element::Port,
    error::Result,
    ids::Attempt,
    operator::{OperatorContext, Source, SourceEvent, SplitState},
};

pub(super) fn context(subtask: usize, parallelism: usize) -> OperatorContext {
    OperatorContext { subtask, parallelism, ..OperatorContext::single("job", "source.clicks") }
}

pub(super) fn config(path: &Path) -> Value {
    json!({
        "path": path.display().to_string(),
        "format": "click_log",
        "columns": [{"name": "ad_id", "type": "Utf8"}, {"name": "click_timestamp", "type": "Timestamp(ms, \"UTC\")"}],
        "event_time": "click_timestamp",
        "watermark": { "delay_ms": 1_000 },
    })
}

pub(super) fn click(ad: &str, second: u32) -> String {
    format!("[AdClickEvent] {ad}, 2022-03-04 00:00:{second:02}, user 1, 1.1.1.1, USA\n")
}

/// What came out of a source: the ads, and the dead letters as `file-name@offset: reason`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) ads: Vec<String>,
    pub(super) dead: Vec<String>,
}

impl Seen {
    pub(super) fn take(&mut self, event: &SourceEvent) {
        let SourceEvent::Rows(port, batch) = event else { return };
        if *port == Port::MAIN {
            let ads = arrow::compute::cast(batch.columns.column(0), &arrow::datatypes::DataType::Utf8).expect("text");
            self.ads.extend(ads.as_string::<i32>().iter().map(|ad| ad.unwrap_or("-").to_owned()));
            return;
        }
        let text = |column: usize| batch.columns.column(column).as_string::<i32>();
        let offsets = batch.columns.column(2).as_primitive::<Int64Type>();
        for row in 0..batch.len() {
            let file = Path::new(text(1).value(row)).file_name().expect("a name").to_string_lossy().into_owned();
            self.dead.push(format!("{file}@{}: {}", offsets.value(row), text(3).value(row)));
        }
    }

    pub(super) fn sorted(mut self) -> Self {
        self.ads.sort();
        self.dead.sort();
        self
    }
}

pub(super) async fn read_on(source: &mut dyn Source, seen: &mut Seen) -> Result<()> {
    loop {
        match source.next().await? {
            SourceEvent::EndOfInput => return Ok(()),
            event => seen.take(&event),
        }
    }
}

/// Reads all that is left with so many subtasks.
pub(super) async fn read(config: &Value, states: Vec<SplitState>, parallelism: usize) -> Result<Seen> {
    let mut seen = Seen::default();
    for subtask in 0..parallelism {
        let mut source = source(config, &context(subtask, parallelism))?;
        source.restore(states.clone()).await?;
        read_on(source.as_mut(), &mut seen).await?;
    }
    Ok(seen)
}

async fn refused(config: &Value) -> String {
    read(config, Vec::new(), 1).await.expect_err("refused").message
}

#[tokio::test]
async fn every_file_is_read_once_at_any_parallelism() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("b")).expect("a folder");
    fs::create_dir_all(folder.path().join("_staging")).expect("a folder");
    for (name, text) in [
        ("c.log", click("c1", 1) + "garbage\n" + &click("c2", 2)),
        ("a.log", click("a1", 1)),
        ("b/x.log", click("b1", 1).trim_end().to_owned()),
        ("empty.log", String::new()),
        (".hidden", click("no", 1)),
        ("_staging/y", click("no", 1)),
        ("old.log.gz", "not compressed".to_owned()),
    ] {
        fs::write(folder.path().join(name), text).expect("written");
    }
    let config = config(folder.path());
    let one = read(&config, Vec::new(), 1).await.expect("read").sorted();
    assert_eq!(one.ads, ["a1", "b1", "c1", "c2"]);
    let offset = click("c1", 1).len();
    let not_gzip =
        "old.log.gz@0: by its name the file is compressed with gzip, but it begins with the bytes 6e 6f 74 20";
    let dead = [format!("c.log@{offset}: the line does not begin with [AdClickEvent]"), not_gzip.to_owned()];
    assert_eq!(one.dead, dead);
    for parallelism in [2, 3, 9] {
        assert_eq!(read(&config, Vec::new(), parallelism).await.expect("read").sorted(), one);
    }
}

#[tokio::test]
async fn a_path_is_a_file_a_pattern_or_a_url() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("s1")).expect("a folder");
    for name in ["s1/clicks.log", "s1/errors.log", "s1/clicks[1].log"] {
        fs::write(folder.path().join(name), click(name, 1)).expect("written");
    }
    let ads = async |path: String| {
        let path = folder.path().join(path);
        read(&config(&path), Vec::new(), 1).await.expect("read").sorted().ads
    };
    assert_eq!(ads("s1/errors.log".to_owned()).await, ["s1/errors.log"]);
    assert_eq!(ads("s1/clicks[1].log".to_owned()).await, ["s1/clicks[1].log"]);
    assert_eq!(ads("*/clicks*".to_owned()).await, ["s1/clicks.log", "s1/clicks[1].log"]);
    assert_eq!(ads("**/*.log".to_owned()).await.len(), 3);
    let url = format!("file://{}", folder.path().join("s1").display());
    assert_eq!(read(&config(Path::new(&url)), Vec::new(), 1).await.expect("read").ads.len(), 3);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_clearly() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), click("a", 1)).expect("written");
    fs::write(path("x.xz"), "").expect("written");
    fs::create_dir(path("empty")).expect("a folder");
    fs::create_dir(path("links")).expect("a folder");
    std::os::unix::fs::symlink(path("links/loop"), path("links/loop")).expect("a link");
    for (name, expected) in [
        ("missing", "is the path right, seen from the folder"),
        ("file/below", "a part of the path is a file"),
        ("links/loop", "cannot read "),
        ("links", "there are no files to read (passed over: "),
        ("empty", "there are no files to read"),
        ("empty/*.csv", "there are no files to read"),
        ("x.xz", "unpack it first"),
    ] {
        let message = refused(&config(&path(name))).await;
        assert!(message.contains(expected), "{name}: {message}");
    }
    // Root may read everything, so there is nothing to be refused.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path("empty"), fs::Permissions::from_mode(0o000)).expect("changed");
    if fs::read_dir(path("empty")).is_err() {
        let message = refused(&config(&path("empty"))).await;
        assert!(message.contains("give the user that weir runs as the permission"), "{message}");
    }
    fs::set_permissions(path("empty"), fs::Permissions::from_mode(0o700)).expect("changed");
}

#[tokio::test]
async fn csv_and_json_are_read_by_their_declared_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("written");
        folder.path().join(name)
    };
    let declared = |path: &Path, format: &str| {
        let mut config = config(path);
        config["format"] = format.into();
        config["schema"] = json!({"ad_id": "string", "click_timestamp": "timestamp"});
        config
    };
    write("a.csv", "click_timestamp,other,ad_id\n2022-03-04 00:00:01,x,ad1\nnow,x,ad2\n");
    write("b.csv", "ad_id,click_timestamp\r\nad3,2022-03-04 00:00:01");
    write("c.csv", "");
    write("d.csv", "ad_id,click_timestamp");
    let seen = read(&declared(folder.path(), "csv"), Vec::new(), 2).await.expect("read").sorted();
    assert_eq!(seen.ads, ["ad1", "ad3"]);
    assert!(seen.dead[0].starts_with("a.csv@54: click_timestamp \"now\" is not a time"), "{:?}", seen.dead);
    write("e.csv", "ad,click_timestamp\n1,2\n");
    let seen = read(&declared(folder.path(), "csv"), Vec::new(), 1).await.expect("read").sorted();
    assert_eq!((seen.ads, seen.dead.len()), (vec!["ad1".to_owned(), "ad3".to_owned()], 2));
    let file = format!("e.csv@0: {}", folder.path().join("e.csv").display());
    assert_eq!(
        seen.dead[1],
        format!("{file}: its header has no column \"ad_id\"; the columns found are: ad, click_timestamp")
    );
    let json = write("f.json", "{\"ad_id\":\"ad4\",\"click_timestamp\":1646352001000}\n{\"ad_id\":\"ad5\"}\n");
    let seen = read(&declared(&json, "json"), Vec::new(), 1).await.expect("read");
    assert_eq!(seen.ads, ["ad4"]);
    assert_eq!(seen.dead, ["f.json@48: the event time click_timestamp is empty"]);
}

#[tokio::test]
async fn long_files_and_long_lines_are_read_to_their_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("big.log");
    let lines: String = (0..30_000).map(|n| click(&format!("ad{n}"), n % 60)).collect();
    let text = lines.clone() + &"x".repeat(3 << 20) + "\n" + &click("last", 1) + &"y".repeat(2 << 20);
    fs::write(&path, &text).expect("written");
    let seen = read(&config(&path), Vec::new(), 1).await.expect("read");
    assert_eq!(seen.ads.len(), 30_001);
    assert_eq!((seen.ads[29_999].as_str(), seen.ads[30_000].as_str()), ("ad29999", "last"));
    let reason = |bytes: usize| format!("the line has {bytes} bytes, and at most 1048576 are allowed (max_line_bytes)");
    let second = lines.len() + (3 << 20) + 1 + click("last", 1).len();
    assert_eq!(
        seen.dead,
        [format!("big.log@{}: {}", lines.len(), reason(3 << 20)), format!("big.log@{second}: {}", reason(2 << 20))]
    );
}

#[tokio::test]
async fn objects_of_a_store_are_read_like_files() {
    let store = Arc::new(InMemory::new());
    let big: String = (0..70_000).map(|n| click(&format!("ad{n}"), n % 60)).collect();
    for (name, text) in [("logs/a.log", big.as_str()), ("logs/s/b.log", "garbage"), ("logs/_c", "no"), ("other", "no")]
    {
        store.put(&name.into(), text.to_owned().into()).await.expect("put");
    }
    let connector = |path: &str| {
        let location = Location::over(store.clone(), "memory:///", path);
        let columns = vec!["ad_id".to_owned()];
        let lines = LineSettings {
            format: LineFormat::ClickLog,
            columns,
            max_line_bytes: 1 << 20,
            decoders: Decoders::default(),
        };
        let records = RecordSettings::Lines(Arc::new(lines));
        let OperatorContext { env, attempt, staging, .. } = context(0, 1);
        BoundedFiles { location, path: path.to_owned(), records, subtask: 0, parallelism: 1, env, attempt, staging }
    };
    for (path, ads, dead) in [("logs", 70_000, 1), ("logs/a.log", 70_000, 0), ("logs/*/*.log", 0, 1)] {
        let settings = SourceSettings::read(&json!({"columns": []}), &context(0, 1)).expect("settings");
        let connector = Box::new(connector(path));
        let mut source = SourceReader::new(settings.reader_settings(), connector, &context(0, 1));
        source.restore(Vec::new()).await.expect("opened");
        let mut seen = Seen::default();
        read_on(&mut source, &mut seen).await.expect("read");
        assert_eq!((seen.ads.len(), seen.dead.len()), (ads, dead), "{path}");
    }
    let error = connector("nothing").open(Vec::<RestoredSplit>::new()).await.err().expect("nothing there");
    assert!(error.message.contains("there are no files to read"), "{error}");
}

#[tokio::test]
async fn files_that_come_while_subtasks_list_them_are_read_by_all_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let add = |name: &str| {
        fs::write(folder.path().join(name), click(name, 0)).expect("written");
    };
    ["a.log", "c.log", "e.log"].into_iter().for_each(add);
    let config = config(folder.path());
    let contexts: Vec<OperatorContext> = {
        let shared = context(0, 3);
        (0..3).map(|subtask| OperatorContext { staging: shared.staging.clone(), ..context(subtask, 3) }).collect()
    };
    let mut seen = Seen::default();
    for (subtask, (context, late)) in contexts.iter().zip(["b.log", "0.log", "z.log"]).enumerate() {
        let mut source = source(&config, context).expect("valid");
        source.restore(Vec::new()).await.expect("opened");
        add(late);
        read_on(source.as_mut(), &mut seen).await.expect("read");
        assert_eq!(seen.ads.len(), subtask + 1);
    }
    seen.ads.sort();
    assert_eq!(seen.ads, ["a.log", "c.log", "e.log"]);
    // A next attempt looks again; what has gone in the middle of a start is named.
    let next = OperatorContext { attempt: Attempt(2), ..contexts[0].clone() };
    source(&config, &next).expect("valid").restore(Vec::new()).await.expect("opened");
    fs::remove_file(folder.path().join("z.log")).expect("removed");
    let later = OperatorContext { subtask: 1, ..next };
    let gone = source(&config, &later).expect("valid").restore(Vec::new()).await.expect_err("gone");
    assert!(gone.message.contains("z.log was there when the job was started, and is gone"), "{gone}");
}

/// Reads some events, stops, and returns the state as a checkpoint would hold it.
pub(super) async fn read_some(config: &Value, events: usize, parallelism: usize, seen: &mut Seen) -> Vec<SplitState> {
    let mut states = Vec::new();
    for subtask in 0..parallelism {
        let mut source = source(config, &context(subtask, parallelism)).expect("valid");
        source.restore(Vec::new()).await.expect("opened");
        for _ in 0..events {
            match source.next().await.expect("an event") {
                SourceEvent::EndOfInput => break,
                event => seen.take(&event),
            }
        }
        states.extend(source.snapshot().expect("a snapshot"));
    }
    let text = serde_json::to_string(&states).expect("serialisable");
    serde_json::from_str(&text).expect("the same")
}

#[tokio::test]
async fn files_that_come_go_or_shrink_before_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let two = click("a1", 1) + &click("a2", 2);
    fs::write(path("a.log"), &two).expect("written");
    fs::write(path("b.log"), click("b1", 3)).expect("written");
    let mut config = config(folder.path());
    config["batch_rows"] = 1.into();
    let mut seen = Seen::default();
    let states = read_some(&config, 1, 1, &mut seen).await;
    assert_eq!(seen.ads, ["a1"]);

    fs::write(path("c.log"), click("new", 1)).expect("written");
    assert_eq!(read(&config, states.clone(), 2).await.expect("read").ads, ["a2", "b1"]);

    fs::write(path("a.log"), "short").expect("written");
    let error = read(&config, states.clone(), 1).await.expect_err("shrunk");
    assert!(error.message.contains("a.log has 5 bytes, but has been read to byte"), "{error}");

    fs::remove_file(path("a.log")).expect("removed");
    let error = read(&config, states, 1).await.expect_err("gone");
    assert!(error.message.contains("a.log is not there any more"), "{error}");
}

#[tokio::test]
async fn a_file_that_was_read_to_its_end_may_go() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.log"), click("a1", 1)).expect("written");
    let config = config(folder.path());
    let mut seen = Seen::default();
    let states = read_some(&config, 10, 1, &mut seen).await;
    fs::remove_file(folder.path().join("a.log")).expect("removed");
    assert_eq!(read(&config, states, 2).await.expect("nothing left"), Seen::default());
}

fn write_parquet(path: &Path, ads: std::ops::Range<usize>) {
    let times = ads.clone().map(|ad| (ad != 3).then_some(1_646_352_000_000 + ad as i64));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter(times).with_timezone("UTC"));
    let ads: ArrayRef = Arc::new(StringArray::from_iter_values(ads.map(|ad| format!("ad{ad}"))));
    let rows = RecordBatch::try_from_iter_with_nullable([("click_timestamp", times, true), ("ad_id", ads, true)]);
    let rows = rows.expect("columns that fit");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(40_000)).build();
    let file = fs::File::create(path).expect("created");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).expect("a writer");
    writer.write(&rows).expect("written");
    writer.close().expect("closed");
}

#[tokio::test]
async fn parquet_files_are_read_by_row_groups_and_go_on_where_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    write_parquet(&folder.path().join("a.parquet"), 0..200_000);
    write_parquet(&folder.path().join("b.parquet"), 200_000..200_010);
    fs::write(folder.path().join("readme.txt"), "no").expect("written");
    let mut config = config(folder.path());
    config["format"] = "parquet".into();
    let whole = read(&config, Vec::new(), 3).await.expect("read").sorted();
    assert_eq!(whole.ads.len(), 200_009);
    assert_eq!(whole.dead, ["a.parquet@3: the event time click_timestamp is empty"]);
    let mut seen = Seen::default();
    let states = read_some(&config, 5, 2, &mut seen).await;
    assert!(states.len() >= 3 && seen.ads.len() < 200_000, "{} splits", states.len());
    let rest = read(&config, states.clone(), 3).await.expect("read");
    seen.ads.extend(rest.ads);
    seen.dead.extend(rest.dead);
    assert_eq!(seen.sorted(), whole);

    write_parquet(&folder.path().join("a.parquet"), 0..100_000);
    let error = read(&config, states, 1).await.expect_err("replaced");
    assert!(error.message.contains("a.parquet") && error.message.contains("the file has changed"), "{error}");
    fs::write(folder.path().join("a.parquet"), "PAR1").expect("written");
    let seen = read(&config, Vec::new(), 2).await.expect("read");
    assert_eq!((seen.ads.len(), seen.dead.len()), (10, 1));
    assert!(seen.dead[0].contains("a.parquet is not a complete Parquet file"), "{:?}", seen.dead);
}

/// The files of one subtask, as a configuration has them.
fn bounded(config: &Value, context: &OperatorContext) -> BoundedFiles {
    let settings = SourceSettings::read(config, context).expect("settings");
    let files = FilesConfig::deserialize(config).expect("files");
    let path = config["path"].as_str().expect("a path").to_owned();
    let OperatorContext { subtask, parallelism, env, attempt, staging, .. } = context.clone();
    let (location, records) = (Location::parse(&path).expect("a location"), files.records(&settings).expect("valid"));
    BoundedFiles { location, path, records, subtask, parallelism, env, attempt, staging }
}

/// The splits that a subtask opens, as `file-name#row`.
async fn split_ids(config: &Value, context: &OperatorContext) -> Vec<String> {
    let opened = bounded(config, context).open(Vec::new()).await.expect("opened");
    let id = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
    opened.iter().map(|split| id(&split.id)).collect()
}

/// Two subtasks of one attempt.
fn side_by_side() -> [OperatorContext; 2] {
    let first = context(0, 2);
    [first.clone(), OperatorContext { subtask: 1, ..first }]
}

#[tokio::test]
async fn a_parquet_file_that_is_being_written_is_cut_alike_by_all_subtasks() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config["format"] = "parquet".into();
    let x = folder.path().join("x.parquet");
    write_parquet(&x, 1_000_000..1_160_000);
    write_parquet(&folder.path().join("y.parquet"), 200_000..400_000);
    let whole = fs::read(&x).expect("read");
    let cut = &whole[..whole.len() / 2];
    let of = |ids: &[String], file: &str| {
        let mut ids: Vec<String> = ids.iter().filter(|id| id.starts_with(file)).cloned().collect();
        ids.sort();
        ids
    };
    let all = split_ids(&config, &context(0, 1)).await;
    let (all_x, all_y) = (of(&all, "x"), of(&all, "y"));
    assert_eq!((all_x.len(), all_y.len()), (2, 3), "{all:?}");
    for (at_first, then, expected_x) in [(cut, &whole[..], &all_x[..1]), (&whole[..], cut, &all_x[..])] {
        let [first, second] = side_by_side();
        fs::write(&x, at_first).expect("written");
        let mut ids = split_ids(&config, &first).await;
        fs::write(&x, then).expect("written");
        ids.extend(split_ids(&config, &second).await);
        assert_eq!(of(&ids, "y"), all_y, "each of them once");
        assert_eq!(of(&ids, "x"), expected_x, "as the first has seen it");
    }
    // So all of the other file is read, and the one that was cut is a dead letter.
    let [first, second] = side_by_side();
    fs::write(&x, cut).expect("written");
    let mut sources = [source(&config, &first).expect("valid"), source(&config, &second).expect("valid")];
    sources[0].restore(Vec::new()).await.expect("opened");
    fs::write(&x, &whole).expect("written");
    sources[1].restore(Vec::new()).await.expect("opened");
    let mut seen = Seen::default();
    for source in &mut sources {
        read_on(source.as_mut(), &mut seen).await.expect("read");
    }
    assert_eq!((seen.ads.len(), seen.dead.len()), (200_000, 1), "{:?}", seen.dead);
}

/// A subtask of a version that agrees on names alone may have been the first.
#[tokio::test]
async fn parquet_files_that_were_agreed_on_by_their_names_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config["format"] = "parquet".into();
    write_parquet(&folder.path().join("y.parquet"), 0..200_000);
    let all = split_ids(&config, &context(0, 1)).await;
    let [first, second] = side_by_side();
    let names = json!([folder.path().join("y.parquet").display().to_string()]).to_string();
    first.staging.agree(&first.env, first.attempt, names.into()).await.expect("agreed");
    write_parquet(&folder.path().join("x.parquet"), 0..10);
    let mut ids = split_ids(&config, &first).await;
    ids.extend(split_ids(&config, &second).await);
    ids.sort();
    let mut expected = all;
    expected.sort();
    assert_eq!(ids, expected, "the file that has come since is not read");
}

fn any_line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u32..1_000, 0u32..60).prop_map(|(ad, second)| click(&format!("ad{ad}"), second)),
        1 => Just("garbage\n".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("[AdClickEvent] ad1, , u, i, c\n".to_owned()),
        1 => Just(format!("{}\n", "z".repeat(300))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_restart_anywhere_at_any_parallelism_reads_every_line_once(
        files in proptest::collection::vec((proptest::collection::vec(any_line(), 0..20), any::<bool>()), 1..5),
        (batch_rows, events) in (1usize..12, 0usize..30),
        (before, after) in (1usize..4, 1usize..4),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        for (index, (lines, last_newline)) in files.iter().enumerate() {
            let text = lines.concat();
            let text = if *last_newline { &text } else { text.strip_suffix('\n').unwrap_or(&text) };
            fs::write(folder.path().join(format!("{index}.log")), text).expect("written");
        }
        let mut config = config(folder.path());
        config["batch_rows"] = batch_rows.into();
        config["max_line_bytes"] = 200.into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (expected, found) = runtime.block_on(async {
            let expected = read(&config, Vec::new(), 1).await.expect("read").sorted();
            let mut found = Seen::default();
            let states = read_some(&config, events, before, &mut found).await;
            let rest = read(&config, states, after).await.expect("read");
            found.ads.extend(rest.ads);
            found.dead.extend(rest.dead);
            (expected, found.sorted())
        });
        let lines: usize = files.iter().map(|(lines, last_newline)| {
            // A last empty line without its line break is no line.
            lines.len() - usize::from(!last_newline && lines.last().is_some_and(|line| line == "\n"))
        }).sum();
        prop_assert_eq!(expected.ads.len() + expected.dead.len(), lines);
        prop_assert_eq!(found, expected);
    }
}
