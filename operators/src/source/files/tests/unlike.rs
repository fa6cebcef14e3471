//! Parquet files of one feed that are not written alike.

use super::*;
use arrow::array::{Array, BinaryArray, Float64Array, Int32Array, Int64Array, NullArray, TimestampMicrosecondArray};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

fn times(rows: usize) -> ArrayRef {
    let times = (0..rows as i64).map(|row| 1_646_352_000_000_000 + row * 1_000_000);
    Arc::new(TimestampMicrosecondArray::from_iter_values(times))
}

fn ads(prefix: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("{prefix}{row}"))))
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, compression: Compression) {
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let rows = rows.expect("columns that fit");
    let properties = WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(1_000));
    let properties =
        properties.set_dictionary_enabled(false).set_data_page_row_count_limit(100).set_write_batch_size(100);
    let file = fs::File::create(path).expect("created");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties.build())).expect("a writer");
    writer.write(&rows).expect("written");
    writer.close().expect("closed");
}

/// Reads the text of `ad_id` and of `n`, an int.
fn declared(folder: &Path) -> Value {
    let mut config = config(folder);
    config["format"] = "parquet".into();
    let columns = config["columns"].as_array_mut().expect("a list");
    columns.push(json!({"name": "n", "type": "Int64"}));
    config
}

#[tokio::test]
async fn every_compression_of_pages_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = [
        ("gzip", Compression::GZIP(GzipLevel::default())),
        ("brotli", Compression::BROTLI(BrotliLevel::default())),
        ("lz4", Compression::LZ4_RAW),
        ("hadoop-lz4", Compression::LZ4),
        ("snappy", Compression::SNAPPY),
        ("zstd", Compression::ZSTD(ZstdLevel::default())),
        ("none", Compression::UNCOMPRESSED),
    ];
    for (name, compression) in all {
        let columns = vec![("ad_id", ads(name, 50)), ("click_timestamp", times(50))];
        write(&folder.path().join(format!("{name}.parquet")), columns, compression);
    }
    let seen = read(&declared(folder.path()), Vec::new(), 2).await.expect("read");
    assert_eq!((seen.ads.len(), seen.dead.len()), (350, 0), "{:?}", seen.dead);
}

#[tokio::test]
async fn files_that_differ_are_read_as_declared_or_are_dead_letters_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, n: Option<ArrayRef>| {
        let rows = n.as_ref().map_or(3, |n| n.len());
        let mut columns = vec![("click_timestamp", times(rows)), ("ad_id", ads(name, rows))];
        columns.extend(n.map(|n| ("n", n)));
        write(&folder.path().join(format!("{name}.parquet")), columns, Compression::SNAPPY);
    };
    file("missing", None);
    file("null", Some(Arc::new(NullArray::new(2))));
    file("int32", Some(Arc::new(Int32Array::from(vec![Some(1), None]))));
    file("int64", Some(Arc::new(Int64Array::from(vec![1]))));
    file("float", Some(Arc::new(Float64Array::from(vec![Some(1.0), Some(1.5), None]))));
    file("text", Some(Arc::new(StringArray::from(vec!["1", "2"]))));
    let names: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"binary0", b"\xff\xfe"]));
    write(
        &folder.path().join("binary.parquet"),
        vec![("ad_id", names), ("click_timestamp", times(2))],
        Compression::SNAPPY,
    );
    write(&folder.path().join("no-time.parquet"), vec![("ad_id", ads("x", 9))], Compression::SNAPPY);
    fs::write(folder.path().join("damaged.parquet"), "PAR1 and so on PAR1").expect("written");
    let mut config = declared(folder.path());
    let whole = read(&config, Vec::new(), 1).await.expect("read").sorted();
    let expected = [
        "binary0", "float0", "float2", "int320", "int321", "int640", "missing0", "missing1", "missing2", "null0",
        "null1",
    ];
    assert_eq!(whole.ads, expected);
    for (dead, expected) in whole.dead.iter().zip([
        "binary.parquet@1: ad_id is fffe in the file, which is no Utf8",
        "damaged.parquet@0: ",
        "float.parquet@1: n is 1.5 in the file, which is no Int64",
        "no-time.parquet@0: ",
        "text.parquet@0: ",
    ]) {
        assert!(dead.starts_with(expected), "{dead}");
    }
    assert_eq!(whole.dead.len(), 5, "{:?}", whole.dead);
    assert!(whole.dead[4].contains("text.parquet: column 'n' is Utf8, but Int64 is wanted"), "{:?}", whole.dead);
    assert!(whole.dead[3].contains("no column 'click_timestamp', the event time; the columns found are: ad_id"));
    for (batch_rows, parallelism) in [(1, 1), (2, 3), (1_000, 4)] {
        config["batch_rows"] = batch_rows.into();
        assert_eq!(read(&config, Vec::new(), parallelism).await.expect("read").sorted(), whole);
        for events in [1, 4, 8] {
            let mut seen = Seen::default();
            let states = read_some(&config, events, parallelism, &mut seen).await;
            let rest = read(&config, states, 2).await.expect("read");
            seen.ads.extend(rest.ads);
            seen.dead.extend(rest.dead);
            assert_eq!(seen.sorted(), whole, "{batch_rows} at {parallelism} after {events}");
        }
    }
}

#[tokio::test]
async fn a_damaged_row_group_costs_its_rest_whatever_the_batches() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.parquet");
    write(&path, vec![("click_timestamp", times(3_000)), ("ad_id", ads("ad", 3_000))], Compression::UNCOMPRESSED);
    let mut bytes = fs::read(&path).expect("readable");
    let at = bytes.windows(6).position(|window| window == b"ad1450").expect("the middle of the second row group");
    bytes[at - 40..at + 60].fill(0xff);
    fs::write(&path, &bytes).expect("written");
    let mut config = declared(folder.path());
    let whole = read(&config, Vec::new(), 1).await.expect("read").sorted();
    assert_eq!(whole.dead.len(), 1, "{:?}", whole.dead);
    let place: usize = whole.dead[0].split(['@', ':']).nth(1).expect("a place").parse().expect("a number");
    assert!((1_300..=1_450).contains(&place) && whole.dead[0].contains(&format!("{} rows from this", 2_000 - place)));
    assert_eq!(whole.ads.len(), 2_000 + place - 1_000, "{:?}", whole.dead);
    for batch_rows in [1, 7, 333, 5_000] {
        config["batch_rows"] = batch_rows.into();
        assert!(read(&config, Vec::new(), 1).await.expect("read").sorted() == whole, "by {batch_rows}");
    }
}
