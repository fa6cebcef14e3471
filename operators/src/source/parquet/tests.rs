//! Parquet files of many shapes, whole and damaged.

use super::*;
use crate::source::generator::{ClickFormat, ClickStream, ClickStreamConfig, Destination, click_schema, generate};
use crate::source::{JumpAfter, JumpRule};
use ::parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampSecondArray,
    },
    compute::{cast, concat_batches},
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType},
};
use object_store::{ObjectStoreExt, memory::InMemory};
use proptest::prelude::*;
use std::{fs, path::Path, sync::Arc};
use weir_engine::{env::Env, error::Result};

fn clicks(config: ClickStreamConfig) -> RecordBatch {
    let batches: Vec<RecordBatch> = ClickStream::new(config).unwrap().partition(0).unwrap().collect();
    concat_batches(&click_schema(), &batches).unwrap()
}

fn one_partition(events: u64) -> ClickStreamConfig {
    ClickStreamConfig { events: Some(events), partitions: 1, ..ClickStreamConfig::default() }
}

fn write(path: &Path, batch: &RecordBatch, properties: WriterPropertiesBuilder) {
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn row_groups_of(rows: usize) -> WriterPropertiesBuilder {
    WriterProperties::builder().set_max_row_group_row_count(Some(rows))
}

async fn open(path: &Path) -> Result<Arc<ParquetFile>> {
    ParquetFile::open(ParquetLocation::Local(path.to_path_buf())).await
}

fn whole(file: &ParquetFile) -> ParquetSplit {
    let splits = file.splits(None, None);
    let groups = splits.last().map_or(0, |split| split.row_groups.end);
    ParquetSplit { row_groups: 0..groups, rows: file.rows(), file_bytes: file.bytes(), newest_before_ms: None }
}

async fn read_all(rows: ParquetRows) -> Result<Vec<RecordBatch>> {
    read_all_by(rows, 1_024).await
}

async fn read_all_by(mut rows: ParquetRows, max_rows: usize) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    while let Some(batch) = rows.next(max_rows).await? {
        batches.push(batch);
    }
    Ok(batches)
}

/// All rows in one batch, text as Utf8.
fn flat(schema: &SchemaRef, batches: &[RecordBatch]) -> RecordBatch {
    let flattened: Vec<RecordBatch> = batches
        .iter()
        .map(|batch| {
            let columns = schema
                .fields()
                .iter()
                .map(|field| cast(batch.column_by_name(field.name()).unwrap(), field.data_type()).unwrap())
                .collect();
            RecordBatch::try_new(schema.clone(), columns).unwrap()
        })
        .collect();
    concat_batches(schema, &flattened).unwrap()
}

#[tokio::test]
async fn generated_clicks_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let config = one_partition(30_000);
    let destination =
        Destination { folder: folder.path().to_path_buf(), format: ClickFormat::Parquet, clicks_per_second: None };
    let report = generate(&config, &destination, &Env::default(), Arc::new(|_| {})).await.unwrap();
    let file = open(&report.files[0]).await.unwrap();
    assert_eq!(*file.schema(), click_schema());
    let rows = file.rows_of(whole(&file), &click_schema(), 0).unwrap();
    let batches = read_all_by(rows, 7_000).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [7_000, 7_000, 7_000, 7_000, 2_000]);
    assert_eq!(flat(&click_schema(), &batches), clicks(config));
}

#[tokio::test]
async fn an_object_store_gives_the_same_rows_as_a_local_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.parquet");
    write(&path, &clicks(one_partition(5_000)), row_groups_of(1_500));
    let store = Arc::new(InMemory::new());
    let object = object_store::path::Path::from("logs/clicks.parquet");
    store.put(&object, fs::read(&path).unwrap().into()).await.unwrap();
    let local = open(&path).await.unwrap();
    let remote = ParquetFile::open(ParquetLocation::Object { store, path: object }).await.unwrap();
    assert_eq!(local.splits(Some("click_timestamp"), None), remote.splits(Some("click_timestamp"), None));
    let wanted = Arc::new(click_schema().project(&[5, 0]).unwrap());
    for position in [0, 1, 1_500, 4_999] {
        let from_local = read_all(local.rows_of(whole(&local), &wanted, position).unwrap()).await.unwrap();
        let from_remote = read_all(remote.rows_of(whole(&remote), &wanted, position).unwrap()).await.unwrap();
        assert_eq!(from_local, from_remote);
        assert_eq!(from_local.iter().map(RecordBatch::num_rows).sum::<usize>() as u64, 5_000 - position);
    }
}

#[tokio::test]
async fn only_requested_columns_come_in_the_requested_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.parquet");
    let expected = clicks(one_partition(2_500));
    write(&path, &expected, row_groups_of(1_000));
    let file = open(&path).await.unwrap();
    let wanted = Arc::new(click_schema().project(&[4, 1, 0]).unwrap());
    let batches = read_all(file.rows_of(whole(&file), &wanted, 0).unwrap()).await.unwrap();
    assert_eq!(
        batches[0].schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["country", "click_timestamp", "ad_id"]
    );
    assert_eq!(flat(&wanted, &batches), expected.project(&[4, 1, 0]).unwrap());
    let none = read_all(file.rows_of(whole(&file), &Schema::empty(), 0).unwrap()).await.unwrap();
    assert_eq!(none.iter().map(RecordBatch::num_rows).sum::<usize>(), 2_500, "rows can be counted without any column");
}

#[tokio::test]
async fn text_stays_a_dictionary_where_every_page_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.parquet");
    // The dictionary of event ids outgrows its limit, so its column falls back to plain pages; the ads' does not.
    let properties = row_groups_of(2_000).set_dictionary_page_size_limit(20_000).set_data_page_row_count_limit(500);
    write(&path, &clicks(ClickStreamConfig { ads: 100, ..one_partition(4_000) }), properties);
    let file = open(&path).await.unwrap();
    let wanted = Arc::new(click_schema().project(&[0, 5]).unwrap());
    let batches = read_all_by(file.rows_of(whole(&file), &wanted, 0).unwrap(), 1_000).await.unwrap();
    assert_eq!(batches.len(), 4);
    for pair in batches.chunks(2) {
        let [first, second] = [0, 1].map(|batch| pair[batch].column(0).as_dictionary::<Int32Type>().values().clone());
        assert!(first.to_data().ptr_eq(&second.to_data()), "batches of one row group share their dictionary");
        assert_eq!(first.data_type(), &DataType::Utf8);
        assert_eq!(pair[0].column(1).data_type(), &DataType::Utf8View);
    }
}

#[tokio::test]
async fn a_restart_goes_on_at_exactly_the_next_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.parquet");
    let expected = clicks(one_partition(3_210));
    write(&path, &expected, row_groups_of(1_000).set_data_page_row_count_limit(300));
    let file = open(&path).await.unwrap();
    for position in (0..3_210).step_by(97).chain([999, 1_000, 1_001, 3_209, 3_210]) {
        let rows = file.rows_of(whole(&file), &click_schema(), position).unwrap();
        let batches = read_all_by(rows, 256).await.unwrap();
        let rest = expected.slice(position as usize, 3_210 - position as usize);
        assert_eq!(flat(&click_schema(), &batches), rest, "from row {position}");
    }
    let mut rows = file.rows_of(whole(&file), &click_schema(), 0).unwrap();
    let mut positions = Vec::new();
    while rows.next(700).await.unwrap().is_some() {
        positions.push(rows.position());
    }
    assert_eq!(positions, [700, 1_000, 1_700, 2_000, 2_700, 3_000, 3_210]);
}

#[tokio::test]
async fn missing_columns_and_other_types_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.parquet");
    write(&path, &clicks(one_partition(10)), row_groups_of(10));
    let file = open(&path).await.unwrap();
    let wanted =
        |name: &str, data_type: DataType, nullable: bool| Schema::new(vec![Field::new(name, data_type, nullable)]);
    let refused = |name: &str, data_type: DataType| {
        file.rows_of(whole(&file), &wanted(name, data_type, false), 0).err().unwrap().message
    };
    let missing = refused("ad", DataType::Utf8);
    assert!(
        missing.contains("clicks.parquet: there is no column 'ad'; the columns found are: ad_id, click_timestamp,"),
        "{missing}"
    );
    let nullable = wanted("ad", DataType::Utf8, true);
    assert_eq!(file.missing_columns(&nullable).unwrap(), ["ad"]);
    let nulls = read_all(file.rows_of(whole(&file), &nullable, 0).unwrap()).await.unwrap();
    assert_eq!((nulls[0].num_rows(), nulls[0].column(0).null_count()), (10, 10));
    let other = refused("ad_id", DataType::Int64);
    assert!(other.contains("clicks.parquet: column 'ad_id' is Utf8, but Int64 is wanted"), "{other}");
}

#[tokio::test]
async fn timestamps_of_any_unit_and_zone_become_milliseconds_utc() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("times.parquet");
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "micros",
            Arc::new(
                TimestampMicrosecondArray::from(vec![1_646_352_001_234_567, -1, 0]).with_timezone("Europe/Berlin"),
            ),
        ),
        ("naive", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_646_352_001_234_567), None, Some(0)]))),
        (
            "seconds",
            Arc::new(TimestampSecondArray::from(vec![1_646_352_001, -1, 253_402_300_799]).with_timezone("UTC")),
        ),
    ];
    write(&path, &RecordBatch::try_from_iter(columns).unwrap(), row_groups_of(10));
    let file = open(&path).await.unwrap();
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    assert!(file.schema().fields().iter().all(|field| *field.data_type() == utc));
    let batches = read_all(file.rows_of(whole(&file), file.schema(), 0).unwrap()).await.unwrap();
    let values =
        |column: usize| batches[0].column(column).as_primitive::<TimestampMillisecondType>().iter().collect::<Vec<_>>();
    assert_eq!(values(0), [Some(1_646_352_001_234), Some(0), Some(0)]);
    assert_eq!(values(1), [Some(1_646_352_001_234), None, Some(0)]);
    assert_eq!(values(2), [Some(1_646_352_001_000), Some(-1_000), Some(253_402_300_799_000)]);
}

#[tokio::test]
async fn text_is_the_same_however_its_writer_held_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.parquet");
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b"), Some("a")]));
    let dictionary = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::LargeUtf8));
    let columns = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View, dictionary];
    let columns = columns.iter().map(|held| cast(&texts, held).unwrap()).zip(["t", "u", "v", "w"]);
    let batch = RecordBatch::try_from_iter(columns.map(|(column, name)| (name, column))).unwrap();
    for dictionary in [true, false] {
        write(&path, &batch, row_groups_of(10).set_dictionary_enabled(dictionary));
        let file = open(&path).await.unwrap();
        assert!(file.schema().fields().iter().all(|field| *field.data_type() == DataType::Utf8));
        let batches = read_all(file.rows_of(whole(&file), file.schema(), 0).unwrap()).await.unwrap();
        let read = flat(file.schema(), &batches);
        assert!(read.columns().iter().all(|column| column.as_ref() == texts.as_ref()), "{read:?}");
    }
}

fn jump(max_jump_ms: i64) -> Option<JumpRule> {
    Some(JumpRule { max_jump_ms, refuses: true, after: JumpAfter::default() })
}

/// What a reader that sees every row would know before each split.
fn newest_before(clicks: &RecordBatch, row: u64) -> Option<i64> {
    let times = clicks.column(1).as_primitive::<TimestampMillisecondType>();
    times.values()[..row as usize].iter().max().copied()
}

#[tokio::test]
async fn splits_start_from_the_watermark_that_the_rows_before_them_leave() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.parquet");
    let expected = clicks(ClickStreamConfig { late_share: 0.05, ..one_partition(300_000) });
    for group_rows in [30_000, 65_536, 100_000] {
        write(&path, &expected, row_groups_of(group_rows));
        let file = open(&path).await.unwrap();
        let splits = file.splits(Some("click_timestamp"), None);
        assert!(splits.len() >= 3 && splits[..splits.len() - 1].iter().all(|split| split.rows >= 65_536), "{splits:?}");
        let mut row = 0;
        for split in &splits {
            assert_eq!(split.newest_before_ms, newest_before(&expected, row));
            let batches = read_all(file.rows_of(split.clone(), &click_schema(), 0).unwrap()).await.unwrap();
            assert_eq!(flat(&click_schema(), &batches), expected.slice(row as usize, split.rows as usize));
            row += split.rows;
        }
        assert_eq!(row, 300_000);
    }
}

#[tokio::test]
async fn a_file_is_not_cut_where_statistics_do_not_tell_the_watermark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.parquet");
    let events = clicks(one_partition(140_000));
    write(&path, &events, row_groups_of(70_000).set_statistics_enabled(EnabledStatistics::None));
    let file = open(&path).await.unwrap();
    assert_eq!(file.splits(Some("click_timestamp"), None), [whole(&file)]);
    assert_eq!(file.splits(None, None).len(), 2, "without an event time nothing can be late");
    assert_eq!(file.splits(Some("ad_id"), None), [whole(&file)], "no timestamp");
    write(&path, &events, row_groups_of(70_000));
    let file = open(&path).await.unwrap();
    // The first row group spans some 100 seconds.
    assert_eq!(file.splits(Some("click_timestamp"), jump(3_600_000)).len(), 2);
    assert_eq!(file.splits(Some("click_timestamp"), jump(20_000)), [whole(&file)]);
    // One click two hours ahead: whoever refuses it must see it, and for whoever believes it time is there.
    let times = events.column(1).as_primitive::<TimestampMillisecondType>();
    let ahead = times.value(100) + 7_200_000;
    let mut with_one = times.values().to_vec();
    with_one[100] = ahead;
    let mut columns = events.columns().to_vec();
    columns[1] = Arc::new(TimestampMillisecondArray::from(with_one).with_timezone("UTC"));
    write(&path, &RecordBatch::try_new(events.schema(), columns).unwrap(), row_groups_of(70_000));
    let file = open(&path).await.unwrap();
    assert_eq!(file.splits(Some("click_timestamp"), jump(3_600_000)), [whole(&file)]);
    let believed: Vec<Option<i64>> =
        file.splits(Some("click_timestamp"), None).iter().map(|split| split.newest_before_ms).collect();
    assert_eq!(believed, [None, Some(ahead)]);
}

#[tokio::test]
async fn a_file_that_changed_since_the_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.parquet");
    write(&path, &clicks(one_partition(3_000)), row_groups_of(1_000));
    let split = whole(&open(&path).await.unwrap());
    write(&path, &clicks(one_partition(2_000)), row_groups_of(1_000));
    let error = open(&path).await.unwrap().rows_of(split, &click_schema(), 500).err().unwrap();
    assert!(error.message.contains(" and 2 row groups with 2000 rows"), "{error}");
}

#[tokio::test]
async fn files_that_are_no_parquet_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.parquet");
    for content in [
        &b""[..],
        b"PAR1",
        b"[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA\n",
        b"PAR1\0\0\0\0PAR1",
    ] {
        fs::write(&path, content).unwrap();
        let error = open(&path).await.err().unwrap();
        assert!(error.message.contains("odd.parquet is not a complete Parquet file: "), "{error}");
        assert!(error.message.contains(&format!("it has {} bytes", content.len())), "{error}");
    }
    let error = open(&folder.path().join("gone.parquet")).await.err().unwrap();
    assert!(error.message.starts_with("cannot read ") && error.message.contains("gone.parquet: "), "{error}");
}

#[tokio::test]
async fn a_file_without_rows_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.parquet");
    write(&path, &RecordBatch::new_empty(click_schema()), row_groups_of(10));
    let file = open(&path).await.unwrap();
    assert_eq!((file.rows(), file.splits(Some("click_timestamp"), None).len()), (0, 0));
    assert!(read_all(file.rows_of(whole(&file), &click_schema(), 0).unwrap()).await.unwrap().is_empty());
}

/// Reads everything that a file claims to hold, and says what came of it.
async fn try_to_read(path: &Path) -> Result<usize> {
    let file = open(path).await?;
    let batches = read_all(file.rows_of(whole(&file), file.schema(), 0)?).await?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

fn small_file() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.parquet");
    let numbers: ArrayRef = Arc::new(Int64Array::from((0..300).collect::<Vec<_>>()));
    let texts: ArrayRef =
        Arc::new(StringArray::from((0..300).map(|row| format!("text {}", row % 40)).collect::<Vec<_>>()));
    let batch = RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).unwrap();
    write(&path, &batch, row_groups_of(100).set_compression(Compression::SNAPPY));
    fs::read(path).unwrap()
}

#[tokio::test]
async fn a_file_cut_off_anywhere_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.parquet");
    let bytes = small_file();
    for length in (0..bytes.len()).step_by(7) {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = try_to_read(&path).await.err().unwrap();
        assert!(error.message.contains("cut.parquet is not a complete Parquet file: "), "{length} bytes: {error}");
    }
    // The footer is whole, and what it speaks of is not.
    for cut in (1..bytes.len() / 2).step_by(11) {
        fs::write(&path, &bytes[cut..]).unwrap();
        if let Err(error) = try_to_read(&path).await {
            assert!(error.message.contains("cut.parquet"), "{cut} bytes less: {error}");
        }
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(try_to_read(&path).await.unwrap(), 300);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damage may go unnoticed where Parquet has no checksum, but it never takes the process down.
    #[test]
    fn damage_is_an_error_or_rows_and_never_a_panic(damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = small_file();
        for (index, byte) in damages {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.parquet");
        fs::write(&path, bytes).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        if let Err(error) = runtime.block_on(try_to_read(&path)) {
            prop_assert!(error.message.contains("damaged.parquet"), "{}", error);
        }
    }
}
