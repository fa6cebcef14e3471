//! Files written here are read back by the `parquet` crate's Arrow reader and must be what was written.

use super::hybrid::{index_width, push_bit_packed};
use super::{FinishedFile, PageError, PlainParquetWriter};
use arrow::array::*;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::*;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Encoding, LogicalType};
use parquet::file::metadata::ParquetMetaData;
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Write};
use std::sync::Arc;

fn types() -> Vec<DataType> {
    use DataType::*;
    let dictionary = |key: DataType| Dictionary(Box::new(key), Box::new(Utf8));
    vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Date32,
        Timestamp(TimeUnit::Second, Some("UTC".into())),
        Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Timestamp(TimeUnit::Microsecond, None),
        Timestamp(TimeUnit::Nanosecond, Some("+02:00".into())),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        FixedSizeBinary(16),
        FixedSizeBinary(3),
        Decimal128(38, 0),
        Decimal128(37, 5),
        Decimal128(9, 2),
        Decimal128(18, 0),
        Decimal128(19, 4),
        Decimal128(28, 10),
        Decimal128(36, 36),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Duration(TimeUnit::Millisecond),
        dictionary(Int32),
        dictionary(UInt32),
    ]
}

/// An array of any of the types, made from numbers.
fn array(data_type: &DataType, values: &[Option<u64>]) -> ArrayRef {
    let text = |value: u64| "x".repeat((value % 40) as usize) + &value.to_string();
    let strings = || StringArray::from_iter(values.iter().map(|value| value.map(text)));
    let numbers = || Int64Array::from_iter(values.iter().map(|value| value.map(|value| value as i64)));
    let narrow =
        |modulus: u64| Int64Array::from_iter(values.iter().map(|value| value.map(|value| (value % modulus) as i64)));
    match data_type {
        DataType::Boolean => {
            Arc::new(BooleanArray::from_iter(values.iter().map(|value| value.map(|value| value % 3 == 0))))
        }
        DataType::UInt64 => Arc::new(UInt64Array::from_iter(values.iter().copied())),
        DataType::Int64 => Arc::new(numbers()),
        DataType::Timestamp(TimeUnit::Second, _) => cast(&narrow(1 << 40), data_type).unwrap(),
        DataType::Timestamp(..) => cast(&numbers(), data_type).unwrap(),
        DataType::Time64(_) | DataType::Duration(_) => cast(&narrow(86_400_000_000), data_type).unwrap(),
        DataType::Time32(_) => cast(&cast(&narrow(86_400_000), &DataType::Int32).unwrap(), data_type).unwrap(),
        DataType::Int32 | DataType::UInt32 => cast(&narrow(1 << 31), data_type).unwrap(),
        DataType::Date32 => cast(&cast(&narrow(1 << 31), &DataType::Int32).unwrap(), data_type).unwrap(),
        DataType::FixedSizeBinary(width) => {
            let rows =
                values.iter().map(|value| value.map(|value| value.to_le_bytes().repeat(2)[..*width as usize].to_vec()));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows, *width).unwrap())
        }
        DataType::Decimal128(precision, scale) => {
            // Of both signs, and beyond 64 bits.
            let most = 10i128.pow(u32::from(*precision));
            let wide = |value: u64| (i128::from(value) - (1 << 62)) * 1_000_003 % most;
            let decimals = Decimal128Array::from_iter(values.iter().map(|value| value.map(wide)));
            Arc::new(decimals.with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::Binary => {
            Arc::new(BinaryArray::from_iter(values.iter().map(|value| value.map(|value| value.to_be_bytes()))))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            cast(&strings(), data_type).unwrap()
        }
        _ => cast(&narrow(100), data_type).unwrap(),
    }
}

fn schema(nullable: bool) -> SchemaRef {
    let fields = types()
        .into_iter()
        .enumerate()
        .map(|(number, data_type)| Field::new(format!("c{number}"), data_type, nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn batch(nullable: bool, values: &[Option<u64>]) -> RecordBatch {
    let values: Vec<_> = values.iter().map(|value| if nullable { *value } else { Some(value.unwrap_or(7)) }).collect();
    let columns = types().iter().map(|data_type| array(data_type, &values)).collect();
    RecordBatch::try_new(schema(nullable), columns).unwrap()
}

fn write(schema: SchemaRef, groups: &[Vec<RecordBatch>]) -> FinishedFile<Vec<u8>> {
    let mut writer = PlainParquetWriter::try_new(Vec::new(), schema).unwrap();
    for group in groups {
        writer.write_group(group).unwrap();
    }
    writer.finish().unwrap()
}

fn read(file: &[u8]) -> (Arc<ParquetMetaData>, SchemaRef, RecordBatch) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).unwrap();
    let (metadata, schema) = (Arc::clone(reader.metadata()), Arc::clone(reader.schema()));
    let batches: Vec<_> = reader.with_batch_size(100).build().unwrap().map(|batch| batch.unwrap()).collect();
    let all = concat_batches(&schema, &batches).unwrap();
    (metadata, schema, all)
}

/// Writes the groups, reads the file, and compares all columns.
fn round_trip(schema: SchemaRef, groups: &[Vec<RecordBatch>]) {
    let file = write(Arc::clone(&schema), groups);
    assert_eq!(file.bytes as usize, file.output.len());
    let (metadata, read_schema, found) = read(&file.output);
    let expected = concat_batches(&schema, groups.iter().flatten()).unwrap();
    assert_eq!(found.num_rows(), expected.num_rows());
    assert_eq!(file.rows as usize, expected.num_rows());
    assert_eq!(metadata.num_row_groups(), file.row_groups);
    for (number, field) in schema.fields().iter().enumerate() {
        let column = found.column(number);
        match field.data_type() {
            DataType::Timestamp(TimeUnit::Second, zone) => {
                let stored = DataType::Timestamp(TimeUnit::Millisecond, zone.clone());
                assert_eq!(read_schema.field(number).data_type(), &stored);
                assert_eq!(column, &cast(expected.column(number), &stored).unwrap());
            }
            data_type => {
                assert_eq!(read_schema.field(number).data_type(), data_type);
                assert_eq!(column, expected.column(number), "{data_type}");
            }
        }
    }
}

/// Few distinct values, many, or one, and nulls from none to all.
fn values() -> impl Strategy<Value = Vec<Option<u64>>> {
    let value = prop_oneof![Just(0u64..1), Just(0..5), Just(0..u64::MAX)];
    let nulls = prop_oneof![Just(0u8), Just(3), Just(10)];
    (value, nulls).prop_flat_map(|(value, nulls)| {
        let value = (value, 0..10u8).prop_map(move |(value, draw)| (draw >= nulls).then_some(value));
        prop::collection::vec(value, 0..70)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_type_comes_back(groups in prop::collection::vec(prop::collection::vec(values(), 0..4), 0..4), nullable: bool) {
        let groups: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(|values| batch(nullable, values)).collect()).collect();
        round_trip(schema(nullable), &groups);
    }

    #[test]
    fn slices_come_back(values in values(), from in 0usize..70, rows in 0usize..70, nullable: bool) {
        let whole = batch(nullable, &values);
        let from = from.min(whole.num_rows());
        let slice = whole.slice(from, rows.min(whole.num_rows() - from));
        // Two slices of one batch share dictionaries.
        round_trip(schema(nullable), &[vec![slice.clone(), whole], vec![slice]]);
    }

    #[test]
    fn bit_packing_keeps_every_bit(values in prop::collection::vec(any::<u32>(), 1..100), width in 1u32..=32) {
        let mask = u32::MAX >> (32 - width);
        let mut packed = Vec::new();
        push_bit_packed(&mut packed, values.iter().map(|value| value & mask), width);
        let head = if values.len().div_ceil(8) << 1 >= 128 { 2 } else { 1 };
        prop_assert_eq!(packed.len() - head, values.len().div_ceil(8) * width as usize);
        for (number, value) in values.iter().enumerate() {
            let found = (0..width).map(|bit| {
                let at = number * width as usize + bit as usize;
                u32::from(packed[head + at / 8] >> (at % 8) & 1) << bit
            });
            prop_assert_eq!(found.sum::<u32>(), value & mask);
        }
    }
}

#[test]
fn index_widths() {
    let widths: Vec<_> = [1, 2, 3, 4, 5, 256, 257].into_iter().map(index_width).collect();
    assert_eq!(widths, [1, 1, 2, 2, 3, 8, 9]);
}

#[test]
fn a_file_without_rows_is_a_file() {
    let empty = batch(true, &[]);
    let file = write(schema(true), &[vec![], vec![empty.clone(), empty]]);
    assert_eq!((file.rows, file.row_groups), (0, 0));
    let (_, found, rows) = read(&file.output);
    assert_eq!((found.fields().len(), rows.num_rows()), (types().len(), 0));
}

#[test]
fn many_pages_in_one_group() {
    let values: Vec<_> = (0..300_000u64).map(|value| (value % 11 != 0).then_some(value * 7919 % 100_003)).collect();
    round_trip(schema(true), &[vec![batch(true, &values), batch(true, &values[..10])]]);
}

#[test]
fn one_value_is_one_entry_and_one_run() {
    let values = vec![Some(41); 100_000];
    let file = write(schema(false), &[vec![batch(false, &values)]]);
    let (metadata, ..) = read(&file.output);
    for (column, data_type) in metadata.row_group(0).columns().iter().zip(types()) {
        if data_type != DataType::Boolean {
            assert!(column.dictionary_page_offset().is_some(), "{data_type}");
            assert!(column.compressed_size() < 300, "{data_type}: {}", column.compressed_size());
        }
    }
    round_trip(schema(false), &[vec![batch(false, &values)]]);
}

#[test]
fn dictionaries_stay_dictionaries_while_they_are_smaller() {
    let field = Field::new("ad_id", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let dictionary = |rows: usize, ads: usize, first: usize| {
        let ads = (0..rows).map(|row| (row % 9 != 8).then(|| format!("ad{:05}", first + row % ads)));
        let array: DictionaryArray<Int32Type> = StringArray::from_iter(ads).iter().collect();
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(array)]).unwrap()
    };
    let is_dictionary = |batches: Vec<RecordBatch>| {
        let file = write(Arc::clone(&schema), &[batches]);
        let encodings: Vec<_> = read(&file.output).0.row_group(0).column(0).encodings().collect();
        encodings.contains(&Encoding::RLE_DICTIONARY)
    };
    let groups =
        [vec![dictionary(1000, 100, 0)], vec![dictionary(500, 100, 0), dictionary(500, 100, 50), dictionary(8, 3, 50)]];
    assert!(groups.iter().all(|group| is_dictionary(group.clone())));
    assert!(!is_dictionary(vec![dictionary(1000, 1000, 0)]), "as many entries as rows");
    assert!(!is_dictionary(vec![dictionary(1000, 1000, 0).slice(3, 10)]), "a slice that uses little of its dictionary");
    round_trip(Arc::clone(&schema), &groups);
}

/// One source's texts come as dictionaries, another's as they are, and in some batches of that there are only nulls.
#[test]
fn nulls_alone_stand_among_dictionaries_in_any_form() {
    for form in types().into_iter().filter(is_text) {
        let texts: ArrayRef = Arc::new(StringArray::from_iter((0..200).map(|row| Some(["east", "west"][row % 2]))));
        let texts = cast(&texts, &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))).unwrap();
        let nulls = cast(&StringArray::new_null(5), &form).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("zone", DataType::Utf8, true)]));
        let mut writer = PlainParquetWriter::try_new(Vec::new(), schema).unwrap();
        let batches = [Arc::clone(&texts), nulls, texts]
            .map(|column| RecordBatch::try_from_iter_with_nullable([("zone", column, true)]).unwrap());
        writer.write_group(&batches).unwrap();
        let (metadata, _, found) = read(&writer.finish().unwrap().output);
        let encodings: Vec<_> = metadata.row_group(0).column(0).encodings().collect();
        assert!(encodings.contains(&Encoding::RLE_DICTIONARY), "{form}: {encodings:?}");
        let found = found.column(0).as_string::<i32>();
        let is_right = |row: usize| match row {
            200..205 => found.is_null(row),
            0..200 => found.value(row) == ["east", "west"][row % 2],
            _ => found.value(row) == ["east", "west"][(row - 205) % 2],
        };
        assert!(found.len() == 405 && (0..405).all(is_right), "{form}");
    }
}

#[test]
fn nulls_among_the_entries_of_a_dictionary_are_nulls() {
    let entries = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
    let keys = Int32Array::from(vec![Some(0), Some(1), None, Some(2), Some(2), Some(0), Some(0), Some(2)]);
    let array: ArrayRef = Arc::new(DictionaryArray::new(keys, entries));
    let field = |nullable| Arc::new(Schema::new(vec![Field::new("ad_id", array.data_type().clone(), nullable)]));
    let batch = RecordBatch::try_new(field(true), vec![Arc::clone(&array)]).unwrap();
    let (.., found) = read(&write(field(true), &[vec![batch]]).output);
    let found = cast(found.column(0), &DataType::Utf8).unwrap();
    let expected = [Some("a"), None, None, Some("b"), Some("b"), Some("a"), Some("a"), Some("b")];
    assert_eq!(found.as_string::<i32>(), &StringArray::from_iter(expected));
}

fn is_text(form: &DataType) -> bool {
    matches!(form, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..))
}

#[test]
fn strings_are_taken_in_any_form() {
    let schema = Arc::new(Schema::new(vec![Field::new("ad_id", DataType::Utf8, false)]));
    let mut writer = PlainParquetWriter::try_new(Vec::new(), schema).unwrap();
    let strings = StringArray::from(vec!["ad001", "ad002", "ad001"]);
    let forms = types().into_iter().filter(is_text);
    let columns: Vec<_> = forms.map(|form| cast(&strings, &form).unwrap()).collect();
    let batches: Vec<_> =
        columns.into_iter().map(|column| RecordBatch::try_from_iter([("ad_id", column)]).unwrap()).collect();
    assert_eq!(batches.len(), 5);
    for group in batches.chunks(2) {
        writer.write_group(group).unwrap();
    }
    let (.., found) = read(&writer.finish().unwrap().output);
    let expected: Vec<_> = strings.iter().cycle().take(15).collect();
    assert_eq!(found.column(0).as_string::<i32>(), &StringArray::from(expected));
}

#[test]
fn uuids_and_timestamps_are_marked() {
    let uuid = Field::new("record_id", DataType::FixedSizeBinary(16), false)
        .with_metadata(HashMap::from([("ARROW:extension:name".to_string(), "arrow.uuid".to_string())]));
    let minute = Field::new("minute", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true);
    let schema = Arc::new(Schema::new(vec![uuid, minute]));
    let ids = FixedSizeBinaryArray::try_from_iter((0..3u8).map(|id| [id; 16])).unwrap();
    let minutes = TimestampMillisecondArray::from(vec![Some(60_000), None, Some(-5)]).with_timezone("UTC");
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(minutes)]).unwrap();
    let (metadata, read_schema, found) = read(&write(Arc::clone(&schema), &[vec![batch.clone()]]).output);
    let columns = metadata.file_metadata().schema_descr();
    assert_eq!(columns.column(0).logical_type_ref(), Some(&LogicalType::Uuid));
    assert!(matches!(columns.column(1).logical_type_ref(), Some(LogicalType::Timestamp { .. })));
    assert_eq!((read_schema, found.columns()), (schema, batch.columns()));
    let statistics = metadata.row_group(0).column(1).statistics().unwrap();
    assert_eq!(statistics.min_bytes_opt(), Some(&(-5i64).to_le_bytes()[..]));
    assert_eq!(statistics.max_bytes_opt(), Some(&60_000i64.to_le_bytes()[..]));
    assert_eq!(statistics.null_count_opt(), Some(1));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let list = Field::new("tags", DataType::new_list(DataType::Utf8, true), true);
    let refused = PlainParquetWriter::try_new(Vec::new(), Arc::new(Schema::new(vec![list]))).unwrap_err();
    assert!(refused.to_string().contains("\"tags\""), "{refused}");

    let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, false)]));
    let mut writer = PlainParquetWriter::try_new(Vec::new(), schema).unwrap();
    let batch = |column: ArrayRef| RecordBatch::try_from_iter_with_nullable([("count", column, true)]).unwrap();
    let wrong_type = writer.write(&batch(Arc::new(Int32Array::from(vec![1])))).unwrap_err();
    assert!(matches!(wrong_type, PageError::TypeMismatch { .. }));
    let nulls = writer.write(&batch(Arc::new(Int64Array::from(vec![Some(1), None])))).unwrap_err();
    assert!(nulls.to_string().contains("1 null"), "{nulls}");
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    assert!(matches!(writer.write(&none).unwrap_err(), PageError::ColumnCount { expected: 1, found: 0 }));

    writer.write(&batch(Arc::new(Int64Array::from(vec![5])))).unwrap();
    assert_eq!(read(&writer.finish().unwrap().output).2.num_rows(), 1, "refused batches leave no trace");
}

#[test]
fn seconds_beyond_milliseconds_are_refused() {
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
    let batch = RecordBatch::try_from_iter([("time", seconds)]).unwrap();
    let mut writer = PlainParquetWriter::try_new(Vec::new(), batch.schema()).unwrap();
    assert!(matches!(writer.write(&batch).unwrap_err(), PageError::Convert { .. }));
    assert!(matches!(writer.finish().unwrap_err(), PageError::Broken));
}

/// Takes so many bytes and is full.
#[derive(Debug)]
struct SmallDisk(usize);

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_breaks_the_file_for_good() {
    let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    let batch = RecordBatch::try_from_iter([("count", counts)]).unwrap();
    let mut writer = PlainParquetWriter::try_new(SmallDisk(10_000), batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    assert!(
        matches!(writer.write(&batch).unwrap_err(), PageError::Io(error) if error.kind() == ErrorKind::StorageFull)
    );
    assert!(matches!(writer.write(&batch).unwrap_err(), PageError::Broken));
    assert!(matches!(writer.finish().unwrap_err(), PageError::Broken));
}
