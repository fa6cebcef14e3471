//! Columns from the names of folders, and what is counted of files that are passed over.

use super::*;
use weir_engine::operator::Counters;

/// What came out, as text: `ad country day`.
async fn rows(config: &Value, states: Vec<SplitState>, parallelism: usize) -> (Vec<String>, Vec<String>) {
    let (mut rows, mut seen) = (Vec::new(), Seen::default());
    for subtask in 0..parallelism {
        let mut source = source(config, &context(subtask, parallelism)).expect("valid");
        source.restore(states.clone()).await.expect("opened");
        loop {
            match source.next().await.expect("an event") {
                SourceEvent::EndOfInput => break,
                event => take(&event, &mut rows, &mut seen),
            }
        }
    }
    rows.sort();
    (rows, seen.sorted().dead)
}

fn take(event: &SourceEvent, rows: &mut Vec<String>, seen: &mut Seen) {
    match event {
        SourceEvent::Rows(Port::MAIN, batch) => {
            let text = |name: &str, row: usize| {
                let column = batch.columns.column_by_name(name).expect("a column");
                arrow::util::display::array_value_to_string(column, row).expect("text")
            };
            let row = |row: usize| format!("{} {} {}", text("ad_id", row), text("country", row), text("day", row));
            rows.extend((0..batch.len()).map(row));
        }
        other => seen.take(other),
    }
}

fn partitioned(folder: &Path, format: &str) -> Value {
    let mut config = config(folder);
    config["format"] = format.into();
    config["partitions"] = json!({"country": "string", "day": "date"});
    config["columns"] = json!([
        {"name": "day", "type": "Date32"},
        {"name": "ad_id", "type": "Utf8"},
        {"name": "country", "type": "Utf8"},
        {"name": "click_timestamp", "type": "Timestamp(ms, \"UTC\")"},
    ]);
    config["schema"] = json!({"ad_id": "string", "click_timestamp": "timestamp"});
    config
}

#[tokio::test]
async fn folders_tell_columns_of_every_format() {
    for format in ["click_log", "json", "csv", "parquet"] {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, ad: usize| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let time = "2022-03-04 00:00:01";
            match format {
                "click_log" => fs::write(path, click(&format!("ad{ad}"), 1)).expect("written"),
                "json" => fs::write(path, format!("{{\"ad_id\":\"ad{ad}\",\"click_timestamp\":\"{time}\"}}"))
                    .expect("written"),
                "csv" => fs::write(path, format!("ad_id,click_timestamp\nad{ad},{time}\n")).expect("written"),
                _ => write_parquet(&path, ad..ad + 1),
            }
        };
        let name = if format == "parquet" { "a.parquet" } else { "a" };
        write(&format!("country=US/day=2022-03-04/{name}"), 1);
        write(&format!("country=C%C3%B4te%20d%27Ivoire/day=2022-03-05/{name}"), 2);
        write(&format!("country=__HIVE_DEFAULT_PARTITION__/{name}"), 4);
        write(&format!("country=US/day=tomorrow/{name}"), 5);
        write(&format!("country=US/country=DE/day=2022-03-06/x/{name}"), 6);
        let mut config = partitioned(folder.path(), format);
        let whole = rows(&config, Vec::new(), 1).await;
        let expected = ["ad1 US 2022-03-04", "ad2 Côte d'Ivoire 2022-03-05", "ad4  ", "ad6 DE 2022-03-06"];
        assert_eq!(whole.0, expected, "{format}");
        assert_eq!(whole.1.len(), 1, "{format}: {:?}", whole.1);
        let told =
            format!("{name}@0: the folder day=tomorrow that contains the file has no valid value: \"tomorrow\" is not");
        assert!(whole.1[0].starts_with(&told), "{format}: {:?}", whole.1);
        config["batch_rows"] = 1.into();
        for events in 0..8 {
            let mut seen = Seen::default();
            let mut found = Vec::new();
            let mut source = source(&config, &context(0, 1)).expect("valid");
            source.restore(Vec::new()).await.expect("opened");
            for _ in 0..events {
                match source.next().await.expect("an event") {
                    SourceEvent::EndOfInput => break,
                    event => take(&event, &mut found, &mut seen),
                }
            }
            let states = source.snapshot().expect("a snapshot");
            let (rest, dead) = rows(&config, states, 2).await;
            found.extend(rest);
            seen.dead.extend(dead);
            found.sort();
            assert_eq!((found, seen.dead), whole, "{format} after {events}");
        }
    }
}

#[tokio::test]
async fn what_is_passed_over_is_counted_by_one_subtask_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.log", "b.log", "c.log.xz", ".d"] {
        fs::write(folder.path().join(name), click("a", 1)).expect("written");
    }
    fs::hard_link(folder.path().join("a.log"), folder.path().join("e.log")).expect("a link");
    let config = config(folder.path());
    let counters: Vec<Counters> = vec![Counters::default(), Counters::default()];
    let mut states = Vec::new();
    for (subtask, counters) in counters.iter().enumerate() {
        let context = OperatorContext { counters: counters.clone(), ..context(subtask, 2) };
        let mut source = source(&config, &context).expect("valid");
        source.restore(Vec::new()).await.expect("opened");
        states.extend(source.snapshot().expect("a snapshot"));
    }
    let counted = |subtask: usize| counters[subtask].counter("files_passed_over").get();
    assert_eq!((counted(0), counted(1)), (3, 0));
    // A checkpoint brings the counter back, and a restart adds nothing to it.
    let context = OperatorContext { counters: counters[0].clone(), ..context(0, 2) };
    let mut again = source(&config, &context).expect("valid");
    again.restore(states).await.expect("opened");
    assert_eq!(counted(0), 3);
}
