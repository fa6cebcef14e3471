//! Where the archive is fed into a job, and what is left of the job then.

use std::{fs, path::Path, sync::Arc};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use parquet::arrow::ArrowWriter;
use weir_jobs::recalculation::{Recalculation, RecountStep, ReplaySettings};
use weir_jobs::{CompileOptions, Job, Refusal};
use weir_operators::dedup::NullKey;
use weir_operators::source::files::EventTimeRange;

const JOB: &str = r#"
[job]
name = "clicks"
checkpoint = { interval = "100ms" }

[source.lines]
connector = "files"
path = "in"
format = "click_log"
event_time = "click_timestamp"

[map.shaped]
input = "lines"
where = "ip <> ''"
select = { ad = "ad_id", at = "click_timestamp", "user" = "user_id", size = "length(ip)" }

[map.valid]
input = "shaped"
where = "ad <> ''"

[dedup.unique]
input = "valid"
key = ["ad", "at", "user"]
ttl = "1h"

[map.longer]
input = "unique"
where = "size > 3"

[filters]
all = "true"
large = "size > 9"

[aggregate.per_minute]
input = "longer"
key = ["filter_id", "ad"]
window = { tumbling = "1m", allowed_lateness = "5m" }
select = { clicks = "count(*)", sizes = "sum(size)" }
emit = { every = "1s" }

[reduce.top]
input = "per_minute"
window = { hopping = "5m", slide = "1m" }
top = { n = 3, by = "clicks", per = ["filter_id"] }

[reduce.unkept]
input = "per_minute"
top = { n = 3, by = "clicks" }

[sink.store]
connector = "sql"
input = "per_minute"
url = "sqlite:store.sqlite"
table = "counts"
key = ["minute", "filter_id", "ad"]
select = ["window_start as minute", "filter_id", "ad", "clicks", "revision"]
indexes = [{ columns = ["minute", "clicks"] }]
retention = { time = "minute", sum = ["clicks"], minutes = "1d", hours = "2d", days = "3d" }
enabled = false

[sink.lists]
connector = "sql"
input = "top"
url = "sqlite:store.sqlite"
table = "lists"
key = ["window_end", "filter_id", "rank"]
select = ["window_end", "filter_id", "rank", "ad", "clicks", "revision"]

[sink.shown]
connector = "console"
input = "unkept"

[sink.raw]
connector = "files"
input = "per_minute.on_time"
path = "raw"
partition_by = "hour"
"#;

fn load(folder: &Path, text: &str) -> Result<Recalculation, Refusal> {
    let file = folder.join("job.toml");
    fs::write(&file, text).expect("written");
    Recalculation::load(&file, &[], &CompileOptions::default())
}

fn archive(folder: &Path, columns: &[&str]) -> String {
    let hour = folder.join("raw/hour=2022-03-04T00");
    fs::create_dir_all(&hour).expect("a folder");
    let column = |name: &&str| -> (String, ArrayRef) {
        let values: ArrayRef = match *name {
            "at" => Arc::new(TimestampMillisecondArray::from(vec![1_646_352_000_000]).with_timezone("UTC")),
            "size" => Arc::new(Int64Array::from(vec![5])),
            _ => Arc::new(StringArray::from(vec!["x"])),
        };
        ((*name).to_owned(), values)
    };
    let rows = RecordBatch::try_from_iter(columns.iter().map(column)).expect("rows");
    let file = fs::File::create(hour.join("a.parquet")).expect("a file");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("written");
    writer.close().expect("written");
    folder.join("raw").display().to_string()
}

fn replay(recalculation: &Recalculation, archive: &str) -> Result<Job, Refusal> {
    let range = EventTimeRange { from_ms: 0, to_ms: 60_000 };
    let settings = ReplaySettings { name: "clicks.replay-7", archive, range, store: Some("sqlite:other.sqlite") };
    recalculation.replay(&settings, &|table| format!("{table}__replay_7"))
}

#[test]
fn the_archive_stands_for_what_came_to_the_gate() {
    let folder = tempfile::tempdir().expect("a folder");
    let recalculation = load(folder.path(), JOB).expect("a right definition");
    assert_eq!((recalculation.job(), recalculation.archive()), ("clicks", Some("raw")));
    let archive = archive(folder.path(), &["ad", "at", "user", "size"]);
    let job = replay(&recalculation, &archive).expect("a job");
    assert_eq!((job.graph.name.as_str(), job.graph.identity()), ("clicks.replay-7", "clicks"));
    let ids: Vec<&str> = job.graph.nodes.iter().map(|node| node.id.as_str()).collect();
    // What is computed stands in the archive; what only keeps rows is asked again; what is for nobody's store is left out.
    assert!(ids.contains(&"source.archive") && ids.contains(&"map.valid") && ids.contains(&"reduce.top"), "{ids:?}");
    for gone in ["source.lines", "map.shaped", "reduce.unkept", "sink.shown", "sink.raw"] {
        assert!(!ids.contains(&gone), "{gone} in {ids:?}");
    }
    let config = |id: &str| &job.graph.nodes.iter().find(|node| node.id == id).expect("a node").config;
    let source = config("source.archive");
    assert_eq!((&source["by_partition"], &source["event_time"]), (&true.into(), &"at".into()), "{source}");
    assert_eq!(source["range"]["to_ms"], 60_000);
    let store = config("sink.store");
    assert_eq!((&store["table"], &store["url"]), (&"counts__replay_7".into(), &"sqlite:other.sqlite".into()));
    assert!(store["retention"].is_null() && store["indexes"].as_array().is_some_and(Vec::is_empty), "{store}");
    assert!(job.graph.checkpoint.interval_ms >= 1_000);
}

#[test]
fn tables_say_which_windows_they_hold_and_how_they_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let recalculation = load(folder.path(), JOB).expect("a right definition");
    let [counts, lists] = recalculation.tables() else { panic!("two tables") };
    assert_eq!((counts.table.as_str(), counts.sums.as_slice()), ("counts", ["clicks".to_owned()].as_slice()));
    assert_eq!((counts.windows.start.as_deref(), counts.windows.size_ms), (Some("minute"), 60_000));
    assert_eq!(counts.allowed_lateness_ms, 300_000);
    let counted = counts.counted.as_ref().expect("plain counts");
    let key = ["ad", "at", "user"].map(str::to_owned).into();
    let unique = RecountStep::Unique { key, same_event_time: true, null_key: NullKey::Pass };
    let keep = |condition: &str| RecountStep::Keep(condition.into());
    assert_eq!(counted.steps, [keep("ad <> ''"), unique, keep("size > 3")]);
    assert_eq!((counted.time.as_str(), counted.count.as_str()), ("at", "clicks"));
    assert_eq!((counted.filter_column.as_deref(), counted.filters.len()), (Some("filter_id"), 2));
    assert_eq!(counted.keys, [("ad".to_owned(), "ad".to_owned())]);
    assert_eq!((lists.windows.start.as_deref(), lists.windows.end.as_deref()), (None, Some("window_end")));
    assert_eq!((lists.windows.size_ms, lists.windows.slide_ms), (300_000, 60_000));
    assert!(lists.counted.is_none());
}

#[test]
fn what_cannot_be_replayed_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |text: &str| load(folder.path(), text).expect_err("refused").to_string();
    let without = JOB.replace("connector = \"sql\"", "connector = \"files\"\npath = \"a\"");
    assert!(refused(&without).contains("job.toml"), "a mistake is a mistake");
    let sessions = JOB.split("[reduce.top]").next().expect("a part").replace("tumbling = \"1m\"", "session = \"1m\"");
    let sessions = sessions.replace("emit = { every = \"1s\" }", "");
    let no_store = format!("{sessions}\n[sink.shown]\nconnector = \"console\"\ninput = \"per_minute\"\n");
    assert!(refused(&no_store).contains("no sink keeps counts in a store"), "{}", refused(&no_store));
    let sink = "[sink.s]\nconnector = \"sql\"\ninput = \"per_minute\"\nurl = \"sqlite:s\"\ntable = \"t\"\n";
    assert!(refused(&format!("{sessions}\n{sink}")).contains("sessions have no fixed windows"));
    let recalculation = load(folder.path(), JOB).expect("a right definition");
    let archive = archive(folder.path(), &["ad", "at", "size"]);
    let missing = replay(&recalculation, &archive).expect_err("refused").to_string();
    assert!(missing.contains("user"), "{missing}");
}

/// Results whose tables a replay leaves as they are.
const NOT_REPLACED: &str = r#"
[map.doubled]
input = "per_minute"
select = { ad = "ad", filter_id = "filter_id", twice = "2 * clicks" }

[sink.latest]
connector = "sql"
input = "per_minute"
url = "sqlite:store.sqlite"
table = "newest_counts"
key = ["ad", "filter_id"]
keep = "newest"
select = ["ad", "filter_id", "window_start", "clicks", "revision"]

[sink.doubled]
connector = "sql"
input = "doubled"
url = "sqlite:store.sqlite"
table = "twice"

[sink.late]
connector = "sql"
input = "per_minute.late"
url = "sqlite:store.sqlite"
table = "late"
key = ["ad", "at"]
select = ["ad", "at"]
"#;

#[test]
fn tables_that_are_left_as_they_are_are_named_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |recalculation: &Recalculation| {
        recalculation.left_out().iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    let recalculation =
        load(folder.path(), &format!("{JOB}{NOT_REPLACED}")).unwrap_or_else(|refusal| panic!("{refusal}"));
    let tables: Vec<&str> = recalculation.tables().iter().map(|table| table.table.as_str()).collect();
    assert_eq!(tables, ["counts", "lists"]);
    let [latest, doubled] = &told(&recalculation)[..] else { panic!("{:?}", told(&recalculation)) };
    assert!(latest.contains("'newest_counts' of sink.latest") && latest.contains("the newest window only"), "{latest}");
    assert!(doubled.contains("'twice' of sink.doubled") && doubled.contains("a map"), "{doubled}");
    assert_eq!(told(&load(folder.path(), JOB).expect("a right definition")), [""; 0]);

    // With nothing else, there is nothing to do.
    let others = format!("{}[sink.raw]{}{NOT_REPLACED}", JOB.split("[sink.store]").next().unwrap_or_default(), RAW);
    let refused = load(folder.path(), &others).expect_err("nothing to replace").to_string();
    assert!(refused.contains(latest) && refused.contains(doubled), "{refused}");
    assert!(refused.contains("no sink keeps counts in a store"), "{refused}");
}

#[test]
fn windows_that_no_range_of_hours_consists_of_are_left_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = JOB.split("[reduce.top]").next().expect("a part");
    let plain = "tumbling = \"1m\", allowed_lateness = \"5m\"";
    let sink = "[sink.s]\nconnector = \"sql\"\ninput = \"per_minute\"\nurl = \"sqlite:s\"\ntable = \"t\"\n";
    for (window, why) in [
        ("global = true", "of all events of their keys"),
        ("tumbling = \"1m\", offset = \"17s\"", "have an `offset`"),
        ("tumbling = \"1h\", timezone = \"Asia/Kolkata\"", "or a `timezone`"),
        ("cumulating = \"1h\", step = \"1m\"", "its windows grow"),
        ("hopping = \"5m\", slide = \"2m\"", "are no multiple of their slide"),
    ] {
        let text = format!("{}\n{sink}", job.replace(plain, window));
        assert_ne!(text, format!("{job}\n{sink}"));
        let told = load(folder.path(), &text).expect_err("nothing to replace").to_string();
        assert!(told.contains("table 't' of sink.s stays as it is") && told.contains(why), "{window}: {told}");
    }
    let hopping = format!("{}\n{sink}", job.replace(plain, "hopping = \"5m\", slide = \"1m\""));
    let hopping = load(folder.path(), &hopping).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(hopping.tables().len(), 1);
}

const RAW: &str = "\nconnector = \"files\"\ninput = \"per_minute.on_time\"\npath = \"raw\"\npartition_by = \"hour\"\n";

#[test]
fn an_archive_whose_files_are_removed_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let expires = |text: &str| load(folder.path(), text).expect("a right definition").archive_expires();
    assert!(!expires(JOB));
    assert!(expires(&JOB.replace("partition_by = \"hour\"", "partition_by = \"hour\"\nretention = \"30d\"")));
    let counts =
        "[sink.counts]\nconnector = \"files\"\ninput = \"per_minute\"\npath = \"counts\"\nretention = \"30d\"\n";
    assert!(!expires(&format!("{JOB}{counts}")), "that is no archive");
}

#[test]
fn tables_behind_an_over_are_left_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    // Behind the same dedup other rows would be late.
    let behind = r#"
[dedup.own]
input = "valid"
key = ["ad", "at"]
ttl = "1h"

[over.recent]
input = "own"
key = ["ad"]
within = "10s"
select = { ad = "ad", at = "at", n = "count(*)" }

[aggregate.busy]
input = "recent"
key = ["ad"]
window = { tumbling = "1m" }
select = { most = "max(n)" }

[sink.busy]
connector = "sql"
input = "busy"
url = "sqlite:store.sqlite"
table = "busy"
"#;
    let recalculation = load(folder.path(), &format!("{JOB}{behind}")).unwrap_or_else(|refusal| panic!("{refusal}"));
    let told: Vec<String> = recalculation.left_out().iter().map(ToString::to_string).collect();
    assert!(
        matches!(&told[..], [told] if told.contains("'busy' of sink.busy") && told.contains("an over")),
        "{told:?}"
    );
}
