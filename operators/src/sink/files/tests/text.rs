//! Files of text: what is in them, read by programs of another make, by our own source, and as results are read back.

use super::*;
use crate::{
    format::{DEFAULT_MAX_LINE_BYTES, LineFormat, testing::cells},
    schema::ColumnSchema,
    sink::{
        files::rows_of_file,
        read_back::{ReadBack, ReadBackOf, shown_schema},
    },
    source::column_type::{ColumnType, DeclaredSchema},
};
use arrow::{
    array::{
        Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationMillisecondArray,
        FixedSizeBinaryArray, Float64Array, Int32Array, ListArray, NullArray, StringArray,
    },
    compute::concat_batches,
    datatypes::{DataType, Field, Int32Type, Schema},
};
use conformance::{JOB, SINK, context};
use serde_json::Value;
use std::io::Read;

/// The text of a file.
fn unpacked(path: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("gz") => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).map(drop),
        Some("zst") => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_string(&mut text).map(drop),
        _ => (&bytes[..]).read_to_string(&mut text).map(drop),
    }
    .unwrap();
    text
}

/// The numbers in column `n`.
pub(super) fn numbers(path: &str, bytes: &[u8]) -> Vec<i64> {
    let text = unpacked(path, bytes);
    if path.contains(".csv") {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let column = reader.headers().unwrap().iter().position(|name| name == "n").unwrap();
        return reader.records().map(|record| record.unwrap()[column].parse().unwrap()).collect();
    }
    let object = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(|line| object(line)["n"].as_i64().unwrap()).collect()
}

fn times(of: [Option<i64>; 2]) -> TimestampMillisecondArray {
    TimestampMillisecondArray::from(of.to_vec()).with_timezone("UTC")
}

/// Two rows of every type that results have, the second with odd or no values.
pub(super) fn rows() -> RecordBatch {
    let ids = FixedSizeBinaryArray::try_from_iter([[0xf2_u8; 16], [1; 16]].into_iter()).unwrap();
    let ads: DictionaryArray<Int32Type> = [Some("a \"b\",\n"), Some("")].into_iter().collect();
    let cost = Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(12, 2).unwrap();
    let columns: [(&str, ArrayRef); 11] = [
        ("record_id", Arc::new(ids)),
        ("ad_id", Arc::new(ads)),
        ("note", Arc::new(StringArray::from(vec![Some(" plain "), None]))),
        ("count", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
        ("rate", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
        ("cost", Arc::new(cost)),
        ("window_end", Arc::new(times([Some(1_646_352_001_500), None]))),
        ("far", Arc::new(times([Some(0), Some(i64::MAX)]))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_055), None]))),
        ("revision", Arc::new(Int32Array::from(vec![-1, 2]))),
        ("withdrawn", Arc::new(BooleanArray::from(vec![false, true]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// Writes rows as one file.
pub(super) async fn written(target: &Target, rows: RecordBatch) -> (String, Bytes) {
    let mut sink = target.sink(&context(1, 0));
    sink.write(Batch::new(rows)).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    target.committer(JOB, SINK).commit(CheckpointId(1), &staged).await.unwrap();
    let path = target.results().await.remove(0);
    let bytes = target.bytes(&path).await;
    (path, bytes)
}

#[tokio::test]
async fn a_row_is_a_line() {
    let target = Target::memory().with(FileFormat::Json, Compression::None);
    let (path, json) = written(&target, rows()).await;
    assert_eq!(path, "ad-click-counts-00000001-0-0.jsonl");
    let expected = concat!(
        r#"{"record_id":"f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2","ad_id":"a \"b\",\n","note":" plain ","count":9223372036854775807,"#,
        r#""rate":0.5,"cost":1.50,"window_end":"2022-03-04T00:00:01.500Z","far":"1970-01-01T00:00:00Z","day":"2022-03-04","#,
        r#""revision":-1,"withdrawn":false}"#,
        "\n",
        r#"{"record_id":"01010101-0101-0101-0101-010101010101","ad_id":"","note":null,"count":null,"rate":null,"cost":null,"#,
        r#""window_end":null,"far":null,"day":null,"revision":2,"withdrawn":true}"#,
        "\n",
    );
    assert_eq!(json, expected.as_bytes());
    let target = Target::memory().with(FileFormat::Csv, Compression::None);
    let (path, csv) = written(&target, rows()).await;
    assert_eq!(path, "ad-click-counts-00000001-0-0.csv");
    let expected = concat!(
        "record_id,ad_id,note,count,rate,cost,window_end,far,day,revision,withdrawn\n",
        "f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2,\"a \"\"b\"\",\n\", plain ,9223372036854775807,0.5,1.50,",
        "2022-03-04T00:00:01.500Z,1970-01-01T00:00:00Z,2022-03-04,-1,false\n",
        "01010101-0101-0101-0101-010101010101,\"\",,,,,,,,2,true\n",
    );
    assert_eq!(csv, expected.as_bytes());
}

/// The columns as somebody would declare them for our own source.
fn declared() -> DeclaredSchema {
    let decimal = ColumnType::Decimal { precision: 12, scale: 2 };
    DeclaredSchema::new([
        ("record_id", ColumnType::String),
        ("ad_id", ColumnType::String),
        ("note", ColumnType::String),
        ("count", ColumnType::Integer),
        ("rate", ColumnType::Float),
        ("cost", decimal),
        ("window_end", ColumnType::Timestamp),
        ("far", ColumnType::Timestamp),
        ("day", ColumnType::Date),
        ("revision", ColumnType::Integer),
        ("withdrawn", ColumnType::Boolean),
    ])
}

#[tokio::test]
async fn our_own_source_and_whoever_shows_results_read_what_was_written() {
    let expected = [
        ["f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2", "a \"b\",\n", " plain ", "9223372036854775807", "0.5", "1.50"]
            .as_slice(),
        &["2022-03-04T00:00:01.500Z", "1970-01-01T00:00:00Z", "2022-03-04", "-1", "false"],
    ];
    let odd = ["01010101-0101-0101-0101-010101010101", "", "-", "-", "-", "-", "-", "-", "-", "2", "true"];
    let expected = [expected.concat(), odd.to_vec()];
    let columns = ColumnSchema::from(rows().schema_ref().as_ref());
    let formats = [
        (FileFormat::Json, LineFormat::Json { schema: declared() }),
        (FileFormat::Csv, LineFormat::Csv { schema: declared(), delimiter: ',' }),
    ];
    for (format, source) in formats {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let target = Target::memory().with(format, compression);
            let (path, bytes) = written(&target, rows()).await;
            let text = unpacked(&path, &bytes);
            let (header, lines) = match format {
                FileFormat::Csv => text.split_at(text.find('\n').unwrap() + 1),
                _ => text.split_at(0),
            };
            let names: Vec<String> = declared().columns.iter().map(|column| column.name.clone()).collect();
            let mut decoder = source.decoder("x", header.as_bytes(), &names, DEFAULT_MAX_LINE_BYTES).unwrap();
            let decoded = decoder.decode(lines.as_bytes(), 0, 100).unwrap();
            assert_eq!(
                (decoded.bad_lines.len(), cells(&decoded.records)),
                (0, expected.to_vec().iter().map(owned).collect())
            );
            let read: Vec<_> = rows_of_file(&path, bytes, &columns).unwrap().iter().flat_map(cells).collect();
            assert_eq!(read, expected.iter().map(owned).collect::<Vec<_>>(), "{format:?} {compression:?}");
        }
    }
    let (path, bytes) = written(&Target::memory(), rows()).await;
    let read = rows_of_file(&path, bytes, &columns).unwrap();
    assert_eq!(read[0].schema(), shown_schema(&columns));
    assert_eq!(cells(&read[0])[0][..4], expected[0][..4]);
}

#[tokio::test]
async fn one_column_is_read_as_it_was_written() {
    let texts: ArrayRef =
        Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("\u{feff}b"), Some("c"), None]));
    let rows = RecordBatch::try_from_iter_with_nullable([("text", Arc::clone(&texts), true)]).unwrap();
    let target = Target::memory().with(FileFormat::Csv, Compression::None);
    let (path, bytes) = written(&target, rows.clone()).await;
    assert_eq!(bytes, "text\na\n\n\"\"\n\"\u{feff}b\"\nc\n\n".as_bytes());
    let source = LineFormat::Csv { schema: DeclaredSchema::new([("text", ColumnType::String)]), delimiter: ',' };
    let mut decoder = source.decoder("x", b"text\n", &["text".to_owned()], DEFAULT_MAX_LINE_BYTES).unwrap();
    let decoded = decoder.decode(&bytes[5..], 5, 100).unwrap();
    assert!(decoded.bad_lines.is_empty(), "{:?}", decoded.bad_lines);
    assert_eq!(decoded.records.column(0), &texts);
    let columns = ColumnSchema::from(rows.schema_ref().as_ref());
    let read = concat_batches(&shown_schema(&columns), &rows_of_file(&path, bytes, &columns).unwrap()).unwrap();
    assert_eq!(read.column(0), &texts);
}

/// Spans of time, bytes, columns without any value, and years of more or less than four digits.
#[tokio::test]
async fn whoever_shows_results_reads_unusual_columns_too() {
    let columns: [(&str, ArrayRef); 5] = [
        ("gap", Arc::new(DurationMillisecondArray::from(vec![Some(1_500), None]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some([255, 0].as_slice()), None]))),
        ("nothing", Arc::new(NullArray::new(2))),
        ("at", Arc::new(times([Some(285_700_000_000_000), Some(-93_000_000_000_000)]))),
        ("day", Arc::new(Date32Array::from(vec![Some(3_306_000), Some(-1_076_000)]))),
    ];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let columns = ColumnSchema::from(rows.schema_ref().as_ref());
    for format in [FileFormat::Json, FileFormat::Csv, FileFormat::Parquet] {
        let target = Target::memory().with(format, Compression::None);
        let (path, bytes) = written(&target, rows.clone()).await;
        let read = rows_of_file(&path, bytes, &columns).unwrap();
        let read = concat_batches(&shown_schema(&columns), &read).unwrap();
        let gap = read.column(0).as_string::<i32>();
        assert_eq!((gap.value(0), gap.is_null(1)), ("PT1.5S", true), "{format:?}");
        assert_eq!(read.column(2).null_count(), 2, "{format:?}");
        for same in ["bytes", "at", "day"] {
            assert_eq!(read.column_by_name(same), rows.column_by_name(same), "{format:?}: {same}");
        }
    }
}

/// As of a definition that has another type since.
#[tokio::test]
async fn lines_that_are_no_rows_are_no_results() {
    let columns = ColumnSchema::from(&Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let failed = rows_of_file("a-1-0-0.jsonl", "{\"n\":1}\n{\"n\":\"x\"}\n".into(), &columns).unwrap_err();
    let expected = "'a-1-0-0.jsonl': 1 of its lines are no rows of the columns that the sink writes by the definition";
    assert_eq!(failed.message, expected);
}

fn owned(cells: &Vec<&str>) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

#[tokio::test]
async fn lists_are_nested_in_json() {
    let lists: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([("lists", lists, true)]).unwrap();
    let target = Target::memory().with(FileFormat::Json, Compression::None);
    let (path, bytes) = written(&target, batch.clone()).await;
    assert_eq!(bytes, b"{\"lists\":[1,null]}\n{\"lists\":null}\n".as_slice());
    let columns = ColumnSchema::from(batch.schema_ref().as_ref());
    assert_eq!(rows_of_file(&path, bytes, &columns).unwrap()[0].column(0), batch.column(0));
}

#[tokio::test]
async fn large_files_of_text_are_rolled() {
    let mut target = Target::memory().with(FileFormat::Csv, Compression::None);
    target.config.roll_bytes = 1 << 20;
    let mut sink = target.sink(&context(1, 0));
    for k in 0..10 {
        sink.write(conformance::rows(k * 60_000..(k + 1) * 60_000)).await.unwrap();
        // What is written beside counts once it is written.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    target.committer(JOB, SINK).commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!(conformance::visible(&target).await, conformance::numbers(0..600_000));
    let results = target.results().await;
    assert!(results.len() > 1, "{results:?}");
}

#[tokio::test]
async fn results_are_read_back_as_they_become_visible() {
    let (mut target, env) = (hourly(Target::memory()), Env::default());
    let columns = ColumnSchema::from(conformance::rows(0..1).columns.schema_ref().as_ref());
    let of = ReadBackOf { job: JOB, sink: SINK, columns: &columns, env: &env };
    let mut results = super::super::read_back::FilesReadBack::new(Arc::clone(&target.storage), &of);
    assert_eq!((results.next().await.unwrap().len(), results.identity()), (0, Vec::<String>::new()));
    // A format that is changed between two runs leaves files of both.
    let formats = [FileFormat::Parquet, FileFormat::Json, FileFormat::Csv, FileFormat::Avro];
    for (checkpoint, format) in (1..).zip(formats) {
        target = target.with(format, Compression::None);
        let mut sink = target.sink(&context(checkpoint, 0));
        let from = checkpoint as i64 * 100;
        sink.write(conformance::rows(from..from + 100)).await.unwrap();
        let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap();
        assert_eq!(results.next().await.unwrap().len(), 0, "it is not visible yet");
        target.committer(JOB, SINK).commit(CheckpointId(checkpoint), &staged).await.unwrap();
        let rows = results.next().await.unwrap();
        let mut numbers: Vec<i64> =
            rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, conformance::numbers(from..from + 100));
    }
    // Columns that came later are null in what was written before.
    let more = Schema::try_merge([
        conformance::rows(0..1).columns.schema().as_ref().clone(),
        rows().schema().as_ref().clone(),
    ]);
    let more = ColumnSchema::from(&more.unwrap());
    let of = ReadBackOf { columns: &more, ..of };
    let mut results = super::super::read_back::FilesReadBack::new(Arc::clone(&target.storage), &of);
    let all = results.next().await.unwrap();
    assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 400);
    assert!(all.iter().all(|batch| batch.column_by_name("ad_id").unwrap().null_count() == batch.num_rows()));
    assert_eq!(results.identity(), ["record_id"]);
    let damaged = rows_of_file("a-1-0-0.csv", "n\n1,2\n".into(), &columns).unwrap_err();
    assert!(damaged.message.contains("a-1-0-0.csv") && damaged.message.contains("byte 2"), "{damaged}");
}
