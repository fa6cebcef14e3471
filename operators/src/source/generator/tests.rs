//! The stream as a whole: same seed, same bytes; what was asked for comes out.

use super::*;
use arrow::{array::AsArray, compute::concat_batches, datatypes::TimestampMillisecondType};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use weir_engine::env::Env;
use xxhash_rust::xxh3::xxh3_64;

fn small() -> ClickStreamConfig {
    ClickStreamConfig { events: Some(20_001), ads: 500, users: 700, broken_share: 0.01, ..ClickStreamConfig::default() }
}

fn whole_partition(config: &ClickStreamConfig, partition: u32, batch_rows: usize) -> RecordBatch {
    let clicks = ClickStream::new(config.clone()).unwrap().partition(partition).unwrap();
    let batches: Vec<RecordBatch> = clicks.with_batch_rows(batch_rows).collect();
    concat_batches(&click_schema(), &batches).unwrap()
}

async fn written(config: &ClickStreamConfig, format: ClickFormat, folder: &Path) -> GenerateReport {
    let destination = Destination { folder: folder.to_path_buf(), format, clicks_per_second: None };
    generate(config, &destination, &Env::default(), Arc::new(|_| {})).await.unwrap()
}

fn lines_of(report: &GenerateReport) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = report.files.iter().flat_map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(bytes.last(), Some(&b'\n'));
    bytes[..bytes.len() - 1].split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn batches_of_any_size_hold_the_same_clicks() {
    let whole = whole_partition(&small(), 1, MAX_BATCH_ROWS);
    assert_eq!(whole.num_rows(), 10_000);
    assert_eq!(whole, whole_partition(&small(), 1, 1_000));
    assert_eq!(whole.slice(0, 10), whole_partition(&ClickStreamConfig { events: Some(20), ..small() }, 1, 3));
}

#[test]
fn a_partition_goes_on_from_any_place() {
    let whole = whole_partition(&small(), 0, 8_192);
    let mut clicks = ClickStream::new(small()).unwrap().partition(0).unwrap();
    for place in [9_990, 0, 4_321] {
        clicks.seek(place);
        let rows = clicks.next_rows(11).unwrap();
        assert_eq!(rows, whole.slice(place as usize, rows.num_rows()));
        assert_eq!(clicks.position(), place + rows.num_rows() as u64);
    }
    clicks.seek(10_001);
    assert_eq!(clicks.next_rows(1), None);
    assert_eq!(clicks.next_arrival_ms(), None);
}

#[test]
fn seeds_and_partitions_differ() {
    let first = whole_partition(&small(), 0, 8_192);
    assert_ne!(first.slice(0, 100), whole_partition(&small(), 1, 8_192).slice(0, 100));
    assert_ne!(first, whole_partition(&ClickStreamConfig { seed: 2, ..small() }, 0, 8_192));
}

#[test]
fn duplicates_repeat_an_earlier_click_of_their_partition_within_the_distance() {
    let config = ClickStreamConfig { duplicate_share: 0.05, duplicate_within: 300, ..small() };
    let clicks = whole_partition(&config, 0, 8_192);
    let ids = clicks.column(5).as_string::<i32>();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut duplicates = 0;
    for row in 0..clicks.num_rows() {
        if let Some(original) = seen.insert(ids.value(row), row) {
            duplicates += 1;
            // The distance is to what is repeated, which may itself be followed by a nearer copy.
            assert!(row - original <= 300, "row {row} repeats {original}");
            assert_eq!(clicks.slice(row, 1), clicks.slice(original, 1));
        }
    }
    assert!((400..600).contains(&duplicates), "{duplicates} of 10001, 5 % asked for");
    let others: HashSet<&str> = HashSet::from_iter(ids.iter().flatten());
    let other = whole_partition(&config, 1, 8_192);
    assert!(other.column(5).as_string::<i32>().iter().flatten().all(|id| !others.contains(id)));
}

/// What the split watermark makes of a partition: rows more than `delay_ms` behind the largest event time before them.
fn behind(clicks: &RecordBatch, delay_ms: i64) -> usize {
    let times = clicks.column(1).as_primitive::<TimestampMillisecondType>();
    let mut newest = i64::MIN;
    let mut behind = 0;
    for time in times.values() {
        behind += usize::from(*time < newest.saturating_sub(delay_ms));
        newest = newest.max(*time);
    }
    behind
}

#[test]
fn a_watermark_delay_of_the_out_of_orderness_finds_none_behind_but_the_late() {
    let calm = ClickStreamConfig { late_share: 0.0, duplicate_share: 0.0, ..small() };
    assert_eq!(behind(&whole_partition(&calm, 0, 8_192), calm.out_of_orderness_ms as i64), 0);
    assert!(behind(&whole_partition(&calm, 0, 8_192), 2_000) > 1_000, "they are out of order, though");
    let late = ClickStreamConfig { late_share: 0.02, ..calm };
    let found = behind(&whole_partition(&late, 0, 8_192), late.out_of_orderness_ms as i64);
    assert!((150..250).contains(&found), "{found} of 10001, 2 % asked for");
}

#[test]
fn event_times_advance_at_the_rate_and_are_whole_seconds() {
    let config = small();
    let clicks = whole_partition(&config, 0, 8_192);
    let times = clicks.column(1).as_primitive::<TimestampMillisecondType>().values();
    assert!(times.iter().all(|time| time % 1_000 == 0));
    let newest = times.iter().max().unwrap() - config.start_ms;
    assert!(
        (29_000..=30_000).contains(&newest),
        "20,001 clicks at 1,000 a second, out of order by 10 seconds, end at {newest} ms"
    );
}

#[test]
fn ads_are_skewed_and_users_keep_their_country() {
    let clicks = whole_partition(&small(), 0, 8_192);
    let ads = clicks.column(0).as_string::<i32>();
    let of_first = ads.iter().flatten().filter(|ad| *ad == "ad000001").count();
    let expected = 10_001.0 / (1..=500).map(|rank| f64::from(rank).powf(-1.1)).sum::<f64>();
    assert!((of_first as f64 - expected).abs() < expected / 10.0, "{of_first}, expected {expected}");
    let (users, countries) = (clicks.column(2).as_string::<i32>(), clicks.column(4).as_string::<i32>());
    let mut homes = HashMap::new();
    for row in 0..clicks.num_rows() {
        assert_eq!(*homes.entry(users.value(row)).or_insert(countries.value(row)), countries.value(row));
    }
    assert!(homes.len() > 690);
}

#[tokio::test]
async fn lines_json_and_parquet_hold_the_same_clicks() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(&small(), ClickFormat::Lines(LineFormat::ClickLog { event_id: true }), folder.path()).await;
    let json = written(&small(), ClickFormat::Lines(LineFormat::Json), folder.path()).await;
    let parquet = written(&small(), ClickFormat::Parquet, folder.path()).await;
    for (report, broken) in [(&log, true), (&json, true), (&parquet, false)] {
        assert_eq!(report.clicks, 20_001);
        assert!((60..140).contains(&report.duplicates), "{}", report.duplicates);
        assert!((20..65).contains(&report.late), "{}", report.late);
        assert_eq!((150..250).contains(&report.broken_lines), broken, "{}", report.broken_lines);
        assert_eq!(report.bytes, report.files.iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>());
    }
    let from_log: Vec<Vec<u8>> = lines_of(&log).into_iter().filter(|line| reads_as_log(line)).collect();
    let from_json: Vec<Vec<u8>> = lines_of(&json).into_iter().filter_map(|line| log_line_of_json(&line)).collect();
    let from_columns: Vec<Vec<u8>> =
        (0..2).flat_map(|partition| log_lines_of(&whole_partition(&small(), partition, 999))).collect();
    assert_eq!(lines_of(&log).len() as u64, log.clicks + log.broken_lines);
    assert!(from_log == from_columns, "the log differs from the columns");
    assert!(from_json == from_columns, "JSON differs from the columns");
    let read_back: Vec<RecordBatch> = parquet
        .files
        .iter()
        .flat_map(|file| {
            let file = fs::File::open(file).unwrap();
            ::parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1_000).unwrap().map(Result::unwrap)
        })
        .collect();
    let both = [whole_partition(&small(), 0, 8_192), whole_partition(&small(), 1, 8_192)];
    assert_eq!(concat_batches(&click_schema(), &read_back).unwrap(), concat_batches(&click_schema(), &both).unwrap());
}

fn reads_as_log(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else {
        return false;
    };
    let fields: Vec<&str> = text.split(", ").collect();
    fields.len() == 6
        && fields[0].starts_with("[AdClickEvent] ad")
        && chrono::NaiveDateTime::parse_from_str(fields[1], "%Y-%m-%d %H:%M:%S").is_ok()
        && fields[3].parse::<std::net::Ipv4Addr>().is_ok()
}

fn log_line_of_json(line: &[u8]) -> Option<Vec<u8>> {
    let click: serde_json::Value = serde_json::from_slice(line).ok()?;
    let text = |key: &str| click[key].as_str().map(str::to_owned);
    let timestamp = chrono::DateTime::parse_from_rfc3339(&text("click_timestamp")?).ok()?;
    let fields = [
        format!("[AdClickEvent] {}", text("ad_id")?),
        timestamp.format("%Y-%m-%d %H:%M:%S").to_string(),
        text("user_id")?,
        text("ip")?,
        text("country")?,
        text("event_id")?,
    ];
    Some(fields.join(", ").into_bytes())
}

fn log_lines_of(clicks: &RecordBatch) -> Vec<Vec<u8>> {
    let column = |index: usize| clicks.column(index).as_string::<i32>();
    let times = clicks.column(1).as_primitive::<TimestampMillisecondType>();
    (0..clicks.num_rows())
        .map(|row| {
            let time = times.value_as_datetime(row).unwrap().format("%Y-%m-%d %H:%M:%S").to_string();
            let rest: Vec<&str> = (2..6).map(|index| column(index).value(row)).collect();
            format!("[AdClickEvent] {}, {time}, {}", column(0).value(row), rest.join(", ")).into_bytes()
        })
        .collect()
}

#[tokio::test]
async fn the_first_lines_of_a_seed_never_change() {
    let folder = tempfile::tempdir().unwrap();
    let config = ClickStreamConfig { events: Some(2_000), broken_share: 0.01, ..ClickStreamConfig::default() };
    let log = written(&config, ClickFormat::Lines(LineFormat::ClickLog { event_id: false }), folder.path()).await;
    let json = written(&config, ClickFormat::Lines(LineFormat::Json), folder.path()).await;
    let hash = |report: &GenerateReport| {
        xxh3_64(&report.files.iter().flat_map(|file| fs::read(file).unwrap()).collect::<Vec<u8>>())
    };
    let first = String::from_utf8(lines_of(&log)[0].clone()).unwrap();
    assert_eq!(first, "[AdClickEvent] ad000021, 2022-03-04 00:00:06, user 19195, 35.21.92.224, IND");
    assert_eq!(
        (hash(&log), hash(&json)),
        (13_687_412_606_097_116_906, 14_600_203_338_079_972_364),
        "benchmarks and golden outputs rest on these bytes"
    );
}

#[tokio::test]
async fn a_dictionary_lasts_for_the_whole_row_group() {
    let folder = tempfile::tempdir().unwrap();
    let config = ClickStreamConfig { events: Some(120_000), ads: 2_000_000, skew: 0.0, partitions: 1, ..small() };
    let report = written(&config, ClickFormat::Parquet, folder.path()).await;
    let file = fs::File::open(&report.files[0]).unwrap();
    let metadata = ::parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
    for (index, dictionary, statistics) in
        [(0, true, false), (1, true, true), (2, true, false), (3, false, false), (4, true, false), (5, false, false)]
    {
        let column = metadata.row_group(0).column(index);
        assert_eq!(column.dictionary_page_offset().is_some(), dictionary, "column {index}");
        assert_eq!(column.statistics().is_some(), statistics, "column {index}");
        let plain_pages =
            column.page_encoding_stats_mask().map(|mask| !mask.is_only(::parquet::basic::Encoding::RLE_DICTIONARY));
        assert_eq!(plain_pages, Some(!dictionary), "column {index}");
    }
}

#[tokio::test]
async fn a_file_that_is_there_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("part-0001.parquet"), "precious").unwrap();
    let destination =
        Destination { folder: folder.path().to_path_buf(), format: ClickFormat::Parquet, clicks_per_second: None };
    let error = generate(&small(), &destination, &Env::default(), Arc::new(|_| {})).await.unwrap_err();
    assert!(error.message.contains("part-0001.parquet: it is there already"), "{error}");
    assert_eq!(fs::read(folder.path().join("part-0001.parquet")).unwrap(), b"precious");
}

#[tokio::test]
async fn a_paced_stream_keeps_its_pace_and_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let config = ClickStreamConfig { events: Some(1_000), ..small() };
    let line = ClickFormat::Lines(LineFormat::ClickLog { event_id: false });
    let at_once = written(&config, line, &folder.path().join("at-once")).await;
    let destination = Destination { folder: folder.path().join("paced"), format: line, clicks_per_second: Some(2_000) };
    let env = Env::default();
    let (start, reported) = (env.now(), Arc::new(AtomicU64::new(0)));
    let last = reported.clone();
    let progress: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |clicks| last.store(clicks, Ordering::Relaxed));
    let paced = generate(&config, &destination, &env, progress).await.unwrap();
    let took = (env.now() - start).as_millis();
    assert!((500..5_000).contains(&took), "1,000 clicks at 2,000 a second took {took} ms");
    assert_eq!(reported.load(Ordering::Relaxed), 1_000);
    assert_eq!(paced.files[1].file_name().unwrap(), "server-0001.log");
    assert!(lines_of(&paced) == lines_of(&at_once), "the pace changed the lines");
    assert_eq!((paced.bytes, paced.duplicates), (at_once.bytes, at_once.duplicates));
}

#[test]
fn impossible_streams_are_refused_by_name() {
    let base = small;
    for (config, setting) in [
        (ClickStreamConfig { partitions: 0, ..base() }, "partitions = 0"),
        (ClickStreamConfig { ads: 0, ..base() }, "ads = 0"),
        (ClickStreamConfig { users: 0, ..base() }, "users = 0"),
        (ClickStreamConfig { rate: 0, ..base() }, "rate = 0"),
        (ClickStreamConfig { skew: f64::NAN, ..base() }, "skew = NaN"),
        (ClickStreamConfig { late_share: 1.5, ..base() }, "late_share = 1.5"),
        (ClickStreamConfig { duplicate_share: 1.0, ..base() }, "duplicate_share = 1"),
        (ClickStreamConfig { duplicate_within: 0, ..base() }, "duplicate_within = 0"),
        (ClickStreamConfig { late_to_ms: 1, ..base() }, "late_to_ms = 1"),
        (ClickStreamConfig { start_ms: i64::MAX, ..base() }, "between the years 1 and 9999"),
    ] {
        let error = ClickStream::new(config).err().unwrap();
        assert!(error.message.contains(setting), "{error}");
    }
    let error = ClickStream::new(small()).unwrap().partition(2).err().unwrap();
    assert!(error.message.contains("partition 2 asked for, but partitions = 2"), "{error}");
}
